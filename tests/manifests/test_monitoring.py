"""The monitoring overlay: alone and beside each installation; alerts, dashboard and page, held against the metrics."""

import copy
import json
import re
import shutil
import subprocess

import pytest
import yaml

from tests.documented import API_SERVERS, METRICS, page_rows
from tests.manifests.rendering import CHECKOUT, INSTALLATIONS, MONITORING, render, render_text, the
from webhook.pki.san import service_names

CASES = CHECKOUT / "tests/manifests/alerts.yaml"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")
KINDS = {"ConfigMap", "PrometheusRule", "ServiceMonitor"}


GROUPS = yaml.safe_load((CHECKOUT / MONITORING / "prometheus-rule.yaml").read_text())["spec"]["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"]]
each = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


def dashboard():
    return json.loads(the("ConfigMap", render(MONITORING), "tokenguard-dashboard")["data"]["tokenguard.json"])


def targets():
    return [target for panel in dashboard()["panels"] for target in panel.get("targets", ())]


def named(expression):
    """Return the metrics that an expression names, without what a histogram's parts append."""
    bare = re.sub(r'"[^"]*"', "", expression)
    words = re.findall(r"\b(?:tokenguard|apiserver|serviceaccount)_\w+|\bup\b", bare)
    return {re.sub(r"(?<=_seconds)_(bucket|count|sum)$", "", word) for word in words} - {"up"}


def run(folder, *arguments):
    return subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_overlay_has_only_monitoring_objects() -> None:
    objects = render(MONITORING)
    assert {obj["kind"] for obj in objects} == KINDS
    assert the("PrometheusRule", objects)["spec"]["groups"] == GROUPS
    assert {obj["metadata"]["namespace"] for obj in objects} == {"tokenguard"}


@pytest.mark.parametrize("folder", INSTALLATIONS)
def test_overlay_leaves_an_installation_unchanged(folder, tmp_path) -> None:
    both = render_text(tmp_path, f"resources:\n- ../tokenguard/{folder}\n- ../tokenguard/{MONITORING}\n")
    added = [obj for obj in both if obj not in render(folder)]
    assert added == render(MONITORING)
    assert len(both) == len(render(folder)) + len(added)


@pytest.mark.parametrize("folder", INSTALLATIONS)
def test_service_monitor_matches_service_and_certificate(folder) -> None:
    monitor = the("ServiceMonitor", render(MONITORING))["spec"]
    service = the("Service", render(folder))
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "tokenguard"
    [endpoint] = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert (endpoint["scheme"], endpoint["path"]) == ("https", "/metrics")
    assert endpoint["tlsConfig"]["serverName"] in service_names(service["metadata"]["namespace"])
    assert endpoint["tlsConfig"]["ca"] == {"secret": {"name": "tokenguard-tls", "key": "ca.crt"}}


@each
def test_alert_runbook_is_a_section_of_a_page(alert) -> None:
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (CHECKOUT / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_dashboard_selects_the_cluster_in_every_metric() -> None:
    [variable] = [variable for variable in dashboard()["templating"]["list"] if variable["name"] == "cluster"]
    assert (variable["includeAll"], variable["allValue"]) == (True, ".*")
    for target in targets():
        selectors = re.findall(r"\b(?:tokenguard|apiserver|serviceaccount)_\w+(\{[^}]*)?", bare(target["expr"]))
        assert selectors
        assert all("cluster=~$cluster" in selector for selector in selectors), target["expr"]


def bare(expression):
    """Return an expression with only `$cluster` left of what is in quotes."""
    return re.sub(r'"([^"]*)"', lambda match: match[1] if match[1] == "$cluster" else "", expression)


@each
def test_alert_has_summary_description_and_action(alert) -> None:
    assert set(alert["annotations"]) == {"summary", "description", "action", "runbook_url"}
    assert all(text.strip() and "\n" not in text for text in alert["annotations"].values())
    assert alert["labels"].keys() == {"severity"}
    assert len(alert["annotations"]["summary"]) < 120


def test_page_lists_every_alert_and_its_severity() -> None:
    listed = [(row[0].strip("`"), row[1]) for row in page_rows("## The alerts")]
    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS]


@each
def test_alert_uses_documented_metrics(alert) -> None:
    assert named(alert["expr"]) <= METRICS.keys() | API_SERVERS
    assert named(alert["expr"]) or "up{" in alert["expr"]


def test_dashboard_uses_documented_metrics() -> None:
    names = set().union(*(named(target["expr"]) for target in targets()))
    assert names <= METRICS.keys() | API_SERVERS
    assert len(names) > 20


def test_dashboard_and_alerts_use_all_metrics_but_a_few() -> None:
    used = set().union(*(named(target["expr"]) for target in [*targets(), *ALERTS]))
    assert used >= API_SERVERS
    # tokenguard_reloads_total says more than the former; the latter is for the age of the policy
    assert METRICS.keys() - used == {
        "tokenguard_policy_reloads_total",
        "tokenguard_last_reload_success_timestamp_seconds",
        "tokenguard_audit_sampled_out_total",  # sampling leaves lines out on purpose
    }


def test_panels_have_title_description_and_own_position() -> None:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    assert all(panel["title"] and panel["description"] for panel in panels)
    cells = [
        (position["x"] + x, position["y"] + y)
        for position in (panel["gridPos"] for panel in dashboard()["panels"])
        for x in range(position["w"])
        for y in range(position["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


@pytest.fixture
def rules(tmp_path):
    """Return a folder with the manifest's rules in a file, of their annotations the summary alone."""
    bare = copy.deepcopy(GROUPS)
    for group in bare:
        for rule in group["rules"]:
            rule["annotations"] = {"summary": rule["annotations"]["summary"]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": bare}))
    return tmp_path


@needs_promtool
def test_promtool_accepts_the_rules(tmp_path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": GROUPS}))
    done = run(tmp_path, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")
    assert done.returncode == 0, done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


@needs_promtool
def test_promtool_accepts_the_dashboard_expressions(tmp_path) -> None:
    expressions = [re.sub(r"\$__\w+", "5m", target["expr"]) for target in targets()]
    records = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    done = run(tmp_path, "check", "rules", "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(records) > 25


@needs_promtool
def test_alerts_fire_when_they_should_and_not_otherwise(rules) -> None:
    (rules / CASES.name).write_text(CASES.read_text())
    done = run(rules, "test", "rules", CASES.name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    every = {rule["alert"] for rule in ALERTS}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == every
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == every
