"""Which modules are compiled in the image, and that a missing or stale one is found.

`make test-compiled` runs the golden cases against compiled modules.
"""

import ast
import importlib
from pathlib import Path

import pytest

from tests.dockerfile import steps
from tests.documented import CHECKOUT
from webhook.compiled import MODULES, hashes_of, path_of, problems

COMPILED = "mypy.defaults"
"""A module that is always installed as an extension module made by mypyc, with its source beside it."""
SITE = Path(importlib.import_module(COMPILED).__file__).parent.parent
STRUCTS = {"FrozenStruct": {"frozen"}, "MutableStruct": set()}
"""The structs that a compiled module may derive from, with the keywords that are inherited anyway."""
OTHERS = {"FastStrEnum", "ValueError"}


@pytest.mark.parametrize("module", MODULES)
def test_listed_module_has_no_class_that_compiling_changes(module):
    for node in ast.walk(ast.parse((CHECKOUT / path_of(module)).read_text())):
        if isinstance(node, ast.ClassDef):
            assert node.decorator_list == [], node.name
            [base] = [ast.unparse(base) for base in node.bases]
            assert base in STRUCTS.keys() | OTHERS, node.name
            assert {keyword.arg for keyword in node.keywords} <= STRUCTS.get(base, set()), node.name


def test_listed_modules_include_every_rule():
    rules = {f"webhook.core.rules.{path.stem}" for path in (CHECKOUT / "webhook/core/rules").glob("[a-z]*.py")}
    assert rules <= set(MODULES)
    assert list(MODULES) == sorted(set(MODULES))


def test_compiled_module_of_the_same_source_has_no_problem():
    assert list(problems(hashes_of(SITE, [COMPILED]), [COMPILED])) == []


@pytest.mark.parametrize("hashes", [{}, {COMPILED: "0" * 64}])
def test_compiled_module_of_another_source_is_stale(hashes):
    [problem] = problems(hashes, [COMPILED])
    assert problem.startswith(f"{COMPILED} is stale: ")


def test_module_loaded_from_its_source_is_not_compiled():
    module = "webhook.compiled"
    [problem] = problems(hashes_of(CHECKOUT, [module]), [module])
    assert problem.startswith(f"{module} is not compiled: ")


def test_image_build_compiles_and_checks_what_it_installed():
    assert [step for step in steps("RUN") if "TOKENGUARD_COMPILE=1" in step]
    assert steps("RUN")[-1].endswith(" &&     chroot root /opt/tokenguard/bin/python -m webhook.compiled")
    assert steps("COPY")[-1] == "--from=root /build/root /"
