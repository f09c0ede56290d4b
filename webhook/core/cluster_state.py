"""The cluster state that decisions depend on, all in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from webhook.core.selectors import Labels

FALLBACK_API_AUDIENCES = ("https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local")
"""The API server's audiences in clusters set up by kubeadm, kind and the large providers; used if neither
the policy nor the webhook's own token names any."""

DEFAULT_NAMESPACE = "tokenguard"
"""The namespace that tokenguard is installed in by default."""

NO_LABELS: Labels = frozenset()


@dataclass(frozen=True, slots=True)
class ClusterState:
    """The state that decisions depend on.

    `legacy_tokens` maps a namespace to its Secrets of type `kubernetes.io/service-account-token`, and each
    Secret's name to the account that its token is for; `disabled_tokens` is the number of those whose token is marked
    invalid, for a metric. `namespaces` maps a namespace to its labels.
    `automounts` maps (namespace, ServiceAccount) to its `automountServiceAccountToken`, if it has one.
    `api_audiences` are the API server's own, unless the policy names them.
    `own_namespace` is the namespace that tokenguard is installed in.
    """

    legacy_tokens: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    namespaces: Mapping[str, Labels] = field(default_factory=dict)
    automounts: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    api_audiences: tuple[str, ...] = FALLBACK_API_AUDIENCES
    own_namespace: str = DEFAULT_NAMESPACE
    disabled_tokens: int = 0

    def namespace_labels(self, namespace: str) -> Labels:
        """Return the labels of a namespace; none if it isn't known."""
        return self.namespaces.get(namespace, NO_LABELS)
