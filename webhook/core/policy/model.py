"""What a policy says, as values; and what of it holds in one namespace.

Nothing here reads a document: that is `webhook.core.policy.loader`. All lifetimes are in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from webhook.core import lifetimes
from webhook.core.bounded_cache import BoundedCache, memory_size
from webhook.core.cluster_state import ClusterState
from webhook.core.formatting import FastStrEnum, quote
from webhook.core.k8s_names import MAX_LABEL
from webhook.core.paths import clean_path, node_paths
from webhook.core.policy.exemptions import Exemption, ExemptionIndex
from webhook.core.selectors import Accounts, Globs, Index, Labels

INJECTED_VOLUME = "tokenguard-"
"""What the names of volumes that hold an injected token begin with."""
KUBELET_ROOT_DIRS = ("/var/lib/kubelet",)
"""The kubelet's own default for `--root-dir`."""


class Mode(FastStrEnum):
    """The ceiling for every rule."""

    ENFORCE = "enforce"
    WARN = "warn"
    AUDIT = "audit"


class Action(FastStrEnum):
    """What is done about a broken rule."""

    PATCH = "patch"
    REJECT = "reject"
    WARN = "warn"
    AUDIT = "audit"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Audiences:
    """Whom a token may be made out to; `allowed` without any pattern allows all."""

    required: bool = True
    default: str | None = None
    allowed: Globs = Globs()


@dataclass(frozen=True, slots=True)
class Tokens:
    """What tokens may be like."""

    max_expiration_seconds: int = 3600
    max_request_expiration_seconds: int | None = None
    audiences: Audiences = Audiences()

    @property
    def max_request_lifetime(self) -> int:
        """The longest that a token asked for by hand may live."""
        return self.max_request_expiration_seconds or self.max_expiration_seconds


@dataclass(frozen=True, slots=True)
class ApiServerToken:
    """What is done about the token that Kubernetes mounts by itself."""

    keep: bool = False
    audiences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Injection:
    """A token that the policy mounts into pods, and into which; a selector that isn't given selects all.

    What follows from its fields is worked out once: every pod asks for it.
    """

    name: str
    audience: str
    mount_path: str
    expiration_seconds: int | None = None
    path: str = "token"
    env: str | None = None
    on_request: bool = False
    namespaces: Globs = Globs()
    namespace_labels: Labels = frozenset()
    service_accounts: Accounts = Accounts()
    pod_labels: Labels = frozenset()

    @cached_property
    def volume(self) -> str:
        """The name of the volume that holds it."""
        return f"{INJECTED_VOLUME}{self.name}"

    @cached_property
    def clean_mount_path(self) -> str:
        """The mount path as the kernel sees it."""
        return clean_path(self.mount_path)

    @cached_property
    def clean_mount_paths(self) -> tuple[str, str]:
        """The mount path as `clean_path` returns it: on Linux, and on Windows."""
        return self.clean_mount_path, clean_path(self.mount_path, windows=True)

    @cached_property
    def mount(self) -> Mapping[str, object]:
        """The mount, as a container lists it."""
        return {"name": self.volume, "mountPath": self.mount_path, "readOnly": True}

    @cached_property
    def variable(self) -> Mapping[str, object]:
        """The variable, as a container lists it; only where there is `env`."""
        return {"name": self.env, "value": self.file}

    @cached_property
    def messages(self) -> tuple[str, str]:
        """What a pod lacks that is to get it, and what is done about that."""
        lacks = f"lacks the injected token {quote(self.name)} for {quote(self.audience)}"
        return lacks, f"injected at {self.file}{f' (env {self.env})' if self.env else ''}"

    @property
    def applies_to_all(self) -> bool:
        """Whether it is for every pod in its namespaces."""
        return not (self.on_request or self.pod_labels or self.service_accounts)

    @cached_property
    def volumes_by_lifetime(self) -> dict[tuple[int, bool], Any]:
        """What the rule `inject` remembers, by lifetime and whether the token is for the API server."""
        return {}

    @cached_property
    def file(self) -> str:
        """The token's file, as a container sees it."""
        return f"{self.mount_path.rstrip('/')}/{self.path}"

    def lifetime(self, maximum: int, *, for_api_server: bool) -> int:
        """Return the `expirationSeconds` it is injected with where tokens may live up to `maximum`."""
        most = lifetimes.capped_expiration(maximum, None, for_api_server=for_api_server)
        return min(self.expiration_seconds or lifetimes.DEFAULT_EXPIRATION, most)

    def applies_to_namespace(self, namespace: str, labels: Labels) -> bool:
        """Say whether it is for a namespace of this name and these labels."""
        return (not self.namespaces or self.namespaces.match(namespace)) and self.namespace_labels <= labels


