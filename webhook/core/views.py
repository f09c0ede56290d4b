"""What rules look at of pods: a pod together with what the policy and the cluster say of its surroundings."""

from collections.abc import Iterator, Mapping

import msgspec

from webhook.core.cluster import Cluster
from webhook.core.kinds import Subject
from webhook.core.objects import (
    Container,
    PodSpec,
    PodTemplate,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from webhook.core.paths import clean_path
from webhook.core.policy.model import Injection, NamespacePolicy, Policy
from webhook.core.request import Phase, Request
from webhook.core.selectors import labels

API_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
API_TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - a volume's prefix
_API_TOKEN_PLACES = (API_TOKEN_PATH, clean_path(API_TOKEN_PATH, windows=True))
MAX_NAMES = 1000
_NONE: Mapping[str, str] = {}


class Placed(msgspec.Struct, frozen=True, gc=False):
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


class TokenSource(msgspec.Struct, frozen=True, gc=False):
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


class Mounts(msgspec.Struct, gc=False):
    """The mounts of all volumes of one name in all the pod's containers, each with its pointer.

    Thousands of volumes and of mounts may share one name in a pod that the API server has yet to validate. So what a
    rule asks of all the mounts is worked out once, not once for each volume.
    """

    placed: list[tuple[str, VolumeMount]]
    by_sub_path: bool = False
    _at_api_token_path: bool | None = None

    def at_api_token_path(self, spec: PodSpec) -> bool:
        """Return whether all, in the pod with this spec, mount the whole volume at the API server token's path."""
        if self._at_api_token_path is None:
            self._at_api_token_path = not self.by_sub_path and all(
                mount.mount_path == API_TOKEN_PATH
                or clean_path(mount.mount_path, windows=spec.for_windows) in _API_TOKEN_PLACES
                for _, mount in self.placed
            )
        return self._at_api_token_path


class PodView(msgspec.Struct, gc=False):
    """A pod, a pod's template, or a pod to which ephemeral containers are added.

    `containers` are those to be judged: for an update of ephemeral containers only the added ones.
    `legacy_tokens` maps the names of the namespace's legacy Secrets to the account of each. `requested` names the
    injections that the pod's annotation asks for, `injections` are those that it is to get, `every_injection` all
    that the policy has, and `injected` names the volumes that hold one already.
    """

    request: Request
    pod: PodTemplate
    here: NamespacePolicy
    cluster: Cluster
    account: str
    api_audiences: tuple[str, ...]
    legacy_tokens: Mapping[str, str]
    containers: list[Placed]
    volumes: list[Volume]
    tokens: list[TokenSource]
    requested: tuple[str, ...]
    injections: tuple[Injection, ...]
    every_injection: tuple[Injection, ...]
    every_container: list[Placed]
    injected: frozenset[str] = frozenset()
    _mounts: dict[str | None, Mounts] | None = None

    def mounts(self, volume: str | None) -> Mounts:
        """Return the mounts of the volumes of one name."""
        if self._mounts is None:
            gathered: dict[str | None, Mounts] = {}
            self._mounts = gathered
            for placed in self.every_container:
                for pointer, mount in placed.mounts:
                    mounts = gathered.get(mount.name)
                    if mounts is None:
                        mounts = gathered[mount.name] = Mounts([])
                    mounts.placed.append((pointer, mount))
                    if mount.sub_path or mount.sub_path_expr:
                        mounts.by_sub_path = True
        return self._mounts.get(volume) or Mounts([])

    @property
    def runs_later(self) -> bool:
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
        if not self.runs_later or any(token.api_server_own and not token.by_hand for token in self.tokens):
            return False
        return self.automounts and any(
            all(mount.mount_path != API_TOKEN_PATH for mount in placed.container.volume_mounts or ())
            for placed in self.containers
        )

    def for_api_server(self, audience: str | None) -> bool:
        """Say whether a token with this audience is for the API server: none means the API server's."""
        return not audience or audience in self.api_audiences

    def would_pass_for_injected(self, volume: str | None, audience: str) -> bool:
        """Say whether a volume that isn't an injection's would become one by a token made out to `audience`.

        So it must not be mended: its name is taken, which is refused, and the patch would hide that it is.
        """
        return volume not in self.injected and any(
            one.volume == volume and one.audience == audience for one in self.injections
        )


def pod_view(request: Request, pod: PodTemplate, here: NamespacePolicy, policy: Policy, cluster: Cluster) -> PodView:
    """Gather what the rules need of a pod, so that each looks only at what concerns it."""
    spec = pod.spec
    every_container = _every(spec)
    containers = _added(request, pod) if request.subject is Subject.EPHEMERAL_CONTAINERS else every_container
    volumes = spec.volumes or []
    account = spec.service_account_name or spec.service_account or "default"
    requested = named_in(pod, "tokenguard/inject")
    injections = _due(here, pod, requested, request.namespace, account) if here.injections else ()
    view = PodView(
        request,
        pod,
        here,
        cluster,
        account,
        policy.api_audiences(cluster),
        cluster.legacy_tokens.get(request.namespace, _NONE),
        containers,
        volumes,
        [],
        requested,
        injections,
        policy.injections,
        every_container,
    )
    for number, volume in enumerate(volumes):
        if volume.projected and volume.projected.sources:
            view.tokens += _tokens(view, number, volume, volume.projected.sources)
    if injections:
        by_volume = {injection.volume: injection for injection in injections}
        view.injected = frozenset([
            injection.volume
            for volume in volumes
            if (injection := by_volume.get(volume.name or "")) and holds_injection(volume, injection)
        ])  # fmt: skip
    return view


def holds_injection(volume: Volume, injection: Injection) -> bool:
    """Say whether a volume holds just this injection's token, whatever its lifetime (which other rules judge)."""
    sources = volume.projected.sources if volume.projected else None
    token = sources[0].service_account_token if sources and len(sources) == 1 else None
    return token is not None and token.audience == injection.audience and token.path == injection.path


def _every(spec: PodSpec) -> list[Placed]:
    return [
        *_placed("/spec/initContainers/", spec.init_containers),
        *_placed("/spec/containers/", spec.containers),
        *_placed("/spec/ephemeralContainers/", spec.ephemeral_containers),
    ]


def _placed(prefix: str, containers: list[Container] | None) -> list[Placed]:
    return [Placed(f"{prefix}{number}", one) for number, one in enumerate(containers)] if containers else []


def _tokens(view: PodView, number: int, volume: Volume, sources: list[VolumeProjection]) -> list[TokenSource]:
    own = _is_api_servers_own(view, volume, sources)
    return [
        TokenSource(number, source_number, volume, source.service_account_token, own)
        for source_number, source in enumerate(sources)
        if source.service_account_token
    ]


def _added(request: Request, pod: PodTemplate) -> list[Placed]:
    old = request.old_object
    before = old.spec.ephemeral_containers if isinstance(old, PodTemplate) else None
    known = {one.name for one in before or ()}
    placed = _placed("/spec/ephemeralContainers/", pod.spec.ephemeral_containers)
    return [one for one in placed if one.container.name not in known]


def _due(
    here: NamespacePolicy, pod: PodTemplate, requested: tuple[str, ...], namespace: str, account: str
) -> tuple[Injection, ...]:
    asked = frozenset(requested)
    own_labels = labels(pod.metadata.labels)
    return tuple([
        injection
        for injection in here.injections
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


def _is_api_servers_own(view: PodView, volume: Volume, sources: list[VolumeProjection]) -> bool:
    """Say whether a volume is the API server's own token: one for no named audience, at the default path alone.

    Where the ServiceAccount plugin has yet to come, it will take an unmounted volume of its prefix, and mount it.
    """
    tokens = [one.service_account_token for one in sources if one.service_account_token]
    if len(tokens) != 1 or tokens[0].audience:
        return False
    mounts = view.mounts(volume.name)
    if mounts.placed:
        return mounts.at_api_token_path(view.pod.spec)
    return view.runs_later and (volume.name or "").startswith(API_TOKEN_VOLUME) and view.automounts
