"""What a scan shows about workloads: their findings, and what a simulated policy changes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from webhook.core.formatting import counted, plain, quote
from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import (
    Admission,
    AppliedExemption,
    Change,
    EvaluationResult,
    PodGroup,
)
from webhook.scan.options import ScanFilters
from webhook.scan.policy_diff import Item, differences, token_differences
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
_TOKEN = "token"  # noqa: S105 - the word before a token that only one patch leads to
_SEVERITY: tuple[str, ...] = (Action.REJECT, Action.PATCH, Action.WARN, Action.AUDIT, _TOKEN, _EXEMPT)
_ESCALATION = "escalate/bind/impersonate"
"""An item of a list with commas, so it has none of its own."""
_VERBS = {Permission.WRITE: "write", Permission.READ: "read"}
_MAX_RESOURCES = 3
_NOTABLE = (
    "secrets", "some secrets", "roles", "clusterroles", "rolebindings", "clusterrolebindings", "nodes",
    "configmaps", "pods", "deployments", "services",
)  # fmt: skip
"""Resources that are named before others."""


class FindingLine(NamedTuple):
    """A finding as a line: a sign before it if it is a change, the action, the rule, and what is wrong."""

    action: str
    rule: str
    text: str
    sign: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.action}: {self.rule}: {self.text}".lstrip()


class WorkloadLines(NamedTuple):
    """What is found in a workload: about what its author wrote, and the number of pods by every other finding.

    If it has no pods, its next one is counted.
    """

    authored: tuple[FindingLine, ...]
    generated: Counter[FindingLine]


def result_lines(result: EvaluationResult) -> list[FindingLine]:
    """Return all findings and exemptions of an object."""
    return [*map(_full_line, _items(result))]


def workload_lines(workload: ScannedWorkload) -> WorkloadLines:
    """Return the findings, each with the pods that it is in, and the exemptions; the most severe come first."""
    pods: Counter[FindingLine] = Counter()
    generated: Counter[FindingLine] = Counter()
    for group in workload.groups:
        generated.update(dict.fromkeys(_generated(group), _count(workload, group)))
        pods.update(dict.fromkeys(_authored(group), len(group.names)))
    template = _authored(workload.next_pod) if workload.next_pod else {}
    authored = (_extended(line, _where(workload, count, in_template=line in template)) for line, count in pods.items())
    return WorkloadLines(tuple(by_severity(authored)), +generated)


def by_severity(lines: Iterable[FindingLine]) -> list[FindingLine]:
    """Return lines with the most severe action first."""
    return sorted(lines, key=lambda line: _SEVERITY.index(line.action))


def line_order(line: FindingLine) -> tuple[str, int]:
    """Return a key that sorts lines: what is new in a simulated policy first, then the most severe action."""
    return line.sign, _SEVERITY.index(line.action)


def workload_differences(workload: ScannedWorkload, filters: ScanFilters) -> WorkloadLines:
    """Return the findings and exemptions of only one policy: the new ones first, then the most severe.

    If only the patches differ, the lines are the tokens that only one of the patches leads to.
    """
    pods: Counter[FindingLine] = Counter()
    generated: Counter[FindingLine] = Counter()
    template: Iterable[FindingLine] = ()
    for group in workload.groups:
        lines = dict(_differences(group.result(), group.result(simulated=True)))
        if not lines and filters.show_all_findings and group.change is not Change.UNCHANGED:
            lines = dict.fromkeys(_token_lines(group), True)
        authored = [line for line, is_authored in lines.items() if is_authored]
        pods.update(dict.fromkeys(authored, len(group.names)))
        template = authored if group is workload.next_pod else template
        generated.update({line: _count(workload, group) for line in lines if line not in authored})
    extended = (_extended(line, _where(workload, count, in_template=line in template)) for line, count in pods.items())
    return WorkloadLines(tuple(sorted(extended, key=line_order)), +generated)


def result_differences(before: EvaluationResult, after: EvaluationResult | None) -> tuple[FindingLine, ...]:
    """Return the findings and exemptions of only one of two results, the new findings first."""
    return tuple(line for line, _ in _differences(before, after)) if after else ()


def _differences(before: EvaluationResult, after: EvaluationResult) -> Iterator[tuple[FindingLine, bool]]:
    """Yield the findings and exemptions of only one result, each with whether it is about what the author wrote."""
    old, new = differences(before, after)
    for sign, items in (("+", new), ("-", old)):
        yield from ((_line(item)._replace(sign=sign), item.authored) for item in items)


def _token_lines(group: PodGroup) -> Iterator[FindingLine]:
    """Yield the tokens that only one of the patches leads to."""
    old, new = token_differences(group.evaluation.tokens, group.simulated.tokens if group.simulated else ())
    for sign, tokens in (("+", new), ("-", old)):
        for audience, lifetime in tokens:
            yield FindingLine(_TOKEN, audience_text(audience), lifetime_text(lifetime), sign)


def _count(workload: ScannedWorkload, group: PodGroup) -> int:
    """Return the number of pods in a group; the next pod counts if there are no others."""
    return len(group.names) if workload.pods else 1


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
    *others, last = map(_permission, grants)
    permissions = f"{', '.join(others)} and {last}" if others else last
    what = "admin" if is_everything else f"may {permissions}"
    return f"{what} in {where}"


def _permission(grant: Grant) -> str:
    """Return a group of permissions as an item of a list."""
    if grant.permission is Permission.ESCALATION:
        return _ESCALATION
    verb = _VERBS.get(grant.permission)
    return f"{verb} {_resources(grant.resources)}" if verb else grant.permission


def _resources(resources: Sequence[str]) -> str:
    """Return how many resources these are, and the most notable ones."""
    if not resources:
        return "resources"
    if "*" in resources:
        return "all resources"
    groups = [resource.removeprefix("*.") for resource in resources if resource.startswith("*.")]
    names = [resource for resource in resources if not resource.startswith("*.")]
    if groups:
        more = f" and {counted(len(names), 'other resource')}" if names else ""
        return f"all resources of {first_names(groups)}{more}"
    ordered = [*(name for name in _NOTABLE if name in names), *(name for name in names if name not in _NOTABLE)]
    more = ", ..." if len(names) > _MAX_RESOURCES else ""
    return f"{counted(len(names), 'resource')} ({', '.join(map(plain, ordered[:_MAX_RESOURCES]))}{more})"


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


def _items(result: EvaluationResult) -> tuple[Item, ...]:
    return *result.findings, *result.exemptions


def _authored(group: PodGroup) -> dict[FindingLine, None]:
    return {_line(item): None for item in _items(group.result()) if item.authored}


def _generated(group: PodGroup) -> Iterator[FindingLine]:
    return (_line(item) for item in _items(group.result()) if not item.authored)


def _line(item: Item) -> FindingLine:
    """Return a finding or an exemption, with its path if it is about what the author wrote."""
    if item.authored:
        return _full_line(item)
    return _line_about("the API server's token" if item.rule == TOKEN_EXPIRATION else "", item)


def _full_line(item: Item) -> FindingLine:
    return _line_about(item.path, item)


def exemption_text(exempted: AppliedExemption) -> str:
    """Return what is exempt, until when, and why."""
    return _full_line(exempted).text


def _line_about(subject: str, item: Item) -> FindingLine:
    text = f"{subject} {item.detail}".lstrip()
    if isinstance(item, AppliedExemption):
        end = f"until {item.until}" if item.until else "without end"
        return FindingLine(_EXEMPT, item.rule, plain(f"{text} (exemption {end}: {item.reason})"))
    return FindingLine(item.action, item.rule, plain(text))


def _where(workload: ScannedWorkload, count: int, *, in_template: bool) -> list[str]:
    if not count:
        return ["template only"] if workload.pods else []
    where = [] if count == workload.pod_count else [f"{count} of {counted(workload.pod_count, 'pod')}"]
    return [*where, "not in the template"] if workload.next_pod and not in_template else where


def _extended(line: FindingLine, where: list[str]) -> FindingLine:
    return line._replace(text=f"{line.text} ({', '.join(where)})") if where else line
