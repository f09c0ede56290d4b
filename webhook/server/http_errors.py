"""Why a request is refused before it is evaluated, and the body of that answer."""

import msgspec

from webhook.core.formatting import FastStrEnum


class Refusal(FastStrEnum):
    """The reasons: values of a label in metrics."""

    NOT_HTTP = "not_http"
    NO_SUCH_PATH = "no_such_path"
    WRONG_METHOD = "wrong_method"
    ENCODED = "encoded"
    WRONG_MEDIA_TYPE = "wrong_media_type"
    NO_LENGTH = "no_length"
    NO_CLIENT_CERTIFICATE = "no_client_certificate"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    TOO_SLOW = "too_slow"
    NOT_A_REVIEW = "not_a_review"
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
"""What reviews can meet with, each with its HTTP status."""

_REASONS = {
    400: "BadRequest", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 408: "Timeout",
    413: "RequestEntityTooLarge", 415: "UnsupportedMediaType", 500: "InternalError", 503: "ServiceUnavailable",
}  # fmt: skip


def error_body(status: int, reason: str) -> bytes:
    """Return the body of an error: a Status with `reason` as its message.

    An API server shows its user the message of a Status ("failed calling webhook ...: ..."), but nothing of any other
    JSON (client-go, rest/request.go, `Result.Error`).
    """
    return msgspec.json.encode({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
        **({"reason": _REASONS[status]} if status in _REASONS else {}), "message": reason,
    })  # fmt: skip
