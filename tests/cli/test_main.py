"""What every command has in common: help, errors, exit status, standard streams."""

import logging
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from tests.commands import run_command
from tests.documented import PAGES
from tests.generated_docs import commands
from webhook.cli import main

CHECKOUT = Path(__file__).parents[2]
needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def test_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "tokenguard-webhook"  # tokenguard on PyPI belongs to another project
    assert run_command("--version").stdout.split()[-1] == project["version"] == version(project["name"])


def test_commands_are_the_modules() -> None:
    modules = {file.stem for file in (CHECKOUT / "webhook/cli").glob("*.py")}
    parts = {
        "__init__",
        "main",
        "common",
        "cluster_scan",
        "error_messages",
        "kept_manifests",
        "legacy_changes",
        "legacy_report",
        "policy_init",
        "policy_source",
        "scan_reports",
    }
    assert modules - parts == set(main.list_commands(click.Context(main)))


@pytest.mark.parametrize("context", [*commands()], ids=lambda context: context.command_path)
def test_help_summaries_fit_in_80_columns(context) -> None:
    summary = context.command.get_short_help_str(limit=200)
    assert len(summary) <= 64
    assert not summary.endswith("...")


SHELL_LINES = [
    *(line for page in PAGES.values() for line in re.findall(r"^\$ (.*)", page, re.MULTILINE)),
    *(line for context in commands() for line in re.findall(r"^  (\S.*)", context.command.help, re.MULTILINE)),
]
SHOWN = {call for line in SHELL_LINES for call in re.findall(r"(?:^|[|;&(] ?)tokenguard ([^|;&>)#]*)", line)}


@pytest.mark.parametrize("call", sorted(SHOWN))
def test_command_shown_in_docs_or_help_is_valid(call) -> None:
    with click.Context(main, info_name="tokenguard") as context:
        command, arguments = main, shlex.split(call)
        while isinstance(command, click.Group):
            name, command, arguments = command.resolve_command(context, arguments)
            context = click.Context(command, parent=context, info_name=name, **command.context_settings)  # noqa: PLW2901
        command.parse_args(context, arguments)


def test_unknown_command_exits_2() -> None:
    assert run_command("no-such-command").returncode == 2


def test_bug_in_a_command_shows_traceback_and_exits_2(monkeypatch) -> None:
    monkeypatch.setitem(main.commands, "fail", click.Command("fail", callback=lambda: 1 / 0))
    done = run_command("fail")
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.endswith("please report it with the lines above\n")


def _shell(command: str, streams: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command in a shell, which can close streams."""
    call = f"{sys.executable} -m webhook {command} {streams}"
    return subprocess.run(["bash", "-c", call], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)


COMMANDS = [
    "rules",
    "policy show",
    "policy schema",
    "check tests/samples",
    "check --output json tests/samples",
    "--help",
]
UNWRITABLE = {
    "closed": (">&-", "error: cannot write the output: bad file descriptor\n"),
    "full, as is stderr": (">/dev/full 2>/dev/full", ""),
    "closed, as are all": ("<&- >&- 2>&-", ""),
}


@needs_dev_full
@pytest.mark.parametrize("command", COMMANDS)
def test_full_output_exits_2(command: str) -> None:
    done = _shell(command, ">/dev/full")
    assert (done.returncode, done.stderr) == (2, "error: cannot write the output: no space left on device\n")


@needs_dev_full
@pytest.mark.parametrize("command", ["rules", "check --output json tests/samples", "--help"])
@pytest.mark.parametrize(("streams", "stderr"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_unwritable_output_exits_2(command: str, streams: str, stderr: str) -> None:
    done = _shell(command, streams)
    assert (done.returncode, done.stderr) == (2, stderr)


@pytest.mark.parametrize("command", COMMANDS)
def test_unread_output_exits_as_by_sigpipe(command: str) -> None:
    done = _shell(command, "| true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (141, "")


@needs_dev_full
@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full"])
def test_unwritable_stderr_keeps_the_exit_status(streams: str) -> None:
    assert _shell("rules", streams).returncode == 0
    assert _shell("check tests/samples", streams).returncode == 1
    assert _shell("no-such-command", streams).returncode == 2


STDIN_READERS = [
    "check",
    "check -",
    "check --policy - tests/samples",
    "policy validate",
    "token inspect",
    "token verify",
]


@pytest.mark.parametrize("command", STDIN_READERS)
def test_closed_stdin_is_not_empty_input(command: str) -> None:
    done = _shell(command, "<&-")
    assert done.returncode == 2
    assert re.search("(error: <stdin>|cannot read standard input): bad file descriptor", done.stdout + done.stderr)


def test_text_output_of_any_command_is_escaped(monkeypatch) -> None:
    def say() -> None:
        click.echo("::error::a\u202e\n  ::error::b")
        click.echo("::error::c\x85", err=True)
        sys.stdout.writelines(["::error::d\n"])
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": "::error::e"}))  # as gunicorn's does
        click.echo(b"::bytes")

    monkeypatch.setitem(main.commands, "say", click.Command("say", callback=say))
    done = run_command("say")
    assert done.returncode == 0
    assert done.stdout == "\\x3a:error::a\\u202e\n  \\x3a:error::b\n\\x3a:error::d\n::bytes\n"
    assert done.stderr == "\\x3a:error::c\\x85\n\\x3a:error::e\n"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("latin-1", "\\u65e5"), ("ascii", "日")],
    ids=["latin-1 lacks the character", "ascii is UTF-8"],
)
def test_output_escapes_what_the_encoding_lacks(encoding, shown) -> None:
    manifest = '{"apiVersion": "example.com/v1", "kind": "日"}'
    done = subprocess.run(
        [sys.executable, "-m", "webhook", "check", "-"], input=manifest.encode(), capture_output=True, check=False,
        timeout=60, cwd=CHECKOUT, env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"1 of other kinds: 1 {shown}" in done.stdout.decode()


def test_output_writes_an_ellipsis_as_dots_in_other_encodings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "webhook", "rules", "x" * 200], capture_output=True, check=False, timeout=60,
        cwd=CHECKOUT, env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert b'xxx..."' in done.stderr


VALUED = [
    pytest.param([*context.command_path.split()[1:], *given], id=f"{context.command_path} {param.opts[-1]}")
    for context in commands()
    for param in context.command.params
    if isinstance(param, click.Option) and not param.is_flag
    for given in ([param.opts[-1], ""], [f"{max(param.opts, key=len)}="])
]


@pytest.mark.parametrize("arguments", VALUED)
def test_option_empty_value_is_a_usage_error(arguments) -> None:
    done = run_command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r'error: the (argument after "-\S+"|value of --\S+) is empty; give a value.*\n', done.stderr)


def test_empty_argument_after_a_token_is_refused_without_it() -> None:
    done = run_command("token", "inspect", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "")
    assert done.returncode == 2
    assert done.stderr.startswith("error: argument 4 is empty; give a value")
    assert "eyJ" not in done.stderr


def test_empty_file_name_is_a_usage_error() -> None:
    assert run_command("check", "").returncode == 2
    assert run_command("policy", "show", "--namespace", "a", "--label", "tier=").returncode == 0
