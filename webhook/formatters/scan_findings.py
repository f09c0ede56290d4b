"""What a scan shows about workloads: their findings, and what a simulated policy changes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from webhook.core.formatting import counted, plain, quote
from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import Admission, Change, EvaluationResult, PodGroup, ReportedFinding
from webhook.scan.options import ScanFilters
from webhook.scan.rbac import Grant, Permission
from webhook.scan.report import ScannedWorkload
from webhook.tokens.humanize import humanize_seconds

MAX_NAMES = 5
"""How many names `first_names` shows."""
LIST_EACH = "--output html and json list each"
"""Said below entries that are folded."""
TOKEN_EXPIRATION = "token-expiration"  # noqa: S105 - a rule
ADMISSIONS = {
    Admission.NOT_EVALUATED: "admitted without evaluation, as tokenguard was not called",
    Admission.BEFORE_INSTALLATION: "admitted without evaluation, before the webhook configuration was created",
    Admission.EXCLUDED: "admitted without evaluation, as the webhook configuration excludes the namespace",
    Admission.UNDETERMINED: "would be denied as it runs; admitted without evaluation, under an earlier policy, or by an"
    " exemption",
}
"""What is known about the admission of a running pod that the policy would deny as it is."""
_EXEMPT = "exempt"
_MAX_GRANTS = 3
_SEVERITY: tuple[str, ...] = (Action.REJECT, Action.PATCH, Action.WARN, Action.AUDIT, _EXEMPT)
_ESCALATION = "escalate/bind/impersonate"
"""An item of a list with commas, so it has none of its own."""


class FindingLine(NamedTuple):
    """A finding as a line: a sign before it if it is a change, the action, the rule, and what is wrong."""

    action: str
    rule: str
    text: str
    sign: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.action}: {self.rule}: {self.text}".lstrip()


def result_lines(result: EvaluationResult) -> list[FindingLine]:
    """Return all findings and exemptions of an object."""
    exemptions = (FindingLine(_EXEMPT, exempted.rule, plain(exempted.reason)) for exempted in result.exemptions)
    return [*map(_full_line, result.findings), *exemptions]


def workload_lines(workload: ScannedWorkload) -> list[FindingLine]:
    """Return the findings about what the author wrote, with the pods they are in, and the exemptions.

    The most severe come first.
    """
    pods: Counter[FindingLine] = Counter()
    for group in workload.pods:
        for line in _authored(group):
            pods[line] += len(group.names)
    template = _authored(workload.next_pod) if workload.next_pod else {}
    exemptions = dict.fromkeys(
        FindingLine(_EXEMPT, exempted.rule, f"{plain(exempted.reason)} (until {exempted.until or 'never'})")
        for group in workload.groups
        for exempted in group.result().exemptions
    )
    return by_severity((
        *(_extended(line, _where(workload, count, in_template=line in template)) for line, count in pods.items()),
        *(_extended(line, _where(workload, 0, in_template=True)) for line in template if line not in pods),
        *exemptions,
    ))  # fmt: skip


def by_severity(lines: Iterable[FindingLine]) -> list[FindingLine]:
    """Return lines with the most severe action first."""
    return sorted(lines, key=lambda line: _SEVERITY.index(line.action))


def generated_findings(workload: ScannedWorkload) -> Counter[FindingLine]:
    """Count the pods (or the next one) by findings that are not about what the author wrote."""
    counts: Counter[FindingLine] = Counter()
    groups = [(group, len(group.names)) for group in workload.pods]
    for group, count in groups or ([(workload.next_pod, 1)] if workload.next_pod else []):
        for finding in group.result().findings:
            if not finding.authored:
                counts[_line(finding)] += count
    return counts


def changed_workloads(
    workloads: Iterable[ScannedWorkload], filters: ScanFilters
) -> Iterator[tuple[Change, tuple[FindingLine, ...], list[ScannedWorkload]]]:
    """Yield what the simulated policy changes, the most severe first, for all workloads with the same difference.

    With filters, workloads without a shown difference are left out.
    """
    alike: dict[Change, dict[tuple[FindingLine, ...], list[ScannedWorkload]]] = {change: {} for change in Change}
    for workload in workloads:
        if workload.change is not Change.UNCHANGED:
            lines = workload_differences(workload, filters)
            if lines or filters.show_all_findings:
                alike[workload.change].setdefault(lines, []).append(workload)
    for change, by_lines in alike.items():
        for lines, changed in by_lines.items():
            yield change, lines, changed


def workload_differences(workload: ScannedWorkload, filters: ScanFilters) -> tuple[FindingLine, ...]:
    """Return the findings of only one policy: those about what the author wrote first, the new ones first.

    Each of these with the pods that it is in. If only the patches differ, the lines are the tokens that only one of
    the patches leads to.
    """
    lines: dict[FindingLine, bool] = {}
    pods: Counter[FindingLine] = Counter()
    template: dict[FindingLine, bool] = {}
    for group in workload.groups:
        differences = dict(_differences(group.result(), group.result(simulated=True)))
        if not differences and filters.show_all_findings and group.change is not Change.UNCHANGED:
            differences = dict.fromkeys(_token_differences(group), True)
        lines |= differences
        pods.update(dict.fromkeys(differences, len(group.names)))
        template = differences if group is workload.next_pod else template
    return tuple(
        _extended(line, _where(workload, pods[line], in_template=line in template)) if lines[line] else line
        for line in sorted(lines, key=lambda line: (not lines[line], line.sign))
    )


def result_differences(before: EvaluationResult, after: EvaluationResult | None) -> tuple[FindingLine, ...]:
    """Return the findings of only one of two results, the new ones first."""
    return tuple(line for line, _ in _differences(before, after)) if after else ()


def _differences(before: EvaluationResult, after: EvaluationResult) -> Iterator[tuple[FindingLine, bool]]:
    """Yield the findings of only one result, each with whether it is about what the author wrote."""
    old, new = ({_full_line(finding): finding for finding in result.findings} for result in (before, after))
    for sign, findings, others in (("+", new, old), ("-", old, new)):
        for key, finding in findings.items():
            if key not in others:
                yield _line(finding)._replace(sign=sign), finding.authored


def _token_differences(group: PodGroup) -> Iterator[FindingLine]:
    tokens = (group.evaluation.tokens, group.simulated.tokens if group.simulated else ())
    old, new = (
        dict.fromkeys(
            FindingLine("token", audience_text(token.audience), lifetime_text(token.lifetime_seconds))
            for token in group_tokens
        )
        for group_tokens in tokens
    )
    yield from (line._replace(sign="+") for line in new if line not in old)
    yield from (line._replace(sign="-") for line in old if line not in new)


def grants_text(grants: Sequence[Grant] | None, home: str = "", *, in_full: bool = False) -> str:
    """Return what an account may do, and where: the most dangerous permissions, or all of them in full.

    The namespace `home` is not named.
    """
    if grants is None:
        return "unknown permissions"
    if not grants:
        return "no permissions"
    known = [grant for grant in grants if grant.permission is not Permission.UNKNOWN]
    if not known:
        return "unknown permissions"
    unknown = ["otherwise unknown"] if len(known) < len(grants) else []
    shown = known if in_full else known[:_MAX_GRANTS]
    more = [counted(len(known) - len(shown), "more permission")] if len(known) > len(shown) else []
    by_place = groupby(shown, lambda grant: grant.namespaces)
    return "; ".join([*(_grants(namespaces, list(alike), home) for namespaces, alike in by_place), *more, *unknown])


def _grants(namespaces: tuple[str, ...], grants: list[Grant], home: str) -> str:
    is_everything = grants[0].permission is Permission.EVERYTHING
    if is_everything and not namespaces:
        return "cluster-admin"
    where = "their own namespace" if namespaces == (home,) else first_names(namespaces) or "all namespaces"
    permissions = " and ".join(", ".join(map(_permission, grants)).rsplit(", ", 1))
    what = "admin" if is_everything else f"may {permissions}"
    return f"{what} in {where}"


def _permission(grant: Grant) -> str:
    """Return a group of permissions as an item of a list."""
    return _ESCALATION if grant.permission is Permission.ESCALATION else grant.permission


def accounts_text(workload: ScannedWorkload, home: str = "", *, in_full: bool = False) -> str:
    """Return what the accounts of a workload's pods, and of the legacy tokens that they name, may do.

    See `grants_text`.
    """
    return "; ".join(
        f"{'account' if account.own else 'token of'} {plain(account.name)}:"
        f" {grants_text(account.grants, home, in_full=in_full)}"
        for account in workload.accounts
    )


def first_names(names: Iterable[str]) -> str:
    """Return the first names, and the number of the others."""
    escaped = [plain(name) for name in names]
    more = f" and {len(escaped) - MAX_NAMES} more" if len(escaped) > MAX_NAMES else ""
    return ", ".join(escaped[:MAX_NAMES]) + more


def audience_text(audience: str) -> str:
    """Return who a token is issued for."""
    return quote(audience) if audience else "API server"


def lifetime_text(lifetime_seconds: int | None) -> str:
    """Return a token's lifetime."""
    return "never expires" if lifetime_seconds is None else humanize_seconds(lifetime_seconds)


