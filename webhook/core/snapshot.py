"""What a request is evaluated with."""

from dataclasses import dataclass

from webhook.core.cluster_state import ClusterState
from webhook.core.policy.model import Policy


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A policy and a cluster that belong together."""

    policy: Policy
    cluster: ClusterState
