"""A scan as text: a summary that fits a terminal of 80 columns, then the details."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import click

from webhook.core.formatting import plain
from webhook.core.policy.model import Action
from webhook.formatters import scan_changes, scan_details
from webhook.formatters import scan_summary as summary
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.scan_exemptions import exemption_lines
from webhook.formatters.scan_findings import audience_text, lifetime_text
from webhook.formatters.wrapping import wrapped
from webhook.legacy.retirable import AFTER_DAYS
from webhook.scan.report import ScanReport

_REFUSED = "HTTP 403"
_NAME, _HEAD, _CELL = 11, 24, 14
_MILLION = 1_000_000
_ARROW = "→"
_BOTH = f": policy {_ARROW} simulated"
"""After what the numbers under the policy and under the simulated one are about."""
_DETAILS = ("details", "below this summary; --summary leaves them out")
_COLOURS = {Action.REJECT: "red", Action.PATCH: "cyan", Action.WARN: "yellow", Action.AUDIT: "blue"}
_DISABLE = (
    "with a valid token: first disable them with 'tokenguard legacy disable', which can be undone: a client that runs"
    " less often may still need one. Then delete them"
)
_DELETE = f"marked invalid for {AFTER_DAYS} days or more: may be deleted now, with 'tokenguard legacy delete'"
_WAIT = f"marked invalid for less than {AFTER_DAYS} days: wait, then delete them"
_ENFORCE = (
    "Deleting a Secret revokes its token. Enforce legacy-token-secret; otherwise anyone who has a copy of the token can"
    " make it valid again, with a new Secret of the same name; see 'tokenguard rules legacy-token-secret'"
)


_NEXT_STEP = (
    "next step: 'tokenguard migrate' writes a checklist for each namespace, and a patch for each workload that refers"
    " to a legacy Secret; 'tokenguard rules legacy-token-reference' has an example of the projected token"
)


def format_report(report: ScanReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the lines."""
    details = iter(()) if options.summary else _details(report, options)
    first = [*islice(details, 1)]
    yield from _summary(report, options, has_details=bool(first))
    yield from first
    yield from details
    yield from _unread(report, options)


def _details(report: ScanReport, options: FormatOptions) -> Iterator[str]:
    details = scan_changes.sections if report.simulated else scan_details.sections
    for title, lines in details(report):
        yield from _section(title, lines, options)
    shows_all = report.filters.show_all_findings
    if shows_all:
        yield from _section("tokens in pods by audience and lifetime", _token_uses(report), options)
        yield from _exemptions(report, options)
    if shows_all and not report.simulated:
        if advice := _deletion(report):
            yield from ("", *wrapped(advice, options.width))
        if any(secret.references for secret in report.legacy_secrets):
            yield from ("", *wrapped(_NEXT_STEP, options.width))


def _deletion(report: ScanReport) -> str:
    """Return how to delete the Secrets that are safe to delete; empty without any."""
    due = report.time.date() - dt.timedelta(AFTER_DAYS)
    counts = Counter(
        _DISABLE if secret.invalid_since is None else _DELETE if secret.invalid_since <= due else _WAIT
        for secret in report.legacy_secrets
        if secret.removable
    )
    parts = [f"{counts[advice]} {advice}" for advice in (_DELETE, _WAIT, _DISABLE) if counts[advice]]
    return f"safe to delete: {'; '.join(parts)}. {_ENFORCE}" if parts else ""


def _unread(report: ScanReport, options: FormatOptions) -> Iterator[str]:
    """Yield what could not be read; in one paragraph what needs more permissions, and no outcome depends on."""
    title = _styled("not read", "red", colour=options.colour)
    refused = [unread for unread in report.unread if report.filters.namespaces or unread.reason.startswith(_REFUSED)]
    outside = [unread for unread in refused if not unread.affects_decisions]
    if len(outside) > 1:
        missing = "; ".join(dict.fromkeys(unread.missing for unread in outside))
        resources = ", ".join(unread.resource for unread in outside)
        yield ""
        yield from wrapped(f"{title}, as that needs more permissions: {resources}", options.width, 4)
        yield from wrapped(f"  missing: {missing}", options.width, 4)
        yield from wrapped("  hint: manifests/scanner grants all of it", options.width, 4)
    for unread in report.unread:
        if len(outside) < 2 or unread not in outside:
            yield ""
            yield f"{title}: {unread.resource}: {plain(unread.reason)}"
            yield f"  missing: {unread.missing}"
            yield f"  hint: {unread.hint}"


