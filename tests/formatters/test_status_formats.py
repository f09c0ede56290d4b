"""A status as text, which fits one screen, and as JSON."""

import datetime as dt
import json
from importlib.metadata import version

from webhook.formatters import status_json, status_text
from webhook.formatters.formatter import FormatOptions
from webhook.status.report import RowState, StatusProblem, StatusReport, StatusRow, build_row, unread_row

PLACE = ("https://api", "staging", dt.datetime(2026, 11, 26, 12, 3, tzinfo=dt.UTC))
REPORT = StatusReport(*PLACE, "security", (
    build_row("replicas", "1 of 2 ready", (StatusProblem("1 replica is not ready", "kubectl describe", is_note=True),)),
    build_row("certificate", "none", (StatusProblem("there is none", "tokenguard certs status"),)),
    unread_row("policy", "HTTP 403: no"),
    build_row("mutating", "1 webhook, as shipped"),
    StatusRow("backstop", "not installed", RowState.ABSENT),
))  # fmt: skip
TEXT = """\
tokenguard in namespace security: NOT PROTECTED: 1 problem, 1 part not read
cluster    https://api, 2026-11-26 12:03 UTC
context    staging

  note  replicas     1 of 2 ready [2]
  FAIL  certificate  none [1]
  ?     policy       not read: HTTP 403: no
  ok    mutating     1 webhook, as shipped
  -     backstop     not installed

1. there is none
   fix: tokenguard certs status
2. note: 1 replica is not ready
   fix: kubectl describe"""


def test_text_has_a_line_for_each_part_and_problems_first() -> None:
    assert "\n".join(status_text.format_report(REPORT)) == TEXT


def test_text_of_a_protected_cluster_ends_after_the_rows() -> None:
    report = StatusReport(*PLACE, "tokenguard", REPORT.rows[2:])
    first, *_, last = status_text.format_report(report)
    assert first == "tokenguard in namespace tokenguard: protected: 1 part not read"
    assert "backstop" in last


def test_text_is_coloured_on_a_terminal() -> None:
    lines = "\n".join(status_text.format_report(REPORT, FormatOptions(colour=True)))
    assert "\033[31mFAIL\033[0m" in lines
    assert "\033[32mok  \033[0m" in lines


def test_text_is_wrapped_at_the_width_but_for_the_commands() -> None:
    problem = StatusProblem("a long text " * 10, "kubectl " + "get " * 30)
    report = StatusReport(*PLACE, "tokenguard", (build_row("replicas", "a long summary " * 10, (problem,)),))
    lines = [*status_text.format_report(report, FormatOptions(width=80))]
    assert [line for line in lines if len(line) > 80] == [f"   fix: {problem.fix}"]
    assert lines[5].startswith(" " * 21 + "a")


def test_effects_are_under_their_cause_with_the_way_out_first() -> None:
    effect = StatusProblem("nothing works", "look", blocks_pods=True, depends_on=("replicas",))
    rows = (
        build_row("replicas", "none", (StatusProblem("none is ready", "repair"),)),
        build_row("probe", "", (effect,)),
    )
    report = StatusReport(*PLACE, "tokenguard", rows)
    lines = [*status_text.format_report(report)]
    assert lines[1].startswith("To turn tokenguard off until this is repaired: kubectl delete validating")
    assert [line[-3:] for line in lines[5:7]] == ["[1]", "[1]"]
    assert lines[-3:] == ["1. none is ready", "   fix: repair", "   likely effect: nothing works"]
    document = json.loads("".join(status_json.format_report(report)))
    assert document["turnOff"].startswith("kubectl delete")
    [problem] = document["rows"][1]["problems"]
    assert (problem["fix"], problem["cause"]) == ("repair", "none is ready")


def test_json_has_rows_with_their_problems() -> None:
    report = json.loads("".join(status_json.format_report(REPORT)))
    assert (report["version"], report["namespace"], report["protected"]) == (1, "security", False)
    assert (report["toolVersion"], report["time"]) == (version("tokenguard-webhook"), "2026-11-26T12:03:00Z")
    assert (report["cluster"], report["context"]) == ("https://api", "staging")
    assert [(row["name"], row["state"]) for row in report["rows"]] == [
        ("replicas", "note"), ("certificate", "problem"), ("policy", "unknown"), ("mutating", "ok"),
        ("backstop", "absent"),
    ]  # fmt: skip
    assert report["rows"][1]["problems"] == [
        {"text": "there is none", "fix": "tokenguard certs status", "note": False, "cause": None}
    ]
    assert report["turnOff"] is None
