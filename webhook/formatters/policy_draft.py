"""The text of a drafted policy: comments say why each part is in it, and what the exempt accounts may do."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from webhook.core.documents.yaml_writer import write_document
from webhook.core.formatting import counted, plain, quote
from webhook.core.policy.model import Action, Policy
from webhook.formatters.scan_findings import accounts_text, grants_text, result_lines
from webhook.formatters.scan_summary import is_dangerous
from webhook.formatters.wrapping import wrapped
from webhook.scan.draft_policy import (
    Grants,
    account_grants,
    allowed_audiences,
    assumed_audiences,
    audiences_in_use,
    audiences_of_namespaces,
    capped_workloads,
    denied_secrets,
    denied_workloads,
    exempt_grants,
    exempt_objects,
    lenient_rules,
    shorten_list,
)
from webhook.scan.rbac import grants_severity
from webhook.scan.report import ScannedWorkload, ScanReport

_AUDIENCE_RULE = "token-audience"
_SECRET_RULE = "legacy-token-secret"  # noqa: S105 - a rule's name
_MAX_WORKLOADS = 20
_MAX_SECRETS = 10
_MAX_ALIKE = 20
_WIDTH = 120
_WHAT_TO_DO = (
    "The draft is made from the scan alone: copy what you need from the policy in the cluster. Review each audience,"
    " override and exemption; an exemption also covers new pods of its accounts. The draft caps the tokens of pods,"
    " which breaks clients that read their token only once; a scan cannot see that. It cannot see TokenRequests either,"
    " so the draft only warns about them. Before you enforce it, follow docs/rollout.md."
)
_UNSEEN = (
    "Not reject, because a scan cannot see who requests which tokens. 'tokenguard audit summarize' counts what these"
    " rules find in tokenguard's audit log; its records name the user, the account and the audience"
    " (docs/rollout.md, step 4). Allow the audiences that are needed, then remove these lines."
)
_KEEP = "#apiServerToken: {expiration: keep}  # while clients read their token only once (docs/rollout.md, step 3)"
"""A line that is active without its first character."""


def draft_result(report: ScanReport, policy: Policy) -> str:
    """Return what a scan with the draft found: `report` is that of the draft, `policy` the draft."""
    scanned = (
        f"scanned {counted(report.summary.workloads.total, 'workload')} and"
        f" {counted(len(report.legacy_secrets), 'legacy Secret')}"
    )
    parts = [
        *_lenient_namespaces(report, policy),
        *([_exempt(report, policy)] if policy.exemptions else []),
    ]
    return f"{scanned}; in mode enforce, the draft {_denied(report)}{''.join(f'; {part}' for part in parts)}"


def draft_lines(document: Mapping[str, Any], current: ScanReport, report: ScanReport, policy: Policy) -> Iterator[str]:
    """Yield the lines of the draft; `current` is the report that it is made from, `report` that of the draft itself.

    Comments at the top say what the draft does; those at each audience, override and exemption say why it is there.
    """
    made = f"Draft of {report.time:%Y-%m-%d} for {plain(report.cluster)}, by tokenguard policy init"
    head = [
        f"{made}: {draft_result(report, policy)}.",
        _WHAT_TO_DO,
        *_capped(report),
        *_assumed_audiences(current),
        *_odd_audiences(current),
        *_drivers(report),
        *_secrets(report, policy),
    ]
    yield from _commented(head)
    users = _audiences(current, document)
    comments = {
        "overrides": _overrides(current, document.get("overrides", ())),
        "exemptions": _exemptions(current, report, document.get("exemptions", ())),
    }
    section = ""
    for line in write_document(document).removeprefix("---\n").splitlines():
        if line and line[0] not in " -":
            section = line.partition(":")[0]
            if section == "rules":
                yield _KEEP
                yield from _commented([_UNSEEN])
        if section in comments and line.startswith("- "):
            yield from _commented(next(comments[section]))
        if section == "tokens" and line.startswith("    - "):
            yield from _with_comment(line, next(users))
        else:
            yield line


def _commented(lines: Iterable[str], indent: str = "") -> Iterator[str]:
    """Yield the lines as comments that are not too wide; the rest of a long one is indented by two more columns."""
    for line in lines:
        column = len(line) - len(line.lstrip())
        parts = wrapped(line, _WIDTH - len(indent) - 2, column and column + 2)
        yield from (f"{indent}# {part}" for part in parts)


def _with_comment(line: str, comment: str) -> Iterator[str]:
    """Yield a line with a comment; if that is too wide, the comment comes before the line."""
    if len(whole := f"{line}  # {comment}") <= _WIDTH:
        yield whole
    else:
        yield from _commented([comment], " " * (len(line) - len(line.lstrip())))
        yield line


def _denied(report: ScanReport) -> str:
    titles = [f"{workload.title} in {workload.namespace}" for workload in denied_workloads(report)]
    return f"still denies {shorten_list(map(plain, titles))}" if titles else "denies nothing that the scan saw running"


def _audiences(report: ScanReport, document: Mapping[str, Any]) -> Iterator[str]:
    """Yield who uses each audience that the draft allows in every namespace."""
    uses, of_api_server = audiences_in_use(report), report.policy.api_audiences.names
    how = "assumed to be the API server's" if assumed_audiences(report) else "the API server's"
    for audience in document["tokens"]["audiences"]["allowed"] if "tokens" in document else ():
        if audience in uses:
            yield _users(uses[audience]) + (f"; {how}" if audience in of_api_server else "")
        else:
            yield "the API server's: the others are allowed by overrides"


def _users(workloads: list[ScannedWorkload]) -> str:
    if len(workloads) == 1:
        return f"{plain(workloads[0].title)} in {plain(workloads[0].namespace)}"
    namespaces = sorted({workload.namespace for workload in workloads})
    return f"{counted(len(workloads), 'workload')} in {shorten_list(map(plain, namespaces))}"


def _capped(report: ScanReport) -> list[str]:
    """Return how many workloads have tokens of their own that the draft caps, and how to list them."""
    if not (capped := capped_workloads(report)):
        return []
    workloads = counted(len(capped), "workload")
    return [
        (
            f"The draft also caps the projected tokens of {workloads}, whatever apiServerToken says; docs/rollout.md,"
            " step 3, says how to spare them. To list these workloads, scan with the draft:"
        ),
        "  tokenguard scan --policy FILE --rule token-expiration --action patch",
    ]


def _assumed_audiences(report: ScanReport) -> list[str]:
    """Return what the draft does as the API server's audiences are not known."""
    names = ", ".join(map(plain, assumed_audiences(report)))
    text = (
        f"The API server's audiences are assumed: {names}. So the draft lists those that workloads name; the API"
        " server's real audiences are always allowed. To name the real ones, use --api-audience."
    )
    return [text] if names else []


