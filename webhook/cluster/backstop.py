"""The exported policies in the cluster: in step with the policy, repaired if edited, removed if switched off."""

import datetime as dt
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from webhook.cluster.admission_history import WEBHOOK
from webhook.cluster.api_client import ApiClient
from webhook.cluster.transport import CONFLICT, NOT_FOUND, ApiError, Transport
from webhook.core.errors import UserError
from webhook.core.formatting import FastStrEnum
from webhook.core.snapshot import Snapshot
from webhook.core.webhook_namespaces import WebhookScopes
from webhook.export.compiler import compile_policy
from webhook.export.objects import (
    API_VERSION,
    COUNT,
    KUBERNETES,
    MANAGED_BY,
    MUTATING,
    POLICY,
    PREFIX,
    SPEC_HASH,
    VALIDATING,
    Object,
    PolicyTooLargeError,
    spec_hash,
)

log = logging.getLogger("tokenguard.backstop")
FIELD_MANAGER = "tokenguard-backstop"
INTERVAL = 10.0
"""Seconds between two looks at the objects in the cluster."""
_POLICY_INTERVAL = 1.0
"""Seconds between two looks at the policy in force, which are free."""
_KINDS = (MUTATING, f"{MUTATING}Binding", VALIDATING, f"{VALIDATING}Binding")
_WEBHOOKS = f"{WEBHOOK.path}/tokenguard"
_LABELS = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())
INVALID = 422
_Key = tuple[str, str]
"""Kind and name."""


class BackstopMode(FastStrEnum):
    """What is kept in the cluster: nothing, validating policies, or also the mutating one."""

    OFF = "off"
    VAP = "vap"
    MAP = "vap+map"


class BackstopState(NamedTuple):
    """The exported objects as they are in the cluster.

    `revisions` are those of the policies that they were made from, `edited` the names of those whose content is not
    what was exported, and `missing` is how many were deleted.
    """

    mode: BackstopMode
    revisions: frozenset[str] = frozenset()
    edited: tuple[str, ...] = ()
    missing: int = 0

    def problems(self, revision: str) -> Iterator[str]:
        """Yield why the objects do not enforce the policy of a revision; nothing if they do, or if there are none."""
        if self.mode is BackstopMode.OFF:
            return
        yield from (f"{name} was edited" for name in self.edited)
        if self.missing:
            yield f"{self.missing} of the exported policies and bindings are missing"
        if self.revisions != {revision}:
            yield f"made from policy {', '.join(sorted(self.revisions))}, not from {revision}"


def backstop_state(transport: Transport) -> BackstopState:
    """Return the state of the exported objects. Needs only the right to list them. Raises `ApiError`."""
    objects = read_objects(transport)
    if not objects:
        return BackstopState(BackstopMode.OFF)
    annotations = {key: obj["metadata"].get("annotations") or {} for key, obj in objects.items()}
    edited = [name for (kind, name), obj in objects.items() if spec_hash(obj) != annotations[kind, name].get(SPEC_HASH)]
    counts = [int(count) for annotation in annotations.values() if (count := annotation.get(COUNT, "")).isdecimal()]
    return BackstopState(
        BackstopMode.MAP if any(kind == MUTATING for kind, _ in objects) else BackstopMode.VAP,
        frozenset(annotation.get(POLICY, "") for annotation in annotations.values()),
        tuple(dict.fromkeys(edited)),
        max(0, max(counts, default=0) - len(objects)),
    )


def read_objects(transport: Transport) -> dict[_Key, Object]:
    """Return the exported objects in the cluster. Raises `ApiError`."""
    objects: dict[_Key, Object] = {}
    for kind in _KINDS:
        try:
            body = transport.get(_path(kind), {"labelSelector": _LABELS}, "application/json")
        except ApiError as error:
            if error.status == NOT_FOUND:  # not served, so there are none
                continue
            raise
        for obj in msgspec.json.decode(body)["items"]:
            if obj["metadata"]["name"].startswith(PREFIX):
                objects[kind, obj["metadata"]["name"]] = {**obj, "kind": kind}
    return objects


