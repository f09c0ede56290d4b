"""Workloads that use legacy Secrets: those of the golden cases and of the recorded reviews, and generated ones."""

import json
import random
from typing import Any

from tests.golden_cases import LOADED, golden_case
from tests.recorded_reviews import RECORDED
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE

Object = dict[str, Any]
KEYS = ("token", "ca.crt", "namespace")
KINDS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "ReplicaSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "Pod": "v1",
    "Rollout": "argoproj.io/v1alpha1",
}


def legacy_secret(name: str, account: str = "app", namespace: str = "shop") -> Object:
    """Return a legacy Secret."""
    metadata = {"name": name, "namespace": namespace, "annotations": {LEGACY_TOKEN_ACCOUNT: account}}
    return {"apiVersion": "v1", "kind": "Secret", "type": LEGACY_TOKEN_TYPE, "metadata": metadata}


def workload(kind: str, name: str, spec: Object, namespace: str = "shop") -> Object:
    """Return a workload with a pod spec."""
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    body: Object = {"template": template, "selector": {"matchLabels": {"app": name}}}
    if kind == "Pod":
        body = spec
    elif kind == "CronJob":
        body = {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": template}}}
    elif kind == "Job":
        body = {"template": template}
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": KINDS[kind], "kind": kind, "metadata": meta, "spec": body}


def generated(chance: random.Random, count: int) -> list[Object]:
    """Return workloads with random fields that name a legacy Secret of their own account."""
    kinds = list(KINDS)
    return [workload(kinds[number % len(kinds)], f"w{number}", _spec(chance)) for number in range(count)]


def _spec(chance: random.Random) -> Object:
    volumes: list[Object] = [_volume(chance, f"v{number}") for number in range(chance.randrange(4))]
    names = [volume["name"] for volume in volumes]
    kinds = {"containers": chance.randint(1, 3), "initContainers": chance.randrange(2)}
    spec: Object = {
        field: [_container(chance, f"{field[0]}{number}", names) for number in range(count)]
        for field, count in kinds.items()
    }
    if volumes:
        spec["volumes"] = volumes
    if chance.random() < 0.3:
        spec["imagePullSecrets"] = chance.sample([{"name": "registry"}, {"name": "app-token"}], chance.randint(1, 2))
    return {**spec, "serviceAccountName": "app", "restartPolicy": "Always"}


def _volume(chance: random.Random, name: str) -> Object:
    items = [{"key": key, "path": f"at/{key}"} for key in chance.sample(KEYS, chance.randint(1, 3))]
    for item in items:
        if item["key"] != "token" and chance.random() < 0.3:
            item["mode"] = 0o440
    mode = {"defaultMode": 0o400} if chance.random() < 0.4 else {}
    given = {"items": items} if chance.random() < 0.5 else {}
    if chance.random() < 0.3:
        sources = [{"configMap": {"name": "settings"}}, {"secret": {"name": "app-token", **given}}]
        chance.shuffle(sources)
        return {"name": name, "projected": {"sources": sources, **mode}}
    if given and chance.random() < 0.3:
        given = {"items": [{**item, "mode": 0o600} if item["key"] == "token" else item for item in items]}
    optional = {"optional": True} if chance.random() < 0.3 else {}
    return {"name": name, "secret": {"secretName": "app-token", **given, **mode, **optional}}


def _container(chance: random.Random, name: str, volumes: list[str]) -> Object:
    container: Object = {"name": name, "image": "app:1"}
    env: list[Object] = [{"name": "COLOUR", "value": "hunter2"}]
    for key in chance.sample(KEYS, chance.randrange(4)):
        reference = {"name": "app-token", "key": key}
        env.append({"name": f"V_{key.replace('.', '_')}", "valueFrom": {"secretKeyRef": reference}})
    if chance.random() < 0.3:
        env.append({"name": "V_token_FILE", "value": "taken"})
    chance.shuffle(env)
    if chance.random() < 0.8:
        container["env"] = env
    sources = [{"secretRef": {"name": "app-token"}}, {"prefix": "P_", "secretRef": {"name": "app-token"}}]
    others = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "other"}}]
    if chance.random() < 0.4:
        container["envFrom"] = chance.sample([*sources, *others], chance.randint(1, 4))
    mounts = []
    for volume in volumes:
        if chance.random() < 0.7:
            mounts.append({"name": volume, "mountPath": f"/{volume}", "readOnly": True})
        if chance.random() < 0.3:
            mounts.append({"name": volume, "mountPath": f"/files/{volume}", "subPath": "token"})
    if mounts:
        container["volumeMounts"] = mounts
    return container


def golden(rule: str) -> dict[str, list[Object]]:
    """Return the pods of a rule's golden cases with their clusters, each in a namespace of its own, by the case."""
    cases = {}
    for number, (_, document) in enumerate(case for case in LOADED if case[0] == rule):
        case = golden_case(document)
        namespace = f"case-{number}"
        if case.object.get("kind", "Pod") == "Pod":
            tokens = case.cluster.legacy_tokens.get("demo", {})
            secrets = [legacy_secret(name, account, namespace) for name, account in tokens.items()]
            cases[document["case"]] = [*secrets, _moved(case.object, namespace)]
    return cases


def recorded() -> list[Object]:
    """Return the pods and workloads that a real API server sent, in the namespace `recorded`."""
    objects = []
    files = {*RECORDED.glob("*.mutate.pods.json"), *RECORDED.glob("workload-*.validate.*.json")}
    for number, file in enumerate(sorted(files)):
        request = json.loads(file.read_text())["request"]
        if request["object"] and not request.get("subResource"):
            name = f"{file.name.partition('.')[0]}-{number}"
            objects.append(_moved({**request["object"], **_kind(request)}, "recorded", name))
    return objects


def _kind(request: Object) -> Object:
    kind = request["kind"]
    return {"apiVersion": "/".join(filter(None, (kind["group"], kind["version"]))), "kind": kind["kind"]}


def _moved(obj: Object, namespace: str, name: str = "") -> Object:
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key in ("labels", "annotations")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        **obj,
        "metadata": {**metadata, "name": name or namespace, "namespace": namespace},
    }
