"""The figures of a scan's summary, whatever it is shown as."""

from collections import Counter
from collections.abc import Iterable, Iterator

from webhook.core.decision import Outcome
from webhook.core.lifetimes import DEFAULT_EXPIRATION, YEAR
from webhook.core.policy.model import Action
from webhook.scan.exemption_usage import ExemptionStatus, ExemptionUsage
from webhook.scan.report import LegacySecret, OutcomeCounts, ScanReport

OUTCOMES = {
    Outcome.DENIED: "rejected",
    Outcome.PATCHED: "patched",
    Outcome.WARNED: "warned",
    Outcome.ALLOWED: "allowed",
}
ACTIONS = (Action.REJECT, Action.PATCH, Action.WARN, Action.AUDIT)
LIFETIMES = ("endless", "a year", "over an hour", "up to 1 hour")
NOW, AGAIN, SIMULATED = "now", "created again", "simulated"
COPY = "of another type"
USES = ("referred to", "used", "invalid", "can go", COPY)
"""What there is to say of legacy Secrets; several may be true of one, or none."""


def outcomes(report: ScanReport) -> tuple[tuple[str, OutcomeCounts, OutcomeCounts | None], ...]:
    """Return what would come of what there is: of each kind of thing, and under the simulated policy, if any."""
    summary = report.summary
    return (
        ("pods", summary.pods, summary.simulated_pods),
        ("owners, at their worst", summary.owners, summary.simulated_owners),
        ("legacy Secrets", summary.secrets, summary.simulated_secrets),
    )


def rules(report: ScanReport, *, simulated: bool) -> dict[str, Counter[Action]]:
    """Return how often which rule is broken, by what is done about it, the worst first."""
    found: dict[str, Counter[Action]] = {}
    for one in report.rule_counts:
        found.setdefault(one.rule, Counter())[one.action] += (one.simulated or 0) if simulated else one.count
    return dict(sorted(found.items(), key=lambda one: [-one[1][action] for action in ACTIONS]))


def lifetimes(report: ScanReport) -> dict[str, tuple[int, ...]]:
    """Return how many tokens pods have of each of the `LIFETIMES`: now, created again, and simulated, if that is."""
    uses = report.tokens
    found = {
        NOW: _by_lifetime((one.lifetime_seconds, one.now) for one in uses),
        AGAIN: _by_lifetime((one.lifetime_seconds, one.after) for one in uses),
    }
    if report.simulated:
        found[SIMULATED] = _by_lifetime((one.lifetime_seconds, one.simulated or 0) for one in uses)
    return found


def _by_lifetime(uses: Iterable[tuple[int | None, int]]) -> tuple[int, ...]:
    counts: Counter[str] = Counter()
    for lifetime, count in uses:
        if lifetime is None:
            bucket = 0
        elif lifetime >= YEAR:
            bucket = 1
        else:
            bucket = 2 if lifetime > DEFAULT_EXPIRATION else 3
        counts[LIFETIMES[bucket]] += count
    return tuple(counts[one] for one in LIFETIMES)


def uses(secret: LegacySecret) -> Iterator[str]:
    """Yield which of the `USES` are true of a legacy Secret."""
    true = (
        bool(secret.references),
        secret.last_used is not None,
        secret.invalid_since is not None,
        secret.removable,
        secret.is_copy,
    )
    yield from (what for what, holds in zip(USES, true, strict=True) if holds)


def standings(states: Iterable[ExemptionUsage]) -> Iterator[str]:
    """Yield how many exemptions stand how, in words."""
    every = list(states)
    counts = Counter(one.standing for one in every)
    words = {
        ExemptionStatus.HOLDS: "in use",
        ExemptionStatus.SHADOWED: "shadowed",
        ExemptionStatus.HOLDS_NOTHING: "hold nothing",
        ExemptionStatus.NOT_LOOKED_AT: "not looked at",
        ExemptionStatus.ENDED: "ended",
        ExemptionStatus.UNKNOWN: "by who asks",
    }
    yield from (f"{counts[one]} {word}" for one, word in words.items() if counts[one])
    if soon := sum(one.ends_soon for one in every):
        yield f"{soon} soon to end"
