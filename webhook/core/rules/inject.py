"""inject: the tokens that the policy gives to a pod are mounted in it, or it is said why they can't be."""

from collections.abc import Iterator

from webhook.core.decision import MOST_LINES, MountedToken, Violation
from webhook.core.objects import VolumeMount
from webhook.core.patch import Append, Edit
from webhook.core.paths import clean_path
from webhook.core.policy.model import Action, Injection
from webhook.core.request import Phase, Subject
from webhook.core.rule import PODS, Rule
from webhook.core.text import did_you_mean, listing, quote
from webhook.core.views import Placed, PodView, named_in

_ASKED = "/metadata/annotations/tokenguard~1inject"


def check(pod: PodView) -> Iterator[Violation]:
    """Find the injections that are still to be made, and those that can't be."""
    if pod.requested:
        yield from _misrequested(pod)
    if not pod.injections or not pod.containers:  # without a container it is no pod that the API server would take
        return
    skipped = frozenset(named_in(pod.pod, "tokenguard/skip-containers"))
    containers = [placed for placed in pod.containers if placed.container.name not in skipped and not placed.ephemeral]
    variables: set[str] = set()
    for injection in pod.injections:
        yield from _place(pod, injection, containers, variables)


def _misrequested(pod: PodView) -> Iterator[Violation]:
    """Find the names in the pod's annotation that mean no injection, or none that is for this pod."""
    due = {injection.name for injection in pod.injections}
    every = [injection.name for injection in pod.every_injection]
    wrong = [name for name in dict.fromkeys(pod.requested) if name not in due]
    for name in wrong[:MOST_LINES]:  # one is enough to refuse the pod
        if name in every:
            yield Violation(_ASKED, f"asks for the injection {quote(name)}, which is not for this pod", "leave it out")
        else:
            hint = did_you_mean(name, every).removeprefix("; ") or f"there are {listing(every)}"
            yield Violation(_ASKED, f"asks for the injection {quote(name)}, which there isn't", hint)


def _place(pod: PodView, injection: Injection, containers: list[Placed], variables: set[str]) -> Iterator[Violation]:
    """Find what an injection lacks in a pod, or else what stands in its way there.

    `variables` are those that injections before it set already, each with its container's pointer.
    """
    conflicts: list[Violation] = []
    edits: list[Edit] = []
    has_volume = injection.volume in pod.injected
    if not has_volume:
        edits.append(Append("/spec/volumes", _volume(pod, injection), exists=pod.pod.spec.volumes is not None))
        conflicts += [
            _name_taken(number, injection)
            for number, volume in enumerate(pod.volumes)
            if volume.name == injection.volume
        ]
        conflicts += _mounted_in_advance(pod, injection)
    for placed in containers:
        mounts = placed.container.volume_mounts
        taken = next(_at_its_path(mounts, injection), None) if mounts else None
        if placed.container.volume_devices and _has_device(placed, injection):
            conflicts.append(_path_taken(f"{placed.pointer}/volumeDevices", injection))
        elif taken is None:
            mount = {"name": injection.volume, "mountPath": injection.mount_path, "readOnly": True}
            edits.append(Append(f"{placed.pointer}/volumeMounts", mount, exists=mounts is not None))
        elif taken[1] != injection.volume:
            conflicts.append(_path_taken(f"{placed.pointer}/volumeMounts/{taken[0]}", injection))
        if injection.env and _lacks_variable(placed, injection.env, variables):
            variable = {"name": injection.env, "value": injection.file}
            edits.append(Append(f"{placed.pointer}/env", variable, exists=placed.container.env is not None))
    if conflicts:
        yield from conflicts
    elif edits and not _comes_later(pod, has_volume=has_volume):
        yield Violation(
            "/spec",
            f"lacks the token {quote(injection.name)} for {quote(injection.audience)}",
            fix=tuple(edits),
            fixed=f"injected at {injection.file}{f', as {injection.env} says' if injection.env else ''}",
            authored=False,
            token=None if has_volume else _token(pod, injection),
        )


def _comes_later(pod: PodView, *, has_volume: bool) -> bool:
    """Say whether nothing is amiss though something is missing when the final state is judged.

    A template's pods are mended when they are made; and a container that another webhook added after us gets
    no token, which is no reason to refuse its pod.
    """
    return pod.request.phase is Phase.VALIDATE and (has_volume or pod.request.subject is Subject.TEMPLATE)


def _at_its_path(mounts: list[VolumeMount], injection: Injection) -> Iterator[tuple[int, str | None]]:
    for number, mount in enumerate(mounts):
        if clean_path(mount.mount_path) == injection.clean_mount_path:
            yield number, mount.name


def _mounted_in_advance(pod: PodView, injection: Injection) -> Iterator[Violation]:
    """Find mounts of a volume that isn't there and that the injection would bring, other than its own."""
    for pointer, mount in pod.mounts(injection.volume):
        own = clean_path(mount.mount_path) == injection.clean_mount_path
        if not own or mount.sub_path or mount.sub_path_expr:
            yield Violation(
                pointer,
                f"mounts {quote(injection.volume)}, which the pod doesn't have and the injected token "
                f"{quote(injection.name)} would bring",
                "leave the mount out, it is injected",
            )


def _has_device(placed: Placed, injection: Injection) -> bool:
    devices = placed.container.volume_devices or ()
    return any(clean_path(device.device_path) == injection.clean_mount_path for device in devices)


def _lacks_variable(placed: Placed, name: str, variables: set[str]) -> bool:
    at = f"{placed.pointer}/{name}"
    if at in variables or any(variable.name == name for variable in placed.container.env or ()):
        return False
    variables.add(at)
    return True


def _name_taken(number: int, injection: Injection) -> Violation:
    return Violation(
        f"/spec/volumes/{number}",
        f"takes the name {quote(injection.volume)}, which the injected token {quote(injection.name)} needs",
        "give the volume another name",
    )


def _path_taken(pointer: str, injection: Injection) -> Violation:
    return Violation(
        pointer,
        f"takes {quote(injection.mount_path)}, where the token {quote(injection.name)} is injected",
        "mount it elsewhere, or name the container in the annotation tokenguard/skip-containers",
    )


def _token(pod: PodView, injection: Injection) -> MountedToken:
    for_api_server = pod.for_api_server(injection.audience)
    maximum = pod.here.tokens.max_expiration_seconds
    lifetime = injection.lifetime(maximum, for_api_server=for_api_server)
    return MountedToken("" if for_api_server else injection.audience, lifetime)


def _volume(pod: PodView, injection: Injection) -> dict[str, object]:
    token = {
        "audience": injection.audience,
        "expirationSeconds": _token(pod, injection).lifetime,
        "path": injection.path,
    }
    return {"name": injection.volume, "projected": {"sources": [{"serviceAccountToken": token}]}}


RULE = Rule(
    name="inject",
    summary="an injection can't be done: its place is taken, or the pod asks for one that isn't there or not for it",
    explanation="""\
The policy's `inject` list mounts tokens into the pods that it selects: volume `tokenguard-NAME`, at `mountPath`, in
every init container and container but those named in the annotation `tokenguard/skip-containers`; and where `env` is
given, that variable holds the file's path, unless the container sets it itself. Injections with `onRequest: true` go
only to pods annotated `tokenguard/inject: "NAME,..."`.

What to do: where a mount path or volume name is taken, give up one of the two; where the annotation asks for
something that there isn't, correct it. `inject: off` injects nothing.""",
    looks_at=PODS,
    default=Action.PATCH,
    check=check,
)
