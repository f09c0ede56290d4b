"""The commands that are told nowhere else: policy, rules, demo, and what every command has in common."""

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from webhook.cli import main
from webhook.core.rules import RULES

BAD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\nmod: warn\nrules: {inject: reject}\n"
CHECKOUT = Path(__file__).parents[2]
REVIEWS = CHECKOUT / "webhook" / "demo" / "reviews"
RECORDED = {
    "plain": "pod-plain",
    "legacy-token": "pod-legacy-env",
    "day-long-token": "pod-long-expiration",
    "seed": "pod-seed-secure",
}


def run(*arguments: str, given: str | None = None):
    return CliRunner().invoke(main, list(arguments), input=given)


def test_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "tokenguard-webhook"  # tokenguard on PyPI belongs to another project
    assert run("--version").output.split()[-1] == project["version"] == version(project["name"])


def test_rules_lists_every_rule() -> None:
    lines = run("rules").output.splitlines()
    assert [line.split()[0] for line in lines] == [rule.name for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rules_explains_a_rule(rule) -> None:
    told = run("rules", rule.name).output
    assert rule.explanation in told
    assert "What to do:" in told


def test_rules_token_expiration_names_terminating_pods() -> None:
    explanation = " ".join(run("rules", "token-expiration").output.split())
    assert "A terminating pod is another matter" in explanation
    assert "`terminationGracePeriodSeconds`" in explanation
    assert "lose nothing" not in explanation


def test_rules_suggests_the_rule_that_was_meant() -> None:
    done = run("rules", "token-audiense")
    assert done.exit_code == 2
    assert 'there is no rule "token-audiense"; did you mean "token-audience"?' in done.output


def test_policy_validate_tells_every_mistake_with_its_line(tmp_path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(BAD)
    done = run("policy", "validate", str(file))
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        f'{file}:3: error: mod: unknown key; did you mean "mode"?',
        f'{file}:4: error: rules.inject: "reject" is no action of this rule; it takes patch, warn, audit, off',
    ]


def test_policy_validate_says_what_is_sound_and_under_which_hash(tmp_path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("apiVersion: tokenguard/v1\nkind: TokenPolicy\n")
    done = run("policy", "validate", str(file))
    assert (done.exit_code, done.output) == (0, "valid (revision 8c0cec78672a)\n")


def test_policy_validate_of_a_file_that_is_not_there_has_failed() -> None:
    done = run("policy", "validate", "/no/such/file")
    assert done.exit_code == 2
    assert "/no/such/file" in done.output


def test_policy_show_is_a_policy_again() -> None:
    shown = run("policy", "show").output
    assert run("policy", "validate", "-", given=shown).exit_code == 0
    assert run("policy", "show", "-", given=shown).output == shown


def test_policy_show_tells_what_holds_in_a_namespace() -> None:
    policy = (
        "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
        "overrides:\n"
        "- {namespaces: ['s-*'], namespaceLabels: {tier: x}, mode: warn, tokens: {maxExpirationSeconds: 600}}\n"
    )
    arguments = ("policy", "show", "-", "--namespace", "s-1", "--label")
    assert "mode: warn" in run(*arguments, "tier=x", given=policy).output
    assert "maxExpirationSeconds: 600" in run(*arguments, "tier=x", given=policy).output
    assert "mode: enforce" in run(*arguments, "tier=y", given=policy).output


def test_policy_schema_is_json() -> None:
    assert json.loads(run("policy", "schema").output)["title"] == "tokenguard/v1 TokenPolicy"


COMMANDS = ["serve", "check", "policy show", "rules", "demo", "token inspect", "token verify"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.exit_code == 0
    assert done.output.startswith("Usage: ")


def test_what_goes_wrong_in_a_command_is_a_failed_run_not_a_finding() -> None:
    assert run("no-such-command").exit_code == 2
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from webhook import cli; from webhook.demo import run; run.lines = lambda _: 1 / 0; cli.main(['demo'])",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("name", RECORDED)
def test_the_demos_reviews_are_those_of_a_real_api_server(name: str) -> None:
    recorded = CHECKOUT / "tests" / "recorded" / f"{RECORDED[name]}.mutate.pods.json"
    assert (REVIEWS / f"{name}.json").read_bytes() == recorded.read_bytes()


def test_the_demo_shows_decision_message_patch_and_audit_line_of_each_pod() -> None:
    done = run("demo")
    assert done.exit_code == 0, done.output
    before, plain, legacy, long, seed = re.split(r"\n\d\. .* -+\n", done.output)
    assert "\n   inject:\n   - name: vault\n" in before
    assert "ADMITTED" in plain
    assert "     -        expirationSeconds: 3607\n     +        expirationSeconds: 3600\n" in plain
    assert "     +- name: tokenguard-vault" in plain
    assert "DENIED" in legacy
    assert "legacy-token-reference: spec.containers[0].env[1] reads the long-lived token" in legacy
    assert "     -        expirationSeconds: 86400\n     +        expirationSeconds: 3600\n" in long
    assert "capped to 3600" in long
    assert "1800" not in "".join(line for line in seed.splitlines() if line.startswith("     -"))
    assert all('"decision":' in part for part in (plain, legacy, long, seed))


def test_the_demo_says_what_was_found_and_tells_of_nothing_twice() -> None:
    _, plain, _, long, seed = re.split(r"\n\d\. .* -+\n", run("demo").output)
    assert "     A token is capped: the one at spec.volumes[0].projected.sources[0] lives 31536000 seconds" in plain
    assert '     A token is mounted: the pod lacks the token "vault"' in plain
    for later in (long, seed):
        assert "     As in 1: a token is capped, a token is mounted.\n" in later
        assert "expirationSeconds: 3607" not in later
        assert "tokenguard-vault" not in later
    assert "     A token is capped: the one at spec.volumes[0].projected.sources[0] lives 86400 seconds" in long


def test_the_demo_colours_changed_lines_on_a_terminal_unless_told_not_to(monkeypatch) -> None:
    assert "\x1b[32m+- name: tokenguard-vault\x1b[0m" in _on_terminal("demo")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in _on_terminal("demo")


def test_the_demo_names_the_command_as_it_was_called() -> None:
    done = _tokenguard("demo")
    assert f"\n$ {sys.executable} -m webhook serve --bind 127.0.0.1:0 " in done.stdout
    assert done.stdout.endswith(f"\n$ {sys.executable} -m webhook check FOLDER\n")


def _tokenguard(command: str, streams: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command in a shell, which can close streams."""
    call = f"{sys.executable} -m webhook {command} {streams}"
    return subprocess.run(["bash", "-c", call], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)


def _on_terminal(command: str) -> str:
    """Return what a command writes where stdout is a terminal."""
    pty = pytest.importorskip("pty", reason="needs a terminal")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "webhook", command], stdout=theirs)
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # how Linux says that the other side is closed
        while chunk := os.read(ours, 4096):
            written += chunk
    os.close(ours)
    assert process.wait(60) == 0
    return written.decode()


SOUND = ["rules", "policy show", "policy schema", "check tests/samples", "check --output json tests/samples", "--help"]
UNWRITABLE = {
    "closed": (">&-", "cannot write the output: Bad file descriptor\n"),
    "full, as is stderr": (">/dev/full 2>/dev/full", ""),
    "closed, as are all": ("<&- >&- 2>&-", ""),
    "unread": ("| true; exit ${PIPESTATUS[0]}", ""),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", SOUND)
def test_any_command_with_a_full_output_fails(command: str) -> None:
    done = _tokenguard(command, ">/dev/full")
    assert (done.returncode, done.stderr) == (2, "cannot write the output: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["rules", "check --output json tests/samples", "--help"])
@pytest.mark.parametrize(("streams", "said"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_output_that_can_not_be_written_is_a_failed_run(command: str, streams: str, said: str) -> None:
    done = _tokenguard(command, streams)
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full"])
def test_stderr_is_not_missed(streams: str) -> None:
    assert _tokenguard("rules", streams).returncode == 0
    assert _tokenguard("check tests/samples", streams).returncode == 1
    assert _tokenguard("no-such-command", streams).returncode == 2


STDIN_READERS = [
    "check",
    "check -",
    "check --policy - tests/samples",
    "policy validate",
    "token inspect",
    "token verify",
]


@pytest.mark.parametrize("command", STDIN_READERS)
def test_stdin_that_is_closed_is_no_empty_one(command: str) -> None:
    done = _tokenguard(command, "<&-")
    assert done.returncode == 2
    assert re.search("(<stdin>: error|cannot read standard input): bad file descriptor", done.stdout + done.stderr)


def test_text_that_any_command_writes_is_escaped(monkeypatch) -> None:
    def say() -> None:
        click.echo("::error::a\u202e\n  ::error::b")
        click.echo("::error::c\x85", err=True)
        sys.stdout.writelines(["::error::d\n"])
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": "::error::e"}))  # as gunicorn's does
        click.echo(b"::bytes")

    monkeypatch.setitem(main.commands, "say", click.Command("say", callback=say))
    done = run("say")
    assert done.exit_code == 0
    assert done.stdout == "\\x3a:error::a\\u202e\n  \\x3a:error::b\n\\x3a:error::d\n::bytes\n"
    assert done.stderr == "\\x3a:error::c\\x85\n\\x3a:error::e\n"


def test_policy_show_escapes_what_it_shows_and_is_the_same_policy_again() -> None:
    reason = "words " * 20 + "::error::a ##[error]b \u202e \U000e0041 " + "words " * 20
    given = {
        "apiVersion": "tokenguard/v1",
        "kind": "TokenPolicy",
        "exemptions": [{"rules": ["*"], "users": ["::error::x", "a##vso[b]"], "reason": reason, "until": "never"}],
    }
    shown = run("policy", "show", "-", given=yaml.safe_dump(given)).stdout
    assert not any(line.lstrip().startswith("::") or "##[" in line or "##vso[" in line for line in shown.split("\n"))
    assert shown.replace("\n", "").isprintable()
    exemption = yaml.safe_load(shown)["exemptions"][0]
    assert exemption["reason"] == reason.strip()
    assert exemption["users"] == ["::error::x", "a##vso[b]"]
    assert run("policy", "show", "-", given=shown).stdout == shown


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("latin-1", "\\u65e5"), ("ascii", "日")],
    ids=["latin-1 lacks the character", "ascii is UTF-8"],
)
def test_output_in_an_encoding_that_lacks_a_character_is_no_failure(encoding, shown) -> None:
    manifest = '{"apiVersion": "v1", "kind": "日"}'
    done = subprocess.run(
        [sys.executable, "-m", "webhook", "check", "-"], input=manifest.encode(), capture_output=True, check=False,
        timeout=60, cwd=CHECKOUT, env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"not evaluated: 1 ({shown})" in done.stdout.decode()


def test_certs_generate_writes_one_line_a_file_whatever_the_folder_is_called(tmp_path) -> None:
    done = run("certs", "generate", "--out", f"{tmp_path}/a\n::error::b")
    assert done.exit_code == 0, done.output
    assert all(line.startswith("wrote ") for line in done.stdout.splitlines())
