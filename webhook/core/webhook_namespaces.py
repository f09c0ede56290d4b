"""Which webhooks of a configuration the API server cannot call, and in which namespaces it does not call them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from webhook.core.kinds import CLUSTER_SCOPED, Subject
from webhook.core.selectors import Labels

NAME_LABEL = "kubernetes.io/metadata.name"
"""The label of a namespace with its name, which the API server sets."""
_EXCLUDED = re.compile(r"!\(request\.namespace in '([a-z0-9,-]*)'\.split\(','\)\)")
"""The condition of manifests/components/exclude-namespaces."""


def names_in_condition(expression: str) -> frozenset[str]:
    """Return the namespaces that a matchCondition of a webhook excludes by name."""
    match = _EXCLUDED.fullmatch(expression)
    return frozenset(filter(None, match[1].split(","))) if match else frozenset()


def uncallable(bundles: Mapping[str, str | bytes | None]) -> list[str]:
    """Return the names of the webhooks without a `caBundle`: the API server cannot call them."""
    return [name for name, bundle in bundles.items() if not bundle]


class Requirement(NamedTuple):
    """One requirement of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def is_met(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels meet it; an unknown operator counts as met."""
        value = labels.get(self.key)
        return {
            "In": value in self.values,
            "NotIn": value not in self.values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }.get(self.operator, True)


class WebhookScope(NamedTuple):
    """The namespaces in which a webhook is called: those that meet all requirements, except the excluded ones."""

    requirements: tuple[Requirement, ...] = ()
    excluded: frozenset[str] = frozenset()

    def excludes(self, namespace: str, labels: Labels) -> bool:
        """Return whether objects in a namespace with these labels are not evaluated."""
        known = {**dict(labels), NAME_LABEL: namespace}
        return namespace in self.excluded or not all(requirement.is_met(known) for requirement in self.requirements)


class WebhookScopes(NamedTuple):
    """The scopes of the validating webhooks, by what they are called about: without one, all namespaces."""

    pods: WebhookScope = WebhookScope()
    secrets: WebhookScope = WebhookScope()
    tokens: WebhookScope = WebhookScope()

    def of(self, subject: Subject | None) -> WebhookScope:
        """Return the scope for a subject; workloads and ServiceAccounts have that of their pods."""
        if subject in CLUSTER_SCOPED:
            return WebhookScope()
        if subject is Subject.SECRET:
            return self.secrets
        return self.tokens if subject is Subject.TOKEN_REQUEST else self.pods


EVERYWHERE = WebhookScopes()
