"""An audit log that cannot be written: patches and exemptions are denied until it is writable again."""

import http.client
import json
import os
import signal
import subprocess
import uuid
from contextlib import suppress

import pytest

from tests.recorded_reviews import decided, recorded
from tests.reviews import review
from tests.server.audit_log.cases import (
    EXEMPT,
    HOSTPATH,
    LEGACY,
    NO_INJECTION,
    FullSink,
    large_denial,
    pod,
    pods,
    send_many,
)
from tests.server.replica import Replica
from tests.serving import JSON, POLICY, ask, eventually, serve
from webhook.core.admission_request import Phase
from webhook.server.audit_log.file_sink import FileSink
from webhook.server.audit_log.sink import Sink
from webhook.server.audit_log.stream_sink import StreamSink
from webhook.server.file_watcher import FileWatcher
from webhook.server.readiness import readiness_error

PATCHED = recorded("pod-plain.pods", "mutate")
DENIED = recorded("secret-legacy.secrets", "validate")
ALLOWED = recorded("secret-opaque.secrets", "validate")
DEPLOYMENT = {
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b"}], "volumes": LEGACY}}},
}


DENIED_BY_FAILURE = {
    "patch": (POLICY, Phase.MUTATE, pods(1)[0]),
    "exemption": (EXEMPT, Phase.VALIDATE, pods(1, volumes=LEGACY)[0]),
}


@pytest.mark.parametrize("case", DENIED_BY_FAILURE)
@pytest.mark.covers("failure-modes: disk full")
def test_patch_or_exemption_without_a_record_is_denied(case):
    policy, phase, body = DENIED_BY_FAILURE[case]
    replica = Replica(policy, FullSink())
    response = replica.response(body, phase)
    assert (response["allowed"], response["status"]["code"]) == (False, 503)
    assert response["status"]["message"].startswith(
        f"the {case} cannot be recorded (--audit-failure=deny): cannot write the audit log: No space left on device\n"
    )
    assert "patch" not in response
    assert response["auditAnnotations"]["decision"] == "denied"
    failed = f'tokenguard_review_failures_total{{reason="audit_unavailable",webhook="{phase}"}} 1.0'
    assert failed in replica.counted("review_failures")
    assert replica.counted("audit_failures") == ["tokenguard_audit_failures_total 1.0"]


UNAFFECTED = {
    "denial": (NO_INJECTION, Phase.VALIDATE, pods(1, volumes=LEGACY)[0], "denied"),
    "warning": (NO_INJECTION, Phase.VALIDATE, pods(1, volumes=HOSTPATH)[0], "warned"),
    "plain-allow": (NO_INJECTION, Phase.VALIDATE, pods(1)[0], "allowed"),
    "mode-warn": (POLICY + "mode: warn\n", Phase.MUTATE, pods(1)[0], "allowed"),
    "exemption-in-mode-audit": (EXEMPT + "mode: audit\n", Phase.VALIDATE, pods(1, volumes=LEGACY)[0],
        "allowed"),
    "exempted-workload": (EXEMPT, Phase.VALIDATE, review(DEPLOYMENT), "allowed"),
}  # fmt: skip


@pytest.mark.parametrize(("policy", "phase", "body", "outcome"), UNAFFECTED.values(), ids=UNAFFECTED)
@pytest.mark.covers("failure-modes: disk full")
def test_other_decisions_stay_without_a_record(policy, phase, body, outcome):
    assert Replica(policy, FullSink()).response(body, phase)["auditAnnotations"]["decision"] == outcome


@pytest.mark.covers("failure-modes: --audit-failure allow")
def test_failure_allow_patches_without_a_record_and_stays_ready():
    replica = Replica(POLICY, FullSink(), fail_closed=False)
    assert "patch" in replica.response(PATCHED, Phase.MUTATE)
    assert readiness_error(replica.state) == ""
    assert replica.counted("audit_failures") == ["tokenguard_audit_failures_total 1.0"]


@pytest.mark.covers("failure-modes: one of two sinks fails")
def test_decision_is_recorded_if_one_of_two_sinks_takes_it(tmp_path):
    replica = Replica(POLICY, FullSink(), FileSink(tmp_path / "audit"))
    assert "patch" in replica.response(PATCHED, Phase.MUTATE)
    assert readiness_error(replica.state) == ""
    assert replica.counted("audit_failures") == ["tokenguard_audit_failures_total 1.0"]


