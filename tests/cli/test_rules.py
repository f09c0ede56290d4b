"""`tokenguard rules`."""

import pytest

from tests.commands import run_command
from webhook.core.rules import RULES


def test_rules_lists_every_rule() -> None:
    lines = run_command("rules").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [rule.name for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rules_explains_a_rule(rule) -> None:
    text = run_command("rules", rule.name).stdout
    assert rule.explanation in text
    assert "What to do:" in text


def test_rules_token_expiration_names_terminating_pods() -> None:
    explanation = " ".join(run_command("rules", "token-expiration").stdout.split())
    assert "while a pod terminates" in explanation
    assert "`terminationGracePeriodSeconds`" in explanation
    assert "lose nothing" not in explanation


def test_rules_unknown_rule_suggests_the_nearest() -> None:
    done = run_command("rules", "token-audiense")
    assert done.returncode == 2
    assert 'no such rule "token-audiense"; did you mean "token-audience"?' in done.stderr


def test_rules_explains_findings_that_are_of_no_rule() -> None:
    done = run_command("rules", "unreadable-object")
    assert (done.returncode, "API server would refuse it" in done.stdout) == (0, True)
