"""A summary of audit logs as JSON, for programs; `version` changes when a key goes or changes its meaning."""

import datetime as dt
import json
from typing import Any

from webhook.audit.bounded_counter import BoundedCounter
from webhook.audit.events import COUNTED_OUTCOMES
from webhook.audit.summary import DecisionCounts, OutcomeCounts, Summary, TokenUseCount

VERSION = 1


def text(summary: Summary, logs: int) -> str:
    """Return the summary of so many logs.

    `decisions` are told by each log by itself, null where it tells of none: requests by what became of them, by rule,
    namespace, account and day. Each table lists the names it has room for; `rest` is what was counted for `dropped`
    others, and null where there are none. A name that is empty is one that the log doesn't know.
    """
    stats = summary.stats
    return json.dumps({
        "version": VERSION,
        "logs": logs,
        "lines": {
            "tokenguard": stats.tokenguard, "apiServer": stats.apiserver, "other": stats.other, "broken": stats.broken,
        },
        "broken": [{"at": at, "message": why} for at, why in stats.named],
        "unread": [{"log": name, "message": why} for name, why in stats.unread],
        "first": time(summary.first),
        "last": time(summary.last),
        "staleTokens": _uses(summary.stale) if stats.apiserver else None,
        "legacyTokens": _uses(summary.legacy) if stats.apiserver else None,
        "decisions": {"tokenguard": _decisions(summary.tokenguard), "apiServer": _decisions(summary.apiserver)},
    }, indent=2)  # fmt: skip


def time(when: dt.datetime | None) -> str | None:
    """Return a time as RFC 3339, in UTC and whole seconds."""
    return when.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when else None


def _decisions(told: DecisionCounts) -> dict[str, Any] | None:
    if not (told.requests or told.dry_runs.weight):
        return None
    return {
        "requests": told.requests,
        **_fates(told.outcomes),
        "dryRuns": _fates(told.dry_runs),
        "sampled": {"lines": told.sampled, "standFor": round(told.sampled_for)},
        "rules": _table(told.rules, "rule"),
        "namespaces": _table(told.namespaces, "namespace"),
        "accounts": _table(told.accounts, "account"),
        "days": _table(told.days, "day"),
        "exemptions": _table(told.exemptions, "exemption"),
    }


def _fates(outcomes: OutcomeCounts) -> dict[str, int]:
    return {outcome.name.lower(): outcomes[outcome] for outcome in COUNTED_OUTCOMES}


def _table(table: BoundedCounter[OutcomeCounts], name: str) -> dict[str, Any]:
    rows = table.by_name() if name == "day" else table.most_frequent()
    return {
        "rows": [{name: key, **_fates(row)} for key, row in rows],
        "dropped": table.dropped,
        "rest": _fates(table.rest) if table.dropped else None,
    }


def _uses(table: BoundedCounter[TokenUseCount]) -> dict[str, Any]:
    return {
        "rows": [
            {
                "account": account,
                "requests": row.requests,
                "first": time(row.first),
                "last": time(row.last),
                "secondsPast": row.past or None,
                "noted": list(row.about),
                "pods": list(row.pods),
                "clients": list(row.agents),
            }
            for account, row in table.most_frequent()
        ],
        "dropped": table.dropped,
        "rest": {"requests": table.rest.requests} if table.dropped else None,
    }
