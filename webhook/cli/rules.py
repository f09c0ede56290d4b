"""The `rules` command."""

import click
from click.shell_completion import CompletionItem

from webhook.check.other_findings import EXPLANATIONS
from webhook.core.formatting import did_you_mean, quote
from webhook.core.rules import BY_NAME, RULES


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(rule.name, help=rule.summary) for rule in RULES if rule.name.startswith(incomplete)]


@click.command("rules")
@click.argument("name", required=False, metavar="[RULE]", shell_complete=_complete)
def command(name: str | None) -> None:
    """List the rules, or explain one of them.

    The list shows each rule with its default action and what violates it.
    """
    if name is None:
        width = max(len(rule.name) for rule in RULES)
        for rule in RULES:
            click.echo(f"{rule.name:<{width}}  {rule.default:<6}  {rule.summary}")
        return
    if name in EXPLANATIONS:
        summary, explanation = EXPLANATIONS[name]
        click.echo(f"{name}\n\nFound by 'tokenguard check' when {summary}. It is no rule of a policy.\n\n{explanation}")
        return
    if name not in BY_NAME:
        hint = did_you_mean(name, [*BY_NAME, *EXPLANATIONS]) or "; 'tokenguard rules' lists them"
        raise click.UsageError(f"no such rule {quote(name)}{hint}")
    rule = BY_NAME[name]
    click.echo(f"{rule.name}\n\nViolated when {rule.summary}.\n")
    click.echo(f"evaluates  {', '.join(sorted(rule.subjects))}")
    click.echo(f"default    {rule.default}")
    click.echo(f"actions    {', '.join(rule.actions)}\n\n{rule.explanation}")
