"""`tokenguard completion`, and `kubectl tokenguard`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.commands import run_command
from tests.documented import PROJECT
from webhook.cli import main
from webhook.cli.completion import kubectl_lines
from webhook.core.rules import RULES


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Return an environment in which the programs of the distribution are found."""
    for name, target in PROJECT["scripts"].items():
        module, function = target.split(":")
        program = tmp_path / name
        program.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        program.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell):
    assert f"_TOKENGUARD_COMPLETE={shell}_complete" in run_command("completion", shell).stdout


def test_completion_unknown_shell_is_a_usage_error():
    assert run_command("completion", "tcsh").returncode == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("tokenguard comp", ["completion"], id="command"),
        pytest.param("tokenguard policy val", ["validate"], id="subcommand"),
        pytest.param("tokenguard rules token-sub", ["token-subpath"], id="rule"),
        pytest.param("tokenguard check --own", ["--own-namespace"], id="option"),
    ],
)
def test_completion_in_bash_completes(words, expected, environment):
    if not shutil.which("bash"):
        pytest.skip("bash is missing")
    script = f"""\
source <(tokenguard completion bash)
COMP_WORDS=({words}) COMP_CWORD={len(words.split()) - 1}
_tokenguard_completion tokenguard
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (expected, "")


@pytest.mark.parametrize(
    ("shell", "command"),
    [pytest.param("zsh", ["zsh", "-n"], id="zsh"), pytest.param("fish", ["fish", "-n"], id="fish")],
)
def test_completion_script_is_valid_in_its_shell(shell, command, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is missing")
    script = tmp_path / "script"
    script.write_text(run_command("completion", shell).stdout)
    subprocess.run([*command, script], check=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["completion", "z"], ["zsh", ":4"], id="choice"),
        pytest.param(["check", "dep"], [":0"], id="file"),
        pytest.param(["check", "--policy", "pol"], [":0"], id="file of an option"),
        pytest.param(["token", "inspect", "ey"], [":4"], id="neither"),
        pytest.param(
            ["rules", "token-req"],
            [*(f"{rule.name}\t{rule.summary}" for rule in RULES if rule.name.startswith("token-req")), ":4"],
            id="rules with their summaries",
        ),
    ],
)
def test_kubectl_lines_are_completions_and_a_directive(arguments, expected):
    assert kubectl_lines(main, arguments) == expected


def test_kubectl_lines_without_arguments_are_the_commands():
    lines = kubectl_lines(main, [])
    assert [line.split("\t")[0] for line in lines[:-1]] == main.list_commands(click.Context(main))


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is missing")
def test_kubectl_runs_and_completes_the_plugin(environment):
    def kubectl(*arguments: str) -> str:
        return subprocess.check_output(["kubectl", *arguments], env=environment, text=True, stderr=subprocess.DEVNULL)

    assert kubectl("tokenguard", "rules", "--help").startswith("Usage: kubectl tokenguard rules ")
    assert kubectl("__complete", "tokenguard", "rules", "inj").startswith("inject\t")