def _odd_audiences(report: ScanReport) -> Iterator[str]:
    """Yield the audiences in use that the draft does not list."""
    allowed = allowed_audiences(report)
    for audience, workloads in audiences_in_use(report).items():
        if audience not in allowed:
            instead = _instead(report, workloads)
            why = "* (a pattern)" if "*" in audience else "white space"
            yield f"A policy cannot allow exactly the audience {quote(audience)}, which contains {why}, so {instead}."


def _instead(report: ScanReport, workloads: Iterable[ScannedWorkload]) -> str:
    """Return what the draft does for workloads with an audience that it cannot list."""
    if not allowed_audiences(report):
        return "the draft allows every audience"
    lenient = lenient_rules(report)
    parts: dict[str, list[ScannedWorkload]] = {}
    for workload in workloads:
        warns = _AUDIENCE_RULE in lenient.get(workload.namespace, ())
        part = f"an override lets {_AUDIENCE_RULE} warn about" if warns else "exempt are the accounts of"
        parts.setdefault(part, []).append(workload)
    return "; ".join(f"{part} {_users(those)}" for part, those in parts.items())


def _drivers(report: ScanReport) -> Iterator[str]:
    """Yield what the draft finds about CSIDrivers, which it never denies."""
    for driver in report.csi_drivers:
        for line in result_lines(driver.result):
            yield f"CSIDriver/{plain(driver.name)}, which nothing denies: {line}"


