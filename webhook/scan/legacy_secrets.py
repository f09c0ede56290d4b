"""The Secrets that hold a token without end: who refers to them, who used them, and which can go."""

import datetime as dt
from collections.abc import Iterable, Mapping

from webhook.core.legacy_token import LegacyToken
from webhook.core.objects import ObjectMeta
from webhook.core.secret_content import ReviewedSecret
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT as _ACCOUNT
from webhook.core.token_objects import LEGACY_TOKEN_TYPE
from webhook.scan.api_types import NO_USAGE_LABELS, LegacyTokenSecret
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.evaluation_result import Change
from webhook.scan.evaluator import PolicyEvaluator
from webhook.scan.policy_diff import change_between
from webhook.scan.report import LegacySecret, Owner, Reference

References = Mapping[tuple[str, str], tuple[Reference, ...]]


def references(owners: Iterable[Owner]) -> References:
    """Return where the pods and templates of owners name legacy Secrets, by namespace and name of the Secret."""
    found: dict[tuple[str, str], dict[tuple[str, str, str, str], list[str]]] = {}
    for owner in owners:
        for group in owner.groups:
            for token in group.tokens:
                if token.secret:
                    places = found.setdefault((owner.namespace, token.secret), {})
                    places.setdefault((owner.group, owner.kind, owner.name, token.path), []).extend(group.names)
    return {
        secret: tuple(Reference(*place, tuple(sorted(pods))) for place, pods in sorted(places.items(), key=_by_name))
        for secret, places in found.items()
    }


def _by_name(item: tuple[tuple[str, str, str, str], list[str]]) -> tuple[str, ...]:
    group, *kind_name_path = item[0]
    return (*kind_name_path, group)


class LegacySecretAnalyzer:
    """How each of them is looked at."""

    def __init__(self, found: References, known: ClusterSnapshot, now: dt.datetime, unused_days: int) -> None:
        """Take the references, and what is known of the cluster."""
        self._references = found
        self._listed = known.listed()
        self._tracked_since = known.tracked_since
        self._all_read = not any(one.may_name_secrets for one in known.unread)
        self._today = now.astimezone(dt.UTC).date()
        self._unused_days = unused_days

    def analyze(
        self,
        secret: LegacyTokenSecret,
        judge: PolicyEvaluator,
        simulated: PolicyEvaluator | None,
        *,
        is_copy: bool = False,
    ) -> LegacySecret:
        """Return what there is to tell about a Secret; `is_copy` says that it is of another type."""
        meta = secret.metadata
        key = (meta.namespace or "", meta.name or "")
        account = (meta.annotations and meta.annotations.account) or ""
        created = _time(meta.creation_timestamp)
        noted = meta.labels or NO_USAGE_LABELS
        last_used = _day(noted.last_used)
        used_some_day = bool(noted.last_used) and last_used is None  # it was used, whatever the label says
        unused_since = None if used_some_day else self._unused_since(last_used, created)
        invalid_since = _day(noted.invalid_since)
        pointing = self._references.get(key, ())
        unused_for = (self._today - unused_since).days if unused_since else None
        again = _copy_again(*key) if is_copy else _again(key[1], account)
        judgement, other = judge.secret(*key, again), simulated.secret(*key, again) if simulated else None
        return LegacySecret(
            *key,
            account=account,
            created=created,
            last_used=last_used,
            unused_since=unused_since,
            invalid_since=invalid_since,
            references=pointing,
            listed_by=tuple(sorted(self._listed.get(key, ()))),
            removable=not (pointing or is_copy)
            and (
                invalid_since is not None
                or (self._all_read and unused_for is not None and unused_for >= self._unused_days)
            ),
            judgement=judgement,
            simulated=other,
            change=change_between(judgement, other) if other else Change.NONE,
            is_copy=is_copy,
        )

    def _unused_since(self, last_used: dt.date | None, created: dt.datetime | None) -> dt.date | None:
        if self._tracked_since is None:
            return None
        made = created.astimezone(dt.UTC).date() if created else None
        return max(day for day in (self._tracked_since, made, last_used) if day)


def _again(name: str, account: str) -> ReviewedSecret:
    return ReviewedSecret(ObjectMeta(name=name, annotations={_ACCOUNT: account}), LEGACY_TOKEN_TYPE)


def _copy_again(namespace: str, name: str) -> ReviewedSecret:
    """Return a Secret that holds the text of a token, as its label says; of whom isn't known without reading it."""
    token = LegacyToken(namespace=namespace, secret=name)
    return ReviewedSecret(ObjectMeta(name=name), "Opaque", has_token=True, token_changed=True, legacy_token=token)


def _day(written: str | None) -> dt.date | None:
    """Return a day as the API server notes it; anybody may write something else there."""
    try:
        return dt.date.fromisoformat(written) if written else None
    except ValueError:
        return None


def day_in(data: Mapping[str, str] | None, key: str) -> dt.date | None:
    """Return the day that a ConfigMap holds under a key, None where it holds none."""
    return _day((data or {}).get(key))


def _time(written: str | None) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(written) if written else None
    except ValueError:
        return None
