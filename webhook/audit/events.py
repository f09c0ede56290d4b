"""What one log entry contributes to a summary: a decision, or the use of a long-lived token.

In the API server's log, the webhooks' annotations begin with the webhook's name
(`pods.validate.tokenguard.svc/decision`); authentication adds `stale-token` and `legacy-token*`
(kubernetes/kubernetes, pkg/serviceaccount).
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum

import msgspec

from webhook.audit.log_entry import EventUser, LogEntry, ObjectReference

MAX_NAME = 320
"""Longer than any `namespace/account`; longer names are cut, so that no log fills the memory with names."""
_MAX_REASON = 1000
_EXEMPTION_START = re.compile(r"(?:^|\(until [^()]*\); )([a-z][a-z-]*): ")
_ANNOTATION = re.compile(r"\.(mutate|validate)\.tokenguard\.svc/(decision|rules|exemption)")
_AUTHENTICATION = "authentication.k8s.io/"
_STALE = f"{_AUTHENTICATION}stale-token"
_LEGACY = f"{_AUTHENTICATION}legacy-token"
_STALE_TOKEN = re.compile(r"^subject: (\S+), seconds after warning threshold: (\d{1,10})$")
_FINAL_STAGES = frozenset({"ResponseComplete", "Panic"})
_RANDOM_LENGTH = 5
_MAX_BASE = 58


class AuditOutcome(IntEnum):
    """The effect on a request, strongest first. `AUDITED` and `EXEMPTED` were allowed unchanged."""

    DENIED = 0
    PATCHED = 1
    WARNED = 2
    AUDITED = 3
    EXEMPTED = 4
    ALLOWED = 5

    @classmethod
    def of_decision(cls, decision: str | None, *, has_findings: bool) -> "AuditOutcome":
        """Return the outcome of a logged decision; an allowed request with findings is `AUDITED`."""
        outcome = _OUTCOMES.get(decision or "", cls.ALLOWED)
        return cls.AUDITED if outcome is cls.ALLOWED and has_findings else outcome


_OUTCOMES = {outcome.name.lower(): outcome for outcome in AuditOutcome}
COUNTED_OUTCOMES = tuple(outcome for outcome in AuditOutcome if outcome is not AuditOutcome.ALLOWED)
_OUTCOME_OF_ACTION = {
    "reject": AuditOutcome.DENIED,
    "patch": AuditOutcome.PATCHED,
    "warn": AuditOutcome.WARNED,
    "audit": AuditOutcome.AUDITED,
}


class DecisionEvent(msgspec.Struct, gc=False):
    """The decision about a request.

    `account` is `namespace/name`, empty if unknown. `rules` are the violated rules with the outcome of each,
    `exemptions` the rules that an exemption applied to, with its reason. The records of the mutating and the validating
    webhook about one pod have the same `key` and a name in common; `key` is empty if no counterpart is expected.
    """

    time: dt.datetime
    outcome: AuditOutcome
    namespace: str
    account: str
    rules: tuple[tuple[str, AuditOutcome], ...] = ()
    exemptions: tuple[tuple[str, str], ...] = ()
    dry_run: bool = False
    mutating: bool = False
    key: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def merged_with(self, other: "DecisionEvent") -> "DecisionEvent":
        """Return the outcome of both webhooks: the stronger one, and all rules."""
        return msgspec.structs.replace(
            self,
            outcome=min(self.outcome, other.outcome),
            rules=strongest_of_each_rule(self.rules + other.rules),
            exemptions=tuple(dict.fromkeys(self.exemptions + other.exemptions)),
            key=(),
        )


def strongest_of_each_rule(rules: Iterable[tuple[str, AuditOutcome]]) -> tuple[tuple[str, AuditOutcome], ...]:
    """Return each rule once, with its strongest outcome."""
    strongest: dict[str, AuditOutcome] = {}
    for name, outcome in rules:
        rule = name[:MAX_NAME]
        strongest[rule] = min(outcome, strongest.get(rule, outcome))
    return tuple(strongest.items())


class TokenUseEvent(msgspec.Struct, gc=False):
    """A request with a legacy token or, if not `legacy`, a stale one: `seconds_stale` past its requested lifetime.

    `user` is the API server's user name, `details` are further annotations; `pod` and `client` (the user agent) sent
    the request and are empty if unknown.
    """

    time: dt.datetime
    user: str
    legacy: bool
    seconds_stale: int = 0
    details: tuple[str, ...] = ()
    pod: str = ""
    client: str = ""


def parse_exemptions(text: str) -> tuple[tuple[str, str], ...]:
    """Return rules and reasons from `rule: reason (until day); rule: reason (until day)`."""
    if not text:
        return ()
    starts = list(_EXEMPTION_START.finditer(text))
    ends = [start.start(1) for start in starts[1:]] + [len(text)]
    return tuple(
        (start[1][:MAX_NAME], text[start.end() : min(end, start.end() + _MAX_REASON)].removesuffix("; "))
        for start, end in zip(starts, ends, strict=True)
    )


def parse_record(entry: LogEntry) -> DecisionEvent:
    """Return the decision that a record describes."""
    namespace = entry.namespace[:MAX_NAME]
    rules = strongest_of_each_rule(
        [(finding.rule, _OUTCOME_OF_ACTION.get(finding.action, AuditOutcome.AUDITED)) for finding in entry.findings]
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
        time=entry.occurred,
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
        elif match := _ANNOTATION.search(key):
            decisions[match[1], match[2]] = value
    if decisions:
        yield _decision(entry, decisions)
    if token_uses:
        yield from _token_uses(entry, token_uses)


def _decision(entry: LogEntry, annotations: dict[tuple[str, str], str]) -> DecisionEvent:
    """Return the decision. Annotations name the violated rules, not the action of each: the outcome replaces it."""
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
        time=entry.occurred,
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
        match = _STALE_TOKEN.match(stale)
        subject, seconds = (match[1][:MAX_NAME], int(match[2])) if match else (user, 0)
        yield TokenUseEvent(entry.occurred, subject, legacy=False, seconds_stale=seconds, pod=pod, client=client)
    legacy = {key.removeprefix(_AUTHENTICATION): value for key, value in annotations.items() if key.startswith(_LEGACY)}
    if legacy:
        subject = legacy.pop("legacy-token", user)[:MAX_NAME]
        details = tuple(f"{key.removeprefix('legacy-token-')} {value}"[:MAX_NAME] for key, value in legacy.items())
        yield TokenUseEvent(entry.occurred, subject, legacy=True, details=details, pod=pod, client=client)
