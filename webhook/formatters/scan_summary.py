"""The summary of a scan: the numbers and words that the text and the page have in common."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from webhook.core.decision import Outcome
from webhook.core.formatting import counted, plain
from webhook.core.lifetimes import DEFAULT_EXPIRATION, YEAR
from webhook.core.policy.model import Action, Mode
from webhook.formatters.scan_enforcement import denied_secrets, limits
from webhook.formatters.scan_exemptions import exemption_fields
from webhook.formatters.scan_findings import first_names
from webhook.legacy.retirable import RetirableSecret
from webhook.scan.counts import OutcomeCounts
from webhook.scan.evaluation_result import Change
from webhook.scan.options import ApiAudiences, AudienceSource, PolicyInfo, ScanFilters
from webhook.scan.rbac import Grant, Permission, grants_severity
from webhook.scan.report import LegacySecret, ScannedWorkload, ScanReport

OUTCOMES = tuple(reversed(Outcome))
ACTIONS = (Action.REJECT, Action.PATCH, Action.WARN, Action.AUDIT)
LIFETIMES = ("never expires", "1 year", "over 1 hour", "up to 1 hour")
NOW, RECREATED, SIMULATED = "now", "if recreated", "simulated"
_USES = {NOW: "now", RECREATED: "recreated", SIMULATED: "simulated"}
"""The attributes of a `TokenUse` with these numbers."""
_MAX_NAMES = 3
UNKNOWN = "?"
"""In place of a number that depends on what could not be read."""
NOT_INSTALLED = (
    "no: there is no ValidatingWebhookConfiguration/tokenguard, so no new pod is evaluated; see 'tokenguard status'"
)
NOT_CALLABLE = "yes, but the API server cannot call it: see 'tokenguard status'"
IF_RECREATED = "if recreated under this policy"
USED, INVALID, SAFE_TO_DELETE, COPY = "used", "invalid", "safe to delete", "copied into another Secret type"
SECRET_STATES = ("referenced", USED, INVALID, SAFE_TO_DELETE, COPY)
"""States of a legacy Secret; several may apply."""
NO_USE = "no use recorded"
_UNCLEAR = _TOO_NEW, _MAYBE_REFERENCED, _UNKNOWN_USE = "too new to tell", "perhaps referenced", "unknown use"
OTHER_USE = "unless another service accepts this token (such as Vault's kubernetes auth, or OIDC federation)"
"""When accounts without permissions do need their tokens for the API server."""
STOP_AUTOMOUNT = "set automountServiceAccountToken: false"
STOP_PROJECTION = "remove it from the volumes that project it"
"""How to remove the API server's token from pods in which Kubernetes mounts it, or whose author projects it."""
_SOURCES = {
    AudienceSource.POLICY: "from the policy",
    AudienceSource.GIVEN: "from --api-audience",
    AudienceSource.TOKEN: "from the token of this scan",
    AudienceSource.ASSUMED: "assumed (see --api-audience)",
}
_CLUSTER_ADMIN, _EVERYWHERE, _SOMEWHERE, _SOME_POWER, _NO_POWER, _UNKNOWN_POWER = _POWERS = (
    "cluster-admin", "dangerous in all namespaces", "dangerous in some namespaces", "lesser permissions",
    "no permissions", "unknown",
)  # fmt: skip
Field = tuple[str, str]
"""A name and its value; an empty name continues the field before."""


def outcome_counts(report: ScanReport) -> tuple[tuple[str, OutcomeCounts | None, OutcomeCounts | None], ...]:
    """Return the numbers by outcome of each kind of object, None if unknown, and those under the simulated policy."""
    summary = report.summary
    return (
        ("pods", summary.pods, summary.simulated_pods),
        ("workloads (worst outcome)", summary.workloads, summary.simulated_workloads),
        ("legacy Secrets in use", summary.secrets, summary.simulated_secrets),
    )


def rule_counts(report: ScanReport, *, simulated: bool) -> dict[str, Counter[Action]]:
    """Return the numbers of findings by rule and action, the most severe first."""
    counts: dict[str, Counter[Action]] = {}
    for count in report.rule_counts:
        counts.setdefault(count.rule, Counter())[count.action] += (count.simulated or 0) if simulated else count.count
    return dict(sorted(counts.items(), key=lambda item: [-item[1][action] for action in ACTIONS]))