class Backstop:
    """Keeps the exported objects in the cluster, in a thread of its own."""

    def __init__(  # noqa: PLR0913 - its source, its target, and independent settings
        self,
        snapshot: Callable[[], Snapshot | None],
        report: Callable[[bool], None],
        folder: Path,
        *,
        kubeconfig: Path | None,
        mode: BackstopMode,
        excluded: tuple[str, ...],
        transport: Transport | None = None,
    ) -> None:
        """Keep what `mode` says of the policy in `snapshot`; `report` gets whether the objects are in step.

        `kubeconfig` is None in a cluster; `folder` is private to the server. Pods in the `excluded` namespaces are left
        alone, and so is everything that the webhook configuration excludes. Tests replace the `transport`. Starts
        nothing.
        """
        self._snapshot = snapshot
        self._report = report
        self._transport = transport or ApiClient(kubeconfig, folder)
        self._mode = mode
        self._excluded = excluded
        self._webhooks: WebhookScopes | None = None
        self._stopping = threading.Event()
        self._last_error = ""
        self._compiled: tuple[object, Sequence[Object] | PolicyTooLargeError] = (None, ())

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="tokenguard-backstop", daemon=True).start()

    def stop(self) -> None:
        """Stop; a thread that is in a request ends with the process."""
        self._stopping.set()

    def _run(self) -> None:
        waited, last = INTERVAL, None
        while not self._stopping.is_set():
            snapshot = self._snapshot()
            policy = snapshot and snapshot.policy
            if snapshot and (waited >= INTERVAL or policy is not last):
                self.reconcile_and_report(snapshot)
                waited, last = 0.0, policy
            self._stopping.wait(_POLICY_INTERVAL)
            waited += _POLICY_INTERVAL

    def reconcile_and_report(self, snapshot: Snapshot) -> None:
        """Reconcile; report the result, and log an error once."""
        try:
            self.reconcile(snapshot)
            error = ""
        except UserError as failure:
            error = str(failure)
        except Exception as failure:  # noqa: BLE001 - a bug must not end the repairs
            error = f"an internal error: {type(failure).__name__}: {failure}"
        if error and error != self._last_error:
            log.error("the backstop differs from the policy: %s", error)
        elif self._last_error and not error:
            log.info("the backstop is in step with the policy again")
        self._last_error = error
        self._report(not error)

    def reconcile(self, snapshot: Snapshot) -> int:
        """Apply what is missing or edited, delete what is stale; return how many objects were written or deleted.

        Raises `ApiError`, also if the API server does not serve a kind that is needed: then nothing is written. Raises
        `PolicyTooLargeError` if the policy cannot be compiled.
        """
        wanted = {} if self._mode is BackstopMode.OFF else {_key(obj): obj for obj in self._compile(snapshot)}
        live = read_objects(self._transport)
        changed = [obj for key, obj in wanted.items() if not _is_same(obj, live.get(key))]
        for obj in changed:
            self._apply(obj, live.get(_key(obj)))
        stale = [key for key in reversed(live) if key not in wanted]  # bindings before their policies
        for kind, name in stale:
            self._delete(f"{_path(kind)}/{name}")
        if changed or stale:
            log.info("backstop: %s applied, %s deleted", len(changed), len(stale))
        return len(changed) + len(stale)

    def _compile(self, snapshot: Snapshot) -> Sequence[Object]:
        """Return the objects, without exemptions that have ended; cached until what they are made from changes."""
        webhooks = self._read_webhooks()
        now = self._transport.now()
        audiences = snapshot.policy.api_audiences(snapshot.cluster)
        key = (id(snapshot.policy), audiences, webhooks, now.astimezone(dt.UTC).date())
        if self._compiled[0] != key:
            active = tuple(exemption for exemption in snapshot.policy.exemptions if exemption.is_active(now))
            try:
                export = compile_policy(
                    replace(snapshot.policy, exemptions=active),
                    patched=self._mode is BackstopMode.MAP,
                    excluded=self._excluded,
                    webhooks=webhooks,
                    api_audiences=audiences,
                )
                self._compiled = (key, export.objects)
            except PolicyTooLargeError as error:  # found only after seconds
                self._compiled = (key, error)
        if isinstance(self._compiled[1], PolicyTooLargeError):
            raise self._compiled[1]
        return self._compiled[1]

    def _read_webhooks(self) -> WebhookScopes:
        """Return which namespaces the webhooks exclude; while their configuration is missing, what was read before.

        Raises `ApiError` without either: nothing may be denied in a namespace that is only excluded a moment later.
        """
        try:
            body = self._transport.get(_WEBHOOKS, {}, "application/json")
            self._webhooks = msgspec.json.decode(body, type=WEBHOOK.item_type).scopes
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            if self._webhooks is None:
                message = (
                    "no ValidatingWebhookConfiguration/tokenguard, so it is not known which namespaces it excludes"
                )
                raise ApiError(NOT_FOUND, message) from None
        return self._webhooks

    def _apply(self, wanted: Object, live: Object | None) -> None:
        """Apply an object; replace it if somebody else has added to it, which applying leaves there."""
        path = f"{_path(wanted['kind'])}/{wanted['metadata']['name']}"
        try:
            live = msgspec.json.decode(self._transport.apply(path, wanted, FIELD_MANAGER))
        except ApiError as error:
            if error.status == NOT_FOUND:
                raise _not_served(wanted["kind"].removesuffix("Binding")) from None
            if error.status != INVALID or live is None:  # together with what was added it may be invalid
                raise
        if live is not None and not _is_same(wanted, live):
            version = {"resourceVersion": live["metadata"]["resourceVersion"]}
            self._transport.put(path, {**wanted, "metadata": {**wanted["metadata"], **version}})

    def _delete(self, path: str) -> None:
        try:
            self._transport.delete(path)
        except ApiError as error:
            if error.status not in {NOT_FOUND, CONFLICT}:  # another replica has deleted it
                raise


def _not_served(kind: str) -> ApiError:
    reason = f"the API server does not serve {kind} of {API_VERSION}; Kubernetes {KUBERNETES[kind]} and newer do"
    return ApiError(NOT_FOUND, reason)


def _key(obj: Mapping[str, Any]) -> _Key:
    return obj["kind"], obj["metadata"]["name"]


def _path(kind: str) -> str:
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    return f"/apis/{API_VERSION}/{plural.lower()}"


def _is_same(wanted: Object, live: Object | None) -> bool:
    if live is None or live.get("spec") != wanted["spec"]:
        return False
    parts = ((wanted["metadata"][part], live["metadata"].get(part) or {}) for part in ("labels", "annotations"))
    return all(ours.items() <= theirs.items() for ours, theirs in parts)
