"""The details of a scan as text: what would be denied comes first, then what the most powerful accounts run.

Workloads with the same findings are folded into one entry, and so are accounts with the same permissions. A section
with folded entries ends with where all are listed.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from webhook.core.decision import Outcome
from webhook.core.formatting import counted, plain
from webhook.core.policy.model import Action
from webhook.formatters import scan_summary as summary
from webhook.formatters.scan_findings import (
    ADMISSIONS,
    LIST_EACH,
    MAX_NAMES,
    FindingLine,
    accounts_text,
    first_names,
    generated_findings,
    grants_text,
    result_lines,
    workload_lines,
)
from webhook.scan.evaluation_result import Admission
from webhook.scan.pod_admission import REPAIR_HINT, RESTORE_HINT
from webhook.scan.rbac import NO_PERMISSIONS
from webhook.scan.report import AccountWithTokens, LegacySecret, ScannedWorkload, ScanReport

Section = tuple[str, Iterable[str]]
"""A title and its lines."""
_MAX_ALIKE = 3
"""How many legacy Secrets of the same state are listed each: what refers to them may differ."""
_GENERATED = "API server tokens and injections"
_ACTIONS = {Outcome.DENIED: Action.REJECT, Outcome.PATCHED: Action.PATCH, Outcome.WARNED: Action.WARN}
"""The action that leads to an outcome."""
_NAMES = re.compile(r'"[^"]*"|\[\d+\]')
"""What may differ in findings that are folded: names in quotes, and places in a list."""
_DELETE_COPY = ": delete it and the token's ServiceAccount, because while the account exists, the token can be restored"


class _Entry(NamedTuple):
    """An object, or several that are alike, with the lines below it; folded: it does not name each."""

    text: str
    lines: Sequence[str] = ()
    is_folded: bool = False


def sections(report: ScanReport) -> Iterator[Section]:
    """Yield the sections of a report about one policy; those without lines, too.

    With filters by rule or action only the objects with a finding that is shown.
    """
    for title, entries in _sections(report):
        yield title, _lines(entries)


def _lines(entries: Iterable[_Entry]) -> Iterator[str]:
    is_folded = False
    for entry in entries:
        yield entry.text
        yield from (f"  {line}" for line in entry.lines)
        is_folded |= entry.is_folded
    if is_folded:
        yield LIST_EACH


def _sections(report: ScanReport) -> Iterator[tuple[str, Iterable[_Entry]]]:
    for outcome in summary.OUTCOMES:
        workloads = [workload for workload in report.workloads if workload.outcome is outcome]
        yield f"workloads: {outcome} if recreated", [*_workloads(workloads, report), *_others(workloads, report)]
    yield _GENERATED, _generated(report.workloads)
    yield "pods that were admitted without evaluation", _unevaluated(report)
    shows_all = report.filters.show_all_findings
    yield from _secret_sections(report)
    yield (
        "CSIDrivers",
        [
            _Entry(f"CSIDriver/{plain(driver.name)}: {line}")
            for driver in report.csi_drivers
            for line in result_lines(driver.result)
        ],
    )
    yield "ServiceAccounts with findings", _account_findings(report)
    yield "ServiceAccounts with API tokens", _accounts(report.accounts_with_tokens) if shows_all else ()


def _workloads(workloads: Iterable[ScannedWorkload], report: ScanReport) -> Iterator[_Entry]:
    """Yield an entry for all workloads with the same findings and permissions, the most powerful accounts first."""
    alike: dict[tuple[tuple[FindingLine, ...], tuple[object, ...]], list[ScannedWorkload]] = {}
    for workload in summary.ordered_workloads(workloads):
        if lines := tuple(workload_lines(workload)):
            reasons = _reasons(workload, lines) if report.filters.show_all_findings else ()
            alike.setdefault(((*reasons, *lines), _permissions(workload)), []).append(workload)
    for (lines, _), (first, *others) in alike.items():
        home = first.namespace if any(each.namespace != first.namespace for each in others) else ""
        text = f"{_title(first)}, {accounts_text(first, home)}{_more(others)}"
        yield _Entry(text, [*map(str, lines)], is_folded=len(others) > MAX_NAMES)


def _permissions(workload: ScannedWorkload) -> tuple[object, ...]:
    """Return what the accounts of a workload may do; the same for workloads whose accounts may do it where they are."""
    return tuple((account.own, grants_text(account.grants, workload.namespace)) for account in workload.accounts)


def _reasons(workload: ScannedWorkload, lines: Iterable[FindingLine]) -> Iterator[FindingLine]:
    """Yield what leads to the outcome if none of the lines does: findings that another section lists."""
    action = _ACTIONS.get(workload.outcome)
    if all(line.action != action for line in lines):
        rules = dict.fromkeys(line.rule for line in generated_findings(workload) if line.action == action)
        yield from (FindingLine(str(action), rule, f"see '{_GENERATED}'") for rule in rules)


def _others(workloads: Iterable[ScannedWorkload], report: ScanReport) -> Iterator[_Entry]:
    """Yield how many workloads have only findings that are not about what their authors wrote."""
    if not report.filters.show_all_findings:
        return
    if count := sum(bool(generated_findings(each)) and not workload_lines(each) for each in workloads):
        others = counted(count, "other workload")
        yield _Entry(f"{others}, only for the API server's token or an injection", is_folded=True)


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


def _generated(workloads: Iterable[ScannedWorkload]) -> Iterator[_Entry]:
    """Yield the findings that are not about what an author wrote, each with the number of pods."""
    total: Counter[str] = Counter()
    idle: Counter[str] = Counter()
    namespaces: dict[str, set[str]] = {}
    for workload in workloads:
        for line, count in generated_findings(workload).items():
            total[str(line)] += count
            idle[str(line)] += not workload.pods
            namespaces.setdefault(str(line), set()).add(workload.namespace)
    for text, count in total.most_common():
        templates = [counted(idle[text], "template") + " without pods"] if idle[text] else []
        pods = [counted(count - idle[text], "pod")] if count > idle[text] else []
        places = sorted(namespaces[text])
        where = f"{' and '.join([*pods, *templates])} in {first_names(places)}"
        yield _Entry(f"{text}: {where}", is_folded=len(places) > MAX_NAMES)


def _unevaluated(report: ScanReport) -> Iterator[_Entry]:
    """Yield the pods that were certainly admitted without evaluation, by how, and by rule."""
    owners: dict[tuple[Admission, str, str], Counter[str]] = {}
    for pod in report.unevaluated_pods:
        if pod.admission is not Admission.UNDETERMINED:
            rules = ", ".join(dict.fromkeys(finding.rule for finding in pod.findings))
            key = pod.admission, rules, pod.next_denied_by
            owners.setdefault(key, Counter())[f"{pod.owner} in {pod.namespace}"] += 1
    for (admission, rules, denied_by), pods in owners.items():
        those = f"{counted(pods.total(), 'pod')} of {first_names(pods)}"
        advice = ""
        if admission is not Admission.EXCLUDED and report.webhook_lacks_ca_bundle:
            advice = f"; {REPAIR_HINT}"
        elif admission is not Admission.EXCLUDED:
            restored = RESTORE_HINT if report.webhook_exists is False else ""
            correct = f"first correct these, whose next pods would be denied by {denied_by}; then " if denied_by else ""
            advice = f"; {restored}{correct}recreate them"
        yield _Entry(f"{ADMISSIONS[admission]}: {those} ({rules}){advice}", is_folded=len(pods) > MAX_NAMES)


def _secret_sections(report: ScanReport) -> Iterator[tuple[str, Iterable[_Entry]]]:
    """Yield a section for all legacy Secrets with the same outcome and reasons, then those that are not in use."""
    shows_all = report.filters.show_all_findings
    secrets = [
        secret
        for secret in summary.ordered_secrets(report)
        if shows_all or (secret.result and secret.result.findings)
    ]  # fmt: skip
    for outcome in summary.OUTCOMES:
        alike: dict[str, list[LegacySecret]] = {}
        for secret in secrets:
            if secret.result and secret.result.outcome is outcome:
                rules = dict.fromkeys(f"{line.action}: {line.rule}" for line in result_lines(secret.result))
                reasons = ", ".join(rules) or secret.result.note
                alike.setdefault(f" ({reasons})" if reasons else "", []).append(secret)
        for why, those in alike.items():
            yield f"legacy Secrets in use: {outcome} if recreated{why}", _secrets(those, report)
    yield "legacy Secrets not in use", _secrets([secret for secret in secrets if not secret.result], report)


def _secrets(secrets: Iterable[LegacySecret], report: ScanReport) -> Iterator[_Entry]:
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
            yield _Entry(f"and {more} in this state, with these permissions: {names}", is_folded=True)


def _secret(secret: LegacySecret, report: ScanReport) -> _Entry:
    created = f", created {secret.created:%Y-%m-%d}" if secret.created else ""
    invalid = f", marked invalid {secret.invalid_since}" if secret.invalid_since else ""
    advice = f": {summary.SAFE_TO_DELETE}" if secret.removable else _DELETE_COPY if secret.is_copy else ""
    powers = f" ({grants_text(secret.grants)})" if secret.account else ""
    content = f"legacy token {summary.COPY}" if secret.is_copy else f"token of {_account_name(secret)}{powers}"
    name = f"Secret/{plain(secret.name)} in {plain(secret.namespace)}"
    unclear = f", {why}, so it counts as in use" if (why := summary.unclear_use(secret, report)) else ""
    text = f"{name}: {content}{created}, {summary.last_use_text(secret)}{unclear}{invalid}{advice}"
    lines = [*summary.reference_lines(secret)]
    shown, others = lines[:MAX_NAMES], len(lines) - MAX_NAMES
    if others <= 1:
        return _Entry(text, lines)
    return _Entry(text, [*shown, f"and {others} more such lines"], is_folded=True)


def _account_name(secret: LegacySecret) -> str:
    return plain(secret.account) or "no ServiceAccount"


def _account_findings(report: ScanReport) -> Iterator[_Entry]:
    """Yield the findings of accounts, the most powerful first; those that differ only in names are folded."""
    severities = {(account.namespace, account.name): account.severity for account in report.accounts_with_tokens}
    alike: dict[str, list[tuple[str, str]]] = {}
    for account in sorted(
        report.accounts, key=lambda account: severities.get((account.namespace, account.name), NO_PERMISSIONS)
    ):
        title = f"ServiceAccount/{account.name} in {account.namespace}"
        for line in result_lines(account.result):
            alike.setdefault(_NAMES.sub("", str(line)), []).append((title, str(line)))
    for (title, text), *others in alike.values():
        names = first_names(name for name, _ in others)
        more = f"; and {counted(len(others), 'more such finding')}: {names}" if others else ""
        yield _Entry(f"{plain(title)}: {text}{more}", is_folded=bool(others))


def _accounts(accounts: Iterable[AccountWithTokens]) -> Iterator[_Entry]:
    """Yield the accounts and where their tokens are, the most powerful first.

    Permissions are alike if they are the same, or the same in each account's own namespace.
    """
    alike: dict[str, list[AccountWithTokens]] = {}
    for account in sorted(accounts, key=lambda account: (account.severity, -account.pods, account.namespace)):
        alike.setdefault(grants_text(account.grants, account.namespace), []).append(account)
    for permissions, alike_accounts in alike.items():
        in_one = len({account.namespace for account in alike_accounts}) == 1
        grants = grants_text(alike_accounts[0].grants) if in_one else permissions
        names = first_names(f"{account.name} in {account.namespace}" for account in alike_accounts)
        pods = sum(account.pods for account in alike_accounts)
        workloads = sorted({name for account in alike_accounts for name in account.workloads})
        secrets = sum(len(account.legacy_secrets) for account in alike_accounts)
        tokens = [
            *([f"API token mounted in {first_names(workloads)} ({counted(pods, 'pod')})"] if pods else []),
            *([f"{counted(secrets, 'legacy Secret')}"] if secrets else []),
        ]
        advice = (
            f"; {summary.OTHER_USE}, set automountServiceAccountToken: false"
            if pods and alike_accounts[0].grants == ()
            else ""
        )
        those = f"{counted(len(alike_accounts), 'ServiceAccount')} ({names})"
        is_folded = max(len(alike_accounts), len(workloads)) > MAX_NAMES
        yield _Entry(f"{grants}: {those}: {'; '.join(tokens)}{advice}", is_folded=is_folded)
