"""Replicas that keep certificates together, each by itself, in any order and with any delay."""

import base64
import random
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.cluster.certificates.api import CONFIGURATIONS, LEASES, SECRETS, WEBHOOKS, Api
from tests.cluster.certificates.replicas import NAME, NOW, WHERE, SimulatedReplica, SimulatedTime, settle
from tests.pki.foreign import pem
from webhook.cluster.certificates.reconciler import (
    AFTER_FAILURE,
    IDLE,
    SETTLED_AFTER,
    SOON,
)
from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import create_ca, issue_certificate
from webhook.pki.rotation import StoredCertificates, add_new_ca
from webhook.pki.verify import verification_error


@pytest.fixture
def api() -> Api:
    made = Api()
    made.install()
    return made


@pytest.fixture
def time() -> SimulatedTime:
    return SimulatedTime()


def stored(api: Api) -> StoredCertificates:
    return WHERE.read(api).stored


def is_refused(api: Api, node: SimulatedReplica, time: SimulatedTime) -> str:
    """Return why an API server would refuse a replica; empty where none would."""
    bundles = [base64.b64decode(bundle or "") for bundle in api.bundles()]
    return "".join(
        verification_error(parse_certificates(node.serves)[:1], bundle, NAME, time.now) for bundle in bundles
    )


def force(api: Api, time: SimulatedTime) -> None:
    found = WHERE.read(api)
    assert WHERE.write(api, add_new_ca(found.stored, time.now), found.version)


