"""TokenReviews, and errors that never quote a token."""

import json

import pytest

from tests.tokens.signing import ISSUER, VAULT, jwks, plain_claims, signer
from webhook.cluster.token_review import published_issuer, review
from webhook.cluster.transport import ApiError
from webhook.tokens.verification import TokenReviewResult

TOKEN = signer().sign(plain_claims()) + b"\n"
USER = "system:serviceaccount:demo:app"


class Server:
    """A transport that gives the same answer to every post, and `published` by path to every get."""

    def __init__(self, answer: object = None, **published: bytes) -> None:
        self.answer = answer
        self.published = published
        self.posted = []

    def post(self, path, body) -> bytes:
        self.posted.append((path, body))
        if isinstance(self.answer, ApiError):
            raise self.answer
        return self.answer if isinstance(self.answer, bytes) else json.dumps({"status": self.answer}).encode()

    def get(self, path, _query, _accept) -> bytes:
        return self.published["keys" if path == "/openid/v1/jwks" else "about"]


def test_review_sends_the_token_with_the_audiences() -> None:
    server = Server({"authenticated": True, "user": {"username": USER, "uid": "u"}, "audiences": [VAULT]})
    assert review(server, TOKEN, (VAULT,)) == TokenReviewResult(
        authenticated=True, username=USER, audiences=(VAULT,), error=""
    )
    [(path, body)] = server.posted
    assert path == "/apis/authentication.k8s.io/v1/tokenreviews"
    assert (body["apiVersion"], body["kind"]) == ("authentication.k8s.io/v1", "TokenReview")
    assert body["spec"] == {"token": TOKEN.decode().strip(), "audiences": [VAULT]}


@pytest.mark.parametrize("status", [None, {}, {"authenticated": None, "user": None, "audiences": None, "error": None}])
def test_empty_status_is_not_authenticated(status) -> None:
    assert review(Server(status), TOKEN, ()) == TokenReviewResult(authenticated=False)


@pytest.mark.parametrize("answer", [
    b"", b"[]", b'{"status": 1}', b'{"status": {"authenticated": "yes"}}', b"\xff", b'{"x": ' + b"[" * 50_000,
], ids=["nothing", "a list", "a number", "a text", "bytes", "too deep"])  # fmt: skip
def test_invalid_answer_raises_api_error(answer: bytes) -> None:
    with pytest.raises(ApiError, match="the API server's answer is not a TokenReview"):
        review(Server(answer), TOKEN, ())


def test_forbidden_review_names_the_missing_right() -> None:
    with pytest.raises(ApiError, match=r"HTTP 403: no; .*system:auth-delegator.*--jwks") as caught:
        review(Server(ApiError(403, "HTTP 403: no")), TOKEN, ())
    assert caught.value.status == 403


@pytest.mark.parametrize("quoted", [TOKEN.decode(), TOKEN.decode()[40:60], TOKEN.decode().split(".")[2]],
                         ids=["all", "a piece", "the signature"])  # fmt: skip
def test_error_that_quotes_the_token_is_replaced(quoted: str) -> None:
    with pytest.raises(ApiError) as caught:
        review(Server(ApiError(400, f"HTTP 400: {quoted} is no good")), TOKEN, ())
    assert str(caught.value) == "the message is not shown because it quotes the token"
    assert caught.value.__suppress_context__, "a traceback would show it"
    assert (
        review(Server({"error": f"{quoted}?"}), TOKEN, ()).error
        == "the message is not shown because it quotes the token"
    )


def test_published_issuer_has_keys_and_name() -> None:
    issuer = published_issuer(Server(keys=jwks(signer()), about=json.dumps({"issuer": ISSUER}).encode()))
    assert (issuer.name, [key.key_id for key in issuer.keys]) == (ISSUER, ["key-1"])


@pytest.mark.parametrize(("keys", "about", "said"), [
    (b"{}", b"{}", "at /openid/v1/jwks is not a JSON Web Key Set"),
    (jwks(signer()), b"{}", "at /.well-known/openid-configuration names no issuer"),
    (jwks(signer()), b'{"issuer": 1}', "names no issuer"),
], ids=["no keys", "no issuer", "an issuer that is a number"])  # fmt: skip
def test_invalid_publication_raises_api_error(keys, about, said) -> None:
    with pytest.raises(ApiError, match=said):
        published_issuer(Server(keys=keys, about=about))
