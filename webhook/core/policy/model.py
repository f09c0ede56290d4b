"""A policy as values, and the part of it that applies to one namespace.

Nothing here reads a document: that is `webhook.core.policy.loader`. All lifetimes are in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
"""The prefix of the names of volumes with an injected token."""
HELP = "for help, "
"""The beginning of the line that a policy's `messages` add."""
KUBELET_ROOT_DIRS = ("/var/lib/kubelet",)
"""The kubelet's default for `--root-dir`."""


class Mode(FastStrEnum):
    """Upper limit for the action of every rule."""

    ENFORCE = "enforce"
    WARN = "warn"
    AUDIT = "audit"


class Action(FastStrEnum):
    """What happens when a rule is violated."""

    PATCH = "patch"
    REJECT = "reject"
    WARN = "warn"
    AUDIT = "audit"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class AudiencePolicy:
    """Audiences that a token may be issued for; `allowed` without patterns allows all."""

    required: bool = True
    default: str | None = None
    allowed: Globs = Globs()


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """Limits for tokens."""

    max_expiration_seconds: int = 3600
    max_request_expiration_seconds: int | None = None
    audiences: AudiencePolicy = AudiencePolicy()

    @property
    def max_request_lifetime(self) -> int:
        """The maximum lifetime of a token requested through the TokenRequest API."""
        return self.max_request_expiration_seconds or self.max_expiration_seconds


@dataclass(frozen=True, slots=True)
class ApiServerToken:
    """Settings for the token that Kubernetes mounts by itself."""

    keep: bool = False
    audiences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Messages:
    """Where authors of denied objects read on, and whom they ask."""

    url: str = ""
    contact: str = ""

    @property
    def help(self) -> str:
        """The line for a denial or a warning, empty if there is nothing to say."""
        ways = [*filter(None, [self.url and f"see {self.url}", self.contact and f"contact {self.contact}"])]
        return f"{HELP}{' or '.join(ways)}" if ways else ""


@dataclass(frozen=True)
class Injection:
    """A token that the policy mounts into the pods that its selectors match; an empty selector matches all."""

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
        """The name of its volume."""
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
        """The entry in `volumeMounts` of a container."""
        return {"name": self.volume, "mountPath": self.mount_path, "readOnly": True}

    @cached_property
    def variable(self) -> Mapping[str, object]:
        """The entry in `env` of a container, if `env` is set."""
        return {"name": self.env, "value": self.file}

    @cached_property
    def messages(self) -> tuple[str, str]:
        """The violation of a pod without the token, and the summary of the fix."""
        violation = f"has no token {quote(self.name)} for {quote(self.audience)}"
        return violation, f"injected at {self.file}{f' (env {self.env})' if self.env else ''}"

    @property
    def applies_to_all(self) -> bool:
        """Whether it applies to every pod in its namespaces."""
        return not (self.on_request or self.pod_labels or self.service_accounts)

    @cached_property
    def volumes_by_lifetime(self) -> dict[tuple[int, bool], Any]:
        """Volumes cached by the rule `inject`, by lifetime and whether the token is for the API server."""
        return {}

    @cached_property
    def file(self) -> str:
        """The path of the token's file in a container."""
        return f"{self.mount_path.rstrip('/')}/{self.path}"

    def lifetime(self, maximum: int, *, for_api_server: bool) -> int:
        """Return the `expirationSeconds` to inject, given the maximum lifetime of tokens."""
        most = lifetimes.capped_expiration(maximum, None, for_api_server=for_api_server)
        return min(self.expiration_seconds or lifetimes.DEFAULT_EXPIRATION, most)


@dataclass(frozen=True, slots=True)
class Override:
    """Settings for some namespaces, already merged with the defaults."""

    namespaces: tuple[str, ...]
    namespace_labels: Labels
    mode: Mode
    rules: Mapping[str, Action]
    tokens: TokenLimits


CACHE_BYTES = 16 << 20
NAMESPACE_POLICY_BYTES = 4 << 10
"""The maximum size of a `NamespacePolicy` without its injections, with the cached rules of every subject."""


