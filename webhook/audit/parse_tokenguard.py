"""Parses entries of tokenguard's audit log."""

import datetime as dt

from webhook.audit.events import (
    MAX_NAME,
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
_RANDOM_LENGTH = 5
_MAX_BASE = 58


def parse_record(entry: LogEntry) -> DecisionEvent:
    """Return the decision that a record describes."""
    namespace = entry.namespace[:MAX_NAME]
    rules = strongest_of_each_rule(
        [(found.rule, _OUTCOME_OF_ACTION.get(found.action, AuditOutcome.AUDITED)) for found in entry.findings]
    )
    mutating = entry.webhook == "mutate"
    key: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    if entry.resource == "pods":
        user = entry.user if isinstance(entry.user, str) else ""
        parts = (namespace, entry.service_account, entry.owner, user, entry.operation, "dry" if entry.dry_run else "")
        key = tuple([part[:MAX_NAME] for part in parts])
        names = _names(entry, mutating=mutating)
    return DecisionEvent(
        time=entry.time or dt.datetime.min.replace(tzinfo=dt.UTC),
        outcome=AuditOutcome.of_decision(entry.decision, has_findings=bool(rules)),
        namespace=namespace,
        account=f"{namespace}/{entry.service_account}"[:MAX_NAME] if entry.service_account else "",
        rules=rules,
        exemptions=parse_exemptions(entry.exemption),
        dry_run=entry.dry_run,
        mutating=mutating,
        key=key,
        names=names,
    )


def _names(entry: LogEntry, *, mutating: bool) -> tuple[str, ...]:
    """Return the names under which the records of the two webhooks about a pod find each other.

    The API server generates a name between the two calls: the mutating webhook sees `generateName: web-`, the
    validating one `name: web-x7k2p`, which may as well be a fixed name. It appends five characters to at most 58
    (kubernetes/kubernetes, apiserver/pkg/storage/names).
    """
    name = entry.name[:MAX_NAME]
    if mutating:
        return (name or f"{entry.generate_name[:_MAX_BASE]}?",)
    return name, f"{name[:-_RANDOM_LENGTH]}?"
