"""A summary of audit logs as JSON, for programs; `version` changes when a key goes or changes its meaning."""

import datetime as dt
import json
from typing import Any

from webhook.audit.bounded_counter import Table
from webhook.audit.events import FATES
from webhook.audit.summary import Decisions, Fates, Summary, Uses

VERSION = 1


def text(summary: Summary, logs: int) -> str:
    """Return the summary of so many logs.

    `decisions` are told by each log by itself, null where it tells of none: requests by what became of them, by rule,
    namespace, account and day. Each table lists the names it has room for; `rest` is what was counted for `dropped`
    others, and null where there are none. A name that is empty is one that the log doesn't know.
    """
    notes = summary.notes
    return json.dumps({
        "version": VERSION,
        "logs": logs,
        "lines": {
            "tokenguard": notes.own, "apiServer": notes.events, "other": notes.other, "broken": notes.broken,
        },
        "broken": [{"at": at, "message": why} for at, why in notes.named],
        "unread": [{"log": name, "message": why} for name, why in notes.unread],
        "first": time(summary.first),
        "last": time(summary.last),
        "staleTokens": _uses(summary.stale) if notes.events else None,
        "legacyTokens": _uses(summary.legacy) if notes.events else None,
        "decisions": {"tokenguard": _decisions(summary.own), "apiServer": _decisions(summary.told)},
    }, indent=2)  # fmt: skip


def time(when: dt.datetime | None) -> str | None:
    """Return a time as RFC 3339, in UTC and whole seconds."""
    return when.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when else None


def _decisions(told: Decisions) -> dict[str, Any] | None:
    if not (told.requests or told.dry_runs.weight):
        return None
    return {
        "requests": told.requests,
        **_fates(told.fates),
        "dryRuns": _fates(told.dry_runs),
        "sampled": {"lines": told.sampled, "standFor": round(told.sampled_for)},
        "rules": _table(told.rules, "rule"),
        "namespaces": _table(told.namespaces, "namespace"),
        "accounts": _table(told.accounts, "account"),
        "days": _table(told.days, "day"),
        "exemptions": _table(told.exemptions, "exemption"),
    }


def _fates(fates: Fates) -> dict[str, int]:
    return {fate.name.lower(): fates[fate] for fate in FATES}


def _table(table: Table[Fates], name: str) -> dict[str, Any]:
    rows = table.in_order() if name == "day" else table.ranked()
    return {
        "rows": [{name: key, **_fates(row)} for key, row in rows],
        "dropped": table.dropped,
        "rest": _fates(table.rest) if table.dropped else None,
    }


def _uses(table: Table[Uses]) -> dict[str, Any]:
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
            for account, row in table.ranked()
        ],
        "dropped": table.dropped,
        "rest": {"requests": table.rest.requests} if table.dropped else None,
    }