def test_one_replica_makes_secret_and_trust_out_of_nothing(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    assert is_refused(api, node, time) == ""
    secret = api.objects[f"{SECRETS}/tokenguard-tls"]
    assert (secret["type"], sorted(secret["data"])) == ("kubernetes.io/tls", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
    assert time.seconds < 5


def test_of_many_replicas_that_start_at_once_all_serve_what_the_first_has_made(api, time) -> None:
    nodes = [SimulatedReplica(api, time) for _ in range(5)]
    settle(time, *nodes)
    assert len({node.serves for node in nodes}) == 1
    assert [is_refused(api, node, time) for node in nodes] == [""] * 5
    assert [method for method, path in api.asked if path == SECRETS and method == "post"] == ["post"]


def test_two_that_read_the_same_nothing_end_with_one_secret(api, time) -> None:
    first, second = SimulatedReplica(api, time), SimulatedReplica(api, time)

    def interrupt(method: str, path: str) -> None:
        if (method, path) == ("post", SECRETS):
            api.before = lambda _method, _path: None
            second.look()

    api.before = interrupt
    first.look()
    made = stored(api)
    settle(time, first, second)
    assert stored(api) == made
    assert first.serves == second.serves


class ApiServers:
    """API servers that follow the configurations, some of them late: until when each bundle is still believed."""

    def __init__(self, api: Api, time: SimulatedTime, latest: float) -> None:
        self._api, self._time, self._latest = api, time, latest
        self._believed: dict[str, float] = {}

    def would_refuse(self, nodes: list[SimulatedReplica]) -> bool:
        """Say whether one of them would refuse one of the replicas at this moment."""
        now = self._time.seconds
        self._believed |= {bundle or "": now + self._latest for bundle in self._api.bundles()}
        self._believed = {bundle: until for bundle, until in self._believed.items() if until >= now}
        chains = [parse_certificates(serves)[:1] for serves in {node.serves for node in nodes}]
        bundles = [base64.b64decode(bundle) for bundle in self._believed]
        return any(verification_error(chain, bundle, NAME, self._time.now) for chain in chains for bundle in bundles)


def rotated_at_random(api: Api, time: SimulatedTime, seed: int, latest: float) -> list[bool]:
    """Rotate while three replicas act in any order; return, for each request, whether somebody would be refused."""
    chance = random.Random(seed)
    nodes = [SimulatedReplica(api, time) for _ in range(3)]
    settle(time, *nodes)
    servers = ApiServers(api, time, latest)
    refusals = [servers.would_refuse(nodes)]
    force(api, time)
    new = stored(api).cas[0].fingerprint
    api.before = lambda _method, _path: refusals.append(servers.would_refuse(nodes))
    while len(stored(api).cas) > 1:
        node = chance.choice(nodes)
        node.look() if chance.random() < 0.7 else node.catch_up()
        time.seconds += chance.random() * 2
    api.before = lambda _method, _path: None
    settle(time, *nodes)
    assert [one.fingerprint for one in stored(api).cas] == [new]
    assert len({node.serves for node in nodes}) == 1
    return refusals


@pytest.mark.parametrize("seed", range(20))
def test_at_no_moment_of_a_rotation_would_an_api_server_refuse_a_replica(api, time, seed) -> None:
    assert not any(rotated_at_random(api, time, seed, SETTLED_AFTER * 0.9))


def test_api_servers_that_are_later_than_is_waited_for_would_refuse_replicas(api, time) -> None:
    assert any(rotated_at_random(api, time, 1, SETTLED_AFTER * 3))


def test_a_new_authority_signs_only_once_the_bundle_has_been_trusted_for_long_enough(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    before = stored(api)
    force(api, time)
    node.look()
    began = time.seconds
    while stored(api).certificate == before.certificate:
        node.look()
        time.seconds += 1
    assert time.seconds - began >= SETTLED_AFTER


def test_the_old_authority_stays_while_one_replica_serves_the_old_certificate(api, time) -> None:
    quick, slow = SimulatedReplica(api, time), SimulatedReplica(api, time)
    settle(time, quick, slow)
    force(api, time)
    for _ in range(300):
        quick.look()
        slow.look()
        quick.catch_up()
        time.seconds += 1
    assert len(stored(api).cas) == 2
    slow.catch_up()
    settle(time, quick, slow)
    assert len(stored(api).cas) == 1


def test_a_replica_whose_own_lease_was_deleted_does_not_take_nobody_for_everybody(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    force(api, time)
    before = stored(api).certificate
    while stored(api).certificate == before:
        node.look()
        time.seconds += 1
    node.look()
    for path in [path for path in api.objects if path.startswith(LEASES)]:
        del api.objects[path]
    for _ in range(120):
        node.look()
        assert is_refused(api, node, time) == ""
        time.seconds += 1
    node.catch_up()
    settle(time, node)
    assert len(stored(api).cas) == 1


def test_a_replica_that_died_is_waited_for_no_longer_than_ten_minutes(api, time) -> None:
    alive, dead = SimulatedReplica(api, time), SimulatedReplica(api, time)
    settle(time, alive, dead)
    force(api, time)
    began = time.seconds
    while len(stored(api).cas) > 1:
        alive.look()
        alive.catch_up()
        time.seconds += 1
    assert 500 < time.seconds - began < 700


def test_a_replica_that_takes_leave_is_not_waited_for(api, time) -> None:
    stays, leaves = SimulatedReplica(api, time), SimulatedReplica(api, time)
    settle(time, stays, leaves)
    leaves.reconciler.end()
    force(api, time)
    settle(time, stays)
    assert len(stored(api).cas) == 1


def pass_time(time: SimulatedTime, minutes: int, *nodes: SimulatedReplica) -> None:
    for _ in range(minutes):
        time.seconds += 60
        for node in nodes:
            node.look()


def leases(api: Api) -> set[str]:
    return {path.removeprefix(f"{LEASES}/") for path in api.objects if path.startswith(LEASES)}


def test_leases_of_replicas_that_are_long_gone_are_removed(api, time) -> None:
    node, gone = SimulatedReplica(api, time), SimulatedReplica(api, time)
    settle(time, node, gone)
    pass_time(time, 55, node)
    assert leases(api) == {node.reconciler.replicas.own, gone.reconciler.replicas.own}
    pass_time(time, 10, node)
    assert leases(api) == {node.reconciler.replicas.own}


def test_after_an_api_server_was_away_for_hours_the_living_are_still_waited_for(api, time) -> None:
    first, slow = SimulatedReplica(api, time), SimulatedReplica(api, time)
    settle(time, first, slow)
    api.refused |= {(verb, "/") for verb in ("get", "post", "patch", "delete")}
    pass_time(time, 180, first, slow)
    api.refused.clear()
    force(api, time)
    for _ in range(120):
        first.look()
        first.catch_up()
        time.seconds += 1
    assert len(stored(api).cas) == 2
    assert leases(api) == {first.reconciler.replicas.own, slow.reconciler.replicas.own}


def test_a_bundle_that_somebody_broke_is_put_back_and_nothing_else_is_touched(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    held = api.objects[f"{CONFIGURATIONS[1]}/tokenguard"]
    held["webhooks"][1]["clientConfig"]["caBundle"] = base64.b64encode(b"junk").decode()
    held["webhooks"][1]["timeoutSeconds"] = 7
    node.look()
    assert is_refused(api, node, time) == ""
    assert api.objects[f"{CONFIGURATIONS[1]}/tokenguard"]["webhooks"][1]["timeoutSeconds"] == 7
    assert api.objects[f"{CONFIGURATIONS[1]}/tokenguard"]["webhooks"][0]["clientConfig"]["service"]


def test_a_replica_that_read_the_secret_before_a_rotation_does_not_put_its_bundle_back(api, time) -> None:
    slow = SimulatedReplica(api, time)
    settle(time, slow)
    api.objects[f"{CONFIGURATIONS[0]}/tokenguard"]["webhooks"][0]["clientConfig"]["caBundle"] = "anVuaw=="
    quick = SimulatedReplica(api, time)

    def interrupt(method: str, _path: str) -> None:
        if method == "patch" and _path.startswith(WEBHOOKS):
            api.before = lambda _method, _path: None
            force(api, time)
            quick.look()

    api.before = interrupt
    slow.look()
    assert {base64.b64decode(bundle) for bundle in api.bundles()} == {stored(api).bundle}


@pytest.mark.parametrize("read", [1, 2, 3], ids=["the first", "the second", "the third"])
def test_a_rotation_before_any_of_a_replicas_reads_is_not_undone_by_it(api, time, read) -> None:
    slow, quick = SimulatedReplica(api, time), SimulatedReplica(api, time)
    settle(time, slow, quick)
    reads: list[str] = []

    def interrupt(method: str, path: str) -> None:
        if method == "get" and path.startswith((WEBHOOKS, SECRETS)):
            reads.append(path)
        if len(reads) == read:
            api.before = lambda _method, _path: None
            force(api, time)
            quick.look()

    api.before = interrupt
    slow.look()
    assert {base64.b64decode(bundle) for bundle in api.bundles()} == {stored(api).bundle}


def test_a_configuration_that_changes_between_read_and_write_is_no_failure(api, time, caplog) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    path = f"{CONFIGURATIONS[0]}/tokenguard"
    api.objects[path]["webhooks"][0]["clientConfig"]["caBundle"] = "anVuaw=="

    def interrupt(method: str, asked: str) -> None:
        if (method, asked) == ("patch", path):
            api.before = lambda _method, _path: None
            api.put(path, api.objects[path])

    api.before = interrupt
    assert node.look() != AFTER_FAILURE
    assert caplog.text == ""
    node.look()
    assert is_refused(api, node, time) == ""


def test_a_bundle_is_waited_for_from_when_it_came_and_not_from_when_another_came(api, time) -> None:
    slow, quick = SimulatedReplica(api, time), SimulatedReplica(api, time)
    settle(time, slow, quick)
    time.seconds += 2 * SETTLED_AFTER
    force(api, time)
    quick.look()
    before = stored(api).certificate
    began = time.seconds
    while stored(api).certificate == before:
        slow.look()
        time.seconds += 1
    assert time.seconds - began >= SETTLED_AFTER


def test_a_secret_that_was_deleted_is_made_again(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    del api.objects[f"{SECRETS}/tokenguard-tls"]
    settle(time, node)
    assert is_refused(api, node, time) == ""


def test_where_there_are_no_configurations_a_certificate_is_kept_all_the_same(time) -> None:
    api = Api()
    node = SimulatedReplica(api, time)
    settle(time, node)
    assert stored(api).serving is not None
    api.install()
    node.look()
    assert is_refused(api, node, time) == ""


def test_nothing_is_written_where_nothing_has_changed(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    api.asked.clear()
    for _ in range(50):
        time.seconds += 30
        assert node.look() == IDLE
    assert {path.split("/")[-1] for method, path in api.asked if method != "get"} == {node.reconciler.replicas.own}


def test_what_was_in_the_secret_besides_stays(api, time) -> None:
    api.put(f"{SECRETS}/tokenguard-tls", {
        "type": "Opaque", "metadata": {"name": "tokenguard-tls", "labels": {"team": "x"}}, "data": {"note": "eA=="},
    })  # fmt: skip
    node = SimulatedReplica(api, time)
    settle(time, node)
    secret = api.objects[f"{SECRETS}/tokenguard-tls"]
    assert (secret["type"], secret["metadata"]["labels"], secret["data"]["note"]) == ("Opaque", {"team": "x"}, "eA==")


def test_a_secret_that_is_not_managed_is_served_and_never_written(api, time, caplog) -> None:
    node = SimulatedReplica(api, time, manage=False)
    assert node.look() == AFTER_FAILURE
    assert "Secret tokenguard/tokenguard-tls: is not there: make it" in caplog.text
    settle(time, SimulatedReplica(api, time))
    api.asked.clear()
    assert node.look() == IDLE
    assert node.given.startswith(stored(api).certificate)
    assert {method for method, _ in api.asked} == {"get"}


def test_where_nothing_is_signed_the_cas_key_is_not_even_decoded(api, time) -> None:
    settle(time, SimulatedReplica(api, time))
    api.objects[f"{SECRETS}/tokenguard-tls"]["data"]["ca.key"] = "not base64"
    node = SimulatedReplica(api, time, manage=False)
    assert node.look() == IDLE
    found = WHERE.read(api, signs=False)
    assert node.given == found.stored.certificate + b"\n" + found.stored.key
    assert (found.stored.bundle, found.stored.ca_key) == (b"", b"")


UNSERVABLE = {
    "another's key": ({"tls.key": create_ca(NOW).key}, "tls.crt and tls.key don't belong together"),
    "junk": ({"tls.crt": b"junk"}, "tls.crt: no certificate in PEM"),
    "an encrypted key": (
        {"tls.key": pem(ec.generate_private_key(ec.SECP256R1()), "x")},
        "tls.key: the key is encrypted",
    ),
}


@pytest.mark.parametrize(("changed", "why"), UNSERVABLE.values(), ids=UNSERVABLE)
def test_a_pair_that_can_not_be_served_is_told_at_once_and_by_its_secret(api, time, caplog, changed, why) -> None:
    settle(time, SimulatedReplica(api, time))
    data = api.objects[f"{SECRETS}/tokenguard-tls"]["data"]
    data |= {name: base64.b64encode(content).decode() for name, content in changed.items()}
    node = SimulatedReplica(api, time, manage=False)
    assert node.look() == AFTER_FAILURE
    assert node.reconciler.failing
    assert f"Secret tokenguard/tokenguard-tls: {why}" in caplog.text


def test_a_refusal_is_told_once_with_its_reason_and_taken_up_again(api, time, caplog) -> None:
    api.refused.add(("patch", CONFIGURATIONS[0]))
    node = SimulatedReplica(api, time)
    assert [node.look() for _ in range(3)] == [0.0, AFTER_FAILURE, AFTER_FAILURE]
    assert caplog.text.count("403") == 1
    api.refused.clear()
    node.catch_up()
    assert node.look() == SOON
    settle(time, node)
    assert is_refused(api, node, time) == ""


REFUSED = {
    "Lease, list": {("get", LEASES)},
    "Lease, write": {("patch", LEASES), ("post", LEASES)},
    "Lease, all": {("get", LEASES), ("patch", LEASES), ("post", LEASES)},
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_without_leases_certificates_are_made_renewed_and_trusted_all_the_same(api, time, refused) -> None:
    api.refused |= refused
    node = SimulatedReplica(api, time)
    for _ in range(3):
        node.look()
        node.catch_up()
    assert is_refused(api, node, time) == ""
    before = stored(api).certificate
    time.seconds += 21 * 86400
    api.objects[f"{CONFIGURATIONS[1]}/tokenguard"]["webhooks"][0]["clientConfig"]["caBundle"] = "anVuaw=="
    for _ in range(3):
        node.look()
        node.catch_up()
    assert stored(api).certificate != before
    assert is_refused(api, node, time) == ""


def test_without_leases_no_old_ca_leaves(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    api.refused.add(("get", LEASES))
    force(api, time)
    pass_time(time, 60, node)
    node.catch_up()
    pass_time(time, 60, node)
    assert len(stored(api).cas) == 2


def test_where_the_configurations_can_not_be_read_a_good_certificate_is_served_all_the_same(api, time) -> None:
    settle(time, SimulatedReplica(api, time))
    api.refused.add(("get", WEBHOOKS))
    late = SimulatedReplica(api, time)
    late.look()
    assert late.given.startswith(stored(api).certificate)


def test_one_configuration_that_can_not_be_changed_does_not_hold_up_the_other(api, time) -> None:
    api.refused.add(("patch", CONFIGURATIONS[0]))
    node = SimulatedReplica(api, time)
    for _ in range(3):
        node.look()
    assert [bool(bundle) for bundle in api.bundles()] == [False, False, True, True]


def test_where_the_secret_can_not_be_written_a_broken_bundle_is_put_back_all_the_same(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    time.seconds += 21 * 86400
    api.refused.add(("patch", SECRETS))
    api.objects[f"{CONFIGURATIONS[1]}/tokenguard"]["webhooks"][0]["clientConfig"]["caBundle"] = "anVuaw=="
    node.look()
    assert is_refused(api, node, time) == ""


@pytest.mark.parametrize("seed", range(5))
def test_a_lost_secret_is_made_again_without_any_replica_being_refused(api, time, seed) -> None:
    chance = random.Random(seed)
    nodes = [SimulatedReplica(api, time) for _ in range(3)]
    settle(time, *nodes)
    servers = ApiServers(api, time, SETTLED_AFTER * 0.9)
    refusals = [servers.would_refuse(nodes)]
    del api.objects[f"{SECRETS}/tokenguard-tls"]
    api.before = lambda _method, _path: refusals.append(servers.would_refuse(nodes))
    for _ in range(300):
        node = chance.choice(nodes)
        node.look() if chance.random() < 0.7 else node.catch_up()
        time.seconds += chance.random() * 2
    api.before = lambda _method, _path: None
    settle(time, *nodes)
    assert not any(refusals)
    assert len(stored(api).cas) == 1
    assert [is_refused(api, node, time) for node in nodes] == [""] * 3


def test_a_certificate_that_no_managed_ca_has_signed_is_not_served(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    served, found = node.given, WHERE.read(api)
    stranger = issue_certificate(create_ca(time.now), [NAME], time.now)
    held = found.stored
    WHERE.write(api, StoredCertificates(held.bundle, held.ca_key, stranger.certificate, stranger.key), found.version)
    given = []
    give = node._give
    node.reconciler._served = replace(
        node.reconciler._served, serve=lambda pair: (given.append(pair), give(pair)),
    )  # fmt: skip
    settle(time, node)
    assert all(stranger.certificate not in pair for pair in given)
    assert node.given != served
    assert is_refused(api, node, time) == ""


def names(api: Api) -> set[str]:
    return set(stored(api).serving.names)


def signed(api: Api) -> int:
    """Return how often the Secret has been written."""
    return sum(method in {"post", "patch"} and path.startswith(SECRETS) for method, path in api.asked)


def test_names_that_another_replica_asks_for_stay_at_a_renewal(api, time) -> None:
    old, new = SimulatedReplica(api, time), SimulatedReplica(api, time, names=[NAME, "new.example.com"])
    settle(time, old, new)
    assert names(api) == {NAME, "new.example.com"}
    time.seconds += 21 * 86400
    api.asked.clear()
    settle(time, old, new)
    assert names(api) == {NAME, "new.example.com"}
    assert signed(api) == 1


def test_names_that_another_replica_asks_for_stay_when_a_new_ca_signs(api, time) -> None:
    old, new = SimulatedReplica(api, time), SimulatedReplica(api, time, names=[NAME, "new.example.com"])
    settle(time, new, old)
    force(api, time)
    before = stored(api).certificate
    while stored(api).certificate == before:
        old.look()
        old.catch_up()
        time.seconds += 1
    assert names(api) == {NAME, "new.example.com"}


def test_a_name_that_nobody_asks_for_any_more_is_gone_with_the_next_certificate(api, time) -> None:
    old, new = SimulatedReplica(api, time, names=[NAME, "old.example.com"]), SimulatedReplica(api, time)
    settle(time, old, new)
    old.reconciler.end()
    settle(time, new)
    assert names(api) == {NAME, "old.example.com"}
    time.seconds += 21 * 86400
    settle(time, new)
    assert names(api) == {NAME}


def test_where_it_is_not_known_who_asks_for_a_name_it_stays(api, time) -> None:
    gone, node = SimulatedReplica(api, time, names=[NAME, "old.example.com"]), SimulatedReplica(api, time)
    settle(time, gone, node)
    gone.reconciler.end()
    api.refused.add(("get", LEASES))
    time.seconds += 21 * 86400
    before = stored(api).certificate
    node.look()
    assert stored(api).certificate != before
    assert names(api) == {NAME, "old.example.com"}


def test_names_stay_while_there_is_a_replica_that_does_not_say_what_it_asks_for(api, time) -> None:
    earlier, node = SimulatedReplica(api, time, names=[NAME, "old.example.com"]), SimulatedReplica(api, time)
    settle(time, earlier, node)
    lease = api.objects[f"{LEASES}/{earlier.reconciler.replicas.own}"]
    del lease["metadata"]["annotations"]["tokenguard/names"]
    time.seconds += 21 * 86400
    node.look()
    assert names(api) == {NAME, "old.example.com"}


def test_no_key_is_ever_logged(api, time, caplog) -> None:
    caplog.set_level("DEBUG")
    node = SimulatedReplica(api, time)
    settle(time, node)
    api.objects[f"{SECRETS}/tokenguard-tls"]["data"]["tls.key"] = "not base64: sekrit"
    node.look()
    assert "can't be read" in caplog.text
    assert "sekrit" not in caplog.text
    assert "PRIVATE" not in caplog.text
