"""Reviews that no API server sends: their names are neither stored nor sent on."""

import datetime as dt
import json

import pytest

from tests.reviews import review
from webhook.audit.record import encode_record
from webhook.core.admission_request import InvalidReviewError, Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.evaluate import evaluate
from webhook.core.owner_event import build_owner_event
from webhook.core.policy.loader import default_policy

NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-1", "uid": "u1", "controller": True}


def made_up(**fields) -> bytes:
    volume = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
    spec = {"containers": [{"name": "app"}], "volumes": [volume]}
    body = json.loads(review({"kind": "Pod", "metadata": {"name": "p", "ownerReferences": [OWNER]}, "spec": spec}))
    body["request"] |= fields
    body["request"] = {key: value for key, value in body["request"].items() if value is not None}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"namespace": "acme/pods?dryRun=All&x="}, id="namespace with a path and a query"),
        pytest.param({"namespace": "../../apis"}, id="namespace that leads up"),
        pytest.param({"namespace": "n" * 64}, id="namespace that is too long"),
        pytest.param({"namespace": "demo\n[tokenguard 00000000]"}, id="namespace with a line break"),
        pytest.param({"operation": "CREATE of\u2028nothing"}, id="operation"),
        pytest.param({"resource": {"resource": "pods\n"}}, id="resource"),
        pytest.param({"subResource": "a/b"}, id="subresource"),
        pytest.param({"resource": None, "subResource": "a\n/b"}, id="subresource of no resource"),
    ],
)
@pytest.mark.covers("threat-model: invalid names in reviews")
def test_review_with_an_invalid_name_is_denied_without_its_names(fields) -> None:
    request = read_review(made_up(**fields), Phase.VALIDATE)
    decision = evaluate(request, default_policy(), ClusterState(), NOW)
    assert decision.outcome == "denied"
    assert "is not valid in Kubernetes" in decision.message(request.decision_id)
    assert build_owner_event(request, decision) is None
    written = json.loads(encode_record(request, decision, NOW, 0.0))
    assert (written["namespace"], written["operation"], written["resource"]) == ("", "", "")


@pytest.mark.parametrize("uid", ["u" * 129, "a\nb", "7ceb3af7]\u202e", "a b"])
@pytest.mark.parametrize("rest", [{}, {"name": 7}], ids=["whole", "broken"])
@pytest.mark.covers("threat-model: invalid names in reviews")
def test_review_with_an_invalid_uid_is_refused(uid, rest) -> None:
    with pytest.raises(InvalidReviewError):
        read_review(made_up(uid=uid, **rest), Phase.VALIDATE)


def test_review_of_a_cluster_scoped_object_needs_no_namespace() -> None:
    assert read_review(made_up(namespace=""), Phase.VALIDATE).problem == ""
