"""What a policy says, as values; and what of it holds in one namespace.

Nothing here reads a document: that is `webhook.core.policy.document`. All lifetimes are in seconds.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from webhook.core.cluster import Cluster
from webhook.core.paths import clean_path
from webhook.core.selectors import Accounts, Globs, Index, Labels
from webhook.core.text import Word


class Mode(Word):
    """The ceiling for every rule."""

    ENFORCE = "enforce"
    WARN = "warn"
    AUDIT = "audit"


class Action(Word):
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
    def max_request(self) -> int:
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
        return f"tokenguard-{self.name}"

    @cached_property
    def clean_mount_path(self) -> str:
        """The mount path as the kernel sees it."""
        return clean_path(self.mount_path)

    @cached_property
    def file(self) -> str:
        """The token's file, as a container sees it."""
        return f"{self.mount_path.rstrip('/')}/{self.path}"

    def lifetime(self, maximum: int) -> int:
        """Return the `expirationSeconds` it is injected with where tokens may live up to `maximum`."""
        return min(self.expiration_seconds or 3600, maximum)

    def is_for_namespace(self, namespace: str, labels: Labels) -> bool:
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


@dataclass(frozen=True, slots=True)
class Exemption:
    """Whom rules leave alone, why, and until when; `until` is the last day (UTC), None means never ending."""

    rules: tuple[str, ...]
    reason: str
    until: dt.date | None
    namespaces: Globs = Globs()
    service_accounts: Accounts = Accounts()
    users: Globs = Globs()

    def holds(self, now: dt.datetime) -> bool:
        """Say whether it still holds; `now` is aware, in any time zone."""
        return self.until is None or now.astimezone(dt.UTC).date() <= self.until

    def __str__(self) -> str:
        return f"{self.reason} (until {self.until or 'never'})"


_MEMORY = 4096


class NamespacePolicy:
    """What a policy says in one namespace: everything that can be worked out before a pod arrives."""

    def __init__(
        self,
        override: Override,
        api_server_token: ApiServerToken,
        injections: tuple[Injection, ...],
        exemptions: Iterable[Exemption],
    ) -> None:
        """Take what was selected for the namespace. `active` is where `evaluate` remembers which rules act."""
        self.active: dict[str, tuple[Any, ...]] = {}
        self.mode = override.mode
        self.rules = override.rules
        self.tokens = override.tokens
        self.api_server_token = api_server_token
        self.injections = injections
        self.exemptions = tuple(exemptions)
        by_rule: dict[str, list[tuple[tuple[str, ...], Exemption]]] = {}
        for exemption in self.exemptions:
            for rule in exemption.rules:
                by_rule.setdefault(rule, []).append((exemption.service_accounts.patterns, exemption))
        self._exemptions = {rule: Index.of(some) for rule, some in by_rule.items()}
        self._found: dict[tuple[str, str, str, str], tuple[Exemption, ...]] = {}

    def exemption(self, rule: str, namespace: str, account: str, user: str, now: dt.datetime) -> Exemption | None:
        """Return the first exemption from `rule` that holds for this account and user, if there is one."""
        if rule not in self._exemptions:
            return None
        key = (rule, namespace, account, user)
        found = self._found.get(key)
        if found is None:
            candidates = self._exemptions[rule].find(account, f"{namespace}/{account}")
            found = tuple(one for one in candidates if not one.users or one.users.match(user))
            if len(self._found) >= _MEMORY:
                self._found.clear()
            self._found[key] = found
        return next((one for one in found if one.holds(now)), None)


@dataclass
class Policy:
    """A whole policy. Treat it as a value: what it keeps besides is remembered answers, never new ones."""

    mode: Mode
    rules: Mapping[str, Action]
    tokens: Tokens = Tokens()
    api_server_token: ApiServerToken = ApiServerToken()
    injections: tuple[Injection, ...] = ()
    overrides: tuple[Override, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    sha256: str = ""
    _here: dict[tuple[str, Labels], NamespacePolicy] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the selectors, so that a look-up doesn't grow with their number."""
        self._override_index = Index.of((one.namespaces, one) for one in self.overrides)
        self._exemption_index = Index.of((one.namespaces.patterns, one) for one in self.exemptions)

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
            if len(self._here) >= _MEMORY:
                self._here.clear()
            self._here[key] = here
        return here

    def api_audiences(self, cluster: Cluster) -> tuple[str, ...]:
        """Return the API server's audiences: the policy's, else the cluster's."""
        return self.api_server_token.audiences or cluster.api_audiences

    def _resolve(self, namespace: str, labels: Labels) -> NamespacePolicy:
        candidates = self._override_index.find(namespace)
        override = next((one for one in candidates if one.namespace_labels <= labels), None)
        return NamespacePolicy(
            override or Override((), frozenset(), self.mode, self.rules, self.tokens),
            self.api_server_token,
            tuple(one for one in self.injections if one.is_for_namespace(namespace, labels)),
            self._exemption_index.find(namespace),
        )
