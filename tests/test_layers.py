"""Dependencies flow one way (import-linter's contracts in `pyproject.toml`), and tests share helper modules alone."""

import re
import subprocess
import sys
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
