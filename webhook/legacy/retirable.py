"""The state of each legacy Secret on its way out: in use, unused, disabled, removable.

What `disable`, `restore` and `delete` refuse because of it is in `plan.py`.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from msgspec import Meta, Struct

from webhook.core.formatting import FastStrEnum
from webhook.legacy.metadata import RetirableMetadata
from webhook.scan.evaluation_result import Namespace
from webhook.scan.rbac import NO_PERMISSIONS, Grant
from webhook.scan.report import AccountWithTokens, LegacySecret, Name, Reference, ScanReport, Uid

AFTER_DAYS = 14
"""A job that runs once a week fails twice within these days."""
Key = tuple[str, str]


class RetirementState(FastStrEnum):
    """How far a Secret is, in the order in which they need attention."""

    STILL_USED = "disabled but still used"
    IN_USE = "in use"
    UNKNOWN = "use unknown"
    REFERENCED = "unused, but referenced"
    UNUSED = "unused"
    TOO_EARLY = "too early to tell"
    DISABLED = "disabled"
    REMOVABLE = "removable"


class RefusedUse(Struct, frozen=True, gc=False, rename="camel"):
    """Requests with a disabled token, which the API server refused, as its audit log shows them."""

    address: Annotated[str, Meta(description="The address that they came from.")]
    client: Annotated[str, Meta(description="The user agent.")]
    requests: Annotated[int, Meta(description="How many; further ones of the same client may be among them.")]
    last: Annotated[dt.datetime, Meta(description="The last one.")]


class Disabling(Struct, frozen=True, gc=False, rename="camel"):
    """Who has marked a token invalid, when and why."""

    since: Annotated[dt.date | None, Meta(description="The day (UTC) in the label; null if that is no day.")]
    by: Annotated[str, Meta(description="The user; for another than tokenguard the field manager, empty if unknown.")]
    at: Annotated[dt.datetime | None, Meta(description="When; null if it is not recorded.")]
    reason: Annotated[str, Meta(description="Why; empty if it is not recorded.")]
    recorded: Annotated[bool, Meta(description="Whether tokenguard has disabled it, so that 'restore' undoes it.")]
    refused_on: Annotated[dt.date | None, Meta(description="The day (UTC) of the last refused use.")]

    @property
    def author(self) -> str:
        """Who has disabled it, as text."""
        if self.recorded:
            return self.by or "an unknown user"
        return f"field manager {self.by}" if self.by else "an unknown field manager"


class RetirableSecret(Struct, frozen=True, gc=False, rename="camel"):
    """A Secret with a token that never expires, and how far its retirement is."""

    namespace: Namespace
    name: Name
    state: Annotated[
        RetirementState,
        Meta(description="How far it is; too early: 'disable' refuses it; removable: 'delete' takes it."),
    ]
    account: Annotated[str, Meta(description="The token's ServiceAccount; empty if it is not known.")]
    grants: Annotated[
        tuple[Grant, ...] | None,
        Meta(description="What RBAC allows that account, the most dangerous first; null if it is not known."),
    ]
    created: Annotated[dt.datetime | None, Meta(description="When the Secret was created.")]
    last_used: Annotated[dt.date | None, Meta(description="The day (UTC) of the last recorded use, refused or not.")]
    unused_since: Annotated[
        dt.date | None, Meta(description="The day (UTC) since which no use is recorded; null if that is not known.")
    ]
    disabled: Annotated[Disabling | None, Meta(description="Who has marked its token invalid; null if it is valid.")]
    half_restored: Annotated[
        bool, Meta(description="Whether the token is valid, though tokenguard's record that it is disabled exists.")
    ]
    recorded_at: Annotated[dt.datetime | None, Meta(description="When tokenguard disabled it, if that is recorded.")]
    refused_uses: Annotated[tuple[RefusedUse, ...], Meta(description="Refused uses, with --audit-log.")]
    references: Annotated[tuple[Reference, ...], Meta(description="The fields of workloads that name it.")]
    listed_by: Annotated[
        tuple[str, ...], Meta(description="ServiceAccounts that list it: Kubernetes takes it for auto-generated.")
    ]
    image_pulls: Annotated[
        tuple[Reference, ...], Meta(description="What names it under imagePullSecrets, which has no effect.")
    ]
    is_copy: Annotated[bool, Meta(description="Whether it is of another type, with a copied token in it.")]
    deleting: Annotated[bool, Meta(description="Whether it is being deleted, and a finalizer keeps it.")]
    unused_days: Annotated[int | None, Meta(description="Days without a recorded use; null if that is not known.")]
    quiet_days: Annotated[
        int | None, Meta(description="Days that it has been disabled without a refused use; null if it is valid.")
    ]
    uid: Uid
    resource_version: Annotated[str, Meta(description="Its version, on which a change depends.")]

    @property
    def title(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"

    @property
    def created_on(self) -> dt.date | None:
        """The day (UTC) on which the Secret was created."""
        return self.created.astimezone(dt.UTC).date() if self.created else None

    @property
    def pods(self) -> tuple[Reference, ...]:
        """The references in running pods."""
        return tuple(reference for reference in self.references if reference.pods)

    @property
    def severity(self) -> tuple[bool, int]:
        """A key that sorts Secrets by what their accounts may do, the most dangerous first."""
        return self.grants[0].severity if self.grants else NO_PERMISSIONS


class RetirementAnalyzer:
    """Finds out how far the Secrets of a scan are."""

    def __init__(
        self,
        report: ScanReport,
        metadata: Iterable[RetirableMetadata],
        refused: Mapping[str, tuple[RefusedUse, ...]],
        after_days: int,
    ) -> None:
        """`refused` has the refused uses in an audit log, by `namespace/name`."""
        self._report = report
        self._today = report.time.astimezone(dt.UTC).date()
        self._after_days = after_days
        self._metadata = {secret.key: secret for secret in metadata}
        self._accounts: dict[Key, AccountWithTokens] = {
            (account.namespace, account.name): account for account in report.accounts_with_tokens
        }
        self._refused = refused

    def secrets(self) -> tuple[RetirableSecret, ...]:
        """Return the Secrets, the worst first: by state, then by what their accounts may do."""
        return tuple(sorted(self._analyzed(), key=_order))

    def _analyzed(self) -> Iterator[RetirableSecret]:
        for secret in self._report.legacy_secrets:
            yield self._analyze(secret, self._metadata[secret.namespace, secret.name])

    def _analyze(self, secret: LegacySecret, stored: RetirableMetadata) -> RetirableSecret:
        meta = stored.metadata
        account = self._accounts.get((secret.namespace, secret.account))
        uses = self._refused.get(f"{secret.namespace}/{secret.name}", ())
        disabling = self._disabling(secret, stored, uses) if meta.labels.invalid_since else None
        return RetirableSecret(
            namespace=secret.namespace,
            name=secret.name,
            state=self._state(secret, disabling),
            account=secret.account,
            grants=account.grants if account else None,
            created=secret.created,
            last_used=secret.last_used,
            unused_since=secret.unused_since,
            disabled=disabling,
            half_restored=disabling is None and stored.has_record,
            recorded_at=stored.disabled_at,
            refused_uses=uses if disabling else (),
            references=secret.references,
            listed_by=secret.listed_by,
            image_pulls=secret.image_pulls,
            is_copy=secret.is_copy,
            deleting=bool(meta.deletion_timestamp),
            unused_days=self._unused_days(secret),
            quiet_days=self._days_since(_quiet_since(disabling)),
            uid=secret.uid,
            resource_version=meta.resource_version or "",
        )

    def _disabling(self, secret: LegacySecret, stored: RetirableMetadata, uses: tuple[RefusedUse, ...]) -> Disabling:
        recorded, annotations = stored.has_record, stored.metadata.annotations
        since, at = secret.invalid_since, stored.disabled_at
        days = [use.last.astimezone(dt.UTC).date() for use in uses if at is None or use.last >= at]
        if since and secret.last_used and _is_later(secret.last_used, since, annotations.disabled_last_used):
            days.append(secret.last_used)
        return Disabling(
            since=since,
            by=(annotations.disabled_by or "") if recorded else stored.label_manager,
            at=at,
            reason=annotations.disabled_reason or "",
            recorded=recorded,
            refused_on=max(days, default=None),
        )

    def _state(self, secret: LegacySecret, disabling: Disabling | None) -> RetirementState:
        if disabling is None:
            if any(reference.pods for reference in secret.references):
                return RetirementState.IN_USE
            unused_days = self._unused_days(secret)
            if unused_days is None:
                return RetirementState.UNKNOWN
            if unused_days >= self._report.unused_days:
                return RetirementState.REFERENCED if secret.references else RetirementState.UNUSED
            return RetirementState.IN_USE if secret.last_used else RetirementState.TOO_EARLY
        quiet_days = self._days_since(_quiet_since(disabling))
        if disabling.refused_on and quiet_days is not None and quiet_days < max(self._after_days, 1):
            return RetirementState.STILL_USED
        is_removable = quiet_days is not None and quiet_days >= self._after_days and not secret.references
        return RetirementState.REMOVABLE if is_removable and not secret.is_copy else RetirementState.DISABLED

    def _unused_days(self, secret: LegacySecret) -> int | None:
        """Return the days without a recorded use: a use that is recorded shows that they are."""
        return self._days_since(secret.unused_since or secret.last_used)

    def _days_since(self, day: dt.date | None) -> int | None:
        return (self._today - day).days if day else None


def _quiet_since(disabling: Disabling | None) -> dt.date | None:
    """Return the day since which a token is disabled and was not used; None if it is valid or that is not known."""
    if disabling is None or disabling.since is None:
        return None
    return max(disabling.since, disabling.refused_on or disabling.since)


def _is_later(last_used: dt.date, since: dt.date, recorded: str | None) -> bool:
    """Return whether a use came after the token was disabled; on that very day the record shows it."""
    return last_used > since or (last_used == since and recorded is not None and recorded != last_used.isoformat())


def _order(secret: RetirableSecret) -> tuple[int, tuple[bool, int], str, str]:
    return _ORDER[secret.state], secret.severity, secret.namespace, secret.name


_ORDER = {state: number for number, state in enumerate(RetirementState)}
