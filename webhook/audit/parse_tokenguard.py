"""What a line of tokenguard's own log tells."""

import datetime as dt

from webhook.audit.events import (
    MAX_NAME,
    OUTCOME_OF_DECISION,
    AuditOutcome,
    DecisionEvent,
    parse_exemptions,
    strongest_of_each_rule,
)
from webhook.audit.log_entry import LogEntry

_OUTCOME_OF_ACTION = {
    "reject": AuditOutcome.DENIED,
    "patch": AuditOutcome.PATCHED,
    "warn": AuditOutcome.WARNED,
    "audit": AuditOutcome.AUDITED,
}


def parse_record(line: LogEntry) -> DecisionEvent:
    """Return what a line of tokenguard's own log says."""
    namespace = line.namespace[:MAX_NAME]
    rules: tuple[tuple[str, AuditOutcome], ...] = ()
    if line.findings:
        rules = strongest_of_each_rule(
            [(one.rule, _OUTCOME_OF_ACTION.get(one.action, AuditOutcome.AUDITED)) for one in line.findings]
        )
    outcome = OUTCOME_OF_DECISION.get(line.decision or "", AuditOutcome.ALLOWED)
    if outcome is AuditOutcome.ALLOWED and rules:
        outcome = AuditOutcome.AUDITED
    mutating = line.webhook == "mutate"
    key: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    if line.resource == "pods":
        user = line.user if isinstance(line.user, str) else ""
        parts = (namespace, line.service_account, line.owner, user, line.operation, "dry" if line.dry_run else "")
        key = tuple([part[:MAX_NAME] for part in parts])
        names = _names(line, mutating=mutating)
    return DecisionEvent(
        line.time or dt.datetime.min.replace(tzinfo=dt.UTC),
        outcome,
        namespace,
        f"{namespace}/{line.service_account}"[:MAX_NAME] if line.service_account else "",
        rules,
        parse_exemptions(line.exemption),
        line.dry_run,
        mutating,
        key,
        names,
    )


_RANDOM_LENGTH = 5
_MAX_BASE = 58


def _names(line: LogEntry, *, mutating: bool) -> tuple[str, ...]:
    """Return by which names the two webhooks' lines of a pod find each other.

    Where the API server makes the name up, which it does between the two, the mutating webhook has seen `web-` and the
    validating one `web-x7k2p`, which might as well be a name that somebody gave. Five characters are added to at most
    58 (kubernetes/kubernetes, apiserver/pkg/storage/names).
    """
    name = line.name[:MAX_NAME]
    if mutating:
        return (name or f"{line.generate_name[:_MAX_BASE]}?",)
    return name, f"{name[:-_RANDOM_LENGTH]}?"