class NamespacePolicy:
    """The part of a policy that applies to one namespace, with everything that can be computed before a review.

    `kubelet_pods` are the folders on nodes that contain the files of pods, as `node_paths` spells them.
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
    """A whole policy: a value, apart from its caches.

    `workloads` maps custom kinds that create pods, as API group and kind, to the JSON Pointer of their pod template.
    """

    mode: Mode
    rules: Mapping[str, Action]
    tokens: TokenLimits = TokenLimits()
    api_server_token: ApiServerToken = ApiServerToken()
    workloads: Mapping[tuple[str, str], str] = field(default_factory=dict)
    injections: tuple[Injection, ...] = ()
    overrides: tuple[Override, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    kubelet_root_dirs: tuple[str, ...] = KUBELET_ROOT_DIRS
    messages: Messages = Messages()
    sha256: str = ""
    _namespace_policies: BoundedCache[tuple[str, Labels], NamespacePolicy] = field(
        default_factory=lambda: BoundedCache(CACHE_BYTES, _size), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Index the selectors, so that the time of a look-up does not grow with their number."""
        self._override_index = Index.of((override.namespaces, override) for override in self.overrides)
        self._injection_index = Index.of((injection.namespaces.patterns, injection) for injection in self.injections)
        self.exemption_index = ExemptionIndex(self.exemptions)
        self.help = self.messages.help
        roots = dict.fromkeys(path.rstrip("/") for root in self.kubelet_root_dirs for path in sorted(node_paths(root)))
        self._kubelet_pods = tuple(f"{root}/pods" for root in roots)

    @property
    def strictest_mode(self) -> Mode:
        """The strictest mode in any namespace, for objects whose namespace is unknown."""
        modes = {self.mode, *(override.mode for override in self.overrides)}
        return next(mode for mode in Mode if mode in modes)

    @property
    def revision(self) -> str:
        """The first 12 hex digits of the document's SHA-256."""
        return self.sha256[:12]

    def with_mode(self, mode: Mode) -> "Policy":
        """Return the policy with this mode in every namespace; its revision stays."""
        overrides = tuple(replace(override, mode=mode) for override in self.overrides)
        return replace(self, mode=mode, overrides=overrides)

    def without_lowered_rules(self) -> "Policy":
        """Return the policy with overrides that do not stop its rules from rejecting or patching."""
        enforced = {rule: action for rule, action in self.rules.items() if action in (Action.REJECT, Action.PATCH)}
        overrides = tuple(
            replace(
                override,
                rules={
                    rule: action if action in (Action.REJECT, Action.PATCH) else enforced.get(rule, action)
                    for rule, action in override.rules.items()
                },
            )
            for override in self.overrides
        )
        return replace(self, overrides=overrides)

    def in_namespace(self, namespace: str, labels: Labels) -> NamespacePolicy:
        """Return the policy for a namespace with this name and these labels."""
        key = (namespace, labels)
        namespace_policy = self._namespace_policies.get(key)
        if namespace_policy is None:
            namespace_policy = self._resolve(namespace, labels)
            if len(namespace) <= MAX_LABEL:
                self._namespace_policies.put(key, namespace_policy)
        return namespace_policy

    def in_cluster(self) -> NamespacePolicy:
        """Return the policy for objects without a namespace: no overrides, no injections."""
        defaults = Override((), frozenset(), self.mode, self.rules, self.tokens)
        return NamespacePolicy(defaults, self.api_server_token, (), self._kubelet_pods)

    def api_audiences(self, cluster: ClusterState) -> tuple[str, ...]:
        """Return the API server's audiences: the policy's, else the cluster's."""
        return self.api_server_token.audiences or cluster.api_audiences

    def find_override(self, namespace: str, labels: Labels) -> Override | None:
        """Return the override that applies to a namespace with this name and these labels, if one does."""
        overrides = self._override_index.find(namespace)
        return next((override for override in overrides if override.namespace_labels <= labels), None)

    def labels_that_matter(self, namespace: str) -> Labels:
        """Return the labels by which the policy selects namespaces, as far as they matter for one with this name."""
        selectors = [injection.namespace_labels for injection in self._injection_index.find(namespace)]
        for override in self._override_index.find(namespace):
            selectors.append(override.namespace_labels)
            if not override.namespace_labels:
                break  # it applies if none before it does
        return frozenset().union(*selectors)

    def _resolve(self, namespace: str, labels: Labels) -> NamespacePolicy:
        injections, override = self._injection_index.find(namespace), self.find_override(namespace, labels)
        return NamespacePolicy(
            override or Override((), frozenset(), self.mode, self.rules, self.tokens),
            self.api_server_token,
            tuple(injection for injection in injections if injection.namespace_labels <= labels),
            self._kubelet_pods,
        )
