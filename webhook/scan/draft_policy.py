"""Drafts a policy from a scan: what runs now goes on running under it, and nothing new of the kind is added."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from webhook.core.decision import Outcome
from webhook.core.kinds import Subject
from webhook.core.policy.model import Action
from webhook.core.policy.schema import ExactAudience
from webhook.core.rules import RULES
from webhook.scan.evaluation_result import EvaluationResult, PodGroup
from webhook.scan.options import AudienceSource
from webhook.scan.rbac import Grant, grants_severity
from webhook.scan.report import LegacySecret, ScannedWorkload, ScanReport

_MIN_DENIED = 4
_MAX_NAMES = 3
UNSEEN_RULES = tuple(
    rule.name for rule in RULES if rule.subjects == {Subject.TOKEN_REQUEST} and rule.default is Action.REJECT
)
"""The rules that deny only TokenRequests, which a scan cannot see."""


def assumed_audiences(report: ScanReport) -> tuple[str, ...]:
    """Return the API server's audiences if the scan could only assume them."""
    audiences = report.policy.api_audiences
    return audiences.names if audiences.source is AudienceSource.ASSUMED else ()


def audiences_in_use(report: ScanReport) -> dict[str, list[ScannedWorkload]]:
    """Return the workloads that name each audience, the most used first.

    The API server's are among them, so that a draft does not depend on how a scan knows these. A template counts even
    if no pod of it runs: that of a CronJob creates the next one.
    """
    uses: dict[str, list[ScannedWorkload]] = {}
    for workload in report.workloads:
        tokens = chain.from_iterable(group.tokens for group in workload.groups)
        for audience in {token.audience or token.api_audience for token in tokens} - {""}:
            uses.setdefault(audience, []).append(workload)
    return dict(sorted(uses.items(), key=lambda item: (-len(item[1]), item[0])))


def denied_workloads(report: ScanReport) -> list[ScannedWorkload]:
    """Return the workloads that would be denied."""
    return [workload for workload in report.workloads if workload.outcome is Outcome.DENIED]


def capped_workloads(report: ScanReport) -> list[ScannedWorkload]:
    """Return the workloads with tokens of their own, in pods or templates, that would be capped."""
    return [workload for workload in report.workloads if any(map(_is_capped, workload.groups))]


def _is_capped(group: PodGroup) -> bool:
    return any(
        finding.rule == "token-expiration" and finding.action is Action.PATCH and finding.authored
        for finding in group.evaluation.result.findings
    )


def denied_secrets(report: ScanReport) -> list[LegacySecret]:
    """Return the legacy Secrets in use that could not be created again."""
    return [secret for secret in report.legacy_secrets if secret.result and secret.result.outcome is Outcome.DENIED]


def allowed_audiences(report: ScanReport) -> list[str]:
    """Return the audiences in use that a policy can allow: one with `*` would be a pattern, which allows others."""
    return [audience for audience in audiences_in_use(report) if _can_be_allowed(audience)]


def _can_be_allowed(audience: str) -> bool:
    try:
        msgspec.convert(audience, ExactAudience)
    except msgspec.ValidationError:
        return False
    return True


def base_document(audiences: Sequence[str]) -> dict[str, Any]:
    """Return the policy document in mode `enforce` that allows these audiences; all if there are none.

    The rules for what a scan cannot see only warn.
    """
    rules = dict.fromkeys(UNSEEN_RULES, Action.WARN.value)
    document = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", "mode": "enforce", "rules": rules}
    return document | ({"tokens": {"audiences": {"allowed": [*audiences]}}} if audiences else {})


def audiences_of_namespaces(report: ScanReport) -> dict[str, list[str]]:
    """Return the audiences that only one namespace uses and a policy can allow, by namespace."""
    own: dict[str, list[str]] = {}
    for audience, workloads in audiences_in_use(report).items():
        namespaces = {workload.namespace for workload in workloads}
        if len(namespaces) == 1 and _can_be_allowed(audience):
            own.setdefault(namespaces.pop(), []).append(audience)
    return own


