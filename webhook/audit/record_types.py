"""The audit record: its keys with their descriptions and limits, and their JSON Schema."""

import datetime as dt
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from webhook.core.admission_request import Phase
from webhook.core.decision import Outcome
from webhook.core.json_patch import Operation
from webhook.core.policy.model import Action

SCHEMA_VERSION = 1
"""Changes when a key is removed or changes its meaning, and is then written into each record."""
MAX_TEXT = 1024
MAX_OPERATION = 8192
MAX_FINDINGS, MAX_OPERATIONS = 25, 50
"""Maximum numbers in a record: repeated denials must not fill the log with kilobytes each."""
_PHASES = (Phase.MUTATE, Phase.VALIDATE)
_ACTIONS = (Action.REJECT, Action.PATCH, Action.WARN, Action.AUDIT)


def _described(description: str, **schema: Any) -> Meta:
    return Meta(description=description, extra_json_schema=schema)


def _text(description: str) -> Meta:
    return _described(description, maxLength=MAX_TEXT)


def _one_of(words: Any, description: str) -> Meta:
    return _described(description, enum=[str(word) for word in words])


class RecordedFinding(msgspec.Struct, gc=False):
    """One violation."""

    rule: Annotated[str, _text("The violated rule")]
    action: Annotated[str, _one_of(_ACTIONS, "The action that the policy assigns")]
    path: Annotated[str, _text("The place in the object")]
    detail: Annotated[str, _text("What is wrong, and what was or would be patched")]


class LeftOut(msgspec.Struct, omit_defaults=True, gc=False):
    """The numbers of findings and operations that exceed the limits of a record."""

    findings: Annotated[int, Meta(description="Findings left out", ge=0)] = 0
    patch: Annotated[int, Meta(description="Patch operations left out", ge=0)] = 0


class Record(msgspec.Struct, rename="camel", kw_only=True, gc=False):
    """One line of tokenguard's audit log: the decision about one admission review."""

    time: Annotated[dt.datetime, Meta(description="When the decision was made, UTC", tz=True)]
    id: Annotated[str, _described("The decision id: the first characters of uid", maxLength=8)]
    uid: Annotated[str, _text("The uid of the review; the two webhooks' reviews of one pod have different ones")]
    webhook: Annotated[str, _one_of(_PHASES, "The webhook: mutate patches the object, validate allows or denies it")]
    decision: Annotated[str, _one_of(Outcome, "The outcome")]
    operation: Annotated[str, _text("The operation: CREATE, UPDATE, ...")]
    resource: Annotated[str, _text("The resource (plural), with its subresource: pods/ephemeralcontainers")]
    namespace: Annotated[str, _text("The namespace of the object, or empty")]
    name: Annotated[str | UnsetType, _text("The name of the object")] = UNSET
    generate_name: Annotated[str | UnsetType, _text("The prefix of the name that the API server will generate")] = UNSET
    owner: Annotated[str, _text("The controller that owns the object, as Kind/name, or empty")]
    service_account: Annotated[str, _text("The ServiceAccount whose token is concerned, or empty")]
    user: Annotated[str, _text("The user who sent the request")]
    dry_run: Annotated[bool, Meta(description="Whether the request is a dry run")]
    findings: Annotated[list[RecordedFinding], Meta(description="The violations", max_length=2 * MAX_FINDINGS)]
    patch: Annotated[list[Operation], Meta(description="The patch: JSON Patch (RFC 6902)", max_length=MAX_OPERATIONS)]
    left_out: Annotated[LeftOut | UnsetType, Meta(description="What the limits of a record left out")] = UNSET
    exemption: Annotated[str, Meta(description="The exemptions that applied: rule: reason (until day); ..., or empty")]
    policy: Annotated[str, _described("12 hex digits of the policy's SHA-256, empty without a policy", maxLength=12)]
    duration_ms: Annotated[float, Meta(description="Milliseconds spent on decoding and evaluation", ge=0)]
    sample: Annotated[
        float | UnsetType, Meta(description="The share of such records that is written, 0 to 1; absent: all")
    ] = UNSET
    note: Annotated[str | UnsetType, _text("Why no rule was applied")] = UNSET
    problem: Annotated[str | UnsetType, _text("Why the request could not be evaluated")] = UNSET


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a record."""
    _, definitions = msgspec.json.schema_components([Record], ref_template="#/$defs/{name}")
    record = definitions.pop(Record.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:tokenguard:audit-line:{SCHEMA_VERSION}",
        **record,
        "title": f"tokenguard audit record, version {SCHEMA_VERSION}",
        "$defs": definitions,
    }
