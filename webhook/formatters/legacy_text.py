"""The legacy Secrets of a cluster as text: a summary, then the Secrets by their state.

Secrets with the same details are folded into one entry, unless `verbose`.
"""

from collections.abc import Iterable, Iterator

import click

from webhook.core.formatting import counted, plain
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.scan_findings import first_names, grants_text
from webhook.formatters.scan_summary import last_use_text, reference_lines
from webhook.formatters.wrapping import wrapped
from webhook.legacy.report import LegacyReport
from webhook.legacy.retirable import RefusedUse, RetirableSecret, RetirementState

_NAME = 11
_TITLES = {
    RetirementState.STILL_USED: "disabled but still used: restore them, or change their clients",
    RetirementState.IN_USE: "in use: change what uses them",
    RetirementState.UNKNOWN: "use unknown: find out who uses them",
    RetirementState.REFERENCED: "unused, but a template refers to them: change it first",
    RetirementState.UNUSED: "unused: disable them",
    RetirementState.TOO_EARLY: "too early to tell: wait until no use is recorded for --unused-days",
    RetirementState.DISABLED: "disabled",
    RetirementState.REMOVABLE: "removable: delete them",
}
_COLOURS = {RetirementState.STILL_USED: "red", RetirementState.IN_USE: "yellow", RetirementState.REMOVABLE: "green"}


def format_report(report: LegacyReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the lines."""
    for name, text in _summary(report):
        yield from wrapped(f"{name:<{_NAME}}{text}", options.width, _NAME)
    for state, title in _TITLES.items():
        secrets = [secret for secret in report.secrets if secret.state is state]
        if secrets:
            yield from ("", _styled(f"{title} ({len(secrets)})", _COLOURS.get(state), options))
            for line in _folded(secrets, options):
                yield from wrapped(f"  {line}", options.width)
    for unread in report.unread:
        yield ""
        yield f"{_styled('not read', 'red', options)}: {unread.resource}: {plain(unread.reason)}"
        yield f"  missing: {unread.missing}"
        yield f"  hint: {unread.hint}"


def _summary(report: LegacyReport) -> Iterator[tuple[str, str]]:
    yield "cluster", f"{report.cluster}, {report.time:%Y-%m-%d %H:%M} UTC"
    if report.context:
        yield "context", plain(report.context)
    counts = {state: sum(secret.state is state for secret in report.secrets) for state in RetirementState}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    total: int | str = len(report.secrets)
    if report.secrets_unread:
        total = f"at least {total}" if total else "?"
        states = f"{states}; others could not be read" if states else "they could not be read"
    yield "Secrets", f"{total} legacy{f': {states}' if states else ''}"
    since = report.tracked_since or "an unknown day"
    yield "uses", f"recorded since {since}; a token is unused after {counted(report.unused_days, 'day')} without one"


def _folded(secrets: Iterable[RetirableSecret], options: FormatOptions) -> Iterator[str]:
    alike: dict[tuple[str, ...], list[RetirableSecret]] = {}
    for secret in secrets:
        key = secret.title if options.verbose else ""
        alike.setdefault((key, grants_text(secret.grants), *_details(secret)), []).append(secret)
    for (_, grants, *details), group in alike.items():
        accounts = sorted({f"{secret.namespace}/{secret.account}" for secret in group})
        of = f"account {plain(group[0].account)}" if len(accounts) == 1 else counted(len(accounts), "account")
        yield f"{first_names(secret.title for secret in group)}: {of}, {grants}"
        yield from (f"  {line}" for line in details)


def _details(secret: RetirableSecret) -> Iterator[str]:
    kind = "copied into another Secret type" if secret.is_copy else "auto-generated" if secret.listed_by else "manual"
    created = f", created {secret.created:%Y-%m-%d}" if secret.created else ""
    yield f"{kind}{created}, {last_use_text(secret)}"
    if secret.disabled:
        yield disabling_text(secret)
    if secret.half_restored:
        yield "valid again, but tokenguard's record is left: run 'tokenguard legacy restore'"
    yield from map(refused_use_text, secret.refused_uses)
    yield from reference_lines(secret)


def disabling_text(secret: RetirableSecret) -> str:
    """Return who disabled a token, when and why, and whether a use was refused since."""
    disabling = secret.disabled
    if disabling is None:
        return ""
    since = f"disabled {disabling.since}" if disabling.since else "disabled"
    reason = f": {plain(disabling.reason)}" if disabling.reason else ""
    refused = f"; a use was refused on {disabling.refused_on}" if disabling.refused_on else "; no use since"
    return f"{since} by {plain(disabling.author)}{reason}{refused}"


def refused_use_text(use: RefusedUse) -> str:
    """Return who has used a disabled token."""
    client = plain(use.client) or "no user agent"
    requests = f"{counted(use.requests, 'request')}, last {use.last:%Y-%m-%d %H:%M} UTC"
    return f"refused: {plain(use.address)}, {client}: {requests}"


def _styled(text: str, foreground: str | None, options: FormatOptions) -> str:
    return click.style(text, fg=foreground, bold=True) if options.colour else text
