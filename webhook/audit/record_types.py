"""The form of an audit record: its keys, what each says, and its bounds."""

import datetime as dt
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from webhook.core.decision import Outcome
from webhook.core.patch import Operation
from webhook.core.policy.model import Action
from webhook.core.request import Phase

MAX_TEXT = 1024
MAX_OPERATION = 8192
MAX_FINDINGS, MAX_OPERATIONS = 25, 50
"""So many are in a line: an author who is denied again and again must not fill the log with kilobytes each time."""
_PHASES = (Phase.MUTATE, Phase.VALIDATE)
_ACTIONS = (Action.REJECT, Action.PATCH, Action.WARN, Action.AUDIT)


def _said(description: str, **schema: Any) -> Meta:
    """Return what the JSON Schema of the lines says of a key."""
    return Meta(description=description, extra_json_schema=schema)


def _text(description: str) -> Meta:
    return _said(description, maxLength=MAX_TEXT)


def _one_of(words: Any, description: str) -> Meta:
    return _said(description, enum=[str(word) for word in words])


class Finding(msgspec.Struct, gc=False):
    """A rule that is broken in one place."""

    rule: Annotated[str, _text("its name")]
    action: Annotated[str, _one_of(_ACTIONS, "what is done about it")]
    path: Annotated[str, _text("where in the object")]
    detail: Annotated[str, _text("what is wrong there, and what was or would be done about it")]


class LeftOut(msgspec.Struct, omit_defaults=True, gc=False):
    """How many more there are than the line lists."""

    findings: Annotated[int, Meta(description="findings", ge=0)] = 0
    patch: Annotated[int, Meta(description="operations of the patch", ge=0)] = 0


class Record(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, gc=False):
    """One line of tokenguard's audit log: what was decided about one admission review."""

    time: Annotated[dt.datetime, Meta(description="when it was decided, UTC", tz=True)]
    id: Annotated[str, _said("the decision's id: the first characters of the uid", maxLength=8)]
    uid: Annotated[str, _text("the review's uid; the two webhooks' reviews of one pod have different ones")]
    webhook: Annotated[str, _one_of(_PHASES, "who was asked: mutate mends, validate judges what came out")]
    decision: Annotated[str, _one_of(Outcome, "what became of the request")]
    operation: Annotated[str, _text("the request's: CREATE, UPDATE, ...")]
    resource: Annotated[str, _text("the plural, with its subresource: pods/ephemeralcontainers")]
    namespace: Annotated[str, _text("the object's; empty: it has none")]
    name: Annotated[str | None, _text("the object's")] = None
    generate_name: Annotated[str | None, _text("what its name will begin with, where it has none yet")] = None
    owner: Annotated[str, _text("the controller that made it, Kind/name; empty: a person did")]
    service_account: Annotated[str, _text("the account whose token it is about; empty: none")]
    user: Annotated[str, _text("who asked")]
    dry_run: Annotated[bool, Meta(description="whether nothing comes of it whatever is decided")]
    findings: Annotated[list[Finding], Meta(description="which rules are broken", max_length=2 * MAX_FINDINGS)]
    patch: Annotated[
        list[Operation], Meta(description="what was changed: JSON Patch (RFC 6902)", max_length=MAX_OPERATIONS)
    ]
    left_out: Annotated[LeftOut | None, Meta(description="what the line doesn't list")] = None
    exemption: Annotated[str, Meta(description="under which exemptions: rule: reason (until day); ... Empty: none")]
    policy: Annotated[str, _said("12 hex digits of the policy's SHA-256; empty: there was none", maxLength=12)]
    duration_ms: Annotated[float, Meta(description="what reading and deciding took, in milliseconds", ge=0)]
    sample: Annotated[
        float | None, Meta(description="the share of such lines that is written, 0 to 1; absent: all")
    ] = None
    note: Annotated[str | None, _text("why no rule looked at it, where none did")] = None
    problem: Annotated[str | None, _text("why it could not be judged")] = None