class Disk(Sink):
    """A sink that takes lines while it is not full."""

    def __init__(self):
        super().__init__("disk")
        self.lines, self.full = [], True

    def write(self, line):
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines.append(json.loads(line))


@pytest.mark.covers("failure-modes: disk full")
def test_first_line_after_an_outage_records_the_last_denial():
    disk = Disk()
    replica = Replica(POLICY, disk)
    for body in pods(3):
        assert replica.response(body, Phase.MUTATE)["allowed"] is False
    assert readiness_error(replica.state) == "cannot write the audit log: No space left on device"
    disk.retry()
    assert readiness_error(replica.state) != ""
    disk.full = False
    for _ in range(2):
        disk.retry()
    assert readiness_error(replica.state) == ""
    (line,) = disk.lines
    assert (line["decision"], line["uid"][:8], line["patch"]) == ("denied", "00000002", [])
    assert "No space left on device" in line["problem"]
    assert "patch" in replica.response(PATCHED, Phase.MUTATE)


@pytest.mark.covers("failure-modes: disk full")
def test_record_that_waits_is_retried_by_the_watcher(tmp_path, monkeypatch):
    sink = FileSink(tmp_path / "audit")
    replica = Replica(POLICY, sink)
    watcher = FileWatcher([("audit log", replica.log.check)], interval=0.01)
    watcher.start()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sink, "write", FullSink().write)
            assert replica.response(PATCHED, Phase.MUTATE)["allowed"] is False
            assert readiness_error(replica.state) != ""
        eventually(lambda: readiness_error(replica.state) == "")
    finally:
        watcher.stop()
    (line,) = (tmp_path / "audit").read_text().splitlines()
    assert json.loads(line)["decision"] == "denied"


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of 16 KiB, which nobody but root can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Take what room there is."""
    with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(bytes(1024)):
            pass


def write_some(log, numbers) -> list[bool]:
    """Write numbered lines, and return which were taken."""
    taken = []
    for number in numbers:
        try:
            log.write(b'{"n": %d, "pad": "%s"}\n' % (number, b"x" * 700))
        except OSError:
            taken.append(False)
        else:
            taken.append(True)
    return taken


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.covers("failure-modes: partial write")
def test_line_torn_by_a_full_disk_is_ended_by_the_next(small_disk, kind):
    (small_disk / "audit").touch()
    sink = FileSink(small_disk / "audit") if kind == "file" else StreamSink(str(small_disk / "audit"))
    fill(small_disk)
    (small_disk / "ballast").unlink()
    before = write_some(sink, range(40))
    assert {True, False} == set(before)
    assert not (small_disk / "audit").read_bytes().endswith(b"\n"), "the disk took a part of a line"
    subprocess.run(["mount", "-o", "remount,size=64k", str(small_disk)], check=True)
    assert write_some(sink, [100, 101]) == [True, True]
    lines = (small_disk / "audit").read_bytes().splitlines()
    assert [json.loads(line)["n"] for line in lines[-2:]] == [100, 101]
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[-3])
    assert [json.loads(line)["n"] for line in lines[:-3]] == [at for at, taken in enumerate(before) if taken]


@pytest.mark.covers("failure-modes: partial write")
def test_line_torn_by_an_earlier_process_is_ended_by_the_next(tmp_path):
    (tmp_path / "audit").write_bytes(b'{"n": 1}\n{"n":')
    FileSink(tmp_path / "audit").write(b'{"n": 3}\n')
    assert (tmp_path / "audit").read_bytes() == b'{"n": 1}\n{"n":\n{"n": 3}\n'


@pytest.mark.covers("failure-modes: worker killed within a line", "failure-modes: file rotated or removed")
def test_successor_of_a_worker_ends_its_torn_line(policy_flags, tmp_path):
    target, rotated = tmp_path / "file", tmp_path / "file.1"
    with serve(tmp_path / "run", *policy_flags, "--audit-log", str(target)) as server:
        server.review("/mutate", PATCHED)
        with target.open("ab") as file:
            file.write(b'{"n":')
        server.replace_worker()
        for _ in range(2):
            server.review("/mutate", PATCHED)
        os.kill(server.workers[0], signal.SIGSTOP)
        target.rename(rotated)
        target.touch()
        server.replace_worker()
        server.review("/mutate", PATCHED)
    first, torn, *after = rotated.read_text().split("\n")
    assert torn == '{"n":'
    assert [json.loads(line)["decision"] for line in (first, *after[:-1])] == ["patched"] * 3
    assert len(target.read_text().splitlines()) == 1


@pytest.mark.covers("failure-modes: worker killed within a line")
def test_successor_of_a_killed_worker_begins_a_line_in_a_pipe(policy_flags, tmp_path):
    reading, writing = os.pipe()
    with serve(tmp_path, *policy_flags, stdout=writing) as server:
        os.close(writing)
        server.review("/mutate", PATCHED)
        server.replace_worker()
        for _ in range(2):
            server.review("/mutate", PATCHED)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().split("\n")
    assert [line and json.loads(line)["decision"] for line in lines] == ["patched", "", "patched", "patched", ""]


def readiness(server) -> tuple[int, str]:
    with suppress(OSError, http.client.HTTPException):
        reply = server.request("GET", "/readyz")
        return reply.status, reply.json.get("error", "")
    return 0, ""


@pytest.mark.parametrize("flag", ["--audit-log", "stdout"])
@pytest.mark.covers("failure-modes: disk full")
def test_full_disk_denies_patches_until_there_is_room(policy_flags, small_disk, tmp_path, flag):
    target = small_disk / "audit"
    target.touch()
    flags = () if flag == "stdout" else (flag, str(target))
    changed = set()

    def changes(server) -> bool:
        response = server.review("/mutate", review(pod(), uid=str(uuid.uuid4())))
        if response["allowed"]:
            changed.add(response["uid"])
        else:
            assert "No space left on device" in response["status"]["message"]
        return response["allowed"]

    with (
        target.open("ab") as stdout,
        serve(tmp_path / "run", *policy_flags, *flags, **({"stdout": stdout} if flag == "stdout" else {})) as server,
    ):
        assert changes(server)
        fill(small_disk)
        eventually(lambda: not changes(server))
        assert readiness(server) == (503, "not ready: cannot write the audit log: No space left on device")
        assert decided(server.review("/validate", DENIED)).startswith("denied")
        assert server.review("/validate", ALLOWED)["allowed"]
        assert server.metric("tokenguard_ready") == 0
        for _ in range(8):
            assert not changes(server)
        assert server.metric("tokenguard_review_failures_total", reason="audit_unavailable") >= 9
        (small_disk / "ballast").unlink()
        eventually(lambda: readiness(server)[0] == 200)
        assert changes(server)
        assert server.log.count("cannot write the audit log") == 1
        assert "is writable again" in server.log
    lines = [json.loads(line) for line in target.read_bytes().splitlines() if line.endswith(b"}")]
    assert {line["uid"] for line in lines if line["patch"]} == changed
    assert {line["decision"] for line in lines if "problem" in line} == {"denied"}, "the last that was denied"


@pytest.mark.covers("failure-modes: stdout without a reader")
def test_stdout_without_a_reader_denies_patches(policy_flags, tmp_path):
    reading, writing = os.pipe()
    with serve(tmp_path, *policy_flags, stdout=writing) as server:
        os.close(writing)
        assert server.review("/mutate", PATCHED)["allowed"]
        os.close(reading)
        response = server.review("/mutate", PATCHED)
        assert "Broken pipe" in response["status"]["message"]
        assert readiness(server) == (503, "not ready: cannot write the audit log: Broken pipe")
        assert server.request("GET", "/healthz").status == 200
        assert server.review("/validate", ALLOWED)["allowed"]
        send_many(server, range(3))
        assert server.metric("tokenguard_audit_failures_total") == 4
        assert server.log.count("cannot write the audit log -") == 1


@pytest.mark.covers("failure-modes: worker killed within a line")
def test_successor_of_a_killed_worker_detects_the_failure_again(policy_flags, tmp_path):
    with serve(tmp_path, *policy_flags, "--audit-log", "/dev/full") as server:
        for _ in range(2):
            assert not server.review("/mutate", PATCHED)["allowed"]
            assert readiness(server)[0] == 503
            server.replace_worker()
            eventually(lambda: readiness(server)[0] == 200)


@pytest.mark.covers("failure-modes: --audit-failure allow")
def test_failure_allow_can_be_set_in_the_environment(policy_flags, tmp_path):
    environment = {"TOKENGUARD_AUDIT_FAILURE": "allow"}
    with serve(tmp_path, *policy_flags, "--audit-log", "/dev/full", environment=environment) as server:
        connection = server.connect()
        assert decided(server.review("/mutate", PATCHED)).startswith("patched")
        assert ask(connection, "POST", "/validate", large_denial(1), JSON).json["response"]["allowed"] is False
        connection.close()
        assert readiness(server)[0] == 200
        assert server.metric("tokenguard_audit_failures_total") >= 2
