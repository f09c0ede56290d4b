"""What ServiceAccounts may do, by RBAC: the permissions that make a leaked token dangerous."""

from collections.abc import Iterable, Iterator
from itertools import chain
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
_SOME = "some "
"""Before a resource that a role limits by `resourceNames`."""
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
    WRITE = "write resources"
    READ = "read resources"
    UNKNOWN = "unknown"


class Grant(Struct, frozen=True, gc=False, rename="camel"):
    """A group of permissions of a ServiceAccount, in the whole cluster or in some namespaces."""

    permission: Annotated[Permission, Meta(description="The group of permissions.")]
    namespaces: Annotated[tuple[str, ...], Meta(description="Where; empty: in the whole cluster.")]
    resources: Annotated[
        tuple[str, ...],
        Meta(
            description="What it may write or read, somewhere in these namespaces; empty in the other groups, or"
            " unknown. `*`: everything; `*.apps`: everything in this API group; `some secrets`: only by their names."
        ),
    ] = ()

    @property
    def severity(self) -> tuple[bool, int]:
        """A key that sorts grants, the most dangerous first.

        Those in the whole cluster come before those in namespaces, except the permission to read resources: that comes
        last, and then what could not be read.
        """
        is_limited, rank = bool(self.namespaces), _SEVERITY[self.permission]
        return (True, rank + is_limited) if self.permission in _LAST else (is_limited, rank)

    @property
    def is_dangerous(self) -> bool:
        """Whether it is in a group of its own; to write or read any other resources is not."""
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
_Permitted = frozenset[tuple[Permission, str]]
"""Groups of permissions, each with a resource to write or read; empty: of another group, or not known."""
_DEFAULT_ROLES: dict[str, _Permitted] = {
    name: frozenset((permission, "") for permission in permissions)
    for name, permissions in (
        ("cluster-admin", {Permission.EVERYTHING}), ("admin", _EDIT), ("edit", _EDIT), ("view", {Permission.READ}),
    )
}  # fmt: skip
"""What ClusterRoles allow that every cluster has, for a scan that may not read ClusterRoles."""
_NOT_READ: _Permitted = frozenset({(Permission.UNKNOWN, "")})


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
        self._roles: dict[tuple[str, str], _Permitted] = {}
        self._known: dict[_Permitted, _Permitted] = {}
        self._bindings: dict[str, list[tuple[str, tuple[str, str]]]] = {}
        self._grants: dict[tuple[str, str], tuple[Grant, ...]] = {}

    def add_role(self, role: Role) -> None:
        """Add a role; only the groups of its permissions are kept, once for all roles with the same ones."""
        meta = role.metadata
        permitted = frozenset(chain.from_iterable(map(_permissions, role.rules or ())))
        self._roles[meta.namespace or "", meta.name or ""] = self._known.setdefault(permitted, permitted)

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
        resources: dict[Permission, set[str]] = {}
        for user in users:
            for where, role in self._bindings.get(user, ()):
                for permission, resource in self._permissions_of(role):
                    places.setdefault(permission, set()).add(where)
                    resources.setdefault(permission, set()).add(resource)
        if self.is_partial:
            places[Permission.UNKNOWN] = {""}
        grants = (
            Grant(permission, () if "" in where else tuple(sorted(where)), _widest(resources.get(permission, ())))
            for permission, where in places.items()
        )
        return tuple(sorted(_without_implied(grants), key=lambda grant: grant.severity))

    def _permissions_of(self, role: tuple[str, str]) -> _Permitted:
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


def _widest(resources: Iterable[str]) -> tuple[str, ...]:
    """Return the resources without those that others include, such as `pods/log` with `pods`; empty: not all are known.

    `""` is one that is not known.
    """
    every = {*resources}
    if "" in every:
        return ()
    if "*" in every:
        return ("*",)
    wider = ((resource, {resource.partition("/")[0], resource.removeprefix(_SOME)} - {resource}) for resource in every)
    return tuple(sorted(resource for resource, others in wider if every.isdisjoint(others)))


def _resources(rule: PolicyRule, resources: Iterable[str]) -> Iterator[str]:
    """Yield resources of a rule, as in `Grant.resources`."""
    some = _SOME if rule.resource_names else ""
    groups = rule.api_groups or ()
    for resource in resources:
        if resource == "*" and "*" not in groups:
            yield from (f"*.{group or 'core'}" for group in groups)
        else:
            yield f"{some}{resource}"


def _permissions(rule: PolicyRule) -> Iterator[tuple[Permission, str]]:
    """Yield the groups of permissions in a rule, each with what it may write or read.

    What is limited to `resourceNames` is not called dangerous.
    """
    verbs, resources = set(rule.verbs or ()), set(rule.resources or ())
    groups = set(rule.api_groups or ())
    if not verbs or not resources:
        return  # of nonResourceURLs
    every_verb, every_resource = "*" in verbs, "*" in resources
    if rule.resource_names:
        permission = Permission.READ if verbs <= _READING else Permission.WRITE
        yield from ((permission, resource) for resource in _resources(rule, resources))
        return
    if every_verb and every_resource and "*" in groups:
        yield Permission.EVERYTHING, ""
        return

    def matching(wanted_verbs: Iterable[str], wanted: Iterable[str], group: str | None = "") -> set[str]:
        in_group = group is None or "*" in groups or group in groups
        if not in_group or (not every_verb and verbs.isdisjoint(wanted_verbs)):
            return set()
        return {*wanted} if every_resource else resources.intersection(wanted)

    found = {
        Permission.ESCALATION: matching(("escalate", "bind"), ("roles", "clusterroles"), "rbac.authorization.k8s.io")
        | matching(("impersonate",), ("users", "groups", "serviceaccounts")),
        Permission.TOKENS: matching(("create",), ("serviceaccounts/token",)),
        Permission.SECRETS: matching(_READING, ("secrets",)),
        Permission.EXEC: matching(_WRITING, ("pods/exec", "pods/attach", "pods/ephemeralcontainers", "nodes/proxy")),
        Permission.WORKLOADS: matching(_WRITING, _WORKLOADS, None),
    }
    yield from ((permission, "") for permission, matched in found.items() if matched)
    reads_only = verbs <= _READING
    secrets = found.pop(Permission.SECRETS)
    others = resources - (secrets if reads_only else set().union(*found.values()))
    permission = Permission.READ if reads_only else Permission.WRITE
    yield from ((permission, resource) for resource in _resources(rule, others))
