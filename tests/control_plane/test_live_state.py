"""Policy, legacy Secrets and Namespaces as a real API server has them, seen by a ServiceAccount with few rights."""

import json
import os
import signal
from base64 import b64encode

import pytest

from tests.control_plane import live as cluster
from tests.control_plane.live import (
    BAD,
    BY_LABEL,
    NAMESPACE,
    POLICY,
    WARN,
    account_kubeconfig,
    denial_message,
    is_allowed,
    is_denied,
    live,
    memory_of,
    put_policy,
    put_secret,
    reads,
    revision,
    revisions,
)
from tests.serving import eventually, serve


@pytest.fixture(scope="module")
def plane(live_plane):
    return live_plane


def events(plane) -> list[dict]:
    items = json.loads(plane.do("get", "events", "-n", NAMESPACE, "-o", "json"))["items"]
    return [event for event in items if event["reason"] == "PolicyRejected"]


def lists_of_secrets(plane) -> int:
    """Return how often tokenguard has listed all Secrets."""
    account = f"system:serviceaccount:{NAMESPACE}:tokenguard"
    lines = [json.loads(line) for line in plane.audit.splitlines() if account in line and line.endswith("}")]
    return sum(
        line["verb"] == "list"
        and line["stage"] == "ResponseComplete"
        and line["objectRef"]["resource"] == "secrets"
        and line["user"]["username"] == account
        for line in lines
        if "objectRef" in line
    )


def test_readiness_names_what_is_missing(plane, tmp_path) -> None:
    with live(plane, tmp_path, "--policy-configmap", f"{NAMESPACE}/absent", ready=False) as server:
        eventually(lambda: "Secrets" not in server.request("GET", "/readyz").json["error"])
        missing = server.request("GET", "/readyz")
        assert missing.status == 503
        assert "policy" in missing.json["error"]


def test_created_and_deleted_secret_is_noticed_at_once(plane, server, namespace) -> None:
    assert is_allowed(server, namespace, "old")
    put_secret(plane, "old", namespace)
    eventually(lambda: is_denied(server, namespace, "old"))
    plane.do("delete", "secret", "old", "-n", namespace)
    eventually(lambda: is_allowed(server, namespace, "old"))


def test_secret_of_another_type_is_no_legacy_token(plane, server, namespace) -> None:
    plane.do("create", "secret", "generic", "plain", "-n", namespace, "--from-literal=token=x")
    put_secret(plane, "old", namespace)
    eventually(lambda: is_denied(server, namespace, "old"))
    assert is_allowed(server, namespace, "plain")


@pytest.mark.covers("threat-model: namespace relabelled")
def test_relabelled_namespace_is_evaluated_by_its_new_labels(plane, server, namespace) -> None:
    put_policy(plane, BY_LABEL)
    put_secret(plane, "old", namespace)
    eventually(lambda: is_denied(server, namespace, "old"))
    plane.do("label", "namespace", namespace, "trust=high")
    eventually(lambda: is_allowed(server, namespace, "old"))
    plane.do("label", "namespace", namespace, "trust-")
    eventually(lambda: is_denied(server, namespace, "old"))


def test_new_policy_is_in_force_and_counted_once(plane, server) -> None:
    before = server.metric("tokenguard_policy_reloads_total", result="accepted")
    put_policy(plane, WARN)
    eventually(lambda: revisions(server) == {revision(WARN)})
    assert server.metric("tokenguard_policy_reloads_total", result="accepted") == before + 1


def test_invalid_policy_is_reported_once_and_the_last_stays(plane, server) -> None:
    before = server.metric("tokenguard_policy_reloads_total", result="rejected")
    put_policy(plane, BAD)
    [event] = eventually(lambda: events(plane))
    assert event["involvedObject"]["kind"] == "ConfigMap"
    assert event["involvedObject"]["name"] == "token-policy"
    for mistake in ('line 3: unknown key "modee"', "line 4: tokens.maxExpirationSeconds"):
        assert mistake in event["message"]
        assert server.log.count(f"token-policy: {mistake}") == 1
    assert revisions(server) == {revision(POLICY)}
    eventually(lambda: server.metric("tokenguard_policy_reloads_total", result="rejected") == before + 1)
    put_policy(plane, BAD + "# the same mistakes, in another text\n")
    eventually(lambda: len(events(plane)) == 2)
    put_policy(plane, POLICY)
    put_policy(plane, BAD)
    eventually(lambda: server.metric("tokenguard_policy_reloads_total", result="rejected") == before + 3)
    assert len(events(plane)) == 2


@pytest.mark.covers("failure-modes: policy invalid or missing")
def test_deleted_configmap_leaves_its_policy_in_force(plane, server) -> None:
    plane.do("delete", "configmap", "token-policy", "-n", NAMESPACE)
    eventually(lambda: "does not exist" in server.log)
    assert revisions(server) == {revision(POLICY)}
    assert server.request("GET", "/readyz").status == 200
    put_policy(plane, WARN)
    eventually(lambda: revisions(server) == {revision(WARN)})


@pytest.mark.covers("failure-modes: worker killed")
def test_successor_of_a_killed_worker_has_the_whole_state(plane, server, namespace) -> None:
    put_secret(plane, "old", namespace)
    put_policy(plane, BAD)
    eventually(lambda: is_denied(server, namespace, "old"))
    for worker in server.workers:
        os.kill(worker, signal.SIGKILL)
        eventually(lambda gone=worker: gone not in server.workers and server.workers)
    assert is_denied(server, namespace, "old")
    assert revisions(server) == {revision(POLICY)}