def draft_policy(
    report: ScanReport, until: dt.date, *, exempts_secrets: bool = False, audiences_by_namespace: bool = False
) -> dict[str, Any]:
    """Return a policy document in mode `enforce` that denies nothing that runs, from a report of `base_document`.

    In a namespace in which one rule would deny more than half of the workloads, and at least four, an override lets it
    warn. Elsewhere the account of each workload that would be denied gets an exemption, until the day `until`; those of
    the most powerful accounts come first. Legacy Secrets exist whatever the policy says, so only `exempts_secrets`
    exempts the accounts of those in use: anyone who may create Secrets could then create new ones. With
    `audiences_by_namespace`, an audience that only one namespace uses is allowed in that namespace only, by an
    override. An empty list allows any audience, so a list that would be empty has the API server's, which is always
    allowed.
    """
    own = audiences_of_namespaces(report) if audiences_by_namespace else {}
    only_there = {audience for audiences in own.values() for audience in audiences}
    shared = [audience for audience in allowed_audiences(report) if audience not in only_there]
    document = base_document(shared or (report.policy.api_audiences.names[:1] if own else ()))
    lenient = lenient_rules(report)
    overrides = []
    for namespace in sorted({*lenient, *own}):
        override: dict[str, Any] = {"namespaces": [namespace]}
        if namespace in lenient:
            override["rules"] = dict.fromkeys(lenient[namespace], Action.WARN.value)
        if namespace in own:
            override["tokens"] = {"audiences": {"allowed": [*shared, *own[namespace]]}}
        overrides.append(override)
    if overrides:
        document["overrides"] = overrides
    grants = account_grants(report)
    if exemptions := sorted(
        _exemptions(report, lenient, until, exempts_secrets=exempts_secrets),
        key=lambda exemption: _severity(exemption, grants),
    ):
        document["exemptions"] = exemptions
    return document


Grants = tuple[Grant, ...] | None
NamespacedGrants = dict[str, dict[str, Grants]]
"""What accounts may do, by namespace and name."""


def account_grants(report: ScanReport) -> NamespacedGrants:
    """Return what the accounts of workloads and tokens may do."""
    grants: NamespacedGrants = {}
    for workload in report.workloads:
        grants.setdefault(workload.namespace, {}).update((each.name, each.grants) for each in workload.accounts)
    for account in report.accounts_with_tokens:
        grants.setdefault(account.namespace, {})[account.name] = account.grants
    return grants


def exempt_grants(namespace: str, accounts: Sequence[str], grants: NamespacedGrants) -> dict[str, Grants]:
    """Return what the accounts of a drafted exemption may do, by their names, the most powerful first.

    An exemption for every account of a namespace has one entry, without a name, for the most powerful one.
    """
    of_namespace = grants.get(namespace, {})
    if not accounts:
        return {"": min(of_namespace.values(), key=grants_severity, default=None)}
    powers = {name: of_namespace.get(name) for name in accounts}
    return dict(sorted(powers.items(), key=lambda item: grants_severity(item[1])))


LenientRules = dict[str, dict[str, list[ScannedWorkload]]]
"""The workloads that a rule would deny, by namespace and rule."""


def lenient_rules(report: ScanReport) -> LenientRules:
    """Return the rules that only warn in a namespace, because they would deny most workloads there."""
    total = Counter(workload.namespace for workload in report.workloads)
    denied: LenientRules = {}
    for workload in denied_workloads(report):
        for rule in _denying_rules(workload):
            denied.setdefault(workload.namespace, {}).setdefault(rule, []).append(workload)
    lenient = {
        namespace: {
            rule: workloads for rule, workloads in sorted(rules.items()) if _are_most(workloads, total[namespace])
        }
        for namespace, rules in sorted(denied.items())
    }
    return {namespace: rules for namespace, rules in lenient.items() if rules}


