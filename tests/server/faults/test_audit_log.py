"""An audit log that can't be written: nothing is changed or exempted untold, and it is found out when it can be."""

import http.client
import json
import os
import signal
import subprocess
import sys
import uuid
from contextlib import suppress

import pytest

from tests.reviews import review
from tests.server.test_audit import EXEMPT, HOSTPATH, LEGACY, Full, large_denial, pod, pods
from tests.server.test_recorded import decided, recorded
from tests.server.test_review import CLUSTER, NOW, Judge
from tests.serving import JSON, POLICY, ask, eventually, serve
from webhook.core.policy.document import read_policy
from webhook.core.request import Phase, read_review
from webhook.server.audit import AuditLog
from webhook.server.audit_file import LogFile
from webhook.server.audit_output import Output
from webhook.server.audit_stream import LogStream
from webhook.server.metrics import Metrics
from webhook.server.review import Reviewer
from webhook.server.state import State

PATCHED = recorded("pod-plain.pods", "mutate")
DENIED = recorded("secret-legacy.secrets", "validate")
ALLOWED = recorded("secret-opaque.secrets", "validate")
BARE = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
"""Newer Pythons warn where other threads run; the workers are forks as well."""
DEPLOYMENT = {
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b"}], "volumes": LEGACY}}},
}


class Untold(Judge):
    """Judges while no line can be written."""

    def __init__(self, policy: str, *others, must_tell: bool = True):
        self.state, self.metrics = State(), Metrics()
        self.state.use_policy(read_policy(policy.encode()))
        self.state.use_cluster(CLUSTER)
        self.log = AuditLog([Full(), *others], must_tell=must_tell, lost=self.metrics.audit_failures.inc)
        self.state.untold = self.log.why_not_told
        self.reviewer = Reviewer(self.state, self.log, self.metrics, clock=lambda: NOW)


REFUSED = {
    "a patch": (POLICY, Phase.MUTATE, pods(1)[0], "would change this"),
    "an exemption": (EXEMPT, Phase.VALIDATE, pods(1, volumes=LEGACY)[0], "would exempt this"),
}


