"""inject: the policy's tokens are mounted in the pods that it selects, or a conflict is reported."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from webhook.core.admission_request import Phase
from webhook.core.decision import MAX_LINES, MountedToken, Violation
from webhook.core.formatting import did_you_mean, listing, quote
from webhook.core.json_patch import Append, Edit
from webhook.core.kinds import Subject
from webhook.core.paths import clean_path
from webhook.core.pod_context import ContainerRef, PodContext, annotation_names
from webhook.core.policy.model import Action, Injection
from webhook.core.rule import PODS, Rule
from webhook.core.structs import FrozenStruct, MutableStruct

MAX_MOUNTS = 1000
"""The most mounts that are injected into one pod: some ten bytes of a container would cause a patch of kilobytes."""

TOO_MANY = "has {containers} containers for {injections} injected tokens, exceeding the maximum of {maximum} mounts"
REQUESTS = "requests the injection {name}"
NOT_FOR_POD, DOES_NOT_EXIST = f"{REQUESTS}, which is not for this pod", f"{REQUESTS}, which does not exist"
NAME_TAKEN = "has the name {volume}, which the injected token {name} needs"
PATH_TAKEN = "uses {path}, where the token {name} is injected"
PATH_HINT = "mount it elsewhere, or list the container in the annotation tokenguard/skip-containers"
NAME_HINT = "rename the volume"
USE_FEWER = "use fewer containers"
REMOVE = "remove it"
_NO_PATHS: frozenset[str] = frozenset()
_NO_MOUNTS: Mapping[str, tuple[int, str | None]] = {}
_ANNOTATION = "/metadata/annotations/tokenguard~1inject"


class _Container(MutableStruct):
    """What a container has that may conflict with an injection, computed once for all injections.

    `mounts` maps those paths where a token is injected to the number and the volume of the first mount there.
    `variables` are the names that are set, by the author or by an injection.
    """

    pointer: str
    has_mounts: bool
    mounts: Mapping[str, tuple[int, str | None]]
    devices: AbstractSet[str]
    has_env: bool
    variables: set[str | None]


class _InjectedVolume(FrozenStruct, frozen=True):
    """An injection's token with one lifetime, and the edits that add its volume: to a list, or together with one."""

    token: MountedToken
    to_list: Append
    with_list: Append


def check(pod: PodContext) -> Iterator[Violation]:
    """Find the injections that are still to be made, and those that can't be."""
    if pod.requested_injections:
        yield from _invalid_requests(pod)
    if not pod.injections or not pod.containers:  # the API server rejects a pod without containers
        return
    skipped = frozenset(annotation_names(pod.pod, "tokenguard/skip-containers"))
    targets = [ref for ref in pod.containers if ref.container.name not in skipped and not ref.is_ephemeral]
    if len(targets) * len(pod.injections) > MAX_MOUNTS:
        yield Violation(
            "/spec",
            TOO_MANY.format(containers=len(targets), injections=len(pod.injections), maximum=MAX_MOUNTS),
            USE_FEWER,
        )
        return
    windows = pod.pod.spec.for_windows
    containers = [_container(ref, pod.namespace_policy.injected_mount_paths, windows=windows) for ref in targets]
    volumes: dict[str, list[int]] = {}
    for number, volume in enumerate(pod.volumes):
        if volume.name in pod.namespace_policy.injected_volumes:
            volumes.setdefault(volume.name, []).append(number)
    for injection in pod.injections:
        yield from _inject(pod, injection, containers, volumes.get(injection.volume, ()))


def _container(ref: ContainerRef, injected_paths: frozenset[str], *, windows: bool) -> _Container:
    container = ref.container
    mounts: dict[str, tuple[int, str | None]] | None = None
    for number, mount in enumerate(container.volume_mounts or ()):
        path = clean_path(mount.mount_path, windows=windows)
        if path in injected_paths:
            if mounts is None:
                mounts = {}
            mounts.setdefault(path, (number, mount.name))
    return _Container(
        ref.pointer,
        container.volume_mounts is not None,
        mounts or _NO_MOUNTS,
        {clean_path(device.device_path, windows=windows) for device in container.volume_devices}
        if container.volume_devices
        else _NO_PATHS,
        container.env is not None,
        {variable.name for variable in container.env} if container.env else set(),
    )


def _invalid_requests(pod: PodContext) -> Iterator[Violation]:
    """Find the names in the pod's annotation that are no injection, or none for this pod."""
    selected = {injection.name for injection in pod.injections}
    known = [injection.name for injection in pod.all_injections]
    invalid: set[str] = set()
    for name in pod.requested_injections:
        if name in selected or name in invalid:
            continue
        if len(invalid) == MAX_LINES:  # one is enough to deny the pod
            return
        invalid.add(name)
        if name in known:
            yield Violation(_ANNOTATION, NOT_FOR_POD.format(name=quote(name)), REMOVE)
        else:
            hint = did_you_mean(name, known).removeprefix("; ") or policy_has(known)
            yield Violation(_ANNOTATION, DOES_NOT_EXIST.format(name=quote(name)), hint)


def policy_has(injections: Sequence[str]) -> str:
    """Return which injections there are, for the author of a pod that requests another one."""
    return f"the policy has {listing(injections)}"


