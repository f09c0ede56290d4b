"""`tokenguard status` on a real API server: it names each cause, and says what it could not read."""

import base64
import contextlib
import datetime as dt
import json

import pytest
import yaml

from tests.commands import run_command
from tests.control_plane.installed import installed
from tests.control_plane.live import account_kubeconfig
from tests.control_plane.plane import own_plane
from tests.end_to_end.cluster import configmap, namespace_with, put_policy
from tests.end_to_end.operator import status
from tests.manifests.rendering import render
from tests.serving import eventually
from webhook.pki.issue import create_ca, issue_certificate

POLICY = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
PROBLEM = 1
ACCOUNT = ("-n", "tokenguard", "--as", "system:serviceaccount:tokenguard:tokenguard")
CONFIGURATIONS = ("mutatingwebhookconfiguration", "validatingwebhookconfiguration")


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("status")
    with own_plane(folder) as plane:
        plane.create(*namespace_with("shop", "default"), *namespace_with("tokenguard-probe", "default"))
        plane.create(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
        )
        with installed(plane, folder, 1) as running:
            put_policy(plane, POLICY)
            eventually(lambda: running.replicas[0].metric("tokenguard_policy_info", mode="enforce"))
            scaled(plane, 2)
            yield running


def scaled(plane, ready) -> None:
    """Say of the Deployment what its controller would: nobody runs pods here."""
    plane.do("scale", "deployment/tokenguard", "-n", "tokenguard", "--replicas=2")
    status = {"replicas": 2, "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": 2}
    patch = json.dumps({"status": status})
    where = ("deployment/tokenguard", "-n", "tokenguard", "--subresource=status", "--type=merge")
    plane.do("patch", *where, "-p", patch)


def only_problems(plane, *rows):
    """Return the problems; fail unless they are of these rows, or of the probe that follows from them."""
    rows_by_name, problems = status(plane)
    assert {name for name, row in rows_by_name.items() if row["state"] == "problem"} - {"probe"} == set(rows), problems
    assert all(problem["fix"] for problem in problems)
    return problems


@contextlib.contextmanager
def restored(plane, kind, *where, wait=True):
    """Put an object back as it was, after the block."""
    saved = json.loads(plane.do("get", kind, *where, "-o", "json"))
    for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
        saved["metadata"].pop(key, None)
    try:
        yield saved
    finally:
        # a replica may create a deleted Secret first
        eventually(lambda: plane.kubectl("replace", "--force", "-f", "-", stdin=saved).returncode == 0)
        if wait:
            eventually(lambda: status(plane)[1] == [])


def test_status_of_a_protected_cluster_is_clean(installation) -> None:
    plane = installation.plane
    rows, problems = status(plane)
    assert problems == []
    assert {row["state"] for row in rows.values()} <= {"ok", "absent", "note"}, rows
    assert rows["probe"]["summary"] == "now: deny success, patch success"
    text = run_command("status", "--kubeconfig", str(plane.folder / "kubeconfig"))
    assert text.returncode == 0, text.stdout
    assert text.stdout.startswith("tokenguard in namespace tokenguard: protected\ncluster    https://127.0.0.1:")


def test_no_replica_is_named(installation) -> None:
    scaled(installation.plane, 0)
    try:
        [problem] = only_problems(installation.plane, "replicas")
        assert "no replica is ready" in problem["text"]
    finally:
        scaled(installation.plane, 2)


@pytest.mark.parametrize(
    ("pod_status", "reason", "fix"),
    [
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]},
            "Unschedulable: 0/3", "kubectl describe pod -n tokenguard tokenguard-0", id="not scheduled",
        ),
        pytest.param(
            {"containerStatuses": [{
                "name": "tokenguard", "image": "x", "imageID": "", "ready": False, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}},
            }]},
            "ImagePullBackOff: Back-off pulling image", "kubectl describe pod -n tokenguard tokenguard-0",
            id="no image",
        ),
        pytest.param(
            {"containerStatuses": [{
                "name": "tokenguard", "image": "x", "imageID": "", "ready": False, "restartCount": 7,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"reason": "Error", "exitCode": 2}},
            }]},
            "CrashLoopBackOff: Error, exit status 2", "kubectl logs -n tokenguard tokenguard-0 --previous",
            id="restarting",
        ),
    ],
)  # fmt: skip
def test_reason_of_a_pod_that_is_not_ready_is_named(installation, pod_status, reason, fix) -> None:
    plane, where = installation.plane, ("pod/tokenguard-0", "-n", "tokenguard")
    meta = {"name": "tokenguard-0", "namespace": "tokenguard", "labels": {"app.kubernetes.io/name": "tokenguard"}}
    deployment = json.loads(plane.do("get", "deployment/tokenguard", "-n", "tokenguard", "-o", "json"))
    spec = deployment["spec"]["template"]["spec"]
    plane.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    scaled(plane, 0)
    try:
        patch = json.dumps({"status": {"phase": "Pending", **pod_status}})
        plane.do("patch", *where, "--subresource=status", "--type=merge", "-p", patch)
        [problem] = only_problems(plane, "replicas")
        assert (problem["text"], problem["fix"]) == (f"no replica is ready (tokenguard-0: {reason})", fix)
    finally:
        scaled(plane, 2)
        plane.do("delete", *where, "--grace-period=0", "--force")


