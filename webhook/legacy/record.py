"""What `tokenguard legacy disable` writes: a label, annotations and an Event; and the manifest that `delete` keeps."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from webhook.core.formatting import plain, quote
from webhook.core.k8s_types import OwnerReference
from webhook.core.owner_event import TOKEN_DISABLED, TOKEN_RESTORED, OwnerEvent
from webhook.core.token_objects import INVALID_SINCE, LEGACY_TOKEN_TYPE
from webhook.legacy.metadata import DISABLED_AT, DISABLED_BY, DISABLED_LAST_USED, DISABLED_REASON
from webhook.legacy.retirable import RetirableSecret

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_TOKEN_TEXTS = ("eyJ", "ZXlK")
"""How a JWT begins, as text and in base64."""
_LATELY = dt.timedelta(hours=1)
"""An API server keeps Events for so long by default."""
_KEPT = ("name", "namespace", "uid", "creationTimestamp", "labels", "annotations", "ownerReferences", "finalizers")


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, when (aware) and why."""

    user: str
    time: dt.datetime
    reason: str = ""

    @property
    def timestamp(self) -> str:
        """The time as RFC 3339, in UTC and whole seconds."""
        return self.time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def disabling_labels(author: Author) -> dict[str, str]:
    """Return the label that has the API server refuse a token."""
    return {INVALID_SINCE: author.time.astimezone(dt.UTC).date().isoformat()}


def disabling_annotations(secret: RetirableSecret, author: Author) -> dict[str, str]:
    """Return the record of who disables a Secret's token."""
    return {
        DISABLED_BY: author.user,
        DISABLED_AT: author.timestamp,
        DISABLED_REASON: author.reason,
        DISABLED_LAST_USED: secret.last_used.isoformat() if secret.last_used else "",
    }


def disabled_lately(secrets: Iterable[RetirableSecret], now: dt.datetime) -> list[RetirableSecret]:
    """Return those that were disabled so lately that the command may have been interrupted, and called again."""
    since = now - _LATELY
    return [secret for secret in secrets if secret.recorded_at is not None and secret.recorded_at >= since]


def disabled_event(secret: RetirableSecret, author: Author) -> OwnerEvent:
    """Return the Event that tells the users of a namespace why a client is refused."""
    message = (
        f"{plain(author.user)} disabled the token of {_account(secret)} in this Secret: the API server refuses it;"
        f" reason: {plain(author.reason)}; to undo it: tokenguard legacy restore {secret.title}"
    )
    return _event(secret, TOKEN_DISABLED, author.timestamp, message)


def restored_event(secret: RetirableSecret, author: Author) -> OwnerEvent:
    """Return the Event that tells that a token is valid again."""
    reason = f"; reason: {plain(author.reason)}" if author.reason else ""
    message = f"{plain(author.user)} restored the token of {_account(secret)} in this Secret: it is valid again{reason}"
    occasion = secret.recorded_at or author.time.replace(microsecond=0)
    return _event(secret, TOKEN_RESTORED, occasion.astimezone(dt.UTC).isoformat(), message)


def _account(secret: RetirableSecret) -> str:
    return f"ServiceAccount {quote(secret.account)}" if secret.account else "a ServiceAccount"


def _event(secret: RetirableSecret, reason: str, occasion: str, message: str) -> OwnerEvent:
    owner = OwnerReference(api_version="v1", kind="Secret", name=secret.name, uid=secret.uid)
    return OwnerEvent(secret.namespace, owner, reason, occasion, message)


def kept_manifest(secret: RetirableSecret, metadata: Mapping[str, Any], author: Author) -> dict[str, Any]:
    """Return the manifest of a Secret that is deleted, without data.

    Annotations that contain a token, or may contain the data of the Secret, are left out.
    """
    retained = {key: metadata[key] for key in _KEPT if metadata.get(key)}
    annotations = dict(_harmless(metadata.get("annotations") or {}))
    annotations |= {"tokenguard/deleted-by": author.user, "tokenguard/deleted-at": author.timestamp}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {**retained, "annotations": annotations}}
    return manifest if secret.is_copy else {**manifest, "type": LEGACY_TOKEN_TYPE}


def _harmless(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in annotations.items():
        if key != _LAST_APPLIED and not any(text in value for text in _TOKEN_TEXTS):
            yield key, value
