"""Pods made to be slow to judge: whoever may create a pod may send one of thousands of volumes and mounts."""

import datetime as dt
import sys
from typing import Any

import pytest

from tests.core.test_cases import Judge
from tests.reviews import API_TOKEN_PATH, review
from webhook.core.evaluate import evaluate
from webhook.core.request import Phase, read_review

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
POLICY = {
    "rules": {"legacy-token-reference": "patch", "api-token-automount": "patch"},
    "inject": [{"name": "vault", "audience": "vault", "mountPath": "/v", "env": "V"}],
}


def own_token(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    name = f"kube-api-access-{number}"
    sources = [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]
    return {"name": name, "projected": {"sources": sources}}, {"name": name, "mountPath": API_TOKEN_PATH}


def legacy(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    secret = {"secretName": "app-token"}
    return {"name": f"v{number}", "secret": secret}, {"name": f"v{number}", "mountPath": f"/m{number}"}


def lines_run(volume: Any, count: int, where: str) -> int:
    """Return how many lines of code it takes to judge a pod of so many volumes and mounts: that is its work."""
    volumes, mounts = zip(*map(volume, range(count)), strict=True)
    spec = {"serviceAccountName": "app", "containers": [{"name": "app"}], "volumes": volumes}
    spec[where] = [{"name": "app", "volumeMounts": mounts}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, "spec": spec}
    added = {"operation": "UPDATE", "subresource": "ephemeralcontainers"} if where == "ephemeralContainers" else {}
    judge = Judge({"policy": POLICY, "cluster": "app-token"})
    request = read_review(review(pod, **added), Phase.CHECK)
    counted = 0

    def count_line(_frame: Any, event: str, _argument: Any) -> Any:
        nonlocal counted
        counted += event == "line"
        return count_line

    before = sys.gettrace()
    sys.settrace(count_line)
    try:
        decision = evaluate(request, judge.policy, judge.cluster, NOW)
    finally:
        sys.settrace(before)
    assert len(decision.findings) >= count
    return counted


@pytest.mark.parametrize(
    ("volume", "where"),
    [(own_token, "containers"), (legacy, "containers"), (legacy, "ephemeralContainers")],
    ids=["tokens of the API server's own", "legacy tokens", "mounts in ephemeral containers"],
)
def test_the_work_grows_with_the_pod_and_no_faster(volume, where) -> None:
    assert lines_run(volume, 400, where) < 2.5 * lines_run(volume, 200, where)
