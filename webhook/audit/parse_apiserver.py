"""What a line of the API server's log tells: by its annotations.

They are the answers of this webhook, whose keys begin with the webhook's name
(`pods.validate.tokenguard.svc/decision`), and what authentication notes about tokens (`stale-token` and
`legacy-token*`, kubernetes/kubernetes pkg/serviceaccount).
"""

import datetime as dt
import re
from collections.abc import Iterator

from webhook.audit.events import LONGEST_NAME, OF_DECISION, Fate, TokenUse, Verdict, exemptions_in, strongest
from webhook.audit.log_entry import Line, Object, User

_MINE = re.compile(r"\.(mutate|validate)\.tokenguard\.svc/(decision|rules|exemption)")
_AUTHENTICATION = "authentication.k8s.io/"
_STALE = f"{_AUTHENTICATION}stale-token"
_LEGACY = f"{_AUTHENTICATION}legacy-token"
_PAST = re.compile(r"^subject: (\S+), seconds after warning threshold: (\d{1,10})$")
_DONE = frozenset({"ResponseComplete", "Panic"})


def from_event(line: Line) -> Iterator[Verdict | TokenUse]:
    """Yield what an Event of the API server's tells: once for each request, when it was answered.

    Of a token that was refused, as one that has been marked invalid is, an Event says nothing: seen with 1.36.2.
    """
    if not line.annotations or line.stage not in _DONE:
        return
    mine: dict[tuple[str, str], str] = {}
    noted: dict[str, str] = {}
    for key, value in line.annotations.items():
        if key.startswith(_AUTHENTICATION):
            noted[key] = value
        elif found := _MINE.search(key):
            mine[found[1], found[2]] = value
    if mine:
        yield _answered(line, mine)
    if noted:
        yield from _tokens_used(line, noted)


def _answered(line: Line, mine: dict[tuple[str, str], str]) -> Verdict:
    """Return what the webhooks answered; which rule was broken is known, what was done about each isn't."""
    about = line.object_ref or Object()
    namespace = (about.namespace or "")[:LONGEST_NAME]
    fates = []
    rules: list[tuple[str, Fate]] = []
    exemptions: dict[tuple[str, str], None] = {}
    for phase in ("mutate", "validate"):
        fate = OF_DECISION.get(mine.get((phase, "decision"), ""), Fate.ALLOWED)
        broken = mine.get((phase, "rules"), "")
        if fate is Fate.ALLOWED and broken:
            fate = Fate.NOTED
        fates.append(fate)
        rules += [(rule, fate) for rule in broken.split(",") if rule]
        exemptions |= dict.fromkeys(exemptions_in(mine.get((phase, "exemption"), "")))
    account = ""
    if about.resource == "serviceaccounts" and about.name:
        account = f"{namespace}/{about.name}"[:LONGEST_NAME]
    dry_run = "dryRun=All" in (line.request_uri or "")
    return Verdict(_when(line), min(fates), namespace, account, strongest(rules), tuple(exemptions), dry_run)


def _tokens_used(line: Line, noted: dict[str, str]) -> Iterator[TokenUse]:
    sender = line.user if isinstance(line.user, User) else User()
    user = (sender.username or "")[:LONGEST_NAME]
    pods = sender.extra.pod if sender.extra else None
    pod = pods[0][:LONGEST_NAME] if pods else ""
    agent = (line.user_agent or "")[:LONGEST_NAME]
    stale = noted.pop(_STALE, None)
    if stale is not None:
        found = _PAST.match(stale)
        whose, past = (found[1], int(found[2])) if found else (user, 0)
        yield TokenUse(_when(line), whose[:LONGEST_NAME], legacy=False, past=past, pod=pod, agent=agent)
    legacy = {key.removeprefix(_AUTHENTICATION): value for key, value in noted.items() if key.startswith(_LEGACY)}
    if legacy:
        whose = legacy.pop("legacy-token", user)[:LONGEST_NAME]
        about = tuple(f"{key.removeprefix('legacy-token-')} {value}"[:LONGEST_NAME] for key, value in legacy.items())
        yield TokenUse(_when(line), whose, legacy=True, about=about, pod=pod, agent=agent)


def _when(line: Line) -> dt.datetime:
    assert line.stage_timestamp is not None  # noqa: S101 - of an Event
    return line.stage_timestamp
