"""What a replica tells of itself in a Lease, and how one is removed."""

import datetime as dt
import re

import pytest

from tests.cluster.certificates.api import LEASES, Api
from webhook.cluster.certificates.replicas import Replica, Replicas, asked_for
from webhook.cluster.transport import ApiError

NOW = dt.datetime(2026, 11, 24, 12, 0, 0, 250000, tzinfo=dt.UTC)
SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
"""What the API server takes for a Lease's name, less the dots."""


def test_what_is_told_is_found_again_and_a_lease_of_anybody_elses_is_not(monkeypatch) -> None:
    api, own = Api(), Replicas("tokenguard", ["a.example.com", "::1"])
    own.tell(api, "fingerprint", NOW)
    [lease] = api.objects.values()
    assert lease["metadata"]["labels"] == {"tokenguard/replica": "true"}
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseDurationSeconds"]) == (own.own, 600)
    asked = {}
    get = api.get

    def noting(path, query, accept) -> bytes:
        asked.update(query)
        return get(path, query, accept)

    monkeypatch.setattr(api, "get", noting)
    assert Replicas("tokenguard").read(api) == (Replica(own.own, "fingerprint", NOW, ("a.example.com", "::1")),)
    assert asked == {"labelSelector": "tokenguard/replica=true"}


@pytest.mark.parametrize("host", [
    "tokenguard-7d9f8-abcde", "Node_1.Example.com", "-", "", "x" * 253, "ünïcode", "a-.b",
])  # fmt: skip
def test_a_replica_has_a_name_that_a_lease_can_have_whatever_its_host_is_called(monkeypatch, host) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    one, other = Replicas("tokenguard").own, Replicas("tokenguard").own
    assert SUBDOMAIN.fullmatch(one)
    assert len(one) <= 253
    assert one != other


@pytest.mark.parametrize("status", [404, 409])
def test_a_lease_that_is_gone_or_has_changed_is_forgotten_without_a_word(monkeypatch, status) -> None:
    def refuse(_path) -> None:
        raise ApiError(status, "refused")

    api = Api()
    monkeypatch.setattr(api, "delete", refuse)
    Replicas("tokenguard").forget(api, "x")


def test_a_lease_that_may_not_be_removed_is_told() -> None:
    api = Api()
    api.refused.add(("delete", LEASES))
    with pytest.raises(ApiError, match="403"):
        Replicas("tokenguard").forget(api, "x")


def test_names_are_those_that_all_ask_for_and_those_that_are_held_where_one_does_not_say() -> None:
    first, second = (Replica(name, "", NOW, ("a", name)) for name in ("x", "y"))
    assert asked_for([first, second], ("b",)) == ("a", "x", "y")
    assert asked_for([first, Replica("z", "", NOW)], ("b",)) == ("b", "a", "x")
    assert asked_for([], ("b",)) == asked_for(None, ("b",)) == ("b",)
