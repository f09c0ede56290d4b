"""Compares the verdicts of exported policies, by a real API server, with those of `evaluate`: rule by rule."""

import collections
import contextlib
import copy
import datetime as dt
import http.client
import json
import re
import ssl
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import jsonpatch

from tests.control_plane.plane import ControlPlane
from tests.reviews import review
from tests.serving import eventually
from webhook.core.admission_request import AdmissionRequest, Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.decision import Finding
from webhook.core.evaluate import evaluate
from webhook.core.json_patch import assemble
from webhook.core.kinds import Subject
from webhook.core.lifetimes import YEAR
from webhook.core.policy.model import Action, Mode, Policy
from webhook.core.rules import RULES
from webhook.core.secret_content import ReviewedSecret
from webhook.export.compiler import compile_policy

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
SUBJECTS = (Subject.POD, Subject.SECRET, Subject.TOKEN_REQUEST)
LABEL = "equality"
RESOURCES = {"Pod": "pods", "Secret": "secrets", "TokenRequest": "serviceaccounts/token"}
UNKNOWN = "legacy-token-reference"
"""The rule that CEL cannot express at all."""
_WARNING = re.compile(
    r"Validation failed for ValidatingAdmissionPolicy 'tokenguard-(?P<rule>[a-z-]+)-(?P<action>deny|warn|audit)-\d+'"
    r" with binding '[^']*': (?P<message>.*)",
    re.DOTALL,
)
_ACTIONS = {"deny": Action.REJECT, "warn": Action.WARN, "audit": Action.AUDIT}
_KINDS = ("validatingadmissionpolic", "mutatingadmissionpolic")


NO_STATE = ClusterState()


@dataclass(frozen=True)
class Case:
    """An object that is created, or updated from `old`, by a user under a policy."""

    name: str
    policy: Policy
    object: dict[str, Any]
    cluster: ClusterState = NO_STATE
    namespace: str = "demo"
    user: str = "admin"
    groups: tuple[str, ...] = ()
    old: dict[str, Any] | None = None
    account: str = ""
    namespace_labels: tuple[tuple[str, str], ...] = ()


@dataclass
class Tally:
    """What was compared. `invalid` counts the objects that the API server does not accept under any policy."""

    verdicts: int = 0
    violations: int = 0
    explained: collections.Counter[str] = field(default_factory=collections.Counter)
    invalid: collections.Counter[str] = field(default_factory=collections.Counter)
    objects: int = 0
    denied: int = 0
    patched: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.verdicts} verdicts about {self.objects} objects ({self.violations} with a violation; {self.denied} "
            f"objects denied, {self.patched} patched); explained: {dict(self.explained)}; not accepted by the API "
            f"server: {dict(self.invalid)}; {len(self.differences)} differences"
        )


