"""What a scan knows about a cluster, RBAC permissions included, before it evaluates workloads and pods."""

import datetime as dt
from dataclasses import dataclass, field

from webhook.core.cluster_state import DEFAULT_NAMESPACE, FALLBACK_API_AUDIENCES, ClusterState
from webhook.core.selectors import Labels
from webhook.core.token_objects import CSIDriver, ServiceAccount
from webhook.scan.api_types import RBAC_DEFAULTS, Binding, LegacyTokenSecret, RbacSubject
from webhook.scan.options import ApiAudiences, AudienceSource
from webhook.scan.pod_admission import AdmissionHistory
from webhook.scan.report import UnreadResource

_ACCOUNTS = "system:serviceaccounts"
_EVERYBODY = frozenset({_ACCOUNTS, "system:authenticated"})
_USER = "system:serviceaccount:"


class Bindings:
    """The ServiceAccounts that RoleBindings and ClusterRoleBindings name, by name or by a group.

    The permissions that Kubernetes gives to all accounts (`system:discovery` and similar ones) don't count.
    """

    def __init__(self) -> None:
        self._accounts: set[tuple[str, str]] = set()
        self._namespaces: set[str] = set()
        self._everybody = False

    def add(self, binding: Binding) -> None:
        """Add a binding."""
        meta = binding.metadata
        is_default = meta.labels.bootstrapping == RBAC_DEFAULTS
        for subject in binding.subjects or ():
            self._add(subject, meta.namespace or "", is_default=is_default)

    def _add(self, subject: RbacSubject, namespace: str, *, is_default: bool) -> None:
        name = subject.name or ""
        if subject.kind == "ServiceAccount":
            self._accounts.add((subject.namespace or namespace, name))
        elif subject.kind == "User" and name.startswith(_USER):
            within, _, account = name.removeprefix(_USER).partition(":")
            self._accounts.add((within, account))
        elif subject.kind == "Group" and name in _EVERYBODY:
            self._everybody = self._everybody or not is_default
        elif subject.kind == "Group" and name.startswith(f"{_ACCOUNTS}:"):
            self._namespaces.add(name.removeprefix(f"{_ACCOUNTS}:"))

    def grant_permissions_to(self, namespace: str, account: str) -> bool:
        """Return whether any binding names the account."""
        return self._everybody or namespace in self._namespaces or (namespace, account) in self._accounts


@dataclass
class ClusterSnapshot:
    """What was read. `bindings` is None if they could not be read.

    `used_copies` are Secrets of other types that contain a used legacy token. `all_namespaces` says that the cluster
    has no others than `namespaces`. `issuer` is the API server's issuer of tokens, which is its audience by default.
    `given_audiences` are those of the command line, `token_audiences` those of the token that the scan is made with.
    """

    namespaces: dict[str, Labels] = field(default_factory=dict)
    all_namespaces: bool = True
    secrets: list[LegacyTokenSecret] = field(default_factory=list)
    used_copies: list[LegacyTokenSecret] = field(default_factory=list)
    accounts: list[ServiceAccount] = field(default_factory=list)
    csi_drivers: list[CSIDriver] = field(default_factory=list)
    bindings: Bindings | None = field(default_factory=Bindings)
    tracked_since: dt.date | None = None
    history: AdmissionHistory = field(default_factory=AdmissionHistory)
    issuer: str = ""
    given_audiences: tuple[str, ...] = ()
    token_audiences: tuple[str, ...] = ()
    own_namespace: str = DEFAULT_NAMESPACE
    unread: list[UnreadResource] = field(default_factory=list)

    @property
    def api_audiences(self) -> ApiAudiences:
        """The API server's audiences, if the policy names none."""
        if self.given_audiences:
            return ApiAudiences(self.given_audiences, AudienceSource.GIVEN)
        if self.token_audiences:
            return ApiAudiences(self.token_audiences, AudienceSource.TOKEN)
        usual = (self.issuer, *FALLBACK_API_AUDIENCES) if self.issuer else FALLBACK_API_AUDIENCES
        return ApiAudiences(tuple(dict.fromkeys(usual)), AudienceSource.ASSUMED)

    def cluster(self) -> ClusterState:
        """Return the cluster state that evaluations use."""
        tokens: dict[str, dict[str, str]] = {}
        for secret in self.secrets:
            meta = secret.metadata
            tokens.setdefault(meta.namespace or "", {})[meta.name or ""] = secret.account
        automounts = {
            (account.metadata.namespace or "", account.metadata.name or ""): account.automount_service_account_token
            for account in self.accounts
            if account.automount_service_account_token is not None
        }
        return ClusterState(tokens, self.namespaces, automounts, self.api_audiences.names, self.own_namespace)

    def listed(self) -> dict[tuple[str, str], list[str]]:
        """Return the accounts that list a Secret, by its namespace and name."""
        found: dict[tuple[str, str], list[str]] = {}
        for account in self.accounts:
            meta = account.metadata
            for secret in account.secrets or ():
                found.setdefault((meta.namespace or "", secret.name or ""), []).append(meta.name or "")
        return found
