"""The `policy` commands: validate, show, schema."""

import json

import click
import yaml

from webhook.check.input_files import STDIN
from webhook.cli.common import FILE, label_option, load_policy, policy_problems, read_input
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.core.policy.schema import json_schema
from webhook.core.policy.serializer import namespace_document, policy_document
from webhook.core.safe_output import safe_text
from webhook.core.selectors import Labels
from webhook.formatters.check_text import problem_line


@click.group("policy")
def command() -> None:
    """Validate or show a policy, or print its schema."""


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
    click.echo(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20), nl=False)


class _Dumper(yaml.SafeDumper):
    """Writes text that `safe_text` would change in double quotes, where its escapes keep their meaning."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if safe_text(value) == value else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


@command.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of policies, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))
