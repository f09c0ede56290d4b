"""The plan of a migration: for each namespace with legacy Secrets, what has to change there."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from webhook.core.lifetimes import DEFAULT_EXPIRATION
from webhook.core.policy.model import Policy
from webhook.core.selectors import Labels
from webhook.migrate.workload_plan import AccountMigration, PatchFile, WorkloadMigration, plan_account, plan_workload
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.evaluator import PolicyEvaluator
from webhook.scan.options import AudienceSource
from webhook.scan.report import AccountWithTokens, LegacySecret, ScannedWorkload, ScanReport

ReadObject = Callable[[ScannedWorkload], bytes | None]
"""Returns a workload as JSON, or None if it cannot be read."""


class NamespaceMigration(Struct, frozen=True):
    """What has to change in a namespace.

    New tokens are issued for `audience`, which is only `assumed` if nothing names the API server's, and are valid for
    `lifetime` seconds. `accounts_with_tokens` says what accounts may do, as far as it is known. `scanned` is the number
    of workloads that were read there. `unused_from` has the Secrets about which it is too early to tell, and the day
    from which each counts as unused.
    """

    namespace: str
    workloads: tuple[WorkloadMigration, ...]
    accounts: tuple[AccountMigration, ...]
    secrets: tuple[LegacySecret, ...]
    audience: str
    assumed: bool
    lifetime: int
    accounts_with_tokens: Mapping[str, AccountWithTokens]
    labels: Labels
    scanned: int
    unused_from: Mapping[str, dt.date]

    @property
    def patches(self) -> tuple[PatchFile, ...]:
        """The patches of workloads and accounts."""
        workloads = (workload.patch for workload in self.workloads)
        return (*filter(None, workloads), *(account.patch for account in self.accounts))

    @property
    def is_done(self) -> bool:
        """Whether nothing refers to a legacy Secret."""
        return not (self.workloads or self.accounts)

    @property
    def beyond_patches(self) -> int:
        """How many workloads need more than their patch."""
        return sum(bool(workload.plan.manual or workload.seen or workload.patch is None) for workload in self.workloads)


class Migration(Struct, frozen=True):
    """The plan of a cluster, or of manifests.

    `is_complete` says that everything could be read that may name a legacy Secret. `not_covered` are the namespaces
    with legacy Secrets of which no workload was among the manifests.
    """

    namespaces: tuple[NamespaceMigration, ...]
    is_complete: bool
    from_manifests: bool = False
    not_covered: tuple[NamespaceMigration, ...] = ()


def plan_migration(
    report: ScanReport, snapshot: ClusterSnapshot, policy: Policy, read: ReadObject
) -> tuple[NamespaceMigration, ...]:
    """Return the plan of each namespace with legacy Secrets, sorted; `report` is about `policy` and `snapshot`."""
    cluster = snapshot.cluster()
    evaluator = PolicyEvaluator(policy, cluster, report.time, snapshot.history.scopes)
    secrets: dict[str, list[LegacySecret]] = {}
    for secret in report.legacy_secrets:
        secrets.setdefault(secret.namespace, []).append(secret)
    naming = {
        (secret.namespace, reference.group, reference.kind, reference.name)
        for secret in report.legacy_secrets
        for reference in (*secret.references, *secret.image_pulls)
    }
    workloads: dict[str, list[WorkloadMigration]] = {}
    for workload in report.workloads:
        if (workload.namespace, workload.group, workload.kind, workload.name) in naming:
            planned = plan_workload(workload, read(workload), evaluator, policy.workloads)
            if planned:
                workloads.setdefault(workload.namespace, []).append(planned)
    scanned = Counter(workload.namespace for workload in report.workloads)
    accounts: dict[str, list[AccountMigration]] = {}
    for account in snapshot.accounts:
        namespace = account.metadata.namespace or ""
        if namespace in secrets and (listing := plan_account(account, cluster.legacy_tokens.get(namespace, {}))):
            accounts.setdefault(namespace, []).append(listing)
    return tuple(
        NamespaceMigration(
            namespace,
            tuple(workloads.get(namespace, ())),
            tuple(sorted(accounts.get(namespace, ()), key=lambda account: account.name)),
            tuple(namespace_secrets),
            policy.api_audiences(cluster)[0],
            report.policy.api_audiences.source is AudienceSource.ASSUMED,
            min(
                DEFAULT_EXPIRATION,
                policy.in_namespace(namespace, cluster.namespace_labels(namespace)).tokens.max_expiration_seconds,
            ),
            {account.name: account for account in report.accounts_with_tokens if account.namespace == namespace},
            cluster.namespace_labels(namespace),
            scanned[namespace],
            _unused_from(namespace_secrets, report),
        )
        for namespace, namespace_secrets in sorted(secrets.items())
    )


def _unused_from(secrets: Iterable[LegacySecret], report: ScanReport) -> Mapping[str, dt.date]:
    """Return when Secrets without a recorded use count as unused: those for which that is still to come."""
    today, wait = report.time.astimezone(dt.UTC).date(), dt.timedelta(days=report.unused_days)
    never_used = ((secret.name, secret.unused_since) for secret in secrets if not secret.last_used)
    return {name: since + wait for name, since in never_used if since and since + wait > today}
