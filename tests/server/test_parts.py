"""The smaller parts: the webhook's own token, the certificate it makes, the Flask application by itself."""

import base64
import datetime as dt
import json
import ssl

import pytest
from cryptography import x509

from tests.server.test_recorded import recorded
from tests.server.test_review import Judge
from webhook.server.app import create_app
from webhook.server.state import own_audiences
from webhook.server.tls import ServedPair, self_signed

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
    assert own_audiences(tmp_path / "token") == audiences


def test_without_a_token_no_audience_is_known(tmp_path):
    assert own_audiences(tmp_path / "none") == ()


def test_a_made_certificate_is_for_localhost_the_service_and_the_names_given(tmp_path):
    made = self_signed(["webhook.example.com", "10.0.0.7", "localhost"], NOW)
    leaf, authority = x509.load_pem_x509_certificates(made.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "tokenguard.tokenguard.svc", "webhook.example.com"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.7"]
    leaf.verify_directly_issued_by(authority)
    assert leaf.not_valid_before_utc < NOW < leaf.not_valid_after_utc
    assert ServedPair(tmp_path).use(made.certificate, made.key) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [b"", b"no PEM"], ids=["empty", "no PEM"])
def test_a_pair_that_does_not_load_is_told_and_never_quoted(tmp_path, bad):
    made = self_signed([], NOW)
    pair = ServedPair(tmp_path)
    for certificate, key in ((bad, made.key), (made.certificate, bad), (made.certificate, self_signed([], NOW).key)):
        (why,) = pair.use(certificate, key)
        assert why.startswith("the certificate and its key can't be used: ")
        assert "PEM" not in why or "no PEM" in why


def test_no_tls_older_than_1_2_is_offered(tmp_path):
    assert ServedPair(tmp_path).context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.fixture
def client():
    judge = Judge()
    return create_app(judge.state, judge.reviewer, judge.metrics, 100_000).test_client()


def test_the_flask_application_answers_reviews_by_itself(client):
    answer = client.post(
        "/mutate?timeout=10s", data=recorded("pod-plain.pods", "mutate"), content_type="application/json"
    )
    assert answer.status_code == 200
    assert answer.json["response"]["patchType"] == "JSONPatch"


@pytest.mark.parametrize(
    ("method", "path", "status", "settings"),
    [
        ("post", "/mutate", 400, {"data": b"{}", "content_type": "application/json"}),
        ("post", "/mutate", 415, {"data": b"{}", "content_type": "text/plain"}),
        (
            "post",
            "/validate",
            415,
            {"data": b"{}", "content_type": "application/json", "headers": {"Content-Encoding": "gzip"}},
        ),
        ("post", "/validate", 413, {"data": b" " * 100_001, "content_type": "application/json"}),
        ("get", "/mutate", 405, {}),
        ("get", "/nothing", 404, {}),
    ],
)
def test_the_flask_application_refuses_in_json(client, method, path, status, settings):
    answer = getattr(client, method)(path, **settings)
    assert answer.status_code == status
    assert list(answer.json) == ["error"]
