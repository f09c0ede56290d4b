"""A legacy Secret's metadata with what `tokenguard legacy disable` records in it, and who has disabled it."""

import datetime as dt

import msgspec
from msgspec import Raw

from webhook.core.k8s_types import Object
from webhook.core.token_objects import INVALID_SINCE
from webhook.scan.api_types import LegacyTokenSecret, SecretAnnotations, SecretMeta

FIELD_MANAGER = "tokenguard-legacy"
DISABLED_BY = "tokenguard/disabled-by"
DISABLED_AT = "tokenguard/disabled-at"
DISABLED_REASON = "tokenguard/disabled-reason"
DISABLED_LAST_USED = "tokenguard/disabled-last-used"
"""The last recorded use at that time, empty for none: a later one was refused."""
RECORD = (DISABLED_BY, DISABLED_AT, DISABLED_REASON, DISABLED_LAST_USED)
_LABEL_FIELD = f'"f:{INVALID_SINCE}"'.encode()


class _ManagedFields(Object, frozen=True):
    """The fields that one manager has set, as JSON that is only searched."""

    manager: str | None = None
    fields: Raw = msgspec.field(default=Raw(b""), name="fieldsV1")


class _RecordAnnotations(SecretAnnotations, frozen=True):
    disabled_by: str | None = msgspec.field(default=None, name=DISABLED_BY)
    disabled_at: str | None = msgspec.field(default=None, name=DISABLED_AT)
    disabled_reason: str | None = msgspec.field(default=None, name=DISABLED_REASON)
    disabled_last_used: str | None = msgspec.field(default=None, name=DISABLED_LAST_USED)


class _RetirableMeta(SecretMeta, frozen=True):
    resource_version: str | None = None
    deletion_timestamp: str | None = None
    annotations: _RecordAnnotations = _RecordAnnotations()
    managed_fields: list[_ManagedFields] | None = None


class RetirableMetadata(LegacyTokenSecret, frozen=True):
    """A legacy Secret as PartialObjectMetadata, with all that retiring it depends on."""

    metadata: _RetirableMeta

    @property
    def has_record(self) -> bool:
        """Whether tokenguard has disabled it, and its record was not removed since."""
        return bool(self.metadata.annotations.disabled_at)

    @property
    def disabled_at(self) -> dt.datetime | None:
        """When tokenguard disabled it; None if that is not recorded."""
        try:
            at = dt.datetime.fromisoformat(self.metadata.annotations.disabled_at or "")
        except ValueError:
            return None
        return at if at.tzinfo else None

    @property
    def label_manager(self) -> str:
        """The field manager that marked its token invalid; empty if it is not known."""
        for entry in self.metadata.managed_fields or ():
            if _LABEL_FIELD in bytes(entry.fields):
                return entry.manager or ""
        return ""
