"""`--backstop` on a real API server, with the rights of its component: applied, repaired, in step, and removed."""

import datetime as dt

import pytest
import yaml

from tests.control_plane.conftest import configuration, rule
from tests.control_plane.exported import ADMISSION, Client, serves_mutating_policies
from tests.control_plane.plane import own_plane
from tests.policies import HEAD
from tests.serving import eventually, serve
from webhook.cluster.api_client import ApiClient
from webhook.cluster.backstop import Backstop, BackstopMode, backstop_state
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.core.snapshot import Snapshot

RIGHTS = "manifests/components/backstop/rights/cluster-role.yaml"
SUBPATH = f"{ADMISSION}/validatingadmissionpolicies/tokenguard-token-subpath"
BINDING = f"{ADMISSION}/validatingadmissionpolicybindings/tokenguard-token-audience-deny"
CONTAINERS = [{"name": "app", "image": "app"}]
PODS = "/api/v1/namespaces/demo/pods?dryRun=All"
WEBHOOK = {
    "name": "pods.validate.tokenguard.svc",
    "clientConfig": {"url": "https://127.0.0.1:1/"},
    "rules": [rule("none.example.com", ["nothing"], ["CREATE"])],
}


def snapshot(text: str) -> Snapshot:
    policy = read_policy(f"{HEAD}{text}".encode())
    assert isinstance(policy, Policy)
    return Snapshot(policy, ClusterState())


@pytest.fixture(scope="module")
def plane(tmp_path_factory, request):
    with own_plane(tmp_path_factory.mktemp("backstop-plane")) as running:
        for name in ("tokenguard", "demo"):
            running.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": namespaces(name)})
        running.do("apply", "-f", str(request.config.rootpath / RIGHTS))
        configure(running)
        yield running


def configure(plane, **settings) -> None:
    """Apply a webhook configuration, for the namespaces that it excludes."""
    plane.do("apply", "-f", "-", stdin=configuration("ValidatingWebhookConfiguration", {**WEBHOOK, **settings}))


def namespaces(name: str) -> list[dict]:
    account = "tokenguard" if name == "tokenguard" else "default"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": name}},
    ]


@pytest.fixture
def admin(plane):
    with Client(plane) as client:
        yield client


@pytest.fixture(scope="module")
def kubeconfig(plane, tmp_path_factory):
    """Return the kubeconfig of tokenguard's own account."""
    config = yaml.safe_load((plane.folder / "kubeconfig").read_text())
    token = plane.do("create", "token", "tokenguard", "-n", "tokenguard").strip()
    config["users"][0]["user"] = {"token": token}
    file = tmp_path_factory.mktemp("account") / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture
def backstop(kubeconfig, tmp_path):
    """Return what makes a backstop of a mode, and its transport."""
    transport = ApiClient(kubeconfig, tmp_path)

    def of(mode: BackstopMode) -> Backstop:
        return Backstop(
            lambda: None, lambda _: None, tmp_path, kubeconfig=kubeconfig, mode=mode, excluded=("tokenguard",)
        )

    yield of, transport
    of(BackstopMode.OFF).reconcile(snapshot(""))
    assert backstop_state(transport).mode is BackstopMode.OFF


def test_backstop_follows_the_policy_with_its_own_rights_alone(admin, backstop) -> None:
    of, transport = backstop
    running, first = of(BackstopMode.VAP), snapshot("")
    assert running.reconcile(first) == 18
    assert running.reconcile(first) == 0, "what was applied reads as it was written"
    state = backstop_state(transport)
    assert (state.mode, list(state.problems(first.policy.revision))) == (BackstopMode.VAP, [])
    _, exported, _ = admin.ask("GET", f"{SUBPATH}-warn")
    assert [entry["manager"] for entry in exported["metadata"]["managedFields"]] == ["tokenguard-backstop"]

    second = snapshot("rules: {token-subpath: reject}")
    assert list(backstop_state(transport).problems(second.policy.revision))
    running.reconcile(second)
    assert not list(backstop_state(transport).problems(second.policy.revision))
    assert admin.ask("GET", f"{SUBPATH}-warn")[0] == 404
    assert admin.ask("GET", f"{SUBPATH}-deny")[0] == 200


