"""Parses Events of the API server's audit log by their annotations.

The webhooks' annotations begin with the webhook's name (`pods.validate.tokenguard.svc/decision`); authentication adds
`stale-token` and `legacy-token*` (kubernetes/kubernetes, pkg/serviceaccount).
"""

import datetime as dt
import re
from collections.abc import Iterator

from webhook.audit.events import (
    MAX_NAME,
    AuditOutcome,
    DecisionEvent,
    TokenUseEvent,
    parse_exemptions,
    strongest_of_each_rule,
)
from webhook.audit.log_entry import EventUser, LogEntry, ObjectReference

_ANNOTATION = re.compile(r"\.(mutate|validate)\.tokenguard\.svc/(decision|rules|exemption)")
_AUTHENTICATION = "authentication.k8s.io/"
_STALE = f"{_AUTHENTICATION}stale-token"
_LEGACY = f"{_AUTHENTICATION}legacy-token"
_STALE_TOKEN = re.compile(r"^subject: (\S+), seconds after warning threshold: (\d{1,10})$")
_FINAL_STAGES = frozenset({"ResponseComplete", "Panic"})


def parse_event(entry: LogEntry) -> Iterator[DecisionEvent | TokenUseEvent]:
    """Yield the decision and the token uses of a completed request.

    The Event of a request with a rejected token has no such annotation: observed with 1.36.2.
    """
    if not entry.annotations or entry.stage not in _FINAL_STAGES:
        return
    decisions: dict[tuple[str, str], str] = {}
    token_uses: dict[str, str] = {}
    for key, value in entry.annotations.items():
        if key.startswith(_AUTHENTICATION):
            token_uses[key] = value
        elif found := _ANNOTATION.search(key):
            decisions[found[1], found[2]] = value
    if decisions:
        yield _decision(entry, decisions)
    if token_uses:
        yield from _token_uses(entry, token_uses)


def _decision(entry: LogEntry, annotations: dict[tuple[str, str], str]) -> DecisionEvent:
    """Return the decision. Annotations name the violated rules, not the action of each: the outcome stands for it."""
    subject = entry.object_ref or ObjectReference()
    namespace = (subject.namespace or "")[:MAX_NAME]
    outcomes = []
    rules: list[tuple[str, AuditOutcome]] = []
    exemptions: dict[tuple[str, str], None] = {}
    for phase in ("mutate", "validate"):
        violated = annotations.get((phase, "rules"), "")
        outcome = AuditOutcome.of_decision(annotations.get((phase, "decision")), has_findings=bool(violated))
        outcomes.append(outcome)
        rules += [(rule, outcome) for rule in violated.split(",") if rule]
        exemptions |= dict.fromkeys(parse_exemptions(annotations.get((phase, "exemption"), "")))
    is_account = subject.resource == "serviceaccounts" and subject.name
    return DecisionEvent(
        time=_time(entry),
        outcome=min(outcomes),
        namespace=namespace,
        account=f"{namespace}/{subject.name}"[:MAX_NAME] if is_account else "",
        rules=strongest_of_each_rule(rules),
        exemptions=tuple(exemptions),
        dry_run="dryRun=All" in (entry.request_uri or ""),
    )


def _token_uses(entry: LogEntry, annotations: dict[str, str]) -> Iterator[TokenUseEvent]:
    sender = entry.user if isinstance(entry.user, EventUser) else EventUser()
    user = (sender.username or "")[:MAX_NAME]
    pods = sender.extra.pod if sender.extra else None
    pod = pods[0][:MAX_NAME] if pods else ""
    client = (entry.user_agent or "")[:MAX_NAME]
    stale = annotations.pop(_STALE, None)
    if stale is not None:
        found = _STALE_TOKEN.match(stale)
        subject, seconds = (found[1][:MAX_NAME], int(found[2])) if found else (user, 0)
        yield TokenUseEvent(_time(entry), subject, legacy=False, seconds_stale=seconds, pod=pod, client=client)
    legacy = {key.removeprefix(_AUTHENTICATION): value for key, value in annotations.items() if key.startswith(_LEGACY)}
    if legacy:
        subject = legacy.pop("legacy-token", user)[:MAX_NAME]
        details = tuple(f"{key.removeprefix('legacy-token-')} {value}"[:MAX_NAME] for key, value in legacy.items())
        yield TokenUseEvent(_time(entry), subject, legacy=True, details=details, pod=pod, client=client)


def _time(entry: LogEntry) -> dt.datetime:
    assert entry.stage_timestamp is not None  # noqa: S101 - of an Event
    return entry.stage_timestamp
