"""The legacy Secrets of a cluster as a table, a line for each: for many Secrets, and for grep."""

from collections.abc import Iterator

from webhook.core.formatting import plain
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.legacy.report import LegacyReport
from webhook.legacy.retirable import RetirableSecret, RetirementState
from webhook.scan.rbac import Grant, Permission

_HEADER = ("SECRET", "STATE", "LAST USED", "PERMISSIONS", "ACCOUNT", "REFERENCED BY")
_MAX_WIDTH, _CUT_WIDTH = 40, 20
"""Columns of text: on a terminal narrower than 80, the longest cell that widens its column; to what others are cut."""
_STATES = {
    RetirementState.STILL_USED: "still used",
    RetirementState.UNKNOWN: "unknown",
    RetirementState.REFERENCED: "referenced",
    RetirementState.TOO_EARLY: "too early",
}
_PERMISSIONS = {
    Permission.EVERYTHING: "admin",
    Permission.ESCALATION: "escalate",
}


def format_report(report: LegacyReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield a header and a line for each Secret, the worst first; then what could not be read.

    Without a `width`, each column is as wide as its longest cell. With one, columns that do not fit are left out, the
    last ones first.
    """
    rows = [_HEADER, *map(_row, report.secrets)]
    limit = max(_MAX_WIDTH, options.width // 2)
    widths = [
        max(len(cell) if not options.width or len(cell) <= limit else cut for cell in column)
        for column, cut in zip(zip(*rows, strict=True), (0, *[_CUT_WIDTH] * (len(_HEADER) - 1)), strict=True)
    ]
    while options.width and len(widths) > 1 and sum(widths) + 2 * (len(widths) - 1) > options.width:
        del widths[-1]
    for row in rows:
        yield from _lines(row, widths)
    for unread in report.unread:
        yield f"not read: {unread.resource}: {plain(unread.reason)}"


def _lines(row: tuple[str, ...], widths: list[int]) -> Iterator[str]:
    """Yield the line of a row. A Secret whose name is too long gets its own line: names are copied, so never cut."""
    if len(row[0]) > widths[0]:
        yield row[0]
        row = ("", *row[1:])
    cells = (
        f"{cell if len(cell) <= width else f'{cell[: width - 1]}…':<{width}}"
        for cell, width in zip(row, widths, strict=False)
    )
    if line := "  ".join(cells).rstrip():
        yield line


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
