"""The `completion` command, and the program that kubectl calls to complete `kubectl tokenguard`."""

import sys
from collections.abc import Sequence

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from webhook.cli.common import Choice

_SHELLS = {shell.name: shell for shell in (BashComplete, ZshComplete, FishComplete)}
_VARIABLE = "_TOKENGUARD_COMPLETE"
"""In which the script asks for completions; click reads it at the start of each run."""
_FILES, _NO_FILES = 0, 4
"""Whether kubectl completes files, too: ShellCompDirectiveDefault and ShellCompDirectiveNoFileComp of spf13/cobra."""


@click.command("completion")
@click.argument("shell", type=Choice([*_SHELLS]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    The script completes commands, options, rules and files. For kubectl tokenguard, use the script of kubectl.

    \b
    To load it in every session, add the line to ~/.bashrc or ~/.zshrc, or write the file for fish:
      source <(tokenguard completion bash)
      source <(tokenguard completion zsh)
      tokenguard completion fish > ~/.config/fish/completions/tokenguard.fish
    """
    root = context.find_root().command
    click.echo(_SHELLS[shell](root, {}, "tokenguard", _VARIABLE).source())


def complete_for_kubectl() -> None:
    """Print the completions of `kubectl tokenguard ARGUMENTS...`, the last of which is incomplete: a line each."""
    from webhook.cli.main import main  # noqa: PLC0415 - which imports this module for its command

    for line in kubectl_lines(main, sys.argv[1:]):
        click.echo(line)


def kubectl_lines(root: click.Command, arguments: Sequence[str]) -> list[str]:
    """Return what kubectl expects: completions with their descriptions, and what to do after them."""
    *words, incomplete = arguments or [""]
    items = ShellComplete(root, {}, "kubectl tokenguard", _VARIABLE).get_completions(words, incomplete)
    lines = [_line(item) for item in items if item.type == "plain"]
    return [*lines, f":{_NO_FILES if len(lines) == len(items) else _FILES}"]


def _line(item: CompletionItem[str]) -> str:
    return f"{item.value}\t{item.help}" if item.help else item.value
