"""What `certs status` says, and what `certs rotate` does before the replicas go on with it."""

import base64
import datetime as dt
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.cluster.certificates.api import CONFIGURATIONS, ENDPOINTS, SECRETS, Api
from tests.cluster.certificates.replicas import NAME, NOW, WHERE, SimulatedReplica, SimulatedTime, settle
from tests.pki.foreign import NAME as CALLED
from tests.pki.foreign import cases, pem
from webhook.cluster.certificates.ca_bundle import KINDS
from webhook.cluster.certificates.rotation_request import RotationError, rotate
from webhook.cluster.certificates.status import read_full_status, read_status
from webhook.cluster.certificates.tls_secret import TlsSecret
from webhook.cluster.transport import ApiError
from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import BACKDATING, KeyPair, create_ca, issue_certificate
from webhook.pki.rotation import StoredCertificates, add_new_ca

DAY = dt.timedelta(days=1)


@pytest.fixture
def time() -> SimulatedTime:
    return SimulatedTime()


@pytest.fixture
def api(time) -> Api:
    """Return a cluster in which one replica has made all that there has to be."""
    made = Api()
    made.now = lambda: time.now
    made.install()
    settle(time, SimulatedReplica(made, time))
    return made


def problems(api: Api, now: dt.datetime = NOW) -> list[str]:
    return [line.text.strip() for line in read_status(api, WHERE).lines(now) if line.is_problem]


def test_status_has_issuer_names_and_days_left(api) -> None:
    status = read_status(api, WHERE)
    said = "\n".join(line.text for line in status.lines(NOW))
    assert "issuer       CN=tokenguard CA 2026-11-24 " in said
    assert "names        tokenguard.tokenguard.svc" in said
    assert "valid until  2026-12-24 12:00 UTC (30 days left), renewal on 2026-12-14" in said
    assert "ValidatingWebhookConfiguration/tokenguard trusts the certificate (2 webhooks)" in said
    assert problems(api) == []
    assert status.pending_step == ""


def served(api: Api) -> tuple[str, bool]:
    """Return what is said about the pods that serve the certificate, and whether it is a problem."""
    last = [*read_full_status(api, WHERE).lines(NOW)][-1]
    return last.text, last.is_problem


@pytest.mark.parametrize(("ready", "expected"), [
    ({"10.0.0.1": True, "10.0.0.2": False}, ("Service tokenguard/tokenguard: served by 1 ready pod", False)),
    ({"10.0.0.1": None}, ("Service tokenguard/tokenguard: served by 1 ready pod", False)),
    ({"10.0.0.1": False}, ("Service tokenguard/tokenguard has no ready pod: nobody serves the certificate", True)),
    ({}, ("Service tokenguard/tokenguard has no ready pod: nobody serves the certificate", True)),
], ids=["one of two", "unknown is ready", "none is ready", "no endpoints"])  # fmt: skip
def test_status_without_a_ready_pod_is_a_problem(api, ready, expected) -> None:
    api.put_endpoints(ready)
    assert served(api) == expected


def test_status_without_permission_for_endpoints_is_no_problem(api) -> None:
    api.refused.add(("get", ENDPOINTS))
    assert served(api) == ("Service tokenguard/tokenguard: its pods could not be read: HTTP 403: forbidden", False)


def test_status_fails_if_the_api_server_is_gone(api) -> None:
    def lose(_method: str, path: str) -> None:
        if path == ENDPOINTS:
            raise ApiError(0, "gone", unreachable=True)

    api.before = lose
    with pytest.raises(ApiError, match="gone"):
        read_full_status(api, WHERE)


def test_status_without_a_certificate_has_one_problem() -> None:
    assert problems(Api()) == ["Secret tokenguard/tokenguard-tls does not exist or contains no certificate"]


def test_expired_or_expiring_certificate_is_a_problem(api) -> None:
    assert "renewal overdue since" in problems(api, NOW + 21 * DAY)[0]
    assert ": expired" in problems(api, NOW + 31 * DAY)[0]
    assert ": not valid yet" in problems(api, NOW - DAY)[0]


def test_unmanaged_certificate_is_overdue_ten_days_before_expiry(api) -> None:
    del api.objects[f"{SECRETS}/tokenguard-tls"]["data"]["ca.key"]
    assert problems(api, NOW + 19 * DAY) == []
    assert "renewal overdue since" in problems(api, NOW + 21 * DAY)[0]


def test_bundle_that_cannot_verify_the_certificate_is_a_problem(api) -> None:
    stranger = base64.b64encode(create_ca(NOW).certificate).decode()
    webhooks = api.objects[f"{CONFIGURATIONS[1]}/tokenguard"]["webhooks"]
    webhooks[0]["clientConfig"]["caBundle"] = stranger
    webhooks[1]["clientConfig"]["caBundle"] = ""
    first, second = problems(api)
    assert first == (
        "ValidatingWebhookConfiguration/tokenguard does not trust the certificate: caBundle of a: "
        "no CA in the bundle signed the certificate"
    )
    assert second.endswith("caBundle of b: the bundle contains no certificate")


