"""Undoes what admission did to a live pod, so that it can be evaluated as if it were created again.

Evaluated as it runs, a pod whose token was capped or whose Secret was replaced would look fine, though the next pod
needs the same patch. So the pod is rebuilt from what its author wrote:

- If the template is known, its volumes, mounts, account, labels and annotations replace the pod's. What the pod has
  besides is kept: another webhook added it and will add it again.
- Injected tokens are removed, of any policy: volumes with tokenguard's prefix that contain one token and nothing else.
- The API server token is as the ServiceAccount plugin creates it: for 3607 seconds, unless the pod or its account
  opts out.
- A pod of a StatefulSet or a DaemonSet whose template has changed since is replaced by one from the current template
  (`webhook.scan.owners.TemplateRevision`). What it has besides is dropped: it may be from the older template.
- Ephemeral containers are removed: no pod can be created with any.
"""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from webhook.core.k8s_types import (
    Container,
    ObjectMeta,
    Pod,
    PodSpec,
    ProjectedVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from webhook.core.lifetimes import MAGIC_EXPIRATION
from webhook.core.pod_context import API_TOKEN_PATH, API_TOKEN_VOLUME, PodContext
from webhook.core.policy.model import INJECTED_VOLUME

_TOKEN = ServiceAccountTokenProjection(expiration_seconds=MAGIC_EXPIRATION, path="token")
_OWN_VOLUME = f"{API_TOKEN_VOLUME}xxxxx"
_NOTHING: Mapping[str, Container] = {}
_NO_SPEC = PodSpec()
_IDENTITY = ("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index")
"""Labels that a StatefulSet gives a pod along with its name."""


Automounts = Callable[[str], bool]
"""Returns whether pods of an account of the namespace get the API server token by default."""


def recreated_pod(live: PodContext, origin: Pod | None, automounts: Automounts) -> Pod:
    """Return a live pod as it would be created again. `origin` is its template, if it is known."""
    spec = live.pod.spec
    template = origin.spec if origin else _NO_SPEC
    written = {volume.name: volume for volume in template.volumes or ()}
    own = {token.volume.name for token in live.tokens if token.is_api_token and not token.authored} - written.keys()
    removed = {volume.name for volume in live.volumes if volume.name not in written and _is_injected(volume)}
    account = _account(template) if origin else live.account
    automount = (template if origin else spec).automount_service_account_token
    mounted = automounts(account) if automount is None else automount
    if not mounted:
        removed |= own
    spec = replace(
        spec,
        volumes=[
            written.get(volume.name) or (_with_default_token(volume) if volume.name in own else volume)
            for volume in live.volumes
            if volume.name not in removed
        ],
        containers=_merged(spec.containers, template.containers, removed),
        init_containers=_merged(spec.init_containers, template.init_containers, removed),
        ephemeral_containers=None,
        service_account_name=account,
        service_account=None,
        automount_service_account_token=automount,
    )
    meta = _merged_metadata(live.pod.metadata, origin.metadata) if origin else live.pod.metadata
    return Pod(meta, with_api_token(spec) if mounted else spec)


def pod_from_template(template: Pod, automounts: Automounts) -> Pod:
    """Return the next pod of a template."""
    spec = template.spec
    automount = spec.automount_service_account_token
    mounted = automounts(_account(spec)) if automount is None else automount
    return replace(template, given_spec=with_api_token(spec)) if mounted else template


def replacement_pod(live: Pod, template: Pod, automounts: Automounts) -> Pod:
    """Return the pod from the current template that replaces a live one and gets its name."""
    meta = live.metadata
    identity = {key: value for key, value in (meta.labels or {}).items() if key in _IDENTITY}
    labels = {**(template.metadata.labels or {}), **identity}
    given = ObjectMeta(
        name=meta.name,
        generate_name=meta.generate_name,
        namespace=meta.namespace,
        owner_references=meta.owner_references,
        labels=labels,
        annotations=template.metadata.annotations,
    )
    return replace(pod_from_template(template, automounts), given_metadata=given)


def with_api_token(spec: PodSpec) -> PodSpec:
    """Mount the API server token in every container that has nothing at its path.

    Like the ServiceAccount plugin (plugin/pkg/admission/serviceaccount/admission.go).
    """
    volumes = list(spec.volumes or ())
    name = next((volume.name for volume in volumes if (volume.name or "").startswith(API_TOKEN_VOLUME)), None)
    mount = VolumeMount(name=name or _OWN_VOLUME, mount_path=API_TOKEN_PATH)
    needed = False

    def mounting(containers: list[Container] | None) -> list[Container] | None:
        nonlocal needed
        mounted = []
        for container in containers or ():
            mounts = container.volume_mounts or []
            if any(existing.mount_path == API_TOKEN_PATH for existing in mounts):
                mounted.append(container)
            else:
                needed = True
                mounted.append(replace(container, volume_mounts=[*mounts, mount]))
        return mounted or containers

    containers, init_containers = mounting(spec.containers), mounting(spec.init_containers)
    if needed and name is None:
        sources = [VolumeProjection(service_account_token=_TOKEN)]
        volumes.append(Volume(name=_OWN_VOLUME, projected=ProjectedVolumeSource(sources)))
    return replace(spec, volumes=volumes, containers=containers, init_containers=init_containers)


def _account(spec: PodSpec) -> str:
    return spec.service_account_name or spec.service_account or "default"


def _is_injected(volume: Volume) -> bool:
    sources = (volume.projected and volume.projected.sources) or ()
    named = (volume.name or "").startswith(INJECTED_VOLUME)
    return named and len(sources) == 1 and sources[0].service_account_token is not None


def _with_default_token(volume: Volume) -> Volume:
    """Return the API server's own volume with the default token."""
    sources = (volume.projected and volume.projected.sources) or []
    restored = [
        replace(source, service_account_token=_TOKEN) if source.service_account_token else source for source in sources
    ]
    return replace(volume, projected=ProjectedVolumeSource(restored))


def _merged_metadata(live: ObjectMeta, written: ObjectMeta) -> ObjectMeta:
    """Return a pod's metadata with the template's labels and annotations."""
    if not (written.labels or written.annotations):
        return live
    labels = {**(live.labels or {}), **(written.labels or {})}
    annotations = {**(live.annotations or {}), **(written.annotations or {})}
    return replace(live, labels=labels, annotations=annotations)


def _merged(
    live: list[Container] | None, written: list[Container] | None, removed: set[str | None]
) -> list[Container] | None:
    """Return live containers with the mounts of the template's containers of the same name."""
    by_name = {container.name: container for container in written} if written else _NOTHING
    merged = []
    for container in live or ():
        original = by_name.get(container.name or "")
        original_mounts = {mount.mount_path: mount for mount in (original and original.volume_mounts) or ()}
        mounts = [
            original_mounts.get(mount.mount_path, mount)
            for mount in container.volume_mounts or ()
            if mount.mount_path in original_mounts or mount.name not in removed
        ]
        merged.append(replace(container, volume_mounts=mounts))
    return merged or live
