"""Objects and policies for the comparison: the golden cases, the recorded reviews, and generated ones."""

import copy
import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

from tests.control_plane.exported import SUBJECTS, Case
from tests.core.strategies import HEAD, admitted
from tests.golden_cases import LOADED, golden_case, the_object
from tests.reviews import review
from webhook.core import admission_request
from webhook.core.admission_request import read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.loader import default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.core.rules import RULES
from webhook.core.token_objects import INVALID_SINCE

RECORDED = Path(__file__).parent.parent / "recorded"


def golden() -> Iterator[Case]:
    """Yield the golden cases about pods, Secrets and TokenRequests; cases with the same policy share one."""
    policies: dict[str, Policy] = {}
    for rule, case in LOADED:
        expected = golden_case(case)
        request = dict(expected.request)
        obj, old = the_object(case), request.pop("old")
        subject = read_review(review(obj, **request, old=old), admission_request.Phase.VALIDATE).subject
        if subject not in SUBJECTS or request.get("namespace") == "":
            continue
        policy = policies.setdefault(expected.policy.sha256, expected.policy)
        namespace = request.get("namespace", "demo")
        account = (
            request.get("name", (obj.get("metadata") or {}).get("name", "")) if obj["kind"] == "TokenRequest" else ""
        )
        is_update = request.get("operation") == "UPDATE" and obj["kind"] == "Secret"
        yield Case(
            f"{rule}: {case['case']}",
            policy,
            completed(obj),
            expected.cluster,
            namespace,
            request.get("user", "admin"),
            tuple(request.get("groups", ())),
            completed(old) if is_update and old else None,
            account,
            tuple(sorted(expected.cluster.namespace_labels(namespace))),
        )


def recorded() -> Iterator[Case]:
    """Yield the objects of the recorded reviews under the default policy."""
    policy = default_policy()
    for path in sorted(RECORDED.glob("*.validate.*.json")):
        body = path.read_bytes()
        request = json.loads(body)["request"]
        if (
            read_review(body, admission_request.Phase.VALIDATE).subject not in SUBJECTS
            or request["operation"] != "CREATE"
        ):
            continue
        user = request["userInfo"]
        account = request["name"] if request.get("subResource") == "token" else ""
        obj = copy.deepcopy(request["object"])
        for key in ("uid", "creationTimestamp", "managedFields", "resourceVersion", "ownerReferences"):
            obj["metadata"].pop(key, None)
        yield Case(
            path.name, policy, completed(obj), user=user["username"], groups=tuple(user["groups"]), account=account
        )


API_AUDIENCE = "https://kubernetes.default.svc"
ACCOUNTS = ("app", "robot", "default")
USERS = {"admin": (), "alice@example.com": ("dev",), "system:serviceaccount:ci:deployer": ("system:serviceaccounts",)}
NAMESPACES = {"demo": (), "team-a": (("tier", "backend"),), "sandbox-1": (("tier", ""),)}
TODAY = dt.datetime.now(dt.UTC).date()
_globs = st.sampled_from([[], ["demo"], ["team-*"], ["*-a", "sandbox-1"], ["*"], ["d*o"]])
_labels = st.sampled_from([{}, {"tier": "backend"}, {"tier": ""}])
_seconds = st.sampled_from([600, 900, 3600, 3607, 7200, 86400])
_audiences = st.sampled_from([
    {}, {"default": "vault"}, {"required": False}, {"allowed": ["vault", "db"]},
    {"allowed": ["https://*.example.com", "v*t"], "default": "vault"},
])  # fmt: skip
_actions = st.fixed_dictionaries(
    {}, optional={rule.name: st.sampled_from([str(action) for action in rule.actions]) for rule in RULES}
)
_tokens = st.fixed_dictionaries(
    {}, optional={"maxExpirationSeconds": _seconds, "maxRequestExpirationSeconds": _seconds, "audiences": _audiences}
)
_modes = st.sampled_from(["enforce", "enforce", "enforce", "warn", "audit"])
_messages = st.sampled_from([{}, {"url": "https://x/it's", "contact": '#"team" {a}'}])
_overrides = st.fixed_dictionaries(
    {"namespaces": _globs, "namespaceLabels": _labels},
    optional={"mode": _modes, "rules": _actions, "tokens": _tokens},
)
_exemptions = st.fixed_dictionaries(
    {
        "rules": st.one_of(
            st.just(["*"]), st.lists(st.sampled_from([rule.name for rule in RULES]), min_size=1, max_size=3)
        ),
        "namespaces": _globs,
        "serviceAccounts": st.sampled_from([[], ["app"], ["demo/*"], ["r*", "team-a/app"]]),
        "users": st.sampled_from([[], ["admin"], ["*@example.com"], ["system:serviceaccount:ci:*"]]),
        "reason": st.just('it\'s "tested" {here}'),
        "until": st.sampled_from(["never", *(str(TODAY + dt.timedelta(days=days)) for days in (-400, -1, 1, 400))]),
    }
)
_injections = st.sampled_from([
    [],
    [],
    [{"name": "vault", "audience": "vault", "mountPath": "/v", "env": "V"}],
    [
        {"name": "vault", "audience": "vault", "mountPath": "/v", "env": "V", "onRequest": True},
        {"name": "db", "audience": API_AUDIENCE, "mountPath": "/a", "env": "V", "podLabels": {"app": "shop"}},
    ],
    [{"name": "db", "audience": "d", "mountPath": "/a", "namespaces": ["team-*"], "serviceAccounts": ["app", "d*/*"]}],
    [{"name": "vault", "audience": "vault", "mountPath": "/v", "namespaceLabels": {"tier": "backend"}}],
])  # fmt: skip


