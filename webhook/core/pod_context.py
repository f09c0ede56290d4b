"""What rules look at of pods: a pod together with what the policy and the cluster say of its surroundings."""

from collections.abc import Iterator, Mapping

from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.cluster_state import ClusterState
from webhook.core.k8s_types import (
    Container,
    PodSpec,
    PodTemplate,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from webhook.core.kinds import Subject
from webhook.core.paths import clean_path
from webhook.core.policy.model import Injection, NamespacePolicy, Policy
from webhook.core.selectors import labels
from webhook.core.structs import FrozenStruct, MutableStruct

API_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
API_TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - a volume's prefix
_API_TOKEN_PLACES = (API_TOKEN_PATH, clean_path(API_TOKEN_PATH, windows=True))
MAX_NAMES = 1000
_NONE: Mapping[str, str] = {}


class ContainerRef(FrozenStruct, frozen=True):
    """A container and where it stands."""

    pointer: str
    container: Container

    @property
    def ephemeral(self) -> bool:
        """Whether it is an ephemeral container."""
        return self.pointer.startswith("/spec/ephemeralContainers/")

    @property
    def mounts(self) -> Iterator[tuple[str, VolumeMount]]:
        """Its mounts, each with its pointer."""
        for number, mount in enumerate(self.container.volume_mounts or ()):
            yield f"{self.pointer}/volumeMounts/{number}", mount


class TokenSource(FrozenStruct, frozen=True):
    """A token that a pod projects into a volume."""

    volume_number: int
    source_number: int
    volume: Volume
    projection: ServiceAccountTokenProjection
    api_server_own: bool

    @property
    def pointer(self) -> str:
        """Where it stands."""
        return f"/spec/volumes/{self.volume_number}/projected/sources/{self.source_number}"

    @property
    def by_hand(self) -> bool:
        """Whether its volume is certainly the author's: Kubernetes takes any `kube-api-access-*` for its own."""
        return not (self.volume.name or "").startswith(API_TOKEN_VOLUME)


class Mounts(MutableStruct):
    """The mounts of all volumes of one name in all the pod's containers, each with its container and its number there.

    Thousands of volumes and of mounts may share one name in a pod that the API server has yet to validate. So what a
    rule asks of all the mounts is worked out once, not once for each volume.
    """

    placed: list[tuple[ContainerRef, int, VolumeMount]]
    by_sub_path: bool = False
    _at_api_token_path: bool | None = None

    def at_api_token_path(self, spec: PodSpec) -> bool:
        """Return whether all, in the pod with this spec, mount the whole volume at the API server token's path."""
        if self._at_api_token_path is None:
            self._at_api_token_path = not self.by_sub_path and all(
                mount.mount_path == API_TOKEN_PATH
                or clean_path(mount.mount_path, windows=spec.for_windows) in _API_TOKEN_PLACES
                for _, _, mount in self.placed
            )
        return self._at_api_token_path

    def pointers(self) -> Iterator[tuple[str, VolumeMount]]:
        """Yield the mounts, each with its pointer."""
        for placed, number, mount in self.placed:
            yield f"{placed.pointer}/volumeMounts/{number}", mount


class PodContext(MutableStruct):
    """A pod, a pod's template, or a pod to which ephemeral containers are added.

    `containers` are those to be judged: for an update of ephemeral containers only the added ones. `mounts_by_volume`
    has the mounts of all containers by the name of their volume, `mounts_sub_path` says whether any is by subPath or
    subPathExpr. `host_paths` are the hostPath volumes, each after its number.
    `legacy_tokens` maps the names of the namespace's legacy Secrets to the account of each. `requested` names the
    injections that the pod's annotation asks for, `injections` are those that it is to get, `all_injections` all
    that the policy has, and `injected` names the volumes that hold one already.
    """

    request: AdmissionRequest
    pod: PodTemplate
    namespace_policy: NamespacePolicy
    cluster: ClusterState
    account: str
    api_audiences: tuple[str, ...]
    legacy_tokens: Mapping[str, str]
    containers: list[ContainerRef]
    volumes: list[Volume]
    tokens: list[TokenSource]
    requested: tuple[str, ...]
    injections: tuple[Injection, ...]
    all_injections: tuple[Injection, ...]
    all_containers: list[ContainerRef]
    mounts_by_volume: dict[str | None, Mounts]
    mounts_sub_path: bool
    host_paths: list[tuple[int, Volume]]
    injected: frozenset[str] = frozenset()

    def mounts(self, volume: str | None) -> Mounts:
        """Return the mounts of the volumes of one name."""
        return self.mounts_by_volume.get(volume) or Mounts([])

    @property
    def before_service_account_admission(self) -> bool:
        """Whether the ServiceAccount plugin has yet to see it: a template, or a manifest that is checked."""
        return self.request.subject is Subject.TEMPLATE or self.request.phase is Phase.CHECK

    @property
    def automounts(self) -> bool:
        """Whether the ServiceAccount plugin mounts the API server's token: the pod decides, then its account."""
        own = self.pod.spec.automount_service_account_token
        return self.cluster.automounts.get((self.request.namespace, self.account), True) if own is None else own

    @property
    def will_get_api_token(self) -> bool:
        """Whether the ServiceAccount plugin will mount the API server's token, which it hasn't seen the pod for yet.

        It mounts the token into every container with nothing at its path
        (plugin/pkg/admission/serviceaccount/admission.go).
        """
        if not self.before_service_account_admission or any(
            token.api_server_own and not token.by_hand for token in self.tokens
        ):
            return False
        return self.automounts and any(
            all(mount.mount_path != API_TOKEN_PATH for mount in placed.container.volume_mounts or ())
            for placed in self.containers
        )

    def for_api_server(self, audience: str | None) -> bool:
        """Say whether a token with this audience is for the API server: none means the API server's."""
        return not audience or audience in self.api_audiences

    def collides_with_injection(self, volume: str | None, audience: str) -> bool:
        """Say whether a volume that isn't an injection's would become one by a token made out to `audience`.

        So it must not be mended: its name is taken, which is refused, and the patch would hide that it is.
        """
        return volume not in self.injected and any(
            one.volume == volume and one.audience == audience for one in self.injections
        )


def build_pod_context(
    request: AdmissionRequest,
    pod: PodTemplate,
    namespace_policy: NamespacePolicy,
    policy: Policy,
    cluster: ClusterState,
) -> PodContext:
    """Gather what the rules need of a pod, so that each looks only at what concerns it."""
    spec = pod.spec
    all_containers = _every(spec)
    containers = _added(request, pod) if request.subject is Subject.EPHEMERAL_CONTAINERS else all_containers
    volumes = spec.volumes or []
    account = spec.service_account_name or spec.service_account or "default"
    requested = named_in(pod, "tokenguard/inject")
    mounts, by_sub_path = _mounts(all_containers)
    context = PodContext(
        request,
        pod,
        namespace_policy,
        cluster,
        account,
        policy.api_audiences(cluster),
        cluster.legacy_tokens.get(request.namespace, _NONE),
        containers,
        volumes,
        [],
        requested,
        _due(namespace_policy, pod, requested, request.namespace, account) if namespace_policy.injections else (),
        policy.injections,
        all_containers,
        mounts,
        by_sub_path,
        [],
    )
    held: list[Volume] = []
    for number, volume in enumerate(volumes):
        projected = volume.projected
        if projected is not None and projected.sources:
            _add_tokens(context, number, volume, projected.sources)
            if volume.name in namespace_policy.injected_volumes:
                held.append(volume)
        elif volume.host_path is not None:
            context.host_paths.append((number, volume))
    if held:
        by_volume = {injection.volume: injection for injection in context.injections}
        context.injected = frozenset([
            injection.volume
            for volume in held
            if (injection := by_volume.get(volume.name or "")) and holds_injection(volume, injection)
        ])  # fmt: skip
    return context


def _mounts(containers: list[ContainerRef]) -> tuple[dict[str | None, Mounts], bool]:
    """Return the mounts by their volume's name, and whether any is by subPath or subPathExpr."""
    found: dict[str | None, Mounts] = {}
    any_sub_path = False
    for placed in containers:
        for number, mount in enumerate(placed.container.volume_mounts or ()):
            mounts = found.get(mount.name)
            if mounts is None:
                mounts = found[mount.name] = Mounts([])
            mounts.placed.append((placed, number, mount))
            if mount.sub_path or mount.sub_path_expr:
                mounts.by_sub_path = any_sub_path = True
    return found, any_sub_path


def holds_injection(volume: Volume, injection: Injection) -> bool:
    """Say whether a volume holds just this injection's token, whatever its lifetime (which other rules judge)."""
    sources = volume.projected.sources if volume.projected else None
    token = sources[0].service_account_token if sources and len(sources) == 1 else None
    return token is not None and token.audience == injection.audience and token.path == injection.path


def _every(spec: PodSpec) -> list[ContainerRef]:
    every = _placed("/spec/initContainers/", spec.init_containers) if spec.init_containers else []
    if spec.containers:
        every += _placed("/spec/containers/", spec.containers)
    if spec.ephemeral_containers:
        every += _placed("/spec/ephemeralContainers/", spec.ephemeral_containers)
    return every


def _placed(prefix: str, containers: list[Container]) -> list[ContainerRef]:
    return [ContainerRef(f"{prefix}{number}", container) for number, container in enumerate(containers)]


def _add_tokens(context: PodContext, number: int, volume: Volume, sources: list[VolumeProjection]) -> None:
    own: bool | None = None
    for source_number, source in enumerate(sources):
        token = source.service_account_token
        if token is not None:
            if own is None:
                own = not token.audience and _is_api_servers_own(context, volume, sources)
            context.tokens.append(TokenSource(number, source_number, volume, token, own))


def _added(request: AdmissionRequest, pod: PodTemplate) -> list[ContainerRef]:
    old = request.old_object
    before = old.spec.ephemeral_containers if isinstance(old, PodTemplate) else None
    known = {one.name for one in before or ()}
    placed = _placed("/spec/ephemeralContainers/", pod.spec.ephemeral_containers or [])
    return [one for one in placed if one.container.name not in known]


def _due(
    namespace_policy: NamespacePolicy, pod: PodTemplate, requested: tuple[str, ...], namespace: str, account: str
) -> tuple[Injection, ...]:
    if namespace_policy.injections_apply_to_all:
        return namespace_policy.injections
    asked = frozenset(requested)
    own_labels = labels(pod.metadata.labels)
    return tuple([
        injection
        for injection in namespace_policy.injections
        if (not injection.on_request or injection.name in asked)
        and injection.pod_labels <= own_labels
        and (not injection.service_accounts or injection.service_accounts.match(namespace, account))
    ])  # fmt: skip


def named_in(pod: PodTemplate, annotation: str) -> tuple[str, ...]:
    """Return the names that an annotation lists, separated by commas; of too many the rest as if it were one name."""
    if not pod.metadata.annotations:
        return ()
    value = pod.metadata.annotation(annotation)
    return tuple(name for part in value.split(",", MAX_NAMES) if (name := part.strip())) if value else ()


def _is_api_servers_own(context: PodContext, volume: Volume, sources: list[VolumeProjection]) -> bool:
    """Say whether a volume is the API server's own token: one for no named audience, at the default path alone.

    Where the ServiceAccount plugin has yet to come, it will take an unmounted volume of its prefix, and mount it.
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
