"""A summary of audit logs as JSON; `version` changes when a key is removed or changes its meaning."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from webhook.audit.events import COUNTED_OUTCOMES
from webhook.audit.summary import AuditSummary, DecisionCounts, OutcomeCounter, RecordedOutcomes, TokenUseCounter
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json

VERSION = 2


def format_summary(summary: AuditSummary, _options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the summary.

    `decisions` has the counts of each log, null if it contains no decision. A table lists as many names as fit into
    memory; `rest` is the count of the `dropped` others, or null. An empty name is unknown to the log.
    """
    stats = summary.stats
    yield format_json({
        "version": VERSION,
        "logs": stats.logs,
        "lines": {
            "tokenguard": stats.tokenguard,
            "apiServer": stats.apiserver,
            "other": stats.other,
            "unreadable": stats.unreadable,
        },
        "unreadableLines": [{"at": at, "message": reason} for at, reason in stats.unreadable_lines],
        "unreadableLogs": [{"log": name, "message": reason} for name, reason in stats.unreadable_logs],
        "first": format_time(summary.first),
        "last": format_time(summary.last),
        "staleTokens": _token_uses(summary.stale) if stats.apiserver else None,
        "legacyTokens": _token_uses(summary.legacy) if stats.apiserver else None,
        "refusedTokens": _refused_uses(summary) if stats.apiserver else None,
        "decisions": {"tokenguard": _decisions(summary.tokenguard), "apiServer": _decisions(summary.apiserver)},
    })  # fmt: skip


def format_time(time: dt.datetime | None) -> str | None:
    """Return a time as RFC 3339, in UTC and whole seconds."""
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time else None


def _decisions(decisions: DecisionCounts) -> dict[str, Any] | None:
    if not (decisions.requests or decisions.dry_runs.weight):
        return None
    return {
        "requests": decisions.requests,
        **_outcomes(decisions.outcomes),
        "dryRuns": _outcomes(decisions.dry_runs),
        "sampled": {"records": decisions.sampled_records, "represented": round(decisions.represented)},
        "rules": _table(decisions.rules, "rule"),
        "namespaces": _table(decisions.namespaces, "namespace"),
        "accounts": _table(decisions.accounts, "account"),
        "days": _table(decisions.days, "day"),
        "exemptions": _table(decisions.exemptions, "exemption"),
    }


def _outcomes(counts: RecordedOutcomes) -> dict[str, int]:
    return {outcome.name.lower(): counts[outcome] for outcome in COUNTED_OUTCOMES}


def _table(counter: OutcomeCounter, name: str) -> dict[str, Any]:
    rows = counter.by_name() if name == "day" else counter.most_frequent()
    return {
        "rows": [{name: key, **_outcomes(row)} for key, row in rows],
        "dropped": counter.dropped,
        "rest": _outcomes(counter.others) if counter.dropped else None,
    }


def _refused_uses(summary: AuditSummary) -> dict[str, Any]:
    counter = summary.refused
    return {
        "rows": [
            {
                "secret": secret,
                "address": address,
                "client": client,
                "requests": row.requests,
                "first": format_time(row.first),
                "last": format_time(row.last),
            }
            for (secret, address, client), row in summary.refused_uses()
        ],
        "dropped": counter.dropped,
        "rest": {"requests": counter.others.requests} if counter.dropped else None,
    }


def _token_uses(counter: TokenUseCounter) -> dict[str, Any]:
    return {
        "rows": [
            {
                "account": account,
                "requests": row.requests,
                "first": format_time(row.first),
                "last": format_time(row.last),
                "secondsStale": row.seconds_stale or None,
                "details": list(row.details),
                "pods": list(row.pods),
                "clients": list(row.clients),
            }
            for account, row in counter.most_frequent()
        ],
        "dropped": counter.dropped,
        "rest": {"requests": counter.others.requests} if counter.dropped else None,
    }