@pytest.mark.parametrize(("client", "host"), [
    ({"service": {"name": "guard", "namespace": "security"}}, "guard.security.svc"),
    ({"url": "https://guard.example.com:8443/mutate"}, "guard.example.com"),
    ({"url": "https://[2001:DB8::1]:8443/mutate"}, "2001:db8::1"),
])  # fmt: skip
def test_certificate_without_the_called_name_is_a_problem(api, time, client, host) -> None:
    path = f"{CONFIGURATIONS[0]}/tokenguard"
    bundle = api.objects[path]["webhooks"][0]["clientConfig"]["caBundle"]
    api.put(path, {"metadata": {"name": "tokenguard"}, "webhooks": [
        {"name": "a", "clientConfig": {"caBundle": bundle, **client}},
    ]})  # fmt: skip
    [problem] = problems(api)
    assert problem.startswith("MutatingWebhookConfiguration/tokenguard does not trust the certificate: caBundle of a: ")
    assert problem.endswith(f"the certificate is not valid for {host}")
    settle(time, SimulatedReplica(api, time, names=[NAME, host]))
    assert [line for line in problems(api) if "trust" in line] == []


def test_chain_is_trusted_by_the_ca_of_its_last_certificate(api) -> None:
    case = cases()["intermediate that is sent"]
    secret = WHERE.read(api)
    WHERE.write(api, StoredCertificates(case.bundle, b"", case.served, case.key), secret.version)
    for path in CONFIGURATIONS:
        bundle = base64.b64encode(case.bundle).decode()
        api.put(f"{path}/tokenguard", {"metadata": {"name": "tokenguard"}, "webhooks": [
            {"name": "a", "clientConfig": {"caBundle": bundle, "url": f"https://{CALLED}/"}},
        ]})  # fmt: skip
    assert [line for line in problems(api) if "trust" in line] == []
    assert about(api, case.served) == [("a:1 serves the certificate", False)]
    leaf = parse_certificates(case.served)[0].pem
    assert [text for text, _ in about(api, leaf)][1:] == [
        f"{kind}/tokenguard does not trust the certificate of a:1: "
        "caBundle of a: no CA in the bundle signed the certificate"
        for kind in KINDS
    ]


def about(api: Api, chain: bytes) -> list[tuple[str, bool]]:
    lines = read_status(api, WHERE).lines_about("a:1", parse_certificates(chain), NOW)
    return [(line.text, line.is_problem) for line in lines]


def test_served_chain_is_verified_with_the_bundles(api) -> None:
    stored = WHERE.read(api).stored
    assert about(api, stored.certificate) == [("a:1 serves the certificate", False)]
    again = issue_certificate(KeyPair(stored.bundle, stored.ca_key), [NAME], NOW).certificate
    assert about(api, again) == [(f"a:1 serves another certificate: {parse_certificates(again)[0].fingerprint}", True)]
    [_, *refused] = about(api, issue_certificate(create_ca(NOW), [NAME], NOW).certificate)
    why = "does not trust the certificate of a:1: caBundle of a: no CA in the bundle signed the certificate"
    assert [len(refused), *refused[::2]] == [4, *((f"{kind}/tokenguard {why}", True) for kind in KINDS)]


def test_missing_configuration_is_a_problem(api) -> None:
    del api.objects[f"{CONFIGURATIONS[0]}/tokenguard"]
    assert problems(api) == ["MutatingWebhookConfiguration/tokenguard does not exist: no API server calls this webhook"]


def test_key_of_another_certificate_is_a_problem(api) -> None:
    secret = WHERE.read(api)
    stranger = issue_certificate(create_ca(NOW), ["x"], NOW)
    stored = secret.stored
    WHERE.write(api, StoredCertificates(stored.bundle, stored.ca_key, stored.certificate, stranger.key), secret.version)
    assert problems(api) == ["the key does not match the certificate"]


def test_ca_rotation_is_pending_until_the_old_ca_is_removed(api, time) -> None:
    assert rotate(api, WHERE, ca=True).text.endswith("added a new CA to the bundle")
    said = [read_status(api, WHERE).pending_step]
    node = SimulatedReplica(api, time)
    while said[-1]:
        node.look()
        node.catch_up()
        time.seconds += 1
        said.append(read_status(api, WHERE).pending_step)
    assert list(dict.fromkeys(said)) == [
        "the webhook configurations do not contain the new bundle yet",
        "the new CA signs as soon as every API server trusts it",
        "the old CA is removed when the replicas have loaded the new certificate",
        "",
    ]


def test_rotated_certificate_is_for_the_same_names(api, time) -> None:
    settle(time, SimulatedReplica(api, time, names=[NAME, "more.example.com"]))
    before = WHERE.read(api).stored.certificate
    assert rotate(api, WHERE, ca=False).text.endswith("signed a new certificate")
    assert WHERE.read(api).stored.certificate != before
    assert WHERE.read(api).stored.serving.names == (NAME, "more.example.com")


