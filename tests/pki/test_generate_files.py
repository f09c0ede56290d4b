import datetime as dt

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.manifests.rendering import render, the
from tests.pki.foreign import CA, foreign, pem
from webhook.pki.certificate import parse_certificates
from webhook.pki.generate_files import WEBHOOKS, generate_files
from webhook.pki.issue import create_ca
from webhook.pki.san import service_names
from webhook.pki.verify import verification_error

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
NAMES = service_names("tokenguard")


def test_generated_files_belong_together() -> None:
    files = generate_files({}, NAMES, NOW, 365)
    assert sorted(files) == ["ca-bundle.yaml", "ca.crt", "ca.key", "tls.crt", "tls.key"]
    chain = parse_certificates(files["tls.crt"])
    assert chain[0].matches_key(files["tls.key"])
    for configuration in yaml.safe_load_all(files["ca-bundle.yaml"]):
        for webhook in configuration["webhooks"]:
            bundle = yaml.safe_load(f"!!binary {webhook['clientConfig']['caBundle']}")
            assert verification_error(chain, bundle, NAMES[0], NOW + dt.timedelta(days=364)) == ""


def test_existing_ca_signs_again_and_bundle_stays_the_same() -> None:
    first = generate_files({}, NAMES, NOW, 365)
    later = NOW + dt.timedelta(days=300)
    second = generate_files(first, NAMES, later, 365)
    assert sorted(second) == ["ca-bundle.yaml", "tls.crt", "tls.key"]
    assert second["ca-bundle.yaml"] == first["ca-bundle.yaml"]
    assert verification_error(parse_certificates(second["tls.crt"]), first["ca.crt"], NAMES[0], later) == ""


AUTHORITY = create_ca(NOW)
ENCRYPTED_KEY = ec.generate_private_key(ec.SECP256R1())
ENCRYPTED = foreign("CA", *CA, key=ENCRYPTED_KEY)
ED25519 = foreign("CA", *CA, key=ed25519.Ed25519PrivateKey.generate())
NO_CA = foreign("no CA")
UNUSABLE = {
    "half of it": ({"ca.crt": AUTHORITY.certificate}, "only one of ca.crt and ca.key"),
    "junk": ({"ca.crt": b"junk", "ca.key": b"junk"}, "ca.crt contains no certificate"),
    "another's key": ({"ca.crt": AUTHORITY.certificate, "ca.key": create_ca(NOW).key}, "ca.key does not match"),
    "encrypted": (
        {"ca.crt": ENCRYPTED.certificate, "ca.key": pem(ENCRYPTED_KEY, "password")},
        "ca.key is encrypted; provide it without a password",
    ),
    "of a kind that can't sign": ({"ca.crt": ED25519.certificate, "ca.key": ED25519.key}, "use ECDSA P-256"),
    "no CA": ({"ca.crt": NO_CA.certificate, "ca.key": NO_CA.key}, "ca.crt is not the certificate of a CA"),
    "too short": ({"ca.crt": AUTHORITY.certificate, "ca.key": AUTHORITY.key}, "ca.crt expires on 2027-11-24"),
}


@pytest.mark.parametrize(("held", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_ca_raises_an_error(held, why) -> None:
    with pytest.raises(ValueError, match=why):
        generate_files(held, NAMES, NOW, 366)


def test_ca_with_rsa_key_signs() -> None:
    authority = foreign("CA", *CA, key=rsa.generate_private_key(65537, 2048), days=400)
    files = generate_files({"ca.crt": authority.certificate, "ca.key": authority.key}, NAMES, NOW, 365)
    assert verification_error(parse_certificates(files["tls.crt"]), authority.certificate, NAMES[0], NOW) == ""


def test_patch_names_every_webhook_of_the_manifests() -> None:
    objects = render("manifests")
    named = {kind: tuple(webhook["name"] for webhook in the(kind, objects)["webhooks"]) for kind in WEBHOOKS}
    assert named == WEBHOOKS
