"""Changes legacy Secrets by their metadata alone: no request and no answer contains Secret data.

Every change depends on the uid and the version that the plan is about. Each request leaves a state from which the
command, called again, goes on: an Event comes before the last trace of what it is about is removed.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from webhook.cluster.api_types import BY_NAME, Resource
from webhook.cluster.event_recorder import event_manifest
from webhook.cluster.listing import list_objects
from webhook.cluster.self_review import user_name
from webhook.cluster.transport import CONFLICT, NOT_FOUND, ApiError, Transport
from webhook.core.owner_event import OwnerEvent
from webhook.core.token_objects import INVALID_SINCE
from webhook.legacy.metadata import DISABLED_AT, FIELD_MANAGER, RECORD
from webhook.legacy.plan import ChangeResult, Command, Plan
from webhook.legacy.record import (
    Author,
    disabled_event,
    disabling_annotations,
    disabling_labels,
    kept_manifest,
    restored_event,
)
from webhook.legacy.retirable import RetirableSecret

_FATAL = frozenset({0, 401})
"""Statuses after which no further request can succeed either."""
_UNKNOWN_USER = "unknown user"
_SECRETS: Resource[dict[str, Any]] = Resource("secrets", "/api/v1/secrets", dict, metadata_only=True)
_APPLY, _MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
Keep = Callable[[RetirableSecret, dict[str, Any]], None]
"""Writes the manifest of a Secret that is to be deleted; returns when it is on disk. Raises `OSError`."""


def own_username(transport: Transport) -> str:
    """Return the name by which the API server knows the caller; `unknown user` if it does not say."""
    try:
        return user_name(transport) or _UNKNOWN_USER
    except ApiError as error:
        if error.status in _FATAL:
            raise
        return _UNKNOWN_USER


class LegacyWriter:
    """Carries out plans."""

    def __init__(self, transport: Transport, author: Author, keep: Keep) -> None:
        self._transport = transport
        self._author = author
        self._keep = keep

    def carry_out(self, plan: Plan) -> Iterator[ChangeResult]:
        """Change the Secrets of a plan one by one. Raises `ApiError` if no further request can succeed."""
        change = {Command.DISABLE: self._disable, Command.RESTORE: self._restore, Command.DELETE: self._delete}
        for secret in plan.secrets:
            try:
                note = change[plan.command](secret)
            except ApiError as error:
                if error.status in _FATAL:
                    raise
                changed = "; it has changed since the plan was made: run the command again"
                yield ChangeResult(secret.title, f"{error}{changed if error.status == CONFLICT else ''}")
            else:
                yield ChangeResult(secret.title, note=note)

    def complete_events(self, secrets: Iterable[RetirableSecret]) -> None:
        """Record the Events of Secrets that were disabled, in case an interrupted command has not."""
        for secret in secrets:
            disabled = secret.disabled
            if disabled and disabled.recorded and disabled.at:
                self._record(disabled_event(secret, Author(disabled.by, disabled.at, disabled.reason)))

    def _disable(self, secret: RetirableSecret) -> str:
        metadata: dict[str, Any] = {
            "labels": disabling_labels(self._author),
            "annotations": disabling_annotations(secret, self._author),
        }
        identity = {"name": secret.name, "namespace": secret.namespace, "uid": secret.uid}
        metadata |= {**identity, "resourceVersion": secret.resource_version}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        self._transport.change_metadata("PATCH", _path(secret), body, _APPLY, query)
        return self._record(disabled_event(secret, self._author))

    def _restore(self, secret: RetirableSecret) -> str:
        if secret.disabled:  # otherwise an interrupted command has removed the label
            # Without a record, one is left until the Event exists, so that an interrupted command goes on.
            record = {} if secret.disabled.recorded else {DISABLED_AT: self._author.timestamp}
            metadata = {"labels": {INVALID_SINCE: None}, "annotations": record}
            self._merge(secret, {**metadata, "resourceVersion": secret.resource_version})
        note = self._record(restored_event(secret, self._author))
        self._merge(secret, {"annotations": dict.fromkeys(RECORD)})  # whichever field manager owns them
        return note

    def _delete(self, secret: RetirableSecret) -> str:
        resource = replace(_SECRETS.within(secret.namespace), field_selector=f"{BY_NAME}{secret.name}")
        stored = next(list_objects(resource, self._transport), None)
        if stored is None:
            return ""
        if stored["metadata"].get("resourceVersion") != secret.resource_version:
            raise ApiError(CONFLICT, "HTTP 409: the Secret is another version")
        try:
            self._keep(secret, kept_manifest(secret, stored["metadata"], self._author))
        except OSError as error:
            raise ApiError(0, f"cannot keep the manifest of {secret.title}: {error.strerror}") from None
        preconditions = {"uid": secret.uid, "resourceVersion": secret.resource_version}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        with _unless_gone():
            self._transport.change_metadata("DELETE", _path(secret), body, "application/json", {})
        return ""

    def _merge(self, secret: RetirableSecret, metadata: Mapping[str, Any]) -> None:
        body = {"metadata": {"uid": secret.uid, **metadata}}
        self._transport.change_metadata("PATCH", _path(secret), body, _MERGE, {"fieldManager": FIELD_MANAGER})

    def _record(self, event: OwnerEvent) -> str:
        """Record an Event, unless it exists; return what went wrong: the change is made all the same."""
        try:
            self._transport.post(f"/api/v1/namespaces/{event.namespace}/events", event_manifest(event))
        except ApiError as error:
            if error.status in _FATAL:
                raise
            return "" if error.status == CONFLICT else f"no Event recorded: {error}"
        return ""


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise


def _path(secret: RetirableSecret) -> str:
    return f"/api/v1/namespaces/{secret.namespace}/secrets/{secret.name}"
