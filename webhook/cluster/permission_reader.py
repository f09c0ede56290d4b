"""Reads what ServiceAccounts may do: all roles and bindings, or those of some namespaces."""

from collections.abc import Iterable, Sized
from typing import Any, Protocol

from webhook.cluster.api_types import Resource
from webhook.cluster.listing import list_objects
from webhook.cluster.transport import ApiError, Transport
from webhook.scan.rbac import Binding, Permissions, Role

REFUSED = frozenset({403, 404})
"""The answers to a request that the caller may not make."""
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLES = (
    Resource("roles", f"{_RBAC}/roles", Role),
    Resource("clusterroles", f"{_RBAC}/clusterroles", Role),
)
BINDINGS = (
    Resource("rolebindings", f"{_RBAC}/rolebindings", Binding),
    Resource("clusterrolebindings", f"{_RBAC}/clusterrolebindings", Binding),
)


class ReadList(Protocol):
    """Lists a resource, in the whole cluster or in the given namespaces; notes what is missing if that is refused."""

    def __call__(self, resource: Resource[Any], missing: str, /, *, namespaced: bool) -> Iterable[Any]:
        """List it."""
        ...


def read_permissions(read: ReadList, transport: Transport, unread: Sized, *, in_namespaces: bool) -> Permissions | None:
    """Return what accounts may do; None if it is not known.

    `in_namespaces` says that namespaces are given: then their roles and bindings suffice. `unread` is what `read` could
    not read. Raises `ApiError`.
    """
    (roles, cluster_roles), (bindings, cluster_bindings) = ROLES, BINDINGS
    is_partial = in_namespaces and not (_may_list(roles, transport) and _may_list(bindings, transport))
    permissions, before = Permissions(is_partial=is_partial), len(unread)
    missing = f"what ServiceAccounts may do{' outside of these namespaces' if in_namespaces else ''}"
    for role in read(roles, missing, namespaced=is_partial):
        permissions.add_role(role)
    for binding in read(bindings, missing, namespaced=is_partial):
        permissions.add_binding(binding)
    is_known = in_namespaces and len(unread) == before
    for role in read(cluster_roles, missing, namespaced=False):
        permissions.add_role(role)
    for binding in read(cluster_bindings, missing, namespaced=False):
        permissions.add_binding(binding)
    is_complete = len(unread) == before
    permissions.is_partial |= not is_complete
    return permissions if is_known or is_complete else None


def _may_list(resource: Resource[Any], transport: Transport) -> bool:
    try:
        next(list_objects(resource, transport), None)
    except ApiError as error:
        if error.status not in REFUSED:
            raise
        return False
    return True
