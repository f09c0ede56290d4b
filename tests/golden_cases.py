"""The golden cases in `tests/cases`, and how each is evaluated."""

import copy
import datetime as dt
from pathlib import Path
from typing import Any

import yaml

from tests.legacy_tokens import with_tokens
from tests.reviews import review, with_api_token
from webhook.core.admission_request import Phase, read_review
from webhook.core.cluster_state import DEFAULT_NAMESPACE, ClusterState
from webhook.core.decision import Decision
from webhook.core.evaluate import evaluate
from webhook.core.manifests import cluster_of, read_manifests
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy

CASES = Path(__file__).parent / "cases"
NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)


def legacy_token(account: str) -> dict[str, Any]:
    """Return the legacy token Secret ACCOUNT-token."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {
            "name": f"{account}-token",
            "namespace": "demo",
            "annotations": {"kubernetes.io/service-account.name": account},
        },
    }


CLUSTERS = {
    "app-token": [legacy_token("app")],
    "app-token and robot-token": [legacy_token("app"), legacy_token("robot")],
}


def load() -> list[tuple[str, dict[str, Any]]]:
    return [
        (path.stem, with_tokens(case))
        for path in sorted(CASES.glob("*.yaml"))
        for case in yaml.safe_load_all(path.read_text())
        if case
    ]


LOADED = load()


class GoldenCase:
    """The policy and the cluster of a case, read as a user's files."""

    def __init__(self, case: dict[str, Any]) -> None:
        document = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", **case.get("policy", {})}
        policy = read_policy(yaml.safe_dump(document, sort_keys=False).encode())
        assert isinstance(policy, Policy), policy
        self.policy = policy
        cluster = case.get("cluster", [])
        objects = CLUSTERS[cluster] if isinstance(cluster, str) else cluster
        manifests = read_manifests(yaml.safe_dump_all(objects).encode())
        assert not manifests.problems
        known: dict[str, Any] = {"api_audiences": tuple(case["api-audiences"])} if "api-audiences" in case else {}
        known["own_namespace"] = case.get("own-namespace", DEFAULT_NAMESPACE)
        self.cluster = cluster_of(manifests.manifests, ClusterState(**known))
        self.request = {**case.get("request", {}), "old": case.get("old")}
        if "groups" in self.request:
            self.request["groups"] = tuple(self.request["groups"])

    def evaluate(self, obj: dict[str, Any], phase: Phase) -> Decision:
        return evaluate(read_review(review(obj, **self.request), phase), self.policy, self.cluster, NOW)


def the_object(case: dict[str, Any]) -> dict[str, Any]:
    kind = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}}
    obj = {**kind, **copy.deepcopy(case["object"])}
    return with_api_token(obj) if case.get("api-token") else obj
