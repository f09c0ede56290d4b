"""What ServiceAccounts may do, by RBAC: the permissions that make a leaked token dangerous."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from webhook.core.formatting import FastStrEnum
from webhook.core.k8s_types import Object, ObjectIdentity

RBAC_DEFAULTS = "rbac-defaults"
"""The value of the label `kubernetes.io/bootstrapping` of objects that the API server creates and restores."""
_ACCOUNTS = "system:serviceaccounts"
_EVERYBODY = frozenset({_ACCOUNTS, "system:authenticated"})
_USER = "system:serviceaccount:"
_READING = frozenset({"get", "list", "watch"})
_WRITING = frozenset({"create", "update", "patch"})
_WORKLOADS = frozenset({
    "pods", "deployments", "replicasets", "statefulsets", "daemonsets", "replicationcontrollers", "jobs", "cronjobs",
})  # fmt: skip


class Permission(FastStrEnum):
    """A group of permissions, the most dangerous first."""

    EVERYTHING = "everything"
    ESCALATION = "escalate, bind or impersonate"
    TOKENS = "create tokens"
    SECRETS = "read Secrets"
    EXEC = "execute in pods"
    WORKLOADS = "create workloads"
    WRITE = "write other objects"
    READ = "read other objects"
    UNKNOWN = "unknown"


class Grant(Struct, frozen=True, gc=False, rename="camel"):
    """A group of permissions of a ServiceAccount, in the whole cluster or in some namespaces."""

    permission: Annotated[Permission, Meta(description="The group of permissions.")]
    namespaces: Annotated[tuple[str, ...], Meta(description="Where; empty: in the whole cluster.")]

    @property
    def severity(self) -> tuple[bool, int]:
        """A key that sorts grants, the most dangerous first.

        Those in the whole cluster come before those in namespaces, except the permission to read other objects: that
        comes last, and then what could not be read.
        """
        is_limited, rank = bool(self.namespaces), _SEVERITY[self.permission]
        return (True, rank + is_limited) if self.permission in _LAST else (is_limited, rank)

    @property
    def is_dangerous(self) -> bool:
        """Whether it allows more than to read or write other objects."""
        return self.permission not in (Permission.WRITE, *_LAST)

    def covers(self, other: "Grant") -> bool:
        """Return whether it applies wherever another grant does."""
        return not self.namespaces or (bool(other.namespaces) and {*other.namespaces} <= {*self.namespaces})


_LAST = (Permission.READ, Permission.UNKNOWN)
_SEVERITY = {permission: number for number, permission in enumerate(Permission)}
NO_PERMISSIONS = (True, len(_SEVERITY) + 1)
"""The severity of an account without grants: less than any other."""


def grants_severity(grants: tuple[Grant, ...] | None) -> tuple[bool, int]:
    """Return a key that sorts accounts by their grants, the most dangerous first."""
    return grants[0].severity if grants else NO_PERMISSIONS


class AccountGrants(Struct, frozen=True, gc=False, rename="camel"):
    """What a ServiceAccount may do."""

    name: Annotated[str, Meta(description="The ServiceAccount's name.")]
    own: Annotated[
        bool, Meta(description="Whether the pods run as it; otherwise they name a legacy Secret with its token.")
    ]
    grants: Annotated[
        tuple[Grant, ...] | None,
        Meta(description="What RBAC allows, the most dangerous first; null if roles or bindings could not be read."),
    ]


_EDIT = frozenset(Permission) - {Permission.EVERYTHING, Permission.UNKNOWN}
_DEFAULT_ROLES = {
    "cluster-admin": frozenset({Permission.EVERYTHING}),
    "admin": _EDIT,
    "edit": _EDIT,
    "view": frozenset({Permission.READ}),
}
"""What ClusterRoles allow that every cluster has, for a scan that may not read ClusterRoles."""
_NOT_READ = frozenset({Permission.UNKNOWN})


class RbacSubject(Object, frozen=True):
    """A subject of a binding."""

    kind: str | None = None
    name: str | None = None
    namespace: str | None = None


class _RbacLabels(Object, frozen=True):
    bootstrapping: str | None = msgspec.field(default=None, name="kubernetes.io/bootstrapping")


class _BindingMeta(ObjectIdentity, frozen=True):
    labels: _RbacLabels = _RbacLabels()


class _RoleRef(Object, frozen=True):
    kind: str | None = None
    name: str | None = None


class Binding(Object, frozen=True):
    """A RoleBinding or a ClusterRoleBinding."""

    metadata: _BindingMeta
    subjects: list[RbacSubject] | None = None
    role_ref: _RoleRef = _RoleRef()


class PolicyRule(Object, frozen=True):
    """A rule of a role."""

    verbs: list[str] | None = None
    api_groups: list[str] | None = None
    resources: list[str] | None = None
    resource_names: list[str] | None = None


class Role(Object, frozen=True):
    """A Role or a ClusterRole; an aggregated one has its rules from the controller manager."""

    metadata: ObjectIdentity
    rules: list[PolicyRule] | None = None


class Permissions:
    """The permissions of all ServiceAccounts: add all roles and bindings, then ask for accounts.

    The permissions that Kubernetes grants to all accounts (`system:discovery` and similar ones) don't count.
    `is_partial` says that only the roles and bindings of some namespaces could be read: the rest is unknown.
    """

    def __init__(self, *, is_partial: bool = False) -> None:
        self.is_partial = is_partial
        self._roles: dict[tuple[str, str], frozenset[Permission]] = {}
        self._bindings: dict[str, list[tuple[str, tuple[str, str]]]] = {}
        self._grants: dict[tuple[str, str], tuple[Grant, ...]] = {}

    def add_role(self, role: Role) -> None:
        """Add a role; only the groups of its permissions are kept."""
        meta = role.metadata
        permissions = frozenset(permission for rule in role.rules or () for permission in _permissions(rule))
        self._roles[meta.namespace or "", meta.name or ""] = permissions

    def add_binding(self, binding: Binding) -> None:
        """Add a binding."""
        meta, ref = binding.metadata, binding.role_ref
        namespace = meta.namespace or ""
        role = (namespace if ref.kind == "Role" else "", ref.name or "")
        for subject in binding.subjects or ():
            user = _user(subject, namespace)
            if user and not (user in _EVERYBODY and meta.labels.bootstrapping == RBAC_DEFAULTS):
                self._bindings.setdefault(user, []).append((namespace, role))

    def of(self, namespace: str, account: str) -> tuple[Grant, ...]:
        """Return what an account may do, the most dangerous first; empty: no binding grants it anything.

        A group of permissions in the whole cluster is not repeated for single namespaces.
        """
        known = self._grants.get((namespace, account))
        if known is None:
            known = self._grants[namespace, account] = self._grants_of(namespace, account)
        return known

    def _grants_of(self, namespace: str, account: str) -> tuple[Grant, ...]:
        users = (f"{_USER}{namespace}:{account}", f"{_ACCOUNTS}:{namespace}", *_EVERYBODY)
        places: dict[Permission, set[str]] = {}
        for user in users:
            for where, role in self._bindings.get(user, ()):
                for permission in self._permissions_of(role):
                    places.setdefault(permission, set()).add(where)
        if self.is_partial:
            places[Permission.UNKNOWN] = {""}
        grants = (
            Grant(permission, () if "" in where else tuple(sorted(where))) for permission, where in places.items()
        )
        return tuple(sorted(_without_implied(grants), key=lambda grant: grant.severity))

    def _permissions_of(self, role: tuple[str, str]) -> frozenset[Permission]:
        permissions = self._roles.get(role)
        if permissions is None and self.is_partial and not role[0]:
            return _DEFAULT_ROLES.get(role[1], _NOT_READ)
        return permissions or frozenset()


def _without_implied(grants: Iterable[Grant]) -> list[Grant]:
    """Return the grants without those that `EVERYTHING` includes."""
    remaining = list(grants)
    everything = next((grant for grant in remaining if grant.permission is Permission.EVERYTHING), None)
    return [grant for grant in remaining if everything is None or grant is everything or not everything.covers(grant)]


def _user(subject: RbacSubject, namespace: str) -> str:
    """Return the user or group that a subject means, if ServiceAccounts have it; otherwise an empty string."""
    name = subject.name or ""
    if subject.kind == "ServiceAccount":
        return f"{_USER}{subject.namespace or namespace}:{name}"
    is_account = subject.kind == "User" and name.startswith(_USER)
    is_group = subject.kind == "Group" and (name in _EVERYBODY or name.startswith(f"{_ACCOUNTS}:"))
    return name if is_account or is_group else ""


def _permissions(rule: PolicyRule) -> Iterator[Permission]:
    """Yield the groups of permissions in a rule. What is limited to `resourceNames` is not called dangerous."""
    verbs, resources = set(rule.verbs or ()), set(rule.resources or ())
    groups = set(rule.api_groups or ())
    if not verbs or not resources:
        return  # of nonResourceURLs
    every_verb, every_resource = "*" in verbs, "*" in resources
    if rule.resource_names:
        yield Permission.READ if verbs <= _READING else Permission.WRITE
        return
    if every_verb and every_resource and "*" in groups:
        yield Permission.EVERYTHING
        return

    def grants(wanted_verbs: Iterable[str], wanted: Iterable[str], group: str | None = "") -> bool:
        in_group = group is None or "*" in groups or group in groups
        return in_group and (every_verb or not verbs.isdisjoint(wanted_verbs)) and (
            every_resource or not resources.isdisjoint(wanted)
        )  # fmt: skip

    roles = ("roles", "clusterroles")
    applies_to = {
        Permission.ESCALATION: grants(("escalate", "bind"), roles, "rbac.authorization.k8s.io")
        or grants(("impersonate",), ("users", "groups", "serviceaccounts")),
        Permission.TOKENS: grants(("create",), ("serviceaccounts/token",)),
        Permission.SECRETS: grants(_READING, ("secrets",)),
        Permission.EXEC: grants(_WRITING, ("pods/exec", "pods/attach", "pods/ephemeralcontainers", "nodes/proxy")),
        Permission.WORKLOADS: grants(_WRITING, _WORKLOADS, None),
    }
    dangerous = [permission for permission, applies in applies_to.items() if applies]
    yield from dangerous
    if not verbs <= _READING and (every_verb or every_resource or not dangerous):
        yield Permission.WRITE
    elif verbs <= _READING and (every_resource or not resources <= {"secrets"}):
        yield Permission.READ
