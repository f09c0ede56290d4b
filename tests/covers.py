"""Which tests cover which rows of docs/failure-modes.md and docs/threat-model.md.

A test says so with `@pytest.mark.covers("failure-modes: disk full")`, a golden case with the key `x-covers`. Besides
rows, it can name a heading, or the bold beginning of an item.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.documented import CHECKOUT, PAGES

COVERED = ("failure-modes", "threat-model")
TABLE = re.compile(r"^\| (?:fault|threat|kept in memory) \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", re.MULTILINE)


def rows() -> list[str]:
    """Return the name of every row."""
    return [
        f"{page}: {line.split('|')[1].strip(' `')}"
        for page in COVERED
        for table in TABLE.findall(PAGES[f"docs/{page}.md"])
        for line in table.splitlines()
    ]


def other_names() -> set[str]:
    """Return what else can be covered: headings, and the bold beginnings of items."""
    return {
        f"{page}: {heading or item}"
        for page in COVERED
        for heading, item in re.findall(r"^(?:#+ (.*)|- \*\*(.*)\.\*\*.*)$", PAGES[f"docs/{page}.md"], re.MULTILINE)
    }


def covered() -> dict[str, list[str]]:
    """Return the names that tests cover, each with its tests."""
    tests_by_row = defaultdict(list)
    for file in sorted((CHECKOUT / "tests").rglob("*.py")):
        for test, names in _in_module(file):
            for name in names:
                tests_by_row[name].append(f"{file.relative_to(CHECKOUT)}::{test}")
    for file in sorted((CHECKOUT / "tests/cases").glob("*.yaml")):
        for case in yaml.safe_load_all(file.read_text()):
            for name in (case or {}).get("x-covers", ()):
                tests_by_row[name].append(f"{file.relative_to(CHECKOUT)}: {case['case']}")
    return tests_by_row


def _in_module(file: Path) -> Iterator[tuple[str, list[str]]]:
    text = file.read_text()
    if "pytest.mark.covers(" not in text:
        return
    for node in ast.parse(text).body:
        for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.covers":
                yield node.name, [ast.literal_eval(name) for name in mark.args]