def token_lifetimes(report: ScanReport) -> dict[str, list[int | None]]:
    """Return the numbers of tokens by `LIFETIMES`, None if unknown: now, recreated and simulated."""
    by_state = {state: [0] * len(LIFETIMES) for state in (NOW, RECREATED, *([SIMULATED] if report.simulated else []))}
    for use in report.tokens:
        for state, counts in by_state.items():
            counts[_lifetime_place(use.lifetime_seconds)] += getattr(use, _USES[state])
    known = report.summary.secrets is not None  # legacy tokens are the ones that never expire
    return {state: [counts[0] if known else None, *counts[1:]] for state, counts in by_state.items()}


def _lifetime_place(seconds: int | None) -> int:
    if seconds is None:
        return 0
    return 1 if seconds >= YEAR else 2 if seconds > DEFAULT_EXPIRATION else 3


def scan_fields(report: ScanReport) -> Iterator[Field]:
    """Yield what was scanned, when, and by which policy."""
    yield "cluster", f"{plain(report.cluster)}, {report.time:%Y-%m-%d %H:%M} UTC"
    if report.context:
        yield "context", plain(report.context)
    yield from _policies(report)
    if installed := _installed(report):
        yield "installed", installed
    summary = report.summary
    scanned = f"{counted(summary.pods.total, 'pod')} of {counted(summary.workloads.total, 'workload')}"
    finished = f"; {summary.finished_pods} finished" if summary.finished_pods else ""
    yield "scanned", f"{counted(summary.namespaces, 'namespace')}, {scanned}{finished}"
    if excluded := report.excluded_namespaces:
        yield "", f"not evaluated, excluded by the webhook configuration: {first_names(excluded)}"
    for note, count in _never_evaluated(report).items():
        yield "", f"not evaluated, as {note}: {count}"
    if report.may_be_wrong:
        yield "incomplete", f"outcomes may be wrong: could not read {_unread(report)}"
    namespaces, findings = _filters(report.filters)
    if namespaces:
        yield "", f"showing only {namespaces}"
    if findings:
        none = "" if report.rule_counts else ": no such finding"
        yield "", f"showing only {findings} (outcomes count all){none}"


def _never_evaluated(report: ScanReport) -> dict[str, str]:
    """Return how many workloads and legacy Secrets no installation evaluates, by reason."""
    workloads = Counter(
        note
        for workload in report.workloads
        for note in {group.result().note for group in workload.groups}
        if note and workload.namespace not in report.excluded_namespaces
    )
    secrets = Counter(
        secret.result.note
        for secret in report.legacy_secrets
        if secret.result and secret.result.note and secret.namespace not in report.excluded_namespaces
    )
    titles = ((workloads, "workload"), (secrets, "legacy Secret"))
    return {
        note: " and ".join(counted(counts[note], title) for counts, title in titles if counts[note])
        for note in sorted({*workloads, *secrets})
    }


def _policies(report: ScanReport) -> Iterator[Field]:
    yield "policy", _policy(report.policy)
    for limit in limits(report, simulated=False):
        yield "", limit
    audiences = report.policy.api_audiences
    yield "audiences", _audiences(audiences)
    if report.simulated:
        yield "simulated", _policy(report.simulated)
        for limit in limits(report, simulated=True):
            yield "", limit
        if report.simulated.api_audiences != audiences:
            yield "audiences", _audiences(report.simulated.api_audiences)


def _installed(report: ScanReport) -> str:
    """Return what is wrong with the installation; empty: nothing that a scan sees."""
    if report.webhook_exists is False:
        return NOT_INSTALLED
    return NOT_CALLABLE if report.webhook_lacks_ca_bundle else ""