@pytest.mark.parametrize(("policy", "phase", "body", "said"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_changed_or_exempted_untold_is_refused_and_says_why(policy, phase, body, said):
    judge = Untold(policy)
    response = judge.response(body, phase)
    assert (response["allowed"], response["status"]["code"]) == (False, 503)
    assert response["status"]["message"].startswith(f"tokenguard {said}, but has to write that down first, and can't: ")
    assert "No space left on device" in response["status"]["message"]
    assert "patch" not in response
    assert response["auditAnnotations"]["decision"] == "denied"
    untold = f'tokenguard_reviews_unjudged_total{{reason="untold",webhook="{phase}"}} 1.0'
    assert untold in judge.counted("reviews_unjudged")
    assert judge.counted("audit_failures") == ["tokenguard_audit_failures_total 1.0"]


STANDS = {
    "a denial": (BARE, Phase.VALIDATE, pods(1, volumes=LEGACY)[0], "denied"),
    "a warning": (BARE, Phase.VALIDATE, pods(1, volumes=HOSTPATH)[0], "warned"),
    "a plain allow": (BARE, Phase.VALIDATE, pods(1)[0], "allowed"),
    "what is only warned of": (POLICY + "mode: warn\n", Phase.MUTATE, pods(1)[0], "allowed"),
    "an exemption where nothing is enforced": (EXEMPT + "mode: audit\n", Phase.VALIDATE, pods(1, volumes=LEGACY)[0],
        "allowed"),
    "an exempted workload, which is never refused": (EXEMPT, Phase.VALIDATE, review(DEPLOYMENT), "allowed"),
}  # fmt: skip


@pytest.mark.parametrize(("policy", "phase", "body", "outcome"), STANDS.values(), ids=STANDS)
def test_every_other_decision_stands_though_it_is_not_told(policy, phase, body, outcome):
    assert Untold(policy).response(body, phase)["auditAnnotations"]["decision"] == outcome


def test_where_it_is_allowed_changes_are_made_untold_and_it_stays_ready():
    judge = Untold(POLICY, must_tell=False)
    assert "patch" in judge.response(PATCHED, Phase.MUTATE)
    assert judge.state.why_not_ready == ""
    assert judge.counted("audit_failures") == ["tokenguard_audit_failures_total 1.0"]


def test_a_decision_that_one_of_two_destinations_has_is_told(tmp_path):
    judge = Untold(POLICY, LogFile(tmp_path / "audit"))
    assert "patch" in judge.response(PATCHED, Phase.MUTATE)
    assert judge.state.why_not_ready == ""
    assert judge.counted("audit_failures") == ["tokenguard_audit_failures_total 1.0"]


class Moody:
    """A destination that takes lines where a test lets it."""

    name = "moody"

    def __init__(self):
        self.lines, self.full = [], True

    def write(self, line):
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines.append(json.loads(line))


def test_the_first_line_after_an_outage_tells_of_the_last_refusal_in_it_and_what_was_refused_is_never_called_done():
    moody = Moody()
    judge = Untold(POLICY)
    judge.log._outputs = [Output(moody, lambda: None)]
    for body in pods(3):
        assert judge.response(body, Phase.MUTATE)["allowed"] is False
    assert judge.state.why_not_ready == "the audit log can't be written: No space left on device"
    (output,) = judge.log._outputs
    output.try_again()
    assert judge.state.why_not_ready != ""
    moody.full = False
    for _ in range(2):
        output.try_again()
    assert judge.state.why_not_ready == ""
    (line,) = moody.lines
    assert (line["decision"], line["uid"][:8], line["patch"]) == ("denied", "00000002", [])
    assert "No space left on device" in line["problem"]
    assert "patch" in judge.response(PATCHED, Phase.MUTATE)


@FORKS
def test_what_one_process_finds_out_all_of_them_know_until_it_is_gone():
    judge = Untold(POLICY)
    child = os.fork()
    if not child:
        judge.log.tell(*told(judge))
        os._exit(0)
    os.waitpid(child, 0)
    assert "another worker's log says why" in judge.state.why_not_ready
    judge.log.worker_died(child + 1)
    assert judge.state.why_not_ready != ""
    judge.log.worker_died(child)
    assert judge.state.why_not_ready == ""


def told(judge):
    """Return what an audit log is told of a patch."""
    request = read_review(PATCHED, Phase.MUTATE)
    decision, _ = judge.reviewer._decided(request, judge.state.snapshot, NOW)
    return request, decision, NOW, 0.0


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


@FORKS
@pytest.mark.parametrize("kind", ["a file", "a stream"])
def test_a_line_that_a_full_disk_has_torn_spoils_no_other(small_disk, tmp_path, kind):
    (small_disk / "audit").touch()
    log = LogFile(small_disk / "audit") if kind == "a file" else LogStream(str(small_disk / "audit"), tmp_path / "lock")
    fill(small_disk)
    (small_disk / "ballast").unlink()
    before = write_some(log, range(40))
    assert {True, False} == set(before)
    held = (small_disk / "audit").read_bytes()
    assert not held.endswith(b"\n"), "the disk took a part of a line"
    subprocess.run(["mount", "-o", "remount,size=64k", str(small_disk)], check=True)
    child = os.fork()  # another process than the one whose line is torn
    if not child:
        os._exit(write_some(log, [100]) != [True])
    assert os.waitpid(child, 0)[1] == 0
    assert write_some(log, [101]) == [True]
    lines = (small_disk / "audit").read_bytes().splitlines()
    assert [json.loads(line)["n"] for line in lines[-2:]] == [100, 101]
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[-3])
    assert [json.loads(line)["n"] for line in lines[:-3]] == [at for at, taken in enumerate(before) if taken]


def test_a_line_that_an_earlier_process_has_left_torn_is_ended_by_the_next(tmp_path):
    (tmp_path / "audit").write_bytes(b'{"n": 1}\n{"n":')
    log = LogFile(tmp_path / "audit")
    log.write(b'{"n": 3}\n')
    assert (tmp_path / "audit").read_bytes() == b'{"n": 1}\n{"n":\n{"n": 3}\n'


def readiness(server) -> tuple[int, str]:
    with suppress(OSError, http.client.HTTPException):
        reply = server.request("GET", "/readyz")
        return reply.status, reply.json.get("error", "")
    return 0, ""


@pytest.mark.parametrize("flag", ["--audit-log", "stdout"])
def test_on_a_full_disk_nothing_is_changed_untold_and_room_is_noticed_without_a_review(
    judged_by, small_disk, tmp_path, flag
):
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
        serve(tmp_path / "run", *judged_by, *flags, **({} if flags else {"stdout": stdout})) as server,
    ):
        assert changes(server)
        fill(small_disk)
        eventually(lambda: not changes(server))
        eventually(lambda: [readiness(server)[0] for _ in range(6)] == [503] * 6)
        assert readiness(server)[1].startswith("not ready: the audit log can't be written: ")
        assert decided(server.review("/validate", DENIED)).startswith("denied")
        assert server.review("/validate", ALLOWED)["allowed"]
        assert server.metric("tokenguard_ready") == 0
        for _ in range(8):
            assert not changes(server)
        assert server.metric("tokenguard_reviews_unjudged_total", reason="untold") >= 9
        (small_disk / "ballast").unlink()
        eventually(lambda: [readiness(server)[0] for _ in range(6)] == [200] * 6)
        assert changes(server)
        assert server.log.count("can't be written: No space left") <= 2
        assert "can be written again" in server.log
    lines = [json.loads(line) for line in target.read_bytes().splitlines() if line.endswith(b"}")]
    assert {line["uid"] for line in lines if line["patch"]} == changed
    assert {line["decision"] for line in lines if "problem" in line} == {"denied"}, "the last that were refused"


