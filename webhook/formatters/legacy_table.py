"""The legacy Secrets of a cluster as a table, a line for each: for many Secrets, and for grep."""

from collections.abc import Iterator

from webhook.core.formatting import plain
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.legacy.report import LegacyReport
from webhook.legacy.retirable import RetirableSecret, RetirementState
from webhook.scan.rbac import Grant, Permission

_HEADER = ("SECRET", "STATE", "LAST USED", "PERMISSIONS", "ACCOUNT", "REFERENCED BY")
_MAX_WIDTH = 40
"""Columns of text; a longer name does not widen the column for the others."""
_STATES = {
    RetirementState.STILL_USED: "still used",
    RetirementState.UNKNOWN: "unknown",
    RetirementState.REFERENCED: "referenced",
    RetirementState.TOO_EARLY: "too early",
}
_PERMISSIONS = {
    Permission.EVERYTHING: "admin",
    Permission.ESCALATION: "escalate",
    Permission.WRITE: "write objects",
    Permission.READ: "read objects",
}


def format_report(report: LegacyReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield a header and a line for each Secret, the worst first; then what could not be read.

    Columns that do not fit `width` are left out, the last ones first; names are never cut.
    """
    rows = [_HEADER, *map(_row, report.secrets)]
    widths = [max(len(cell) for cell in column if len(cell) <= _MAX_WIDTH) for column in zip(*rows, strict=True)]
    while options.width and len(widths) > 1 and sum(widths) + 2 * (len(widths) - 1) > options.width:
        del widths[-1]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip()
    for unread in report.unread:
        yield f"not read: {unread.resource}: {plain(unread.reason)}"


def _row(secret: RetirableSecret) -> tuple[str, ...]:
    """Return the cells; `-` is none, `?` unknown."""
    unused = "-" if secret.unused_since else "?"
    last_used = secret.last_used.isoformat() if secret.last_used else unused
    references = [*dict.fromkeys(plain(reference.title) for reference in secret.references)]
    more = f", {len(references) - 1} more" if len(references) > 1 else ""
    return (
        secret.title,
        _STATES.get(secret.state, secret.state),
        last_used,
        _worst_permission(secret.grants),
        plain(secret.account) or "?",
        f"{references[0]}{more}" if references else "-",
    )


def _worst_permission(grants: tuple[Grant, ...] | None) -> str:
    """Return the most dangerous group of permissions; `(all)` in all namespaces."""
    if not grants:
        return "?" if grants is None else "-"
    permission, namespaces = grants[0].permission, grants[0].namespaces
    if permission is Permission.UNKNOWN:
        return "?"
    if permission is Permission.EVERYTHING and not namespaces:
        return "cluster-admin"
    return f"{_PERMISSIONS.get(permission, permission)}{'' if namespaces else ' (all)'}"