def _exemptions(report: ScanReport, options: FormatOptions) -> Iterator[str]:
    simulated = report.simulated_exemptions or ()
    for title, usages in (("exemptions", report.exemptions), ("simulated exemptions", simulated)):
        yield from _section(title, exemption_lines(usages), options)


def _summary(report: ScanReport, options: FormatOptions, *, has_details: bool) -> Iterator[str]:
    width = options.width
    yield from wrapped(summary.verdict(report), width)
    yield from _fields(summary.scan_fields(report), width)
    if has_details:
        yield from _fields([_DETAILS], width)
    yield from _outcomes(report, width)
    yield from _rules(report)
    yield from _lifetimes(report)
    yield from _fields(summary.state_fields(report), width)


def _outcomes(report: ScanReport, width: int) -> Iterator[str]:
    yield _row(f"recreated{_BOTH}" if report.simulated else summary.IF_RECREATED, summary.OUTCOMES)
    for title, now, simulated in summary.outcome_counts(report):
        counts = [count for count in (now, simulated) if count]
        numbers = ([getattr(count, outcome) for count in counts] for outcome in summary.OUTCOMES)
        yield _row(title, [_number(count) if count else summary.UNKNOWN for count in numbers])
    if report.simulated:
        yield from _fields([("workloads", summary.workload_changes(report))], width)


def _number(numbers: Sequence[int]) -> str:
    """Return a number, and the simulated policy's after it; shortened to fit its column."""
    text = f" {_ARROW} ".join(map(str, numbers))
    return text if len(text) < _CELL else _ARROW.join(map(_short, numbers))


def _short(number: int) -> str:
    return str(number) if number < _MILLION else f"{number / _MILLION:.1f}M"


def _row(name: str, cells: Iterable[str]) -> str:
    """Return a line with right-aligned cells; a long name takes room of the first ones."""
    line = name
    for number, cell in enumerate(cells, 1):
        line += cell.rjust(max(_HEAD + number * _CELL - len(line), len(cell) + 1))
    return line


def _rules(report: ScanReport) -> Iterator[str]:
    states = [summary.rule_counts(report, simulated=False)]
    if report.simulated:
        states.append(summary.rule_counts(report, simulated=True))
    if not states[0]:
        return
    yield _row(f"findings{_BOTH}" if report.simulated else "findings by rule", summary.ACTIONS)
    for rule in states[-1]:  # the most severe under the simulated policy first
        yield _row(f"  {rule}", [_number([state[rule][action] for state in states]) for action in summary.ACTIONS])


def _lifetimes(report: ScanReport) -> Iterator[str]:
    yield _row("tokens in pods", summary.LIFETIMES)
    lifetimes = summary.token_lifetimes(report)
    for state, numbers in lifetimes.items():
        yield _row(f"  {state}", (summary.UNKNOWN if number is None else str(number) for number in numbers))
    pods = [report.summary.pods, report.summary.simulated_pods]
    denied = [str(counts.denied) for counts in pods if counts]
    if denied.count("0") < len(denied):
        yield f"  pods that would be denied ({f' {_ARROW} '.join(denied)}) have no tokens if recreated"


def _fields(fields: Iterable[summary.Field], width: int) -> Iterator[str]:
    for name, value in fields:
        yield from wrapped(f"{name:<{_NAME}}{value}", width, _NAME)


def _section(title: str, lines: Iterable[str], options: FormatOptions) -> Iterator[str]:
    """Yield a title and indented lines; nothing without lines."""
    for number, line in enumerate(lines):
        if not number:
            heads = wrapped(title, options.width)
            yield from ("", *(_styled(head, None, colour=options.colour) for head in heads))
        first, *others = wrapped(f"  {line}", options.width)
        yield _coloured(first) if options.colour else first
        yield from others


def _styled(text: str, foreground: str | None, *, colour: bool) -> str:
    return click.style(text, fg=foreground, bold=True) if colour else text


def _coloured(line: str) -> str:
    word = line.lstrip(" +-").split(":")[0]
    colour = next((colour for action, colour in _COLOURS.items() if action == word), None)
    return line.replace(word, click.style(word, fg=colour, bold=True), 1) if colour else line


def _token_uses(report: ScanReport) -> Iterator[str]:
    for use in report.tokens:
        simulated = "" if use.simulated is None else f", {use.simulated} simulated"
        numbers = f"{use.now} now, {use.recreated} if recreated{simulated}"
        yield f"{audience_text(use.audience)}, {lifetime_text(use.lifetime_seconds)}: {numbers}"
