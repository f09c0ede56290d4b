"""What a rule checks in CEL: where it looks, what it says, and what the policy makes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from webhook.core.decision import Violation
from webhook.core.json_patch import Edit, Remove
from webhook.core.kinds import Subject
from webhook.core.policy.model import Action, Policy
from webhook.core.webhook_namespaces import WebhookScopes
from webhook.export.scopes import Scopes

ANY_EDIT: tuple[Edit, ...] = (Remove(""),)
"""Placeholder for the edits with which the mutating webhook repairs a violation."""


@dataclass(frozen=True)
class CompilerInput:
    """What is compiled: a policy for a cluster, with or without MutatingAdmissionPolicies that patch.

    Pods in the `excluded` namespaces are left alone, and so is what the webhooks are not called for.
    """

    policy: Policy
    api_audiences: tuple[str, ...]
    excluded: tuple[str, ...]
    webhooks: WebhookScopes
    patched: bool
    scopes: Scopes

    def unpatched(self, rule: str, gaps: Mapping[str, Sequence[Action]]) -> tuple[str, ...]:
        """Return the gaps that a rule has as nothing patches pods, if the policy enforces one of their actions."""
        return tuple(gap for gap, actions in gaps.items() if not self.patched and self.scopes.enforces(rule, *actions))


@dataclass(frozen=True)
class ExportedCheck:
    """One kind of violation of a rule.

    The texts of `violation` are templates, whose fields `values` gives as expressions of strings, as it does `path`.
    `lines` returns the expression of a list with a line for each violation, given the expression of a line.
    `unpatched` is used in its place where a violation denies the object and nothing in the cluster has patched it; None
    if such an object is let in. `accounts` are as in `Scopes.exempt`.
    """

    violation: Violation
    values: Mapping[str, str]
    lines: Callable[[str], str]
    unpatched: Callable[[str], str] | None
    accounts: Sequence[str] | None


@dataclass(frozen=True)
class ExportedRule:
    """The checks of a rule for one subject, with the variables that they use; `gaps` says what is not expressed."""

    rule: str
    subject: Subject
    checks: Sequence[ExportedCheck]
    variables: Sequence[tuple[str, str]] = ()
    gaps: Sequence[str] = ()