@pytest.mark.covers("failure-modes: exported policy edited")
def test_backstop_repairs_what_somebody_edits_adds_or_deletes(admin, backstop) -> None:
    of, transport = backstop
    running, policy = of(BackstopMode.VAP), snapshot("")
    running.reconcile(policy)
    _, binding, _ = admin.ask("GET", BINDING)
    binding["spec"]["validationActions"] = ["Warn"]
    assert admin.ask("PUT", BINDING, binding)[0] == 200
    _, exported, _ = admin.ask("GET", f"{SUBPATH}-warn")
    exported["spec"]["matchConditions"].append({"name": "never", "expression": "false"})
    assert admin.ask("PUT", f"{SUBPATH}-warn", exported)[0] == 200
    assert admin.ask("DELETE", f"{ADMISSION}/validatingadmissionpolicies/tokenguard-inject-deny")[0] == 200
    state = backstop_state(transport)
    assert set(state.edited) == {"tokenguard-token-audience-deny", "tokenguard-token-subpath-warn"}
    assert state.missing == 1
    assert running.reconcile(policy) == 3
    assert not list(backstop_state(transport).problems(policy.policy.revision))


def test_backstop_with_patches_omits_expired_exemptions(plane, admin, backstop) -> None:
    if not serves_mutating_policies(plane):
        pytest.skip("needs MutatingAdmissionPolicies of admissionregistration.k8s.io/v1: Kubernetes 1.36")
    of, transport = backstop
    ended = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    policy = snapshot(f"exemptions: [{{rules: ['*'], namespaces: [demo], reason: r, until: {ended}}}]")
    of(BackstopMode.MAP).reconcile(policy)
    assert backstop_state(transport).mode is BackstopMode.MAP
    assert "variables.exempt" not in str(admin.ask("GET", f"{SUBPATH}-warn")[1]["spec"])


def test_backstop_may_not_touch_other_admission_policies(plane, kubeconfig) -> None:
    other = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding"}
    body = {**other, "metadata": {"name": "other"}, "spec": {"policyName": "other", "validationActions": ["Audit"]}}
    done = plane.kubectl("--kubeconfig", str(kubeconfig), "apply", "--server-side", "-f", "-", stdin=body)
    assert "forbidden" in done.stderr.lower()


def test_backstop_follows_the_webhook_configurations_exclusions(plane, admin, backstop) -> None:
    of, _ = backstop
    running, policy = of(BackstopMode.VAP), snapshot("")
    running.reconcile(policy)
    terms = [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "a"]},
        {"key": "example.com/off", "operator": "DoesNotExist"},
    ]
    condition = {"name": "not-in-an-excluded-namespace", "expression": "!(request.namespace in 'b,c'.split(','))"}
    configure(plane, namespaceSelector={"matchExpressions": terms}, matchConditions=[condition])
    changed = running.reconcile(policy)
    _, exported, _ = admin.ask("GET", f"{SUBPATH}-warn")
    assert exported["spec"]["matchConstraints"]["namespaceSelector"] == {
        "matchExpressions": [{**terms[0], "values": ["kube-system", "tokenguard", "b", "c", "a"]}, terms[1]]
    }
    assert changed == 6, "the policies about pods, without their bindings"
    assert running.reconcile(policy) == 0, "what was applied reads as it was written"
    configure(plane)


UNPATCHED = """
rules: {api-token-automount: patch}
tokens: {audiences: {default: vault}}
inject: [{name: v, audience: db, mountPath: /v, onRequest: true}]
"""
API_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def pod(*tokens: dict, path: str = "/t", annotations: dict | None = None, **spec: object) -> dict:
    """A pod that mounts a volume with these tokens, or none."""
    sources = [{"serviceAccountToken": {"path": "token", **token}} for token in tokens]
    volumes = [{"name": "t", "projected": {"sources": sources}}] if sources else []
    mounts = [{"name": "t", "mountPath": path}] if sources else []
    containers = [{**CONTAINERS[0], "volumeMounts": mounts}]
    meta = {"name": "app", "annotations": annotations or {}}
    return {"metadata": meta, "spec": {"containers": containers, "volumes": volumes, **spec}}


