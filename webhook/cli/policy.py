"""The `policy` commands: validate, show, export, schema."""

import json
from collections.abc import Mapping
from typing import Any

import click
import yaml

from webhook.check.input_files import STDIN
from webhook.cli import policy_init
from webhook.cli.common import (
    FILE,
    api_audience_option,
    label_option,
    load_policy,
    own_namespace_option,
    policy_problems,
    read_input,
)
from webhook.core.cluster_state import FALLBACK_API_AUDIENCES
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.core.policy.schema import json_schema
from webhook.core.policy.serializer import namespace_document, policy_document
from webhook.core.safe_output import safe_text
from webhook.core.selectors import Labels
from webhook.export.compiler import compile_policy
from webhook.formatters.check_lines import problem_line


@click.group("policy")
def command() -> None:
    """Draft, validate, show or export a policy, or print its schema."""


command.add_command(policy_init.command)


@command.command("validate")
@click.argument("file", envvar="TOKENGUARD_POLICY", default=STDIN, type=FILE, metavar="[FILE|-]")
def validate(file: str) -> int:
    """Report all errors of a policy.

    FILE is a policy document or a ConfigMap manifest; the default is standard input (-).

    Exit status: 0 valid, 1 invalid, 2 the file cannot be read.
    """
    policy = read_policy(read_input(file))
    if isinstance(policy, Policy):
        click.echo(f"valid (revision {policy.revision})")
        return 0
    for problem in policy_problems(file, policy):
        click.echo(problem_line(problem))
    return 1


@command.command("show")
@click.argument("file", envvar="TOKENGUARD_POLICY", required=False, type=FILE, metavar="[FILE|-]")
@click.option("-n", "--namespace", metavar="NAME", help="Apply the overrides for this namespace.")
@label_option
def show(file: str | None, namespace: str | None, labels: Labels) -> None:
    """Print a policy with all defaults filled in.

    Without FILE, prints the default policy.
    """
    policy = load_policy(file)
    if labels and namespace is None:
        raise click.UsageError("--label needs --namespace")
    document = policy_document(policy) if namespace is None else namespace_document(policy, namespace, labels)
    click.echo(_yaml(document), nl=False)


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
def print_schema() -> None:
    """Print the JSON Schema of policies, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))


@command.command("export")
@click.argument("file", envvar="TOKENGUARD_POLICY", required=False, metavar="[FILE|-]", type=FILE)
@click.option("-o", "--output", type=click.Choice(["vap", "vap+map"]), default="vap",
              help="vap: ValidatingAdmissionPolicies. vap+map: also a MutatingAdmissionPolicy that patches pods as the"
                   " webhook does; needs Kubernetes 1.36.")  # fmt: skip
@own_namespace_option
@api_audience_option
def export(file: str | None, output: str, own_namespace: str, api_audiences: tuple[str, ...]) -> None:
    """Print a policy as admission policies, which need no webhook.

    Without FILE, exports the default policy. The objects are manifests for kubectl apply --server-side. What they do
    not enforce is listed on standard error and in their annotation tokenguard/not-expressed.

    Exit status: 0 exported; 2 the policy is invalid, cannot be read, or is too large for the API server.
    """
    policy = load_policy(file)
    audiences = policy.api_server_token.audiences or api_audiences
    exported = compile_policy(
        policy,
        patched=output == "vap+map",
        own_namespace=own_namespace,
        api_audiences=audiences or FALLBACK_API_AUDIENCES,
    )
    for gap in exported.not_expressed:
        click.echo(gap, err=True)
    if not audiences:
        click.echo(f"API server's audiences: assumed to be {', '.join(FALLBACK_API_AUDIENCES)}", err=True)
    for found in exported.objects:
        click.echo(f"---\n{_yaml(found)}", nl=False)
