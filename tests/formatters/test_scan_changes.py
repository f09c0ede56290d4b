"""What a simulated policy changes: each format lists exactly the workloads and Secrets that the report counts."""

import json
import re
from collections import Counter
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.formatters.scan_html.reading import Page
from tests.formatters.scan_html.sample import cluster
from tests.scan.small_cluster import VAULT, live, named_secret, spec, token
from webhook.core.kinds import Subject
from webhook.core.rules import RULES
from webhook.formatters import scan_json, scan_text
from webhook.formatters.scan_html import page
from webhook.scan.report import ScanReport

PODS = [
    spec([token(audience=VAULT, expirationSeconds=86400)], named_secret("old")),
    spec([token(), {"name": "h", "hostPath": {"path": "/"}}], named_secret("used")),
    spec([{"name": "s", "secret": {"secretName": "old"}}], automountServiceAccountToken=False),
    live() | {"volumes": [*live()["volumes"], token(expirationSeconds=7200)]},
]
CLUSTER = cluster()
for number, pod in enumerate(PODS):
    CLUSTER.deployment(f"varied-{number}", pod).pod(f"alone-{number}", pod, namespace=f"team-{number}")
SUBJECTS = {Subject.POD, Subject.SECRET}
RULE_NAMES = {rule.name: [str(action) for action in rule.actions] for rule in RULES if SUBJECTS & rule.subjects}
INJECTION = {"name": "vault", "audience": VAULT, "mountPath": "/vault"}
INJECTIONS = [{}, {"env": "VAULT"}, {"path": "other"}, {"expirationSeconds": 600}, {"mountPath": "/vault/"}]
EXEMPTION = {"namespaces": ["shop"], "reason": "held", "until": "never"}
MODES = st.sampled_from(["enforce", "enforce", "warn", "audit"])
RULE_ACTIONS = st.fixed_dictionaries({}, optional={name: st.sampled_from(RULE_NAMES[name]) for name in RULE_NAMES})
POLICIES = st.fixed_dictionaries({"mode": MODES, "rules": RULE_ACTIONS}, optional={
    "tokens": st.fixed_dictionaries({}, optional={
        "maxExpirationSeconds": st.sampled_from([600, 3600, 86400]),
        "audiences": st.sampled_from([{"required": False}, {"allowed": [VAULT]}, {"default": VAULT}]),
    }),
    "inject": st.sampled_from([[INJECTION | more] for more in INJECTIONS]),
    "overrides": st.lists(
        st.fixed_dictionaries({"namespaces": st.just(["team-3"]), "mode": MODES, "rules": RULE_ACTIONS}), max_size=1
    ),
    "exemptions": st.lists(
        st.sampled_from([EXEMPTION | {"rules": [name]} for name in RULE_NAMES]), max_size=2, unique_by=str
    ),
}).map(yaml.safe_dump)  # fmt: skip
COUNT = re.compile(r"(\d+) ([^,]+)")


def listed(text: list[str], kind: str) -> Counter[str]:
    """Count the objects in the sections about this kind, by what the titles say."""
    counts: Counter[str] = Counter()
    title = ""
    for line in text:
        if not line.startswith(" "):
            found = re.match(f"{kind}: (.*) if recreated", line)
            title = found[1] if found else ""
        elif title and not line.startswith("   "):
            others = re.search(
                r"(?:^  |^  and |; and )(\d+) (?:more |other |)(?:workload|Secret)s?(?: with|,| in)", line
            )
            named = not re.match(r"  (?:\d+ |and \d+ more|--output)", line)
            counts[title] += named + (int(others[1]) if others else 0)
    return +counts


def in_json(items: list[Any]) -> Counter[str]:
    """Count objects by change; those that changed must have something that differs."""
    for item in items:
        groups = [*item["pods"], item["nextPod"]] if "pods" in item else [item]
        pairs = [(group.get("evaluation", group.get("result")), group["simulated"]) for group in groups if group]
        assert item["change"] == "unchanged" or any(before != after for before, after in pairs), item
    return Counter(item["change"] for item in items if item["change"] != "unchanged")


def assert_counts_agree(report: ScanReport) -> None:
    text = [*scan_text.format_report(report)]
    headline = next(line for line in text if line.startswith("workloads  ")).removeprefix("workloads  ")
    counts = Counter({change: int(number) for number, change in COUNT.findall(headline)})
    read = json.loads("".join(scan_json.format_report(report)))
    rows = Page("".join(page.format_report(report))).rows("workloads")
    assert listed(text, "workloads") == counts
    assert in_json(read["workloads"]) == counts
    assert Counter(row["Change"] for row in rows if row["Change"] != "unchanged") == counts
    assert {row["Change"] == "unchanged" for row in rows if not row["What changes"]} <= {True}
    assert listed(text, "legacy Secrets in use") == in_json(read["legacySecrets"])


@settings(max_examples=60, deadline=None)
@given(POLICIES, POLICIES)
@example("", "rules: {legacy-token-reference: patch}")
@example("", "rules: {token-audience: reject}")
@example("mode: warn", "mode: warn\nrules: {legacy-token-reference: patch, token-audience: reject}")
@example("rules: {legacy-token-reference: patch}", "rules: {api-token-automount: patch}")
def test_scan_simulate_counts_are_the_listed_changes(policy, simulated) -> None:
    assert_counts_agree(CLUSTER.scan(policy, simulated))


@settings(max_examples=30, deadline=None)
@given(POLICIES)
def test_scan_outcome_counts_are_the_listed_workloads(policy) -> None:
    report = CLUSTER.scan(policy)
    counts = listed([*scan_text.format_report(report)], "workloads")
    del counts["allowed"]  # listed only if they are exempt or audited
    outcomes = {name: getattr(report.summary.workloads, name) for name in ("denied", "patched", "warned")}
    assert counts == Counter(outcomes)
