"""What the README repeats of the code is what the code says."""

import re
from pathlib import Path

import pytest
import yaml

from webhook.core.policy.document import read_policy
from webhook.core.policy.model import Action, Policy
from webhook.core.policy.shown import shown
from webhook.core.rules import RULES
from webhook.server.metrics import Metrics
from webhook.server.state import State

README = (Path(__file__).parent.parent / "README.md").read_text()
LOWERED = {Action.WARN, Action.AUDIT, Action.OFF}


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading or a bold word."""
    below = README.split(heading, 1)[1]
    table = re.search(r"\n((?:\|.*\n)+)", below)[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


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
    assert rows("## The rules") == expected


def test_the_metrics_table_names_every_metric() -> None:
    told = re.findall(r"^# HELP (\S+) (.*)$", Metrics().exposition(State()).decode(), re.MULTILINE)
    assert rows("**Metrics**") == [[f"`{name}`", about] for name, about in told]


@pytest.mark.parametrize("document", re.findall(r"```yaml\n(apiVersion: tokenguard.*?)```", README, re.DOTALL))
def test_every_policy_shown_is_sound(document: str) -> None:
    assert isinstance(read_policy(document.encode()), Policy)


def test_the_defaults_shown_are_the_defaults() -> None:
    document = re.search(r"these are the defaults:\n\n```yaml\n(.*?)```", README, re.DOTALL)[1]
    given = yaml.safe_load(document)
    default = shown(read_policy(b"apiVersion: tokenguard/v1\nkind: TokenPolicy\n"))
    assert {**given, "rules": default["rules"]} == default
