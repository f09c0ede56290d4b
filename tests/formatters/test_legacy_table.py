"""The table of legacy Secrets: its cells, and the columns that fit a terminal."""

import re

import msgspec
import pytest

from tests.legacy.retired import Cluster, day, disabled, secret
from webhook.formatters.formatter import FormatOptions
from webhook.formatters.legacy_table import format_report
from webhook.scan.rbac import Grant, Permission
from webhook.scan.report import UnreadResource


def table(cluster: Cluster, width: int = 0) -> list[list[str]]:
    return [re.split(" {2,}", line) for line in format_report(cluster.report(), FormatOptions(width=width))]


def test_rows_say_state_last_use_account_and_references() -> None:
    cluster = Cluster(secret("idle"), disabled("missed", days=3, used=2), secret("new", created=3), template="idle")
    assert table(cluster)[1:] == [
        ["shop/missed", "still used", day(2), "-", "app", "-"],
        ["shop/idle", "referenced", "-", "-", "app", "Deployment/idle"],
        ["shop/new", "too early", "-", "-", "app", "-"],
    ]


@pytest.mark.parametrize(("grants", "text"), [
    pytest.param(None, "?", id="not known"),
    pytest.param((), "-", id="none"),
    pytest.param((Grant(Permission.UNKNOWN, ()),), "?", id="not read"),
    pytest.param((Grant(Permission.EVERYTHING, ()),), "cluster-admin", id="everything"),
    pytest.param((Grant(Permission.EVERYTHING, ("shop",)),), "admin", id="everything in a namespace"),
    pytest.param((Grant(Permission.SECRETS, ()), Grant(Permission.WRITE, ())), "read Secrets (all)", id="the worst"),
])  # fmt: skip
def test_permission_is_the_most_dangerous_one(grants, text) -> None:
    report = Cluster(secret("a")).report()
    [found] = report.secrets
    report = msgspec.structs.replace(report, secrets=(msgspec.structs.replace(found, grants=grants),))
    assert re.split(" {2,}", [*format_report(report)][1])[3] == text


def test_columns_that_do_not_fit_are_left_out_and_names_are_not() -> None:
    cluster = Cluster(secret("a" * 60), secret("b"))
    assert table(cluster, 36) == [
        ["SECRET", "STATE", "LAST USED"], [f"shop/{'a' * 60}"], ["", "unused", "-"], ["shop/b", "unused", "-"],
    ]  # fmt: skip
    assert table(cluster, 5) == [["SECRET"], [f"shop/{'a' * 60}"], ["shop/b"]]


@pytest.mark.parametrize("width", [0, 80, 200])
def test_long_name_shifts_no_row(width) -> None:
    annotations = {"kubernetes.io/service-account.name": "robot" * 24}
    cluster = Cluster(secret("a" * 80), secret("b", annotations=annotations), secret("c"), template="c")
    header, *lines = format_report(cluster.report(), FormatOptions(width=width))
    rows = [line for line in lines if " " in line]
    assert len(rows) == 3
    columns = [header.index(name) for name in ("STATE", "LAST USED", "PERMISSIONS")]
    assert all(row[at - 1] == " " != row[at] for row in rows for at in columns)
    assert sum(f"shop/{'a' * 80}" in line for line in lines) == 1
    assert all(len(line) <= (width or 400) for line in rows)


def test_what_was_not_read_is_behind_the_rows() -> None:
    cluster = Cluster(secret("a"))
    unread = UnreadResource("deployments", "no", "their templates", "", affects_decisions=True, may_name_secrets=True)
    cluster.small.snapshot.unread.append(unread)
    assert table(cluster)[-1] == ["not read: deployments: no"]