@st.composite
def rich_policies(draw: st.DrawFn) -> Policy:
    """Policies with everything that an export has to express."""
    document = {
        **HEAD,
        "mode": draw(_modes),
        "rules": draw(_actions),
        "tokens": draw(_tokens),
        "apiServerToken": {"expiration": draw(st.sampled_from(["cap", "keep"]))},
        "messages": draw(_messages),
        "kubeletRootDirs": draw(st.sampled_from([["/var/lib/kubelet"], ["/data/k.8s", "C:\\\\k"]])),
        "inject": draw(_injections),
        "overrides": draw(st.lists(_overrides, max_size=3)),
        "exemptions": draw(st.lists(_exemptions, max_size=2)),
    }
    policy = read_policy(json.dumps(document).encode())
    assume(isinstance(policy, Policy))  # an injection may exceed the maximum that was drawn
    assert isinstance(policy, Policy)
    return policy


host_paths = st.sampled_from([
    "/", "/var", "/var/lib//kubelet/./pods/x", "/VAR/lib", "/var/log", "/data/k.8s/pods", "/data/k_8s/pods",
    ".", "C:\\k\\pods", "/proc/1/root/etc", "/proc", "/proc/self/task/7/cwd", "\\var\\lib", "/k/pods/1",
    "/var/lib/kubelet/plugins",
])  # fmt: skip


@st.composite
def rich_pods(draw: st.DrawFn) -> dict[str, Any]:
    """Pods that the API server accepts, more of them with tokens in odd places."""
    pod = accepted(draw(admitted))
    spec = pod["spec"]
    if draw(st.booleans()):
        path = {"name": "host", "hostPath": {"path": draw(host_paths), "type": ""}}
        spec["volumes"] = [*(spec.get("volumes") or ()), path]
    if draw(st.booleans()):
        spec["terminationGracePeriodSeconds"] = draw(st.sampled_from([0, 30, 120, 181, 720, 721, 86400]))
    if draw(st.integers(0, 4)) == 0:
        spec["os"] = {"name": "windows"}
    if draw(st.integers(0, 4)) == 0:
        pod["metadata"]["labels"] = {"app": "shop"}
    return pod


token_requests = st.fixed_dictionaries(
    {
        "expirationSeconds": st.sampled_from([None, 600, 3600, 3601, 3607, 86400, 1 << 32]),
        "audiences": st.sampled_from([
            None, [], ["vault"], [API_AUDIENCE], ["a.b", "https://x.example.com"], ["https://x/y.example.com"],
            ["vault", API_AUDIENCE],
        ]),
        "boundObjectRef": st.sampled_from([
            None, None, {"kind": "Pod", "apiVersion": "v1", "name": "bound"},
            {"kind": "Secret", "apiVersion": "v1", "name": "bound"},
        ]),
    }
).map(lambda spec: {"kind": "TokenRequest", "metadata": {}, "spec": spec})  # fmt: skip

_legacy_annotations = st.fixed_dictionaries(
    {"kubernetes.io/service-account.name": st.sampled_from(["app", "robot"])},
    optional={"kubernetes.io/service-account.uid": st.sampled_from(["1", "2"])},
)
_secret_labels = st.sampled_from([{}, {INVALID_SINCE: "2026-01-01"}, {INVALID_SINCE: ""}])
_legacy_data = st.sampled_from([{}, {"token": ""}, {"token": "YQ=="}, {"ca.crt": "YQ=="}])


