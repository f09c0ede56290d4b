"""Collects what has to change in a pod template: edits, what they change, what is left, what programs have to do."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from webhook.core.formatting import FastStrEnum, quote
from webhook.core.json_patch import Append, Edit, Remove, json_path, unescape
from webhook.core.lifetimes import DEFAULT_EXPIRATION
from webhook.core.paths import clean_path
from webhook.core.pod_context import ContainerRef, PodContext
from webhook.core.policy.model import Injection

Json = Mapping[str, Any]
TOKEN_FILE = "token"  # noqa: S105 - a file's name
_MOUNTS = "/var/run/secrets/tokens"
_VOLUME = "api-token"


class Reason(FastStrEnum):
    """Why a field is left to a person."""

    OTHER_ACCOUNT = "other account"
    NO_EQUIVALENT = "no equivalent"
    DRIVER = "driver"


class FieldChange(Struct, frozen=True):
    """A field that an edit changes: what it has now, and what it has then."""

    path: str
    secret: str
    before: str
    after: str


class ManualChange(Struct, frozen=True):
    """A field that a person has to change; `account` is the token's, `detail` says more about the reason."""

    path: str
    secret: str
    reason: Reason
    account: str = ""
    detail: str = ""


class TemplatePlan(Struct, frozen=True):
    """The edits of the template, what they change, what is left, and what programs have to do differently.

    `injected` describes the tokens that the policy injects into its pods.
    """

    edits: tuple[Edit, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    manual: tuple[ManualChange, ...] = ()
    tasks: tuple[str, ...] = ()
    injected: tuple[str, ...] = ()

    @property
    def adds_tokens(self) -> bool:
        """Whether something has to get a projected token; a removed entry for pulling images needs none."""
        return any(not isinstance(edit, Remove) for edit in self.edits)


class PlanBuilder:
    """Adds to the plan of one template: `template` is the one in `context` with all its fields, `prefix` its place."""

    def __init__(self, context: PodContext, template: Json, prefix: str) -> None:
        self.context = context
        self.audience = context.api_audiences[0]
        self.max_expiration = context.namespace_policy.tokens.max_expiration_seconds
        self.volume_names = Counter(volume.name for volume in context.volumes)
        self.edits: list[Edit] = []
        self._template = template
        self._prefix = prefix
        self._changes: list[FieldChange] = []
        self._manual: list[ManualChange] = []
        self._tasks: list[str] = []
        self._token_volume = ""
        self._mounts: dict[tuple[str, str], str] = {}

    def plan(self) -> TemplatePlan:
        """Return the plan."""
        tasks = tuple(dict.fromkeys(self._tasks))
        injected = tuple(map(_described, self.context.injections)) if self.edits else ()
        return TemplatePlan(tuple(self.edits), tuple(self._changes), tuple(self._manual), tasks, injected)

    def raw(self, pointer: str) -> Any:
        """Return what is at a JSON Pointer in the template, with all its fields."""
        return value_at(self._template, pointer)

    def change(self, pointer: str, secret: str, before: str, after: str) -> None:
        """Add what an edit changes."""
        self._changes.append(FieldChange(self.path(pointer), secret, before, after))

    def leave(self, pointer: str, secret: str, reason: Reason, detail: str = "") -> None:
        """Leave a field to a person."""
        account = self.context.legacy_tokens[secret]
        self._manual.append(ManualChange(self.path(pointer), secret, reason, account, detail))

    def task(self, ref: ContainerRef, text: str) -> None:
        """Add what a program has to do."""
        self._tasks.append(f"container {quote(ref.container.name or '')}: {text}")

    def path(self, pointer: str) -> str:
        """Return the path of a field in the whole object."""
        return json_path(self._prefix + pointer)

    def is_own(self, pointer: str, secret: str) -> bool:
        """Return whether a token is of the pod's account; else leave the field to a person."""
        if self.context.legacy_tokens[secret] == self.context.account:
            return True
        self.leave(pointer, secret, Reason.OTHER_ACCOUNT)
        return False

    def add_variable(self, ref: ContainerRef, name: str, value: Json) -> bool:
        """Add a variable, unless the container has one of that name; return whether it was added."""
        pointer = f"{ref.pointer}/env"
        added = (edit.value["name"] for edit in self.edits if isinstance(edit, Append) and edit.pointer == pointer)
        if name in {*added, *(variable.name for variable in ref.container.env or ())}:
            return False
        self.edits.append(Append(pointer, {"name": name, **value}, exists=ref.container.env is not None))
        return True

    def mount_token(self, ref: ContainerRef) -> str:
        """Mount a token for the API server in a container; return the path of its file."""
        if not self._token_volume:
            taken = self.volume_names.keys() | self.context.namespace_policy.injected_volumes
            self._token_volume = next(name for name in _numbered(_VOLUME) if name not in taken)
            expiration = min(DEFAULT_EXPIRATION, self.max_expiration)
            token = {"path": TOKEN_FILE, "audience": self.audience, "expirationSeconds": expiration}
            volume = {"name": self._token_volume, "projected": {"sources": [{"serviceAccountToken": token}]}}
            exists = self.context.pod.spec.volumes is not None
            self.edits.append(Append("/spec/volumes", volume, exists))
        return file_in(self.mount(ref, self._token_volume), TOKEN_FILE)

    def mount(self, ref: ContainerRef, volume: str) -> str:
        """Mount a volume as a whole in a container, unless it is; return the mount's path."""
        whole = (mount for _, mount in ref.mounts if mount.name == volume and not mount.sub_path)
        existing = next((mount.mount_path for mount in whole if not mount.sub_path_expr), None)
        known = existing or self._mounts.get((ref.pointer, volume))
        if known is not None:
            return known
        windows = self.context.pod.spec.for_windows
        paths = [mount.mount_path for _, mount in ref.mounts]
        paths += [path for (container, _), path in self._mounts.items() if container == ref.pointer]
        taken = {clean_path(path, windows=windows) for path in paths}
        taken |= self.context.namespace_policy.injected_mount_paths
        free = (path for path in _numbered(f"{_MOUNTS}/{volume}") if clean_path(path, windows=windows) not in taken)
        path = self._mounts[ref.pointer, volume] = next(free)
        mount = {"name": volume, "mountPath": path, "readOnly": True}
        exists = ref.container.volume_mounts is not None
        self.edits.append(Append(f"{ref.pointer}/volumeMounts", mount, exists))
        return path


def _described(injection: Injection) -> str:
    variable = f", the value of {quote(injection.env)}" if injection.env else ""
    return f"{quote(injection.file)}{variable}: for {quote(injection.audience)}"


def value_at(value: Any, pointer: str) -> Any:
    """Return what is at a JSON Pointer; None if nothing is."""
    for token in pointer.split("/")[1:]:
        if isinstance(value, list):
            value = value[int(token)] if token.isdigit() and int(token) < len(value) else None
        else:
            value = value.get(unescape(token)) if isinstance(value, dict) else None
    return value


def file_in(directory: str, file: str) -> str:
    """Return the path of a file in a directory of a container."""
    return f"{directory.rstrip('/')}/{file}"


def _numbered(name: str) -> Iterator[str]:
    """Yield a name, and then the name with a number."""
    yield name
    yield from (f"{name}-{number}" for number in range(2, 10_000))
