"""The workflows of GitHub Actions: what they run exists, and nobody else decides what that is."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.commands import run_command
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


ACTION = yaml.safe_load((CHECKOUT / "action.yml").read_text())
MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {name: app}
spec: {containers: [{name: app, image: app, envFrom: [{secretRef: {name: robot}}]}]}
---
apiVersion: v1
kind: Secret
metadata: {name: robot, annotations: {kubernetes.io/service-account.name: robot}}
type: kubernetes.io/service-account-token
"""


@pytest.mark.parametrize(
    ("inputs", "status"),
    [
        pytest.param({"paths": "bad.yaml\n"}, 1, id="finding"),
        pytest.param({"paths": "bad.yaml", "policy": "lenient.yaml"}, 0, id="policy"),
        pytest.param({"paths": ".", "arguments": "--exclude\nbad.yaml\n"}, 0, id="arguments"),
        pytest.param({"paths": "two words.yaml"}, 2, id="a missing file with a space"),
    ],
)
def test_action_exits_with_the_status_of_check(inputs, status, tmp_path):
    program = tmp_path / "temp/tokenguard/bin/tokenguard"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m webhook "$@"\n')
    program.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    (work / "bad.yaml").write_text(MANIFEST)
    (work / "good.yaml").write_text("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: app}\n")
    (work / "lenient.yaml").write_text("apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: audit\n")
    values = {name: str(setting["default"]) for name, setting in ACTION["inputs"].items()} | {"output": "text"} | inputs
    environment = {key.upper(): value for key, value in values.items()}
    [evaluate] = [step for step in ACTION["runs"]["steps"] if "env" in step]
    assert evaluate["env"] == {name.upper(): f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"]}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", evaluate["run"]], cwd=work, capture_output=True, text=True, check=False,
        env=os.environ | environment | {"RUNNER_TEMP": str(tmp_path / "temp"), "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert done.returncode == status, (done.stdout, done.stderr)


def test_hook_runs_check_in_the_whole_repository(monkeypatch):
    [hook] = yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text())
    program, *command = hook["entry"].split()
    assert (program in PROJECT["scripts"], hook["pass_filenames"]) == (True, False)
    monkeypatch.chdir(CHECKOUT / "tests/samples")
    done = run_command(*command, *hook["args"])
    assert done.returncode == 1
    assert "shop.yaml" in done.stdout