def tokens_of(answer: dict) -> list[tuple[str, int]]:
    """Return audience and lifetime of each token in a pod."""
    sources = [source for volume in answer["spec"].get("volumes", ()) for source in volume["projected"]["sources"]]
    projections = [source["serviceAccountToken"] for source in sources if "serviceAccountToken" in source]
    return [(token.get("audience", ""), token["expirationSeconds"]) for token in projections]


OWN = {"tokenguard/api-token": "true"}
DIFFERENCES = {
    "a token that its author projects": (
        pod({"audience": "a", "expirationSeconds": 86400}, automountServiceAccountToken=False), None, [("a", 3600)],
    ),
    "a token that names no audience": (
        pod({"expirationSeconds": 600}, automountServiceAccountToken=False), None, [("vault", 600)],
    ),
    "the API server's own token": (pod(annotations=OWN), [("", 3607)], [("", 3600)]),
    "a longer one, by hand": (
        pod({"expirationSeconds": 86400}, path=API_PATH, annotations=OWN), None, [("", 3600)],
    ),
    "an API token that nobody requested": (pod(), [("", 3607)], []),
    "an injected token": (
        pod(annotations={"tokenguard/inject": "v"}, automountServiceAccountToken=False), [], [("db", 3600)],
    ),
}  # fmt: skip
"""Pods, with their tokens under `vap` and `vap+map`; None: denied. The webhook does the same as `vap+map`."""


@pytest.mark.parametrize("mode", [BackstopMode.VAP, BackstopMode.MAP])
def test_what_nothing_patches_differs_as_listed(plane, admin, backstop, mode) -> None:
    if mode is BackstopMode.MAP and not serves_mutating_policies(plane):
        pytest.skip("needs MutatingAdmissionPolicies of admissionregistration.k8s.io/v1: Kubernetes 1.36")
    of, _ = backstop
    of(mode).reconcile(snapshot(UNPATCHED))

    def answers() -> dict[str, list[tuple[str, int]] | None]:
        replies = {name: admin.ask("POST", PODS, sent) for name, (sent, *_) in DIFFERENCES.items()}
        return {name: tokens_of(answer) if status == 201 else None for name, (status, answer, _) in replies.items()}

    expected = {name: by_mode[mode is BackstopMode.MAP] for name, (_, *by_mode) in DIFFERENCES.items()}
    eventually(lambda: answers() == expected)  # once the API server enforces these policies, and not those before


REGISTRATION = "admissionregistration.k8s.io/v1"
UNSERVED = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
WITHOUT_MUTATING = (
    "--disable-admission-plugins=MutatingAdmissionPolicy",
    f"--runtime-config={','.join(f'{REGISTRATION}/{name}=false' for name in UNSERVED)}",
)
"""As before Kubernetes 1.36."""


@pytest.mark.covers("failure-modes: API server without a kind of the backstop")
def test_backstop_without_mutating_policies_applies_nothing(plane, tmp_path) -> None:
    (tmp_path / "plane").mkdir()
    without = WITHOUT_MUTATING if serves_mutating_policies(plane) else ()
    with own_plane(tmp_path / "plane", *without) as older:
        configure(older)
        kubeconfig = str(older.folder / "kubeconfig")
        flags = ("--objects", "/dev/null", "--kubeconfig", kubeconfig, "--backstop", "vap+map")
        with serve(tmp_path / "run", *flags) as server:
            reason = f"the API server does not serve MutatingAdmissionPolicy of {REGISTRATION}"
            eventually(lambda: reason in server.log)
            assert server.metric("tokenguard_backstop_in_sync") == 0
            assert server.request("GET", "/readyz").status == 200, "the webhook evaluates as usual"
        transport = ApiClient(older.folder / "kubeconfig", tmp_path)
        assert backstop_state(transport).mode is BackstopMode.OFF, "without the first policy, the others are too strict"
        vap = Backstop(
            lambda: None, lambda _: None, tmp_path, kubeconfig=older.folder / "kubeconfig", mode=BackstopMode.VAP,
            excluded=("tokenguard",),
        )  # fmt: skip
        assert vap.reconcile(snapshot("")) == 18
        assert backstop_state(transport).mode is BackstopMode.VAP
