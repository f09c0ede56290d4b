"""The text of a drafted policy: comments say why each part is in it, and what the exempt accounts may do."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap
from typing import Any

from webhook.core.documents.yaml_writer import write_document
from webhook.core.formatting import counted, plain, quote
from webhook.core.policy.model import Policy
from webhook.formatters.scan_findings import grants_text, result_lines
from webhook.scan.draft_policy import (
    allowed_audiences,
    assumed_audiences,
    audiences_in_use,
    audiences_of_namespaces,
    capped_workloads,
    denied_secrets,
    denied_workloads,
    lenient_rules,
    shorten_list,
)
from webhook.scan.rbac import grants_severity
from webhook.scan.report import ScannedWorkload, ScanReport

_AUDIENCE_RULE = "token-audience"
_SECRET_RULE = "legacy-token-secret"  # noqa: S105 - a rule's name
_MAX_WORKLOADS = 20
_MAX_SECRETS = 10
_WIDTH = 118
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
_KEEP = (
    "apiServerToken:  # uncomment while clients read their token only once (docs/rollout.md, step 3)",
    "  expiration: keep",
)


def draft_result(report: ScanReport, policy: Policy) -> str:
    """Return what a scan with the draft found: `report` is that of the draft, `policy` the draft."""
    scanned = (
        f"scanned {counted(report.summary.workloads.total, 'workload')} and"
        f" {counted(len(report.legacy_secrets), 'legacy Secret')}"
    )
    warned = sum(len(override.namespaces) for override in policy.overrides if override.rules != policy.rules)
    parts = [
        *([f"in {counted(warned, 'namespace')} rules only warn"] if warned else []),
        *([f"{counted(len(_exempt(policy)), 'account')} exempt"] if policy.exemptions else []),
    ]
    return f"{scanned}; in mode enforce, the draft {_denied(report)}{''.join(f'; {part}' for part in parts)}"


def draft_lines(document: Mapping[str, Any], current: ScanReport, report: ScanReport, policy: Policy) -> Iterator[str]:
    """Yield the lines of the draft; `current` is the report that it is made from, `report` that of the draft itself.

    Comments at the top say what the draft does; those at each audience, override and exemption say why it is there.
    """
    head = [
        f"Draft of {report.time:%Y-%m-%d} for {plain(report.cluster)}, by tokenguard policy init:",
        *_wrapped(f"{draft_result(report, policy)}. {_WHAT_TO_DO}"),
        *_capped(report),
        *_assumed_audiences(current),
        *_odd_audiences(current),
        *_drivers(report),
        *_secrets(report, policy),
    ]
    yield from (f"# {line}" for line in head)
    users = _audiences(current, document)
    comments = {
        "overrides": _overrides(current, document.get("overrides", ())),
        "exemptions": _exemptions(current, document.get("exemptions", ())),
    }
    before = {"rules": [*_KEEP, *_wrapped(_UNSEEN)]}
    section = ""
    for line in write_document(document).removeprefix("---\n").splitlines():
        if line and line[0] not in " -":
            section = line.partition(":")[0]
            yield from (f"# {comment}" for comment in before.get(section, ()))
        if section in comments and line.startswith("- "):
            yield from (f"# {comment}" for comment in next(comments[section]))
        is_audience = section == "tokens" and line.startswith("    - ")
        yield f"{line}  # {next(users)}" if is_audience else line


def _wrapped(text: str) -> list[str]:
    return wrap(text, _WIDTH, break_on_hyphens=False, break_long_words=False)


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
        *_wrapped(
            f"The draft also caps tokens that {workloads} project, whatever apiServerToken says;"
            " docs/rollout.md, step 3, says how to spare them. To list the workloads, scan with the draft:"
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
    return _wrapped(text) if names else []


def _odd_audiences(report: ScanReport) -> Iterator[str]:
    """Yield the audiences in use that the draft does not list."""
    allowed = allowed_audiences(report)
    for audience, workloads in audiences_in_use(report).items():
        if audience not in allowed:
            instead = _instead(report, workloads)
            yield from _wrapped(f"A policy cannot allow exactly the audience {quote(audience)}, so {instead}.")


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
            yield from _wrapped(f"CSIDriver/{plain(driver.name)}, which nothing denies: {line}")


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
    """Yield the workloads that each rule would deny, of so many in the namespace."""
    for rule, workloads in rules.items():
        yield f"  {rule} would deny {len(workloads)} of {counted(total, 'workload')}:"
        ordered = sorted(workloads, key=_severity)
        yield from (f"    {_with_account(workload)}" for workload in ordered[:_MAX_WORKLOADS])
        if len(ordered) > _MAX_WORKLOADS:
            yield f"    and {len(ordered) - _MAX_WORKLOADS} more"


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


def _exemptions(current: ScanReport, exemptions: Iterable[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield what the accounts of each exemption may do."""
    grants = {
        (workload.namespace, account.name): account.grants
        for workload in current.workloads
        for account in workload.accounts
    } | {(account.namespace, account.name): account.grants for account in current.accounts_with_tokens}
    for exemption in exemptions:
        [namespace] = exemption["namespaces"]
        accounts = exemption.get("serviceAccounts", ())
        powers = ((account, grants_text(grants.get((namespace, account)), in_full=True)) for account in accounts)
        known = [line for account, power in powers for line in _wrapped(f"{plain(account)}: {power}")]
        yield known or [f"every account of {plain(namespace)}"]


def _secrets(report: ScanReport, policy: Policy) -> Iterator[str]:
    """Yield what the draft means for the legacy Secrets that exist."""
    if denied := denied_secrets(report):
        ordered = sorted(denied, key=lambda secret: grants_severity(secret.grants))
        titles = shorten_list((f"{plain(secret.namespace)}/{plain(secret.name)}" for secret in ordered), _MAX_SECRETS)
        stay = f"Legacy Secrets in use that stay, but could not be created again: {len(denied)}: {titles}."
        yield from _wrapped(f"{stay} If something creates them again, add --exempt-secrets, or exempt its user.")
    if any(_SECRET_RULE in rules for _, _, rules in _exempt(policy)):
        yield f"While an account is exempt from {_SECRET_RULE}, anyone who may create Secrets in its namespace can get"
        yield "new tokens of the account that never expire."
