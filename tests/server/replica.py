"""A replica without HTTPS, for tests of the review handler, its metrics and its audit log."""

import datetime as dt
import json
import time
from functools import partial

from tests.serving import POLICY
from webhook.core.admission_request import Phase
from webhook.core.cluster_state import DEFAULT_NAMESPACE, ClusterState
from webhook.core.policy.loader import read_policy
from webhook.server.audit_log.logger import AuditLog
from webhook.server.audit_log.sink import Sink, failure_reason
from webhook.server.http_message import HttpResponse
from webhook.server.metrics.collector import MetricsCollector
from webhook.server.metrics.recorder import Metrics
from webhook.server.review_handler import ReviewHandler
from webhook.server.state import State

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
CLUSTER = ClusterState({"demo": {"app-token": "app"}})
EXEMPTED = """
exemptions:
- rules: [legacy-token-reference, token-expiration, inject]
  namespaces: [demo]
  reason: "INFRA-123"
  until: 2026-12-31
"""


class MemorySink(Sink):
    """A sink of the audit log, in memory."""

    def __init__(self):
        super().__init__("memory")
        self.lines = []

    def write(self, line):
        assert line.endswith(b"}\n")
        self.lines.append(json.loads(line))


def answer_review(handler: ReviewHandler, body: bytes, phase: Phase) -> HttpResponse:
    """Return what a handler answers to one review."""
    review = handler.read(body, phase, time.perf_counter())
    return review if isinstance(review, HttpResponse) else handler.respond(review, handler.evaluate(review))


class Replica:
    """What a replica consists of besides HTTPS: state, metrics, an audit log in memory and the review handler."""

    def __init__(
        self,
        policy: str = POLICY,
        *sinks: Sink,
        own_namespace: str = DEFAULT_NAMESPACE,
        max_body_bytes: int = 8 << 20,
        allows_unpatched_pods: bool = False,
        **audit_options,
    ):
        """`sinks` take the place of the audit log in memory."""
        self.audit = MemorySink()
        sinks, audit_options = sinks or (self.audit,), {"fail_closed": True} | audit_options
        self.state = State(partial(failure_reason, sinks)) if audit_options["fail_closed"] else State()
        if policy:
            self.state.use_policy(read_policy(policy.encode()))
            self.state.use_cluster(CLUSTER)
        self.metrics = Metrics(self.state)
        self.log = AuditLog(sinks, self.metrics, **audit_options)
        self.handler = ReviewHandler(
            self.state, self.log, self.metrics, own_namespace=own_namespace, max_body_bytes=max_body_bytes,
            clock=lambda: NOW, probe_namespace="tokenguard-probe", allows_unpatched_pods=allows_unpatched_pods,
        )  # fmt: skip

    def answer(self, body: bytes, phase: Phase = Phase.VALIDATE) -> HttpResponse:
        return answer_review(self.handler, body, phase)

    def response(self, body: bytes, phase: Phase = Phase.VALIDATE):
        reply = self.answer(body, phase)
        assert reply.status == 200
        return json.loads(reply.body)["response"]

    def counted(self, name: str) -> list[str]:
        lines = MetricsCollector(self.metrics, self.state).exposition().decode().splitlines()
        return [line for line in lines if line.startswith(f"tokenguard_{name}_total")]
