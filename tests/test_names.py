"""Names and texts without the vocabulary that the project has left behind; see CONTRIBUTING.md."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.documented import CHECKOUT, PAGES

IN_NAMES = {
    "amiss", "anew", "asked", "court", "foretold", "judge", "judged", "judgement", "mend", "mended", "mending", "told",
    "untold", "whoever",
}  # fmt: skip
IN_TEXTS = re.compile(r"\b(amiss|anew|foretold|judged|judgement|made out to|mended|untold|whoever)\b", re.IGNORECASE)
SOURCES = [file for folder in ("webhook", "tests", "release") for file in sorted((CHECKOUT / folder).rglob("*.py"))]
TEXTS = [
    *(file for file in SOURCES if file != Path(__file__)),
    *(CHECKOUT / page for page in PAGES if page != "CHANGELOG.md"),
    *(file for folder in ("manifests", "charts") for file in sorted((CHECKOUT / folder).rglob("*.yaml"))),
]
MAX_TEST_NAME = 60


@cache
def names_in(source: str) -> set[str]:
    """Return what a module, a class or a function is called, and what it calls its variables and arguments."""
    nodes = list(ast.walk(ast.parse(source)))
    defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {
        *(node.name for node in nodes if isinstance(node, defined)),
        *(node.arg for node in nodes if isinstance(node, ast.arg)),
        *(node.id for node in nodes if isinstance(node, ast.Name)),
        *(node.attr for node in nodes if isinstance(node, ast.Attribute)),
    }


def words_of(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        pytest.param("def f(told): ...", {"told"}, id="argument"),
        pytest.param("class JudgedPod: ...", {"JudgedPod"}, id="class"),
        pytest.param("self.asked_for = 1", {"asked_for"}, id="attribute"),
        pytest.param("untold = basket = recommended = 1", {"untold"}, id="variable"),
    ],
)
def test_names_in_source_are_found(source, names) -> None:
    assert {name for name in names_in(source) if words_of(name) & IN_NAMES} == names


def test_no_name_contains_a_word_of_the_former_vocabulary() -> None:
    assert len(SOURCES) > 300
    former = {
        f"{file.relative_to(CHECKOUT)}: {name}"
        for file in SOURCES for name in (file.stem, *names_in(file.read_text())) if words_of(name) & IN_NAMES
    }  # fmt: skip
    assert former == set()


def test_no_text_contains_a_word_of_the_former_vocabulary() -> None:
    assert {".py", ".md", ".yaml"} <= {file.suffix for file in TEXTS}
    former = {
        f"{file.relative_to(CHECKOUT)}: {match[0]}" for file in TEXTS for match in IN_TEXTS.finditer(file.read_text())
    }
    assert former == set()


def test_names_of_tests_are_short() -> None:
    names = (name for file in SOURCES if file.name.startswith("test_") for name in names_in(file.read_text()))
    assert [name for name in names if name.startswith("test_") and len(name) > MAX_TEST_NAME] == []
