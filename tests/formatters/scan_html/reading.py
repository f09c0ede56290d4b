"""Reads a scan's page without a browser, and compares it with the JSON of the same scan."""

import html.parser
from collections import Counter
from typing import Any

ACTIONS = ("reject", "patch", "warn", "audit")
VOID = {"meta", "input", "rect", "link", "br"}


class Page(html.parser.HTMLParser):
    """What stands in a page: its elements with their attributes and texts, and the tables among them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._key = ""
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.elements.append((tag, found))
        if "table" in (found.get("class") or "").split():
            self._key = found["id"]
            self.tables[self._key] = []
        if tag == "tr":
            self.tables[self._key].append([])
        if tag in ("th", "td"):
            self.tables[self._key][-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if "script" not in self._open and "style" not in self._open:
            self.texts.append(data)
        if {"th", "td"} & set(self._open):
            self.tables[self._key][-1][-1] += data

    def all(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


def shown(now, simulated):
    return str(now) if simulated in (None, now) else f"{now} → {simulated}"


def agree(parsed: Page, as_json: Any) -> None:
    """Have a page and the JSON of the same scan say the same."""
    _agree_in_sum(parsed, as_json)
    _agree_in_detail(parsed, as_json)


def _agree_in_sum(parsed: Page, as_json: Any) -> None:
    outcomes = ("denied", "patched", "warned", "allowed")
    summary = as_json["summary"]
    for row, kind in zip(parsed.tables["outcomes"][1:], ("pods", "workloads", "secrets"), strict=True):
        other = summary[f"simulated{kind.capitalize()}"] or {}
        assert row[2:] == [shown(summary[kind][outcome], other.get(outcome)) for outcome in outcomes]
    now, after = Counter(), Counter()
    for count in as_json["ruleCounts"]:
        for key in ((count["rule"], count["action"]), (count["namespace"], ""), (count["namespace"], count["rule"])):
            now[key] += count["count"]
            after[key] += count["simulated"] if as_json["simulated"] else count["count"]
    rows = parsed.tables["rules"][1:]
    assert {row[0] for row in rows} == {count["rule"] for count in as_json["ruleCounts"]}
    for row in rows:
        assert row[2:] == [shown(now[row[0], action], after[row[0], action]) for action in ACTIONS]
    head, *rows = parsed.tables["namespaces"]
    assert {row[0] for row in rows} == {count["namespace"] for count in as_json["ruleCounts"]}
    for row in rows:
        assert row[2] == shown(now[row[0], ""], after[row[0], ""])
        cells = [shown(now[row[0], rule], after[row[0], rule]) for rule in head[3:]]
        assert row[3:] == ["" if cell == "0" else cell for cell in cells]


def _agree_in_detail(parsed: Page, as_json: Any) -> None:
    workloads = sorted(
        (workload["namespace"], str(workload["podCount"]), workload["change"]) for workload in as_json["workloads"]
    )
    simulates = as_json["simulated"] is not None
    assert (
        sorted((row[0], row[2], row[5] if simulates else "unchanged") for row in parsed.tables["workloads"][1:])
        == workloads
    )
    status = {(row[0], row[1]): row[5] for row in parsed.tables["secrets"][1:]}
    assert {name for name, told in status.items() if "safe to delete" in told} == {
        (secret["namespace"], secret["name"]) for secret in as_json["legacySecrets"] if secret["removable"]
    }
    lifetimes = [list(map(int, row[2:])) for row in parsed.tables["lifetimes"][1:]]
    states = ("now", "recreated", "simulated")[: 3 if simulates else 2]
    assert [sum(column) for column in zip(*lifetimes, strict=True)] == [
        sum(token[state] for token in as_json["tokens"]) for state in states
    ]
    by_use = parsed.tables["last-use"][1:]
    assert sum(int(row[2]) for row in by_use) == len(as_json["legacySecrets"]) == len(status)
    assert sorted((row[0], row[1], row[3], row[4]) for row in parsed.tables["accounts-with-tokens"][1:]) == sorted(
        (account["namespace"], account["name"], str(account["pods"]), str(len(account["legacySecrets"])))
        for account in as_json["accountsWithTokens"]
    )
    assert [row[0] for row in parsed.tables.get("csi-drivers", [])[1:]] == [
        driver["name"] for driver in as_json["csiDrivers"]
    ]
    assert len(parsed.tables["tokens"]) == len(as_json["tokens"]) + 1
    assert len(parsed.tables["exemptions"]) == len(as_json["exemptions"]) + 1