def _inject(
    pod: PodContext, injection: Injection, containers: list[_Container], volumes: Sequence[int]
) -> Iterator[Violation]:
    """Find what a pod lacks of an injection, or else what conflicts with it there.

    `volumes` are the numbers of the volumes that have the name of its volume.
    """
    conflicts: list[Violation] = []
    edits: list[Edit] = []
    token = None
    has_volume = injection.volume in pod.injected_volumes
    if not has_volume:
        volume = _injected_volume(pod, injection)
        token = volume.token
        edits.append(volume.with_list if pod.pod.spec.volumes is None else volume.to_list)
        conflicts += [_name_conflict(number, injection) for number in volumes]
        if injection.volume in pod.mounts_by_volume:
            conflicts += _mount_conflicts(pod, injection)
    for container in containers:
        _mount_in_container(container, injection, edits, conflicts)
    if conflicts:
        yield from conflicts
    elif edits and not _is_complete_later(pod, has_volume=has_volume):
        detail, fix_summary = injection.messages
        yield Violation("/spec", detail, "", tuple(edits), fix_summary, authored=False, token=token)


def _mount_in_container(
    container: _Container, injection: Injection, edits: list[Edit], conflicts: list[Violation]
) -> None:
    path, windows_path = injection.clean_mount_paths
    taken = container.mounts and (container.mounts.get(path) or container.mounts.get(windows_path))
    if container.devices and (path in container.devices or windows_path in container.devices):
        conflicts.append(_path_conflict(f"{container.pointer}/volumeDevices", injection))
    elif not taken:
        edits.append(Append(f"{container.pointer}/volumeMounts", injection.mount, container.has_mounts))
    elif taken[1] != injection.volume:
        conflicts.append(_path_conflict(f"{container.pointer}/volumeMounts/{taken[0]}", injection))
    if injection.env and injection.env not in container.variables:
        container.variables.add(injection.env)
        edits.append(Append(f"{container.pointer}/env", injection.variable, container.has_env))


def _is_complete_later(pod: PodContext, *, has_volume: bool) -> bool:
    """Return whether the final state may lack something.

    The pods of a template are patched when they are created. A container that another webhook added after this one gets
    no token, which is no reason to deny its pod.
    """
    return pod.request.phase is Phase.VALIDATE and (has_volume or pod.request.subject is Subject.TEMPLATE)


def _mount_conflicts(pod: PodContext, injection: Injection) -> Iterator[Violation]:
    """Find mounts of the injection's volume, before it is added, other than the injection's own."""
    for pointer, mount in pod.mounts(injection.volume).pointers():
        own = clean_path(mount.mount_path, windows=pod.pod.spec.for_windows) in injection.clean_mount_paths
        if not own or mount.sub_path or mount.sub_path_expr:
            yield Violation(
                pointer,
                f"mounts {quote(injection.volume)}, a volume that the injected token {quote(injection.name)} adds",
                "remove the mount, it is injected",
            )


def _name_conflict(number: int, injection: Injection) -> Violation:
    return Violation(
        f"/spec/volumes/{number}",
        NAME_TAKEN.format(volume=quote(injection.volume), name=quote(injection.name)),
        NAME_HINT,
    )


def _path_conflict(pointer: str, injection: Injection) -> Violation:
    return Violation(
        pointer,
        PATH_TAKEN.format(path=quote(injection.mount_path), name=quote(injection.name)),
        PATH_HINT,
    )


def _injected_volume(pod: PodContext, injection: Injection) -> _InjectedVolume:
    """Return an injection's token and volume, cached for each lifetime that the policy gives it."""
    for_api_server = pod.for_api_server(injection.audience)
    lifetime = injection.lifetime(pod.namespace_policy.tokens.max_expiration_seconds, for_api_server=for_api_server)
    key = lifetime, for_api_server
    cached: _InjectedVolume | None = injection.volumes_by_lifetime.get(key)
    if cached is None:
        source = {"audience": injection.audience, "expirationSeconds": lifetime, "path": injection.path}
        volume = {"name": injection.volume, "projected": {"sources": [{"serviceAccountToken": source}]}}
        cached = injection.volumes_by_lifetime[key] = _InjectedVolume(
            MountedToken("" if for_api_server else injection.audience, lifetime),
            Append("/spec/volumes", volume, exists=True),
            Append("/spec/volumes", volume, exists=False),
        )
    return cached


RULE: Rule = Rule(
    name="inject",
    summary="a pod lacks a token that the policy injects; the token's path or volume name is in use in the pod; or the"
    " pod's annotation requests an injection that does not exist or does not select this pod",
    explanation="""\
The policy's `inject` list mounts tokens into the pods that it selects: volume `tokenguard-NAME`, at `mountPath`, in
every init container and container except those named in the annotation `tokenguard/skip-containers`. With `env`, that
variable contains the file's path, unless the container sets it itself. Injections with `onRequest: true` go only to
pods annotated `tokenguard/inject: "NAME,..."`.

Only the action `patch` injects; it denies a pod if a token cannot be injected. With `warn` and `audit` nothing is
injected: the audit log records each missing token. With `warn` the author gets a warning only if `patch` would be
unable to inject the token. With `off` nothing is injected or recorded.

What to do: if the pod already uses the mount path or volume name, change it in the pod or in the policy. If the
annotation requests an injection that does not exist, or whose selectors do not match this pod, correct it.""",
    subjects=PODS,
    default=Action.PATCH,
    check=check,
)
