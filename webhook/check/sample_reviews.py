"""Admission reviews made from objects, as the API server would send them."""

import json
from collections.abc import Iterable
from typing import Any

from webhook.core.pod_context import API_TOKEN_PATH

RESOURCES = {
    "Pod": ("", "pods"),
    "Secret": ("", "secrets"),
    "ConfigMap": ("", "configmaps"),
    "ServiceAccount": ("", "serviceaccounts"),
    "ReplicationController": ("", "replicationcontrollers"),
    "Deployment": ("apps", "deployments"),
    "DaemonSet": ("apps", "daemonsets"),
    "ReplicaSet": ("apps", "replicasets"),
    "StatefulSet": ("apps", "statefulsets"),
    "CronJob": ("batch", "cronjobs"),
    "Job": ("batch", "jobs"),
    "TokenRequest": ("authentication.k8s.io", "serviceaccounts"),
}


def review(  # noqa: PLR0913 - the parts of a request
    obj: dict[str, Any],
    *,
    namespace: str = "demo",
    name: str | None = None,
    user: str = "admin",
    groups: Iterable[str] = ("system:authenticated",),
    operation: str = "CREATE",
    subresource: str | None = None,
    old: dict[str, Any] | None = None,
    uid: str = "7ceb3af7-9b31-4f27-8aa7-7ac1b38c22ab",
) -> bytes:
    """Return the body that the API server would send about `obj`."""
    custom = (obj.get("apiVersion", "").rpartition("/")[0], f"{obj['kind'].lower()}s")
    group, resource = RESOURCES.get(obj["kind"], custom)
    if custom[0] not in ("", group):
        group, resource = custom
    metadata = obj.get("metadata")
    version = {"group": group, "version": "v1"}
    token = obj["kind"] == "TokenRequest"
    request: dict[str, Any] = {
        "uid": uid,
        "kind": {**version, "kind": obj["kind"]},
        "resource": {**({"group": "", "version": "v1"} if token else version), "resource": resource},
        "name": name or (metadata.get("name", "") if isinstance(metadata, dict) else ""),
        "namespace": namespace,
        "operation": operation,
        "userInfo": {"username": user, "groups": list(groups)},
        "object": obj,
        "oldObject": old,
        "dryRun": False,
    }
    if token or subresource:
        request["subResource"] = "token" if token else subresource
    return json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}).encode()


def with_api_token(pod: dict[str, Any], expiration: int = 3607) -> dict[str, Any]:
    """Return the pod as the ServiceAccount plugin leaves it: with the API server token in every container."""
    name = "kube-api-access-x7k2p"
    spec = pod["spec"]
    mount = {"name": name, "readOnly": True, "mountPath": API_TOKEN_PATH}
    volume = {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": expiration, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            ]
        },
    }

    def mounted(containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**each, "volumeMounts": [*(each.get("volumeMounts") or []), mount]} for each in containers]

    lists = {key: mounted(spec[key]) for key in ("initContainers", "containers") if spec.get(key)}
    return {**pod, "spec": {**spec, **lists, "volumes": [*(spec.get("volumes") or []), volume]}}
