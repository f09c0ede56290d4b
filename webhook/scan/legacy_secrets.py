"""Secrets with tokens that never expire: their references, their uses, and which are safe to delete."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from webhook.core.k8s_types import ObjectMeta, Pod
from webhook.core.legacy_token import LegacyToken
from webhook.core.secret_content import ReviewedSecret
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE
from webhook.scan.api_types import LegacyTokenSecret, ScannedPodSpec, pull_secrets
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.owners import OwnerKey
from webhook.scan.report import LegacySecret, Reference, ScannedWorkload

References = Mapping[tuple[str, str], tuple[Reference, ...]]
Place = tuple[str, str, str, str]
"""API group, kind and name of an object, and the path of a field."""


def references(workloads: Iterable[ScannedWorkload]) -> References:
    """Return the fields of workloads that name legacy Secrets, by the Secret's namespace and name."""
    uses = _Uses()
    for workload in workloads:
        for group in workload.groups:
            for token in group.tokens:
                if token.secret:
                    field = workload.group, workload.kind, workload.name, token.path
                    uses.add(workload.namespace, token.secret, field, group.names)
    return uses.references()


class _Uses:
    """The places that name Secrets, each with its pods."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], dict[Place, list[str]]] = {}

    def add(self, namespace: str, secret: str, field: Place, pods: Iterable[str] = ()) -> None:
        """Add a place, or pods to it."""
        self._places.setdefault((namespace, secret), {}).setdefault(field, []).extend(pods)

    def references(self) -> References:
        """Return the places by the Secret's namespace and name."""
        return {
            secret: tuple(
                Reference(*field, tuple(sorted(pods))) for field, pods in sorted(places.items(), key=_by_name)
            )
            for secret, places in self._places.items()
        }


def _by_name(item: tuple[Place, list[str]]) -> tuple[str, ...]:
    group, *kind_name_path = item[0]
    return (*kind_name_path, group)


class ImagePulls:
    """The `imagePullSecrets` that name legacy Secrets, without effect.

    Images are only pulled with Secrets of the types `kubernetes.io/dockerconfigjson` and `kubernetes.io/dockercfg`
    (pkg/credentialprovider/secrets/secrets.go, `MakeDockerKeyring`).
    """

    def __init__(self, snapshot: ClusterSnapshot) -> None:
        self._legacy = {secret.key for secret in snapshot.secrets}
        self._uses = _Uses()
        for account in snapshot.accounts:
            meta = account.metadata
            owner = OwnerKey(meta.namespace or "", "", "ServiceAccount", meta.name or "")
            self._add(owner, account.image_pull_secrets, "imagePullSecrets", ())

    def add(self, owner: OwnerKey, pod: Pod, names: Iterable[str] = ()) -> None:
        """Add those of a workload's template, or of its running pods with these names."""
        if isinstance(pod.given_spec, ScannedPodSpec):
            self._add(owner, pod.given_spec.image_pull_secrets, "spec.imagePullSecrets", names)

    def references(self) -> References:
        """Return the entries by the Secret's namespace and name."""
        return self._uses.references()

    def _add(self, owner: OwnerKey, entries: Any, path: str, names: Iterable[str]) -> None:
        for number, secret in enumerate(pull_secrets(entries)):
            if (owner.namespace, secret) in self._legacy:
                field = owner.group, owner.kind, owner.name, f"{path}[{number}]"
                self._uses.add(owner.namespace, secret, field, names)


class LegacySecretAnalyzer:
    """Finds out what is known about each Secret."""

    def __init__(
        self,
        uses: References,
        image_pulls: References,
        snapshot: ClusterSnapshot,
        now: dt.datetime,
        unused_days: int,
    ) -> None:
        self._references = uses
        self._image_pulls = image_pulls
        self._listed = snapshot.listed()
        self._tracked_since = snapshot.tracked_since
        self._all_read = not any(unread.may_name_secrets for unread in snapshot.unread)
        self._grants_of = snapshot.grants_of
        self._today = now.astimezone(dt.UTC).date()
        self._unused_days = unused_days

    def analyze(self, secret: LegacyTokenSecret, *, is_copy: bool) -> LegacySecret:
        """Describe a Secret; `is_copy` says that it is of another type."""
        meta = secret.metadata
        key = (meta.namespace or "", meta.name or "")
        created, labels = meta.creation_timestamp, meta.labels
        last_used = parse_day(labels.last_used)
        used_some_day = labels.last_used and last_used is None  # the label has no valid day
        unused_since = None if used_some_day else self._unused_since(last_used, created)
        invalid_since = parse_day(labels.invalid_since)
        references = self._references.get(key, ())
        unused_for = (self._today - unused_since).days if unused_since else None
        is_missed = bool(invalid_since and last_used and last_used > invalid_since)  # a refused use is recorded, too
        return LegacySecret(
            *key,
            account=secret.account,
            grants=self._grants_of(key[0], secret.account) if secret.account else None,
            created=created,
            last_used=last_used,
            unused_since=unused_since,
            invalid_since=invalid_since,
            references=references,
            listed_by=tuple(sorted(self._listed.get(key, ()))),
            image_pulls=self._image_pulls.get(key, ()),
            removable=not (references or is_copy)
            and (
                (invalid_since is not None and not is_missed)
                or (self._all_read and unused_for is not None and unused_for >= self._unused_days)
            ),
            is_copy=is_copy,
            uid=meta.uid or "",
        )

    def _unused_since(self, last_used: dt.date | None, created: dt.datetime | None) -> dt.date | None:
        if self._tracked_since is None:
            return None
        created_on = created.astimezone(dt.UTC).date() if created else None
        return max(day for day in (self._tracked_since, created_on, last_used) if day)


def recreated_secret(secret: LegacyTokenSecret, *, is_copy: bool) -> ReviewedSecret:
    """Return a Secret as it would be created again. The account of a copied token is not known without reading it."""
    meta = secret.metadata
    if not is_copy:
        given = ObjectMeta(name=meta.name, annotations={LEGACY_TOKEN_ACCOUNT: secret.account})
        return ReviewedSecret(given, LEGACY_TOKEN_TYPE)
    token = LegacyToken(namespace=meta.namespace or "", secret=meta.name or "")
    return ReviewedSecret(ObjectMeta(name=meta.name), "Opaque", has_token=True, token_changed=True, legacy_token=token)


def parse_day(value: str | None) -> dt.date | None:
    """Return the day in a label or ConfigMap, None if it is not a day."""
    try:
        return dt.date.fromisoformat(value) if value else None
    except ValueError:
        return None
