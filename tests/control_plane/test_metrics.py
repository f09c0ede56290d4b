"""Every metric that is documented, of a real installation; and a real Prometheus that reads them and fires alerts."""

import base64
import contextlib
import datetime as dt
import json
import re
import ssl
import urllib.request
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.control_plane.installed import installed
from tests.control_plane.plane import own_plane
from tests.control_plane.scraping import prometheus
from tests.documented import API_SERVERS, METRICS
from tests.end_to_end.cluster import POLICY, created, pod, prepare, put_policy, reads_legacy, refusal
from tests.manifests.rendering import MONITORING, render, the
from tests.serving import JSON, eventually
from webhook.scan.counts import OutcomeCounts
from webhook.scan.status import KEY, MAX_AGE_KEY, ScanStatus

SOON = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=5)
ENDING = f'- {{rules: ["*"], namespaces: [oncall], reason: "until the move, INFRA-7", until: {SOON}}}\n'
NOBODY = {
    "name": "nobody.mutate.tokenguard.svc", "admissionReviewVersions": ["v1"], "sideEffects": "None",
    "failurePolicy": "Ignore", "clientConfig": {"url": "https://127.0.0.1:1/mutate"},
    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
}  # fmt: skip
"""A webhook that the API server calls in vain and goes on without."""


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with own_plane(tmp_path_factory.mktemp("metrics-plane")) as running:
        running.start_controllers()
        prepare(running)
        eventually(lambda: running.kubectl("get", "serviceaccount", "default", "-n", "default").returncode == 0)
        yield running


@pytest.fixture(scope="module")
def installation(plane, tmp_path_factory):
    """Return an installation that has answered all kinds of reviews."""
    status = write_scan_status(tmp_path_factory.mktemp("scan"))
    for obj in render("manifests/probe"):
        plane.do("apply", "-f", "-", stdin=obj)
    flags = ("--scan-status", str(status), "--probe-interval", "1", "--backstop", "off")
    with installed(plane, tmp_path_factory.mktemp("replicas"), 2, None, *flags) as running:
        put_policy(plane, POLICY + ENDING)
        eventually(
            lambda: all(replica.metric("tokenguard_exemptions", days_left="0-7") == 1 for replica in running.replicas)
        )
        created(plane, pod("plain"))
        created(plane, pod("exempt", account="jenkins", container=reads_legacy("jenkins-token")))
        assert "legacy-token-reference" in refusal(plane, pod("refused", container=reads_legacy()))
        succeeded = "tokenguard_probe_last_success_timestamp_seconds"
        eventually(lambda: all(replica.metric(succeeded, probe="patch") for replica in running.replicas))
        for server in running.replicas:
            assert server.request("POST", "/validate", b"{}", JSON).status == 400
        yield running


@pytest.fixture(scope="module")
def scraping_prometheus(installation, tmp_path_factory):
    """Return a Prometheus that has read all of it at least once."""
    plane = installation.plane
    unreachable = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "nobody"}, "webhooks": [NOBODY],
    }  # fmt: skip
    plane.do("apply", "-f", "-", stdin=unreachable)
    eventually(lambda: in_vain(plane))
    plane.do("delete", "mutatingwebhookconfiguration", "nobody")
    with prometheus(installation, tmp_path_factory.mktemp("prometheus")) as running:
        eventually(lambda: running.targets() == {"tokenguard": ["up", "up"], "apiserver": ["up"]}, patience=60)
        yield running


def write_scan_status(folder: Path) -> Path:
    """Write the files of the ConfigMap of a background scan."""
    status = ScanStatus(
        time=dt.datetime.now(dt.UTC), policy="", api="", reports=1, results={"fail": 1}, left_out=0,
        pods=OutcomeCounts(denied=1), unevaluated_pods={}, legacy_secrets=0,
    )  # fmt: skip
    (folder / MAX_AGE_KEY).write_text("10800")
    (folder / KEY).write_bytes(msgspec.json.encode(status))
    return folder / KEY


def in_vain(plane) -> bool:
    plane.do("create", "--dry-run=server", "-f", "-", stdin=pod("in-vain"))
    return "apiserver_admission_webhook_fail_open_count" in plane.do("get", "--raw", "/metrics")


