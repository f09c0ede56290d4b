"""Replaces a legacy Secret volume by the projection that puts the same files at the same paths.

The files are those that the token controller writes into such a Secret (token, ca.crt, namespace). The sources are
those that the ServiceAccount plugin uses for a pod's default token: a ServiceAccountTokenProjection, ConfigMap
`kube-root-ca.crt` and the downward API.
"""

from typing import Any

from webhook.core.formatting import quote
from webhook.core.k8s_types import KeyToPath, SecretVolumeSource
from webhook.core.lifetimes import DEFAULT_EXPIRATION

_KEYS = ("token", "ca.crt", "namespace")
_MAX_ITEMS = 20
"""A legacy Secret has three keys; each further item repeats one of them, and would make the patch longer."""
DEFAULT_MODE = 0o644


def find_obstacle(secret: SecretVolumeSource, token_account: str, pod_account: str, *, by_sub_path: bool) -> str | None:
    """Return why there is no equivalent projection, or None if there is one.

    `by_sub_path` says whether any container mounts the volume by subPath or subPathExpr.
    """
    if token_account != pod_account:
        return f"the token belongs to ServiceAccount {quote(token_account)}, the pod runs as {quote(pod_account)}"
    if by_sub_path:
        return "it is mounted by subPath, so a projected token would never be refreshed"
    mode = DEFAULT_MODE if secret.default_mode is None else secret.default_mode
    if len(secret.items or ()) > _MAX_ITEMS:
        return f"it has more than {_MAX_ITEMS} items"
    for item in secret.items or ():
        if item.key not in _KEYS:
            return f"it has an item with key {quote(item.key or '')}"
        if item.key == "token" and item.mode not in (None, mode):
            return "a projected token file cannot have its own mode"
    return None


def build_projection(secret: SecretVolumeSource, audience: str, maximum: int) -> dict[str, Any]:
    """Return the `projected` volume source with the same file names and modes; `maximum` is in seconds."""
    token = {"audience": audience, "expirationSeconds": min(DEFAULT_EXPIRATION, maximum)}
    namespace = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources: list[dict[str, Any]] = []
    certificates, namespaces = [], []
    for item in secret.items or [KeyToPath(key, key) for key in _KEYS]:
        file = {"path": item.path or "", **({} if item.mode is None else {"mode": item.mode})}
        if item.key == "token":
            sources.append({"serviceAccountToken": {"path": item.path or "", **token}})
        elif item.key == "ca.crt":
            certificates.append({"key": "ca.crt", **file})
        else:
            namespaces.append({**namespace, **file})
    if certificates:
        sources.append({"configMap": {"name": "kube-root-ca.crt", "items": certificates}})
    if namespaces:
        sources.append({"downwardAPI": {"items": namespaces}})
    mode = {} if secret.default_mode is None else {"defaultMode": secret.default_mode}
    return {"sources": sources, **mode}