@st.composite
def secret_changes(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A Secret that is created, or one and its update."""
    kind = draw(st.sampled_from(["kubernetes.io/service-account-token"] * 3 + ["Opaque"]))

    def secret() -> dict[str, Any]:
        metadata = {"name": "secret", "annotations": draw(_legacy_annotations), "labels": draw(_secret_labels)}
        return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "data": draw(_legacy_data)}

    return secret(), secret() if draw(st.booleans()) else None


@st.composite
def rich_cases(draw: st.DrawFn, number: int) -> list[Case]:
    """A policy, and a user's requests in a namespace under it: pods, a TokenRequest and a Secret."""
    policy = draw(rich_policies())
    made = []
    for index in range(number):
        namespace = draw(st.sampled_from(list(NAMESPACES)))
        user = draw(st.sampled_from(list(USERS)))
        origin = {
            "namespace": namespace,
            "user": user,
            "groups": USERS[user],
            "namespace_labels": NAMESPACES[namespace],
        }
        cluster = ClusterState(namespaces={name: frozenset(pairs) for name, pairs in NAMESPACES.items()})
        made.append(Case(f"pod {index}", policy, draw(rich_pods()), cluster, **origin))
    account = draw(st.sampled_from(ACCOUNTS))
    made.append(Case("token", policy, completed(draw(token_requests)), cluster, **origin, account=account))
    secret, old = draw(secret_changes())
    made.append(Case("secret", policy, secret, cluster, **origin, old=old))
    return made


def generated(count: int, pods_for_each: int, *, patched: bool) -> list[Case]:
    """Return so many generated policies, each with so many generated pods, a TokenRequest and a Secret.

    Those for the `patched` variant are others.
    """
    cases: list[Case] = []

    @seed(20261126 if patched else 20261127)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(rich_cases(pods_for_each))
    def collect(cases_of_policy: list[Case]) -> None:
        number = len({id(case.policy) for case in cases})
        cases.extend(replace(case, name=f"generated {number}: {case.name}") for case in cases_of_policy)

    collect()
    return cases


def completed(obj: dict[str, Any]) -> dict[str, Any]:
    """Return an object with what the API server requires and no rule reads."""
    obj = copy.deepcopy(obj)
    metadata = obj.setdefault("metadata", {}) or {}
    obj["metadata"] = metadata
    metadata.pop("uid", None)
    if not metadata.get("generateName") and obj["kind"] != "TokenRequest":
        metadata.setdefault("name", "app")
    if obj["kind"] == "TokenRequest":
        obj["apiVersion"] = "authentication.k8s.io/v1"
    if obj["kind"] == "Pod":
        for key in ("initContainers", "containers"):
            for container in obj["spec"].get(key) or ():
                container.setdefault("image", "app")
                for number, device in enumerate(container.get("volumeDevices") or ()):
                    device.setdefault("name", f"device-{number}")
    return obj


def accepted(pod: dict[str, Any]) -> dict[str, Any]:
    """Return a generated pod without what makes the API server reject it for other reasons than tokens."""
    pod = completed(pod)
    spec = pod["spec"]
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or ()}
    for volume in volumes.values():
        _correct_volume(volume)
    names: set[str] = set()
    for key in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(key) or ()):
            if container["name"] in names:
                container["name"] += f"-{key.lower()}-{number}"
            names.add(container["name"])
            mounts = container.get("volumeMounts") or ()
            container["volumeMounts"] = [mount for mount in mounts if mount["name"] in volumes]
            for variable in container.get("env") or ():
                if "valueFrom" in variable:
                    variable.pop("value", None)
                    variable["valueFrom"]["secretKeyRef"].setdefault("key", "token")
    return pod


def _correct_volume(volume: dict[str, Any]) -> None:
    if "projected" in volume:
        sources = volume["projected"].get("sources") or ()
        for number, source in enumerate(sources):
            if "serviceAccountToken" in source:
                source["serviceAccountToken"]["path"] += str(number)
        volume["projected"]["sources"] = [entry for entry in sources if entry and "clusterTrustBundle" not in entry]
    for number, item in enumerate((volume.get("secret") or {}).get("items") or ()):
        item["path"] = f"{item['path']}{number}"