def state_fields(report: ScanReport) -> Iterator[Field]:
    """Yield the state of legacy Secrets, accounts and exemptions, and what could not be read."""
    if report.summary.secrets is None:
        yield "legacy", "unknown: Secrets could not be read"
    elif secrets := report.legacy_secrets:
        counts = Counter(state for secret in secrets for state in secret_states(secret, report))
        in_use = [secret for secret in secrets if secret.in_use]
        referenced = sum(bool(secret.references) for secret in in_use)
        states = f"{len(in_use)} in use, {counts[SAFE_TO_DELETE]} {SAFE_TO_DELETE}; {counts[INVALID]} {INVALID}"
        yield "legacy", f"{counted(len(secrets), 'Secret')}: {states}"
        unclear = Counter(unclear_use(secret, report) for secret in secrets)
        used = [f"{referenced} referenced", f"{counts[USED]} used in {counted(report.unused_days, 'day')}"]
        used += [f"{unclear[why]} {why}" for why in _UNCLEAR if unclear[why]]
        yield "", "; ".join([*([f"in use: {', '.join(used)}"] if in_use else []), recorded_text(report)])
        if counts[COPY]:
            yield "", f"{counts[COPY]} {COPY}"
        if report.names_unread:
            yield "", "some workloads that may refer to them could not be read (see the end)"
    if accounts := report.accounts_with_tokens:
        permissions = Counter(_power(account.grants) for account in accounts)
        words = [f"{permissions[power]} {power}" for power in _POWERS if permissions[power]]
        yield "accounts", f"{len(accounts)} with API tokens: {', '.join(words)}"
    yield from exemption_fields(report)
    if report.unread and not report.may_be_wrong:
        yield "incomplete", f"could not read {_unread(report)}"


def _unread(report: ScanReport) -> str:
    decisive = [unread.resource for unread in report.unread if unread.affects_decisions]
    return f"{first_names(decisive or [unread.resource for unread in report.unread])} (see the end)"


def recorded_text(report: ScanReport) -> str:
    """Return since when the API server records uses of legacy tokens."""
    if report.uses_unread:
        return "the day on which recording began could not be read, so no Secret counts as unused"
    return f"use recorded since {report.tracked_since}" if report.tracked_since else "use is not recorded"


def _power(grants: Sequence[Grant] | None) -> str:
    if not grants:
        return _UNKNOWN_POWER if grants is None else _NO_POWER
    if not is_dangerous(grants):
        is_unknown = grants[0].permission is Permission.UNKNOWN
        return _UNKNOWN_POWER if is_unknown else _SOME_POWER
    if grants[0].namespaces:
        return _SOMEWHERE
    return _CLUSTER_ADMIN if grants[0].permission is Permission.EVERYTHING else _EVERYWHERE


def is_dangerous(grants: Sequence[Grant] | None) -> bool:
    """Return whether a leaked token of an account with these grants is dangerous: lesser permissions are not."""
    return any(grant.is_dangerous for grant in grants or ())


def ordered_secrets(report: ScanReport) -> list[LegacySecret]:
    """Return the legacy Secrets: valid ones first, then by what their tokens allow, then by their last use."""

    def order(secret: LegacySecret) -> tuple[Any, ...]:
        last_used = secret.last_used.toordinal() if secret.last_used else 0
        return secret.invalid_since is not None, grants_severity(secret.grants), -last_used

    return sorted(report.legacy_secrets, key=order)


def ordered_workloads(workloads: Iterable[ScannedWorkload]) -> list[ScannedWorkload]:
    """Return workloads of one outcome: first those whose tokens allow most."""
    return sorted(workloads, key=lambda workload: (workload.severity, -workload.pod_count, workload.namespace))


def workload_changes(report: ScanReport) -> str:
    """Return the numbers of workloads by what the simulated policy changes."""
    counts = Counter(workload.change for workload in report.workloads)
    changes = [f"{counts[change]} {change}" for change in Change if counts[change] and change is not Change.UNCHANGED]
    return ", ".join(changes) or "no change"


def verdict(report: ScanReport) -> str:
    """Return in a sentence what would be denied."""
    denied = []
    for title, now, simulated in outcome_counts(report)[:2]:
        counts = simulated if report.simulated and simulated else now
        if counts and counts.denied:
            denied.append(f"{counts.denied} of {counts.total} {title.partition(' (')[0]}")
    policy = "the simulated" if report.simulated else "this"
    secrets = denied_secrets(report)
    if denied:
        subject, but = ", ".join(denied), ""
    elif report.summary.secrets and not secrets:
        subject, but = "Nothing", ""
    else:
        subject, but = "No pod or workload", ""
        if secrets:
            but = f", but {counted(secrets, 'legacy Secret')} in use could not be created again"
    unsure = ", as far as could be read" if report.may_be_wrong else ""
    return f"{subject} would be denied if recreated under {policy} policy{but}{unsure}."