def _overrides(report: ScanReport, overrides: Iterable[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield the workloads for which each override exists."""
    total = Counter(workload.namespace for workload in report.workloads)
    lenient, uses, own = lenient_rules(report), audiences_in_use(report), audiences_of_namespaces(report)
    for override in overrides:
        [namespace] = override["namespaces"]
        lines = []
        if "rules" in override:
            lines.append(f"{plain(namespace)}: without an end, so remove it when its workloads are migrated:")
            lines += _lenient(lenient[namespace], total[namespace])
        if "tokens" in override:
            lines.append(f"{plain(namespace)}: also allows audiences that only this namespace uses:")
            lines += [f"  {quote(audience)}: {_users(uses[audience])}" for audience in own[namespace]]
        yield lines


def _lenient(rules: Mapping[str, list[ScannedWorkload]], total: int) -> Iterator[str]:
    """Yield the workloads that each rule would deny, of so many in the namespace, by what their accounts may do."""
    for rule, workloads in rules.items():
        yield f"  {rule} would deny {len(workloads)} of {counted(total, 'workload')}:"
        alike: dict[str, list[str]] = {}
        for workload in sorted(workloads, key=lambda workload: workload.severity):
            alike.setdefault(accounts_text(workload, in_full=True), []).append(plain(workload.title))
        for accounts, titles in [*alike.items()][:_MAX_ALIKE]:
            yield f"    {shorten_list(titles, _MAX_WORKLOADS)}:"
            yield f"      {accounts}"
        if others := [*alike.values()][_MAX_ALIKE:]:
            yield f"    and {counted(sum(map(len, others)), 'more workload')}"


def _exempt_accounts(report: ScanReport, policy: Policy) -> dict[tuple[str, str], Grants]:
    """Return the exempt accounts (without a name: every one of a namespace), the most powerful first."""
    grants = account_grants(report)
    accounts = {
        (namespace, name): power
        for exemption in policy.exemptions
        for namespace in exemption.namespaces.patterns
        for name, power in exempt_grants(namespace, exemption.service_accounts.patterns, grants).items()
    }
    return dict(sorted(accounts.items(), key=lambda item: grants_severity(item[1])))


def _exempt(report: ScanReport, policy: Policy) -> str:
    """Return how many accounts are exempt, and which of them have dangerous permissions."""
    accounts = _exempt_accounts(report, policy)
    powerful = _powerful(accounts)
    which = f", {len(powerful)} of them {_listed(powerful)}" if powerful else ""
    return f"{counted(len(accounts), 'account')} exempt{which}"


def _powerful(accounts: Mapping[tuple[str, str], Grants]) -> list[str]:
    """Return the accounts that have dangerous permissions, each with the most dangerous one."""
    return [
        f"{plain(name) or 'one'} in {plain(namespace)} ({grants_text(power[:1])})"
        for (namespace, name), power in accounts.items()
        if power and is_dangerous(power)
    ]


def _listed(powerful: list[str]) -> str:
    return f"with dangerous permissions: {shorten_list(powerful)}"


def _lenient_namespaces(report: ScanReport, policy: Policy) -> Iterator[str]:
    """Yield in which namespaces overrides let rules warn, and which powerful accounts these rules would deny."""
    lowered = {
        namespace: {rule for rule, action in override.rules.items() if action is not policy.rules[rule]}
        for override in policy.overrides
        if override.rules != policy.rules
        for namespace in override.namespaces
    }
    accounts = {
        (workload.namespace, account.name): account.grants
        for workload in report.workloads
        if any(
            finding.action is Action.WARN and finding.rule in lowered.get(workload.namespace, ())
            for group in workload.groups
            for finding in group.evaluation.result.findings
        )
        for account in workload.accounts
    }
    if lowered:
        accounts = dict(sorted(accounts.items(), key=lambda item: grants_severity(item[1])))
        where = f"{counted(len(lowered), 'namespace')} ({shorten_list(map(plain, lowered))})"
        powerful = _powerful(accounts)
        which = f", {counted(len(powerful), 'account')} there {_listed(powerful)}" if powerful else ""
        yield f"without an end date, rules only warn in {where}{which}"


def _exemptions(
    current: ScanReport, report: ScanReport, exemptions: Iterable[Mapping[str, Any]]
) -> Iterator[list[str]]:
    """Yield what each exemption covers in the report of the draft, and what its accounts may do."""
    grants, objects = account_grants(current), exempt_objects(report)
    for number, exemption in enumerate(exemptions):
        [namespace] = exemption["namespaces"]
        powers = exempt_grants(namespace, exemption.get("serviceAccounts", ()), grants)
        yield [
            f"for {shorten_list(map(plain, objects.get(number, ())), _MAX_WORKLOADS)} in {plain(namespace)}:",
            *(
                f"  {plain(name)}: {grants_text(power, in_full=True)}" if name else "  every account of the namespace"
                for name, power in powers.items()
            ),
        ]


def _secrets(report: ScanReport, policy: Policy) -> Iterator[str]:
    """Yield what the draft means for the legacy Secrets that exist."""
    if denied := denied_secrets(report):
        ordered = sorted(denied, key=lambda secret: grants_severity(secret.grants))
        titles = shorten_list((f"{plain(secret.namespace)}/{plain(secret.name)}" for secret in ordered), _MAX_SECRETS)
        stay = f"{counted(len(denied), 'legacy Secret')} in use would stay, but could not be created again: {titles}."
        yield f"{stay} If something creates them again, add --exempt-secrets, or exempt its user."
    if any(_SECRET_RULE in exemption.rules for exemption in policy.exemptions):
        yield (
            f"While an account is exempt from {_SECRET_RULE}, anyone who may create Secrets in its namespace can get"
            " new tokens of the account that never expire."
        )
