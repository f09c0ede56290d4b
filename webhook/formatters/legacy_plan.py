"""A plan as text: what a command changes, what that means and how it is undone, and what it refuses."""

import datetime as dt
from collections.abc import Iterable, Iterator

from webhook.core.formatting import counted, plain
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.legacy_text import disabling_text
from webhook.formatters.scan_findings import first_names, grants_text
from webhook.formatters.scan_summary import last_use_text
from webhook.formatters.wrapping import wrapped
from webhook.legacy.plan import Command, Exclusion, Objection, Plan
from webhook.legacy.retirable import RetirableSecret

_MAX_SKIPPED = 10
"""More entries would hide the plan above the question."""
_EFFECTS = {
    Command.DISABLE: (
        "The API server refuses these tokens within 10 seconds.",
        "To undo it: tokenguard legacy restore NAMESPACE/NAME",
    ),
    Command.RESTORE: ("The API server accepts these tokens again at once.",),
}
_EXCLUSIONS = {
    Exclusion.NAMESPACE: "of other namespaces (--namespace)",
    Exclusion.KUBE_SYSTEM: "of kube-system (select them by --namespace kube-system)",
    Exclusion.ACCOUNT: "of other accounts (--account)",
    Exclusion.USED: "used within --unused-days {unused_days}, or not known to be unused for so long",
    Exclusion.NOT_STILL_USED: "not used since it was disabled (--still-used)",
    Exclusion.VALID: "not disabled",
}
_DONE = {
    Command.DISABLE: "already disabled",
    Command.RESTORE: "not disabled",
    Command.DELETE: "already deleted, or being deleted",
}


def format_plan(plan: Plan, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the lines."""
    context = f", context {plain(plan.context)}" if plan.context else ""
    yield f"Plan: {plan.command} {counted(len(plan.secrets), 'legacy Secret')} in {plan.cluster}{context}"
    for secret in plan.secrets:
        yield from wrapped(f"  {_secret_line(plan.command, secret)}", options.width)
    yield from _effects(plan)
    yield from _objections("Forced", plan.forced, options)
    yield from _objections("Refused", plan.refused, options)
    yield from _objections("Not selected", plan.skipped, options, _MAX_SKIPPED)
    if plan.done:
        yield f"{_DONE[plan.command].capitalize()} ({len(plan.done)}): {first_names(plan.done)}"
    yield from _exclusions(plan, options)
    if plan.begun:
        origin = "disabled within the last hour for the same reason; another --reason begins another wave"
        yield f"Of the same wave ({plan.begun}): {origin}"
    if plan.later:
        yield f"For a later wave, because of --max ({len(plan.later)}): {first_names(plan.later)}"


def _secret_line(command: Command, secret: RetirableSecret) -> str:
    account = f"account {plain(secret.account)}, {grants_text(secret.grants)}"
    state = last_use_text(secret) if command is Command.DISABLE else disabling_text(secret) or "half restored"
    workloads = dict.fromkeys(plain(reference.title) for reference in secret.references)
    references = f"; referenced by {first_names(workloads)}" if workloads else ""
    return f"{secret.title}: {account}; {state}{references}"


def _effects(plan: Plan) -> Iterator[str]:
    if plan.secrets:
        yield from _EFFECTS[plan.command] if plan.command is not Command.DELETE else _deletion(plan)
    if plan.command is Command.DISABLE and any(secret.references for secret in plan.secrets):
        yield "Workloads refer to some of them: new pods start, but are refused."


def _deletion(plan: Plan) -> Iterator[str]:
    days = min(secret.quiet_days or 0 for secret in plan.secrets)
    if days:
        yield f"For {counted(days, 'day')} or more, no client is known to have tried these disabled tokens."
    else:
        today = [secret for secret in plan.secrets if not secret.quiet_days]
        times = [secret.disabled.at for secret in today if secret.disabled and secret.disabled.at]
        last = f", the last at {max(times).astimezone(dt.UTC):%H:%M} UTC" if times else ""
        yield f"Disabled only today{last} ({len(today)}): {first_names(secret.title for secret in today)}"
        yield "Uses are recorded by day, so a client that still uses such a token may not be known before tomorrow."
    yield "Deleting cannot be undone: a client that still has such a token needs another one."


def _exclusions(plan: Plan, options: FormatOptions) -> Iterator[str]:
    """Yield why the criteria select nothing; if they select something, only which Secrets kube-system keeps out."""
    if not plan.legacy_secrets:
        yield "There are no legacy Secrets in the namespaces that were read"
    shown = [excluded for excluded in plan.excluded if not plan.secrets or excluded.reason is Exclusion.KUBE_SYSTEM]
    if shown:
        count = sum(excluded.count for excluded in shown)
        yield f"Left out ({count} of {counted(plan.legacy_secrets, 'legacy Secret')})"
    for excluded in shown:
        reason = _EXCLUSIONS[excluded.reason].format(unused_days=plan.unused_days)
        yield from wrapped(f"  {excluded.count}: {reason}", options.width)


def _objections(title: str, objections: Iterable[Objection], options: FormatOptions, limit: int = 0) -> Iterator[str]:
    """Yield an entry for all Secrets with the same reasons; with a `limit` no more entries."""
    alike: dict[tuple[str, ...], list[Objection]] = {}
    for objection in objections:
        alike.setdefault(objection.reasons, []).append(objection)
    if not alike:
        return
    yield f"{title} ({sum(map(len, alike.values()))})"
    shown = [*alike.items()][: limit or len(alike)]
    for reasons, same_reasons in shown:
        can_force = title != "Forced" and same_reasons[0].can_force and len(same_reasons) == 1
        force = f" (--force {same_reasons[0].secret} overrides it)" if can_force else ""
        names = first_names(objection.secret for objection in same_reasons)
        yield from wrapped(f"  {names}: {plain('; '.join(reasons))}{force}", options.width)
    if more := sum(len(group) for group in [*alike.values()][len(shown) :]):
        yield f"  and {more} more; --dry-run --output json has all"
