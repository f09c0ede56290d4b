"""Unwraps audit log entries from the JSON of cloud logging services and lists.

- Kubernetes `EventList`: `items`
- CloudWatch Logs: `events` or `logEvents`, each with the record as text in `message`; Logs Insights: `@message`
- Azure diagnostic settings: `records`, or one record a line, each with the audit record as text in `properties.log`;
  Log Analytics: `log_s`
- Docker's json-file: the record as text in `log`
- GKE, Cloud Logging: a `LogEntry` whose `protoPayload` is a google.cloud.audit.AuditLog, read as an Event

A LogEntry of Cloud Logging contains user, object, client and, in its `labels`, the audit annotations. It contains
neither the URI, so dry runs are unknown, nor the pod that sent the request.
"""

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from webhook.audit.json_stream import LISTS
from webhook.audit.log_entry import EventUser, LogEntry, ObjectReference, decode_entry

_MAX_DEPTH = 6
"""For example: text in a record in a list in a record of Firehose."""
_WRAPPERS: tuple[tuple[str, bytes | tuple[bytes, ...]], ...] = (
    *((name, b"[") for name in sorted(LISTS)),
    *((name, b'"') for name in ("message", "@message", "log", "log_s")),
    ("properties", (b'"', b"{")),
)
"""Members that contain records, and how their values begin."""


class BrokenRecord(NamedTuple):
    """A record that cannot be read."""

    reason: str

    @classmethod
    def of(cls, error: Exception) -> "BrokenRecord":
        """Return the record that one of the `DECODE_ERRORS` is about."""
        return cls("nested too deeply" if isinstance(error, RecursionError) else str(error))


DECODE_ERRORS = (msgspec.DecodeError, UnicodeError, RecursionError)


class _Caller(msgspec.Struct, rename="camel"):
    principal_email: str = ""


class _Request(msgspec.Struct, rename="camel"):
    caller_supplied_user_agent: str = ""


class _AuditLog(msgspec.Struct, rename="camel"):
    service_name: str = ""
    resource_name: str = ""
    authentication_info: _Caller = msgspec.field(default_factory=_Caller)
    request_metadata: _Request = msgspec.field(default_factory=_Request)


class _CloudLogEntry(msgspec.Struct, rename="camel"):
    """https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry, as far as it is read."""

    timestamp: dt.datetime
    proto_payload: _AuditLog
    labels: dict[str, str] | None = None


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_log_entry = msgspec.json.Decoder(_CloudLogEntry).decode


def unwrap(raw: bytes | msgspec.Raw, depth: int = 0) -> Iterator[LogEntry | BrokenRecord]:
    """Yield the entries in a JSON value, or an entry of neither log if there are none.

    Raises `msgspec.DecodeError`, `UnicodeDecodeError` or `RecursionError` if the value itself cannot be decoded.
    """
    try:
        line = decode_entry(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        entries = list(_inside(raw, depth)) if is_json(raw) else []
        if not entries:
            raise
        yield from entries
        return
    if line.is_tokenguard or line.is_event:
        yield line
    else:
        yield from list(_inside(raw, depth)) or [line]


def is_json(raw: bytes | msgspec.Raw) -> bool:
    """Return whether it is one complete JSON value."""
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _inside(raw: bytes | msgspec.Raw, depth: int) -> Iterator[LogEntry | BrokenRecord]:
    content = bytes(raw).strip()
    if depth > _MAX_DEPTH:
        return
    if content.startswith(b"["):
        for element in _elements(content):
            yield from _part(element, depth)
    elif content.startswith(b'"'):
        yield from _part(content, depth)
    elif content.startswith(b"{"):
        members = _members(content)
        if "protoPayload" in members:
            yield _from_log_entry(content)
            return
        for name, begin in _WRAPPERS:
            if bytes(members.get(name, b"")).startswith(begin):
                yield from _part(members[name], depth)


def _part(raw: bytes | msgspec.Raw, depth: int) -> Iterator[LogEntry | BrokenRecord]:
    """Yield the entries in a part of a wrapper: an object, or text that may contain one."""
    try:
        content = bytes(raw)
        if content.startswith(b'"'):
            content = _text(content).strip().encode()
            if not content.startswith((b"{", b"[")):
                yield LogEntry()  # another program's message
                return
        yield from unwrap(content, depth + 1)
    except DECODE_ERRORS as error:
        yield BrokenRecord.of(error)


def _from_log_entry(content: bytes) -> LogEntry | BrokenRecord:
    try:
        entry = _log_entry(content)
    except msgspec.DecodeError as error:
        return BrokenRecord(str(error))
    audit = entry.proto_payload
    if audit.service_name != "k8s.io":
        return LogEntry()
    return LogEntry(
        kind="Event",
        api_version="audit.k8s.io/v1",
        stage="ResponseComplete",
        stage_timestamp=entry.timestamp,
        object_ref=_object(audit.resource_name),
        user=EventUser(audit.authentication_info.principal_email),
        user_agent=audit.request_metadata.caller_supplied_user_agent,
        annotations=entry.labels,
    )


def _object(resource_name: str) -> ObjectReference:
    """Parse `core/v1/namespaces/shop/pods/web-1`: group, version, then like an API path."""
    _, _, *path = [*resource_name.split("/"), "", ""]
    namespace = ""
    if path[0] == "namespaces" and len([part for part in path if part]) > 2:
        namespace, path = path[1], path[2:]
    resource, name, subresource, *_ = [*path, "", "", ""]
    return ObjectReference(resource=resource, subresource=subresource, namespace=namespace, name=name)
