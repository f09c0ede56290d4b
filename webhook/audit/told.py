"""What one line of an audit log tells, be it tokenguard's own or the API server's (audit.k8s.io/v1 Event).

Of the API server's, what counts is an Event's annotations: the answers of this webhook, whose keys begin with the
webhook's name (`pods.validate.tokenguard.svc/decision`), and what authentication notes about tokens (`stale-token`
and `legacy-token*`, kubernetes/kubernetes pkg/serviceaccount).
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Annotated

import msgspec

LONGEST_NAME = 320
"""Longer than any namespace with its account; what is longer is cut, so that no log fills the memory with names."""


class Fate(IntEnum):
    """What became of a request, the strongest first. `NOTED` and `EXEMPTED` were let through as they were."""

    DENIED = 0
    PATCHED = 1
    WARNED = 2
    NOTED = 3
    EXEMPTED = 4
    ALLOWED = 5


FATES = tuple(fate for fate in Fate if fate is not Fate.ALLOWED)
_OF_ACTION = {"reject": Fate.DENIED, "patch": Fate.PATCHED, "warn": Fate.WARNED, "audit": Fate.NOTED}
_OF_DECISION = {"denied": Fate.DENIED, "patched": Fate.PATCHED, "warned": Fate.WARNED, "allowed": Fate.ALLOWED}


class Verdict(msgspec.Struct, gc=False):
    """What was decided about a request. `account` is `namespace/name`, both parts empty where the log doesn't say.

    `rules` are those that are broken, each with what was done about it; `exemptions` those that were set aside, each
    with the reason. `key` is what the two webhooks' lines of one pod have in common, empty where there is but one.
    """

    time: dt.datetime
    fate: Fate
    namespace: str
    account: str
    rules: tuple[tuple[str, Fate], ...] = ()
    exemptions: tuple[tuple[str, str], ...] = ()
    dry_run: bool = False
    mutating: bool = False
    key: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def with_other(self, other: "Verdict") -> "Verdict":
        """Return what both webhooks did about one request: the stronger, and all rules."""
        return msgspec.structs.replace(
            self,
            fate=min(self.fate, other.fate),
            rules=_strongest(self.rules + other.rules),
            exemptions=tuple(dict.fromkeys(self.exemptions + other.exemptions)),
            key=(),
        )


def _strongest(rules: Iterable[tuple[str, Fate]]) -> tuple[tuple[str, Fate], ...]:
    """Return each rule once, with the strongest of what was done about it."""
    found: dict[str, Fate] = {}
    for name, fate in rules:
        rule = name[:LONGEST_NAME]
        known = found.get(rule)
        if known is None or fate < known:
            found[rule] = fate
    return tuple(found.items())


class TokenUse(msgspec.Struct, gc=False):
    """A request with a token that is past its hour (`legacy` false) or in a Secret.

    `user` is as the API server names it, `past` how many seconds past the hour, `about` whatever else was noted, and
    `pod` and `agent` say who it was that sent it, where that is known.
    """

    time: dt.datetime
    user: str
    legacy: bool
    past: int = 0
    about: tuple[str, ...] = ()
    pod: str = ""
    agent: str = ""


_Text = str | None
_Time = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class _Finding(msgspec.Struct, gc=False):
    rule: str
    action: str


class _Extra(msgspec.Struct, rename={"pod": "authentication.kubernetes.io/pod-name"}, gc=False):
    pod: list[str] | None = None


class _User(msgspec.Struct, gc=False):
    username: _Text = None
    extra: _Extra | None = None


class _Object(msgspec.Struct, gc=False):
    resource: _Text = None
    subresource: _Text = None
    namespace: _Text = None
    name: _Text = None


class Line(msgspec.Struct, rename="camel", gc=False):
    """So much of a line as is counted, whichever log it is of."""

    time: _Time | None = None
    webhook: _Text = None
    decision: _Text = None
    operation: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    generate_name: str = ""
    owner: str = ""
    service_account: str = ""
    user: str | _User | None = None
    dry_run: bool = False
    findings: list[_Finding] = []
    exemption: str = ""
    sample: float | None = None

    kind: _Text = None
    api_version: _Text = None
    stage: _Text = None
    stage_timestamp: _Time | None = None
    request_uri: _Text = msgspec.field(name="requestURI", default=None)
    object_ref: _Object | None = None
    user_agent: _Text = None
    annotations: dict[str, str] | None = None

    @property
    def own(self) -> bool:
        """Whether it is of tokenguard's log."""
        return self.webhook is not None and self.decision is not None and self.time is not None

    @property
    def event(self) -> bool:
        """Whether it is of the API server's."""
        known = self.kind == "Event" and self.stage_timestamp is not None
        return known and (self.api_version or "").startswith("audit.k8s.io/")


