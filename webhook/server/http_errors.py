"""Why a request is refused before anything is judged, and how that is told."""

import msgspec

from webhook.core.text import Word


class Refusal(Word):
    """The reasons there are; each is a value of a label in metrics."""

    NOT_HTTP = "not-http"
    NO_SUCH_PATH = "no-such-path"
    WRONG_METHOD = "wrong-method"
    ENCODED = "encoded"
    WRONG_MEDIA_TYPE = "wrong-media-type"
    NO_LENGTH = "no-length"
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
    (411, Refusal.NO_LENGTH),
    (413, Refusal.TOO_LARGE),
    (415, Refusal.ENCODED),
    (415, Refusal.WRONG_MEDIA_TYPE),
    (503, Refusal.TOO_MANY),
)
"""What an API server's request could meet with, each with its HTTP status."""

_REASONS = {
    400: "BadRequest", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 408: "Timeout",
    413: "RequestEntityTooLarge", 415: "UnsupportedMediaType", 500: "InternalError", 503: "ServiceUnavailable",
}  # fmt: skip


def refusal_body(status: int, why: str) -> bytes:
    """Return what is sent with a refusal's HTTP status: `why`, in a Status.

    An API server tells its user the message of a Status ("failed calling webhook ...: ..."), but nothing that stands in
    any other body of JSON (client-go, rest/request.go, `Result.Error`).
    """
    return msgspec.json.encode({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
        **({"reason": _REASONS[status]} if status in _REASONS else {}), "message": why,
    })  # fmt: skip


BY_STATUS = {404: Refusal.NO_SUCH_PATH, 405: Refusal.WRONG_METHOD, 413: Refusal.TOO_LARGE}
"""What the framework's own refusals are."""