def test_wrong_ca_bundle_is_named(installation) -> None:
    plane, kind = installation.plane, CONFIGURATIONS[1]
    [server] = installation.replicas
    other = base64.b64encode(create_ca(dt.datetime.now(dt.UTC)).certificate).decode()
    with restored(plane, kind, "tokenguard") as saved, server.paused():
        for webhook in saved["webhooks"]:
            changed = {**webhook, "clientConfig": {**webhook["clientConfig"], "caBundle": other}}
            patch = {"webhooks": [changed]}
            plane.do("patch", kind, "tokenguard", "-p", json.dumps(patch))
        problems = only_problems(plane, "certificate")
        texts = [problem["text"] for problem in problems]
        assert any("caBundle of pods.validate.tokenguard.svc and 5 more does not match" in text for text in texts)


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_deleted_configuration_is_named(installation, kind) -> None:
    plane = installation.plane
    with restored(plane, kind, "tokenguard"):
        plane.do("delete", kind, "tokenguard")
        row = kind.removesuffix("webhookconfiguration")
        eventually(lambda: [row["state"] for row in status(plane)[0].values()].count("problem") == 2)
        problems = only_problems(plane, row)
        assert any("tokenguard does not exist" in problem["text"] for problem in problems)
        [effect] = [
            problem for problem in problems if problem["text"].startswith("dry run in namespace tokenguard-probe")
        ]
        assert "tokenguard does not exist" in effect["cause"]


def test_expired_certificate_is_named(installation) -> None:
    plane = installation.plane
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=400)
    ca = create_ca(then)
    pair = issue_certificate(ca, ("tokenguard.tokenguard.svc", "127.0.0.1"), then, dt.timedelta(days=90))
    [server] = installation.replicas
    data = {
        "ca.crt": base64.b64encode(ca.certificate).decode(), "ca.key": None,
        "tls.crt": base64.b64encode(pair.certificate).decode(), "tls.key": base64.b64encode(pair.key).decode(),
    }  # fmt: skip
    # paused: or it issues another one within seconds
    with restored(plane, "secret", "tokenguard-tls", "-n", "tokenguard"), server.paused():
        plane.do("patch", "secret", "tokenguard-tls", "-n", "tokenguard", "-p", json.dumps({"data": data}))
        rows, problems = status(plane)
        texts = [problem["text"] for problem in problems]
        assert rows["certificate"]["state"] == "problem"
        assert any("the certificate in Secret tokenguard/tokenguard-tls expired on" in text for text in texts)
        assert "does not match" in " ".join(texts), "the caBundle is the one of before"


def test_expired_ca_is_replaced_by_the_suggested_command(installation) -> None:
    plane, where = installation.plane, ("tokenguard", "-n", "tokenguard")
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=400)
    ca = create_ca(then)
    pair = issue_certificate(ca, ("tokenguard.tokenguard.svc", "127.0.0.1"), then)
    data = {"ca.crt": ca.certificate, "ca.key": ca.key, "tls.crt": pair.certificate, "tls.key": pair.key}
    with restored(plane, "role", *where) as role:
        rules = [rule for rule in role["rules"] if rule["resources"] != ["secrets"]]
        plane.do("patch", "role", *where, "-p", json.dumps({"rules": rules}))  # or a replica renews both within seconds
        eventually(lambda: plane.kubectl("auth", "can-i", "patch", "secret/tokenguard-tls", *ACCOUNT).returncode)
        encoded = {name: base64.b64encode(content).decode() for name, content in data.items()}
        plane.do("patch", "secret", "tokenguard-tls", "-n", "tokenguard", "-p", json.dumps({"data": encoded}))
        expired = "the certificate in Secret tokenguard/tokenguard-tls expired on"
        [problem] = [problem for problem in status(plane)[1] if problem["text"].startswith(expired)]
        assert problem["fix"] == "tokenguard certs rotate"
        done = run_command(*problem["fix"].split()[1:], "--kubeconfig", str(plane.folder / "kubeconfig"))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Secret tokenguard/tokenguard-tls: created a CA and a certificate\n")
        eventually(lambda: status(plane)[1] == [])


