"""Which Secrets a volume of any kind names, and which a container reads into its environment."""

from collections.abc import Iterable, Iterator

from webhook.core.k8s_types import Container, LocalObjectReference, Volume


def volume_secrets(volume: Volume) -> Iterable[tuple[str, str]]:
    """Return the names of a volume's Secrets, each after the field that names it.

    The API server accepts no volume of two kinds.
    """
    if volume.projected:
        return [
            (f"projected/sources/{number}/secret", source.secret.name)
            for number, source in enumerate(volume.projected.sources or ())
            if source.secret and source.secret.name
        ]
    if volume.secret:
        return (("secret", volume.secret.secret_name or ""),)
    if volume.azure_file:
        return (("azureFile", volume.azure_file.secret_name or ""),)
    return [(field, reference.name) for field, reference in _references(volume) if reference and reference.name]


def container_secrets(container: Container) -> Iterable[tuple[str, str]]:
    """Return the names of the Secrets that a container's env variables are from, each after the field that names it."""
    return _env_secrets(container) if container.env or container.env_from else ()


def _env_secrets(container: Container) -> Iterator[tuple[str, str]]:
    for number, variable in enumerate(container.env or ()):
        reference = variable.value_from.secret_key_ref if variable.value_from else None
        if reference and reference.name:
            yield f"env/{number}", reference.name
    for number, sources in enumerate(container.env_from or ()):
        if sources.secret_ref and sources.secret_ref.name:
            yield f"envFrom/{number}", sources.secret_ref.name


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
