"""The `policy` commands: validate, test, show, export, schema."""

import datetime as dt
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import click
import msgspec
import yaml

from webhook.check.case_settings import case_schema
from webhook.check.input_files import STDIN, InputProblem, find
from webhook.check.policy_tests import PolicyTestReport, run_policy_tests
from webhook.check.policy_validation import PolicyValidationReport, validate_policies
from webhook.cli import policy_init
from webhook.cli.common import (
    FILE,
    Choice,
    api_audience_option,
    input_error,
    label_option,
    load_policy,
    output_option,
    own_namespace_option,
    policy_option,
    read_input,
    require_input,
)
from webhook.cluster.admission_history import scopes_in_manifests
from webhook.core.cluster_state import FALLBACK_API_AUDIENCES
from webhook.core.formatting import plain
from webhook.core.policy.schema import json_schema
from webhook.core.policy.serializer import namespace_document, policy_document
from webhook.core.safe_output import safe_text
from webhook.core.selectors import Labels
from webhook.core.webhook_namespaces import EVERYWHERE, WebhookScopes
from webhook.export.compiler import compile_policy
from webhook.export.objects import KUBERNETES, VALIDATING
from webhook.formatters import policy_test, policy_validate
from webhook.formatters.check_lines import problem_line
from webhook.formatters.formatter import WITH_PROBLEMS, FormatOptions, Formatter, print_report

VALIDATE_FORMATTERS: Mapping[str, Formatter[PolicyValidationReport]] = {
    "text": policy_validate.format_text,
    "json": policy_validate.format_json_report,
    "github": policy_validate.format_github_report,
}
TEST_FORMATTERS: Mapping[str, Formatter[PolicyTestReport]] = {
    "text": policy_test.format_text,
    "json": policy_test.format_json_report,
    "junit": policy_test.format_junit_report,
    "github": policy_test.format_github_report,
}


@click.group("policy")
def command() -> None:
    """Draft, validate, test, show or export a policy."""


command.add_command(policy_init.command)


@command.command("validate")
@click.argument("files", nargs=-1, envvar="TOKENGUARD_POLICY", type=FILE, metavar="[PATH|-]...")
@output_option(VALIDATE_FORMATTERS)
@click.option("--strict", is_flag=True, help="Exit with 1 also for warnings.")
def validate(files: tuple[str, ...], output: str, *, strict: bool) -> int:
    """Report errors in policies, and parts without effect.

    PATH is a policy document, a ConfigMap manifest, or a folder with some; the default is $TOKENGUARD_POLICY, or else
    standard input (-). Exemptions that have ended, overrides without effect, injections that reach no pod, and audience
    patterns that allow everything are warnings.

    Exit status: 0 all policies are valid; 1 a policy is invalid (broken YAML included), or with --strict causes a
    warning; 2 a file or folder cannot be read, or contains no policy.
    """
    require_input(files)
    now = dt.datetime.now(dt.UTC)
    report = validate_policies(find(files or (STDIN,)), now=now, stdin=sys.stdin.buffer)
    if output == "text":
        for problem in report.problems:
            click.echo(problem_line(problem), err=True)
    print_report(VALIDATE_FORMATTERS, output, report)
    return report.exit_status(strict=strict)


@command.command("test")
@click.argument("paths", nargs=-1, type=FILE, metavar="[PATH]...")
@policy_option("the default policy")
@output_option(TEST_FORMATTERS)
@click.option("-k", "--select", "names", multiple=True, metavar="TEXT",
              help="Run only the cases whose name contains this. May be repeated.")  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Also show the cases that passed, and the files without cases.")
def run_tests(paths: tuple[str, ...], policy: str | None, output: str, names: tuple[str, ...], *, verbose: bool) -> int:
    """Run test cases for a policy.

    PATH is a file with test cases, or a folder that contains some; the default is the working directory. A YAML
    document with the key `case` is a case: an object, and the decision that is expected:

    \b
      case: a pod of shop gets a token for Vault
      policy: policy.yaml
      object: {spec: {serviceAccountName: shop, containers: [{name: app}]}}
      decision: patched
      findings: {inject: patch}

    docs/policy.md describes all keys. --policy is the policy of cases that name none.

    Exit status: 0 all cases passed, 1 a case failed, 2 a case cannot be run, or no case was found.
    """
    now = dt.datetime.now(dt.UTC)
    files = find(paths or (os.curdir,))
    warnings: list[InputProblem] = []
    default = load_policy(policy and (policy if policy == STDIN else os.path.normpath(policy)), warnings.append)
    report = run_policy_tests(files, default, now=now, stdin=sys.stdin.buffer, names=names, warnings=warnings)
    print_report(TEST_FORMATTERS, output, report, FormatOptions(verbose=verbose))
    if output not in WITH_PROBLEMS:
        for problem in report.problems:
            click.echo(problem_line(problem), err=True)
        for warning in report.warnings:
            click.echo(problem_line(warning, "warning"), err=True)
    return report.exit_status


