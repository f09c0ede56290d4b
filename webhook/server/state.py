"""What the server judges by at this moment."""

import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field, replace

from webhook.core.cluster import Cluster
from webhook.core.policy.model import Policy
from webhook.pki.read import Certificate


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A policy and a cluster that belong together."""

    policy: Policy
    cluster: Cluster


@dataclass(slots=True)
class State:
    """The snapshot in force, swapped as a whole: who reads it once has one policy from start to end.

    It is None until everything that was asked for has been loaded; `lacking` then says what isn't, and why.
    `heard` says when each thing that is followed in the API server was last known to be current (monotonic seconds).
    `certificate` is the one that is served; clients can trust it unless it is `placeholder`, a fingerprint.
    `audit_error` returns why decisions cannot be recorded that must be; empty if they can.
    """

    snapshot: Snapshot | None = None
    lacking: dict[str, str] = field(default_factory=dict)
    heard: MutableMapping[str, float] = field(default_factory=dict)
    certificate: Certificate | None = None
    placeholder: str = ""
    audit_error: Callable[[], str] = str
    _policy: Policy | None = None
    _cluster: Cluster | None = None
    _api_audiences: tuple[str, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def use_policy(self, policy: Policy) -> None:
        """Judge by this policy from now on."""
        with self._lock:  # policy and cluster may come from two threads
            self._policy = policy
            self._swap("policy")

    def use_cluster(self, cluster: Cluster) -> None:
        """Judge by this cluster from now on."""
        with self._lock:
            newer = self._api_audiences
            self._cluster = replace(cluster, api_audiences=newer) if newer else cluster
            self._swap("objects")

    def use_api_audiences(self, audiences: tuple[str, ...]) -> None:
        """Evaluate with these audiences of the API server from now on, whatever the cluster's are."""
        with self._lock:
            self._api_audiences = audiences
            if self._cluster is not None:
                self._cluster = replace(self._cluster, api_audiences=audiences)
                self._swap("objects")

    def lacks(self, what: str, why: str) -> None:
        """Remember why something could not be loaded; of no effect once it has been."""
        if (self._policy if what == "policy" else self._cluster) is None:
            self.lacking[what] = why

    def has(self, what: str) -> None:
        """Remember that something has been loaded, though the rest that belongs to it may be missing still."""
        self.lacking.pop(what, None)

    def serves(self, certificate: Certificate) -> None:
        """Remember which certificate is served."""
        self.certificate = certificate

    @property
    def waits_for_certificate(self) -> bool:
        """Whether this worker serves the placeholder."""
        return self.certificate is not None and self.certificate.fingerprint == self.placeholder

    @property
    def why_not_ready(self) -> str:
        """What has not been loaded yet, or can't be done, in one line; empty where nothing is amiss."""
        lacking: list[str] = []
        if self.snapshot is None:
            lacking += self.lacking.values() or ["nothing has been loaded yet"]
        if self.waits_for_certificate:
            lacking.append("certificate not loaded yet")
        if audit_error := self.audit_error():
            lacking.append(audit_error)
        return "; ".join(lacking)

    def _swap(self, loaded: str) -> None:
        self.lacking.pop(loaded, None)
        if self._policy is not None and self._cluster is not None:
            self.snapshot = Snapshot(self._policy, self._cluster)
