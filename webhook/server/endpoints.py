"""The Flask application: health, readiness, metrics, and the errors of every other path."""

import msgspec
from flask import Flask, Response, abort, request
from werkzeug.exceptions import HTTPException

from webhook.server.http_errors import Refusal
from webhook.server.http_message import HttpResponse
from webhook.server.metrics.collector import MetricsCollector
from webhook.server.readiness import readiness_error
from webhook.server.review_handler import PHASES, ReviewHandler
from webhook.server.state import State

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_REFUSALS = {404: Refusal.NO_SUCH_PATH, 405: Refusal.WRONG_METHOD}


def create_app(state: State, handler: ReviewHandler, collector: MetricsCollector) -> Flask:
    """Return the application for all requests but reviews, which the HTTP server gives to `handler` itself."""
    app = Flask("tokenguard", static_folder=None)
    app.config |= {"PROVIDE_AUTOMATIC_OPTIONS": False, "PROPAGATE_EXCEPTIONS": True}
    for path in PHASES:  # other methods get 405; a review whose path is written in another way gets 404
        app.add_url_rule(path, path, lambda: abort(404), methods=["POST"])

    @app.get("/healthz")
    def healthz() -> Response:
        return _json(HttpResponse(200, b'{"status":"ok"}'))

    @app.get("/readyz")
    def readyz() -> Response:
        snapshot, error = state.snapshot, readiness_error(state)
        if snapshot is None or error:
            return _json(HttpResponse(503, msgspec.json.encode({"error": f"not ready: {error}"})))
        return _json(HttpResponse(200, msgspec.json.encode({"status": "ready", "policy": snapshot.policy.revision})))

    @app.get("/metrics")
    def exposition() -> Response:
        return Response(collector.exposition(), content_type=_TEXT)

    @app.errorhandler(HTTPException)
    def error_response(error: HTTPException) -> Response:
        status = error.code or 500
        reason = f"{error.name}: {request.method} {request.path}"[:300]
        response = _json(handler.error(status, _REFUSALS.get(status, Refusal.OTHER), reason))
        response.headers.extend(header for header in error.get_headers() if header[0] == "Allow")
        return response

    return app


def _json(response: HttpResponse) -> Response:
    return Response(response.body, response.status, content_type="application/json")
