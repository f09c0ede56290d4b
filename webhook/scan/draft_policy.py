"""Drafts a policy from a scan: what runs now goes on running under it, and nothing new of the kind is added."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import EvaluationResult
from webhook.scan.report import LegacySecret, ScannedWorkload, ScanReport

_MIN_DENIED = 4
_MAX_NAMES = 3
_MAX_REASONS = 20


def audiences_in_use(report: ScanReport) -> dict[str, list[ScannedWorkload]]:
    """Return the workloads that use each audience but the API server's, the most used first.

    A template counts even if no pod of it runs: that of a CronJob creates the next one.
    """
    uses: dict[str, list[ScannedWorkload]] = {}
    for workload in report.workloads:
        for audience in {token.audience for group in workload.groups for token in group.tokens if token.audience}:
            uses.setdefault(audience, []).append(workload)
    return dict(sorted(uses.items(), key=lambda item: (-len(item[1]), item[0])))


def denied_workloads(report: ScanReport) -> list[ScannedWorkload]:
    """Return the workloads that would be denied."""
    return [workload for workload in report.workloads if workload.outcome is Outcome.DENIED]


def denied_secrets(report: ScanReport) -> list[LegacySecret]:
    """Return the legacy Secrets in use that could not be created again."""
    return [secret for secret in report.legacy_secrets if secret.result and secret.result.outcome is Outcome.DENIED]


def draft_policy(report: ScanReport, until: dt.date, *, exempts_secrets: bool = False) -> dict[str, Any]:
    """Return a policy document in mode `enforce` that denies nothing that runs, from a report of the default policy.

    In a namespace in which more than half of the workloads would be denied, and at least four, an override lets the
    rules that deny them warn. Elsewhere the account of each workload that would be denied gets an exemption, until the
    day `until`. Legacy Secrets exist whatever the policy says, so only `exempts_secrets` exempts the accounts of those
    in use: anyone who may create Secrets could then create new ones.
    """
    document: dict[str, Any] = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", "mode": "enforce"}
    if audiences := audiences_in_use(report):
        document["tokens"] = {"audiences": {"allowed": [*audiences]}}
    lenient = lenient_namespaces(report)
    if overrides := [*_overrides(lenient)]:
        document["overrides"] = overrides
    if exemptions := [*_exemptions(report, lenient, until, exempts_secrets=exempts_secrets)]:
        document["exemptions"] = exemptions
    return document


def lenient_namespaces(report: ScanReport) -> dict[str, list[ScannedWorkload]]:
    """Return the workloads that would be denied in each namespace in which the rules that deny them only warn."""
    total = Counter(workload.namespace for workload in report.workloads)
    denied: dict[str, list[ScannedWorkload]] = {}
    for workload in denied_workloads(report):
        denied.setdefault(workload.namespace, []).append(workload)
    return {
        name: workloads
        for name, workloads in sorted(denied.items())
        if len(workloads) >= _MIN_DENIED and 2 * len(workloads) > total[name]
    }


def denying_rules(workloads: Iterable[ScannedWorkload]) -> tuple[str, ...]:
    """Return the rules that deny them."""
    results = (group.evaluation.result for workload in workloads for group in workload.groups)
    return tuple(
        sorted({finding.rule for result in results for finding in result.findings if finding.action is Action.REJECT})
    )


def _overrides(lenient: Mapping[str, list[ScannedWorkload]]) -> Iterator[dict[str, Any]]:
    """Yield an override for all namespaces in which the same rules warn."""
    namespaces: dict[tuple[str, ...], list[str]] = {}
    for namespace, workloads in lenient.items():
        namespaces.setdefault(denying_rules(workloads), []).append(namespace)
    for rules, names in namespaces.items():
        yield {"namespaces": names, "rules": dict.fromkeys(rules, Action.WARN.value)}


def _denials(
    report: ScanReport, lenient: Collection[str], *, exempts_secrets: bool
) -> Iterator[tuple[str, str, str, EvaluationResult]]:
    """Yield namespace, account, title and result of what would be denied without an exemption."""
    for workload in report.workloads:
        if workload.namespace not in lenient:
            for group in workload.groups:
                yield workload.namespace, group.account, workload.title, group.evaluation.result
    for secret in denied_secrets(report) if exempts_secrets else ():
        if secret.result:
            account = "" if secret.is_copy else secret.account
            yield secret.namespace, account, f"Secret/{secret.name}", secret.result


def _exemptions(
    report: ScanReport, lenient: Collection[str], until: dt.date, *, exempts_secrets: bool
) -> Iterator[dict[str, Any]]:
    """Yield an exemption for each account; for two if the pods of one read a token of the other."""
    rules: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    titles: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for namespace, account, title, result in _denials(report, lenient, exempts_secrets=exempts_secrets):
        for finding in result.findings:
            if finding.action is Action.REJECT:
                key = (namespace, tuple(sorted({account, finding.other_account or account})))
                rules.setdefault(key, set()).add(finding.rule)
                titles.setdefault(key, set()).add(title)
    for (namespace, accounts), denying in sorted(rules.items()):
        exemption: dict[str, Any] = {"rules": sorted(denying), "namespaces": [namespace]}
        if "" not in accounts:  # the account of a copied token is not known
            exemption["serviceAccounts"] = [*accounts]
        needed_by = shorten_list(sorted(titles[namespace, accounts]), _MAX_REASONS)
        yield exemption | {"reason": f"as of {report.time.date()}: {needed_by}", "until": until}


def shorten_list(names: Iterable[str], at_most: int = _MAX_NAMES) -> str:
    """Return the first names, and how many more there are."""
    first, rest = (names := [*names])[:at_most], names[at_most:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")
