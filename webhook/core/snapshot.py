"""What a request is evaluated with."""

import math
from dataclasses import dataclass

from webhook.core.cluster_state import ClusterState
from webhook.core.policy.model import Policy


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A policy and a cluster that belong together.

    `previous` is the policy that this one replaced at `changed`, in monotonic seconds; None if it replaced none.
    """

    policy: Policy
    cluster: ClusterState
    previous: Policy | None = None
    changed: float = -math.inf
