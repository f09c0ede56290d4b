"""The audit log: its keys, and that lines stay whole whoever writes and however they go wrong."""

import datetime as dt
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.reviews import review
from tests.server.test_recorded import recorded
from tests.serving import JSON, ask, eventually, serve
from webhook.core.cluster import Cluster
from webhook.core.evaluate import evaluate
from webhook.core.policy.document import default_policy
from webhook.core.request import Phase, read_review
from webhook.server.audit import AuditLog, record

NOW = dt.datetime(2026, 11, 23, 12, 30, tzinfo=dt.timezone(dt.timedelta(hours=1)))
CLUSTER = Cluster({"demo": {"app-token": "app"}})
KEYS = [
    "time", "id", "uid", "webhook", "decision", "operation", "resource", "namespace", "name", "owner",
    "serviceAccount", "user", "dryRun", "findings", "patch", "exemption", "policy", "durationMs",
]  # fmt: skip


def line_of(body: bytes, phase: Phase):
    request = read_review(body, phase)
    return record(request, evaluate(request, default_policy(), CLUSTER, NOW), NOW, 0.0012345)


def written(tmp_path, *lines):
    log = AuditLog(str(tmp_path / "audit"), tmp_path / "lock")
    for line in lines:
        log.write(line)
    return [json.loads(line) for line in (tmp_path / "audit").read_bytes().splitlines()]


def test_a_line_has_the_keys_of_the_design_in_its_order(tmp_path):
    (line,) = written(tmp_path, line_of(recorded("pod-dry-run.pods", "validate"), Phase.VALIDATE))
    assert list(line) == KEYS
    assert line["time"] == "2026-11-23T11:30:00Z"
    assert line["id"] == line["uid"][:8]
    assert (line["webhook"], line["decision"], line["dryRun"], line["durationMs"]) == (
        "validate",
        "denied",
        True,
        1.234,
    )
    assert (line["namespace"], line["name"], line["serviceAccount"], line["user"]) == (
        "demo",
        "dry-run",
        "app",
        "admin",
    )
    assert set(line["findings"][0]) == {"rule", "action", "path", "detail"}


def test_a_pod_of_a_controller_has_a_generated_name_and_an_owner(tmp_path):
    (line,) = written(tmp_path, line_of(recorded("workload-deployment-seed.pods", "mutate"), Phase.MUTATE))
    assert line["owner"].startswith("ReplicaSet/token-consumer-")
    assert line["generateName"].startswith("token-consumer-")
    assert "name" not in line


@pytest.mark.parametrize(
    ("case", "account"),
    [
        ("pod-plain.pods", "app"),
        ("pod-no-automount.pods", "default"),
        ("secret-legacy.secrets", "app"),
        ("token-long.serviceaccounts-token", "app"),
        ("workload-cronjob-legacy.cronjobs", "app"),
        ("serviceaccount.serviceaccounts", ""),
    ],
)
def test_the_account_is_the_one_whose_token_it_is_about(case, account):
    assert line_of(recorded(case, "validate"), Phase.VALIDATE).service_account == account


def test_no_value_of_an_env_variable_or_a_secret_is_written(tmp_path):
    secret = json.loads(recorded("secret-legacy.secrets", "validate"))["request"]["object"]
    secret["data"] = {"token": "c2VjcmV0LXZhbHVl"}
    pod = json.loads(recorded("pod-legacy-env.pods", "validate"))["request"]["object"]
    pod["spec"]["containers"][0]["env"].append({"name": "PASSWORD", "value": "secret-value"})
    written(tmp_path, *(line_of(review(one), Phase.VALIDATE) for one in (secret, pod)))
    log = (tmp_path / "audit").read_text()
    assert log.count("\n") == 2
    assert "secret-value" not in log
    assert "c2VjcmV0LXZhbHVl" not in log