def exposed(server):
    """Return the labels of each metric that has a sample; `le` is every histogram's."""
    names = {}
    for family in text_string_to_metric_families(server.request("GET", "/metrics").body.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples:
            names.setdefault(name, set()).update(sample.labels.keys() - {"le"})
    return names


def test_documented_metrics_and_labels_are_exposed(installation) -> None:
    first, second = (exposed(server) for server in installation.replicas)
    both = {name: first.get(name, set()) | second.get(name, set()) for name in first | second}
    assert both == {name: set(labels) for name, labels in METRICS.items()}


@pytest.mark.covers("threat-model: tokens in memory or logs")
def test_metrics_contain_no_secret(installation, plane) -> None:
    secrets = json.loads(plane.do("get", "secrets", "-A", "-o", "json"))["items"]
    tokens = [base64.b64decode(secret["data"]["token"]) for secret in secrets if "token" in secret.get("data", {})]
    assert tokens
    for server in installation.replicas:
        body = server.request("GET", "/metrics").body
        assert b"eyJ" not in body
        assert not any(token in body for token in tokens)


def test_prometheus_scrapes_every_documented_metric(scraping_prometheus) -> None:
    names = scraping_prometheus.names()
    assert names >= {name + ("_bucket" if name.endswith("duration_seconds") else "") for name in METRICS}
    assert names >= {name + ("_bucket" if name.endswith("duration_seconds") else "") for name in API_SERVERS}
    [sample] = scraping_prometheus.query(
        'sum by (audience, lifetime) (tokenguard_tokens_injected_total{audience!="_api-server"})'
    )
    assert sample["metric"] == {"audience": "https://vault.example.com", "lifetime": "1h"}
    [sample] = scraping_prometheus.query(
        'tokenguard_findings_total{rule="legacy-token-reference",resource_namespace="shop"}'
    )
    assert (sample["metric"]["job"], sample["metric"]["action"]) == ("tokenguard", "reject")


def states(scraping_prometheus):
    """Return the state of each alert."""
    return {
        rule["name"]: rule["state"] for group in scraping_prometheus.ask("rules")["groups"] for rule in group["rules"]
    }


def test_prometheus_evaluates_alerts_and_the_expected_ones_fire(scraping_prometheus) -> None:
    def settled():
        rules = [rule for group in scraping_prometheus.ask("rules")["groups"] for rule in group["rules"]]
        assert not [rule for rule in rules if rule.get("lastError")]
        return all(rule["health"] == "ok" for rule in rules)

    expected = {"TokenguardExemptionExpiring", "TokenguardLegacyTokenAllowed"}
    eventually(settled)
    eventually(lambda: {name for name, state in states(scraping_prometheus).items() if state == "firing"} == expected)
    [alert] = [
        alert
        for alert in scraping_prometheus.ask("alerts")["alerts"]
        if alert["labels"]["alertname"] == "TokenguardExemptionExpiring"
    ]
    assert alert["annotations"]["summary"].endswith(": until the move, INFRA-7")
    eventually(
        lambda: states(scraping_prometheus)["TokenguardDown"] == "inactive"
    )  # until the first targets are read it is not


def test_every_dashboard_query_works(scraping_prometheus) -> None:
    dashboard = json.loads(the("ConfigMap", render(MONITORING), "tokenguard-dashboard")["data"]["tokenguard.json"])
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries = {
        expression: re.sub(r" > 0(?!\w)(\.5)?", "", re.sub(r"\$__\w+", "1m", expression.replace("$cluster", ".*")))
        for expression in expressions
    }
    # Whether a call failed that the API server then refused depends on the other tests of this API server.
    may_be_empty = {expression for expression in expressions if "calling_webhook_error" in expression}

    def empty() -> set[str]:
        return {entry for entry, now in queries.items() if not scraping_prometheus.query(now)} - may_be_empty

    with contextlib.suppress(AssertionError):
        eventually(lambda: not empty())
    assert empty() == set()


def test_used_legacy_token_is_counted_and_found_as_alert_says(scraping_prometheus, plane) -> None:
    if not plane.has_controllers:
        pytest.skip("needs kube-controller-manager, which puts the token into the Secret")
    token = plane.do("get", "secret", "app-token", "-n", "monitoring", "-o", "jsonpath={.data.token}")
    request = urllib.request.Request(
        f"{plane.url}/api", headers={"Authorization": f"Bearer {base64.b64decode(token).decode()}"}
    )
    trust = ssl.create_default_context(cafile=str(plane.folder / "ca.crt"))
    with urllib.request.urlopen(request, context=trust, timeout=30) as reply:
        assert reply.status == 200
    eventually(lambda: scraping_prometheus.query("serviceaccount_legacy_tokens_total > 0"))
    eventually(lambda: states(scraping_prometheus)["TokenguardLegacyTokenUsed"] == "firing")
    [group] = [group for group in scraping_prometheus.ask("rules")["groups"] if group["name"] == "tokenguard.tokens"]
    action = group["rules"][0]["annotations"]["action"]
    [annotation] = re.findall(r"authentication\.k8s\.io/[\w-]+", action)
    events = [json.loads(line) for line in plane.audit.splitlines()]
    used = [event for event in events if annotation in event.get("annotations", {})]
    assert {event["user"]["username"] for event in used} == {"system:serviceaccount:monitoring:app"}
