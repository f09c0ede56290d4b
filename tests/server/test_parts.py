"""The smaller parts: the webhook's own token, the certificate it makes."""

import base64
import datetime as dt
import json
import re
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from webhook.core.cluster import Cluster
from webhook.core.policy.document import default_policy
from webhook.pki.issue import create_self_signed
from webhook.server.config_files import ApiAudiences
from webhook.server.file_watcher import RejectedError
from webhook.server.serving_certificate import ServingCertificate
from webhook.server.state import State

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


def token(claims) -> str:
    return "e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".c2ln"


@pytest.mark.parametrize(
    ("content", "audiences"),
    [
        (token({"aud": ["https://api", "https://other"], "sub": "?>?>"}), ("https://api", "https://other")),
        (token({"aud": "https://api"}), ("https://api",)),
        (token({"aud": []}), ()),
        (token({}), ()),
        (token({"aud": [1]}), ()),
        (token([]), ()),
        ("e30.%%%.c2ln", ()),
        ("no token", ()),
        ("", ()),
        ("żółć", ()),
    ],
    ids=["list", "string", "empty list", "none", "numbers", "no object", "no base64", "no token", "empty", "no ASCII"],
)
def test_the_api_servers_audiences_are_read_from_the_webhooks_own_token(tmp_path, content, audiences):
    (tmp_path / "token").write_text(content)
    assert ApiAudiences(State(), tmp_path / "token").names == audiences


def test_audiences_of_a_renewed_own_token_are_used_at_once(tmp_path):
    file, state = tmp_path / "token", State()
    state.use_policy(default_policy())
    file.write_text(token({"aud": ["https://api"]}))
    own = ApiAudiences(state, file)
    state.use_cluster(Cluster(api_audiences=own.names))
    for content, expected in [
        (token({"aud": ["https://api", "https://new"]}), ("https://api", "https://new")),
        ("half a token", ("https://api", "https://new")),
        (token({"aud": "https://new"}), ("https://new",)),
    ]:
        renewed = tmp_path / "renewed"
        renewed.write_text(content)
        renewed.replace(file)
        own.check()
        assert state.snapshot.cluster.api_audiences == expected
    state.use_cluster(Cluster({"demo": {"t": "app"}}, api_audiences=("https://api",)))
    assert state.snapshot.cluster.api_audiences == ("https://new",)


def test_without_a_token_no_audience_is_known(tmp_path):
    assert ApiAudiences(State(), tmp_path / "none").names == ()


def test_a_made_certificate_is_for_localhost_the_service_and_the_names_given(tmp_path):
    made = create_self_signed(["webhook.example.com", "10.0.0.7", "localhost"], NOW)
    leaf, authority = x509.load_pem_x509_certificates(made.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "tokenguard.tokenguard.svc", "webhook.example.com"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.7"]
    leaf.verify_directly_issued_by(authority)
    assert leaf.not_valid_before_utc < NOW < leaf.not_valid_after_utc
    serving = ServingCertificate(tmp_path, State(), ["certificate", "key"])
    assert serving.use_pair(made.certificate, made.key) == made.certificate + b"\n" + made.key
    assert list(tmp_path.iterdir()) == []


MADE, OTHER = create_self_signed([], NOW), create_self_signed([], NOW)
ENCRYPTED = (
    serialization.load_pem_private_key(MADE.key, None)
    .private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"a")
    )
)  # fmt: skip
BAD_PAIRS = {
    "no certificate": (b"", MADE.key, "--tls-cert a.crt: no certificate in PEM can be read in it"),
    "broken certificate": (
        MADE.certificate[:200],
        MADE.key,
        "--tls-cert a.crt: no certificate in PEM can be read in it",
    ),
    "no key": (MADE.certificate, b"no PEM", "--tls-key a.key: no private key in PEM can be read in it"),
    "encrypted key": (
        MADE.certificate,
        ENCRYPTED,
        "--tls-key a.key: the key is encrypted; give one without a password",
    ),
    "another's key": (MADE.certificate, OTHER.key, "--tls-cert a.crt and --tls-key a.key don't belong together"),
}


@pytest.mark.parametrize(("certificate", "key", "why"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_a_pair_that_does_not_load_is_told_by_what_is_wrong_with_it(tmp_path, certificate, key, why):
    serving = ServingCertificate(tmp_path, State(), ["--tls-cert a.crt", "--tls-key a.key"])
    with pytest.raises(RejectedError, match=re.escape(why)):
        serving.use_pair(certificate, key)


def test_no_tls_older_than_1_2_is_offered(tmp_path):
    context = ServingCertificate(tmp_path, State(), ["certificate", "key"]).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION, "OpenSSL 3 refuses a client's by default; 1.1.1 doesn't"
