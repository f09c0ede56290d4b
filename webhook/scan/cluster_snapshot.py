"""What a scan knows about a cluster, RBAC permissions included, before it evaluates workloads and pods."""

import datetime as dt
from dataclasses import dataclass, field

from webhook.core.cluster_state import DEFAULT_NAMESPACE, FALLBACK_API_AUDIENCES, ClusterState
from webhook.core.selectors import Labels
from webhook.core.token_objects import CSIDriver
from webhook.scan.api_types import LegacyTokenSecret, ScannedAccount
from webhook.scan.options import ApiAudiences, AudienceSource
from webhook.scan.pod_admission import AdmissionHistory
from webhook.scan.rbac import Grant, Permissions
from webhook.scan.report import UnreadResource


@dataclass
class ClusterSnapshot:
    """What was read. `permissions` is None if roles or bindings could not be read.

    `secrets_read` is False if legacy Secrets could be read in no namespace. `used_copies` are Secrets of other types
    that contain a used legacy token. `all_namespaces` says that the cluster has no others than `namespaces`. `issuer`
    is the API server's issuer of tokens, which is its audience by default. `given_audiences` are those of the command
    line, `token_audiences` those of the token that the scan is made with.
    """

    namespaces: dict[str, Labels] = field(default_factory=dict)
    all_namespaces: bool = True
    secrets: list[LegacyTokenSecret] = field(default_factory=list)
    secrets_read: bool = True
    used_copies: list[LegacyTokenSecret] = field(default_factory=list)
    accounts: list[ScannedAccount] = field(default_factory=list)
    csi_drivers: list[CSIDriver] = field(default_factory=list)
    permissions: Permissions | None = field(default_factory=Permissions)
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

    def grants_of(self, namespace: str, account: str) -> tuple[Grant, ...] | None:
        """Return what an account may do, the most dangerous first; None if that is not known."""
        return self.permissions.of(namespace, account) if self.permissions else None

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
        accounts: dict[tuple[str, str], list[str]] = {}
        for account in self.accounts:
            meta = account.metadata
            for secret in account.secrets or ():
                accounts.setdefault((meta.namespace or "", secret.name or ""), []).append(meta.name or "")
        return accounts
