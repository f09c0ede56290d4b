"""Dependencies flow one way (import-linter's contracts in `pyproject.toml`), and tests share helper modules alone."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent


def test_import_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS.parent)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_no_module_imports_a_test_file() -> None:
    imports = re.compile(r"^\s*(?:from|import) tests\.(?:\S+\.)?test_\w+", re.MULTILINE)
    importers = [file.relative_to(TESTS) for file in TESTS.rglob("*.py") if imports.search(file.read_text())]
    assert importers == []


def test_end_to_end_cases_have_unique_names() -> None:
    files = (TESTS / "end_to_end" / "cases").glob("*.py")
    names = [name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)]
    assert len(names) == len(set(names)), "a module that imports all cases runs the last of that name only"


def test_public_class_names_are_unique() -> None:
    files = (TESTS.parent / "webhook").rglob("*.py")
    names = Counter(
        name for file in files for name in re.findall(r"^class ([A-Za-z]\w+)", file.read_text(), re.MULTILINE)
    )
    assert [name for name, count in names.items() if count > 1] == []