def headline(report: ScanReport) -> str:
    """Return in a sentence what would be denied, and in others what the report is limited to."""
    sentence = verdict(report)
    if modes := _modes(report.simulated or report.policy):
        sentence = f"{sentence} Its mode is {modes}."
    if valid := sum(secret.invalid_since is None for secret in report.legacy_secrets):
        sentence = f"{sentence} {counted(valid, 'legacy Secret')} with a valid token that never expires."
    for limit in limits(report, simulated=report.simulated is not None):
        sentence = f"{sentence} {limit[0].upper()}{limit[1:]}."
    return " ".join([sentence, *(f"Showing only {shown}." for shown in _filters(report.filters) if shown)])


def _filters(filters: ScanFilters) -> tuple[str, str]:
    """Return the selected namespaces, and the selected rules and actions; empty: all."""
    namespaces, rules, actions = (
        f"{name if len(values) == 1 else f'{name}s'} {', '.join(map(plain, values))}" if values else ""
        for name, values in (("namespace", filters.namespaces), ("rule", filters.rules), ("action", filters.actions))
    )
    return namespaces, "; ".join(filter(None, (rules, actions)))


def _modes(policy: PolicyInfo) -> str:
    """Return the mode of a policy and those of scanned namespaces that differ; empty if none differs."""
    namespaces: dict[Mode, list[str]] = {}
    for name, mode in policy.namespace_modes.items():
        namespaces.setdefault(mode, []).append(name)
    others = (f"{mode} in {_few_names(names)}" for mode, names in sorted(namespaces.items()))
    return f"{policy.mode}, but {' and '.join(others)}" if namespaces else ""


def _few_names(names: Sequence[str]) -> str:
    return f"{len(names)} namespaces" if len(names) > _MAX_NAMES else ", ".join(map(plain, names))


def _policy(policy: PolicyInfo) -> str:
    prefix = f"{policy.revision}, {_modes(policy) or policy.mode}: " if policy.revision else ""
    return f"{prefix}{plain(policy.origin)}"


def _audiences(audiences: ApiAudiences) -> str:
    return f"the API server's, {_SOURCES[audiences.source]}: {', '.join(map(plain, audiences.names))}"


def secret_states(secret: LegacySecret, report: ScanReport) -> list[str]:
    """Return the `SECRET_STATES` of a legacy Secret."""
    unused_for = (report.time.date() - secret.last_used).days if secret.last_used else report.unused_days
    states = (
        bool(secret.references),
        unused_for < report.unused_days and secret.in_use,
        secret.invalid_since is not None,
        secret.removable,
        secret.is_copy,
    )
    return [word for word, applies in zip(SECRET_STATES, states, strict=True) if applies]


def unclear_use(secret: LegacySecret, report: ScanReport) -> str:
    """Return why a Secret counts as in use although nothing is known to use it; empty: there is no such reason."""
    if not secret.in_use or secret_states(secret, report):
        return ""
    if secret.unused_since is None:
        return _UNKNOWN_USE
    unused_for = (report.time.date() - secret.unused_since).days
    return _TOO_NEW if unused_for < report.unused_days else _MAYBE_REFERENCED


def last_use_text(secret: LegacySecret | RetirableSecret) -> str:
    """Return when a legacy Secret was last used."""
    if secret.last_used:
        return f"last used {secret.last_used}"
    return f"{NO_USE} since {secret.unused_since}" if secret.unused_since else "unknown use"


def reference_lines(secret: LegacySecret | RetirableSecret) -> Iterator[str]:
    """Yield what refers to a legacy Secret."""
    for reference in secret.references:
        pods = f" ({counted(len(reference.pods), 'pod')})" if reference.pods and reference.kind != "Pod" else ""
        yield f"referenced by {plain(reference.title)}{pods}: {plain(reference.path)}"
    if secret.listed_by:
        yield f"listed by {first_names(f'ServiceAccount/{name}' for name in secret.listed_by)}"
    if secret.image_pulls:
        titles = first_names(dict.fromkeys(reference.title for reference in secret.image_pulls))
        yield f"named by imagePullSecrets of {titles}, without effect: Kubernetes pulls no image with it"