decode = msgspec.json.Decoder(Line).decode
"""Raises `msgspec.DecodeError` where a line is no JSON, or a key holds what no audit log has there."""

_LONGEST_REASON = 1000
_RULE_AT = re.compile(r"(?:^|\(until [^()]*\); )([a-z][a-z-]*): ")


def exemptions_in(text: str) -> tuple[tuple[str, str], ...]:
    """Return rules and reasons from what a line says: `rule: reason (until day); rule: reason (until day)`."""
    if not text:
        return ()
    found = list(_RULE_AT.finditer(text))
    ends = [one.start(1) for one in found[1:]] + [len(text)]
    return tuple(
        (one[1][:LONGEST_NAME], text[one.end() : min(end, one.end() + _LONGEST_REASON)].removesuffix("; "))
        for one, end in zip(found, ends, strict=True)
    )


def verdict(line: Line) -> Verdict:
    """Return what a line of tokenguard's own log says."""
    namespace = line.namespace[:LONGEST_NAME]
    rules: tuple[tuple[str, Fate], ...] = ()
    if line.findings:
        rules = _strongest([(one.rule, _OF_ACTION.get(one.action, Fate.NOTED)) for one in line.findings])
    fate = _OF_DECISION.get(line.decision or "", Fate.ALLOWED)
    if fate is Fate.ALLOWED and rules:
        fate = Fate.NOTED
    mutating = line.webhook == "mutate"
    key: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    if line.resource == "pods":
        user = line.user if isinstance(line.user, str) else ""
        parts = (namespace, line.service_account, line.owner, user, line.operation, "dry" if line.dry_run else "")
        key = tuple([part[:LONGEST_NAME] for part in parts])
        names = _names(line, mutating=mutating)
    return Verdict(
        line.time or dt.datetime.min.replace(tzinfo=dt.UTC),
        fate,
        namespace,
        f"{namespace}/{line.service_account}"[:LONGEST_NAME] if line.service_account else "",
        rules,
        exemptions_in(line.exemption),
        line.dry_run,
        mutating,
        key,
        names,
    )


_RANDOM = 5
_LONGEST_BASE = 58


def _names(line: Line, *, mutating: bool) -> tuple[str, ...]:
    """Return by which names the two webhooks' lines of a pod find each other.

    Where the API server makes the name up, which it does between the two, the mutating webhook has seen `web-` and the
    validating one `web-x7k2p`, which might as well be a name that somebody gave. Five characters are added to at most
    58 (kubernetes/kubernetes, apiserver/pkg/storage/names).
    """
    name = line.name[:LONGEST_NAME]
    if mutating:
        return (name or f"{line.generate_name[:_LONGEST_BASE]}?",)
    return name, f"{name[:-_RANDOM]}?"


_MINE = re.compile(r"\.(mutate|validate)\.tokenguard\.svc/(decision|rules|exemption)")
_AUTHENTICATION = "authentication.k8s.io/"
_STALE = f"{_AUTHENTICATION}stale-token"
_LEGACY = f"{_AUTHENTICATION}legacy-token"
_PAST = re.compile(r"^subject: (\S+), seconds after warning threshold: (\d+)$")
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
    about = line.object_ref or _Object()
    namespace = (about.namespace or "")[:LONGEST_NAME]
    fates = []
    rules: list[tuple[str, Fate]] = []
    exemptions: dict[tuple[str, str], None] = {}
    for phase in ("mutate", "validate"):
        fate = _OF_DECISION.get(mine.get((phase, "decision"), ""), Fate.ALLOWED)
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
    return Verdict(_when(line), min(fates), namespace, account, _strongest(rules), tuple(exemptions), dry_run)


def _tokens_used(line: Line, noted: dict[str, str]) -> Iterator[TokenUse]:
    sender = line.user if isinstance(line.user, _User) else _User()
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
