"""Metrics, summed over the workers."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest

from tests.server.test_recorded import recorded
from tests.serving import JSON, POLICY, ask, eventually, serve
from webhook.server.labels import API_SERVER, OTHER
from webhook.server.metrics import MOST_NAMESPACES
from webhook.server.standing import Standing

PLAIN = recorded("pod-plain.pods", "mutate")
DENIED = recorded("pod-legacy-env.pods", "validate")


def test_metrics_add_up_over_all_workers_and_outlive_one_that_dies(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server:
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
            assert server.metric("tokenguard_requests_refused_total", status="400", reason="not-a-review") == 1
            assert server.metric("tokenguard_requests_refused_total", status="404", reason="no-such-path") == 1
            assert server.metric("tokenguard_policy_reloads_total", result="accepted") == 1


NAMESPACE = PLAIN.split(b'"namespace":"')[1].split(b'"')[0]


def in_namespace(name):
    return DENIED.replace(b'"namespace":"' + NAMESPACE, b'"namespace":"' + name.encode())


def values(server, metric, label):
    text = server.request("GET", "/metrics").body.decode()
    return set(re.findall(rf'^{metric}{{.*\b{label}="([^"]*)"', text, re.MULTILINE))


def test_workers_that_die_leave_no_more_files_than_there_are_places_and_no_count_is_lost(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server:
        for kill in range(6):
            for _ in range(8):
                server.review("/mutate", PLAIN)
            gone = server.workers[kill % 2]
            os.kill(gone, signal.SIGKILL)
            eventually(lambda gone=gone: gone not in server.workers and len(server.workers) == 2)
        server.review("/mutate", PLAIN)
        assert server.metric("tokenguard_reviews_total") == 6 * 8 + 1
        files = {file.name for file in counters_of(server.workers[0]).parent.glob("counter_*.db")}
        assert files <= {"counter_first.db", "counter_0.db", "counter_1.db"}


def counters_of(pid: int) -> Path:
    mapped = {
        Path(line.split()[-1]) for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "counter_" in line
    }
    [file] = [one for one in mapped if one.name != "counter_first.db"]
    return file


def test_the_namespaces_in_labels_are_as_many_whatever_number_of_workers_there_is(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server:
        for number in range(MOST_NAMESPACES + 40):
            server.review("/validate", in_namespace(f"ns-{number}"))
        found = values(server, "tokenguard_findings_total", "resource_namespace")
        assert found == {f"ns-{number}" for number in range(MOST_NAMESPACES)} | {OTHER}
        expected = 40 * server.metric("tokenguard_findings_total", resource_namespace="ns-0")
        assert server.metric("tokenguard_findings_total", resource_namespace=OTHER) == expected > 0


def test_tokens_are_counted_by_audience_and_lifetime_and_those_of_a_dry_run_are_not(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server:
        for body in (PLAIN, recorded("pod-long-expiration.pods", "mutate"), recorded("pod-dry-run.pods", "mutate")):
            server.review("/mutate", body)
        injected = {"audience": "https://vault.example.com", "lifetime": "1h"}
        assert server.metric("tokenguard_tokens_injected_total", **injected) == 2
        assert server.metric("tokenguard_tokens_injected_total") == 2
        assert server.metric("tokenguard_tokens_capped_total", audience=API_SERVER, lifetime="1y") == 2
        assert values(server, "tokenguard_tokens_capped_total", "audience") == {"sts.amazonaws.com", API_SERVER}


def test_what_is_read_last_says_whether_the_policy_as_it_is_written_is_in_force(tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    with serve(tmp_path / "run", "--policy", str(policy)) as server:
        told = {"what": "policy"}
        began = server.metric("tokenguard_last_reload_success_timestamp_seconds", **told)
        assert server.metric("tokenguard_last_reload_successful", **told) == 1
        policy.write_text(POLICY + "modee: warn\n")
        eventually(lambda: server.metric("tokenguard_last_reload_successful", **told) == 0)
        assert server.metric("tokenguard_last_reload_success_timestamp_seconds", **told) == began
        policy.write_text(POLICY)
        eventually(lambda: server.metric("tokenguard_last_reload_successful", **told) == 1)
        assert server.metric("tokenguard_last_reload_success_timestamp_seconds", **told) > began


def test_whoever_is_asked_tells_of_a_worker_that_has_fallen_behind(judged_by, tmp_path):
    with serve(tmp_path, *judged_by) as server:
        folder = Path(server.log.split("--cacert ")[1].split()[0]).parent / "metrics"
        told = eventually(lambda: len(found := list(folder.glob("worker-*.standing"))) == 2 and found)
        assert {int(file.stem.removeprefix("worker-")) for file in told} == set(server.workers)
        assert server.metric("tokenguard_ready") == 1
        (folder / "worker-1.standing").write_bytes(
            msgspec.json.encode(Standing(ready=False, heard={"policy": 1.0}, objects={}))
        )
        assert server.metric("tokenguard_ready") == 0
        assert server.metric("tokenguard_state_age_seconds", what="policy") > 0
        killed = server.workers[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: not (folder / f"worker-{killed}.standing").exists())


def test_the_policy_in_force_is_told_by_its_hash(server):
    revision = server.request("GET", "/readyz").json["policy"]
    assert server.metric("tokenguard_policy_info", revision=revision) == 1
    assert server.metric("tokenguard_ready") == 1
    assert server.metric("tokenguard_legacy_secrets") == 2


def test_promtool_has_nothing_against_the_names_and_texts(server):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    exposition = server.request("GET", "/metrics").body
    done = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_connections_may_carry_reviews_and_pages_in_turn(server):
    connection = server.connect()
    for _ in range(5):
        assert ask(connection, "POST", "/mutate", PLAIN, JSON).status == 200
        assert ask(connection, "GET", "/metrics").headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert ask(connection, "HEAD", "/healthz").body == b""
    connection.close()
