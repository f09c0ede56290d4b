"""The workflows of GitHub Actions: what they run exists, and nobody else decides what that is."""

import re
import shutil
import subprocess

import pytest
import yaml

from tests.documented import CHECKOUT, PROJECT

FOLDER = CHECKOUT / ".github/workflows"
FILES = sorted(FOLDER.glob("*.yaml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in FILES}
JOBS = [pytest.param(job, id=f"{name}-{key}") for name, flow in WORKFLOWS.items() for key, job in flow["jobs"].items()]
MAKEFILE = (CHECKOUT / "Makefile").read_text()


def test_workflows_are_for_changes_and_for_releases():
    assert WORKFLOWS.keys() == {"ci", "release"}
    assert [flow["permissions"] for flow in WORKFLOWS.values()] == [{}, {}]


@pytest.mark.covers("threat-model: replaced package")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(path):
    used = re.findall(r"uses: *(.*)", path.read_text())
    assert used
    assert [
        action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action)
    ] == []


@pytest.mark.parametrize("job", JOBS)
def test_job_has_a_time_limit_and_its_own_permissions(job):
    assert job["timeout-minutes"] <= 90
    assert job["permissions"]
    checkouts = [step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts == [{"persist-credentials": False}]


@pytest.mark.parametrize("job", JOBS)
def test_scripts_run_make_targets_and_contain_no_expressions(job):
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    assert [script for script in scripts if "${{" in script] == []
    targets = re.findall(r"\bmake ([a-z0-9-]+)", "\n".join(scripts))
    assert targets
    assert [target for target in targets if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] == []


def test_tests_run_on_every_python_that_the_package_takes():
    first, end = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups())
    pythons = WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert pythons == [f"3.{minor}" for minor in range(first, end)]


@pytest.mark.parametrize(
    ("command", "options"),
    [("zizmor", ["--offline", "--no-progress"]), ("check-jsonschema", ["--builtin-schema", "vendor.github-workflows"])],
)
def test_linters_find_nothing(command, options):
    program = shutil.which(command)
    if program is None:
        pytest.skip(f"{command} is not installed; 'make lint-workflows' runs it")
    done = subprocess.run([program, *options, *FILES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
