"""Legacy Secrets in a small cluster, at any point of their retirement."""

import datetime as dt
from typing import Any

from tests.scan.small_cluster import NOW, Object, Small, meta, named_secret, read, spec
from webhook.legacy.metadata import RetirableMetadata
from webhook.legacy.report import LegacyReport
from webhook.legacy.retirable import RefusedUse, RetirementAnalyzer

TODAY = NOW.date()
INVALID = "kubernetes.io/legacy-token-invalid-since"
LAST_USED = "kubernetes.io/legacy-token-last-used"


def day(days_ago: int) -> str:
    return (TODAY - dt.timedelta(days=days_ago)).isoformat()


def secret(name: str, used: int | None = None, created: int = 300, **metadata: Any) -> RetirableMetadata:
    """Return a Secret that was created and last used so many days ago."""
    labels = {LAST_USED: day(used)} if used is not None else {}
    given: Object = {
        "creationTimestamp": f"{day(created)}T00:00:00Z", "uid": f"uid-{name}", "resourceVersion": "7",
        "labels": labels | metadata.pop("labels", {}),
        "annotations": {"kubernetes.io/service-account.name": "app"} | metadata.pop("annotations", {}),
    }  # fmt: skip
    return read(RetirableMetadata, {"metadata": meta(name, **given, **metadata)})


def disabled(
    name: str, days: int, used: int | None = None, before: int | None = None, **metadata: Any
) -> RetirableMetadata:
    """Return a Secret that tokenguard disabled so many days ago, when it was last used `before` days ago."""
    annotations = {
        "tokenguard/disabled-by": "alice", "tokenguard/disabled-at": f"{day(days)}T08:00:00Z",
        "tokenguard/disabled-reason": "wave 1",
        "tokenguard/disabled-last-used": "" if before is None else day(before),
    } | metadata.pop("annotations", {})  # fmt: skip
    return secret(name, used, labels={INVALID: day(days)}, annotations=annotations, **metadata)


def disabled_by_cleaner(name: str, days: int, **metadata: Any) -> RetirableMetadata:
    fields = {"f:metadata": {"f:labels": {f"f:{INVALID}": {}}}}
    manager = {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": fields}
    others = {"manager": "kubectl-create", "operation": "Update", "fieldsV1": {"f:type": {}}}
    return secret(name, labels={INVALID: day(days)}, managedFields=[others, manager], **metadata)


class Cluster:
    """A cluster with these Secrets, in the namespace shop; `pod` and `template` refer to one each."""

    def __init__(self, *secrets: RetirableMetadata, pod: str = "", template: str = "") -> None:
        self.secrets = secrets
        self.small = Small(*secrets)
        if pod:
            self.small.pod("web", spec(container=named_secret(pod)))
        if template:
            self.small.deployment("idle", spec(container=named_secret(template)), replicas=0)

    def report(
        self, after_days: int = 14, refused: dict[str, tuple[RefusedUse, ...]] | None = None, **options: Any
    ) -> LegacyReport:
        scan = self.small.scan(**options)
        analyzer = RetirementAnalyzer(scan, self.secrets, refused or {}, after_days)
        return LegacyReport.of(scan, analyzer.secrets(), after_days)
