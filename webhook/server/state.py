"""The current policy and cluster state of the server, and what is missing; `readiness` decides from it."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from webhook.core.cluster_state import ClusterState
from webhook.core.policy.model import Policy
from webhook.core.policy_change import DURATION
from webhook.core.snapshot import Snapshot
from webhook.pki.certificate import Certificate


@dataclass(slots=True)
class State:
    """The current snapshot, replaced as a whole, so that a review has one policy from start to end.

    `snapshot` is None until policy and cluster are loaded; `not_ready_reasons` says why they are not. `last_synced` is
    when each resource of the API server was last known to be current, in monotonic seconds. `certificate` is the one
    that is served; None while a placeholder is. `audit_error` returns why required records cannot be written, or an
    empty string. `backstop_in_sync` is None if no exported policies are kept in the cluster, or not looked at yet.
    """

    audit_error: Callable[[], str] = lambda: ""
    snapshot: Snapshot | None = None
    not_ready_reasons: dict[str, str] = field(default_factory=dict)
    last_synced: dict[str, float] = field(default_factory=dict)
    certificate: Certificate | None = None
    awaits_certificate: bool = False
    backstop_in_sync: bool | None = None
    _policy: Policy | None = None
    _previous: Policy | None = None
    _changed: float = -math.inf
    _cluster: ClusterState | None = None
    _api_audiences: tuple[str, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Policy, cluster and audiences come from different threads."""

    def use_policy(self, policy: Policy) -> None:
        """Replace the policy."""
        with self._lock:
            if self._policy is not None and self._policy.revision != policy.revision:
                self._previous, self._changed = self._policy, time.monotonic()
            self._policy = policy
            self._update("policy")

    def use_cluster(self, cluster: ClusterState) -> None:
        """Replace the cluster state."""
        with self._lock:
            newer = self._api_audiences
            self._cluster = replace(cluster, api_audiences=newer) if newer else cluster
            self._update("objects")

    def use_api_audiences(self, audiences: tuple[str, ...]) -> None:
        """Replace the API server's audiences, also those of later cluster states."""
        with self._lock:
            self._api_audiences = audiences
            if self._cluster is not None:
                self._cluster = replace(self._cluster, api_audiences=audiences)
                self._update("objects")

    def set_not_ready(self, part: str, reason: str) -> None:
        """Record why a part could not be loaded; no effect if an earlier version of it is loaded."""
        if (self._policy if part == "policy" else self._cluster) is None:
            self.not_ready_reasons[part] = reason

    def set_ready(self, part: str) -> None:
        """Record that a part is loaded, even if the rest of the cluster is not yet."""
        self.not_ready_reasons.pop(part, None)

    def set_backstop_in_sync(self, in_sync: bool) -> None:  # noqa: FBT001 - a callback
        """Record whether the exported policies in the cluster are in step with the policy."""
        self.backstop_in_sync = in_sync

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the certificate, empty while one is awaited."""
        return self.certificate.fingerprint if self.certificate else ""

    def _update(self, loaded: str) -> None:
        self.not_ready_reasons.pop(loaded, None)
        if time.monotonic() - self._changed > DURATION:
            self._previous = None  # a policy may be large
        if self._policy is not None and self._cluster is not None:
            self.snapshot = Snapshot(self._policy, self._cluster, self._previous, self._changed)
