"""`tokenguard audit summarize`: output, exit status, limits."""

import gzip
import io
import json
import os
import random
import select
import subprocess
import sys
from typing import ClassVar

import pytest

from tests.audit.log_lines import APP, LEGACY, STALE, event, mutate, own, peak_memory
from tests.audit.summarize import run, summarized
from webhook.audit.line_reader import MAX_LINE
from webhook.audit.merge import LogSource, ReadStats, merge_logs

DENIED = own(1, "legacy-token-reference: reject")
PATCHED = mutate(0, "inject: patch")
FINE = own(2, decision="allowed", name="fine")
PAST = event(3, {STALE: f"subject: {APP}, seconds after warning threshold: 7300"})
FROM_SECRET = event(4, {LEGACY: "system:serviceaccount:ci:jenkins", f"{LEGACY}-manual-secret": "robot"})
QUIET = event(5, {"authorization.k8s.io/decision": "allow"})


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (FINE + QUIET, 0), (PATCHED, 0), (DENIED, 1), (PAST, 1), (FROM_SECRET, 1), (b"", 0),
        (own(0, "inject: reject", dryRun=True), 0), (b'{"other": 1}\n', 2), (b"no JSON\n", 2),
    ],
    ids=["fine", "patched", "denied", "stale", "legacy", "empty", "dry run", "other JSON", "no JSON"],
)  # fmt: skip
def test_summarize_exit_status(data, status):
    done = run("-", stdin=data)
    assert done.exit_code == status, done.output


def test_summarize_text_shows_every_table():
    done = run("-", stdin=PATCHED + DENIED + PAST + FROM_SECRET + QUIET)
    assert (
        done.output
        == """\
1 log, 5 lines: 2 from tokenguard, 3 from the API server, 0 other, 0 unreadable
from 2026-11-24T12:00:00Z to 2026-11-24T12:00:05Z

1 account used stale tokens: clients that do not re-read their token and break once the API server token is capped
  account   requests  last                  stale for  clients
  shop/app         1  2026-11-24T12:00:03Z  2h         pod app-1, client/1.0

1 account used legacy tokens, from Secrets
  account     requests  last                  details              clients
  ci/jenkins         1  2026-11-24T12:00:04Z  manual-secret robot  pod app-1, client/1.0

Decisions in tokenguard's log: 1
  1 denied, 0 patched, 0 warned, 0 audited, 0 exempted

  rule                    denied  patched  warned  audited  exempted
  inject                                1
  legacy-token-reference       1

  namespace  denied  patched  warned  audited  exempted
  shop            1

  account   denied  patched  warned  audited  exempted
  shop/app       1

  day         denied  patched  warned  audited  exempted
  2026-11-24       1
"""
    )


def test_summarize_reads_plain_gzip_and_stdin_alike(tmp_path):
    data = PATCHED + DENIED + PAST
    (tmp_path / "plain.gz").write_bytes(data)
    (tmp_path / "packed").write_bytes(gzip.compress(data))
    expected = summarized("-", stdin=data)
    assert summarized("-", stdin=gzip.compress(data)) == expected
    assert summarized(tmp_path / "plain.gz") == expected
    assert summarized(tmp_path / "packed") == expected


def test_summarize_orders_the_logs_of_two_replicas_by_time(tmp_path):
    pods = range(500)
    first = [mutate(at, "inject: patch", name=f"app-{at}") for at in pods]
    second = [own(at + 0.1, "legacy-token-reference: reject", name=f"app-{at}") for at in pods if at % 2]
    for name, lines in (("a", second[:100]), ("b", second[100:]), ("c", first)):
        (tmp_path / name).write_bytes(b"".join(lines))
    files = [tmp_path / name for name in "abc"]
    for order in (files, files[::-1]):
        decisions = summarized(*order)["decisions"]["tokenguard"]
        assert (decisions["requests"], decisions["denied"], decisions["patched"]) == (500, 250, 250)


class Counting(io.FileIO):
    """A file that knows how many of its kind are open."""

    opened: ClassVar[list[int]] = []
    most = 0

    def __init__(self, path):
        super().__init__(path)
        self.opened.append(self.fileno())
        Counting.most = max(len(self.opened), Counting.most)

    def close(self):
        if not self.closed:
            self.opened.remove(self.fileno())
        super().close()


def test_merge_logs_opens_consecutive_files_one_at_a_time(tmp_path):
    paths = [tmp_path / f"log.{at}" for at in range(50)]
    for at, path in enumerate(paths):
        path.write_bytes(b"".join(own(at * 100 + second, name=f"p-{at}-{second}") for second in range(10)))
    random.Random(1).shuffle(paths)
    logs = [LogSource(path.name, lambda path=path: Counting(path)) for path in paths]
    times = [line.time for line in merge_logs(logs, ReadStats())]
    assert len(times) == 500
    assert times == sorted(times)
    assert Counting.opened == []
    assert Counting.most <= 2


