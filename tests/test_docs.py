"""Documentation agrees with the code."""

import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from tests.documented import PAGES, page_rows, table_below
from tests.generated_docs import commands, pages
from tests.policies import HEAD
from tests.tokens.signing import pod_claims, signer
from webhook.core.policy.loader import default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.core.policy.serializer import policy_document
from webhook.formatters.token_text import format_inspection
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
from webhook.tokens.inspection import inspect_token

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text()
CHECK, POLICY, TOKENS, AUDIT_LOG, TROUBLESHOOTING = (
    (CHECKOUT / f"docs/{name}.md").read_text() for name in ("check", "policy", "tokens", "audit-log", "troubleshooting")
)
CHECKED = re.search(r"```console\n(.*?)```", CHECK, re.DOTALL)[1]
MAKEFILE = (CHECKOUT / "Makefile").read_text()
OF_THE_EXAMPLE = "token.default.account"
FOLDERS = "webhook|tests|manifests|certs|docs|requirements|release"


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short() -> None:
    assert README.count("\n") <= 150


def test_readme_lists_every_page_and_command() -> None:
    listed = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", README.split("## Documentation\n")[1]))
    assert listed == {path for path in PAGES if path.startswith("docs/")}
    named = [row[0].strip("`") for row in table_below(README, "## Commands")]
    assert sorted(named) == sorted(
        context.command_path for context in commands() if not isinstance(context.command, click.Group)
    )


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_to_files_and_headings(path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", PAGES[path]):
        file = CHECKOUT / Path(path).parent / target if target else CHECKOUT / path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), (target, anchor)


@pytest.mark.parametrize("path", PAGES)
def test_paths_and_make_targets_named_exist(path) -> None:
    for name in re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", PAGES[path]):
        assert (CHECKOUT / name).exists() or re.search(OF_THE_EXAMPLE, name), name
    for target in re.findall(r"(?:`|\$ )make (?:-C \w+ )?([a-z0-9-]+)", PAGES[path]):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_architecture_names_modules_that_exist() -> None:
    page = (CHECKOUT / "docs/architecture.md").read_text()
    named = re.findall(r"`([a-z]+/[\w/]*(?:\.py)?)`", page.split("## Layers")[0])
    assert len(named) > 15
    assert [name for name in named if name != "webhook/" and not (CHECKOUT / "webhook" / name).exists()] == []


def test_symptoms_are_messages_of_the_code() -> None:
    messages = "".join(file.read_text() for file in (CHECKOUT / "webhook").rglob("*.py"))
    quoted = {text for row in table_below(TROUBLESHOOTING, "find your symptom:") for text in row[0].split("`")[1::2]}
    quoted |= {row[0].strip("`") for row in table_below(TROUBLESHOOTING, "## A replica is not ready")}
    parts = [part for text in quoted for part in re.split(r"\.\.\.|RULE|: |`|, ", text)]
    of_kubernetes = {"denied the request", "failed calling webhook", "x509", "kubectl", "kubectl drain"}
    computed = {"Secrets not loaded", "Namespaces not loaded", "anything about the audit log"}
    assert {part for part in parts if part and part not in messages} <= of_kubernetes | computed


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
    helps = set(re.findall(r"^# HELP (\S+) (.*)$", exposed, re.MULTILINE))
    kinds = set(re.findall(r"^# TYPE (\S+) (.*)$", exposed, re.MULTILINE))
    assert helps == {(metric.name, metric.help) for metric in DEFINITIONS}
    assert kinds == {(metric.name, metric.kind) for metric in DEFINITIONS}


BOUNDED = {row[0]: row[1] for row in page_rows("### Label values")}


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("`lifetime`", LIFETIMES), ("`days_left`", DAYS_LEFT), ("`reason` of refused requests", Refusal),
        ("`reason` of review failures", ReviewFailure),
    ],
)  # fmt: skip
def test_metrics_page_lists_the_label_values(label, values) -> None:
    assert set(re.findall(r"`([\w+-]+)`", BOUNDED[label])) == set(values)


