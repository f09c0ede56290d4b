"""Objects that decisions depend on and that are not among the manifests: Secrets that pods use, and Namespaces."""

from collections.abc import Iterable, Iterator

from webhook.check.input_files import InputProblem
from webhook.check.report import ManifestEvaluation, NamespacedName
from webhook.core.cluster_state import ClusterState
from webhook.core.formatting import quote
from webhook.core.k8s_types import AnyWorkload, Pod
from webhook.core.manifests import Manifest
from webhook.core.placeholders import placeholder_advice
from webhook.core.pod_context import all_containers
from webhook.core.policy.model import Action, Policy
from webhook.core.rules.legacy_token_reference import RULE
from webhook.core.secret_refs import container_secrets, volume_secrets

_MAX_LABELS = 3
OBJECTS_OPTION = "--objects with the output of 'tokenguard objects'"
"""How to give the Secrets and Namespaces of a cluster."""


class MissingSecrets:
    """Collects the names of Secrets that evaluated objects refer to and that are not among the manifests."""

    def __init__(self, manifests: Iterable[Manifest], policy: Policy, cluster: ClusterState, namespace: str) -> None:
        """Note the Secrets among the manifests; `namespace` is that of objects that name none."""
        self._policy = policy
        self._cluster = cluster
        self._known = {
            (manifest.namespace or namespace, manifest.name)
            for manifest in manifests
            if manifest.group_kind == ("", "Secret")
        }
        self._known |= {(within, name) for within, names in cluster.legacy_tokens.items() for name in names}
        self._known |= {("", name) for _, name in self._known}  # where the namespace of a pod is unknown
        self._missing: dict[NamespacedName, list[ManifestEvaluation]] = {}

    @property
    def users(self) -> dict[NamespacedName, list[ManifestEvaluation]]:
        """The objects that use each of them, sorted by namespace and name."""
        return dict(sorted(self._missing.items()))

    def add(self, evaluation: ManifestEvaluation, obj: object, namespace: str) -> None:
        """Add those that an object's pods use, unless the rule about legacy Secrets is off in the namespace."""
        for name in self.used_by(obj, namespace):
            self._missing.setdefault(name, []).append(evaluation)

    def used_by(self, obj: object, namespace: str) -> list[NamespacedName]:
        """Return those that an object's pods use; none if the rule about legacy Secrets is off in the namespace."""
        pod = obj.template if isinstance(obj, AnyWorkload) else obj
        within = self._policy.in_namespace(namespace, self._cluster.namespace_labels(namespace))
        if not isinstance(pod, Pod) or within.rules[RULE.name] is Action.OFF:
            return []
        return sorted({(namespace, name) for name in _used_secrets(pod) if name} - self._known)


def _used_secrets(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.volumes or ():
        yield from (name for _, name, _ in volume_secrets(volume))
    for ref in all_containers(pod.spec):
        yield from (name for _, name, _ in container_secrets(ref.container))


def missing_namespaces(
    evaluations: Iterable[ManifestEvaluation], policy: Policy, cluster: ClusterState
) -> Iterator[InputProblem]:
    """Yield a warning about each namespace whose labels matter and are unknown, at the first object in it."""
    known = {"", *cluster.namespaces}
    for evaluation in evaluations:
        namespace = evaluation.namespace
        if namespace in known or not evaluation.is_evaluated or placeholder_advice(namespace):
            continue
        known.add(namespace)
        if labels := [f"{key}={value}" for key, value in sorted(policy.labels_that_matter(namespace))]:
            shown = ", ".join(map(quote, labels[:_MAX_LABELS]))
            more = f" and {len(labels) - _MAX_LABELS} more" if len(labels) > _MAX_LABELS else ""
            what = f"the labels of namespace {quote(namespace)} are unknown, and the policy selects by {shown}{more}"
            yield evaluation.problem(f"{what}; add the Namespace, or use {OBJECTS_OPTION}")
