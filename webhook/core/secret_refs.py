"""Which Secrets a volume of any kind names, and which a container reads into its environment."""

from collections.abc import Iterable, Iterator

from webhook.core.k8s_types import (
    Container,
    LocalObjectReference,
    SecretKeySelector,
    SecretProjection,
    SecretVolumeSource,
    Volume,
)

SecretSource = LocalObjectReference | SecretVolumeSource | None
"""The value that names a Secret and, in some fields, its keys; None if such a value never names keys."""
SecretReference = tuple[str, str, SecretSource]
"""A field, the name of the Secret that it refers to, and the value there."""


def volume_secrets(volume: Volume) -> Iterable[SecretReference]:
    """Return the Secrets that a volume names.

    The API server accepts no volume of two kinds.
    """
    if volume.projected:
        return [
            (f"projected/sources/{number}/secret", source.secret.name, source.secret)
            for number, source in enumerate(volume.projected.sources or ())
            if source.secret and source.secret.name
        ]
    if volume.secret:
        return (("secret", volume.secret.secret_name or "", volume.secret),)
    if volume.azure_file:
        return (("azureFile", volume.azure_file.secret_name or "", None),)
    return [(field, each.name, None) for field, each in _references(volume) if each and each.name]


def container_secrets(container: Container) -> Iterable[SecretReference]:
    """Return the Secrets that a container's env variables are from."""
    return _env_secrets(container) if container.env or container.env_from else ()


def named_keys(source: SecretSource) -> tuple[str, ...]:
    """Return the keys of a Secret that a reference is limited to, each once; none if it is not limited."""
    if isinstance(source, SecretKeySelector):
        return (source.key,) if source.key else ()
    items = source.items if isinstance(source, SecretVolumeSource | SecretProjection) else None
    return tuple(dict.fromkeys(item.key or "" for item in items or ()))


def _env_secrets(container: Container) -> Iterator[SecretReference]:
    for number, variable in enumerate(container.env or ()):
        reference = variable.value_from.secret_key_ref if variable.value_from else None
        if reference and reference.name:
            yield f"env/{number}", reference.name, reference
    for number, sources in enumerate(container.env_from or ()):
        if sources.secret_ref and sources.secret_ref.name:
            yield f"envFrom/{number}", sources.secret_ref.name, None


def _references(volume: Volume) -> Iterator[tuple[str, LocalObjectReference | None]]:
    if volume.csi:
        yield "csi/nodePublishSecretRef", volume.csi.node_publish_secret_ref
    for field, source in (
        ("cephfs", volume.cephfs),
        ("cinder", volume.cinder),
        ("flexVolume", volume.flex_volume),
        ("iscsi", volume.iscsi),
        ("rbd", volume.rbd),
        ("scaleIO", volume.scale_io),
        ("storageos", volume.storageos),
    ):
        if source:
            yield f"{field}/secretRef", source.secret_ref
