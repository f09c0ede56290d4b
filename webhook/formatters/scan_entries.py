"""The entries of a scan's text: objects that are alike are folded into one.

Workloads with the same findings, or with the same changes, are one entry, and so are Secrets in the same state. A
section with folded entries ends with where all are listed.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from webhook.core.formatting import counted, plain
from webhook.core.policy.model import Action
from webhook.formatters import scan_summary as summary
from webhook.formatters.scan_findings import (
    LIST_EACH,
    MAX_NAMES,
    FindingLine,
    WorkloadLines,
    accounts_text,
    first_names,
    grants_text,
    line_order,
)
from webhook.scan.rbac import NO_PERMISSIONS
from webhook.scan.report import CsiDriver, LegacySecret, ScannedWorkload, ScanReport, ServiceAccountResult

Section = tuple[str, Iterable[str]]
"""A title and its lines."""
LinesOf = Callable[[ScannedWorkload], WorkloadLines]
"""What is said about a workload."""
_MAX_ALIKE = 3
"""How many legacy Secrets of the same state are listed each: what refers to them may differ."""
GENERATED = "API server tokens and injections"
_NAMES = re.compile(r'"[^"]*"|\[\d+\]')
"""What may differ in findings that are folded: names in quotes, and places in a list."""
_DELETE_COPY = ": delete it and the token's ServiceAccount, because while the account exists, the token can be restored"


class Entry(NamedTuple):
    """An object, or several that are alike, with the lines below it; folded: it does not name each."""

    text: str
    lines: Sequence[str] = ()
    is_folded: bool = False


def entry_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the lines of a section."""
    is_folded = False
    for entry in entries:
        yield entry.text
        yield from (f"  {line}" for line in entry.lines)
        is_folded |= entry.is_folded
    if is_folded:
        yield LIST_EACH


def workload_entries(workloads: Iterable[ScannedWorkload], lines_of: LinesOf, action: Action | None) -> Iterator[Entry]:
    """Yield an entry for all workloads with the same lines and permissions, the most powerful accounts first.

    `action` is the one that leads to what the workloads have in common. The last entry counts those of which nothing
    is said but what `generated_entries` says.
    """
    alike: _Alike = {}
    others = 0
    for workload in summary.ordered_workloads(workloads):
        lines = lines_of(workload)
        if lines.authored:
            shown = (*_reasons(lines, action), *lines.authored)
            alike.setdefault((shown, _permissions(workload)), []).append(workload)
        else:
            others += bool(lines.generated)
    yield from _folded(alike)
    if others:
        only = "only for the API server's token or an injection"
        yield Entry(f"{counted(others, 'other workload' if alike else 'workload')}, {only}", is_folded=True)


def filtered_entries(workloads: Iterable[ScannedWorkload], lines_of: LinesOf) -> Iterator[Entry]:
    """Yield an entry for all workloads with the same lines and permissions: the most severe lines first, then as above.

    For a report with filters: the lines may not be what leads to the outcome.
    """
    alike: _Alike = {}
    for workload in summary.ordered_workloads(workloads):
        if authored := lines_of(workload).authored:
            alike.setdefault((authored, _permissions(workload)), []).append(workload)
    yield from _folded(dict(sorted(alike.items(), key=lambda item: line_order(item[0][0][0]))))


_Alike = dict[tuple[tuple[FindingLine, ...], tuple[object, ...]], list[ScannedWorkload]]
"""Workloads by their lines and permissions."""


def _folded(alike: _Alike) -> Iterator[Entry]:
    for (shown, _), (first, *more) in alike.items():
        home = first.namespace if any(each.namespace != first.namespace for each in more) else ""
        text = f"{_title(first)}, {accounts_text(first, home)}{_more(more)}"
        yield Entry(text, [*map(str, shown)], is_folded=len(more) > MAX_NAMES)


def _permissions(workload: ScannedWorkload) -> tuple[object, ...]:
    """Return what the accounts of a workload may do; the same for workloads whose accounts may do it where they are."""
    return tuple((account.own, grants_text(account.grants, workload.namespace)) for account in workload.accounts)


def _reasons(lines: WorkloadLines, action: Action | None) -> Iterator[FindingLine]:
    """Yield what has this action if none of the lines has it: findings that another section lists."""
    if all(line.action != action for line in lines.authored):
        rules = dict.fromkeys((line.rule, line.sign) for line in lines.generated if line.action == action)
        yield from (FindingLine(str(action), rule, f"see '{GENERATED}'", sign) for rule, sign in rules)


def _title(workload: ScannedWorkload) -> str:
    pods = "" if workload.kind == "Pod" else f" ({counted(workload.pod_count, 'pod')})"
    return f"{plain(workload.title)} in {plain(workload.namespace)}{pods}"


def _more(workloads: list[ScannedWorkload]) -> str:
    if not workloads:
        return ""
    pods = sum(workload.pod_count for workload in workloads)
    more = f"{counted(len(workloads), 'more workload')} with {counted(pods, 'pod')} and the same permissions"
    return f"; and {more}: {_names(workloads)}"


