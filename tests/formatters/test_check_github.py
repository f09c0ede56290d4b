"""Workflow commands of GitHub Actions: escaped, and no more than GitHub shows."""

import pytest

from tests.check.runs import LEGACY_SECRET, LONG_POD, SEED_POD, checked
from webhook.formatters import check_github


def lines_of(*texts: str) -> list[str]:
    return "".join(check_github.format_report(checked(*texts))).splitlines()


def test_github_shows_ten_of_each_kind_the_log_the_others() -> None:
    lines = lines_of(*[LONG_POD] * 12, *[LEGACY_SECRET] * 13, "a: [\n")
    commands = [line.split(" ")[0] for line in lines if line.startswith("::")]
    assert commands == ["::error"] * 10 + ["::warning"] * 10
    assert lines[0].startswith("::error line=")  # what could not be read comes first
    errors, warnings = (
        lines.index(f"{more}, as GitHub shows 10 of each kind:") for more in ("4 more errors", "2 more warnings")
    )
    assert {line.split(": ")[1] for line in lines[errors + 1 : errors + 5]} == {"denied"}
    assert {line.split(": ")[1] for line in lines[warnings + 1 : warnings + 3]} == {"patched"}


def test_github_clean_run_has_the_summary_alone() -> None:
    lines = lines_of(SEED_POD)
    assert lines[0] == "1 object in 1 file evaluated: 0 denied, 0 patched, 0 warned, 1 allowed"


@pytest.mark.covers("threat-model: CI workflow commands")
def test_github_names_cannot_end_a_command() -> None:
    forged = LONG_POD.replace("name: long", 'name: "a%0A\\n::error::b"')
    commands = [line for line in lines_of(forged) if "::" in line]
    assert len(commands) == 1
    assert "::Pod/a%250A\\n::error::b: spec." in commands[0]
