"""Reads a scan's page without a browser, and compares it with the JSON of the same scan."""

import html.parser
from collections import Counter
from typing import Any

ACTIONS = ("reject", "patch", "warn", "audit")
NO_NAMESPACE = "(cluster-scoped)"
VOID = {"meta", "input", "rect", "link", "br", "wbr"}


class Page(html.parser.HTMLParser):
    """The content of a page: its elements with their attributes and texts, and the tables among them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.shared: dict[str, dict[str, str]] = {}
        self._open: list[str] = []
        self._key = ""
        self._label = ""
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        attributes_by_name = dict(attributes)
        self.elements.append((tag, attributes_by_name))
        if "table" in (attributes_by_name.get("class") or "").split():
            self._key = attributes_by_name["id"]
            self.tables[self._key] = []
            self.shared[self._key] = {}
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
        if "caption" in self._open and self._open[-1] == "dt":
            self._label = data
        elif "caption" in self._open and "dd" in self._open:
            shared = self.shared[self._key]
            shared[self._label] = shared.get(self._label, "") + data
        if {"th", "td"} & set(self._open):
            self.tables[self._key][-1][-1] += data

    def rows(self, key: str) -> list[dict[str, str]]:
        """Return the rows of a table by column, with the values that its caption says of every row."""
        head, *rows = self.tables[key]
        return [dict(zip(head, row, strict=True)) | self.shared[key] for row in rows]

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
    for row, kind in zip(parsed.rows("outcomes"), ("pods", "workloads", "secrets"), strict=True):
        other = summary[f"simulated{kind.capitalize()}"] or {}
        assert [row[outcome] for outcome in outcomes] == [
            shown(summary[kind][outcome], other.get(outcome)) for outcome in outcomes
        ]
    now, after = Counter(), Counter()
    for count in as_json["ruleCounts"]:
        namespace = count["namespace"] or NO_NAMESPACE
        for key in ((count["rule"], count["action"]), (namespace, ""), (namespace, count["rule"])):
            now[key] += count["count"]
            after[key] += count["simulated"] if as_json["simulated"] else count["count"]
    rows = parsed.rows("rules")
    assert {row["Rule"] for row in rows} == {count["rule"] for count in as_json["ruleCounts"]}
    for row in rows:
        assert [row[action] for action in ACTIONS] == [
            shown(now[row["Rule"], action], after[row["Rule"], action]) for action in ACTIONS
        ]
    rows = parsed.rows("namespaces")
    assert {row["Namespace"] for row in rows} == {count["namespace"] or NO_NAMESPACE for count in as_json["ruleCounts"]}
    for row in rows:
        namespace = row["Namespace"]
        assert row["All"] == shown(now[namespace, ""], after[namespace, ""])
        for rule in row.keys() - {"Namespace", "", "All"}:
            cell = shown(now[namespace, rule], after[namespace, rule])
            assert row[rule] == ("" if cell == "0" else cell)


def _agree_in_detail(parsed: Page, as_json: Any) -> None:
    workloads = sorted(
        (workload["namespace"], str(workload["podCount"]), workload["change"]) for workload in as_json["workloads"]
    )
    simulates = as_json["simulated"] is not None
    assert (
        sorted((row["Namespace"], row["Pods"], row.get("Change", "unchanged")) for row in parsed.rows("workloads"))
        == workloads
    )
    status = {(row["Namespace"], row["Secret"]): row["State"] for row in parsed.rows("secrets")}
    assert {name for name, state in status.items() if "safe to delete" in state} == {
        (secret["namespace"], secret["name"]) for secret in as_json["legacySecrets"] if secret["removable"]
    }
    states = ("now", "if recreated", "simulated")[: 3 if simulates else 2]
    lifetimes = [[int(row[state]) for state in states] for row in parsed.rows("lifetimes")]
    assert [sum(column) for column in zip(*lifetimes, strict=True)] == [
        sum(token[state.removeprefix("if ")] for token in as_json["tokens"]) for state in states
    ]
    by_use = parsed.rows("last-use")
    assert sum(int(row["All"]) for row in by_use) == len(as_json["legacySecrets"]) == len(status)
    assert sorted(
        (row["Namespace"], row["ServiceAccount"], row["Pods"], row["Legacy Secrets"])
        for row in parsed.rows("accounts-with-tokens")
    ) == sorted(
        (account["namespace"], account["name"], str(account["pods"]), str(len(account["legacySecrets"])))
        for account in as_json["accountsWithTokens"]
    )
    assert [row[0] for row in parsed.tables.get("csi-drivers", [])[1:]] == [
        driver["name"] for driver in as_json["csiDrivers"]
    ]
    assert len(parsed.tables["tokens"]) == len(as_json["tokens"]) + 1
    assert len(parsed.tables["exemptions"]) == len(as_json["exemptions"]) + 1
