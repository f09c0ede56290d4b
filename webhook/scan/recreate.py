"""A pod as it would be if it were created again: what its author wrote, and what Kubernetes adds to that.

A live pod holds what admission did to it when it was created. Evaluated as it is, it would say of a token that
was capped, or of a Secret that was replaced, that all is well, though the next pod needs the same again. So what is
known to be no author's is undone:

- Where the template is known that the pod is from, it says what the author wrote: its volumes, its containers' mounts
  and its account count as they stand there. What the pod has besides is somebody else's, another webhook's for example,
  who will come again: it is kept.
- An injected token goes, whatever policy it is from: a volume that is named as tokenguard names them, and holds one
  token and nothing else.
- The API server's own token is as the ServiceAccount plugin would make it anew: there, for 3607 seconds, unless the pod
  or its account doesn't want it by now.
- Its labels and annotations likewise: the template's count as they stand there, and what the pod has besides is kept.
- A pod of a StatefulSet or a DaemonSet whose template has changed since would not come back: the next one is from the
  template as it is now (`webhook.scan.owners.Origin`), with its metadata. What such a pod has besides is left out, in
  its metadata as in its spec: nobody can tell what of it is an older template's and what another webhook's.
- Ephemeral containers go: no pod can be created with any.
"""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from webhook.core.lifetimes import MAGIC_EXPIRATION
from webhook.core.objects import (
    Container,
    ObjectMeta,
    PodSpec,
    PodTemplate,
    ProjectedVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from webhook.core.policy.model import INJECTED_VOLUME
from webhook.core.views import API_TOKEN_PATH, API_TOKEN_VOLUME, PodView

_TOKEN = ServiceAccountTokenProjection(expiration_seconds=MAGIC_EXPIRATION, path="token")
_OWN_VOLUME = f"{API_TOKEN_VOLUME}xxxxx"
_NOTHING: Mapping[str, Container] = {}
_NO_SPEC = PodSpec()
_IDENTITY = ("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index")
"""Labels that a StatefulSet gives a pod along with its name."""


Automounts = Callable[[str], bool]
"""Says of an account of the pod's namespace whether its pods get the API server's token, where they don't say."""


def recreated_pod(live: PodView, origin: PodTemplate | None, automounts: Automounts) -> PodTemplate:
    """Return the pod as it would be created again.

    `live` is the view of it as it stands, `origin` its template, where that is known.
    """
    spec, known = live.pod.spec, origin is not None
    template = origin.spec if origin else _NO_SPEC
    written = {volume.name: volume for volume in template.volumes or ()}
    own = {token.volume.name for token in live.tokens if token.api_server_own and not token.by_hand} - written.keys()
    gone = {volume.name for volume in live.volumes if volume.name not in written and _is_injected(volume)}
    account = _account(template) if known else live.account
    said = (template if known else spec).automount_service_account_token
    mounted = automounts(account) if said is None else said
    if not mounted:
        gone |= own
    spec = replace(
        spec,
        volumes=[
            written.get(volume.name) or (_renewed(volume) if volume.name in own else volume)
            for volume in live.volumes
            if volume.name not in gone
        ],
        containers=_merged(spec.containers, template.containers, gone),
        init_containers=_merged(spec.init_containers, template.init_containers, gone),
        ephemeral_containers=None,
        service_account_name=account,
        service_account=None,
        automount_service_account_token=said,
    )
    meta = _merged_metadata(live.pod.metadata, origin.metadata) if origin else live.pod.metadata
    return PodTemplate(meta, with_api_token(spec) if mounted else spec)


def pod_from_template(template: PodTemplate, automounts: Automounts) -> PodTemplate:
    """Return the pod that a template makes next."""
    spec = template.spec
    said = spec.automount_service_account_token
    mounted = automounts(_account(spec)) if said is None else said
    return replace(template, given_spec=with_api_token(spec)) if mounted else template


def replacement_pod(live: PodTemplate, template: PodTemplate, automounts: Automounts) -> PodTemplate:
    """Return the pod that takes a live one's place and name, from the template as it is now."""
    meta = live.metadata
    identity = {key: value for key, value in (meta.labels or {}).items() if key in _IDENTITY}
    labels = {**(template.metadata.labels or {}), **identity}
    given = ObjectMeta(
        meta.name, meta.generate_name, meta.namespace, meta.owner_references, labels, template.metadata.annotations
    )
    return replace(pod_from_template(template, automounts), given_metadata=given)


def with_api_token(spec: PodSpec) -> PodSpec:
    """Return a pod's spec with the API server's token in every container that has nothing at its path.

    It is what the ServiceAccount plugin does (plugin/pkg/admission/serviceaccount/admission.go).
    """
    volumes = list(spec.volumes or ())
    name = next((one.name for one in volumes if (one.name or "").startswith(API_TOKEN_VOLUME)), None)
    mount = VolumeMount(name=name or _OWN_VOLUME, mount_path=API_TOKEN_PATH)
    needed = False

    def mounting(containers: list[Container] | None) -> list[Container] | None:
        nonlocal needed
        mounted = []
        for container in containers or ():
            mounts = container.volume_mounts or []
            if any(one.mount_path == API_TOKEN_PATH for one in mounts):
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


def _renewed(volume: Volume) -> Volume:
    """Return the API server's own volume with its token as it would be made anew; other sources stay."""
    sources = (volume.projected and volume.projected.sources) or []
    renewed = [
        replace(source, service_account_token=_TOKEN) if source.service_account_token else source for source in sources
    ]
    return replace(volume, projected=ProjectedVolumeSource(renewed))


def _merged_metadata(live: ObjectMeta, written: ObjectMeta) -> ObjectMeta:
    """Return a pod's metadata with the labels and annotations that the template has as it has them."""
    if not (written.labels or written.annotations):
        return live
    labels = {**(live.labels or {}), **(written.labels or {})}
    annotations = {**(live.annotations or {}), **(written.annotations or {})}
    return replace(live, labels=labels, annotations=annotations)


def _merged(
    live: list[Container] | None, written: list[Container] | None, gone: set[str | None]
) -> list[Container] | None:
    """Return containers as they stand, with the mounts of those that the template has as it has them."""
    by_name = {container.name: container for container in written} if written else _NOTHING
    merged = []
    for container in live or ():
        twin = by_name.get(container.name or "")
        theirs = {mount.mount_path: mount for mount in (twin and twin.volume_mounts) or ()}
        mounts = [
            theirs.get(mount.mount_path, mount)
            for mount in container.volume_mounts or ()
            if mount.mount_path in theirs or mount.name not in gone
        ]
        merged.append(replace(container, volume_mounts=mounts))
    return merged or live