def workload_title(workload: ScannedWorkload) -> str:
    """Return a workload's name and number of pods."""
    name = plain(workload.title)
    return name if workload.kind == "Pod" else f"{name} ({counted(workload.pod_count, 'pod')})"


def _authored(group: PodGroup) -> dict[FindingLine, None]:
    return {_line(finding): None for finding in group.result().findings if finding.authored}


def _line(finding: ReportedFinding) -> FindingLine:
    """Return a finding, with its path if it is about what the author wrote."""
    if finding.authored:
        return _full_line(finding)
    subject = "the API server's token " if finding.rule == TOKEN_EXPIRATION else ""
    return FindingLine(finding.action, finding.rule, plain(f"{subject}{finding.detail}"))


def _full_line(finding: ReportedFinding) -> FindingLine:
    return FindingLine(finding.action, finding.rule, plain(f"{finding.path} {finding.detail}"))


def _where(workload: ScannedWorkload, count: int, *, in_template: bool) -> list[str]:
    if not count:
        return ["template only"] if workload.pods else []
    where = [] if count == workload.pod_count else [f"{count} of {counted(workload.pod_count, 'pod')}"]
    return [*where, "not in the template"] if workload.next_pod and not in_template else where


def _extended(line: FindingLine, where: list[str]) -> FindingLine:
    return line._replace(text=f"{line.text} ({', '.join(where)})") if where else line
