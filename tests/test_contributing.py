"""The worked example of CONTRIBUTING.md, applied to a copy of the code."""

import os
import re
import shutil
import subprocess
import sys

from tests.documented import CHECKOUT, PAGES

EXAMPLE = PAGES["CONTRIBUTING.md"].split("## Add a rule\n")[1].split("\n## ")[0]
RULE, CASES = (re.search(rf"```{language}\n(.*?)```", EXAMPLE, re.DOTALL)[1] for language in ("python", "yaml"))
RULE_FILE, CASES_FILE = re.findall(r"^\*\*\d\. Write .*\*\*, `([^`]+)`", EXAMPLE, re.MULTILINE)
MODULE = RULE_FILE.rpartition("/")[2].removesuffix(".py")


def test_worked_example_of_a_rule_passes_its_cases(tmp_path) -> None:
    for folder in ("webhook", "tests"):
        unneeded = shutil.ignore_patterns("__pycache__", "recorded", "corpus", "control_plane", "server", "cluster")
        shutil.copytree(CHECKOUT / folder, tmp_path / folder, ignore=unneeded)
    (tmp_path / RULE_FILE).write_text(RULE)
    (tmp_path / CASES_FILE).write_text(CASES)
    rules = tmp_path / "webhook/core/rules/__init__.py"
    listed = rules.read_text().replace(
        "RULES: tuple[Rule, ...] = (", f"RULES: tuple[Rule, ...] = (\n    {MODULE}.RULE,"
    )
    rules.write_text(listed.replace("core.rules import (", f"core.rules import (\n    {MODULE},"))
    cases = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/core/test_cases.py"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(cases, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    explained = subprocess.run(
        [sys.executable, "-m", "webhook", "rules", MODULE.replace("_", "-")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "What to do: " in explained