@pytest.mark.covers("threat-model: invalid policy stored")
def test_restart_without_a_valid_configmap_uses_the_last_policy(plane, tmp_path) -> None:
    put_policy(plane, WARN)
    folder = tmp_path / "state"
    with cluster.live(plane, tmp_path / "first", "--state-folder", str(folder)) as server:
        assert revisions(server) == {revision(WARN)}
    put_policy(plane, BAD)
    with cluster.live(plane, tmp_path / "second", "--state-folder", str(folder)) as server:
        assert revisions(server) == {revision(WARN)}
        assert "the last valid one stays in force" in server.log
    with cluster.live(plane, tmp_path / "without", ready=False) as server:
        eventually(lambda: "(and 1 more)" in server.request("GET", "/readyz").json["error"])
    plane.do("delete", "configmap", "token-policy", "-n", NAMESPACE)
    with cluster.live(plane, tmp_path / "third", "--state-folder", str(folder)) as server:
        assert revisions(server) == {revision(WARN)}
    put_policy(plane, POLICY)


@pytest.mark.covers("threat-model: tokens in memory or logs")
def test_no_process_has_the_content_of_a_secret(plane, server, namespace) -> None:
    material = "tokenguard-must-never-see-this"
    put_secret(plane, "held", namespace, token=material)
    eventually(lambda: is_denied(server, namespace, "held"))
    plane.do("annotate", "secret", "held", "-n", namespace, "seen=again")
    for pid in (server.process.pid, *server.workers):
        forms = (material.encode(), b64encode(material.encode()).rstrip(b"=")[:-1])
        held = [any(form in part for part in memory_of(pid)) for form in (*forms, b"PartialObjectMetadata")]
        assert held == [False, False, True]


@pytest.mark.covers("failure-modes: API server unreachable")
def test_last_state_is_used_while_the_api_server_is_down(plane, server, namespace) -> None:
    put_secret(plane, "old", namespace)
    eventually(lambda: is_denied(server, namespace, "old"))
    plane.kill()
    try:
        eventually(lambda: "cannot watch Secrets" in server.log)
        age = server.metric("tokenguard_state_age_seconds", source="secrets")
        eventually(lambda: server.metric("tokenguard_state_age_seconds", source="secrets") > age > 0)
        assert is_denied(server, namespace, "old")
        assert server.request("GET", "/readyz").status == 200
    finally:
        plane.start()
    put_secret(plane, "new", namespace)
    put_policy(plane, WARN)
    eventually(lambda: revisions(server) == {revision(WARN)})
    put_policy(plane, POLICY)
    eventually(lambda: is_denied(server, namespace, "new"))


@pytest.mark.covers("failure-modes: API server misbehaves")
def test_worker_stopped_past_the_watch_cache_lists_again(plane, server, namespace) -> None:
    put_secret(plane, "old", namespace)
    eventually(lambda: is_denied(server, namespace, "old"))
    workers = server.workers
    with server.paused():
        plane.kill()
        plane.start()
        plane.do("delete", "secret", "old", "-n", namespace)
        put_secret(plane, "new", namespace)
        plane.compact()
        plane.kill()
        plane.start()
        before = lists_of_secrets(plane)
    eventually(lambda: is_allowed(server, namespace, "old") and is_denied(server, namespace, "new"))
    assert server.workers == workers
    eventually(lambda: lists_of_secrets(plane) >= before + len(workers))


@pytest.mark.covers("failure-modes: credentials refused")
def test_expired_token_is_read_again_from_its_file(plane, tmp_path, namespace) -> None:
    kubeconfig = account_kubeconfig(plane, tmp_path, token_file=True)
    good = (tmp_path / "token").read_text()
    (tmp_path / "token").write_text("expired")
    flags = ["--kubeconfig", str(kubeconfig), "--policy-configmap", cluster.WHERE]
    with serve(tmp_path / "run", *flags, ready=False) as server:
        eventually(lambda: "Unauthorized" in server.request("GET", "/readyz").json["error"])
        assert "not ready" in denial_message(server, reads(namespace, "any"))
        (tmp_path / "token").write_text(good)
        eventually(lambda: server.request("GET", "/readyz").status == 200)


def test_empty_token_file_is_read_again(plane, tmp_path) -> None:
    kubeconfig = account_kubeconfig(plane, tmp_path, token_file=True)
    good = (tmp_path / "token").read_text()
    (tmp_path / "token").write_text("")
    with serve(tmp_path / "run", "--kubeconfig", str(kubeconfig), ready=False) as server:
        eventually(lambda: "empty token" in server.request("GET", "/readyz").json["error"])
        (tmp_path / "token").write_text(good)
        eventually(lambda: server.request("GET", "/readyz").status == 200)


def test_missing_permission_to_list_secrets_is_not_ready(plane, tmp_path) -> None:
    plane.do("create", "serviceaccount", "stranger", "-n", NAMESPACE)
    kubeconfig = account_kubeconfig(plane, tmp_path, account="stranger")
    with serve(tmp_path / "run", "--kubeconfig", str(kubeconfig), ready=False) as server:
        for why in ("Secrets not loaded: HTTP 403: secrets is forbidden", "Namespaces not loaded: HTTP 403"):
            eventually(lambda why=why: why in server.request("GET", "/readyz").json["error"])
