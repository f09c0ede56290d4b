"""Why a request is refused before anything is judged."""

import msgspec

from webhook.core.text import Word


class Refusal(Word):
    """The reasons there are; each is a value of a label in metrics."""

    NOT_HTTP = "not-http"
    NO_SUCH_PATH = "no-such-path"
    WRONG_METHOD = "wrong-method"
    ENCODED = "encoded"
    WRONG_MEDIA_TYPE = "wrong-media-type"
    NO_CLIENT_CERTIFICATE = "no-client-certificate"
    TOO_LARGE = "too-large"
    TOO_MANY = "too-many"
    TOO_SLOW = "too-slow"
    NOT_A_REVIEW = "not-a-review"
    OTHER = "other"


OF_REVIEWS = (
    (400, Refusal.NOT_A_REVIEW),
    (403, Refusal.NO_CLIENT_CERTIFICATE),
    (408, Refusal.TOO_SLOW),
    (413, Refusal.TOO_LARGE),
    (415, Refusal.ENCODED),
    (415, Refusal.WRONG_MEDIA_TYPE),
    (503, Refusal.TOO_MANY),
)
"""What an API server's request could meet with, each with its HTTP status."""

UNKNOWN_SENDER = msgspec.json.encode({
    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden",
    "message": "tokenguard answers only who shows a certificate of the CA in --client-ca: "
    "have the API server present one, by the kubeConfigFile in its AdmissionConfiguration",
})  # fmt: skip
"""What is told to who shows no certificate. It is a Status, so that an API server that was told of none tells its
user the message: of any other body it says only 'failed to call webhook: unknown'."""

BY_STATUS = {404: Refusal.NO_SUCH_PATH, 405: Refusal.WRONG_METHOD, 413: Refusal.TOO_LARGE}
"""What the framework's own refusals are."""