def test_metrics_page_has_the_limits_of_labels() -> None:
    assert f"first {MAX_NAMESPACES} namespaces" in BOUNDED["`resource_namespace`"]
    assert f"first {MAX_AUDIENCES} other audiences" in BOUNDED["`audience`"]
    assert f"{MAX_AUDIENCES_PER_NAMESPACE} from one namespace" in BOUNDED["`audience`"]
    assert {OTHER, API_SERVER} <= set(re.findall(r"`(\w[\w-]+)`", BOUNDED["`audience`"]))
    assert f"{MAX_EXEMPTIONS} exemptions that expire first" in BOUNDED["`exemption`, `rules`, `reason`"]


POLICIES = [
    text for page in PAGES.values() for text in re.findall(r"```yaml\n(apiVersion: tokenguard.*?)```", page, re.DOTALL)
]
KEYS = "rules|tokens|apiServerToken|inject|overrides|exemptions"
PARTS = [text for page in PAGES.values() for text in re.findall(rf"```yaml\n((?:{KEYS}):.*?)```", page, re.DOTALL)]


@pytest.mark.parametrize("document", [*POLICIES, *(HEAD + part for part in PARTS)])
def test_documented_policy_is_valid(document: str) -> None:
    assert isinstance(read_policy(document.encode()), Policy)


def test_documented_policies_are_found() -> None:
    assert POLICIES
    assert PARTS


def test_documented_defaults_are_the_defaults() -> None:
    document = re.search(r"## Defaults\n.*?```yaml\n(.*?)```", POLICY, re.DOTALL)[1]
    given = yaml.safe_load(document)
    default = policy_document(read_policy(b"apiVersion: tokenguard/v1\nkind: TokenPolicy\n"))
    assert {**given, "rules": default["rules"]} == default


def test_documented_token_is_inspected_as_shown() -> None:
    shown = re.search(r"\$ tokenguard token inspect @token .*# exits 1.*\n((?:[^$].*\n)*)", TOKENS)[1]
    issued = dt.datetime(2026, 11, 24, 9, 36, 10, tzinfo=dt.UTC)
    uid = re.search(r"uid ([\w-]+)", shown)[1]
    whose = pod_claims()["kubernetes.io"] | {"serviceaccount": {"name": "app", "uid": uid}}
    begin = int(issued.timestamp())
    claims = pod_claims(**{
        "iat": begin, "nbf": begin, "exp": begin + 31_536_000, "kubernetes.io": whose | {"warnafter": begin + 3607},
    })  # fmt: skip
    token = parse_token(signer().sign(claims))
    now = issued + dt.timedelta(minutes=1)
    inspection = inspect_token(token, default_policy(), now, frozenset())
    output = "".join(f"{line}\n" for line in format_inspection(inspection))
    pieces = shown.split("...\n")
    assert len(pieces) == 3
    assert all(piece in output for piece in pieces)


def test_documented_audit_summary_is_the_output() -> None:
    call, status, output = re.search(
        r"^\$ (tokenguard audit .*?) +# exits (\d)\n((?:[^$.].*\n|\n)*)", AUDIT_LOG, re.MULTILINE
    ).groups()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        call.split(), cwd=CHECKOUT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (int(status), "")
    assert done.stdout.startswith(output)
    assert output.count("\n") > 10


def test_documented_audit_file_limits_are_the_defaults() -> None:
    size, keep = re.search(
        r"`--audit-file-max-size` \((\d+)Mi\).*?`--audit-file-keep` \((\d+)\)", AUDIT_LOG, re.DOTALL
    ).groups()
    assert (int(size) << 20, int(keep)) == (ServeOptions.audit_file_max_size, ServeOptions.audit_file_keep)


def test_documented_checks_exit_and_print_as_shown(tmp_path) -> None:
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
