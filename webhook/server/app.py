"""The Flask application: health, readiness and metrics, and the reviews too, so that it is complete by itself."""

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from webhook.server.http_errors import BY_STATUS, Refusal
from webhook.server.http_message import HttpResponse
from webhook.server.metrics.collector import MetricsCollector
from webhook.server.metrics.recorder import Metrics
from webhook.server.review_handler import PHASES, ReviewHandler
from webhook.server.state import State

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def create_app(state: State, handler: ReviewHandler, metrics: Metrics) -> Flask:
    """Return the application; it can be served by any WSGI server."""
    app = Flask("tokenguard", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = handler.max_body_bytes + 1  # a longer body is cut off there, without a word
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    _add_reviews(app, handler)
    _add_pages(app, state, metrics)

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        status = error.code or 500
        why = f"{error.name}: {request.method} {request.path}"[:300]
        response = _json(handler.error(status, BY_STATUS.get(status, Refusal.OTHER), why))
        allow = error.get_response().headers.get("Allow")
        if allow:
            response.headers["Allow"] = allow
        return response

    return app


def _add_reviews(app: Flask, handler: ReviewHandler) -> None:
    def review() -> Response:
        said = request.headers
        media_type, encoding = said.get("Content-Type", ""), said.get("Content-Encoding", "")
        error = handler.check_request(media_type, encoding, 0, has_client_certificate=False)  # WSGI says nothing of it
        if error:
            return _json(error)
        body = request.get_data(cache=False)
        too_large = len(body) > handler.max_body_bytes
        return _json(handler.too_large() if too_large else handler.handle(body, PHASES[request.path]))

    for path in PHASES:
        app.add_url_rule(path, path, review, methods=["POST"])


def _add_pages(app: Flask, state: State, metrics: Metrics) -> None:
    collector = MetricsCollector(metrics, state)

    @app.get("/healthz")
    def healthz() -> Response:
        return _json(HttpResponse(200, b'{"status":"ok"}'))

    @app.get("/readyz")
    def readyz() -> Response:
        snapshot, why_not = state.snapshot, state.readiness_error
        if snapshot is None or why_not:
            return _json(HttpResponse(503, msgspec.json.encode({"error": f"not ready: {why_not}"})))
        return _json(HttpResponse(200, msgspec.json.encode({"status": "ready", "policy": snapshot.policy.revision})))

    @app.get("/metrics")
    def exposition() -> Response:
        return Response(collector.exposition(), content_type=_TEXT)


def _json(answer: HttpResponse) -> Response:
    return Response(answer.body, answer.status, content_type="application/json")
