"""The self-probe against an API server that gives the answers of a list."""

import datetime as dt
import json
import logging

import pytest

from webhook.cluster.self_probe import SelfProbe
from webhook.cluster.transport import ApiError
from webhook.core.cluster_state import ClusterState
from webhook.core.dry_run import DryRunAnswer
from webhook.core.policy.loader import default_policy
from webhook.core.snapshot import Snapshot
from webhook.status.probe import ProbePod, expect, probe_pod

NAMESPACE = "tokenguard-probe"
NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
POLICY = default_policy()
WARNINGS = expect(probe_pod(ProbePod.PATCH, NAMESPACE, POLICY.tokens), POLICY, ClusterState(), NOW).warnings
DENIED = DryRunAnswer(403, 'HTTP 403: admission webhook "pods.validate.tokenguard.svc" denied the request: x')
PATCHED = DryRunAnswer(
    403,
    'HTTP 403: pods "x" is forbidden: exceeded quota: nothing',
    WARNINGS,
)
SNAPSHOT = Snapshot(POLICY, ClusterState())
LET_IN = DryRunAnswer(201, "")


class ApiServer:
    """Answers the dry runs of a round with `answers`; `allowed` says whether the account may create pods."""

    def __init__(self, *answers, allowed=True) -> None:
        self.answers, self.allowed, self.requests = list(answers), allowed, []

    def now(self):
        return NOW

    def post(self, _path, _body):
        if isinstance(self.allowed, ApiError):
            raise self.allowed
        return json.dumps({"status": {"allowed": self.allowed, "userInfo": {"username": "u"}}}).encode()

    def dry_run(self, path, body):
        self.requests.append((path, body["metadata"]["name"]))
        return self.answers.pop(0)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("webhook.cluster.self_probe.RETRY_DELAY", 0.0)


def probe_of(server, snapshot=SNAPSHOT, interval=60.0):
    counted = []
    probe = SelfProbe(
        lambda: snapshot, lambda pod, result: counted.append((pod, result)), None,
        namespace=NAMESPACE, interval=interval, transport=server,
    )  # fmt: skip
    return probe, counted


def test_probe_creates_both_pods_by_dry_run() -> None:
    server = ApiServer(DENIED, PATCHED)
    probe, counted = probe_of(server)
    probe.probe()
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    assert server.requests == [(path, "tokenguard-probe-deny"), (path, "tokenguard-probe-patch")]
    assert counted == [("deny", "success"), ("patch", "success")]


def test_unexpected_answer_is_tried_again_before_it_counts(caplog) -> None:
    probe, counted = probe_of(ApiServer(LET_IN, PATCHED, DENIED, PATCHED))
    probe.probe()
    assert counted == [("deny", "success"), ("patch", "success")]
    probe, counted = probe_of(ApiServer(LET_IN, PATCHED, LET_IN, PATCHED))
    with caplog.at_level(logging.INFO, "tokenguard.probe"):
        probe.probe()
    assert counted == [("deny", "not_enforced"), ("patch", "success")]
    assert "self-probe: deny: not_enforced: was not denied" in caplog.text
    assert "pods can be created in namespace tokenguard-probe" in caplog.text


def test_account_without_the_right_creates_nothing(caplog) -> None:
    server = ApiServer(allowed=False)
    probe, counted = probe_of(server)
    for _ in range(3):
        probe.probe()
    assert server.requests == counted == []
    assert caplog.text.count("self-probe off: this account may not create pods") == 1


def test_probe_before_the_policy_is_loaded_sends_nothing() -> None:
    server = ApiServer()
    probe, counted = probe_of(server, snapshot=None)
    probe.probe()
    assert server.requests == counted == []


def test_unreachable_api_server_is_an_error_of_each_pod() -> None:
    probe, counted = probe_of(
        ApiServer(allowed=ApiError(0, "the connection to the server was refused", unreachable=True))
    )
    probe.probe()
    assert counted == [(pod, "error") for pod in ProbePod]


def test_result_is_logged_when_it_changes(caplog) -> None:
    probe, _ = probe_of(ApiServer(DENIED, PATCHED, DENIED, PATCHED))
    with caplog.at_level(logging.INFO, "tokenguard.probe"):
        probe.probe()
        probe.probe()
    assert caplog.text.count("self-probe: deny: success") == 1