@command.command("show")
@click.argument("file", envvar="TOKENGUARD_POLICY", required=False, type=FILE, metavar="[FILE|-]")
@click.option("-n", "--namespace", metavar="NAME", help="Apply the overrides for this namespace.")
@label_option
def show(file: str | None, namespace: str | None, labels: Labels) -> None:
    """Print a policy with all defaults filled in.

    An override is shown with its mode, and the rules and tokens that differ from the policy's own. Without FILE and
    $TOKENGUARD_POLICY, prints the default policy.
    """
    policy = load_policy(file)
    if labels and namespace is None:
        raise click.UsageError("--label needs --namespace")
    if namespace is None:
        click.echo(_yaml(policy_document(policy)), nl=False)
        return
    override = policy.find_override(namespace, labels)
    number = next((number for number, each in enumerate(policy.overrides) if each is override), None)
    applies = "no override applies" if number is None else f"overrides[{number}] applies"
    click.echo(f"# namespace {plain(namespace)}: {applies}")
    click.echo(_yaml(namespace_document(policy, namespace, labels)), nl=False)


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20)


class _Dumper(yaml.SafeDumper):
    """Writes text that `safe_text` would change in double quotes, where its escapes keep their meaning."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Return that an object that occurs twice is written twice."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if safe_text(value) == value else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


@command.command("schema")
@click.option("--cases", is_flag=True, help="The schema of test cases, for policy test.")
def print_schema(*, cases: bool) -> None:
    """Print the JSON Schema of policies, for editors."""
    click.echo(json.dumps(case_schema() if cases else json_schema(), indent=2))


@command.command("export")
@click.argument("file", envvar="TOKENGUARD_POLICY", required=False, metavar="[FILE|-]", type=FILE)
@click.option("-o", "--output", type=Choice(["vap", "vap+map"]), default="vap",
              help="vap: ValidatingAdmissionPolicies. vap+map: also a MutatingAdmissionPolicy that patches pods as the"
                   " webhook does; needs Kubernetes 1.36.")  # fmt: skip
@own_namespace_option
@api_audience_option
@click.option("--webhooks", type=FILE, metavar="FILE|-",
              help="Manifests with tokenguard's ValidatingWebhookConfiguration, from kubectl get or kubectl kustomize:"
                   " the exported policies exclude the same namespaces.")  # fmt: skip
def export(
    file: str | None, output: str, own_namespace: str, api_audiences: tuple[str, ...], webhooks: str | None
) -> None:
    """Print most of a policy as admission policies (no webhook).

    Without FILE and $TOKENGUARD_POLICY, exports the default policy. The objects are manifests for kubectl apply
    --server-side. Standard error lists the version of Kubernetes that they need, and every difference from the webhook.
    The annotation tokenguard/not-expressed of the objects repeats the differences.

    Exit status: 0 exported; 2 the policy is invalid, cannot be read, or is too large for the API server.
    """
    policy = load_policy(file)
    audiences = policy.api_server_token.audiences or api_audiences
    exported = compile_policy(
        policy,
        patched=output == "vap+map",
        excluded=(own_namespace,),
        webhooks=EVERYWHERE if webhooks is None else _webhook_scopes(webhooks),
        api_audiences=audiences or FALLBACK_API_AUDIENCES,
    )
    for gap in exported.not_expressed:
        click.echo(gap, err=True)
    if not audiences:
        click.echo(f"API server's audiences: assumed to be {', '.join(FALLBACK_API_AUDIENCES)}", err=True)
    older = "; on an older one, use -o vap" if exported.kubernetes != KUBERNETES[VALIDATING] else ""
    click.echo(f"needs Kubernetes {exported.kubernetes} or newer{older}", err=True)
    for obj in exported.objects:
        click.echo(f"---\n{_yaml(obj)}", nl=False)


def _webhook_scopes(file: str) -> WebhookScopes:
    try:
        scopes = scopes_in_manifests(read_input(file))
    except msgspec.DecodeError as error:
        raise input_error([InputProblem(file, f"ValidatingWebhookConfiguration tokenguard: {error}")]) from None
    if scopes is None:
        raise input_error([InputProblem(file, "no ValidatingWebhookConfiguration named tokenguard")])
    return scopes
