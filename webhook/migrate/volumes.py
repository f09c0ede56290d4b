"""Replaces the volumes of a pod template that name a legacy Secret, by projections with the same files."""

from collections.abc import Iterable

from msgspec.structs import replace

from webhook.core.formatting import quote
from webhook.core.json_patch import Put, Remove
from webhook.core.k8s_types import KeyToPath, SecretVolumeSource, Volume, VolumeMount
from webhook.core.pod_context import ContainerRef
from webhook.core.secret_refs import volume_secrets
from webhook.core.secret_volume_migration import DEFAULT_MODE, build_projection, find_obstacle
from webhook.migrate.plan_builder import Json, PlanBuilder, Reason, file_in

_AFTER = "the same files at the same path, from a projected token"


def plan_volumes(builder: PlanBuilder) -> None:
    """Add the volumes that name a legacy Secret."""
    context = builder.context
    for number, volume in enumerate(context.volumes):
        secrets = {field: name for field, name, _ in volume_secrets(volume) if name in context.legacy_tokens}
        pointer = f"/spec/volumes/{number}"
        obstacle = ""
        if builder.volume_names[volume.name] > 1:
            obstacle = "several volumes have its name"
        elif context.collides_with_injection(volume.name, builder.audience):
            obstacle = "its name is that of an injected volume; rename it first"
        if secrets and not obstacle and volume.secret:
            _plan_secret(builder, pointer, volume, secrets["secret"])
        elif secrets and not obstacle and volume.projected:
            _plan_projected(builder, pointer, volume, secrets)
        else:
            for field, name in secrets.items():
                reason = Reason.NO_EQUIVALENT if obstacle else Reason.DRIVER
                builder.leave(f"{pointer}/{field}", name, reason, obstacle)


def _plan_secret(builder: PlanBuilder, pointer: str, volume: Volume, name: str) -> None:
    field = f"{pointer}/secret"
    source = _with_mode_of_token(volume.secret or SecretVolumeSource())
    if _is_left(builder, field, name, source):
        return
    projection = build_projection(source, builder.audience, builder.max_expiration)
    builder.edits += (Put(f"{pointer}/projected", projection), Remove(field))
    builder.change(field, name, f"volume {quote(volume.name or '')}", _AFTER)
    _plan_mounts(builder, volume.name or "", name, projection["sources"])


def _plan_projected(builder: PlanBuilder, pointer: str, volume: Volume, secrets: dict[str, str]) -> None:
    sources: list[Json] = []
    new: list[Json] = []
    raw = builder.raw(f"{pointer}/projected")
    for number, source in enumerate(raw["sources"]):
        field = f"projected/sources/{number}/secret"
        given = _secret_of(source, raw.get("defaultMode")) if field in secrets else None
        if given is None or _is_left(builder, f"{pointer}/{field}", secrets[field], given):
            sources.append(source)
            continue
        projection = build_projection(given, builder.audience, builder.max_expiration)
        builder.change(f"{pointer}/{field}", secrets[field], f"source of volume {quote(volume.name or '')}", _AFTER)
        sources += projection["sources"]
        new += projection["sources"]
    if new:
        builder.edits.append(Put(f"{pointer}/projected/sources", sources, replaces=True))
        _plan_mounts(builder, volume.name or "", next(iter(secrets.values())), new)


def _plan_mounts(builder: PlanBuilder, volume: str, secret: str, sources: Iterable[Json]) -> None:
    """Replace mounts by subPath, whose token is never refreshed, and add which files have to be read again."""
    tokens = [source["serviceAccountToken"]["path"] for source in sources if "serviceAccountToken" in source]
    for ref, number, mount in builder.context.mounts(volume).entries:
        if ref.is_ephemeral:
            continue
        if mount.sub_path or mount.sub_path_expr:
            _move_mount(builder, ref, number, mount, secret)
        elif not ref.pointer.startswith("/spec/initContainers/"):
            for token in tokens:
                file = quote(file_in(mount.mount_path or "", token))
                builder.task(ref, f"read {file} again for each use, or at least every few minutes: its token expires")


def _move_mount(builder: PlanBuilder, ref: ContainerRef, number: int, mount: VolumeMount, secret: str) -> None:
    directory, old = builder.mount(ref, mount.name or ""), quote(mount.mount_path or "")
    new = quote(directory if mount.sub_path_expr else file_in(directory, mount.sub_path or ""))
    pointer = f"{ref.pointer}/volumeMounts/{number}"
    builder.edits.append(Remove(pointer))
    builder.change(pointer, secret, f"mounts {old} by subPath", f"{new}, in a mount of the whole volume")
    never = "a mount by subPath is never refreshed"
    way = (
        ""
        if mount.sub_path_expr
        else f". Set the path in the program, or make {old} a symbolic link to it in the image"
    )
    builder.task(ref, f"read {new} instead of {old}, again for each use: {never}{way}")


def _is_left(builder: PlanBuilder, pointer: str, secret: str, source: SecretVolumeSource) -> bool:
    """Leave a volume to a person if it has no equivalent; return whether it is left."""
    if not builder.is_own(pointer, secret):
        return True
    account = builder.context.account
    obstacle = find_obstacle(source, account, account, by_sub_path=False)
    if obstacle:
        builder.leave(pointer, secret, Reason.NO_EQUIVALENT, obstacle)
    return obstacle is not None


def _with_mode_of_token(secret: SecretVolumeSource) -> SecretVolumeSource:
    """Return the same files, with the token's mode as the default: a projected token cannot have its own."""
    default = DEFAULT_MODE if secret.default_mode is None else secret.default_mode
    items = [replace(item, mode=default if item.mode is None else item.mode) for item in secret.items or ()]
    modes = {item.mode for item in items if item.key == "token"} - {default}
    if len(modes) != 1 or any(item.mode == default for item in items if item.key == "token"):
        return secret
    others = [replace(item, mode=None) if item.key == "token" else item for item in items]
    return replace(secret, default_mode=modes.pop(), items=others)


def _secret_of(source: Json, default_mode: int | None) -> SecretVolumeSource:
    """Return the Secret of a projected source as the source of a volume."""
    secret = source["secret"]
    items = [KeyToPath(item.get("key"), item.get("path"), item.get("mode")) for item in secret.get("items") or ()]
    return SecretVolumeSource(secret["name"], items or None, default_mode)
