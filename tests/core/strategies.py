"""Strategies for hypothesis: pods, before and after the ServiceAccount plugin has seen them, and policies."""

import datetime as dt
import json
from typing import Any

from hypothesis import strategies as st

from tests.reviews import API_TOKEN_PATH, with_api_token
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.core.rules import RULES

HEAD = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy"}
NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
CLUSTER = ClusterState(legacy_tokens={"demo": {"app-token": "app", "robot-token": "robot"}})

names = st.sampled_from(["a", "b", "c", "tokenguard-vault", "kube-api-access-1"])
secrets = st.sampled_from(["app-token", "robot-token", "database"])
paths = st.sampled_from(["/a", "/a/", "/v", "/v//", API_TOKEN_PATH, "/var/run/secrets"])
unknown = st.fixed_dictionaries({}, optional={"futureField": st.sampled_from([None, 1.5, {"deep": [1, "ż"]}])})
audiences = st.sampled_from([None, "", "vault", "db", "https://kubernetes.default.svc", "other"])
seconds = st.sampled_from([None, 600, 900, 3600, 3607, 86400, 1 << 32])


def objects_with(required: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with fields of ours and, now and then, one that this version doesn't know."""
    return st.builds(
        lambda ours, theirs: {**theirs, **ours}, st.fixed_dictionaries(required, optional=optional or {}), unknown
    )


tokens = objects_with({"path": st.sampled_from(["token", "x"])}, {"audience": audiences, "expirationSeconds": seconds})
sources = st.one_of(
    objects_with({"serviceAccountToken": tokens}),
    objects_with({"secret": objects_with({"name": secrets})}),
    st.just({}),
    st.just({"clusterTrustBundle": {"path": "ca"}}),
)
items = st.lists(
    objects_with(
        {"key": st.sampled_from(["token", "ca.crt", "namespace", "extra"]), "path": st.just("p")},
        {"mode": st.just(256)},
    ),
    max_size=3,
)
volumes = st.one_of(
    objects_with(
        {"name": names, "projected": objects_with({"sources": st.one_of(st.none(), st.lists(sources, max_size=3))})}
    ),
    objects_with(
        {
            "name": names,
            "secret": objects_with(
                {"secretName": secrets}, {"items": items, "defaultMode": st.sampled_from([256, 420])}
            ),
        }
    ),
    objects_with({"name": names, "hostPath": objects_with({"path": st.sampled_from(["/", "/var/log"])})}),
    objects_with({"name": names, "emptyDir": st.just({})}),
)
variables = objects_with(
    {"name": st.sampled_from(["V", "W"])},
    {"value": st.just("v"), "valueFrom": objects_with({"secretKeyRef": objects_with({"name": secrets})})},
)
containers = objects_with(
    {"name": st.sampled_from(["app", "logs", "init"])},
    {
        "env": st.one_of(st.none(), st.lists(variables, max_size=2)),
        "envFrom": st.lists(objects_with({"secretRef": objects_with({"name": secrets})}), max_size=1),
        "volumeMounts": st.one_of(
            st.none(),
            st.lists(
                objects_with({"name": names, "mountPath": paths}, {"subPath": st.just("s")}),
                max_size=3,
                unique_by=lambda mount: mount["mountPath"],
            ),
        ),
    },
)
annotations = st.fixed_dictionaries(
    {},
    optional={
        "tokenguard/inject": st.sampled_from(["vault", "db,vault", "what", ""]),
        "tokenguard/skip-containers": st.sampled_from(["logs", "app,init", ","]),
        "tokenguard/api-token": st.sampled_from(["true", "false"]),
    },
)
specs = objects_with(
    {"containers": st.lists(containers, min_size=1, max_size=3)},
    {
        "initContainers": st.lists(containers, max_size=2),
        "volumes": st.one_of(st.none(), st.lists(volumes, max_size=4, unique_by=lambda volume: volume["name"])),
        "serviceAccountName": st.sampled_from(["app", "robot"]),
        "automountServiceAccountToken": st.sampled_from([None, True, False]),
    },
)
pods = st.builds(
    lambda meta, spec: {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-", **meta}, "spec": spec},
    objects_with({}, {"annotations": annotations, "labels": st.just({"app": "shop"})}),
    specs,
)
admitted = st.one_of(
    pods, pods.map(lambda pod: pod if pod["spec"].get("volumes") is None else with_api_token_safely(pod))
)


def with_api_token_safely(pod: dict[str, Any]) -> dict[str, Any]:
    """Add the API server token as the plugin would: where nothing has its name or its place."""
    spec = pod["spec"]
    every = [*spec["containers"], *spec.get("initContainers", [])]
    if any(container.get("volumeMounts", []) is None for container in every):
        return pod
    if any(mount["mountPath"] == API_TOKEN_PATH for container in every for mount in container.get("volumeMounts", [])):
        return pod
    return with_api_token(pod)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    actions = {rule.name: draw(st.sampled_from([str(action) for action in rule.actions])) for rule in RULES}
    document = {
        **HEAD,
        "mode": draw(st.sampled_from(["enforce", "enforce", "enforce", "warn", "audit"])),
        "rules": actions,
        "tokens": {
            "maxExpirationSeconds": draw(st.sampled_from([900, 3600, 3607, 86400])),
            "audiences": draw(
                st.sampled_from([{}, {"default": "vault"}, {"required": False}, {"allowed": ["vault", "db"]}])
            ),
        },
        "apiServerToken": {"expiration": draw(st.sampled_from(["cap", "keep"]))},
        "inject": draw(
            st.sampled_from(
                [
                    [],
                    [{"name": "vault", "audience": "vault", "mountPath": "/v", "env": "V"}],
                    [
                        {"name": "vault", "audience": "vault", "mountPath": "/v", "env": "V", "onRequest": True},
                        {"name": "db", "audience": "https://kubernetes.default.svc", "mountPath": "/a", "env": "V"},
                    ],
                ]
            )
        ),
    }
    policy = read_policy(json.dumps(document).encode())
    assert isinstance(policy, Policy), policy
    return policy
