"""Which replicas there are and which certificate each serves, told by a Lease of each.

Pods would tell as much, but a webhook has no business with other pods' status, and may run outside the cluster.
A Lease that hasn't been renewed for long is of a replica that is gone: how long doesn't matter much, because all that
waits for it is that an old CA leaves the bundle. "For long" is counted in renewals of one's own Lease, not by the time
of day: so neither an API server that was away, when nobody could renew, nor a wrong clock has the living look dead.
"""

import datetime as dt
import re
import secrets
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from webhook.cluster.transport import CONFLICT, NOT_FOUND, ApiError, Transport

RENEWED_EVERY = 60.0
"""Seconds."""
GONE_AFTER = dt.timedelta(minutes=10)
GONE_AFTER_BEATS, FORGOTTEN_AFTER_BEATS = 10, 60
"""So many of one's own renewals after another's last one, that one is gone, and its Lease is removed."""
MAX_REPLICAS = 1000
MAX_NAMES_LENGTH = 8192
"""So many Leases are read, and so many characters of names in one. Longer names are left out, as if none were given."""
LABEL = "tokenguard/replica"
SERVES = "tokenguard/serves"
"""The annotation that holds the SHA-256 of the certificate that a replica serves."""
NAMES = "tokenguard/names"
"""The annotation that holds the names that a replica asks the certificate to be for, with commas between them."""


_FINGERPRINT = 64
"""A SHA-256 in hex digits."""


class _Annotations(msgspec.Struct):
    serves: str = msgspec.field(name=SERVES, default="")
    names: str = msgspec.field(name=NAMES, default="")


class _Metadata(msgspec.Struct):
    name: str = ""
    annotations: _Annotations | None = None


class _Spec(msgspec.Struct):
    renewed: dt.datetime | None = msgspec.field(name="renewTime", default=None)


class _Lease(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)


class _Leases(msgspec.Struct):
    items: list[_Lease] | None = None


@dataclass(frozen=True)
class Replica:
    """One replica: its name, the fingerprint of the certificate that it serves, and when it last said so.

    `asks_for` are the names that it asks the certificate to be for; none where it doesn't say.
    """

    name: str
    serves: str
    renewed: dt.datetime
    asks_for: tuple[str, ...] = ()

    def is_alive(self, now: dt.datetime) -> bool:
        """Say whether it has been heard of lately, by the time of day: for who looks only once."""
        return now - self.renewed < GONE_AFTER


def asked_for(replicas: Collection[Replica] | None, held: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that these replicas ask a certificate to be for; None: it isn't known who is there.

    Where it isn't known what everybody asks for, what the certificate is for already (`held`) is asked for, too.
    """
    names = [name for one in replicas or () for name in one.asks_for]
    known = replicas and all(one.asks_for for one in replicas)
    return tuple(dict.fromkeys(names if known else (*held, *names)))


class Replicas:
    """The replicas of one namespace."""

    def __init__(self, namespace: str, names: Iterable[str] = ()) -> None:
        """Take the namespace, and what this replica asks for; its own name is another one after each start."""
        self._asks_for = ",".join(names)
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        host = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")[:200]
        self.own = f"{host or 'tokenguard'}-{secrets.token_hex(4)}"
        self._beats = 0
        self._seen: dict[str, tuple[Replica, int]] = {}

    def tell(self, transport: Transport, serves: str, now: dt.datetime) -> None:
        """Renew the own Lease, and say in it which certificate is served. Raises `ApiError`."""
        lease: dict[str, Any] = {
            "metadata": {"labels": {LABEL: "true"}, "annotations": {SERVES: serves, NAMES: self._asks_for}},
            "spec": {
                "holderIdentity": self.own,
                "leaseDurationSeconds": int(GONE_AFTER.total_seconds()),
                "renewTime": now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
        try:
            transport.patch(f"{self._path}/{self.own}", lease)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            transport.post(self._path, {**kind, **lease, "metadata": {**lease["metadata"], "name": self.own}})

    def beat(self, transport: Transport) -> None:
        """Look at all after a renewal of the own Lease, and remove those that are long gone. Raises `ApiError`."""
        self._beats += 1
        self._note(self.read(transport))
        for name, (_, seen) in list(self._seen.items()):
            if self._beats - seen >= FORGOTTEN_AFTER_BEATS:
                self.forget(transport, name)

    def alive(self, transport: Transport) -> tuple[Replica, ...]:
        """Return those that are not gone. Raises `ApiError`."""
        found = self.read(transport)
        self._note(found)
        return tuple(one for one in found if self._beats - self._seen[one.name][1] < GONE_AFTER_BEATS)

    def _note(self, found: tuple[Replica, ...]) -> None:
        """Remember when each was last seen to have renewed."""
        before = self._seen
        self._seen = {
            one.name: (one, self._beats if one.name not in before or before[one.name][0].renewed != one.renewed
                       else before[one.name][1])
            for one in found
        }  # fmt: skip

    def read(self, transport: Transport) -> tuple[Replica, ...]:
        """Return all that have told of themselves, those that are gone, too. Raises `ApiError`."""
        body = transport.get(self._path, {"labelSelector": f"{LABEL}=true"}, "application/json")
        try:
            items = msgspec.json.decode(body, type=_Leases).items or []
        except msgspec.DecodeError as error:
            raise ApiError(0, f"the Leases can't be read: {error}") from error
        return tuple(_told_by(lease) for lease in items[:MAX_REPLICAS])

    def forget(self, transport: Transport, name: str) -> None:
        """Remove a Lease, the own one at the end, or that of a replica that is long gone. Raises `ApiError`."""
        try:
            transport.delete(f"{self._path}/{name}")
        except ApiError as error:
            if error.status not in (NOT_FOUND, CONFLICT):
                raise


def _told_by(lease: _Lease) -> Replica:
    told = lease.metadata.annotations or _Annotations()
    renewed = lease.spec.renewed or dt.datetime.min.replace(tzinfo=dt.UTC)
    names = told.names.split(",") if len(told.names) <= MAX_NAMES_LENGTH else ()
    return Replica(lease.metadata.name, told.serves[:_FINGERPRINT], renewed, tuple(name for name in names if name))