class Client:
    """A connection to the API server, as its admin or as anybody else."""

    def __init__(self, plane: ControlPlane) -> None:
        trust = ssl.create_default_context(cafile=str(plane.folder / "ca.crt"))
        self._connection = http.client.HTTPSConnection(plane.url.removeprefix("https://"), context=trust, timeout=120)
        self._token = (plane.folder / "tokens.csv").read_text().partition(",")[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(
        self, method: str, path: str, body: Any = None, user: str = "", groups: Iterable[str] = ()
    ) -> tuple[int, Any, list[str]]:
        """Return status, answer and warnings."""
        data = b"" if body is None else json.dumps(body).encode()
        self._connection.putrequest(method, path)
        headers = [("Authorization", f"Bearer {self._token}"), ("Content-Type", "application/json")]
        headers += [("Content-Length", str(len(data)))]
        if user:
            headers += [("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups)]
        for name, value in headers:
            self._connection.putheader(name, value)
        self._connection.endheaders(data)
        reply = self._connection.getresponse()
        raw = reply.read()
        warnings = [value for name, value in reply.getheaders() if name.lower() == "warning"]
        return reply.status, json.loads(raw) if raw else None, [_unquoted(warning) for warning in warnings]

    def create(self, path: str, body: Any) -> None:
        """Create an object, unless it exists."""
        status, answer, _ = self.ask("POST", path, body)
        assert status in {201, 409}, answer


def _unquoted(warning: str) -> str:
    """Return the text of a Warning header: `299 - "TEXT"` in UTF-8, with quotes and backslashes escaped."""
    text = warning.split(" ", 2)[2][1:-1].encode("latin-1").decode()
    return re.sub(r"\\(.)", r"\1", text)


def compare(plane: ControlPlane, cases: Iterable[Case], *, patched: bool, tally: Tally, batch: int = 40) -> None:
    """Compare the verdicts about all cases; `batch` is how many policies the API server gets at once."""
    with Client(plane) as client:
        client.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", _ANYBODY)
        eventually(lambda: client.ask("GET", "/api/v1/namespaces", user="anybody")[0] == 200)
        waiting = list(cases)
        while waiting:
            chosen, waiting = _next_batch(waiting, batch)
            numbers: dict[tuple[int, str, tuple[str, ...]], int] = {}
            for case in chosen:
                numbers.setdefault(_key(case), len(numbers))
            _prepare_namespaces(client, chosen)
            with _installed(client, chosen, numbers, patched=patched):
                for case in chosen:
                    _compare_case(client, case, numbers[_key(case)], tally, patched=patched)


def serves_mutating_policies(plane: ControlPlane) -> bool:
    """Return whether the API server has MutatingAdmissionPolicies: from Kubernetes 1.36 on."""
    with Client(plane) as client:
        _, group, _ = client.ask("GET", ADMISSION)
    return "mutatingadmissionpolicies" in {resource["name"] for resource in group["resources"]}


def _key(case: Case) -> tuple[int, str, tuple[str, ...]]:
    return id(case.policy), case.cluster.own_namespace, case.policy.api_audiences(case.cluster)


def _next_batch(cases: list[Case], batch: int) -> tuple[list[Case], list[Case]]:
    """Return cases of at most so many policies, whose namespaces all have the same labels, and the rest."""
    chosen: list[Case] = []
    rest: list[Case] = []
    labels: dict[str, tuple[tuple[str, str], ...]] = {}
    policies: set[Any] = set()
    for case in cases:
        fits = labels.get(case.namespace, case.namespace_labels) == case.namespace_labels
        if fits and (_key(case) in policies or len(policies) < batch):
            labels[case.namespace] = case.namespace_labels
            policies.add(_key(case))
            chosen.append(case)
        else:
            rest.append(case)
    return chosen, rest


_ANYBODY = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "anybody"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}],
}


def _prepare_namespaces(client: Client, cases: list[Case]) -> None:
    for name, labels in {case.namespace: case.namespace_labels for case in cases}.items():
        metadata = {"name": name, "labels": dict(labels)}
        client.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        path = f"/api/v1/namespaces/{name}"
        _, namespace, _ = client.ask("GET", path)
        own = {
            key: value for key, value in namespace["metadata"]["labels"].items() if key == "kubernetes.io/metadata.name"
        }
        namespace["metadata"]["labels"] = {**own, **dict(labels)}
        status, answer, _ = client.ask("PUT", path, namespace)
        assert status == 200, answer
    accounts = {(case.namespace, account) for case in cases for account in _accounts(case)}
    for namespace, account in sorted(accounts):
        made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
        client.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", made)


def _accounts(case: Case) -> Iterator[str]:
    spec = case.object.get("spec") or {}
    yield "default"
    for name in (spec.get("serviceAccountName"), spec.get("serviceAccount"), case.account):
        if name:
            yield name


