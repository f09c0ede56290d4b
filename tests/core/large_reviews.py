"""Reviews whose authors wrote one list, map or string of any length: what a review costs must grow with it, no faster.

The API server sends a pod to the webhooks before it checks whether names are unique, valid or short enough.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.reviews import API_TOKEN_PATH, review
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Action, Policy
from webhook.core.rules import RULES

CLUSTER = ClusterState(legacy_tokens={"demo": {"app-token": "app", "robot-token": "robot"}})
INJECTIONS = 10
_EXEMPTIONS = [
    {"namespaces": ["ci-*", "*-x*y*-*"]},
    {"serviceAccounts": ["*-robot", "*-a*b*c-*", "demo/*-x"]},
    {"users": ["*:controller*-x"], "serviceAccounts": ["*"]},
]
Maker = Callable[[int], bytes]


def policy(*, strongest: Action, mode: str = "enforce") -> Policy:
    """Return a policy with every rule on, each as strict as `strongest` lets it be, and ten injections."""
    lowered = [action for action in Action if strongest is not Action.REJECT or action is not Action.PATCH]
    document = {
        "apiVersion": "tokenguard/v1",
        "kind": "TokenPolicy",
        "mode": mode,
        "rules": {rule.name: str(next(action for action in lowered if action in rule.actions)) for rule in RULES},
        "tokens": {
            "maxExpirationSeconds": 1800,
            "audiences": {"default": "vault", "allowed": ["vault", *(f"https://*.a{n}*b.*" for n in range(20))]},
        },
        "inject": [
            {"name": f"i{number}", "audience": "vault", "mountPath": f"/injected/{number}", "env": f"INJECTED_{number}"}
            for number in range(INJECTIONS)
        ],
        "exemptions": [
            {
                "rules": ["*"],
                "reason": "none matches",
                "until": "never",
                **exemption,
                "users": exemption.get("users", ["nobody-*"]),
            }
            for exemption in _EXEMPTIONS
        ],
    }
    read = read_policy(json.dumps(document).encode())
    assert isinstance(read, Policy), read
    return read


def pod(*, meta: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    whole = {"serviceAccountName": "app", "containers": [{"name": "app"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", **(meta or {})}, "spec": whole}


def token(**source: Any) -> dict[str, Any]:
    return {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607, **source}}


def projected(*sources: dict[str, Any], name: str = "t") -> dict[str, Any]:
    return {"name": name, "projected": {"sources": list(sources)}}


def _mounted(volume: dict[str, Any], path: str, count: int, **mount: Any) -> bytes:
    """Return the review of a pod with so many volumes and mounts, `{}` in names and paths being the number."""
    volumes = [_numbered(volume, number) for number in range(count)]
    mounts = [_numbered({"name": volume["name"], "mountPath": path, **mount}, number) for number in range(count)]
    return review(pod(volumes=volumes, containers=[{"name": "app", "volumeMounts": mounts}]))


def _numbered(value: Any, number: int) -> Any:
    if isinstance(value, str):
        return value.replace("{}", str(number))
    if isinstance(value, dict):
        return {key: _numbered(item, number) for key, item in value.items()}
    return [_numbered(item, number) for item in value] if isinstance(value, list) else value


def _containers(container: dict[str, Any], where: str = "containers", **spec: Any) -> Maker:
    def make(count: int) -> bytes:
        return review(pod(**{where: [_numbered(container, number) for number in range(count)]}, **spec))

    return make


def _volumes(volume: dict[str, Any]) -> Maker:
    return lambda count: review(pod(volumes=[_numbered(volume, number) for number in range(count)]))


def _in_container(field: str, item: dict[str, Any], **spec: Any) -> Maker:
    def make(count: int) -> bytes:
        items = [_numbered(item, number) for number in range(count)]
        return review(pod(containers=[{"name": "app", field: items}], **spec))

    return make


def _sources(source: dict[str, Any]) -> Maker:
    return lambda count: review(pod(volumes=[projected(*(_numbered(source, number) for number in range(count)))]))


def _meta(**meta: Callable[[int], Any]) -> Maker:
    return lambda count: review(pod(meta={key: value(count) for key, value in meta.items()}))


def _ephemeral(count: int) -> bytes:
    containers = [
        {"name": f"e{number}", "volumeMounts": [{"name": "held", "mountPath": f"/m{number}", "subPath": "x"}]}
        for number in range(count)
    ]
    keys = [{"key": f"k{number}"} for number in range(count)]
    volumes = [
        {"name": "held", "secret": {"secretName": "robot-token", "items": keys}}, projected(token(audience="vault")),
    ]  # fmt: skip
    return review(
        pod(volumes=volumes, ephemeralContainers=containers),
        operation="UPDATE",
        subresource="ephemeralcontainers",
        old=pod(volumes=volumes, ephemeralContainers=containers[::2]),
    )


def _template(maker: Maker, kind: str = "Deployment") -> Maker:
    """Return the review of a workload whose template is the pod."""

    def make(count: int) -> bytes:
        template = json.loads(maker(count))["request"]["object"]
        spec = {"template": template}
        if kind == "CronJob":
            spec = {"jobTemplate": {"spec": spec}}
        return review({"apiVersion": "v1", "kind": kind, "metadata": {"name": "app"}, "spec": spec})

    return make


def _account(count: int) -> bytes:
    secrets = [{"name": "app-token"}] * count
    return review({"kind": "ServiceAccount", "metadata": {"name": "app"}, "secrets": secrets})


def _names(count: int, name: str = "i{}") -> str:
    return ",".join(name.replace("{}", str(number)) for number in range(count))


def _owners(count: int) -> Iterator[dict[str, Any]]:
    return ({"apiVersion": "v1", "kind": "ReplicaSet", "name": f"o{number}", "uid": "u"} for number in range(count))


OWN = projected(token(), {"configMap": {"name": "kube-root-ca.crt"}}, name="kube-api-access-1")
BY_HAND = projected(token(), name="t")
LEGACY = {"name": "held", "secret": {"secretName": "app-token"}}
FOREIGN = {"name": "held", "secret": {"secretName": "robot-token"}}
FROM_SECRET = {"name": "E{}", "valueFrom": {"secretKeyRef": {"name": "robot-token", "key": "token"}}}

LISTS: dict[str, Maker] = {
    "API server tokens of one name": lambda count: _mounted(OWN, API_TOKEN_PATH, count),
    "API server tokens of several names": lambda count: _mounted(
        {**OWN, "name": "kube-api-access-{}"}, API_TOKEN_PATH, count
    ),
    "API server tokens mounted elsewhere": lambda count: _mounted(OWN, "/m{}", count),
    "hand-mounted tokens of one name": lambda count: _mounted(BY_HAND, API_TOKEN_PATH, count),
    "tokens mounted by subPath": lambda count: _mounted(BY_HAND, "/m{}", count, subPath="token"),
    "legacy volumes of one name": lambda count: _mounted(LEGACY, "/m{}", count),
    "legacy volumes of several names": lambda count: _mounted({**LEGACY, "name": "v{}"}, "/m{}", count),
    "legacy volumes mounted by subPath": lambda count: _mounted(LEGACY, "/m{}", count, subPath="token"),
    "legacy volumes of another account": lambda count: _mounted(FOREIGN, "/m{}", count),
    "volumes with an injection's name": lambda count: _mounted(
        projected(token(audience="x"), name="tokenguard-i0"), "/injected/0", count
    ),
    "volumes that hold an injection": _volumes(
        projected({"serviceAccountToken": {"audience": "vault", "path": "token"}}, name="tokenguard-i0")
    ),
    "volumes without a name": _volumes({}),
    "hostPath volumes": _volumes({"name": "h{}", "hostPath": {"path": "/var/lib/kubelet/pods"}}),
    "volumes of other kinds": _volumes({"name": "c{}", "csi": {"nodePublishSecretRef": {"name": "robot-token"}}}),
    "sources without an audience": _sources(token()),
    "sources with a disallowed audience": _sources(token(audience="https://x{}.a1.a1.example")),
    "sources with a Secret": _sources({"secret": {"name": "robot-token"}}),
    "items of a legacy volume": lambda count: review(
        pod(volumes=[{"name": "h", "secret": {"secretName": "app-token", "items": [{"key": "token"}] * count}}])
    ),
    "containers": _containers({"name": "c{}"}),
    "containers of one name": _containers({"name": "app"}),
    "init containers": _containers({"name": "c{}"}, "initContainers"),
    "containers with a mount at an injection's path": _containers(
        {"name": "c{}", "volumeMounts": [{"name": "x", "mountPath": "/injected/3/"}]}
    ),
    "containers with a device at an injection's path": _containers(
        {"name": "c{}", "volumeDevices": [{"name": "x", "devicePath": "/injected/3"}]}
    ),
    "containers with mounts of the API server token": _containers(
        {"name": "c{}", "volumeMounts": [{"name": "kube-api-access-1", "mountPath": API_TOKEN_PATH}]}, volumes=[OWN]
    ),
    "mounts": _in_container("volumeMounts", {"name": "v{}", "mountPath": "/injected/x{}"}),
    "mounts at one path": _in_container("volumeMounts", {"name": "v{}", "mountPath": "/injected/3"}),
    "mounts of an injection's volume": _in_container("volumeMounts", {"name": "tokenguard-i3", "mountPath": "/x{}"}),
    "mounts at Windows paths": _in_container("volumeMounts", {"name": "v{}", "mountPath": r"C:\injected\x{}"}),
    "mounts of one token": _in_container(
        "volumeMounts", {"name": "t", "mountPath": "/x{}", "subPathExpr": "x"}, volumes=[BY_HAND]
    ),
    "devices": _in_container("volumeDevices", {"name": "v{}", "devicePath": "/injected/x{}"}),
    "variables": _in_container("env", {"name": "E{}", "value": "x"}),
    "variables from a legacy Secret": _in_container("env", FROM_SECRET),
    "envFrom a legacy Secret": _in_container("envFrom", {"secretRef": {"name": "robot-token"}}),
    "ephemeral containers": _ephemeral,
    "requested injections": _meta(annotations=lambda count: {"tokenguard/inject": _names(count)}),
    "one injection requested often": _meta(annotations=lambda count: {"tokenguard/inject": _names(count, "vault")}),
    "skipped containers": _meta(annotations=lambda count: {"tokenguard/skip-containers": _names(count, "app")}),
    "annotations": _meta(annotations=lambda count: {f"a{number}": "x" for number in range(count)}),
    "labels": _meta(labels=lambda count: {f"a{number}": "x" for number in range(count)}),
    "owners": _meta(ownerReferences=lambda count: list(_owners(count))),
    "groups": lambda count: review(pod(), groups=tuple(f"g{number}" for number in range(count))),
    "template of legacy volumes": _template(lambda count: _mounted(LEGACY, "/m{}", count)),
    "template of API server tokens": _template(lambda count: _mounted(OWN, API_TOKEN_PATH, count)),
    "template without mounts": _template(_volumes(OWN), "CronJob"),
    "template of containers": _template(_containers({"name": "c{}"}), "CronJob"),
    "audiences of a TokenRequest": lambda count: review(
        {"kind": "TokenRequest", "spec": {"audiences": [f"a{n}" for n in range(count)], "expirationSeconds": 7200}},
        name="app",
    ),
    "Secrets of a ServiceAccount": _account,
}


def _text(make: Callable[[str], bytes], unit: str = "a") -> Maker:
    return lambda count: make(unit * count)


def _source_of(text: str) -> bytes:
    return review(pod(volumes=[projected(token(audience=text))]))


def _mount_at(text: str) -> bytes:
    return review(pod(volumes=[BY_HAND], containers=[{"volumeMounts": [{"name": "t", "mountPath": text}]}]))


def _secret_of(text: str) -> bytes:
    meta = {"name": "s", "annotations": {"kubernetes.io/service-account.name": text}}
    return review({"kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": meta})


STRINGS: dict[str, Maker] = {
    "user": _text(lambda text: review(_broken(), user=text), "-a:controller"),
    "namespace": _text(lambda text: review(_broken(), namespace=text), "-x-y"),
    "name of the request": _text(lambda text: review(_broken(), name=text)),
    "generateName": _text(lambda text: review(pod(meta={"name": "", "generateName": text}))),
    "account": _text(lambda text: review(pod(serviceAccountName=text)), "-a-b"),
    "owner": _text(
        lambda text: review(
            {**_broken(), "metadata": {"ownerReferences": [{"kind": "A", "name": text, "controller": True}]}}
        )
    ),
    "annotation": _text(lambda text: review(pod(meta={"annotations": {"tokenguard/inject": text}})), "a,"),
    "audience": _text(_source_of, "https://a.a1"),
    "audience of slashes": _text(_source_of, "/"),
    "audience of letters beyond ASCII": _text(_source_of, "\u202e\u0416"),
    "volume name": _text(lambda text: review(pod(volumes=[projected(token(), name=text)]))),
    "volume name with the plugin's prefix": _text(
        lambda text: review(pod(volumes=[projected(token(), name=f"kube-api-access-{text}")]))
    ),
    "container name": _text(lambda text: review(pod(containers=[{"name": text}]))),
    "variable name": _text(lambda text: review(pod(containers=[{"env": [{"name": text}]}]))),
    "mount path": _text(_mount_at, "/a"),
    "mount path of slashes": _text(_mount_at, "/"),
    "mount path of parents": _text(_mount_at, "/a/.."),
    "mount path of dots and spaces": _text(_mount_at, "\\. "),
    "hostPath": _text(lambda text: review(pod(volumes=[{"hostPath": {"path": f"/proc/{text}"}}])), "/*/root/../"),
    "Windows hostPath": _text(lambda text: review(pod(volumes=[{"hostPath": {"path": f"C:{text}"}}])), "\\x."),
    "subPath": _text(lambda text: review(pod(containers=[{"volumeMounts": [{"subPath": text}]}]))),
    "account of a Secret": _text(_secret_of, "-a-b"),
    "audience of a TokenRequest": _text(
        lambda text: review({"kind": "TokenRequest", "spec": {"audiences": [text]}}, name="app"), "/a1b."
    ),
    "digits of a number": _text(
        lambda text: review(pod(volumes=[projected(token())])).replace(b"3607", text.encode()), "1"
    ),
    "digits of a fraction": _text(
        lambda text: review(pod(volumes=[projected(token())])).replace(b"3607", f"36.{text}".encode()), "1"
    ),
    "spaces": _text(lambda text: review(pod()).replace(b'"request":', f'{text}"request":{text}'.encode()), " "),
    "nesting": lambda count: review(pod()).replace(b'"app"', b"[" * count + b"]" * count),
    "escapes": _text(lambda text: review(pod(serviceAccountName=text)), "\x01"),
}


def _broken() -> dict[str, Any]:
    """Return a pod with a finding of several rules."""
    return pod(volumes=[FOREIGN, BY_HAND], containers=[{"volumeMounts": [{"name": "t", "mountPath": "/injected/3"}]}])
