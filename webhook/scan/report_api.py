"""The kinds of policy reports: of the Kubernetes Policy Working Group, and of OpenReports, their successor."""

from typing import NamedTuple

REPORT_NAME = "tokenguard"
"""The name of the report of each namespace, and of the cluster's."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "tokenguard"}
"""The label of all of them."""


class ReportApi(NamedTuple):
    """One version of one API group with policy reports, and the kind of those in a namespace."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """The `apiVersion`."""
        return f"{self.group}/{self.version}"

    @property
    def cluster_kind(self) -> str:
        """The kind of reports on cluster-scoped objects."""
        return f"Cluster{self.kind}"

    def path(self, namespace: str) -> str:
        """Return the path of the reports of a namespace; empty: the cluster's."""
        kind = self.kind if namespace else self.cluster_kind
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"/apis/{self.api_version}{within}/{kind.lower()}s"

    @property
    def list_paths(self) -> tuple[str, str]:
        """The paths that list the reports of all namespaces, and the cluster's."""
        return f"/apis/{self.api_version}/{self.kind.lower()}s", self.path("")


WG_POLICY = ReportApi("wgpolicyk8s.io", "v1alpha2", "PolicyReport")
OPEN_REPORTS = ReportApi("openreports.io", "v1alpha1", "Report")
REPORT_APIS = (WG_POLICY, OPEN_REPORTS)
