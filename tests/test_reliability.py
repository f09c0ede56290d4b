"""Every fault that docs/reliability.md tells of has a test, and every test of a fault is told of."""

import re
from pathlib import Path

import pytest

from tests.documented import table_below
from webhook.server.options import ServeOptions

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/reliability.md").read_text()
FAULTS = "| fault | what happens | seen | tests |\n"
ROWS = [row for table in PAGE.split(FAULTS)[1:] for row in table_below(f"h\n\n{FAULTS}{table}", "h")]


def defined(folder: Path) -> set[str]:
    """Return the names of all tests in and below a folder."""
    files = [file.read_text() for file in folder.rglob("test_*.py")]
    return {name for file in files for name in re.findall(r"^def (test_\w+)", file, re.MULTILINE)}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_fault_has_what_happens_and_tests_that_exist(row) -> None:
    assert len(row) == 4
    assert row[1]
    named = re.findall(r"`(test_\w+)`", row[3])
    assert named
    assert set(named) <= defined(TESTS)


def test_every_test_of_a_fault_is_told_of() -> None:
    assert defined(TESTS / "server/faults") <= set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(ROWS) > 30


def test_the_default_is_as_told() -> None:
    assert f"`{ServeOptions.audit_failure}`, the default" in PAGE
