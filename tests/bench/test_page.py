"""docs/performance.md names commands that there are, and shows tables of the shape that they print."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import over_https, table
from tests.bench.__main__ import PARTS
from tests.documented import CHECKOUT

PAGE = (CHECKOUT / "docs/performance.md").read_text()
MAKEFILE = (CHECKOUT / "Makefile").read_text()
COMMANDS = [
    line.partition("#")[0].split()[1:]
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
MADE = [words[1:] for words in COMMANDS if words[0] == "make"]
RUN = [words[2:] for words in COMMANDS if words[0] == ".venv/bin/python"]


def test_documented_commands_use_make_or_python() -> None:
    assert len(MADE) + len(RUN) == len(COMMANDS) >= 5


@pytest.mark.parametrize("words", MADE, ids=" ".join)
def test_documented_make_targets_exist(words) -> None:
    target, *variables = words
    assert re.search(rf"^{target}:.*## ", MAKEFILE, re.MULTILINE)
    for name, _, value in (variable.partition("=") for variable in variables):
        assert f"$({name})" in MAKEFILE
        assert name != "PARTS" or value in PARTS
    for part in PARTS:
        assert part in PAGE


@pytest.mark.parametrize("words", RUN, ids=" ".join)
def test_documented_python_modules_exist(words) -> None:
    module, *rest = words
    assert Path(CHECKOUT, *module.split(".")).with_suffix(".py").exists() or (
        Path(CHECKOUT, *module.split("."), "__main__.py").exists()
    )
    flags = [word for word in rest if word.startswith("--")]
    if flags:
        usage = subprocess.run(
            [sys.executable, "-m", module, "--help"], cwd=CHECKOUT, capture_output=True, text=True, check=True
        ).stdout
        assert all(flag in usage for flag in flags)


@pytest.mark.parametrize("head", [over_https.HEAD, table.HEAD], ids=["load", "rest"])
def test_documented_tables_have_the_printed_columns(head) -> None:
    assert list(head) in [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines()]


def test_every_load_is_documented() -> None:
    for review, connections in over_https.LOADS:
        assert len(re.findall(rf"^\| {review} +\| {connections} +\|", PAGE, re.MULTILINE)) == 4


@pytest.mark.parametrize("target", ["soak", "fuzz"])
def test_make_help_has_the_durations_of_the_targets(target) -> None:
    [minutes] = re.findall(rf"^{target}:.*MINUTES \((\d+)\)", MAKEFILE, re.MULTILINE)
    command = ["make", "--no-print-directory", "-n", target]
    planned = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert planned.rstrip().endswith(f"--minutes {minutes}")