def test_unreadable_lines_are_counted_and_the_first_ones_shown(tmp_path):
    broken = [b"{", b'{"time": 7}', b"\xff\xfe", b'{"findings": 1}', b"[" * 100_000, b"text"]
    (tmp_path / "log").write_bytes(b"\n".join([DENIED.strip(), *broken, b"", b"  ", FINE]))
    done = run("--output", "json", tmp_path / "log")
    summary = json.loads(done.stdout)
    assert done.exit_code == 1
    assert summary["lines"] == {"tokenguard": 2, "apiServer": 0, "other": 0, "unreadable": 6}
    assert [line["at"] for line in summary["unreadableLines"]] == [f"{tmp_path}/log:{at}" for at in (2, 3, 4, 5, 6)]
    assert done.stderr.splitlines()[0].startswith(f"warning: {tmp_path}/log:2: ")
    assert done.stderr.splitlines()[-1] == "warning: 1 more unreadable line"
    assert "Traceback" not in done.stderr


def test_server_log_line_is_not_unreadable():
    said = b"[2026-11-24 12:00:00,123] [7] [INFO] serving on https://0.0.0.0:8443 with 2 worker(s)\n"
    assert summarized("-", stdin=said + DENIED)["lines"] == {
        "tokenguard": 1,
        "apiServer": 0,
        "other": 1,
        "unreadable": 0,
    }


def test_traceback_is_skipped_and_a_torn_line_is_counted():
    said = b"[2026-11-24 12:00:00,123] [7] [ERROR] internal error, decision '7': KeyError\n"
    said += b'Traceback (most recent call last):\n  File "review.py", line 7, in answer\n    this()\n'
    ends = b"webhook.atomic_write.Lost: gone\n"
    summary = summarized(
        "-", stdin=said + DENIED + ends + b"no such text\n" + said + ends + b'{"time": 7\n' + DENIED[9:]
    )
    assert summary["lines"] == {"tokenguard": 1, "apiServer": 0, "other": 10, "unreadable": 3}


SERVES = b"[2026-11-24 12:00:00,123] [7] [INFO] serving on https://0.0.0.0:8443 with 2 worker(s)\n"
FAILS = SERVES.replace(b"INFO", b"ERROR")
POD_A, POD_B = b"[pod/tokenguard-a/tokenguard] ", b"[pod/tokenguard-b/tokenguard] "


@pytest.mark.parametrize(
    "log",
    [SERVES + DENIED[20:], SERVES + b"\0" * 20 + DENIED, FAILS + DENIED[20:], FAILS + b" " + DENIED[20:],
     SERVES + b"  this()\n", POD_A + FAILS + POD_B + b"  this()\n", FAILS + b"x" * 2 * MAX_LINE + b"\n"],
    ids=["torn behind what it says", "a record behind zeros", "torn behind an error", "and indented", "no error before",
         "another pod's", "too long"],
)  # fmt: skip
def test_torn_line_behind_a_server_log_line_is_counted(log):
    summary = summarized("-", stdin=log + (POD_A if POD_A in log else b"") + FINE)
    assert summary["lines"] == {"tokenguard": 1, "apiServer": 0, "other": 1, "unreadable": 1}


@pytest.mark.parametrize(
    "before",
    [b"[pod/tokenguard-7d9-x2x/tokenguard] ", b"2026-11-24T12:00:00.123456789Z ", b"2026-11-24T13:00:00.1+01:00 ",
     b"[pod/tokenguard-7d9-x2x/tokenguard] 2026-11-24T12:00:00Z "],
)  # fmt: skip
def test_prefix_of_kubectl_logs_is_skipped(before):
    said = b"[2026-11-24 12:00:00,123] [7] [INFO] serving on https://0.0.0.0:8443 with 2 worker(s)\n"
    summary = summarized("-", stdin=b"".join(before + line for line in (said, DENIED, FINE)))
    assert summary["lines"] == {"tokenguard": 2, "apiServer": 0, "other": 1, "unreadable": 0}


def test_truncated_file_fails_the_run_after_its_readable_part(tmp_path):
    (tmp_path / "cut").write_bytes(gzip.compress(DENIED * 500)[:-9])
    done = run("--output", "json", tmp_path / "cut", tmp_path / "none", tmp_path)
    assert done.exit_code == 2
    summary = json.loads(done.stdout)
    assert summary["decisions"]["tokenguard"]["denied"] > 0
    assert {log["log"]: log["message"] for log in summary["unreadableLogs"]} == {
        f"{tmp_path}/cut": "truncated gzip data",
        f"{tmp_path}/none": "no such file or directory",
        f"{tmp_path}": "is a directory",
    }


