"""The details of a scan as text: what would be denied comes first, then what the most powerful accounts run.

Accounts with the same permissions are folded into one entry; `scan_entries` folds the others.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from webhook.core.decision import Outcome
from webhook.core.formatting import counted
from webhook.core.policy.model import Action
from webhook.formatters import scan_summary as summary
from webhook.formatters.scan_entries import (
    GENERATED,
    Entry,
    Section,
    account_entries,
    driver_entries,
    entry_lines,
    filtered_entries,
    generated_entries,
    secret_entries,
    secret_sections,
    workload_entries,
)
from webhook.formatters.scan_findings import (
    ADMISSIONS,
    MAX_NAMES,
    first_names,
    grants_text,
    result_lines,
    workload_lines,
)
from webhook.scan.evaluation_result import Admission
from webhook.scan.pod_admission import REPAIR_HINT, RESTORE_HINT
from webhook.scan.report import AccountWithTokens, LegacySecret, ScanReport

_ACTIONS = {Outcome.DENIED: Action.REJECT, Outcome.PATCHED: Action.PATCH, Outcome.WARNED: Action.WARN}
"""The action that leads to an outcome."""


def sections(report: ScanReport) -> Iterator[Section]:
    """Yield the sections of a report about one policy; those without lines, too.

    With filters by rule or action only the objects with a finding that is shown. Their titles name no outcome, which
    may follow from other findings.
    """
    for title, entries in _sections(report):
        yield title, entry_lines(entries)


def _sections(report: ScanReport) -> Iterator[tuple[str, Iterable[Entry]]]:
    shows_all = report.filters.show_all_findings
    if shows_all:
        for outcome in summary.OUTCOMES:
            workloads = [workload for workload in report.workloads if workload.outcome is outcome]
            yield (
                f"workloads: {outcome} if recreated",
                workload_entries(workloads, workload_lines, _ACTIONS.get(outcome)),
            )
    else:
        yield "workloads", filtered_entries(report.workloads, workload_lines)
    yield GENERATED, generated_entries(report.workloads, workload_lines)
    yield "pods that were admitted without evaluation", _unevaluated(report)
    yield from _secret_sections(report)
    yield "CSIDrivers", driver_entries(report, lambda driver: result_lines(driver.result))
    yield "ServiceAccounts with findings", account_entries(report, lambda account: result_lines(account.result))
    yield "ServiceAccounts with API tokens", _accounts(report.accounts_with_tokens) if shows_all else ()


def _unevaluated(report: ScanReport) -> Iterator[Entry]:
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
        yield Entry(f"{ADMISSIONS[admission]}: {those} ({rules}){advice}", is_folded=len(pods) > MAX_NAMES)


def _secret_sections(report: ScanReport) -> Iterator[tuple[str, Iterable[Entry]]]:
    """Yield a section for all legacy Secrets with the same outcome and reasons, then those that are not in use."""
    shows_all = report.filters.show_all_findings
    secrets = [
        secret
        for secret in summary.ordered_secrets(report)
        if shows_all or (secret.result and (secret.result.findings or secret.result.exemptions))
    ]  # fmt: skip
    for outcome in summary.OUTCOMES:
        title = f"legacy Secrets in use{f': {outcome} if recreated' if shows_all else ''}"
        those = [secret for secret in secrets if secret.result and secret.result.outcome is outcome]
        yield from secret_sections(title, those, _secret_reasons, report)
    yield "legacy Secrets not in use", secret_entries([secret for secret in secrets if not secret.result], report)


def _secret_reasons(secret: LegacySecret) -> Iterable[str]:
    if not secret.result:
        return ()
    return [f"{line.action}: {line.rule}" for line in result_lines(secret.result)] or filter(None, [secret.result.note])


def _accounts(accounts: Iterable[AccountWithTokens]) -> Iterator[Entry]:
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
            *([f"API token in {first_names(workloads)} ({counted(pods, 'pod')})"] if pods else []),
            *([f"{counted(secrets, 'legacy Secret')}"] if secrets else []),
        ]
        steps = _removal_steps(alike_accounts) if alike_accounts[0].grants == () else []
        advice = f"; {summary.OTHER_USE}, {' and '.join(steps)}" if steps else ""
        those = f"{counted(len(alike_accounts), 'ServiceAccount')} ({names})"
        is_folded = max(len(alike_accounts), len(workloads)) > MAX_NAMES
        yield Entry(f"{grants}: {those}: {'; '.join(tokens)}{advice}", is_folded=is_folded)


def _removal_steps(accounts: Collection[AccountWithTokens]) -> list[str]:
    """Return how to remove the API server's token from the pods of accounts, by how they get it."""
    steps = (
        (summary.STOP_AUTOMOUNT, any(account.automounted_pods for account in accounts)),
        (summary.STOP_PROJECTION, any(account.authored_pods for account in accounts)),
    )
    return [step for step, applies in steps if applies]
