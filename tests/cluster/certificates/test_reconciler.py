"""Replicas that keep certificates together, each by itself, in any order and with any delay."""

import base64
import random
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.cluster.certificates.api import CONFIGURATIONS, SECRETS, WEBHOOKS, Api
from tests.cluster.certificates.replicas import NAME, NOW, WHERE, SimulatedReplica, SimulatedTime, settle
from tests.pki.foreign import pem
from webhook.cluster.certificates.reconciler import (
    AFTER_FAILURE,
    IDLE,
    SERVE_DELAY,
    SOON,
    TRUST_DELAY,
)
from webhook.cluster.certificates.status import read_status
from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import create_ca, issue_certificate
from webhook.pki.rotation import MAX_CAS, StoredCertificates, add_new_ca
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


def force(api: Api, time: SimulatedTime, *, revoke: bool = False) -> None:
    current = WHERE.read(api)
    assert WHERE.write(api, add_new_ca(current.stored, time.now, revoke=revoke), current.version)


def test_one_replica_creates_secret_and_bundles(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    assert is_refused(api, node, time) == ""
    secret = api.objects[f"{SECRETS}/tokenguard-tls"]
    assert (secret["type"], sorted(secret["data"])) == ("kubernetes.io/tls", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
    assert time.seconds < 5


def test_replicas_started_together_serve_the_first_certificate(api, time) -> None:
    nodes = [SimulatedReplica(api, time) for _ in range(5)]
    settle(time, *nodes)
    assert len({node.serves for node in nodes}) == 1
    assert [is_refused(api, node, time) for node in nodes] == [""] * 5
    assert [method for method, path in api.requests if path == SECRETS and method == "post"] == ["post"]


def test_two_replicas_without_a_secret_end_with_one(api, time) -> None:
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
        self._errors: dict[tuple[bytes, str], str] = {}  # which no test lasts long enough to change

    def would_refuse(self, nodes: list[SimulatedReplica]) -> bool:
        """Say whether one of them would refuse one of the replicas at this moment."""
        now = self._time.seconds
        self._believed |= {bundle or "": now + self._latest for bundle in self._api.bundles()}
        self._believed = {bundle: until for bundle, until in self._believed.items() if until >= now}
        return any(self._error(node.serves, bundle) for node in nodes for bundle in self._believed)

    def _error(self, serves: bytes, bundle: str) -> str:
        if (serves, bundle) not in self._errors:
            chain = parse_certificates(serves)[:1]
            error = verification_error(chain, base64.b64decode(bundle), NAME, self._time.now)
            self._errors[serves, bundle] = error
        return self._errors[serves, bundle]


def rotate_at_random(api: Api, time: SimulatedTime, seed: int, latest: float) -> list[bool]:
    """Rotate while three replicas act in any order, one of which goes on serving the old certificate.

    Return, for each request, whether a replica would be refused.
    """
    chance = random.Random(seed)
    nodes = [SimulatedReplica(api, time) for _ in range(3)]
    settle(time, *nodes)
    servers = ApiServers(api, time, latest)
    refusals = [servers.would_refuse(nodes)]
    before = stored(api)
    force(api, time)
    api.before = lambda _method, _path: refusals.append(servers.would_refuse(nodes))
    for _ in range(200):
        node = chance.choice(nodes)
        node.look() if chance.random() < 0.7 or node is nodes[0] else node.catch_up()
        time.seconds += chance.random() * 2
    api.before = lambda _method, _path: None
    assert len({node.serves for node in nodes}) == 2
    settle(time, *nodes)
    assert stored(api).cas[1:] == before.cas
    assert stored(api).serving.is_signed_by(stored(api).cas[0])
    assert len({node.serves for node in nodes}) == 1
    return refusals


@pytest.mark.parametrize("seed", range(20))
def test_rotation_at_random_has_no_replica_refused(api, time, seed) -> None:
    assert not any(rotate_at_random(api, time, seed, TRUST_DELAY * 0.9))


def test_rotation_with_stale_api_servers_rejects_replicas(api, time) -> None:
    assert any(rotate_at_random(api, time, 1, TRUST_DELAY * 3))


def revoke_at_random(api: Api, time: SimulatedTime, seed: int, latest: float) -> list[bool]:
    """Revoke the CA while three replicas act in any order, and serve what they have read after `latest` at most.

    Return, for each request, whether a replica would be refused.
    """
    chance = random.Random(seed)
    nodes = [SimulatedReplica(api, time) for _ in range(3)]
    settle(time, *nodes)
    servers = ApiServers(api, time, TRUST_DELAY * 0.9)
    refusals = [servers.would_refuse(nodes)]
    force(api, time, revoke=True)
    new = stored(api).cas[0].fingerprint
    current = [time.seconds for _ in nodes]
    api.before = lambda _method, _path: refusals.append(servers.would_refuse(nodes))
    while {base64.b64decode(bundle) for bundle in api.bundles()} != {stored(api).cas[0].pem}:
        number = min(range(3), key=current.__getitem__)
        if time.seconds - current[number] < latest - 2:
            number = chance.randrange(3)
            nodes[number].look()
        else:
            nodes[number].look()
            nodes[number].catch_up()
            current[number] = time.seconds
        time.seconds += chance.random() * 2
    refusals.append(servers.would_refuse(nodes))
    api.before = lambda _method, _path: None
    settle(time, *nodes)
    assert [ca.fingerprint for ca in stored(api).cas] == [new]
    assert "revoked-ca.crt" not in api.objects[f"{SECRETS}/tokenguard-tls"]["data"]
    return refusals


@pytest.mark.parametrize("seed", range(20))
def test_revocation_at_random_has_no_replica_refused(api, time, seed) -> None:
    assert not any(revoke_at_random(api, time, seed, SERVE_DELAY * 0.9))


def test_revocation_with_stale_replicas_rejects_them(api, time) -> None:
    assert any(revoke_at_random(api, time, 1, SERVE_DELAY * 3))


def test_old_ca_leaves_the_bundle_when_it_expires(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    [old] = stored(api).cas
    days = 0
    while old in stored(api).cas:
        time.seconds += 5 * 86400
        days += 5
        settle(time, node)
        assert is_refused(api, node, time) == ""
    assert days == (old.not_after - old.not_before).days
    assert len(stored(api).cas) == 1


def test_new_ca_signs_after_its_bundle_was_trusted_long_enough(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    before = stored(api)
    force(api, time)
    node.look()
    began = time.seconds
    while stored(api).certificate == before.certificate:
        node.look()
        time.seconds += 1
    assert time.seconds - began >= TRUST_DELAY


def test_broken_bundle_is_restored_and_nothing_else_written(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    held = api.objects[f"{CONFIGURATIONS[1]}/tokenguard"]
    held["webhooks"][1]["clientConfig"]["caBundle"] = base64.b64encode(b"junk").decode()
    held["webhooks"][1]["timeoutSeconds"] = 7
    node.look()
    assert is_refused(api, node, time) == ""
    assert api.objects[f"{CONFIGURATIONS[1]}/tokenguard"]["webhooks"][1]["timeoutSeconds"] == 7
    assert api.objects[f"{CONFIGURATIONS[1]}/tokenguard"]["webhooks"][0]["clientConfig"]["service"]


def test_stale_replica_does_not_restore_the_old_bundle(api, time) -> None:
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
def test_rotation_during_reads_is_not_undone(api, time, read) -> None:
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


def test_conflict_on_a_configuration_is_no_failure(api, time, caplog) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    path = f"{CONFIGURATIONS[0]}/tokenguard"
    api.objects[path]["webhooks"][0]["clientConfig"]["caBundle"] = "anVuaw=="

    def interrupt(method: str, requested: str) -> None:
        if (method, requested) == ("patch", path):
            api.before = lambda _method, _path: None
            api.put(path, api.objects[path])

    api.before = interrupt
    assert node.look() != AFTER_FAILURE
    assert caplog.text == ""
    node.look()
    assert is_refused(api, node, time) == ""


def test_wait_for_a_bundle_starts_when_that_bundle_came(api, time) -> None:
    slow, quick = SimulatedReplica(api, time), SimulatedReplica(api, time)
    settle(time, slow, quick)
    time.seconds += 2 * TRUST_DELAY
    force(api, time)
    quick.look()
    before = stored(api).certificate
    began = time.seconds
    while stored(api).certificate == before:
        slow.look()
        time.seconds += 1
    assert time.seconds - began >= TRUST_DELAY


def test_deleted_secret_is_created_again(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    del api.objects[f"{SECRETS}/tokenguard-tls"]
    settle(time, node)
    assert is_refused(api, node, time) == ""


def test_lost_secret_with_unreadable_configurations_waits(api, time) -> None:
    nodes = [SimulatedReplica(api, time) for _ in range(2)]
    settle(time, *nodes)
    del api.objects[f"{SECRETS}/tokenguard-tls"]
    api.refused.add(("get", WEBHOOKS))
    restarted = SimulatedReplica(api, time)  # serves a placeholder
    for _ in range(30):
        for node in (restarted, *nodes):
            assert node.look() == AFTER_FAILURE
            node.catch_up()
        assert [is_refused(api, node, time) for node in nodes] == ["", ""]
        time.seconds += 1
    api.refused.clear()
    settle(time, *nodes, restarted)
    assert [is_refused(api, node, time) for node in (*nodes, restarted)] == [""] * 3


def test_certificate_is_managed_without_configurations(time) -> None:
    api = Api()
    node = SimulatedReplica(api, time)
    settle(time, node)
    assert stored(api).serving is not None
    api.install()
    node.look()
    assert is_refused(api, node, time) == ""


def test_unchanged_state_causes_no_write(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    api.requests.clear()
    for _ in range(50):
        time.seconds += 30
        assert node.look() == IDLE
    assert {method for method, _ in api.requests} == {"get"}


def test_other_keys_of_the_secret_stay(api, time) -> None:
    api.put(f"{SECRETS}/tokenguard-tls", {
        "type": "Opaque", "metadata": {"name": "tokenguard-tls", "labels": {"team": "x"}}, "data": {"note": "eA=="},
    })  # fmt: skip
    node = SimulatedReplica(api, time)
    settle(time, node)
    secret = api.objects[f"{SECRETS}/tokenguard-tls"]
    assert (secret["type"], secret["metadata"]["labels"], secret["data"]["note"]) == ("Opaque", {"team": "x"}, "eA==")


def test_unmanaged_secret_is_served_and_never_written(api, time, caplog) -> None:
    node = SimulatedReplica(api, time, manage=False)
    assert node.look() == AFTER_FAILURE
    assert "Secret tokenguard/tokenguard-tls: does not exist: create it" in caplog.text
    settle(time, SimulatedReplica(api, time))
    api.requests.clear()
    assert node.look() == IDLE
    assert node.given.startswith(stored(api).certificate)
    assert {method for method, _ in api.requests} == {"get"}


def test_ca_key_is_not_decoded_without_signing(api, time) -> None:
    settle(time, SimulatedReplica(api, time))
    api.objects[f"{SECRETS}/tokenguard-tls"]["data"]["ca.key"] = "not base64"
    node = SimulatedReplica(api, time, manage=False)
    assert node.look() == IDLE
    current = WHERE.read(api, signs=False)
    assert node.given == current.stored.certificate + b"\n" + current.stored.key
    assert (current.stored.bundle, current.stored.ca_key) == (b"", b"")


UNSERVABLE = {
    "another's key": ({"tls.key": create_ca(NOW).key}, "tls.crt and tls.key don't belong together"),
    "junk": ({"tls.crt": b"junk"}, "tls.crt: no certificate in PEM"),
    "an encrypted key": (
        {"tls.key": pem(ec.generate_private_key(ec.SECP256R1()), "x")},
        "tls.key: the key is encrypted",
    ),
}


@pytest.mark.parametrize(("changed", "why"), UNSERVABLE.values(), ids=UNSERVABLE)
def test_unusable_pair_is_reported_with_its_secret(api, time, caplog, changed, why) -> None:
    settle(time, SimulatedReplica(api, time))
    data = api.objects[f"{SECRETS}/tokenguard-tls"]["data"]
    data |= {name: base64.b64encode(content).decode() for name, content in changed.items()}
    node = SimulatedReplica(api, time, manage=False)
    assert node.look() == AFTER_FAILURE
    assert node.reconciler.is_failing
    assert f"Secret tokenguard/tokenguard-tls: {why}" in caplog.text


def test_refusal_is_logged_once_and_retried(api, time, caplog) -> None:
    api.refused.add(("patch", CONFIGURATIONS[0]))
    node = SimulatedReplica(api, time)
    assert [node.look() for _ in range(3)] == [0.0, AFTER_FAILURE, AFTER_FAILURE]
    assert caplog.text.count("403") == 1
    api.refused.clear()
    node.catch_up()
    assert node.look() == SOON
    settle(time, node)
    assert is_refused(api, node, time) == ""


def test_certificate_with_unreadable_configurations_is_served(api, time) -> None:
    settle(time, SimulatedReplica(api, time))
    api.refused.add(("get", WEBHOOKS))
    newcomer = SimulatedReplica(api, time)
    newcomer.look()
    assert newcomer.given.startswith(stored(api).certificate)


def test_refused_configuration_does_not_delay_the_other(api, time) -> None:
    api.refused.add(("patch", CONFIGURATIONS[0]))
    node = SimulatedReplica(api, time)
    for _ in range(3):
        node.look()
    assert [bool(bundle) for bundle in api.bundles()] == [False, False, True, True]


def test_broken_bundle_is_restored_with_a_read_only_secret(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    time.seconds += 21 * 86400
    api.refused.add(("patch", SECRETS))
    api.objects[f"{CONFIGURATIONS[1]}/tokenguard"]["webhooks"][0]["clientConfig"]["caBundle"] = "anVuaw=="
    node.look()
    assert is_refused(api, node, time) == ""


@pytest.mark.parametrize("seed", range(5))
def test_lost_secret_is_created_again_without_a_refused_replica(api, time, seed) -> None:
    chance = random.Random(seed)
    nodes = [SimulatedReplica(api, time) for _ in range(3)]
    settle(time, *nodes)
    servers = ApiServers(api, time, TRUST_DELAY * 0.9)
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


def lose_secret_while_a_replica_is_stale(api: Api, time: SimulatedTime, latest: float) -> bool:
    """Lose the Secret after a planned rotation that one replica has not loaded for `latest` seconds in all.

    Return whether that replica would be refused.
    """
    quick, stale = SimulatedReplica(api, time), SimulatedReplica(api, time)
    settle(time, quick, stale)
    force(api, time)
    settle(time, quick)
    del api.objects[f"{SECRETS}/tokenguard-tls"]
    began, refusals = time.seconds, []
    while time.seconds - began < latest:
        quick.look()
        quick.catch_up()
        refusals += [is_refused(api, quick, time), is_refused(api, stale, time)]
        time.seconds += 1
    settle(time, quick, stale)
    assert [is_refused(api, node, time) for node in (quick, stale)] == ["", ""]
    assert len(stored(api).cas) == 1
    return any(refusals)


def test_lost_secret_after_a_planned_rotation_rejects_no_replica(api, time) -> None:
    assert not lose_secret_while_a_replica_is_stale(api, time, SERVE_DELAY)


def test_lost_secret_with_a_stale_replica_rejects_it(api, time) -> None:
    assert lose_secret_while_a_replica_is_stale(api, time, SERVE_DELAY + 2 * TRUST_DELAY)


@pytest.mark.parametrize("stale_first", [False, True], ids=["by a quick replica", "by a late replica"])
def test_secret_recovered_during_a_rotation_revokes_the_old_cas(api, time, stale_first) -> None:
    nodes = [SimulatedReplica(api, time) for _ in range(2)]
    settle(time, *nodes)
    [old] = stored(api).cas
    force(api, time, revoke=True)
    for _ in range(int(TRUST_DELAY) + 5):  # the first has the new certificate, the second the old one
        nodes[0].look()
        nodes[0].catch_up()
        time.seconds += 1
    assert len({node.serves for node in nodes}) == 2
    del api.objects[f"{SECRETS}/tokenguard-tls"]
    nodes[stale_first].look()
    assert [is_refused(api, node, time) for node in nodes] == ["", ""]
    assert read_status(api, WHERE).pending_step
    settle(time, *nodes)
    assert old not in stored(api).cas
    assert [is_refused(api, node, time) for node in nodes] == ["", ""]


@pytest.mark.parametrize(("seconds", "step"), [(1, 1), (25, 5), (90, 5)])
def test_bundle_is_bounded_if_the_ca_key_keeps_disappearing(api, time, seconds, step) -> None:
    nodes = [SimulatedReplica(api, time) for _ in range(2)]
    settle(time, *nodes)
    for _ in range(2 * MAX_CAS):
        del api.objects[f"{SECRETS}/tokenguard-tls"]["data"]["ca.key"]
        for _ in range(0, seconds, step):
            for node in nodes:
                node.look()
                node.catch_up()
            time.seconds += step
            assert [is_refused(api, node, time) for node in nodes] == ["", ""]
        assert len(stored(api).cas) <= MAX_CAS
    settle(time, *nodes)
    assert len(stored(api).cas) == 1


def test_certificate_of_an_unmanaged_ca_is_not_served(api, time) -> None:
    node = SimulatedReplica(api, time)
    settle(time, node)
    served, current = node.given, WHERE.read(api)
    stranger = issue_certificate(create_ca(time.now), [NAME], time.now)
    held = current.stored
    WHERE.write(api, StoredCertificates(held.bundle, held.ca_key, stranger.certificate, stranger.key), current.version)
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
    return sum(method in {"post", "patch"} and path.startswith(SECRETS) for method, path in api.requests)


def test_names_of_another_replica_are_added_after_a_renewal(api, time) -> None:
    old, new = SimulatedReplica(api, time), SimulatedReplica(api, time, names=[NAME, "new.example.com"])
    settle(time, old, new)
    assert names(api) == {NAME, "new.example.com"}
    time.seconds += 21 * 86400
    api.requests.clear()
    settle(time, old, new)
    assert names(api) == {NAME, "new.example.com"}
    assert signed(api) == 2


def test_names_of_another_replica_stay_when_a_new_ca_signs(api, time) -> None:
    old, new = SimulatedReplica(api, time), SimulatedReplica(api, time, names=[NAME, "new.example.com"])
    settle(time, new, old)
    force(api, time)
    before = stored(api).certificate
    while stored(api).certificate == before:
        old.look()
        old.catch_up()
        time.seconds += 1
    assert names(api) == {NAME, "new.example.com"}


def test_unused_name_is_removed_at_the_next_renewal(api, time) -> None:
    old, new = SimulatedReplica(api, time, names=[NAME, "old.example.com"]), SimulatedReplica(api, time)
    settle(time, old, new)
    assert names(api) == {NAME, "old.example.com"}
    time.seconds += 21 * 86400
    settle(time, new)
    assert names(api) == {NAME}


def test_keys_are_never_logged(api, time, caplog) -> None:
    caplog.set_level("DEBUG")
    node = SimulatedReplica(api, time)
    settle(time, node)
    api.objects[f"{SECRETS}/tokenguard-tls"]["data"]["tls.key"] = "not base64: sekrit"
    node.look()
    assert "cannot decode" in caplog.text
    assert "sekrit" not in caplog.text
    assert "PRIVATE" not in caplog.text
