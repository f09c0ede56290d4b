"""`tokenguard status` names each cause in a cluster with nodes, and the command that it shows repairs it."""

import base64
import contextlib
import datetime as dt
import json
import time

import pytest
import yaml

from tests.control_plane.live import account_kubeconfig
from tests.end_to_end.cluster import configmap, created, pod, put_policy
from tests.end_to_end.operator import run_commands, shown_commands, status
from tests.end_to_end.running import MINUTES
from tests.manifests.rendering import shown_kustomizations
from tests.serving import eventually
from webhook.pki.issue import KeyPair, create_ca, issue_certificate

CONFIGURATIONS = ("mutatingwebhookconfiguration", "validatingwebhookconfiguration")
INVALID = "apiVersion: tokenguard/v1\nkind: TokenPolicy\nmodee: warn\n"
Problem = dict[str, str]


@pytest.fixture(autouse=True)
def protected(cluster):
    """Expect a protected cluster before and after each test."""
    assert status(cluster)[1] == []
    yield
    eventually(lambda: status(cluster)[1] == [], patience=2 * MINUTES)


def cause(cluster, row: str, text: str) -> Problem:
    """Return the problem of a row as soon as it is named, which takes a minute at most."""
    began = time.monotonic()

    def named() -> list[Problem]:
        return [problem for problem in status(cluster)[0][row]["problems"] if text in problem["text"]]

    problem: Problem = eventually(named, patience=MINUTES)[0]
    print(f"\n{row}: named after {time.monotonic() - began:.1f} s: {problem['text'][:200]}")  # noqa: T201 - the result
    return problem


@contextlib.contextmanager
def without_right(cluster, kind: str, resource: str):
    """Take a right of tokenguard's account away, so that it repairs nothing in the block."""
    where = (kind, "tokenguard", *(("-n", "tokenguard") if kind == "role" else ()))
    role = json.loads(cluster.do("get", *where, "-o", "json"))
    rules = [rule for rule in role["rules"] if resource not in rule["resources"]]
    assert len(rules) < len(role["rules"])
    try:
        cluster.do("patch", *where, "--type=merge", "-p", json.dumps({"rules": rules}))
        yield
    finally:
        cluster.do("patch", *where, "--type=merge", "-p", json.dumps({"rules": role["rules"]}))


def test_status_asks_the_replicas_through_the_api_server(cluster) -> None:
    def both_probed():
        rows, _ = status(cluster)
        is_complete = rows["replicas"]["summary"] == "2 of 2 ready" and "last success" in rows["probe"]["summary"]
        return rows if is_complete else None

    rows = eventually(both_probed, patience=2 * MINUTES)
    assert rows["probe"]["summary"].startswith("now: deny success, patch success; replicas: last success ")
    assert {name: row["state"] for name, row in rows.items() if row["state"] not in ("ok", "absent")} == {
        "policy": "note",  # an override without mode enforce
    }


def test_documented_rights_are_enough(cluster, tmp_path) -> None:
    rights = [*yaml.safe_load_all(shown_kustomizations("docs/status.md", "metadata: {name: tokenguard-status}")[0])]
    commands = shown_commands("kubectl create clusterrolebinding tokenguard-status", "docs/status.md")
    everything = {"apiVersion": "v1", "kind": "List", "items": rights}
    cluster.do("apply", "-f", "-", stdin=everything)
    try:
        run_commands(cluster, [command.replace("--group=on-call", "--group=system:serviceaccounts:oncall")
                               for command in commands])  # fmt: skip
        kubeconfig = account_kubeconfig(cluster, tmp_path, account="app", namespace="oncall")
        expected = {name: row["state"] for name, row in status(cluster)[0].items()}
        rows, problems = status(cluster, kubeconfig=kubeconfig)
        assert problems == []
        assert {name: row["state"] for name, row in rows.items()} == expected
        assert ", says a replica; Secret not read: HTTP 403" in rows["certificate"]["summary"]
        assert {name: row["state"] for name, row in rows_in_a_pod(cluster).items()} == expected
    finally:
        cluster.do("delete", "-f", "-", stdin=everything)
        for command in commands:
            cluster.do("delete", *command.split()[2:4], *(["-n", command.split("-n ")[1]] if "-n " in command else []))


def rows_in_a_pod(cluster):
    """Return the rows of `tokenguard status` as an account in the namespace oncall sees them in a pod."""
    manifest = pod("status", "oncall", restartPolicy="Never",
                   container={"image": cluster.image, "args": ["status", "-o", "json"]})  # fmt: skip
    created(cluster, manifest)
    path = "/api/v1/namespaces/oncall/pods/status"
    eventually(lambda: cluster.ask("GET", path)[1]["status"]["phase"] in ("Succeeded", "Failed"), patience=MINUTES)
    report = json.loads(cluster.do("logs", "status", "-n", "oncall"))
    cluster.do("delete", "pod", "status", "-n", "oncall")
    return {row["name"]: row for row in report["rows"]}


def test_status_names_that_there_is_no_replica(cluster) -> None:
    cluster.do("scale", "deployment/tokenguard", "-n", "tokenguard", "--replicas=0")
    problem = cause(cluster, "replicas", "no replica: the Deployment is scaled to 0")
    cause(cluster, "probe", "failed calling webhook")
    run_commands(cluster, [problem["fix"]])
    cluster.wait_for_rollout()


