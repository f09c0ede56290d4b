"""What rules see of a pod: the pod together with what the policy and the cluster state say about its namespace."""

from collections.abc import Iterator, Mapping

from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.cluster_state import ClusterState
from webhook.core.k8s_types import (
    Container,
    Pod,
    PodSpec,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from webhook.core.kinds import Subject
from webhook.core.paths import clean_path
from webhook.core.policy.model import Action, Injection, Mode, NamespacePolicy, Policy
from webhook.core.selectors import labels
from webhook.core.structs import FrozenStruct, MutableStruct

API_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
API_TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - a volume's prefix
API_TOKEN_ANNOTATION = "tokenguard/api-token"  # noqa: S105 - "true" requests the token
_API_TOKEN_PATHS = (API_TOKEN_PATH, clean_path(API_TOKEN_PATH, windows=True))
MAX_NAMES = 1000
_NONE: Mapping[str, str] = {}


class ContainerRef(FrozenStruct, frozen=True):
    """A container and its JSON Pointer."""

    pointer: str
    container: Container

    @property
    def is_ephemeral(self) -> bool:
        """Whether it is an ephemeral container."""
        return self.pointer.startswith("/spec/ephemeralContainers/")

    @property
    def mounts(self) -> Iterator[tuple[str, VolumeMount]]:
        """Its mounts, each with its pointer."""
        for number, mount in enumerate(self.container.volume_mounts or ()):
            yield f"{self.pointer}/volumeMounts/{number}", mount


class TokenSource(FrozenStruct, frozen=True):
    """A token that a pod projects into a volume; `is_api_token` if it is the API server's own."""

    volume_number: int
    source_number: int
    volume: Volume
    projection: ServiceAccountTokenProjection
    is_api_token: bool

    @property
    def pointer(self) -> str:
        """The JSON Pointer of the source."""
        return f"/spec/volumes/{self.volume_number}/projected/sources/{self.source_number}"

    @property
    def authored(self) -> bool:
        """Whether the pod's author must have written it: any `kube-api-access-*` may be Kubernetes' own."""
        return not (self.volume.name or "").startswith(API_TOKEN_VOLUME)


class Mounts(MutableStruct):
    """The mounts of all volumes of one name in all containers, each with its container and its number there.

    Thousands of volumes and mounts may share one name in a pod that the API server has not validated yet. So what a
    rule asks about all the mounts is computed once, not once for each volume.
    """

    entries: list[tuple[ContainerRef, int, VolumeMount]]
    by_sub_path: bool = False
    _at_api_token_path: bool | None = None

    def at_api_token_path(self, spec: PodSpec) -> bool:
        """Return whether all, in the pod with this spec, mount the whole volume at the API server token's path."""
        if self._at_api_token_path is None:
            self._at_api_token_path = not self.by_sub_path and all(
                mount.mount_path == API_TOKEN_PATH
                or clean_path(mount.mount_path, windows=spec.for_windows) in _API_TOKEN_PATHS
                for _, _, mount in self.entries
            )
        return self._at_api_token_path

    def pointers(self) -> Iterator[tuple[str, VolumeMount]]:
        """Yield the mounts, each with its pointer."""
        for container, number, mount in self.entries:
            yield f"{container.pointer}/volumeMounts/{number}", mount


class PodContext(MutableStruct):
    """A pod, a pod template, or a pod to which ephemeral containers are added.

    `containers` are those to evaluate: for an update of ephemeral containers, the added ones. `host_paths` are the
    hostPath volumes, each after its number. `legacy_tokens` maps the names of the namespace's legacy Secrets to the
    account of each. `requested_injections` are the names in the pod's annotation, `injections` those that the pod is to
    get, `all_injections` the policy's, and `injected_volumes` the names of the volumes that contain one already.
    """

    request: AdmissionRequest
    pod: Pod
    namespace_policy: NamespacePolicy
    cluster: ClusterState
    account: str
    api_audiences: tuple[str, ...]
    legacy_tokens: Mapping[str, str]
    containers: list[ContainerRef]
    volumes: list[Volume]
    tokens: list[TokenSource]
    requested_injections: tuple[str, ...]
    injections: tuple[Injection, ...]
    all_injections: tuple[Injection, ...]
    mounts_by_volume: dict[str | None, Mounts]
    has_sub_path_mount: bool
    host_paths: list[tuple[int, Volume]]
    injected_volumes: frozenset[str] = frozenset()

    def mounts(self, volume: str | None) -> Mounts:
        """Return the mounts of the volumes of one name."""
        return self.mounts_by_volume.get(volume) or Mounts([])

    @property
    def before_service_account_admission(self) -> bool:
        """Whether the ServiceAccount plugin has yet to see the pod: a template, or a manifest that is checked."""
        return self.request.subject is Subject.TEMPLATE or self.request.phase is Phase.CHECK

    @property
    def automounts(self) -> bool:
        """Whether the ServiceAccount plugin mounts the API server token: the pod decides, then its account."""
        own = self.pod.spec.automount_service_account_token
        return self.cluster.automounts.get((self.request.namespace, self.account), True) if own is None else own

    @property
    def will_get_api_token(self) -> bool:
        """Whether the ServiceAccount plugin, which has yet to see the pod, will mount the API server token.

        It mounts the token into every container that mounts nothing at its path
        (plugin/pkg/admission/serviceaccount/admission.go).
        """
        if not self.before_service_account_admission or any(
            token.is_api_token and not token.authored for token in self.tokens
        ):
            return False
        return self.automounts and any(
            all(mount.mount_path != API_TOKEN_PATH for mount in container.container.volume_mounts or ())
            for container in self.containers
        )

    @property
    def requests_api_token(self) -> bool:
        """Whether the pod's author requests the API server token, so that `api-token-automount` leaves it alone."""
        return (
            self.pod.spec.automount_service_account_token is True
            or self.pod.metadata.annotation(API_TOKEN_ANNOTATION) == "true"
        )

    @property
    def will_lose_api_token(self) -> bool:
        """Whether tokenguard has yet to remove the API server token, which `api-token-automount` does."""
        return (
            self.before_service_account_admission
            and self.namespace_policy.mode is Mode.ENFORCE
            and self.namespace_policy.rules.get("api-token-automount") is Action.PATCH
            and not self.requests_api_token
        )

    def for_api_server(self, audience: str | None) -> bool:
        """Return whether a token with this audience is for the API server; none means the API server's."""
        return not audience or audience in self.api_audiences

    def collides_with_injection(self, volume: str | None, audience: str) -> bool:
        """Return whether a volume that is no injection's would look like one with a token issued for `audience`.

        Such a volume must not be patched: its name is taken, which is denied, and the patch would hide that.
        """
        return volume not in self.injected_volumes and any(
            injection.volume == volume and injection.audience == audience for injection in self.injections
        )


def build_pod_context(
    request: AdmissionRequest,
    pod: Pod,
    namespace_policy: NamespacePolicy,
    policy: Policy,
    cluster: ClusterState,
) -> PodContext:
    """Return what the rules need, computed once for all of them."""
    spec = pod.spec
    every_container = all_containers(spec)
    volumes = spec.volumes or []
    account = spec.service_account_name or spec.service_account or "default"
    requested = annotation_names(pod, "tokenguard/inject")
    mounts, has_sub_path_mount = _mounts(every_container)
    context = PodContext(
        request,
        pod,
        namespace_policy,
        cluster,
        account,
        policy.api_audiences(cluster),
        cluster.legacy_tokens.get(request.namespace, _NONE),
        _added_containers(request, pod) if request.subject is Subject.EPHEMERAL_CONTAINERS else every_container,
        volumes,
        [],
        requested,
        _selected_injections(namespace_policy, pod, requested, request.namespace, account)
        if namespace_policy.injections
        else (),
        policy.injections,
        mounts,
        has_sub_path_mount,
        [],
    )
    named_like_injected: list[Volume] = []
    for number, volume in enumerate(volumes):
        projected = volume.projected
        if projected is not None and projected.sources:
            _add_tokens(context, number, volume, projected.sources)
            if volume.name in namespace_policy.injected_volumes:
                named_like_injected.append(volume)
        elif volume.host_path is not None:
            context.host_paths.append((number, volume))
    if named_like_injected:
        by_volume = {injection.volume: injection for injection in context.injections}
        context.injected_volumes = frozenset([
            injection.volume
            for volume in named_like_injected
            if (injection := by_volume.get(volume.name or "")) and _contains_injection(volume, injection)
        ])  # fmt: skip
    return context


def annotation_names(pod: Pod, annotation: str) -> tuple[str, ...]:
    """Return the comma-separated names in an annotation; beyond `MAX_NAMES`, the rest as one name."""
    if not pod.metadata.annotations:
        return ()
    value = pod.metadata.annotation(annotation)
    return tuple(name for part in value.split(",", MAX_NAMES) if (name := part.strip())) if value else ()


def _mounts(containers: list[ContainerRef]) -> tuple[dict[str | None, Mounts], bool]:
    """Return the mounts by their volume's name, and whether any is by subPath or subPathExpr."""
    mounts_by_volume: dict[str | None, Mounts] = {}
    any_sub_path = False
    for container in containers:
        for number, mount in enumerate(container.container.volume_mounts or ()):
            mounts = mounts_by_volume.get(mount.name)
            if mounts is None:
                mounts = mounts_by_volume[mount.name] = Mounts([])
            mounts.entries.append((container, number, mount))
            if mount.sub_path or mount.sub_path_expr:
                mounts.by_sub_path = any_sub_path = True
    return mounts_by_volume, any_sub_path


def _contains_injection(volume: Volume, injection: Injection) -> bool:
    """Return whether a volume contains just this injection's token, of any lifetime (other rules check that)."""
    sources = volume.projected.sources if volume.projected else None
    token = sources[0].service_account_token if sources and len(sources) == 1 else None
    return token is not None and token.audience == injection.audience and token.path == injection.path


def all_containers(spec: PodSpec) -> list[ContainerRef]:
    """Return the containers of a pod: those that initialise it, its own, and ephemeral ones."""
    containers = _container_refs("/spec/initContainers/", spec.init_containers) if spec.init_containers else []
    if spec.containers:
        containers += _container_refs("/spec/containers/", spec.containers)
    if spec.ephemeral_containers:
        containers += _container_refs("/spec/ephemeralContainers/", spec.ephemeral_containers)
    return containers


def _container_refs(prefix: str, containers: list[Container]) -> list[ContainerRef]:
    return [ContainerRef(f"{prefix}{number}", container) for number, container in enumerate(containers)]


def _added_containers(request: AdmissionRequest, pod: Pod) -> list[ContainerRef]:
    old = request.old_object
    before = old.spec.ephemeral_containers if isinstance(old, Pod) else None
    known = {container.name for container in before or ()}
    containers = _container_refs("/spec/ephemeralContainers/", pod.spec.ephemeral_containers or [])
    return [container for container in containers if container.container.name not in known]


def _add_tokens(context: PodContext, number: int, volume: Volume, sources: list[VolumeProjection]) -> None:
    is_api_token: bool | None = None
    for source_number, source in enumerate(sources):
        token = source.service_account_token
        if token is not None:
            if is_api_token is None:
                is_api_token = not token.audience and _is_api_token_volume(context, volume, sources)
            context.tokens.append(TokenSource(number, source_number, volume, token, is_api_token))


def _is_api_token_volume(context: PodContext, volume: Volume, sources: list[VolumeProjection]) -> bool:
    """Return whether a volume is the API server token: one without audience, mounted only at the default path.

    Before the ServiceAccount plugin has seen the pod, a volume with that plugin's prefix and without a mount counts,
    too: the plugin mounts it there.
    """
    tokens = [source.service_account_token for source in sources if source.service_account_token]
    if len(tokens) != 1 or tokens[0].audience:
        return False
    mounts = context.mounts_by_volume.get(volume.name)
    if mounts is not None:
        return mounts.at_api_token_path(context.pod.spec)
    return (
        context.before_service_account_admission
        and (volume.name or "").startswith(API_TOKEN_VOLUME)
        and context.automounts
    )


def _selected_injections(
    namespace_policy: NamespacePolicy, pod: Pod, requested: tuple[str, ...], namespace: str, account: str
) -> tuple[Injection, ...]:
    if namespace_policy.injections_apply_to_all:
        return namespace_policy.injections
    names, own_labels = frozenset(requested), labels(pod.metadata.labels)
    return tuple([
        injection
        for injection in namespace_policy.injections
        if (not injection.on_request or injection.name in names)
        and injection.pod_labels <= own_labels
        and (not injection.service_accounts or injection.service_accounts.match(namespace, account))
    ])  # fmt: skip
