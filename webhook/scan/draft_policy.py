"""Drafts a policy from a scan: what runs now goes on running under it, and nothing new of the kind is added."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import EvaluationResult
from webhook.scan.report import ScanReport

_MIN_DENIED = 4
_MAX_NAMES = 3
_MAX_REASONS = 20


def audiences_in_use(report: ScanReport) -> dict[str, Counter[str]]:
    """Return how many workloads of each namespace use each audience but the API server's, the most used first.

    A template counts even if no pod of it runs: that of a CronJob creates the next one.
    """
    uses: dict[str, Counter[str]] = {}
    for workload in report.workloads:
        for audience in {token.audience for group in workload.groups for token in group.tokens if token.audience}:
            uses.setdefault(audience, Counter())[workload.namespace] += 1
    return dict(sorted(uses.items(), key=lambda item: (-item[1].total(), item[0])))


def denied_in_use(report: ScanReport) -> list[str]:
    """Return the workloads that are denied, and the legacy Secrets in use."""
    workloads = [
        f"{workload.title} in {workload.namespace}"
        for workload in report.workloads
        if workload.outcome is Outcome.DENIED
    ]
    secrets = [
        f"Secret/{secret.name} in {secret.namespace}"
        for secret in report.legacy_secrets
        if secret.result and secret.result.outcome is Outcome.DENIED
    ]
    return workloads + secrets


def draft_policy(report: ScanReport, until: dt.date) -> dict[str, Any]:
    """Return a policy document in mode `enforce` that denies nothing in use, from a report of the default policy.

    A namespace in which more than half of the workloads would be denied, and at least four, gets an override with mode
    `warn`. Elsewhere each account of what would be denied gets an exemption, until the day `until`; not for legacy
    Secrets that are not in use, as it would only allow new ones.
    """
    document: dict[str, Any] = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", "mode": "enforce"}
    if audiences := audiences_in_use(report):
        document["tokens"] = {"audiences": {"allowed": [*audiences]}}
    lenient = sorted(mostly_denied(report))
    if lenient:
        document["overrides"] = [{"namespaces": lenient, "mode": "warn"}]
    if exemptions := [*_exemptions(report, frozenset(lenient), until)]:
        document["exemptions"] = exemptions
    return document


def mostly_denied(report: ScanReport) -> dict[str, tuple[int, int]]:
    """Return the namespaces for which the draft only warns, with the workloads that would be denied, and all."""
    total = Counter(workload.namespace for workload in report.workloads)
    denied = Counter(workload.namespace for workload in report.workloads if workload.outcome is Outcome.DENIED)
    return {
        name: (count, total[name]) for name, count in denied.items() if count >= _MIN_DENIED and 2 * count > total[name]
    }


def _denials(report: ScanReport, lenient: frozenset[str]) -> Iterator[tuple[str, str, str, EvaluationResult]]:
    """Yield namespace, account, title and result of what would be denied and is in use."""
    for workload in report.workloads:
        if workload.namespace not in lenient:
            for group in workload.groups:
                yield workload.namespace, group.account, workload.title, group.evaluation.result
    for secret in report.legacy_secrets:
        if secret.namespace not in lenient and secret.result:
            account = "" if secret.is_copy else secret.account
            yield secret.namespace, account, f"Secret/{secret.name}", secret.result


def _exemptions(report: ScanReport, lenient: frozenset[str], until: dt.date) -> Iterator[dict[str, Any]]:
    """Yield an exemption for each account; for two if the pods of one read a token of the other."""
    rules: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    titles: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for namespace, account, title, result in _denials(report, lenient):
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
