"""The self-probe of a replica: asks the API server, by dry run, whether the policy in force is enforced.

The request takes the way of everybody's: webhook configuration, caBundle, Service, and whichever replica answers. So it
finds what no replica can know of itself: a deleted configuration, another CA, an excluded namespace.
"""

import datetime as dt
import logging
import random
import threading
from collections.abc import Callable
from pathlib import Path

from webhook.cluster.api_client import ApiClient
from webhook.cluster.self_review import may_probe, user_name
from webhook.cluster.transport import ApiError, Transport
from webhook.core.dry_run import DryRunAnswer
from webhook.core.snapshot import Snapshot
from webhook.status.probe import ProbeFinding, ProbePod, ProbeResult, check_answer, expect, is_unlocked, probe_pod

log = logging.getLogger("tokenguard.probe")
RETRY_DELAY = 5.0
"""Seconds after which an unexpected answer is tried again: replicas need not have got a new policy at the same time."""
_JITTER = 0.2
_FIRST_DELAY = 10.0


def run_probe(
    transport: Transport, namespace: str, snapshot: Snapshot, user: str
) -> list[tuple[ProbeFinding, DryRunAnswer]]:
    """Probe once, in a namespace. `user` makes the requests. Raises `ApiError` without an answer."""
    policy, cluster = snapshot.policy, snapshot.cluster
    tokens = policy.in_namespace(namespace, cluster.namespace_labels(namespace)).tokens
    results = []
    for pod in ProbePod:
        manifest = probe_pod(pod, namespace, tokens)
        expectation = expect(manifest, policy, cluster, transport.now().astimezone(dt.UTC), user)
        answer = transport.dry_run(f"/api/v1/namespaces/{namespace}/pods", manifest)
        results.append((check_answer(pod, expectation, answer), answer))
    return results


class SelfProbe:
    """Probes every `interval` seconds, more or less, in a thread."""

    def __init__(  # noqa: PLR0913 - what is probed, and options
        self,
        snapshot: Callable[[], Snapshot | None],
        record: Callable[[str, str], None],
        folder: Path,
        *,
        namespace: str,
        interval: float,
        kubeconfig: Path | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Create pods in `namespace`; starts nothing, so it may be created before a fork.

        `snapshot` returns what is in force, None before it is loaded. `record` gets pod and result, and `folder` is
        private to the server. `kubeconfig` is None in a cluster.
        """
        self._snapshot = snapshot
        self._record = record
        self._transport = transport or ApiClient(kubeconfig, folder)
        self._namespace = namespace
        self._interval = interval
        self._stopping = threading.Event()
        self._last: dict[ProbePod, ProbeResult] = {}
        self._user = ""
        self._logged = ""

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="tokenguard-probe", daemon=True).start()

    def stop(self) -> None:
        """Stop; a thread that is in a request ends with the process."""
        self._stopping.set()

    def _run(self) -> None:
        delay = min(self._interval, _FIRST_DELAY)
        while not self._stopping.wait(delay * random.uniform(1 - _JITTER, 1 + _JITTER)):  # noqa: S311 - no secret
            try:
                self.probe()
            except Exception as error:  # noqa: BLE001 - a bug must not end the probes
                log.error("self-probe: internal error: %s", type(error).__name__)  # noqa: TRY400 - may quote an object
            delay = self._interval

    def probe(self) -> None:
        """Probe once, and record the results."""
        try:
            results = self._ask()
            if any(finding.result is ProbeResult.NOT_ENFORCED for finding, _ in results):
                self._stopping.wait(RETRY_DELAY)
                results = self._ask()
        except ApiError as error:
            results = [(ProbeFinding(pod, ProbeResult.ERROR, str(error)), DryRunAnswer(0, "")) for pod in ProbePod]
        for finding, answer in results:
            self._record(finding.pod, finding.result)
            self._log_change(finding)
            if is_unlocked(answer):
                self._log_once(
                    f"pods can be created in namespace {self._namespace}: no ResourceQuota of 0 pods applies there"
                )

    def _ask(self) -> list[tuple[ProbeFinding, DryRunAnswer]]:
        snapshot = self._snapshot()
        if snapshot is None or not self._is_permitted():
            return []
        return run_probe(self._transport, self._namespace, snapshot, self._user)

    def _is_permitted(self) -> bool:
        """Return whether this account may create the pods; asked first, so that no refusal is in the audit log."""
        if not may_probe(self._transport, self._namespace):
            self._log_once(f"self-probe off: this account may not create pods in namespace {self._namespace}")
            return False
        self._user = self._user or user_name(self._transport)
        return True

    def _log_change(self, finding: ProbeFinding) -> None:
        if finding.result is self._last.get(finding.pod):
            return
        self._last[finding.pod] = finding.result
        level = logging.INFO if finding.result is ProbeResult.SUCCESS else logging.ERROR
        log.log(level, "self-probe: %s: %s%s", finding.pod, finding.result, finding.reason and f": {finding.reason}")

    def _log_once(self, text: str) -> None:
        if text != self._logged:
            log.warning("%s", text)
            self._logged = text
