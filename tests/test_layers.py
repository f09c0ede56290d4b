"""Dependencies flow one way, and the core stays pure: import-linter knows the contracts (`pyproject.toml`)."""

import subprocess
import sys
from pathlib import Path


def test_the_layers_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout
