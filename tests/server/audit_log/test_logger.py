"""Which decisions are recorded, and by which sinks."""

import json
import os
import select
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.recorded_reviews import recorded
from tests.reviews import review
from tests.server.audit_log.cases import NO_INJECTION, POLICIES, FullSink, pods, send_many
from tests.server.replica import CLUSTER, NOW, Replica
from tests.serving import eventually, serve
from webhook.core.admission_request import Phase, read_review
from webhook.core.evaluate import evaluate
from webhook.core.policy.loader import default_policy
from webhook.server.audit_log.file_sink import FileSink
from webhook.server.audit_log.logger import AuditLog
from webhook.server.metrics.definitions import AUDIT_FAILURES
from webhook.server.metrics.recorder import Metrics
from webhook.server.state import State


def test_path_is_reopened_on_sigusr1(policy_flags, tmp_path):
    target = tmp_path / "fifo"  # which is reopened on request only, unlike a file
    before = fifo(target)
    with serve(tmp_path / "run", *policy_flags, "--audit-log", str(target)) as server:
        send_many(server, [1])
        assert before.read()
        target.rename(tmp_path / "fifo.1")
        after = fifo(target)
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: send_many(server, [2]) or after.read())
    before.close()
    after.close()


def fifo(path):
    """Make a FIFO and open it for reading; a read returns nothing if there is nothing."""
    os.mkfifo(path)
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)


@pytest.mark.parametrize("case", ["warned", "audited", "plain"])
def test_unchanged_objects_are_sampled_and_the_rest_counted(case):
    policy, phase, volumes = POLICIES[case]
    replica = Replica(policy, level="all", sample=0.25)
    for body in pods(400, volumes=volumes):
        replica.response(body, phase)
    assert 60 < len(replica.audit.lines) < 140
    assert {line["sample"] for line in replica.audit.lines} == {0.25}
    assert replica.counted("audit_sampled_out") == [
        f"tokenguard_audit_sampled_out_total {400.0 - len(replica.audit.lines)}"
    ]


@pytest.mark.parametrize("case", ["denied", "exempted", "patched"])
def test_denials_exemptions_and_patches_are_never_sampled_out(case):
    policy, phase, volumes = POLICIES[case]
    replica = Replica(policy, sample=0.0)
    for body in pods(20, volumes=volumes):
        replica.response(body, phase)
    assert len(replica.audit.lines) == 20
    assert not any("sample" in line for line in replica.audit.lines)
    assert replica.counted("audit_sampled_out") == ["tokenguard_audit_sampled_out_total 0.0"]


def test_unreadable_object_that_passes_is_never_sampled_out():
    replica = Replica(NO_INJECTION + "mode: warn\n", sample=0.0)
    replica.response(review({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": "none"}}))
    [line] = replica.audit.lines
    assert line["decision"] == "warned"
    assert "can't be read" in line["problem"]


def test_plain_allow_below_the_level_is_not_sampled_out():
    replica = Replica(NO_INJECTION, sample=0.0)
    replica.response(pods(1)[0])
    assert replica.counted("audit_sampled_out") == ["tokenguard_audit_sampled_out_total 0.0"]


@pytest.mark.covers("failure-modes: one of two sinks fails")
def test_failing_sink_is_logged_once_the_other_gets_every_line(tmp_path, caplog):
    metrics = Metrics(State())
    log = AuditLog([FullSink(), FileSink(tmp_path / "audit")], metrics)
    request = read_review(recorded("pod-dry-run.pods", "validate"), Phase.VALIDATE)
    for _ in range(3):
        assert log.record(request, evaluate(request, default_policy(), CLUSTER, NOW), NOW, 0.0)
    log.reopen()
    assert metrics.values[AUDIT_FAILURES][()].value == 3
    assert (tmp_path / "audit").read_bytes().count(b"\n") == 3
    assert caplog.messages == [
        "cannot write the audit log full: No space left on device",
        "cannot reopen the audit log full: No such file or directory",
    ]


def test_pipe_and_rotated_file_both_get_every_record_whole(policy_flags, tmp_path):
    reading, writing = os.pipe()
    received: list[bytes] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as pipe:
            received.extend(pipe)

    reader = threading.Thread(target=read)
    reader.start()
    flags = ("--audit-file", str(tmp_path / "file"), "--audit-file-max-size", "128Ki", "--audit-file-keep", "20")
    with serve(tmp_path / "run", *policy_flags, *flags, stdout=writing) as server:
        os.close(writing)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda first: send_many(server, range(first, first + 20)), range(0, 120, 20)))
        assert server.metric("tokenguard_audit_failures_total") == 0
    reader.join()
    files = sorted(tmp_path.glob("file*"))
    assert len(files) > 2
    assert min(map(len, received)) > select.PIPE_BUF
    assert sorted(json.loads(line)["uid"] for line in received) == [f"{number:08x}-large" for number in range(120)]
    assert sorted(received) == sorted(line for file in files for line in file.read_bytes().splitlines(keepends=True))
