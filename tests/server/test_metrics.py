"""Metrics, summed over the workers."""

import os
import signal

from tests.server.test_recorded import recorded
from tests.serving import JSON, ask, eventually, serve

PLAIN = recorded("pod-plain.pods", "mutate")
DENIED = recorded("pod-legacy-env.pods", "validate")


def test_metrics_add_up_over_all_workers_and_outlive_one_that_dies(judged_by, tmp_path):
    with serve(tmp_path, *judged_by, "--workers", "3") as server:
        for _ in range(30):  # a connection each, so that every worker gets some
            server.review("/mutate", PLAIN)
            server.review("/validate", DENIED)
        server.request("POST", "/mutate", b"{}", JSON)
        server.request("GET", "/nothing")
        os.kill(server.workers[0], signal.SIGKILL)
        eventually(lambda: "was sent SIGKILL" in server.log and len(server.workers) == 3)
        for _ in range(10):  # whichever worker answers
            assert server.metric("tokenguard_reviews_total") == 60
            assert server.metric("tokenguard_reviews_total", webhook="mutate", decision="patched") == 30
            assert server.metric("tokenguard_reviews_total", resource="pods", operation="CREATE") == 60
            assert server.metric("tokenguard_findings_total", rule="inject", action="patch") == 30
            assert server.metric("tokenguard_findings_total", rule="legacy-token-reference", action="reject") == 60
            assert server.metric("tokenguard_review_duration_seconds_count") == 60
            assert server.metric("tokenguard_requests_refused_total", status="400") == 1
            assert server.metric("tokenguard_requests_refused_total", status="404") == 1
            assert server.metric("tokenguard_policy_reloads_total", result="accepted") == 1


def test_the_policy_in_force_is_told_by_its_hash(server):
    revision = server.request("GET", "/readyz").json["policy"]
    assert server.metric("tokenguard_policy_info", revision=revision) == 1
    assert server.metric("tokenguard_ready") == 1
    assert server.metric("tokenguard_legacy_secrets") == 2


def test_connections_may_carry_reviews_and_pages_in_turn(server):
    connection = server.connect()
    for _ in range(5):
        assert ask(connection, "POST", "/mutate", PLAIN, JSON).status == 200
        assert ask(connection, "GET", "/metrics").headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert ask(connection, "HEAD", "/healthz").body == b""
    connection.close()
