"""The summary of a scan: what fits a screen of 80 columns and 24 lines, whatever the cluster."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from webhook.core.decision import Outcome
from webhook.core.lifetimes import DEFAULT_EXPIRATION, YEAR
from webhook.core.policy.model import Action
from webhook.core.text import counted, plain
from webhook.scan.asked import Filters, PolicyUsed
from webhook.scan.report import Counts, ExemptionState, LegacySecret, Report, Standing
from webhook.scan.verdicts import Change

COLUMNS, ROWS = 80, 24
_NAME = 11
_ACTIONS = (Action.REJECT, Action.PATCH, Action.WARN, Action.AUDIT)
_OUTCOMES = {
    Outcome.DENIED: "rejected",
    Outcome.PATCHED: "patched",
    Outcome.WARNED: "warned",
    Outcome.ALLOWED: "allowed",
}
_LIFETIMES = ("endless", "a year", "over an hour", "up to 1 hour")


def summary_lines(report: Report) -> list[str]:
    """Return the lines."""
    head = [*_head(report), *_outcomes(report)]
    tail = [*_tokens(report), *_legacy(report), *_accounts(report), *_exemptions(report), *_unread(report)]
    return [_cut(line) for line in (*head, *_rules(report, ROWS - len(head) - len(tail)), *tail)]


def _head(report: Report) -> Iterator[str]:
    yield _field("cluster", f"{plain(report.cluster)}, {report.time:%Y-%m-%d %H:%M} UTC")
    yield _field("policy", _policy(report.policy))
    if report.simulated:
        yield _field("simulated", _policy(report.simulated))
    summary = report.summary
    seen = f"{counted(summary.pods.all, 'pod')} of {counted(summary.owners.all, 'owner')}"
    yield _field("scanned", f"{counted(summary.namespaces, 'namespace')}, {seen}")
    if only := _filters(report.filters):
        yield _field("", f"only {only}")


def _policy(used: PolicyUsed) -> str:
    return f"{used.revision}, {used.mode}: {plain(used.origin)}"


def _filters(filters: Filters) -> str:
    given = (("namespace", filters.namespaces), ("rule", filters.rules), ("action", filters.actions))
    return "; ".join(f"{what} {', '.join(map(plain, values))}" for what, values in given if values)


def _outcomes(report: Report) -> Iterator[str]:
    """Yield the table of what would come of what there is, with the simulated policy's numbers behind an arrow."""
    summary = report.summary
    yield _row("if created again", list(_OUTCOMES.values()))
    for name, now, simulated in (
        ("pods", summary.pods, summary.simulated_pods),
        ("owners, at their worst", summary.owners, summary.simulated_owners),
        ("legacy Secrets", summary.secrets, summary.simulated_secrets),
    ):
        yield _row(name, [_number(getattr(now, one.value), simulated, one) for one in _OUTCOMES])
    if report.simulated:
        changes = Counter(owner.change for owner in report.owners)
        told = [
            f"{changes[one]} {one.removeprefix('newly ')}" for one in Change if changes[one] and one is not Change.NONE
        ]
        yield _field("owners", f"newly {', '.join(told)}" if told else "no change")


def _number(now: int, simulated: Counts | None, outcome: Outcome) -> str:
    return str(now) if simulated is None else f"{now} > {getattr(simulated, outcome.value)}"


def _row(name: str, cells: Iterable[str]) -> str:
    return f"{name:<24}" + "".join(f"{cell:>14}" for cell in cells)


def _rules(report: Report, room: int) -> Iterator[str]:
    """Yield how often which rule is broken, so many lines at the most."""
    found: dict[str, Counter[Action]] = {}
    for one in report.rule_counts:
        count = one.count if one.simulated is None else one.simulated
        found.setdefault(one.rule, Counter())[one.action] += count
    if not found:
        return
    worst_first = sorted(found.items(), key=lambda one: [-one[1][action] for action in _ACTIONS])
    yield _row("by rule, simulated" if report.simulated else "by rule", _ACTIONS)
    shown = worst_first if len(worst_first) < room else worst_first[: room - 2]
    for rule, actions in shown:
        yield _row(f"  {rule}", [str(actions[action]) for action in _ACTIONS])
    if len(shown) < len(worst_first):
        yield f"  and {counted(len(worst_first) - len(shown), 'more rule')}"


def _tokens(report: Report) -> Iterator[str]:
    yield _row("tokens in pods", _LIFETIMES)
    yield _row("  now", _lifetimes((one.lifetime_seconds, one.now) for one in report.tokens))
    yield _row("  created again", _lifetimes((one.lifetime_seconds, one.after) for one in report.tokens))
    if report.simulated:
        yield _row("  simulated", _lifetimes((one.lifetime_seconds, one.simulated or 0) for one in report.tokens))


def _lifetimes(uses: Iterable[tuple[int | None, int]]) -> list[str]:
    counts: Counter[str] = Counter()
    for lifetime, count in uses:
        if lifetime is None:
            bucket = 0
        elif lifetime >= YEAR:
            bucket = 1
        else:
            bucket = 2 if lifetime > DEFAULT_EXPIRATION else 3
        counts[_LIFETIMES[bucket]] += count
    return [str(counts[one]) for one in _LIFETIMES]


def _legacy(report: Report) -> Iterator[str]:
    secrets = report.legacy_secrets
    if not secrets:
        return
    told = ((_count(secrets, lambda one: bool(one.references)), "referred to"),
            (_count(secrets, lambda one: one.last_used is not None), "used"),
            (_count(secrets, lambda one: one.invalid_since is not None), "invalid"),
            (_count(secrets, lambda one: one.can_go), "can go"))  # fmt: skip
    yield _field(
        "legacy", f"{counted(len(secrets), 'Secret')}: {', '.join(f'{number} {what}' for number, what in told)}"
    )
    since = f"known since {report.tracked_since}" if report.tracked_since else "not known"
    yield _field("", f"their use is {since}")


def _count(secrets: Iterable[LegacySecret], which: Callable[[LegacySecret], bool]) -> int:
    return sum(map(which, secrets))


def _accounts(report: Report) -> Iterator[str]:
    if report.idle_accounts is None:
        return
    if idle := len(report.idle_accounts):
        yield _field("accounts", f"{idle} with the API server's token mounted and no right to anything")


def _exemptions(report: Report) -> Iterator[str]:
    for name, states in (("exemptions", report.exemptions), ("simulated", report.simulated_exemptions or ())):
        if states:
            yield _field(name, f"{len(states)}: {', '.join(_standings(states))}")


def _standings(states: Iterable[ExemptionState]) -> Iterator[str]:
    counts = Counter(one.standing for one in states)
    words = {
        Standing.HOLDS: "in use",
        Standing.HOLDS_NOTHING: "hold nothing",
        Standing.ENDED: "ended",
        Standing.UNKNOWN: "by who asks",
    }
    yield from (f"{counts[one]} {word}" for one, word in words.items() if counts[one])
    if soon := sum(one.ends_soon for one in states):
        yield f"{soon} soon to end"


def _unread(report: Report) -> Iterator[str]:
    if report.unread:
        yield _field("NOT READ", f"{', '.join(one.what for one in report.unread)} (at the end)")


def _field(name: str, value: str) -> str:
    return f"{name:<{_NAME}}{value}"


def _cut(line: str) -> str:
    return line if len(line) <= COLUMNS else line[: COLUMNS - 1] + "…"