def test_a_stdout_that_nobody_reads_any_more_refuses_changes_until_the_process_is_started_anew(judged_by, tmp_path):
    reading, writing = os.pipe()
    with serve(tmp_path / "first", *judged_by, "--workers", "1", stdout=writing) as server:
        os.close(writing)
        assert server.review("/mutate", PATCHED)["allowed"]
        os.close(reading)
        response = server.review("/mutate", PATCHED)
        assert "Broken pipe" in response["status"]["message"]
        assert readiness(server) == (503, "not ready: the audit log can't be written: Broken pipe")
        assert server.request("GET", "/healthz").status == 200
        assert server.review("/validate", ALLOWED)["allowed"]
    with serve(tmp_path / "second", *judged_by, "--workers", "1") as server:
        assert server.review("/mutate", PATCHED)["allowed"]


def test_a_worker_that_is_killed_takes_what_it_found_out_with_it_and_the_next_finds_out_by_itself(judged_by, tmp_path):
    with serve(tmp_path, *judged_by, "--workers", "1", "--audit-log", "/dev/full") as server:
        for _ in range(2):
            assert not server.review("/mutate", PATCHED)["allowed"]
            assert readiness(server)[0] == 503
            (worker,) = server.workers
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: readiness(server)[0] == 200)


def test_the_environment_can_say_that_changes_are_made_untold(judged_by, tmp_path):
    environment = {**os.environ, "TOKENGUARD_AUDIT_FAILURE": "allow"}
    with serve(tmp_path, *judged_by, "--workers", "1", "--audit-log", "/dev/full", env=environment) as server:
        connection = server.connect()
        assert decided(server.review("/mutate", PATCHED)).startswith("patched")
        assert ask(connection, "POST", "/validate", large_denial(1), JSON).json["response"]["allowed"] is False
        connection.close()
        assert readiness(server)[0] == 200
        assert server.metric("tokenguard_audit_failures_total") >= 2


def test_what_audit_failure_can_not_mean_is_refused():
    command = [sys.executable, "-m", "webhook", "serve", "--tls-self-signed", "--audit-failure", "ignore"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "'ignore' is not one of 'deny', 'allow'" in done.stderr