@contextlib.contextmanager
def _installed(client: Client, cases: list[Case], numbers: dict[Any, int], *, patched: bool) -> Iterator[None]:
    """Have the API server enforce the exported policies, each for the objects with its number as a label."""
    by_number = {numbers[_key(case)]: case for case in reversed(cases)}
    kinds: dict[int, set[str]] = {}
    for case in cases:
        kinds.setdefault(numbers[_key(case)], set()).add(RESOURCES[case.object["kind"]])
    objects = [
        obj for number, case in by_number.items() for obj in _exported(case, number, kinds[number], patched=patched)
    ]
    sentinel = f"sentinel-{uuid.uuid4()}"  # for a while the API server still has the one of the policies before
    objects.append({**_SENTINEL, "metadata": {"name": sentinel}})
    objects.append({**_binding(sentinel, sentinel, ["Warn"]), "kind": "ValidatingAdmissionPolicyBinding"})
    objects.sort(key=lambda obj: obj["kind"].endswith("Binding"))
    for obj in objects:
        status, answer, _ = client.ask("POST", f"{ADMISSION}/{plural(obj['kind'])}", obj)
        assert status == 201, (obj["metadata"]["name"], answer)
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}}
    deadline = time.monotonic() + 120
    while not any(
        sentinel in warning
        for warning in client.ask("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", probe)[2]
    ):
        assert time.monotonic() < deadline, "the API server does not enforce the policies"
        time.sleep(0.1)
    time.sleep(1.2 if patched else 0)  # mutating policies are loaded every second, on their own
    try:
        yield
    finally:
        for kind in _KINDS:
            for ending in ("ybindings", "ies"):
                client.ask("DELETE", f"{ADMISSION}/{kind}{ending}")


def plural(kind: str) -> str:
    """Return the name of the resource of a kind."""
    return f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"


_SENTINEL = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
            ]
        },
        "validations": [{"expression": "false", "message": "the policies are enforced"}],
    },
}
"""Comes last, so the API server has loaded all others when it warns."""


def _binding(name: str, policy: str, actions: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": {"name": name},
        "spec": {"policyName": policy, "validationActions": actions},
    }


def _exported(case: Case, number: int, resources: set[str], *, patched: bool) -> Iterator[dict[str, Any]]:
    """Yield the exported objects under other names, and for each binding one more that warns: it shows every verdict.

    Those for other resources are left out: it takes the API server some time to compile each.
    """
    export = compile_policy(
        case.policy,
        patched=patched,
        excluded=(case.cluster.own_namespace,),
        api_audiences=case.policy.api_audiences(case.cluster),
    )
    selector = {"objectSelector": {"matchLabels": {LABEL: str(number)}}}
    left_out = {
        obj["metadata"]["name"]
        for obj in export.objects
        if "matchConstraints" in obj["spec"]
        and obj["spec"]["matchConstraints"]["resourceRules"][0]["resources"][0] not in resources
    }
    for original in export.objects:
        if original["metadata"]["name"] in left_out:
            continue
        obj = copy.deepcopy(original)
        obj["metadata"]["name"] += f"-{number}"
        if obj["kind"].endswith("Binding"):
            obj["spec"]["policyName"] += f"-{number}"
            obj["spec"]["matchResources"] = selector
        yield obj
        if obj["kind"] == "ValidatingAdmissionPolicyBinding":
            extra = copy.deepcopy(obj)
            extra["metadata"]["name"] = f"shown-{obj['metadata']['name']}"
            extra["spec"]["validationActions"] = ["Warn"]
            yield extra


def _compare_case(client: Client, case: Case, number: int, tally: Tally, *, patched: bool) -> None:
    kind = case.object["kind"]
    with _stored(client, case):
        given = _send(client, case, case.object, "none")
        if given[0] not in {200, 201}:
            tally.invalid[f"{kind}: {given[1].get('reason')}"] += 1
            return
        original = _unstored(given[1])
        status, answer, warnings = _send(client, case, original, str(number))
        final = original
        if patched and kind == "Pod":
            final = _after_mutation(case, original, tally, (status, answer))
        _compare_verdicts(case, final, (status, answer, warnings), tally, patched=patched)


def _after_mutation(case: Case, original: dict[str, Any], tally: Tally, sent: tuple[int, Any]) -> dict[str, Any]:
    """Return the pod that the validating policies see, after comparing it with what the webhook makes of it."""
    decision = evaluate(_request(case, original, Phase.MUTATE), case.policy, case.cluster, dt.datetime.now(dt.UTC))
    edits = [edit for finding in decision.findings if finding.rule != UNKNOWN for edit in finding.violation.edits]
    expected: dict[str, Any] = jsonpatch.apply_patch(original, [*assemble(edits)])
    if expected != original:
        tally.patched += 1
    if sent[0] in {200, 201}:
        made = _unstored(sent[1])
        if _comparable(made) != _comparable(expected):
            tally.differences.append(
                f"{case.name}: patched\n  webhook {_comparable(expected)}\n  API server {_comparable(made)}"
            )
    return expected


