"""What a line of the API server's log tells: by its annotations.

They are the answers of this webhook, whose keys begin with the webhook's name
(`pods.validate.tokenguard.svc/decision`), and what authentication notes about tokens (`stale-token` and
`legacy-token*`, kubernetes/kubernetes pkg/serviceaccount).
"""

import datetime as dt
import re
from collections.abc import Iterator

from webhook.audit.events import (
    MAX_NAME,
    OUTCOME_OF_DECISION,
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


def parse_event(line: LogEntry) -> Iterator[DecisionEvent | TokenUseEvent]:
    """Yield what an Event of the API server's tells: once for each request, when it was answered.

    Of a token that was refused, as one that has been marked invalid is, an Event says nothing: seen with 1.36.2.
    """
    if not line.annotations or line.stage not in _FINAL_STAGES:
        return
    mine: dict[tuple[str, str], str] = {}
    noted: dict[str, str] = {}
    for key, value in line.annotations.items():
        if key.startswith(_AUTHENTICATION):
            noted[key] = value
        elif found := _ANNOTATION.search(key):
            mine[found[1], found[2]] = value
    if mine:
        yield _answered(line, mine)
    if noted:
        yield from _tokens_used(line, noted)


def _answered(line: LogEntry, mine: dict[tuple[str, str], str]) -> DecisionEvent:
    """Return what the webhooks answered; which rule was broken is known, what was done about each isn't."""
    about = line.object_ref or ObjectReference()
    namespace = (about.namespace or "")[:MAX_NAME]
    outcomes = []
    rules: list[tuple[str, AuditOutcome]] = []
    exemptions: dict[tuple[str, str], None] = {}
    for phase in ("mutate", "validate"):
        outcome = OUTCOME_OF_DECISION.get(mine.get((phase, "decision"), ""), AuditOutcome.ALLOWED)
        broken = mine.get((phase, "rules"), "")
        if outcome is AuditOutcome.ALLOWED and broken:
            outcome = AuditOutcome.AUDITED
        outcomes.append(outcome)
        rules += [(rule, outcome) for rule in broken.split(",") if rule]
        exemptions |= dict.fromkeys(parse_exemptions(mine.get((phase, "exemption"), "")))
    account = ""
    if about.resource == "serviceaccounts" and about.name:
        account = f"{namespace}/{about.name}"[:MAX_NAME]
    dry_run = "dryRun=All" in (line.request_uri or "")
    return DecisionEvent(
        _when(line), min(outcomes), namespace, account, strongest_of_each_rule(rules), tuple(exemptions), dry_run
    )


def _tokens_used(line: LogEntry, noted: dict[str, str]) -> Iterator[TokenUseEvent]:
    sender = line.user if isinstance(line.user, EventUser) else EventUser()
    user = (sender.username or "")[:MAX_NAME]
    pods = sender.extra.pod if sender.extra else None
    pod = pods[0][:MAX_NAME] if pods else ""
    agent = (line.user_agent or "")[:MAX_NAME]
    stale = noted.pop(_STALE, None)
    if stale is not None:
        found = _STALE_TOKEN.match(stale)
        whose, past = (found[1], int(found[2])) if found else (user, 0)
        yield TokenUseEvent(_when(line), whose[:MAX_NAME], legacy=False, past=past, pod=pod, agent=agent)
    legacy = {key.removeprefix(_AUTHENTICATION): value for key, value in noted.items() if key.startswith(_LEGACY)}
    if legacy:
        whose = legacy.pop("legacy-token", user)[:MAX_NAME]
        about = tuple(f"{key.removeprefix('legacy-token-')} {value}"[:MAX_NAME] for key, value in legacy.items())
        yield TokenUseEvent(_when(line), whose, legacy=True, about=about, pod=pod, agent=agent)


def _when(line: LogEntry) -> dt.datetime:
    assert line.stage_timestamp is not None  # noqa: S101 - of an Event
    return line.stage_timestamp
