"""Which accounts have any right: those that a RoleBinding or a ClusterRoleBinding names, by name or by a group.

Left aside is what Kubernetes itself gives to all accounts at once (`system:discovery` and the like): by that one may
ask who one is and what there is, and no more.
"""

from webhook.scan.api_types import RBAC_DEFAULTS, Binding, Subject

_ACCOUNTS = "system:serviceaccounts"
_EVERYBODY = frozenset({_ACCOUNTS, "system:authenticated"})
_USER = "system:serviceaccount:"


class Bindings:
    """All bindings, as far as they are about accounts."""

    def __init__(self) -> None:
        self._accounts: set[tuple[str, str]] = set()
        self._namespaces: set[str] = set()
        self._everybody = False

    def add(self, binding: Binding) -> None:
        """Take a binding."""
        meta = binding.metadata
        usual = meta.labels is not None and meta.labels.bootstrapping == RBAC_DEFAULTS
        for subject in binding.subjects or ():
            self._add(subject, meta.namespace or "", usual=usual)

    def _add(self, subject: Subject, namespace: str, *, usual: bool) -> None:
        name = subject.name or ""
        if subject.kind == "ServiceAccount":
            self._accounts.add((subject.namespace or namespace, name))
        elif subject.kind == "User" and name.startswith(_USER):
            within, _, account = name.removeprefix(_USER).partition(":")
            self._accounts.add((within, account))
        elif subject.kind == "Group" and name in _EVERYBODY:
            self._everybody = self._everybody or not usual
        elif subject.kind == "Group" and name.startswith(f"{_ACCOUNTS}:"):
            self._namespaces.add(name.removeprefix(f"{_ACCOUNTS}:"))

    def grant_permissions_to(self, namespace: str, account: str) -> bool:
        """Say whether any of them names an account."""
        return self._everybody or namespace in self._namespaces or (namespace, account) in self._accounts