def _names(workloads: list[ScannedWorkload]) -> str:
    """Return the names of the first workloads, and how many others are in which namespaces."""
    named, others = workloads[:MAX_NAMES], workloads[MAX_NAMES:]
    names = first_names(f"{workload.title} in {workload.namespace}" for workload in named)
    if not others:
        return names
    counts = Counter(workload.namespace for workload in others)
    places = first_names(f"{place} ({count})" if count > 1 else place for place, count in counts.most_common())
    return f"{names} and {len(others)} more in {places}{' namespaces' if len(counts) > MAX_NAMES else ''}"


def generated_entries(workloads: Iterable[ScannedWorkload], lines_of: LinesOf) -> Iterator[Entry]:
    """Yield the findings that are not about what an author wrote, each with the number of pods."""
    total: Counter[str] = Counter()
    idle: Counter[str] = Counter()
    namespaces: dict[str, set[str]] = {}
    for workload in workloads:
        for line, count in lines_of(workload).generated.items():
            total[str(line)] += count
            idle[str(line)] += not workload.pods
            namespaces.setdefault(str(line), set()).add(workload.namespace)
    for text, count in total.most_common():
        templates = [counted(idle[text], "template") + " without pods"] if idle[text] else []
        pods = [counted(count - idle[text], "pod")] if count > idle[text] else []
        places = sorted(namespaces[text])
        where = f"{' and '.join([*pods, *templates])} in {first_names(places)}"
        yield Entry(f"{text}: {where}", is_folded=len(places) > MAX_NAMES)


def secret_sections(
    title: str, secrets: Iterable[LegacySecret], reasons: Callable[[LegacySecret], Iterable[str]], report: ScanReport
) -> Iterator[tuple[str, Iterable[Entry]]]:
    """Yield a section for all legacy Secrets with the same reasons, which are appended to the title."""
    alike: dict[str, list[LegacySecret]] = {}
    for secret in secrets:
        alike.setdefault(", ".join(dict.fromkeys(reasons(secret))), []).append(secret)
    for why, those in alike.items():
        yield f"{title} ({why})" if why else title, secret_entries(those, report)


def secret_entries(secrets: Iterable[LegacySecret], report: ScanReport) -> Iterator[Entry]:
    """Yield the first Secrets of each state with the same permissions, then the names of the others."""
    alike: dict[tuple[str, ...], list[LegacySecret]] = {}
    for secret in secrets:
        permissions = grants_text(secret.grants, secret.namespace) if secret.account else ""
        alike.setdefault((permissions, *summary.secret_states(secret, report)), []).append(secret)
    for those in alike.values():
        yield from (_secret(secret, report) for secret in those[:_MAX_ALIKE])
        if others := those[_MAX_ALIKE:]:
            names = first_names(f"{secret.name} in {secret.namespace}" for secret in others)
            more = counted(len(others), "more Secret")
            yield Entry(f"and {more} in this state, with these permissions: {names}", is_folded=True)


def _secret(secret: LegacySecret, report: ScanReport) -> Entry:
    created = f", created {secret.created:%Y-%m-%d}" if secret.created else ""
    invalid = f", marked invalid {secret.invalid_since}" if secret.invalid_since else ""
    advice = f": {summary.SAFE_TO_DELETE}" if secret.removable else _DELETE_COPY if secret.is_copy else ""
    powers = f" ({grants_text(secret.grants)})" if secret.account else ""
    content = f"legacy token {summary.COPY}" if secret.is_copy else f"token of {_account_name(secret)}{powers}"
    name = f"Secret/{plain(secret.name)} in {plain(secret.namespace)}"
    last_use, why = summary.last_use_text(secret), summary.unclear_use(secret, report)
    uses = ", ".join(filter(None, dict.fromkeys((last_use, why, why and "so it counts as in use"))))
    text = f"{name}: {content}{created}, {uses}{invalid}{advice}"
    lines = [*summary.reference_lines(secret)]
    shown, others = lines[:MAX_NAMES], len(lines) - MAX_NAMES
    if others <= 1:
        return Entry(text, lines)
    return Entry(text, [*shown, f"and {others} more such lines"], is_folded=True)


def _account_name(secret: LegacySecret) -> str:
    return plain(secret.account) or "no ServiceAccount"


def account_entries(
    report: ScanReport, lines_of: Callable[[ServiceAccountResult], Iterable[FindingLine]]
) -> Iterator[Entry]:
    """Yield the lines about accounts, the most powerful first; those that differ only in names are folded."""
    severities = {(account.namespace, account.name): account.severity for account in report.accounts_with_tokens}
    alike: dict[str, list[tuple[str, str]]] = {}
    for account in sorted(
        report.accounts, key=lambda account: severities.get((account.namespace, account.name), NO_PERMISSIONS)
    ):
        title = f"ServiceAccount/{account.name} in {account.namespace}"
        for line in lines_of(account):
            alike.setdefault(_NAMES.sub("", str(line)), []).append((title, str(line)))
    for (title, text), *others in alike.values():
        names = first_names(name for name, _ in others)
        more = f"; and {counted(len(others), 'more such finding')}: {names}" if others else ""
        yield Entry(f"{plain(title)}: {text}{more}", is_folded=bool(others))


def driver_entries(report: ScanReport, lines_of: Callable[[CsiDriver], Iterable[FindingLine]]) -> Iterator[Entry]:
    """Yield the lines about CSIDrivers."""
    for driver in report.csi_drivers:
        yield from (Entry(f"CSIDriver/{plain(driver.name)}: {line}") for line in lines_of(driver))
