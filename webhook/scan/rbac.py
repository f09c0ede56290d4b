"""Which ServiceAccounts have RBAC permissions.

The permissions that Kubernetes gives to all accounts (`system:discovery` and similar ones) don't count.
"""

from webhook.scan.api_types import RBAC_DEFAULTS, Binding, Subject

_ACCOUNTS = "system:serviceaccounts"
_EVERYBODY = frozenset({_ACCOUNTS, "system:authenticated"})
_USER = "system:serviceaccount:"


class Bindings:
    """The ServiceAccounts that RoleBindings and ClusterRoleBindings name, by name or by a group."""

    def __init__(self) -> None:
        self._accounts: set[tuple[str, str]] = set()
        self._namespaces: set[str] = set()
        self._everybody = False

    def add(self, binding: Binding) -> None:
        """Add a binding."""
        meta = binding.metadata
        is_default = meta.labels.bootstrapping == RBAC_DEFAULTS
        for subject in binding.subjects or ():
            self._add(subject, meta.namespace or "", is_default=is_default)

    def _add(self, subject: Subject, namespace: str, *, is_default: bool) -> None:
        name = subject.name or ""
        if subject.kind == "ServiceAccount":
            self._accounts.add((subject.namespace or namespace, name))
        elif subject.kind == "User" and name.startswith(_USER):
            within, _, account = name.removeprefix(_USER).partition(":")
            self._accounts.add((within, account))
        elif subject.kind == "Group" and name in _EVERYBODY:
            self._everybody = self._everybody or not is_default
        elif subject.kind == "Group" and name.startswith(f"{_ACCOUNTS}:"):
            self._namespaces.add(name.removeprefix(f"{_ACCOUNTS}:"))

    def grant_permissions_to(self, namespace: str, account: str) -> bool:
        """Return whether any binding names the account."""
        return self._everybody or namespace in self._namespaces or (namespace, account) in self._accounts
