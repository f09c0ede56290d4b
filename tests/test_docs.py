"""Documentation agrees with the code."""

import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.documented import page_rows, table_below
from tests.generated_docs import pages
from tests.tokens.signing import pod_claims, signer
from webhook.core.policy.document import default_policy, read_policy
from webhook.core.policy.model import Action, Policy
from webhook.core.policy.shown import shown
from webhook.core.rules import RULES
from webhook.formatters.token_text import token_lines
from webhook.server.http_errors import Refusal
from webhook.server.metrics.collector import DAYS_LEFT, MAX_EXEMPTIONS, MetricsCollector
from webhook.server.metrics.definitions import DEFINITIONS, ReviewFailure
from webhook.server.metrics.label_limits import (
    API_SERVER,
    LIFETIMES,
    MAX_AUDIENCES,
    MAX_AUDIENCES_PER_NAMESPACE,
    MAX_NAMESPACES,
    OTHER,
)
from webhook.server.metrics.recorder import Metrics
from webhook.server.options import ServeOptions
from webhook.server.state import State
from webhook.tokens.claims import parse_token
from webhook.tokens.policy_check import check_against_policy
from webhook.tokens.problems import find_problems

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text()
CHECKED = re.search(r"## Check manifests\n\n```console\n(.*?)```", README, re.DOTALL)[1]
LOWERED = {Action.WARN, Action.AUDIT, Action.OFF}


def test_the_rule_table_says_what_the_rules_say() -> None:
    expected = [
        [
            f"`{rule.name}`",
            rule.summary,
            str(rule.default),
            ", ".join(str(action) for action in rule.actions if action not in LOWERED | {rule.default}),
        ]
        for rule in RULES
    ]
    assert table_below(README, "## The rules") == expected


@pytest.mark.parametrize(("path", "text"), pages().items())
def test_generated_docs_are_current(path, text) -> None:
    assert (CHECKOUT / path).read_text() == text, "run `make docs`"


def test_pre_commit_hooks_are_the_commands_of_make_lint() -> None:
    [repository] = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"]
    command = ["make", "--no-print-directory", "-n", "lint"]
    lint = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == re.findall(r"^\.venv/bin/.*", lint, re.MULTILINE)[-4:]


def test_metrics_page_lists_the_definitions() -> None:
    assert page_rows("## The metrics") == [
        [f"`{metric.name}`", metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help]
        for metric in DEFINITIONS
    ]


def test_definitions_are_the_metrics_that_are_exposed() -> None:
    state = State()
    exposed = MetricsCollector(Metrics(state), state).exposition().decode()
    told = set(re.findall(r"^# HELP (\S+) (.*)$", exposed, re.MULTILINE))
    kinds = set(re.findall(r"^# TYPE (\S+) (.*)$", exposed, re.MULTILINE))
    assert told == {(metric.name, metric.help) for metric in DEFINITIONS}
    assert kinds == {(metric.name, metric.kind) for metric in DEFINITIONS}


BOUNDED = {row[0]: row[1] for row in page_rows("### What stands in labels")}


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("`lifetime`", LIFETIMES), ("`days_left`", DAYS_LEFT), ("`reason` of refused requests", Refusal),
        ("`reason` of unjudged reviews", ReviewFailure),
    ],
)  # fmt: skip
def test_the_metrics_page_lists_the_values_of_labels(label, values) -> None:
    assert set(re.findall(r"`([\w-]+)`", BOUNDED[label])) == set(values)


def test_the_metrics_page_tells_the_bounds() -> None:
    assert f"first {MAX_NAMESPACES} namespaces" in BOUNDED["`resource_namespace`"]
    assert f"first {MAX_AUDIENCES} others" in BOUNDED["`audience`"]
    assert f"{MAX_AUDIENCES_PER_NAMESPACE} from one namespace" in BOUNDED["`audience`"]
    assert {OTHER, API_SERVER} <= set(re.findall(r"`(\w[\w-]+)`", BOUNDED["`audience`"]))
    assert f"{MAX_EXEMPTIONS} exemptions that end first" in BOUNDED["`exemption`, `rules`, `why`"]


HEAD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
POLICIES = re.findall(r"```yaml\n(apiVersion: tokenguard.*?)```", README, re.DOTALL)
PARTS = re.findall(r"```yaml\n((?:rules|tokens|inject|overrides|exemptions):.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("document", [*POLICIES, *(HEAD + part for part in PARTS)])
def test_every_policy_shown_is_sound(document: str) -> None:
    assert isinstance(read_policy(document.encode()), Policy)


def test_policies_and_parts_of_some_are_shown() -> None:
    assert POLICIES
    assert PARTS


def test_the_defaults_shown_are_the_defaults() -> None:
    document = re.search(r"these are the defaults:\n\n```yaml\n(.*?)```", README, re.DOTALL)[1]
    given = yaml.safe_load(document)
    default = shown(read_policy(b"apiVersion: tokenguard/v1\nkind: TokenPolicy\n"))
    assert {**given, "rules": default["rules"]} == default


def test_the_token_shown_is_told_of_as_shown() -> None:
    shown = re.search(r"\$ tokenguard token inspect @token .*# exits 1.*\n((?:[^$].*\n)*)", README)[1]
    issued = dt.datetime(2026, 11, 24, 9, 36, 10, tzinfo=dt.UTC)
    uid = re.search(r"uid ([\w-]+)", shown)[1]
    whose = pod_claims()["kubernetes.io"] | {"serviceaccount": {"name": "app", "uid": uid}}
    begin = int(issued.timestamp())
    claims = pod_claims(**{
        "iat": begin, "nbf": begin, "exp": begin + 31_536_000, "kubernetes.io": whose | {"warnafter": begin + 3607},
    })  # fmt: skip
    token = parse_token(signer().sign(claims))
    now = issued + dt.timedelta(minutes=1)
    decision = check_against_policy(token, default_policy(), now)
    told = "".join(f"{line}\n" for line in token_lines(token, list(find_problems(token, now)), decision, now))
    pieces = shown.split("...\n")
    assert len(pieces) == 3
    assert all(piece in told for piece in pieces)


def test_the_summary_of_audit_logs_shown_is_what_is_printed() -> None:
    call, status, output = re.search(
        r"^\$ (tokenguard audit .*?) +# exits (\d)\n((?:[^$.].*\n|\n)*)", README, re.MULTILINE
    ).groups()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        call.split(), cwd=CHECKOUT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (int(status), "")
    assert done.stdout.startswith(output)
    assert output.count("\n") > 10


def test_the_audit_files_size_and_number_are_the_defaults() -> None:
    size, keep = re.search(
        r"`--audit-file-max-size` \((\d+)Mi\).*?`--audit-file-keep` \((\d+)\)", README, re.DOTALL
    ).groups()
    assert (int(size) << 20, int(keep)) == (ServeOptions.audit_file_max_size, ServeOptions.audit_file_keep)


def test_the_checks_shown_exit_and_print_as_shown(tmp_path) -> None:
    for name in ("tests", "webhook"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    calls = re.findall(r"^\$ (.*?) +# exits (\d).*\n((?:[^$].*\n)*)", CHECKED, re.MULTILINE)
    assert len(calls) == CHECKED.count("$ ") >= 6
    for call, status, output in calls:
        done = subprocess.run(
            call, shell=True, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == int(status), (call, done)
        assert done.stdout == output or not output, call
