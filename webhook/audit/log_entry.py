"""An entry of an audit log: a record of tokenguard, or an Event of the API server (audit.k8s.io/v1)."""

import datetime as dt
from typing import Annotated

import msgspec

_Text = str | None
_Time = Annotated[dt.datetime, msgspec.Meta(tz=True)]

EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)
_EXTREME_YEARS = (dt.MINYEAR, dt.MAXYEAR)
_MIN_SAMPLE = 1e-9


class _Finding(msgspec.Struct, gc=False):
    rule: str
    action: str


class _Extra(msgspec.Struct, rename={"pod": "authentication.kubernetes.io/pod-name"}, gc=False):
    pod: list[str] | None = None


class EventUser(msgspec.Struct, gc=False):
    """The sender of a request."""

    username: _Text = None
    extra: _Extra | None = None


class ObjectReference(msgspec.Struct, gc=False):
    """The subject of a request."""

    resource: _Text = None
    subresource: _Text = None
    namespace: _Text = None
    name: _Text = None


class ResponseStatus(msgspec.Struct, gc=False):
    """The answer to a request."""

    code: int | None = None


class LogEntry(msgspec.Struct, rename="camel", gc=False):
    """The fields of either log that are counted."""

    time: _Time | None = None
    webhook: _Text = None
    decision: _Text = None
    operation: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    generate_name: str = ""
    owner: str = ""
    service_account: str = ""
    user: str | EventUser | None = None
    dry_run: bool = False
    findings: list[_Finding] = []
    exemption: str = ""
    sample: Annotated[float, msgspec.Meta(ge=_MIN_SAMPLE, le=1)] | None = None

    kind: _Text = None
    api_version: _Text = None
    stage: _Text = None
    stage_timestamp: _Time | None = None
    request_received_timestamp: _Time | None = None
    verb: _Text = None
    response_status: ResponseStatus | None = None
    source_ips: list[str] | None = msgspec.field(name="sourceIPs", default=None)
    request_uri: _Text = msgspec.field(name="requestURI", default=None)
    object_ref: ObjectReference | None = None
    user_agent: _Text = None
    annotations: dict[str, str] | None = None

    def __post_init__(self) -> None:
        """Reject times that not every time zone can represent; no server writes them."""
        for time in (self.time, self.stage_timestamp, self.request_received_timestamp):
            if time is not None and time.year in _EXTREME_YEARS:
                raise ValueError(f"invalid time: year {time.year}")

    @property
    def occurred(self) -> dt.datetime:
        """When the decision was made or the request completed."""
        return self.time or self.stage_timestamp or EARLIEST

    @property
    def is_tokenguard(self) -> bool:
        """Whether it is a record of tokenguard."""
        return self.webhook is not None and self.decision is not None and self.time is not None

    @property
    def is_event(self) -> bool:
        """Whether it is an Event of the API server."""
        known = self.kind == "Event" and self.stage_timestamp is not None
        return known and (self.api_version or "").startswith("audit.k8s.io/")


decode_entry = msgspec.json.Decoder(LogEntry).decode
"""Decodes an entry. Raises `msgspec.DecodeError` for anything that is not JSON, or that has a key of the wrong type."""
