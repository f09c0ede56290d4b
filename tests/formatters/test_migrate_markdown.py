"""Names from a cluster in Markdown and in shell commands: none becomes markup or a second command."""

import shlex

import pytest

from webhook.formatters.migrate.commands import disable_commands
from webhook.formatters.migrate.markdown import cell, code, escape, message

HOSTILE = "a`b``|[x](javascript:alert(1))<b>*_\n## c\u202e"


def test_code_span_holds_any_text() -> None:
    assert code("app-token") == "`app-token`"
    assert code("a`b``c") == "```a`b``c```"
    assert code("`a`") == "`` `a` ``"
    assert code("") == "`  `"
    assert "\n" not in code(HOSTILE)


def test_escaped_text_has_no_markup() -> None:
    shown = escape(HOSTILE)
    assert "\n" not in shown
    assert "\u202e" not in shown
    for mark in "`|[]<>*_#":
        assert shown.count(mark) == shown.count(f"\\{mark}")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ('variable "TOKEN" is *gone*', r"variable `TOKEN` is \*gone\*"),
        (r'volume "a\"b\\c"', 'volume `a"b\\c`'),
        ("no name", "no name"),
    ],
)
def test_quoted_names_of_a_message_become_code(given: str, shown: str) -> None:
    assert message(given) == shown


def test_bar_does_not_end_a_cell() -> None:
    assert cell(code("a|b")) == r"`a\|b`"
    assert cell(escape("a|b")) == r"a\|b"


def test_commands_quote_names() -> None:
    command = " ".join(disable_commands("shop", ["x; rm -rf $(HOME)"]))
    assert shlex.split(command.replace("\\ ", ""))[-1] == "shop/x; rm -rf $(HOME)"
