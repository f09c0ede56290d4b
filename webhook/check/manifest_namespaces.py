"""The namespaces of manifests, and which custom kinds have none."""

import re
from collections.abc import Iterable

import msgspec

from webhook.check.pod_templates import is_custom
from webhook.core.custom_workloads import GroupKind
from webhook.core.k8s_types import Object
from webhook.core.manifests import Manifest

_DEFINITION = ("apiextensions.k8s.io", "CustomResourceDefinition")
_CLUSTER_SCOPED = re.compile(r"Cluster[A-Z]")
"""How the names of cluster-scoped kinds begin by convention: ClusterPolicy, ClusterServingRuntime."""


class _Names(Object, frozen=True):
    kind: str = ""


class _Spec(Object, frozen=True):
    group: str = ""
    names: _Names = _Names()
    scope: str = ""


class _Definition(Object, frozen=True):
    spec: _Spec = _Spec()


_decode = msgspec.json.Decoder(_Definition).decode


class ManifestNamespaces:
    """Tells the namespace of an object: its own, none for a cluster-scoped custom kind, or the given one."""

    def __init__(self, manifests: Iterable[Manifest], namespace: str) -> None:
        """Read the CustomResourceDefinitions among the manifests; `namespace` is that of objects that name none."""
        self._namespace = namespace
        self._scopes = dict(_scope(each) for each in manifests if each.group_kind == _DEFINITION)

    def namespace_of(self, manifest: Manifest) -> str:
        """Return the namespace of an object; empty if it is cluster-scoped, so that its pods may be in any."""
        return manifest.namespace or ("" if self._is_cluster_scoped(manifest) else self._namespace)

    def _is_cluster_scoped(self, manifest: Manifest) -> bool:
        if not is_custom(manifest):
            return False
        scope = self._scopes.get(manifest.group_kind)
        return scope == "Cluster" if scope else _CLUSTER_SCOPED.match(manifest.kind) is not None


def _scope(definition: Manifest) -> tuple[GroupKind, str]:
    """Return a kind and its scope; empty if the definition cannot be read."""
    try:
        spec = _decode(definition.raw).spec
    except msgspec.MsgspecError:
        spec = _Spec()
    return (spec.group, spec.names.kind), spec.scope
