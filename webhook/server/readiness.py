"""Whether the server is ready, and why not: `/readyz`, a metric and refused reviews report it."""

from webhook.server.state import State


def readiness_error(state: State) -> str:
    """Return why the server is not ready, in one line; empty if it is."""
    reasons: list[str] = []
    if state.snapshot is None:
        reasons += state.not_ready_reasons.values() or ["nothing has been loaded yet"]
    if state.awaits_certificate:
        reasons.append("certificate not loaded yet")
    if error := state.audit_error():
        reasons.append(error)
    return "; ".join(reasons)