def large_denial(number: int) -> bytes:
    env = [
        {"name": f"E{at}", "valueFrom": {"secretKeyRef": {"name": "app-token", "key": "token"}}} for at in range(200)
    ]
    pod = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b", "env": env}]}}
    return review(pod, uid=f"{number:08x}-large")


def send_many(server, numbers) -> None:
    connection = server.connect()
    for number in numbers:
        assert ask(connection, "POST", "/validate", large_denial(number), JSON).status == 200
    connection.close()


def test_large_lines_of_several_workers_stay_whole_in_a_pipe(judged_by, tmp_path):
    reading, writing = os.pipe()
    received: list[bytes] = []

    def read() -> None:
        with open(reading, "rb") as pipe:  # noqa: PTH123 - a file descriptor, not a path
            received.extend(pipe)

    reader = threading.Thread(target=read)
    reader.start()
    with serve(tmp_path, *judged_by, "--workers", "3", stdout=writing) as server:
        os.close(writing)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda first: send_many(server, range(first, first + 20)), range(0, 120, 20)))
    reader.join()
    lines = [json.loads(line) for line in received]
    assert min(map(len, received)) > 4096
    assert {line["uid"] for line in lines} == {f"{number:08x}-large" for number in range(120)}
    assert len(lines) == 120


def test_lines_of_several_workers_stay_whole_in_a_file(judged_by, tmp_path):
    with serve(tmp_path, *judged_by, "--workers", "3", "--audit-log", str(tmp_path / "file")) as server:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda first: send_many(server, range(first, first + 20)), range(0, 120, 20)))
        assert server.metric("tokenguard_audit_failures_total") == 0
    lines = [json.loads(line) for line in (tmp_path / "file").read_bytes().splitlines()]
    assert len(lines) == 120


def test_a_reader_that_has_gone_away_costs_lines_but_no_answer(judged_by, tmp_path):
    reading, writing = os.pipe()
    with serve(tmp_path, *judged_by, "--workers", "1", stdout=writing) as server:
        os.close(writing)
        os.close(reading)
        send_many(server, range(3))
        assert server.metric("tokenguard_audit_failures_total") == 3
        assert server.log.count("can't be written") == 1


def test_a_reader_that_stands_still_costs_lines_and_the_next_one_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("webhook.server.audit._PATIENCE_MS", 10)
    reading, writing = os.pipe()
    lost: list[None] = []
    log = AuditLog(f"/proc/self/fd/{writing}", tmp_path / "lock", lambda: lost.append(None))
    line = line_of(large_denial(1), Phase.VALIDATE)
    while not lost:
        log.write(line)
    before = os.read(reading, 1 << 20)
    log.write(line)
    after = os.read(reading, 1 << 20)
    os.close(reading)
    os.close(writing)
    *whole, torn, last, _ = (before + after).split(b"\n")
    assert all(json.loads(one)["uid"] == "00000001-large" for one in [*whole, last])
    with pytest.raises(ValueError, match=r"."):
        json.loads(torn)


def test_a_rotated_file_is_opened_anew_on_sigusr1(judged_by, tmp_path):
    target = tmp_path / "file"
    with serve(tmp_path / "run", *judged_by, "--audit-log", str(target)) as server:
        send_many(server, [1])
        target.rename(tmp_path / "file.1")
        server.process.send_signal(signal.SIGUSR1)
        eventually(target.exists)
        eventually(lambda: send_many(server, [2]) or target.stat().st_size)
        assert len((tmp_path / "file.1").read_bytes().splitlines()) >= 1


def test_where_the_file_cannot_be_opened_anew_the_one_before_is_written(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    log = AuditLog(str(folder / "audit"), tmp_path / "lock")
    folder.rename(tmp_path / "moved")
    log.reopen()
    log.write(line_of(large_denial(1), Phase.VALIDATE))
    assert json.loads((tmp_path / "moved" / "audit").read_bytes())["uid"] == "00000001-large"