def _comparable(pod: dict[str, Any]) -> Any:
    """Return a pod without what the API server fills in after admission, and without its label."""
    spec = copy.deepcopy(pod["spec"])
    for volume in spec.get("volumes", []):
        if "projected" in volume:
            volume["projected"].setdefault("defaultMode", 420)
    spec.pop("tolerations", None)
    return json.loads(json.dumps(_without_empty(spec)))


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: inner for key, old in value.items() if (inner := _without_empty(old)) not in (None, [], {}, "")}
    return [_without_empty(inner) for inner in value] if isinstance(value, list) else value


def _path(case: Case, obj: dict[str, Any]) -> str:
    kind = obj["kind"]
    if kind == "TokenRequest":
        return f"/api/v1/namespaces/{case.namespace}/serviceaccounts/{case.account}/token"
    path = f"/api/v1/namespaces/{case.namespace}/{kind.lower()}s"
    return f"{path}/{obj['metadata']['name']}" if case.old is not None else path


def _send(client: Client, case: Case, obj: dict[str, Any], label: str) -> tuple[int, Any, list[str]]:
    sent = copy.deepcopy(obj)
    metadata = sent.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), LABEL: label}
    metadata["namespace"] = case.namespace
    method = "PUT" if case.old is not None else "POST"
    return client.ask(method, f"{_path(case, sent)}?dryRun=All", sent, case.user, case.groups)


@contextlib.contextmanager
def _stored(client: Client, case: Case) -> Iterator[None]:
    """Have the object that is updated, or a pod that a token is bound to, in the API server meanwhile."""
    needed = []
    if case.old is not None:
        needed.append(copy.deepcopy(case.old))
    bound = (case.object.get("spec") or {}).get("boundObjectRef") or {}
    if bound.get("kind") == "Pod" and bound.get("name"):
        spec = {"containers": [{"name": "app", "image": "app"}], "serviceAccountName": case.account}
        needed.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": bound["name"]}, "spec": spec})
    if bound.get("kind") == "Secret" and bound.get("name"):
        needed.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": bound["name"]}})
    paths = []
    for obj in needed:
        obj["metadata"]["namespace"] = case.namespace
        path = f"/api/v1/namespaces/{case.namespace}/{obj['kind'].lower()}s"
        client.create(path, obj)
        paths.append(f"{path}/{obj['metadata']['name']}")
    try:
        yield
    finally:
        for path in paths:
            client.ask("DELETE", path, {"gracePeriodSeconds": 0})


def _unstored(obj: dict[str, Any]) -> dict[str, Any]:
    """Return an object of an answer as one that is sent."""
    metadata = {
        key: value
        for key, value in obj["metadata"].items()
        if key not in {"uid", "creationTimestamp", "resourceVersion", "managedFields", "generation"}
    }
    labels = {key: value for key, value in metadata.pop("labels", {}).items() if key != LABEL}
    if labels:
        metadata["labels"] = labels
    return {**{key: value for key, value in obj.items() if key != "status"}, "metadata": metadata}


def _request(case: Case, obj: dict[str, Any], phase: Phase) -> AdmissionRequest:
    body = review(
        obj,
        namespace=case.namespace,
        name=case.account or obj["metadata"].get("name", ""),
        user=case.user,
        groups=("system:authenticated", *case.groups),
        operation="UPDATE" if case.old is not None else "CREATE",
        old=case.old,
    )
    return read_review(body, phase)


Verdicts = dict[str, dict[Action, list[str]]]
"""The messages of each rule, by action."""