def test_invalid_policy_is_named(installation) -> None:
    plane = installation.plane
    meta = {"name": "token-policy", "namespace": "tokenguard"}
    with restored(plane, CONFIGURATIONS[1], "tokenguard", wait=False) as saved:
        webhooks = [webhook for webhook in saved["webhooks"] if "policy" not in webhook["name"]]
        patch = [{"op": "replace", "path": "/webhooks", "value": webhooks}]
        plane.do("patch", CONFIGURATIONS[1], "tokenguard", "--type=json", "-p", json.dumps(patch))
        stored = lambda: plane.kubectl("apply", "-f", "-", stdin=configmap(meta, f"{POLICY}modee: warn\n"))  # noqa: E731
        eventually(lambda: stored().returncode == 0)
    try:
        [problem] = only_problems(plane, "policy")
        assert 'line 3: unknown key "modee"' in problem["text"]
        assert "tokenguard policy validate" in problem["fix"]
    finally:
        put_policy(plane, POLICY)


def test_mode_audit_leaves_pods_unprotected(installation) -> None:
    put_policy(installation.plane, f"{POLICY}mode: audit\n")
    try:
        eventually(lambda: installation.replicas[0].metric("tokenguard_policy_info", mode="audit"))
        [problem] = only_problems(installation.plane, "policy")
        assert "mode is audit" in problem["text"]
    finally:
        put_policy(installation.plane, POLICY)
        eventually(lambda: installation.replicas[0].metric("tokenguard_policy_info", mode="enforce"))


def test_namespace_excluded_by_a_label_is_named(installation) -> None:
    plane = installation.plane
    with restored(plane, CONFIGURATIONS[1], "tokenguard") as saved:
        selector = saved["webhooks"][0]["namespaceSelector"]["matchExpressions"]
        selector.append({"key": "example.com/unguarded", "operator": "DoesNotExist"})
        path = "/webhooks/0/namespaceSelector/matchExpressions"
        patch = [{"op": "replace", "path": path, "value": selector}]
        plane.do("patch", CONFIGURATIONS[1], "tokenguard", "--type=json", "-p", json.dumps(patch))
        assert status(plane)[1] == []
        plane.do("label", "namespace", "shop", "example.com/unguarded=")
        [problem] = only_problems(plane, "namespaces")
        assert "namespace shop is excluded by its label example.com/unguarded" in problem["text"]
        plane.do(*problem["fix"].split()[1:])
        assert status(plane)[1] == []


def test_edited_backstop_is_named(installation) -> None:
    plane = installation.plane
    policy = plane.do("get", "configmap", "token-policy", "-n", "tokenguard", "-o", "yaml")
    exported = [*yaml.safe_load_all(run_command("policy", "export", "-", stdin=policy.encode()).stdout)]
    listed = {"apiVersion": "v1", "kind": "List", "items": exported}
    apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    plane.do(*apply, stdin=listed)
    kind, name = next((obj["kind"], obj["metadata"]["name"]) for obj in exported)
    try:
        rows, problems = status(plane)
        assert (rows["backstop"]["state"], problems) == ("ok", [])
        plane.do("patch", kind, name, "--type=merge", "-p", json.dumps({"spec": {"failurePolicy": "Ignore"}}))
        [problem] = only_problems(plane, "backstop")
        assert f"{name} was edited" in problem["text"]
        assert "tokenguard policy export" in problem["fix"]
        plane.do(*apply, stdin=listed)
        assert status(plane)[1] == []
        plane.do("delete", f"{kind}Binding", name)
        [problem] = only_problems(plane, "backstop")
        assert "are missing" in problem["text"]
    finally:
        plane.kubectl("delete", "-f", "-", stdin=listed)


def test_status_without_rights_reports_what_was_not_read(installation, tmp_path) -> None:
    plane = installation.plane
    plane.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader", "namespace": "shop"}})
    kubeconfig = account_kubeconfig(plane, tmp_path, account="reader", namespace="shop")
    rows, problems = status(plane, kubeconfig=kubeconfig)
    assert problems == []
    assert {name for name, row in rows.items() if row["state"] == "unknown"} == rows.keys()
    assert all("not read: HTTP 403" in row["summary"] for name, row in rows.items() if name != "probe")


def test_probe_namespace_without_a_quota_is_a_note(installation) -> None:
    probe = eventually(  # until the API server knows that the backstop of the test above is gone
        lambda: row if len((row := status(installation.plane)[0]["probe"])["problems"]) == 1 else None
    )
    [problem] = probe["problems"]
    assert problem["note"]
    assert "no ResourceQuota of 0 pods applies there" in problem["text"]
    assert render("manifests/probe")[0]["metadata"]["name"] == "tokenguard-probe"


def test_unreachable_api_server_is_a_failed_run(tmp_path) -> None:
    (tmp_path / "kubeconfig").write_text(
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "users: [{name: u, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
        "current-context: x\n"
    )
    done = run_command("status", "--kubeconfig", str(tmp_path / "kubeconfig"))
    assert done.returncode == 2
    assert "the connection to the server " in done.stderr