def _are_most(workloads: list[ScannedWorkload], total: int) -> bool:
    return len(workloads) >= _MIN_DENIED and 2 * len(workloads) > total


def _denying_rules(workload: ScannedWorkload) -> set[str]:
    findings = chain.from_iterable(group.evaluation.result.findings for group in workload.groups)
    return {finding.rule for finding in findings if finding.action is Action.REJECT}


def _denials(report: ScanReport, *, exempts_secrets: bool) -> Iterator[tuple[str, str, EvaluationResult]]:
    """Yield namespace, account and result of what would be denied without an exemption."""
    for workload in report.workloads:
        for group in workload.groups:
            yield workload.namespace, group.account, group.evaluation.result
    for secret in denied_secrets(report) if exempts_secrets else ():
        if secret.result:
            yield secret.namespace, "" if secret.is_copy else secret.account, secret.result


def _severity(exemption: Mapping[str, Any], grants: NamespacedGrants) -> tuple[bool, int]:
    [namespace] = exemption["namespaces"]
    return min(map(grants_severity, exempt_grants(namespace, exemption.get("serviceAccounts", ()), grants).values()))


def exempt_objects(report: ScanReport) -> dict[int, list[str]]:
    """Return the workloads and Secrets that each exemption covers, by its number."""
    results = [
        *((workload.title, group.evaluation.result) for workload in report.workloads for group in workload.groups),
        *((f"Secret/{secret.name}", secret.result) for secret in report.legacy_secrets if secret.result),
    ]
    titles: dict[int, dict[str, None]] = {}
    for title, result in results:
        for exempted in result.exemptions:
            titles.setdefault(exempted.exemption, {})[title] = None
    return {number: sorted(those) for number, those in titles.items()}


_Exempted = tuple[str, tuple[str, ...]]
"""A namespace and its exempt accounts; none: all of them."""


def _exemptions(
    report: ScanReport, lenient: LenientRules, until: dt.date, *, exempts_secrets: bool
) -> Iterator[dict[str, Any]]:
    """Yield an exemption for each account; for two if the pods of one read a token of the other."""
    rules: dict[_Exempted, set[str]] = {}
    for namespace, account, result in _denials(report, exempts_secrets=exempts_secrets):
        for finding in result.findings:
            if finding.action is Action.REJECT and finding.rule not in lenient.get(namespace, ()):
                accounts = {account, account if finding.other_account is None else finding.other_account}
                # the account of a copied token, or of one without an annotation, is not known: each is exempt
                key = (namespace, () if "" in accounts else tuple(sorted(accounts)))
                rules.setdefault(key, set()).add(finding.rule)
    for (namespace, selected), needed in sorted(_without_covered(rules).items()):
        exemption: dict[str, Any] = {"rules": sorted(needed), "namespaces": [namespace]}
        if selected:
            exemption["serviceAccounts"] = [*selected]
        yield exemption | {"reason": f"draft of {report.time.date()}", "until": until}


def _without_covered(rules: Mapping[_Exempted, set[str]]) -> dict[_Exempted, set[str]]:
    """Return the rules of each exemption without those that one for more accounts has, too; none without rules."""
    own = {
        key: needed.difference(*(others for other, others in rules.items() if _covers(other, key)))
        for key, needed in rules.items()
    }
    return {key: needed for key, needed in own.items() if needed}


def _covers(wider: _Exempted, narrow: _Exempted) -> bool:
    """Return whether an exemption is for more accounts than another one of the same namespace."""
    if wider[0] != narrow[0] or not narrow[1]:
        return False
    return not wider[1] or set(wider[1]) > set(narrow[1])


def shorten_list(names: Iterable[str], at_most: int = _MAX_NAMES) -> str:
    """Return the first names, and how many more there are."""
    first, rest = (names := [*names])[:at_most], names[at_most:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")
