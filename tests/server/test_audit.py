"""The audit log: what is written of which decisions, and where to."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.audit.test_record import CLUSTER, NOW
from tests.reviews import review
from tests.server.test_recorded import recorded
from tests.server.test_review import Judge
from tests.serving import JSON, POLICY, ask, eventually, serve
from webhook.core.evaluate import evaluate
from webhook.core.policy.document import default_policy
from webhook.core.request import Phase, read_review
from webhook.server.audit import AuditLog
from webhook.server.audit_file import LogFile


def large_denial(number: int) -> bytes:
    env = [
        {"name": f"E{at}", "valueFrom": {"secretKeyRef": {"name": "app-token", "key": "token"}}} for at in range(200)
    ]
    return review(pod(containers=[{"name": "a", "image": "b", "env": env}]), uid=f"{number:08x}-large")


def send_many(server, numbers) -> None:
    connection = server.connect()
    for number in numbers:
        assert ask(connection, "POST", "/validate", large_denial(number), JSON).status == 200
    connection.close()


def test_lines_of_several_workers_stay_whole_in_a_file(judged_by, tmp_path):
    with serve(tmp_path, *judged_by, "--workers", "3", "--audit-log", str(tmp_path / "file")) as server:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda first: send_many(server, range(first, first + 20)), range(0, 120, 20)))
        assert server.metric("tokenguard_audit_failures_total") == 0
    lines = [json.loads(line) for line in (tmp_path / "file").read_bytes().splitlines()]
    assert len(lines) == 120


def test_a_rotated_file_is_opened_anew_on_sigusr1(judged_by, tmp_path):
    target = tmp_path / "file"
    with serve(tmp_path / "run", *judged_by, "--audit-log", str(target)) as server:
        send_many(server, [1])
        target.rename(tmp_path / "file.1")
        server.process.send_signal(signal.SIGUSR1)
        eventually(target.exists)
        eventually(lambda: send_many(server, [2]) or target.stat().st_size)
        assert len((tmp_path / "file.1").read_bytes().splitlines()) >= 1


def pod(**spec):
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}], **spec}}


def pods(count: int, **spec):
    """Return reviews of so many pods, each with a uid of its own."""
    return [review(pod(**spec), uid=f"{number:08x}-9b31-4f27") for number in range(count)]


HOSTPATH = [{"name": "h", "hostPath": {"path": "/var/lib/kubelet/pods"}}]
LEGACY = [{"name": "t", "secret": {"secretName": "app-token"}}]
NO_INJECTION = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
EXEMPT = NO_INJECTION + 'exemptions: [{rules: ["*"], namespaces: [demo], reason: r, until: never}]\n'
POLICIES = {
    "warned": (NO_INJECTION, Phase.VALIDATE, HOSTPATH),
    "audited": (NO_INJECTION + "mode: audit\n", Phase.VALIDATE, HOSTPATH),
    "plain": (NO_INJECTION, Phase.VALIDATE, []),
    "denied": (NO_INJECTION, Phase.VALIDATE, LEGACY),
    "exempted": (EXEMPT, Phase.VALIDATE, LEGACY),
    "patched": (POLICY, Phase.MUTATE, []),
}


@pytest.mark.parametrize("case", ["warned", "audited", "plain"])
def test_of_what_is_let_through_as_it_is_a_share_is_written_and_the_rest_is_counted(case):
    policy, phase, volumes = POLICIES[case]
    judge = Judge(policy, level="all", sample=0.25)
    for body in pods(400, volumes=volumes):
        judge.response(body, phase)
    assert 60 < len(judge.audit.lines) < 140
    assert {line["sample"] for line in judge.audit.lines} == {0.25}
    assert judge.counted("audit_sampled_out") == [
        f"tokenguard_audit_sampled_out_total {400.0 - len(judge.audit.lines)}"
    ]


@pytest.mark.parametrize("case", ["denied", "exempted", "patched"])
def test_whatever_was_denied_changed_or_exempted_is_written_though_nothing_else_is(case):
    policy, phase, volumes = POLICIES[case]
    judge = Judge(policy, sample=0.0)
    for body in pods(20, volumes=volumes):
        judge.response(body, phase)
    assert len(judge.audit.lines) == 20
    assert not any("sample" in line for line in judge.audit.lines)
    assert judge.counted("audit_sampled_out") == ["tokenguard_audit_sampled_out_total 0.0"]


def test_what_could_not_be_judged_and_is_let_through_is_written_though_nothing_else_is():
    judge = Judge(NO_INJECTION + "mode: warn\n", sample=0.0)
    judge.response(review({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": "none"}}))
    [line] = judge.audit.lines
    assert line["decision"] == "warned"
    assert "can't be read" in line["problem"]


def test_what_no_level_wants_is_not_counted_as_left_out():
    judge = Judge(NO_INJECTION, sample=0.0)
    judge.response(pods(1)[0])
    assert judge.counted("audit_sampled_out") == ["tokenguard_audit_sampled_out_total 0.0"]


class Full:
    """A destination that takes nothing."""

    name = "full"

    def write(self, _):
        raise OSError(28, "No space left on device")

    def reopen(self):
        raise OSError(2, "No such file or directory")


def test_a_destination_that_fails_is_told_of_once_counted_always_and_costs_the_other_one_nothing(tmp_path, caplog):
    lost: list[None] = []
    log = AuditLog([Full(), LogFile(tmp_path / "audit")], lost=lambda: lost.append(None))
    request = read_review(recorded("pod-dry-run.pods", "validate"), Phase.VALIDATE)
    for _ in range(3):
        log.tell(request, evaluate(request, default_policy(), CLUSTER, NOW), NOW, 0.0)
    log.reopen()
    assert len(lost) == 3
    assert (tmp_path / "audit").read_bytes().count(b"\n") == 3
    assert caplog.messages == [
        "the audit log full can't be written: No space left on device",
        "the audit log full can't be opened anew: No such file or directory",
    ]


def test_both_destinations_get_every_line_and_the_file_is_rotated_by_the_workers(judged_by, tmp_path):
    target = tmp_path / "file"
    flags = ("--audit-file", str(target), "--audit-file-max-size", "128Ki", "--audit-file-keep", "20")
    with serve(tmp_path / "run", *judged_by, "--workers", "3", *flags) as server:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda first: send_many(server, range(first, first + 20)), range(0, 120, 20)))
        assert server.metric("tokenguard_audit_failures_total") == 0
    files = sorted(tmp_path.glob("file*"))
    assert len(files) > 2
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    assert sorted(json.loads(line)["uid"] for line in lines) == [f"{number:08x}-large" for number in range(120)]
    assert sorted(lines) == sorted((tmp_path / "run" / "audit").read_bytes().splitlines())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--audit-file", "/dev/null"], "this is no regular file"),
        (["--audit-file", "{}/a", "--audit-log", "{}/./a"], "every line would be in it twice"),
        (["--audit-file", "{}/none/a"], "No such file or directory"),
        (["--audit-file-max-size", "1MB"], "write bytes, or a number with Ki, Mi or Gi"),
        (["--audit-sample", "2"], "not in the range 0<=x<=1"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags, said, tmp_path):
    given = [flag.format(tmp_path) for flag in flags]
    command = [sys.executable, "-m", "webhook", "serve", "--bind", "127.0.0.1:0", "--tls-self-signed", *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
