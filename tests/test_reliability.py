"""Every fault that docs/reliability.md tells of has a test that there is, and every test of a fault is told of."""

import re

import pytest

from tests.documented import CHECKOUT, is_there, there_are
from webhook.server.options import ServeOptions

PAGE = (CHECKOUT / "docs/reliability.md").read_text()
FAULTS = "| fault | what happens | seen | tests |\n|---|---|---|---|\n"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for table in PAGE.split(FAULTS)[1:]
    for line in table.split("\n\n")[0].splitlines()
]
NAMED = re.findall(r"`(tests/[^`]+)`", PAGE)


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:60] for row in ROWS])
def test_a_fault_says_what_happens_and_what_was_seen_and_names_tests_that_there_are(row) -> None:
    fault, happens, seen, tests = row
    assert fault
    assert happens
    assert seen
    named = re.findall(r"`([^`]+)`", tests)
    assert named
    assert [one for one in named if not is_there(one)] == []


def test_every_test_of_a_fault_is_told_of() -> None:
    files = sorted(file.relative_to(CHECKOUT) for file in (CHECKOUT / "tests/server/faults").glob("test_*.py"))
    of_faults = {f"{file}::{name}" for file in files for name in there_are(str(file))}
    assert len(of_faults) > 30
    assert of_faults - set(NAMED) == set()
    assert len(ROWS) > 30


def test_the_default_is_as_told() -> None:
    assert f"`{ServeOptions.audit_failure}`, the default" in PAGE