def test_since_and_until_are_inclusive_days_in_utc():
    days = [own(0, name=f"p-{at}", time=f"2026-11-{20 + at}T23:30:00-01:00") for at in range(4)]
    summary = summarized("--since", "2026-11-22", "--until", "2026-11-23", "-", stdin=b"".join(days))
    rows = summary["decisions"]["tokenguard"]["days"]["rows"]
    assert [(row["day"], row["denied"]) for row in rows] == [("2026-11-22", 1), ("2026-11-23", 1)]
    assert run("--since", "2026-11-23", "--until", "2026-11-22", "-").exit_code == 2


def test_exempted_requests_count_by_exemption():
    exempt = own(0, decision="allowed", exemption="legacy-token-reference: PLAT-1 (until 2026-12-31)")
    decisions = summarized("-", stdin=exempt, status=0)["decisions"]["tokenguard"]
    assert decisions["exempted"] == 1
    assert decisions["rules"]["rows"][0]["rule"] == "legacy-token-reference"
    assert decisions["exemptions"]["rows"][0]["exemption"] == "legacy-token-reference: PLAT-1 (until 2026-12-31)"


@pytest.mark.parametrize(
    "odd",
    [
        own(0, time="0001-01-01T00:00:00+14:00"), own(0, time="9999-12-31T23:59:59-14:00"), own(0, sample=1e-320),
        own(0, sample=0), event(0, {}, stageTimestamp="0001-01-01T00:00:00Z"),
    ],
    ids=["before all time", "after all time", "hardly any share", "no share", "Go's zero time"],
)  # fmt: skip
@pytest.mark.parametrize("flags", [(), ("--output", "json"), ("--since", "2026-01-01")], ids=" ".join)
def test_impossible_value_makes_only_its_own_line_unreadable(odd, flags):
    done = run(*flags, "-", stdin=DENIED + odd + PATCHED)
    assert done.exit_code == 1, done.output
    assert "<stdin>:2: " in done.output
    assert "1 unreadable" in done.output or '"unreadable": 1' in done.output


def test_stale_token_with_an_unreadable_age_is_listed():
    done = run("-", stdin=event(3, {STALE: f"subject: {APP}, seconds after warning threshold: {'9' * 5000}"}))
    assert done.exit_code == 1
    assert "shop/app" in done.output


def test_sample_reports_the_requests_it_represents():
    lines = [own(at, "inject: audit", decision="allowed", name=f"p-{at}", sample=0.25) for at in range(10)]
    decisions = summarized("-", stdin=b"".join(lines))["decisions"]["tokenguard"]
    assert (decisions["audited"], decisions["sampled"]) == (10, {"records": 10, "represented": 40})


def test_request_that_could_not_be_evaluated_counts_without_rule():
    decisions = summarized("-", stdin=own(0, problem="it nests too deep"))["decisions"]["tokenguard"]
    assert decisions["rules"]["rows"] == [
        {"rule": "", "denied": 1, "patched": 0, "warned": 0, "audited": 0, "exempted": 0},
    ]


def test_long_table_is_cut_and_says_so():
    lines = b"".join(own(at, "inject: reject", namespace=f"ns-{at}", name=f"p-{at}") for at in range(30))
    shown = run("--rows", "3", "-", stdin=lines).output
    assert "\n  and 27 more namespaces: use --rows or --output json\n" in shown
    assert "more" not in run("--rows", "30", "-", stdin=lines).output


def test_without_the_api_servers_log_token_use_is_unknown():
    assert "unknown, only the API server" in run("-", stdin=DENIED).output
    assert summarized("-", stdin=DENIED)["staleTokens"] is None


def test_name_in_a_log_cannot_forge_a_line_of_the_summary():
    shown = run("-", stdin=own(0, serviceAccount="a\nb\x1b[31m")).output
    assert "\x1b" not in shown
    assert "shop/a\\nb\\x1b[31m" in shown


def test_memory_does_not_grow_with_accounts_or_lines(tmp_path):
    """Four times as many lines, each of a namespace and an account of its own, take hardly any more."""

    def peak(count: int) -> int:
        with (tmp_path / "log").open("wb") as log:
            for at in range(count):
                use = f"subject: system:serviceaccount:n{at}:a{at}, seconds after warning threshold: 1"
                log.write(event(at, {STALE: use}) + own(at, "inject: reject", namespace=f"n{at}", name=f"p{at}"))
        tables = "from webhook.audit.summary import BoundedCounter; BoundedCounter.__init__.__defaults__ = (2000,)"
        return peak_memory(tmp_path / "log", tables)

    assert peak(12_000) < 1.1 * peak(3000)


def test_progress_is_shown_on_a_terminal():
    pty = pytest.importorskip("pty", reason="needs a terminal")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "webhook", "audit", "summarize", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        lines = QUIET * 1000
        seen = b""
        while b"reading: " not in seen:
            process.stdin.write(lines)
            while select.select([ours], [], [], 0)[0]:
                seen += os.read(ours, 4096)
        process.stdin.close()
        assert process.wait(60) == 0
    os.close(ours)
    assert b" MiB, " in seen