@dataclass(frozen=True, slots=True)
class Override:
    """What holds in some namespaces in place of the defaults, already merged with them."""

    namespaces: tuple[str, ...]
    namespace_labels: Labels
    mode: Mode
    rules: Mapping[str, Action]
    tokens: Tokens


CACHE_BYTES = 16 << 20
NAMESPACE_POLICY_BYTES = 4 << 10
"""What a `NamespacePolicy` takes at most, without the injections, once rules of every subject are remembered in it."""


class NamespacePolicy:
    """What a policy says in one namespace: everything that can be worked out before a pod arrives.

    `kubelet_pods` are the folders of the nodes in which kubelets keep their pods' files, as `node_paths` spells them.
    `active` caches the rules that `evaluate` checks there, by subject. `injections_apply_to_all` is true if every
    injection is for every pod; `injected_volumes` and `injected_mount_paths` are those of all injections.
    """

    def __init__(
        self,
        override: Override,
        api_server_token: ApiServerToken,
        injections: tuple[Injection, ...],
        kubelet_pods: tuple[str, ...],
    ) -> None:
        """Take what was selected for the namespace."""
        self.mode = override.mode
        self.rules = override.rules
        self.tokens = override.tokens
        self.api_server_token = api_server_token
        self.injections = injections
        self.kubelet_pods = kubelet_pods
        self.active: dict[str, tuple[Any, ...]] = {}
        self.injections_apply_to_all = all(injection.applies_to_all for injection in injections)
        self.injected_volumes = frozenset(injection.volume for injection in injections)
        self.injected_mount_paths = frozenset(
            place for injection in injections for place in injection.clean_mount_paths
        )


def _size(key: tuple[str, Labels], here: NamespacePolicy) -> int:
    injected = (
        memory_size(here.injections) + memory_size(here.injected_volumes) + memory_size(here.injected_mount_paths)
    )
    return memory_size(key) + injected + NAMESPACE_POLICY_BYTES


@dataclass
class Policy:
    """A whole policy. Treat it as a value: what it keeps besides is remembered answers, never new ones.

    `workloads` maps custom kinds that create pods, as API group and kind, to the JSON Pointer of their pod template.
    """

    mode: Mode
    rules: Mapping[str, Action]
    tokens: Tokens = Tokens()
    api_server_token: ApiServerToken = ApiServerToken()
    workloads: Mapping[tuple[str, str], str] = field(default_factory=dict)
    injections: tuple[Injection, ...] = ()
    overrides: tuple[Override, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    kubelet_root_dirs: tuple[str, ...] = KUBELET_ROOT_DIRS
    sha256: str = ""
    _here: BoundedCache[tuple[str, Labels], NamespacePolicy] = field(
        default_factory=lambda: BoundedCache(CACHE_BYTES, _size), repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Compile the selectors, so that a look-up doesn't grow with their number."""
        self._override_index = Index.of((one.namespaces, one) for one in self.overrides)
        self.exemption_index = ExemptionIndex(self.exemptions)
        roots = dict.fromkeys(path.rstrip("/") for root in self.kubelet_root_dirs for path in sorted(node_paths(root)))
        self._kubelet_pods = tuple(f"{root}/pods" for root in roots)

    @property
    def strictest_mode(self) -> Mode:
        """The strictest mode that holds in any namespace: what holds where the namespace isn't known."""
        modes = {self.mode, *(override.mode for override in self.overrides)}
        return next(mode for mode in Mode if mode in modes)

    @property
    def revision(self) -> str:
        """The first 12 hex digits of the document's SHA-256."""
        return self.sha256[:12]

    def in_namespace(self, namespace: str, labels: Labels) -> NamespacePolicy:
        """Return what holds in a namespace of this name and these labels."""
        key = (namespace, labels)
        here = self._here.get(key)
        if here is None:
            here = self._resolve(namespace, labels)
            if len(namespace) <= MAX_LABEL:
                self._here.put(key, here)
        return here

    def in_cluster(self) -> NamespacePolicy:
        """Return the policy for objects without a namespace: the defaults, no overrides and no injections."""
        defaults = Override((), frozenset(), self.mode, self.rules, self.tokens)
        return NamespacePolicy(defaults, self.api_server_token, (), self._kubelet_pods)

    def api_audiences(self, cluster: ClusterState) -> tuple[str, ...]:
        """Return the API server's audiences: the policy's, else the cluster's."""
        return self.api_server_token.audiences or cluster.api_audiences

    def _resolve(self, namespace: str, labels: Labels) -> NamespacePolicy:
        candidates = self._override_index.find(namespace)
        override = next((one for one in candidates if one.namespace_labels <= labels), None)
        return NamespacePolicy(
            override or Override((), frozenset(), self.mode, self.rules, self.tokens),
            self.api_server_token,
            tuple(one for one in self.injections if one.applies_to_namespace(namespace, labels)),
            self._kubelet_pods,
        )
