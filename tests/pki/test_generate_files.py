import datetime as dt

import pytest
import yaml
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.manifests.rendering import render, the
from tests.pki.foreign import CA, foreign, pem
from webhook.cli import main
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
    named = {kind: tuple(one["name"] for one in the(kind, objects)["webhooks"]) for kind in WEBHOOKS}
    assert named == WEBHOOKS


def generate(*arguments: str):
    return CliRunner().invoke(main, ["certs", "generate", *arguments])


def test_generate_writes_keys_for_their_owner_only(tmp_path) -> None:
    done = generate("--out", str(tmp_path / "new"), "--tls-san", "10.0.0.7")
    assert done.exit_code == 0, done.output
    modes = {file.name: file.stat().st_mode & 0o077 for file in (tmp_path / "new").iterdir()}
    assert {name for name, mode in modes.items() if mode == 0} == {"ca.key", "tls.key"}
    assert "10.0.0.7" in parse_certificates((tmp_path / "new/tls.crt").read_bytes())[0].names


def test_generate_overwrites_only_with_force_and_never_a_ca(tmp_path) -> None:
    assert generate("--out", str(tmp_path)).exit_code == 0
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    again = generate("--out", str(tmp_path))
    assert again.exit_code == 2
    assert "--force" in again.output
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert generate("--out", str(tmp_path), "--force").exit_code == 0
    assert (tmp_path / "ca.key").read_bytes() == before["ca.key"]
    assert (tmp_path / "tls.key").read_bytes() != before["tls.key"]


def test_generate_rejects_an_invalid_name(tmp_path) -> None:
    done = generate("--out", str(tmp_path), "--tls-san", "a b")
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "'a b' is neither a DNS name nor an address" in done.output


IN_THE_WAY = {
    "a CA that can't be read": "ca.crt",
    "a certificate that can't be replaced": "tls.crt",
    "a patch that can't be replaced": "ca-bundle.yaml",
}


@pytest.mark.parametrize("name", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_generate_reports_a_file_it_cannot_read_or_write(tmp_path, name) -> None:
    (tmp_path / name).mkdir()
    done = generate("--out", str(tmp_path), "--force")
    assert done.exit_code == 2
    assert done.output == f"Error: {tmp_path / name}: Is a directory\n"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_generate_reports_a_folder_it_cannot_create(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    done = generate("--out", str(tmp_path / "file" / "folder"))
    assert (done.exit_code, done.output) == (2, f"Error: {tmp_path}/file/folder: Not a directory\n")
