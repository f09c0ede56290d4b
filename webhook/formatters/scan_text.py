"""A scan's report as text: the summary, then what there is to tell of each namespace."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import click

from webhook.core.policy.model import Action
from webhook.core.text import counted, plain, quote
from webhook.formatters.scan_findings import (
    Line,
    between,
    changes,
    line_of,
    owner_lines,
    some,
    spelled_out,
    today,
    unwritten,
    whom_for,
)
from webhook.formatters.scan_summary import summary_lines
from webhook.scan.evaluation_result import Change
from webhook.scan.exemption_usage import ExemptionStatus, ExemptionUsage
from webhook.scan.report import Account, AccountWithoutPermissions, CsiDriver, LegacySecret, ScanReport, TokenUse

_COLOURS = {Action.REJECT: "red", Action.PATCH: "cyan", Action.WARN: "yellow", Action.AUDIT: "blue"}


COPY = ": delete it, and the ServiceAccount of its token: while that is there, the text can come back"
CAN_GO = (
    "can go: a deleted token comes back with a Secret of its name that holds the text, unless legacy-token-secret is"
    " enforced; what ends one for good: tokenguard rules legacy-token-secret"
)


def lines(report: ScanReport, *, colour: bool = False) -> Iterator[Line]:
    """Yield the lines."""
    yield from summary_lines(report)
    details = _changes(report) if report.simulated else _details(report)
    for namespace, told in sorted(details.items()):
        if told:
            yield ""
            title = f"namespace {plain(namespace)}" if namespace else "without a namespace"
            yield _styled(title, None, colour=colour)
            yield from (f"  {_coloured(line) if colour else line}" for line in told)
    if any(secret.removable for secret in report.legacy_secrets) and not report.simulated:
        yield ""
        yield CAN_GO
    if report.tokens:
        yield ""
        yield _styled("tokens in pods, by whom they are for and how long they live", None, colour=colour)
        yield from (f"  {_tokens(one)}" for one in report.tokens)
    for title, states in (("exemptions", report.exemptions), ("simulated exemptions", report.simulated_exemptions)):
        if states:
            yield ""
            yield _styled(title, None, colour=colour)
            yield from (f"  {_exemption(one, states)}" for one in states)
    for one in report.unread:
        yield ""
        yield f"{_styled('not read', 'red', colour=colour)}: {one.what}: {plain(one.why)}"
        yield f"  lacking: {one.lacks}"
        yield f"  look at: {one.advice}"


def _styled(text: str, foreground: str | None, *, colour: bool) -> str:
    return click.style(text, fg=foreground, bold=True) if colour else text


def _coloured(line: Line) -> Line:
    word = line.lstrip(" +-").split(":")[0]
    found = next((colour for action, colour in _COLOURS.items() if action == word), None)
    return line.replace(word, click.style(word, fg=found, bold=True), 1) if found else line


def _details(report: ScanReport) -> dict[str, list[Line]]:
    """Return what there is to tell under one policy, by namespace."""
    found: dict[str, list[Line]] = {}
    by_nobody: dict[str, Counter[Line]] = {}
    for owner in report.owners:
        found.setdefault(owner.namespace, []).extend(owner_lines(owner))
        by_nobody.setdefault(owner.namespace, Counter()).update(unwritten(owner, today))
    for namespace, count_of in by_nobody.items():
        found[namespace] += (f"{line}: {counted(count, 'pod')}" for line, count in sorted(count_of.items()))
    for secret in report.legacy_secrets:
        found.setdefault(secret.namespace, []).extend(_secret(secret))
    for namespace, title, judged in _single(report):
        told = [line_of(one) for one in judged.judgement.findings]
        told += [f"exempt: {one.rule}: {plain(one.reason)}" for one in judged.judgement.exemptions]
        found.setdefault(namespace, []).extend(f"{title}: {one}" for one in told)
    for idle in report.accounts_without_permissions or ():
        found.setdefault(idle.namespace, []).append(_idle(idle))
    return found


def _changes(report: ScanReport) -> dict[str, list[Line]]:
    """Return what the simulated policy changes, by namespace."""
    found = {
        namespace: list(changes(owners, report.filters))
        for namespace, owners in groupby(report.owners, key=lambda owner: owner.namespace)
    }
    counts = Counter((secret.namespace, secret.change) for secret in report.legacy_secrets)
    for (namespace, change), count in sorted(counts.items()):
        if change is not Change.NONE:
            found.setdefault(namespace, []).append(f"{counted(count, 'legacy Secret')}: {change}, if made again")
    for namespace, title, judged in _single(report):
        differing = between(judged.judgement, judged.simulated) if judged.simulated else ()
        if judged.change is not Change.NONE and differing:
            told = (f"{title}: {judged.change}", *(f"  {line}" for line in differing))
            found.setdefault(namespace, []).extend(told)
    return found


def _single(report: ScanReport) -> Iterator[tuple[str, str, Account | CsiDriver]]:
    """Yield what is evaluated by itself, with its namespace and its title."""
    yield from (("", f"CSIDriver/{plain(driver.name)}", driver) for driver in report.csi_drivers)
    for account in report.accounts:
        yield account.namespace, f"ServiceAccount/{plain(account.name)}", account


def _secret(secret: LegacySecret) -> Iterator[Line]:
    """Yield what is known of a legacy Secret, and who refers to it."""
    made = f", made {secret.created:%Y-%m-%d}" if secret.created else ""
    if secret.last_used:
        use = f", last used {secret.last_used}"
    else:
        use = f", not used since {secret.unused_since}" if secret.unused_since else ", whether it is used isn't known"
    invalid = f", marked invalid {secret.invalid_since}" if secret.invalid_since else ""
    end = ": can go" if secret.removable else COPY if secret.is_copy else ""
    whose = "legacy token in another type" if secret.is_copy else f"token of {plain(secret.account) or 'nobody'}"
    yield f"Secret/{plain(secret.name)}: {whose}{made}{use}{invalid}{end}"
    yield from (f"  {line}" for line in pointing(secret))


def pointing(secret: LegacySecret) -> Iterator[Line]:
    """Yield what points at a legacy Secret."""
    for one in secret.references:
        pods = f" ({counted(len(one.pods), 'pod')})" if one.pods and one.kind != "Pod" else ""
        yield f"in {plain(one.title)}{pods}: {plain(one.path)}"
    if secret.listed_by:
        yield f"listed by {some([f'ServiceAccount/{one}' for one in secret.listed_by])}"


def _tokens(use: TokenUse) -> Line:
    simulated = "" if use.simulated is None else f", {use.simulated} simulated"
    told = f"{use.now} now, {use.after} created again{simulated}"
    return f"{whom_for(use.audience)}, {spelled_out(use.lifetime_seconds)}: {told}"


def _idle(idle: AccountWithoutPermissions) -> Line:
    mounted = f"its token is mounted in {counted(idle.pods, 'pod')} of {some(idle.owners)}"
    return f"ServiceAccount/{plain(idle.name)}: no binding names it, and {mounted}: its automount can go"


def whom(state: ExemptionUsage) -> str:
    """Return whom an exemption is for."""
    return some((*state.namespaces, *state.service_accounts, *state.users)) or "all"


def good_for(state: ExemptionUsage, every: Sequence[ExemptionUsage]) -> str:
    """Return what an exemption is good for; `every` are all of its policy."""
    if state.standing is ExemptionStatus.ENDED and not state.holds:
        return "has ended; not all that it is for was looked at" if state.seen_in_part else "has ended, and can go"
    return {
        ExemptionStatus.HOLDS: f"holds {state.holds}",
        ExemptionStatus.SHADOWED: f"shadowed by {_earlier(every[number] for number in state.shadowed_by)}",
        ExemptionStatus.HOLDS_NOTHING: "holds nothing any more",
        ExemptionStatus.NOT_LOOKED_AT: "holds nothing here; not all that it is for was looked at",
        ExemptionStatus.ENDED: f"has ended, {state.holds} would be held",
        ExemptionStatus.UNKNOWN: "depends on who asks",
    }[state.standing]


def _earlier(states: Iterable[ExemptionUsage]) -> str:
    """Return the exemptions that stand before another, in words, with the days until which they do."""
    every = [f"{quote(one.reason)}, {f'until {one.until}' if one.until else 'which never ends'}" for one in states]
    return f"an earlier one ({every[0]})" if len(every) == 1 else f"earlier ones ({'; '.join(every)})"


def until(state: ExemptionUsage) -> str:
    """Return how long an exemption holds."""
    soon = f", in {counted(state.days_left or 0, 'day')}" if state.ends_soon else ""
    return f"until {state.until}{soon}" if state.until else "never ends"


def _exemption(state: ExemptionUsage, every: Sequence[ExemptionUsage]) -> Line:
    return f"{some(state.rules)} for {whom(state)}: {good_for(state, every)}; {until(state)}: {plain(state.reason)}"