def test_status_names_why_no_replica_starts(cluster) -> None:
    cluster.do("scale", "deployment/tokenguard", "-n", "tokenguard", "--replicas=0")
    eventually(lambda: not cluster.replicas(), patience=MINUTES)
    cluster.do("set", "image", "deployment/tokenguard", "-n", "tokenguard", "tokenguard=registry.invalid/tokenguard:0")
    cluster.do("scale", "deployment/tokenguard", "-n", "tokenguard", "--replicas=2")
    try:
        problem = cause(cluster, "replicas", "ImagePull")
        assert problem["text"].startswith("no replica is ready (tokenguard-")
    finally:
        cluster.do("rollout", "undo", "deployment/tokenguard", "-n", "tokenguard")
        cluster.wait_for_rollout()


def test_status_names_a_wrong_ca_bundle(cluster) -> None:
    other = base64.b64encode(create_ca(dt.datetime.now(dt.UTC)).certificate).decode()
    kind = CONFIGURATIONS[1]
    with without_right(cluster, "clusterrole", kind + "s"):
        configuration = json.loads(cluster.do("get", kind, "tokenguard", "-o", "json"))
        patch = [
            {"op": "replace", "path": f"/webhooks/{number}/clientConfig/caBundle", "value": other}
            for number, _ in enumerate(configuration["webhooks"])
        ]
        time.sleep(1)  # until the API server knows that the right is gone
        cluster.do("patch", kind, "tokenguard", "--type=json", "-p", json.dumps(patch))
        cause(
            cluster, "certificate", "caBundle of pods.validate.tokenguard.svc and 5 more does not match the certificate"
        )
        cause(cluster, "probe", "x509: certificate signed by unknown authority")


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_status_names_a_deleted_configuration(cluster, kind) -> None:
    cluster.do("delete", kind, "tokenguard")
    problem = cause(cluster, kind.removesuffix("webhookconfiguration"), "/tokenguard does not exist")
    cause(cluster, "probe", "dry run in namespace tokenguard-probe")
    run_commands(cluster, [problem["fix"].partition(",")[0]])


def test_status_names_an_expired_certificate(cluster) -> None:
    stored = json.loads(cluster.do("get", "secret", "tokenguard-tls", "-n", "tokenguard", "-o", "json"))["data"]
    ca = KeyPair(*(base64.b64decode(stored[name]) for name in ("ca.crt", "ca.key")))
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=100)
    pair = issue_certificate(ca, ("tokenguard.tokenguard.svc",), then, dt.timedelta(days=90))
    files = {"tls.crt": pair.certificate, "tls.key": pair.key}
    data = {name: base64.b64encode(content).decode() for name, content in files.items()}
    with without_right(cluster, "role", "secrets"):
        time.sleep(1)  # as above
        cluster.do("patch", "secret", "tokenguard-tls", "-n", "tokenguard", "-p", json.dumps({"data": data}))
        problem = cause(cluster, "certificate", "the certificate in Secret tokenguard/tokenguard-tls expired on")
        run_commands(cluster, [problem["fix"]])
        eventually(lambda: status(cluster)[1] == [], patience=MINUTES)


def test_status_names_an_invalid_policy(cluster) -> None:
    kind = CONFIGURATIONS[1]
    webhooks = json.loads(cluster.do("get", kind, "tokenguard", "-o", "json"))["webhooks"]
    others = [webhook for webhook in webhooks if "policy" not in webhook["name"]]
    patch = [{"op": "replace", "path": "/webhooks", "value": others}]
    cluster.do("patch", kind, "tokenguard", "--type=json", "-p", json.dumps(patch))  # or it is not stored
    try:
        invalid = configmap({"name": "token-policy", "namespace": "tokenguard"}, INVALID)
        eventually(lambda: cluster.kubectl("apply", "-f", "-", stdin=invalid).returncode == 0)
        problem = cause(cluster, "policy", 'line 3: unknown key "modee"')
        assert "tokenguard policy validate" in problem["fix"]
    finally:
        put_policy(cluster)
        patch[0]["value"] = webhooks
        cluster.do("patch", kind, "tokenguard", "--type=json", "-p", json.dumps(patch))


def test_status_names_a_namespace_excluded_by_a_label(cluster) -> None:
    kind = CONFIGURATIONS[1]
    path = "/webhooks/0/namespaceSelector/matchExpressions"
    added = {"key": "example.com/unguarded", "operator": "DoesNotExist"}
    cluster.do(
        "patch",
        kind,
        "tokenguard",
        "--type=json",
        "-p",
        json.dumps([{"op": "add", "path": f"{path}/-", "value": added}]),
    )
    try:
        cluster.do("label", "namespace", "shop", "example.com/unguarded=")
        problem = cause(cluster, "namespaces", "namespace shop is excluded by its label example.com/unguarded")
        run_commands(cluster, [problem["fix"]])
        assert status(cluster)[1] == []
    finally:
        cluster.do(
            "patch", kind, "tokenguard", "--type=json", "-p", json.dumps([{"op": "remove", "path": f"{path}/1"}])
        )
