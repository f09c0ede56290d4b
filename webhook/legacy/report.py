"""The legacy Secrets of a cluster and how far their retirement is, as values: text and JSON are made from these."""

import datetime as dt
from typing import Annotated

from msgspec import Meta, Struct

from webhook.legacy.retirable import RetirableSecret, RetirementState
from webhook.scan.report import ScanReport, UnreadResource


class LegacyReport(Struct, frozen=True, gc=False, rename="camel"):
    """All legacy Secrets, the worst first."""

    time: Annotated[dt.datetime, Meta(description="When the cluster was read.")]
    cluster: Annotated[str, Meta(description="The API server's address.")]
    context: Annotated[str, Meta(description="The context of the kubeconfig; empty in a pod.")]
    tracked_since: Annotated[
        dt.date | None, Meta(description="The day (UTC) since which the API server records uses of legacy tokens.")
    ]
    unused_days: Annotated[int, Meta(description="Days without a use after which a token counts as unused.")]
    after_days: Annotated[int, Meta(description="Days disabled without a refused use, after which one is removable.")]
    secrets: Annotated[tuple[RetirableSecret, ...], Meta(description="The legacy Secrets, the worst first.")]
    unread: Annotated[tuple[UnreadResource, ...], Meta(description="What could not be read.")]

    @classmethod
    def of(cls, scan: ScanReport, secrets: tuple[RetirableSecret, ...], after_days: int) -> "LegacyReport":
        """Return the report on the Secrets of a scan."""
        return cls(
            scan.time,
            scan.cluster,
            scan.context,
            scan.tracked_since,
            scan.unused_days,
            after_days,
            secrets,
            scan.unread,
        )

    @property
    def exit_status(self) -> int:
        """2 if the Secrets could not be read, 1 if a token is valid or still used, else 0; as of a scan."""
        if any(unread.affects_decisions for unread in self.unread):
            return 2
        retired = (RetirementState.DISABLED, RetirementState.REMOVABLE)
        return int(any(secret.state not in retired for secret in self.secrets))

    @property
    def secrets_unread(self) -> UnreadResource | None:
        """Why there may be more legacy Secrets than these; None if there are not."""
        return next((unread for unread in self.unread if unread.is_of_legacy_secrets), None)

    @property
    def names_unread(self) -> tuple[str, ...]:
        """What could not be read and may refer to legacy Secrets."""
        return tuple(unread.resource for unread in self.unread if unread.may_name_secrets)
