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
_Key = tuple[str, str]
"""A namespace and a rule."""


class _Denials:
    """The accounts and the objects that a rule denies in a namespace."""

    def __init__(self) -> None:
        self.accounts: dict[_Key, set[str]] = {}
        self.titles: dict[_Key, set[str]] = {}

    def add(self, namespace: str, account: str, title: str, result: EvaluationResult) -> None:
        for finding in result.findings:
            if finding.action is Action.REJECT:
                key = (namespace, finding.rule)
                self.accounts.setdefault(key, set()).update({account, finding.other_account or account})
                self.titles.setdefault(key, set()).add(title)


def audiences_in_use(report: ScanReport) -> dict[str, int]:
    """Return how many running pods' tokens each audience but the API server's has, the most used first."""
    counts: Counter[str] = Counter()
    for use in report.tokens:
        if use.audience and use.now:
            counts[use.audience] += use.now
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def draft_policy(report: ScanReport, until: dt.date) -> dict[str, Any]:
    """Return a policy document in mode `enforce` that denies nothing of what the report of the default policy denies.

    A namespace in which at least half of the workloads would be denied, and at least four, gets an override with mode
    `warn`. Elsewhere the accounts of what would be denied are exempt, until the day `until`.
    """
    document: dict[str, Any] = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", "mode": "enforce"}
    if audiences := audiences_in_use(report):
        document["tokens"] = {"audiences": {"allowed": [*audiences]}}
    lenient = sorted(_mostly_denied(report))
    if lenient:
        document["overrides"] = [{"namespaces": lenient, "mode": "warn"}]
    if exemptions := [*_exemptions(_denials(report, frozenset(lenient)), report.time.date(), until)]:
        document["exemptions"] = exemptions
    return document


def _mostly_denied(report: ScanReport) -> Iterator[str]:
    total = Counter(workload.namespace for workload in report.workloads)
    denied = Counter(workload.namespace for workload in report.workloads if workload.outcome is Outcome.DENIED)
    return (name for name, count in denied.items() if count >= _MIN_DENIED and 2 * count >= total[name])


def _denials(report: ScanReport, lenient: frozenset[str]) -> _Denials:
    denials = _Denials()
    for workload in report.workloads:
        if workload.namespace not in lenient:
            for group in workload.groups:
                denials.add(workload.namespace, group.account, workload.title, group.evaluation.result)
    for secret in report.legacy_secrets:
        if secret.namespace not in lenient:
            denials.add(secret.namespace, secret.account, f"Secret/{secret.name}", secret.result)
    return denials


def _exemptions(denials: _Denials, today: dt.date, until: dt.date) -> Iterator[dict[str, Any]]:
    """Yield an exemption for all rules that deny the same accounts in a namespace."""
    rules: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (namespace, rule), accounts in sorted(denials.accounts.items()):
        rules.setdefault((namespace, tuple(sorted(accounts))), []).append(rule)
    for (namespace, names), denying in rules.items():
        titles = sorted({title for rule in denying for title in denials.titles[namespace, rule]})
        exemption: dict[str, Any] = {"rules": denying, "namespaces": [namespace]}
        if "" not in names:  # the account of a copied token is not known
            exemption["serviceAccounts"] = [*names]
        yield exemption | {"reason": f"in use on {today}: {_first(titles)}", "until": until}


def _first(titles: Iterable[str]) -> str:
    names = [*titles]
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