def _compare_verdicts(
    case: Case, final: dict[str, Any], sent: tuple[int, Any, list[str]], tally: Tally, *, patched: bool
) -> None:
    status, answer, warnings = sent
    request = _request(case, final, Phase.VALIDATE)
    expected = _expected(case, request, tally, patched=patched)
    actual = _actual(case, warnings, tally)
    tally.objects += 1
    content = json.dumps(final["spec"]) if final["kind"] == "Pod" else ""
    for rule in RULES:
        if request.subject in rule.subjects and rule.name != UNKNOWN:
            tally.verdicts += 1
            tally.violations += rule.name in expected
            help_text = case.policy.help and f"; {case.policy.help}"
            ending = f"{help_text} [see 'tokenguard rules {rule.name}']"
            if _agree(expected.get(rule.name, {}), actual.get(rule.name, {}), ending):
                continue
            if rule.name == "legacy-token-secret" and _is_unreadable(case, request):
                tally.explained["legacy-token-secret: whose token a text is"] += 1
            elif rule.name == "token-expiration" and "api-token-automount" in expected and _would_remove(case):
                tally.explained["token-expiration: a token that would be removed"] += 1
            else:
                said = f"expected {expected.get(rule.name)}, got {actual.get(rule.name)}"
                tally.differences.append(f"{case.name}: {rule.name}: {said}\n  {content}\n  {warnings}")
    is_denied = any(Action.REJECT in actions for actions in expected.values())
    tally.denied += is_denied
    was_denied = status == 403 and "ValidatingAdmissionPolicy" in answer["message"]
    if is_denied != was_denied and not _is_unreadable(case, request):
        tally.differences.append(f"{case.name}: denied {is_denied}, but {status} {answer.get('message')}")


def _expected(case: Case, request: AdmissionRequest, tally: Tally, *, patched: bool) -> Verdicts:
    decision = evaluate(request, case.policy, case.cluster, dt.datetime.now(dt.UTC))
    assert not decision.problem, (case.name, decision.problem)
    verdicts: Verdicts = {}
    for finding in decision.findings:
        reason = "" if patched else _why_let_in(case, finding)
        if reason:
            tally.explained[reason] += 1
        elif finding.rule != UNKNOWN:
            verdicts.setdefault(finding.rule, {}).setdefault(finding.action, []).append(finding.line())
    return verdicts


def _actual(case: Case, warnings: list[str], tally: Tally) -> Verdicts:
    verdicts: Verdicts = {}
    for warning in warnings:
        match = _WARNING.fullmatch(warning)
        if match is not None:
            verdicts.setdefault(match["rule"], {}).setdefault(_ACTIONS[match["action"]], []).append(match["message"])
        elif "AdmissionPolicy" in warning:
            tally.differences.append(f"{case.name}: {warning}")
    return verdicts


def _agree(expected: dict[Action, list[str]], actual: dict[Action, list[str]], ending: str) -> bool:
    """Return whether two verdicts have the same actions, and say the same, with the ending; hints may differ."""
    return expected.keys() == actual.keys() and all(
        (any(message.startswith(_stem(line)) for line in expected[action]) and message.endswith(ending))
        or "\\" in message
        for action, messages in actual.items()
        for message in messages
    )


def _stem(line: str) -> str:
    """Return the part of a line before its hint, and before the name of an account that CEL cannot read."""
    return re.split(r"; | of (?=\")", line)[0]


def _would_remove(case: Case) -> bool:
    """Return whether the policy only reports what `api-token-automount` would remove."""
    namespace_policy = case.policy.in_namespace(case.namespace, frozenset(case.namespace_labels))
    return namespace_policy.mode is not Mode.ENFORCE and namespace_policy.rules["api-token-automount"] is Action.PATCH


def _is_unreadable(case: Case, request: AdmissionRequest) -> bool:
    """Return whether the decision depends on whose token is in a Secret, which CEL cannot read."""
    secret = request.object
    if not isinstance(secret, ReviewedSecret) or secret.legacy_token is None:
        return False
    by_account = any(exemption.service_accounts for exemption in case.policy.exemptions)
    return secret.is_legacy or by_account


def _why_let_in(case: Case, finding: Finding) -> str:
    """Return why `-o vap` lets a violation in that the webhook denies, because only the webhook repairs it."""
    if finding.action is not Action.REJECT or not finding.violation.edits:
        return ""
    namespace_policy = case.policy.in_namespace(case.namespace, frozenset(case.namespace_labels))
    if finding.rule == "token-expiration" and finding.violation.is_api_token:
        token = finding.violation.token
        return "token-expiration: the API server's own token" if token and token.lifetime == YEAR else ""
    if finding.rule == "inject":
        return "inject: the token is missing"
    if finding.rule == "api-token-automount" and namespace_policy.rules[finding.rule] is Action.PATCH:
        return "api-token-automount: the token is not removed"
    return ""