@pytest.mark.parametrize("ca", [False, True])
def test_rotation_goes_by_the_api_servers_clock(api, time, ca) -> None:
    """The workstation's clock is what `now` returns before the first answer."""
    nodes = [SimulatedReplica(api, time) for _ in range(2)]
    settle(time, *nodes)
    api.now = lambda: time.now if api.requests else NOW - DAY
    api.requests.clear()
    rotate(api, WHERE, ca=ca)
    newest = WHERE.read(api).stored.cas[0] if ca else WHERE.read(api).stored.serving
    assert newest.not_before == time.now - BACKDATING
    assert len(WHERE.read(api).stored.cas) == 1 + ca


def test_old_ca_after_a_rotation_is_no_problem_and_not_pending(api, time) -> None:
    secret = WHERE.read(api)
    WHERE.write(api, add_new_ca(secret.stored, time.now), secret.version)
    settle(time, SimulatedReplica(api, time))
    status = read_status(api, WHERE)
    assert status.pending_step == ""
    text = "\n".join(line.text for line in status.lines(NOW))
    assert "old CA CN=tokenguard CA 2026-11-24 " in text
    assert "(365 days left), then removed" in text
    assert problems(api, NOW + 19 * DAY) == []


def test_rollout_names_who_trusts_the_certificate(api) -> None:
    both = "MutatingWebhookConfiguration/tokenguard and ValidatingWebhookConfiguration/tokenguard trust the certificate"
    assert read_status(api, WHERE).rollout == both
    for path in CONFIGURATIONS:
        del api.objects[f"{path}/tokenguard"]
    assert read_status(api, WHERE).rollout == "no webhook configuration trusts the certificate"


STRANGER = issue_certificate(create_ca(NOW), [NAME], NOW)
CANT_ROTATE = {
    "from elsewhere": ({"bundle": b"", "ca_key": b""}, "comes from elsewhere.*cert-manager: cmctl renew"),
    "from elsewhere, with its CA": ({"ca_key": b""}, "comes from elsewhere"),
    "another's certificate": (
        {"certificate": STRANGER.certificate, "key": STRANGER.key}, "comes from elsewhere",
    ),
    "another's key": ({"key": STRANGER.key}, "a tls.key that does not match its tls.crt"),
    "nothing": ({"bundle": b"", "ca_key": b"", "certificate": b"", "key": b""}, "contains no certificate: "),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "why"), CANT_ROTATE.values(), ids=CANT_ROTATE)
def test_unrotatable_secret_is_left_alone_with_an_error(api, changed, why) -> None:
    secret = WHERE.read(api)
    WHERE.write(api, replace(secret.stored, **changed), secret.version)
    before = WHERE.read(api)
    with pytest.raises(RotationError, match=f"^Secret tokenguard/tokenguard-tls.* {why}"):
        rotate(api, WHERE, ca=False)
    assert WHERE.read(api) == before


def test_missing_secret_cannot_be_rotated(api) -> None:
    with pytest.raises(RotationError, match=r"^Secret tokenguard/none does not exist: a replica with --manage-certs"):
        rotate(api, TlsSecret("tokenguard/none"), ca=False)


def test_rotate_before_the_new_ca_is_trusted_signs_nothing(api) -> None:
    rotate(api, WHERE, ca=True)
    before = WHERE.read(api)
    with pytest.raises(RotationError, match="a rotation of the CA is in progress"):
        rotate(api, WHERE, ca=False)
    assert WHERE.read(api) == before


def test_expired_certificate_is_replaced_in_a_rotation_of_the_ca(api, time) -> None:
    rotate(api, WHERE, ca=True)
    time.seconds += 40 * 86400
    assert rotate(api, WHERE, ca=False).text.endswith(": signed a new certificate")
    assert WHERE.read(api).stored.serving.is_valid_at(time.now)


@pytest.mark.parametrize("key", [STRANGER.key, pem(ed25519.Ed25519PrivateKey.generate())], ids=["another's", "Ed25519"])
def test_rotate_with_an_unusable_ca_key_revokes_the_ca(api, key) -> None:
    secret = WHERE.read(api)
    WHERE.write(api, replace(secret.stored, ca_key=key), secret.version)
    started = rotate(api, WHERE, ca=False)
    assert started.text.endswith(": added a new CA to the bundle")
    assert started.revoked == {ca.fingerprint for ca in secret.stored.cas}
    assert WHERE.read(api).stored.revoked_cas == secret.stored.cas


def test_secret_changed_at_the_same_time_is_left_alone(api) -> None:
    def interrupt(method: str, path: str) -> None:
        if method == "patch" and path.startswith(SECRETS):
            api.put(path, api.objects[path])

    api.before = interrupt
    before = api.objects[f"{SECRETS}/tokenguard-tls"]["data"]
    with pytest.raises(RotationError, match="nothing was done"):
        rotate(api, WHERE, ca=False)
    assert api.objects[f"{SECRETS}/tokenguard-tls"]["data"] == before
