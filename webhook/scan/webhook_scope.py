"""Which namespaces the webhook configuration excludes: in them nothing is evaluated."""

from typing import NamedTuple

from webhook.core.selectors import Labels

NAME_LABEL = "kubernetes.io/metadata.name"
"""The label of a namespace with its name, which the API server sets."""


class Requirement(NamedTuple):
    """One requirement of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def is_met(self, labels: dict[str, str]) -> bool:
        """Return whether labels meet it; an unknown operator counts as met."""
        value = labels.get(self.key)
        return {
            "In": value in self.values,
            "NotIn": value not in self.values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }.get(self.operator, True)


class WebhookScope(NamedTuple):
    """The namespaces whose pods are evaluated: those that meet all requirements, except the excluded ones."""

    requirements: tuple[Requirement, ...] = ()
    excluded: frozenset[str] = frozenset()

    def excludes(self, namespace: str, labels: Labels) -> bool:
        """Return whether pods of a namespace with these labels are not evaluated."""
        known = {**dict(labels), NAME_LABEL: namespace}
        return namespace in self.excluded or not all(requirement.is_met(known) for requirement in self.requirements)
