"""Tests cover every row of docs/failure-modes.md and docs/threat-model.md, and those every fault."""

import ast
import re
import shutil
import subprocess
from collections import Counter

import pytest

from tests.covers import covered, other_names, rows
from tests.documented import CHECKOUT, PAGES
from webhook.server.options import ServeOptions

ROWS = rows()
THREAT_MODEL = PAGES["docs/threat-model.md"]


def test_every_row_is_covered_by_a_test() -> None:
    assert set(ROWS) - covered().keys() == set()


def test_every_marker_names_a_row() -> None:
    assert covered().keys() - set(ROWS) - other_names() == set()


def test_rows_have_names_of_their_own_and_no_empty_cell() -> None:
    assert [name for name, number in Counter(ROWS).items() if number > 1] == []
    assert len(ROWS) > 90
    pages = PAGES["docs/failure-modes.md"] + THREAT_MODEL
    assert [line for line in pages.splitlines() if re.search(r"^\|.*\| *\|", line)] == []


def test_pages_name_no_tests_and_no_attributes() -> None:
    for page in ("failure-modes", "threat-model"):
        assert re.findall(r"`(?:tests|webhook)/[^`]*`", PAGES[f"docs/{page}.md"]) == []


def test_every_test_of_a_fault_covers_a_row() -> None:
    marked = {test for tests in covered().values() for test in tests}
    files = sorted((CHECKOUT / "tests/server/faults").glob("test_*.py"))
    of_faults = {
        f"{file.relative_to(CHECKOUT)}::{node.name}"
        for file in files
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert len(of_faults) > 30
    assert of_faults - marked == set()


def test_default_of_audit_failure_is_the_documented_one() -> None:
    assert f"With `{ServeOptions.audit_failure}`, the default:" in " ".join(PAGES["docs/failure-modes.md"].split())


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("bash")), reason="needs bash and openssl")
def test_commands_shown_make_a_client_certificate_of_the_ca(tmp_path) -> None:
    [commands] = re.findall(r"```bash\n(.*?)```", THREAT_MODEL, re.DOTALL)
    subprocess.run(["bash", "-euc", commands], cwd=tmp_path, capture_output=True, check=True)
    for purpose, taken in (("sslclient", True), ("sslserver", False)):
        call = ["openssl", "verify", "-CAfile", "client-ca.crt", "-purpose", purpose, "client.crt"]
        assert (subprocess.run(call, cwd=tmp_path, capture_output=True, check=False).returncode == 0) is taken
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob("*.key")} == {
        "client-ca.key": 0o600, "client.key": 0o600,
    }  # fmt: skip
