"""The audit log: its keys, and that lines stay whole whoever writes and however they go wrong."""

import contextlib
import datetime as dt
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.reviews import review
from tests.server.test_recorded import recorded
from tests.serving import JSON, ask, eventually, serve
from webhook.core.cluster import Cluster
from webhook.core.decision import Decision, Finding, Outcome, Violation
from webhook.core.evaluate import evaluate
from webhook.core.policy.document import default_policy, read_policy
from webhook.core.policy.model import Action
from webhook.core.request import Phase, read_review
from webhook.server.audit import AuditLog
from webhook.server.record import record

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
        ("serviceaccount.serviceaccounts", "robot"),
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
    monkeypatch.setattr("webhook.server.audit._PATIENCE", 0.01)
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


class Clock:
    """A time that passes only where somebody waits for a slow reader, who takes a piece each `pace` seconds."""

    def __init__(self, monkeypatch, pace: float):
        self.now, self._pace, self._ready_at = 100.0, pace, 0.0
        monkeypatch.setattr("webhook.server.audit.monotonic", lambda: self.now)
        monkeypatch.setattr("webhook.server.audit.select.poll", lambda: self)

    def register(self, *_):
        pass

    def poll(self, milliseconds: float) -> bool:
        ready_in = max(self._ready_at - self.now, 0.0)
        self.now += min(milliseconds / 1000, ready_in)
        if milliseconds / 1000 < ready_in:
            return False
        self._ready_at = self.now + self._pace
        return True


def test_a_slow_reader_holds_up_one_line_for_the_patience_and_then_none_until_it_has_cooled_down(tmp_path, monkeypatch):
    lost: list[None] = []
    (tmp_path / "audit").touch()
    log = AuditLog(str(tmp_path / "audit"), tmp_path / "lock", lambda: lost.append(None))
    log._regular = False
    line = line_of(large_denial(1), Phase.VALIDATE)
    clock = Clock(monkeypatch, pace=0.2)
    log.write(line)
    assert (len(lost), clock.now) == (1, 100.5)
    for _ in range(20):
        log.write(line)
    assert (len(lost), clock.now) == (21, 100.5)
    clock.now += 31
    log.write(line)
    assert (len(lost), clock.now) == (22, 132.0)


HOLD = """
import fcntl, os, sys
fcntl.lockf(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
WRITE = """
import sys
from pathlib import Path
from webhook.server import audit
from tests.server.test_audit import Phase, large_denial, line_of
audit._PATIENCE = 60
audit.AuditLog(sys.argv[1], Path(sys.argv[2])).write(line_of(large_denial(1), Phase.VALIDATE))
"""


@contextlib.contextmanager
def python(code: str, *arguments: str, **popen):
    """Run a piece of Python beside this one; it is killed in the end."""
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, *arguments], **piped, **popen) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_writer_that_holds_the_lock_costs_a_line_but_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("webhook.server.audit._PATIENCE", 0.01)
    lost: list[None] = []
    reading, writing = os.pipe()
    log = AuditLog(f"/proc/self/fd/{writing}", tmp_path / "lock", lambda: lost.append(None))
    with python(HOLD, str(tmp_path / "lock")) as holder:
        assert holder.stdout.readline() == b"held\n"
        threading.Timer(10, holder.kill).start()  # a log that waited without end would be let go of
        log.write(line_of(large_denial(1), Phase.VALIDATE))
        assert holder.poll() is None
    assert len(lost) == 1
    os.close(reading)
    os.close(writing)


def test_a_worker_that_is_killed_in_the_middle_of_a_line_spoils_no_other(tmp_path):
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    target = f"/proc/self/fd/{writing}"
    with python(WRITE, target, str(tmp_path / "lock"), pass_fds=[writing]) as writer:
        eventually(lambda: select.select([reading], [], [], 0)[0])
        writer.kill()
    torn = os.read(reading, 4096)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
    log = AuditLog(target, tmp_path / "lock")
    for number in (2, 3):
        log.write(line_of(large_denial(number), Phase.VALIDATE))
    first, *whole = (torn + os.read(reading, 1 << 20)).splitlines()
    os.close(reading)
    os.close(writing)
    assert len(first) == 4096
    assert [json.loads(line)["uid"][:8] for line in whole] == ["00000002", "00000003"]


def test_a_line_is_bounded_whatever_the_object_holds(tmp_path):
    tokens = [{"serviceAccountToken": {"path": f"p{at}"}} for at in range(500)]
    pod = {
        "kind": "Pod",
        "metadata": {"name": "p" * 5000},
        "spec": {"containers": [{"name": "a"}], "volumes": [{"name": "t", "projected": {"sources": tokens}}]},
    }
    policy = read_policy(
        b"apiVersion: tokenguard/v1\nkind: TokenPolicy\ntokens: {audiences: {allowed: [a], default: a}}\n"
    )
    request = read_review(review(pod), Phase.MUTATE)
    decision = evaluate(request, policy, CLUSTER, NOW)
    (line,) = written(tmp_path, record(request, decision, NOW, 0.0))
    assert (len(line["findings"]), len(line["patch"])) == (100, 100)
    assert line["leftOut"] == {"findings": len(decision.findings) - 100, "patch": len(decision.patch) - 100}
    assert len(line["name"]) == 1024


def test_what_is_too_long_is_cut_and_an_operation_left_out_and_counted(tmp_path):
    request = read_review(recorded("pod-plain.pods", "mutate"), Phase.MUTATE)
    operations = ({"op": "add", "path": "/a", "value": "v" * 10_000}, {"op": "remove", "path": "/b"})
    finding = Finding("inject", Action.PATCH, Action.PATCH, Violation("/" + "p" * 5000, "d" * 5000))
    decision = Decision(Outcome.PATCHED, (finding,), operations, note="n" * 5000, problem="p" * 5000)
    (line,) = written(tmp_path, record(request, decision, NOW, 0.0))
    assert line["patch"] == [{"op": "remove", "path": "/b"}]
    assert line["leftOut"] == {"patch": 1}
    (told,) = line["findings"]
    assert [len(text) for text in (told["path"], told["detail"], line["note"], line["problem"])] == [1024] * 4


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
