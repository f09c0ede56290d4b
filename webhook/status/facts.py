"""The facts about an installation that were read from the API server, as far as it allowed that."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from webhook.core.policy.errors import PolicyError
from webhook.core.policy.model import Policy
from webhook.core.webhook_namespaces import Requirement
from webhook.status.probe import ProbeFinding

POD_SELECTOR = "app.kubernetes.io/name=tokenguard"


@dataclass(frozen=True)
class NotRead:
    """In place of a fact that could not be read."""

    reason: str


class PodFacts(NamedTuple):
    """A pod of tokenguard; `reason` says why it is not ready, if that is known.

    `has_log`: a container has started; `is_restarting`: it has ended, and its successor has not started.
    """

    name: str
    is_ready: bool
    reason: str = ""
    has_log: bool = False
    is_restarting: bool = False


class MetricsFacts(NamedTuple):
    """What a replica says of itself: its policy, and when each pod of the self-probe succeeded last.

    `backstop_in_sync` is None if it keeps no exported policies.
    """

    revision: str = ""
    certificate_expiry: dt.datetime | None = None
    probe_successes: Mapping[str, dt.datetime] = {}
    backstop_in_sync: bool | None = None


@dataclass(frozen=True)
class ReplicaFacts:
    """The Deployment: how many pods it wants and has, and why it has not more. `metrics` are those of ready pods.

    `helm_release` is the name of the release if Helm has installed it. `manages_certificates`: the replicas issue their
    certificate; otherwise they mount its Secret, and do not start without it.
    """

    wanted: int
    ready: int
    reason: str = ""
    pods: tuple[PodFacts, ...] = ()
    metrics: Mapping[str, MetricsFacts] = field(default_factory=dict)
    helm_release: str = ""
    manages_certificates: bool = True


class CertificateFacts(NamedTuple):
    """The certificates (PEM) in the TLS Secret; `is_managed`: tokenguard issues them."""

    chain: bytes
    bundle: bytes
    is_managed: bool


class WebhookFacts(NamedTuple):
    """A webhook of a configuration. `rules` are (resource, operation); `target` is where it is called.

    `host` is the name by which its certificate is verified, and `bundle` has the CAs (PEM) that may have signed it.
    """

    name: str
    failure_policy: str
    rules: frozenset[tuple[str, str]]
    namespace_selector: tuple[Requirement, ...]
    has_object_selector: bool
    conditions: tuple[tuple[str, str], ...]
    target: str
    host: str
    bundle: bytes


@dataclass(frozen=True)
class ConfigurationFacts:
    """A webhook configuration: its webhooks by name, and the label by which the installation excludes Namespaces."""

    kind: str
    webhooks: Mapping[str, WebhookFacts]
    opt_out_label: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/tokenguard"


class PolicyFacts(NamedTuple):
    """The policy in the ConfigMap: read, or its errors. `revision` is that of the document, valid or not."""

    revision: str
    policy: Policy | None
    errors: tuple[PolicyError, ...] = ()


class ProbeFacts(NamedTuple):
    """The answers to a probe with the rights of who asks, and where. `is_unlocked`: pods can be created there."""

    namespace: str
    findings: tuple[ProbeFinding, ...]
    is_unlocked: bool = False


class ScanFacts(NamedTuple):
    """The last background scan, and the age in seconds at which it is too old."""

    time: dt.datetime
    max_age: int | None
    unevaluated: int


class BackstopFacts(NamedTuple):
    """The exported admission policies in the cluster: `mode` is `vap` or `vap+map`, `problems` why they differ."""

    mode: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ClusterFacts:
    """Everything that a status is made from; None means that it does not exist.

    `cluster` is the API server's URL, and `context` that of the kubeconfig, empty in a pod. `namespaces` maps every
    namespace to its labels. `now` is by the API server's clock.
    """

    cluster: str
    context: str
    namespace: str
    now: dt.datetime
    replicas: ReplicaFacts | NotRead | None
    certificate: CertificateFacts | NotRead | None
    policy: PolicyFacts | NotRead | None
    configurations: Mapping[str, ConfigurationFacts | NotRead | None]
    namespaces: Mapping[str, Mapping[str, str]] | NotRead
    probe: ProbeFacts | NotRead | None
    scan: ScanFacts | NotRead | None
    backstop: BackstopFacts | NotRead | None

    @property
    def has_ready_replica(self) -> bool:
        """Whether a replica is ready, or this is not known."""
        return isinstance(self.replicas, NotRead) or bool(self.replicas and self.replicas.ready)

    @property
    def needs_two_steps(self) -> bool:
        """Whether replicas have to be ready before the webhooks are installed: without them, pods are rejected."""
        return not self.has_ready_replica and not any(self.configurations.values())

    @property
    def install_command(self) -> str:
        """The command that creates what is missing again, as far as it is known how tokenguard was installed."""
        if isinstance(self.replicas, ReplicaFacts) and self.replicas.helm_release:
            upgrade = f"helm upgrade {self.replicas.helm_release} CHART -n {self.namespace} --reuse-values"
            first, second = "--set webhooks.enabled=false --wait", "--set webhooks.enabled=true"
            return f"{upgrade} {first} && {upgrade} {second}" if self.needs_two_steps else upgrade
        apply = "kubectl apply -k mine"
        if self.needs_two_steps:
            wait = f"kubectl rollout status -n {self.namespace} deployment/tokenguard"
            apply = f"{apply} -l app.kubernetes.io/component!=webhooks && {wait} && {apply}"
        return f"{apply}, where mine is the folder of your kustomization (docs/install.md)"

    @property
    def manages_certificates(self) -> bool:
        """Whether the replicas issue their certificate and write the caBundles; assumed if it is not known."""
        return not isinstance(self.replicas, ReplicaFacts) or self.replicas.manages_certificates

    @property
    def logs_command(self) -> str:
        """The command that prints the logs of all replicas."""
        return f"kubectl logs -n {self.namespace} -l {POD_SELECTOR} --tail=-1"

    @property
    def certificate_fix(self) -> str:
        """Where to look if the certificate or a caBundle is wrong: at who writes them."""
        if self.manages_certificates:
            return f"{self.logs_command} | grep tokenguard-tls"
        return "tokenguard certs status; docs/certificates.md says who writes the caBundle"
