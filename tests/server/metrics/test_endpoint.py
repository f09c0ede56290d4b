"""GET /metrics of a real server."""

import shutil
import subprocess

import pytest

from tests.recorded_reviews import recorded
from tests.serving import JSON, ask, serve

PLAIN = recorded("pod-plain.pods", "mutate")
DENIED = recorded("pod-legacy-env.pods", "validate")


def test_reviews_and_reloads_are_counted_from_zero_in_a_worker(policy_flags, tmp_path):
    with serve(tmp_path, *policy_flags) as server:
        for _ in range(3):
            server.review("/mutate", PLAIN)
            server.review("/validate", DENIED)
        server.request("POST", "/mutate", b"{}", JSON)
        server.request("GET", "/nothing")
        assert server.metric("tokenguard_reviews_total") == 6
        assert server.metric("tokenguard_reviews_total", webhook="mutate", decision="patched") == 3
        assert server.metric("tokenguard_reviews_total", resource="pods", operation="CREATE") == 6
        assert server.metric("tokenguard_findings_total", rule="inject", action="patch") == 3
        assert server.metric("tokenguard_findings_total", rule="legacy-token-reference", action="reject") == 6
        assert server.metric("tokenguard_review_duration_seconds_count") == 6
        assert server.metric("tokenguard_requests_refused_total", status="400", reason="not_a_review") == 1
        assert server.metric("tokenguard_requests_refused_total", status="404", reason="no_such_path") == 1
        assert server.metric("tokenguard_policy_reloads_total", result="accepted") == 1
        server.replace_worker()
        assert server.metric("tokenguard_reviews_total") == 0
        assert server.metric("tokenguard_policy_reloads_total", result="accepted") == 1
        assert server.metric("tokenguard_last_reload_successful", source="policy") == 1


def test_policy_in_force_is_exposed_by_its_hash(server):
    revision = server.request("GET", "/readyz").json["policy"]
    assert server.metric("tokenguard_policy_info", revision=revision) == 1
    assert server.metric("tokenguard_ready") == 1
    assert server.metric("tokenguard_legacy_secrets") == 2


def test_promtool_accepts_names_and_texts(server):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    exposition = server.request("GET", "/metrics").body
    done = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_connection_carries_reviews_and_pages_in_turn(server):
    connection = server.connect()
    for _ in range(5):
        assert ask(connection, "POST", "/mutate", PLAIN, JSON).status == 200
        assert ask(connection, "GET", "/metrics").headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert ask(connection, "HEAD", "/healthz").body == b""
    connection.close()
