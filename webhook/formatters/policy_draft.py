"""The comments above a drafted policy: what is in it, why, and what the exempt accounts may do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap

from webhook.core.formatting import counted, plain
from webhook.core.policy.model import Policy
from webhook.formatters.scan_findings import grants_text
from webhook.scan.draft_policy import (
    audiences_in_use,
    denied_secrets,
    denied_workloads,
    denying_rules,
    lenient_namespaces,
    shorten_list,
)
from webhook.scan.rbac import Grant, grants_severity
from webhook.scan.report import ScannedWorkload, ScanReport

_SECRET_RULE = "legacy-token-secret"  # noqa: S105 - a rule's name
_MAX_WORKLOADS = 3
_WIDTH = 118
_WHAT_TO_DO = (
    "Review each audience, override and exemption. The draft caps the tokens of pods, which breaks clients that read"
    " their token only once, and rejects TokenRequests that live too long; a scan cannot see either. Before you"
    " enforce it, follow docs/rollout.md."
)
_Grants = Mapping[tuple[str, str], Sequence[Grant] | None]


def draft_result(report: ScanReport, policy: Policy) -> str:
    """Return what a scan with the draft found: `report` is that of the draft, `policy` the draft."""
    scanned = (
        f"scanned {counted(report.summary.workloads.total, 'workload')} and"
        f" {counted(len(report.legacy_secrets), 'legacy Secret')}"
    )
    warned = sum(len(override.namespaces) for override in policy.overrides)
    parts = [
        *([f"in {counted(warned, 'namespace')} rules only warn"] if warned else []),
        *([f"{counted(len(_exempt(policy)), 'account')} exempt"] if policy.exemptions else []),
    ]
    return f"{scanned}; in mode enforce, the draft {_denied(report)}{''.join(f'; {part}' for part in parts)}"


def draft_comments(current: ScanReport, report: ScanReport, policy: Policy) -> list[str]:
    """Return the lines above the draft; `current` is the report of the default policy, `report` that of the draft."""
    return [
        f"Draft of {report.time:%Y-%m-%d} for {plain(report.cluster)}, by tokenguard policy init:",
        *wrap(f"{draft_result(report, policy)}. {_WHAT_TO_DO}", _WIDTH),
        *_section("Audiences in use, allowed in all namespaces:", _audiences(current)),
        *_section(
            "Namespaces in which most workloads would be denied, so the rules that deny them warn:", _lenient(current)
        ),
        *_section("Exempt accounts, and what they may do:", _exempt_accounts(current, policy)),
        *_secrets(report, policy),
    ]


def _section(title: str, lines: Iterable[str]) -> list[str]:
    lines = [f"  {line}" for line in lines]
    return [title, *lines] if lines else []


def _denied(report: ScanReport) -> str:
    titles = [f"{workload.title} in {workload.namespace}" for workload in denied_workloads(report)]
    return f"still denies {shorten_list(map(plain, titles))}" if titles else "denies nothing that the scan saw running"


def _audiences(report: ScanReport) -> Iterator[str]:
    for audience, workloads in audiences_in_use(report).items():
        if len(workloads) == 1:
            users = f"{plain(workloads[0].title)} in {plain(workloads[0].namespace)}"
        else:
            namespaces = sorted({workload.namespace for workload in workloads})
            users = f"{counted(len(workloads), 'workload')} in {shorten_list(map(plain, namespaces))}"
        yield f"{plain(audience)}: {users}"


def _lenient(report: ScanReport) -> Iterator[str]:
    for namespace, workloads in lenient_namespaces(report).items():
        total = sum(workload.namespace == namespace for workload in report.workloads)
        rules = ", ".join(denying_rules(workloads))
        yield f"{plain(namespace)}: {len(workloads)} of {counted(total, 'workload')}: {rules}"
        ordered = sorted(workloads, key=_severity)
        yield from (f"  {_with_account(workload)}" for workload in ordered[:_MAX_WORKLOADS])
        if len(ordered) > _MAX_WORKLOADS:
            yield f"  and {len(ordered) - _MAX_WORKLOADS} more"


def _severity(workload: ScannedWorkload) -> tuple[bool, int]:
    return min((grants_severity(account.grants) for account in workload.accounts), default=grants_severity(None))


def _with_account(workload: ScannedWorkload) -> str:
    accounts = (f"account {plain(account.name)}: {grants_text(account.grants)}" for account in workload.accounts)
    return "; ".join([plain(workload.title), *accounts])


def _exempt(policy: Policy) -> list[tuple[str, str, frozenset[str]]]:
    """Return namespace, account (empty: every one) and rules of each exempt account."""
    rules: dict[tuple[str, str], set[str]] = {}
    for exemption in policy.exemptions:
        for namespace in exemption.namespaces.patterns:
            for account in exemption.service_accounts.patterns or ("",):
                rules.setdefault((namespace, account), set()).update(exemption.rules)
    return [(*key, frozenset(names)) for key, names in rules.items()]


def _exempt_accounts(current: ScanReport, policy: Policy) -> Iterator[str]:
    grants: _Grants = {
        (workload.namespace, account.name): account.grants
        for workload in current.workloads
        for account in workload.accounts
    } | {(account.namespace, account.name): account.grants for account in current.accounts_with_tokens}

    def severity(exempt: tuple[str, str, frozenset[str]]) -> tuple[bool, int]:
        known = grants.get(exempt[:2])
        return grants_severity(tuple(known)) if known else grants_severity(None)

    for namespace, account, rules in sorted(_exempt(policy), key=lambda exempt: (severity(exempt), exempt[:2])):
        name = f"{plain(namespace)}/{plain(account)}" if account else f"every account of {plain(namespace)}"
        may = f": {grants_text(grants.get((namespace, account)))}" if account else ""
        yield f"{name}{may} ({', '.join(sorted(rules))})"


def _secrets(report: ScanReport, policy: Policy) -> Iterator[str]:
    """Yield what the draft means for the legacy Secrets that exist."""
    if denied := denied_secrets(report):
        titles = shorten_list(f"{plain(secret.namespace)}/{plain(secret.name)}" for secret in denied)
        yield f"Legacy Secrets in use that stay, but could not be created again: {len(denied)}: {titles}."
        yield "If something creates them again, add --exempt-secrets, or exempt its user."
    if any(_SECRET_RULE in rules for _, _, rules in _exempt(policy)):
        yield f"While an account is exempt from {_SECRET_RULE}, anyone who may create Secrets in its namespace can get"
        yield "new tokens of the account that never expire."
