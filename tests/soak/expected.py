"""What has to be answered to each recorded review under each policy, as the same code says it in this process alone."""

from pathlib import Path

from tests.server.replica import answer_review
from tests.serving import OBJECTS, POLICY
from webhook.core.cluster_state import ClusterState
from webhook.core.manifests import cluster_of, read_manifests
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.server.audit_log.logger import AuditLog
from webhook.server.metrics.recorder import Metrics
from webhook.server.review_handler import PHASES, ReviewHandler
from webhook.server.state import State

RECORDED = Path(__file__).parent.parent / "recorded"
POLICIES = (POLICY, f"{POLICY}mode: warn\n", f"{POLICY}rules: {{token-subpath: reject, kubelet-hostpath: reject}}\n")
BROKEN = f"{POLICY}modee: warn\n"
"""Under this the one before stays in force."""


def revision(document: str) -> str:
    """Return by what answers name a policy."""
    return _read(document).revision


def reviews() -> list[tuple[str, bytes]]:
    """Return the path and the body of every recorded review."""
    return [(f"/{file.name.split('.')[1]}", file.read_bytes()) for file in sorted(RECORDED.glob("*.json"))]


def expected() -> dict[tuple[str, bytes], dict[str, bytes]]:
    """Return for each path and body what is answered, by the revision of the policy that it is answered by."""
    answers: dict[tuple[str, bytes], dict[str, bytes]] = {review: {} for review in reviews()}
    for document in POLICIES:
        state = State()
        state.use_policy(_read(document))
        state.use_cluster(cluster_of(read_manifests(OBJECTS.encode()).manifests, ClusterState()))
        metrics = Metrics(state)
        handler = ReviewHandler(state, AuditLog([], metrics), metrics)
        for (path, body), by_revision in answers.items():
            by_revision[revision(document)] = answer_review(handler, body, PHASES[path]).body
    return answers


def _read(document: str) -> Policy:
    policy = read_policy(document.encode())
    assert isinstance(policy, Policy), policy
    return policy
