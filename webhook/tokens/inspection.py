"""What is known about a token without verifying it: its claims, their problems, and the policy's decision."""

import datetime as dt
from dataclasses import dataclass

from webhook.core.decision import Decision, Outcome
from webhook.core.policy.model import Policy
from webhook.core.selectors import Labels
from webhook.tokens.claims import Token
from webhook.tokens.policy_check import check_against_policy
from webhook.tokens.problems import find_problems


@dataclass(frozen=True, slots=True)
class TokenInspection:
    """A token at the time `now`. `decision` is None if it is not a service account token."""

    token: Token
    now: dt.datetime
    problems: tuple[str, ...]
    decision: Decision | None

    @property
    def has_findings(self) -> bool:
        """Whether there is a problem, or the policy would not simply allow such a token."""
        return bool(self.problems or (self.decision and self.decision.outcome is not Outcome.ALLOWED))


def inspect_token(token: Token, policy: Policy, now: dt.datetime, labels: Labels) -> TokenInspection:
    """Return what a token says of itself, and what the policy says; `labels` are those of its namespace."""
    decision = check_against_policy(token, policy, now, labels)
    return TokenInspection(token, now, tuple(find_problems(token, now)), decision)
