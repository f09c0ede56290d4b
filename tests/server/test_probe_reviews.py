"""Reviews of the self-probe: answered like all others, but neither recorded nor counted."""

import json

import pytest

from tests.recorded_reviews import recorded
from tests.server.replica import MemorySink, Replica
from webhook.core.admission_request import Phase

ACCOUNT = "system:serviceaccount:tokenguard:tokenguard"
PROBE = {"namespace": "tokenguard-probe", "dryRun": True, "user": ACCOUNT}


class FullSink(MemorySink):
    def write(self, _line):
        raise OSError(28, "No space left on device")


def review(name="pod-long-expiration.pods", phase=Phase.MUTATE, **changed):
    given = {**PROBE, **changed}
    body = json.loads(recorded(name, phase))
    body["request"] |= {"namespace": given["namespace"], "dryRun": given["dryRun"]}
    body["request"]["userInfo"]["username"] = given["user"]
    return json.dumps(body).encode()


def test_probe_is_answered_but_neither_recorded_nor_counted() -> None:
    replica = Replica(level="all")
    answer = replica.response(review(), Phase.MUTATE)
    assert answer["allowed"]
    assert answer["patch"]
    assert replica.audit.lines == []
    assert replica.counted("reviews") == replica.counted("findings") == replica.counted("tokens_capped") == []


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"dryRun": False}, id="no dry run"),
        pytest.param({"namespace": "shop"}, id="another namespace"),
        pytest.param({"user": "system:serviceaccount:tokenguard-x:tokenguard"}, id="another account"),
        pytest.param({"user": "admin"}, id="a user"),
    ],
)
@pytest.mark.covers("threat-model: self-probe's reviews")
def test_anything_else_is_recorded_and_counted(changed) -> None:
    replica = Replica()
    replica.response(review(**changed), Phase.MUTATE)
    assert len(replica.audit.lines) == 1
    assert replica.counted("reviews")


def test_probe_is_denied_if_records_cannot_be_written() -> None:
    replica = Replica("apiVersion: tokenguard/v1\nkind: TokenPolicy\n", FullSink())
    others = replica.response(review(namespace="shop"), Phase.MUTATE)
    probe = replica.response(review(), Phase.MUTATE)
    assert (others["allowed"], probe["allowed"]) == (False, False)
    assert "cannot be recorded" in probe["status"]["message"]
