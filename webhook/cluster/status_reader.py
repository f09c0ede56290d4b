"""Reads the facts of a status with the caller's permissions, and reports what could not be read."""

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from webhook.cluster.api_types import NAMESPACES, ConfigMap, Page
from webhook.cluster.backstop import BackstopMode, backstop_state
from webhook.cluster.listing import list_objects
from webhook.cluster.self_probe import run_probe
from webhook.cluster.self_review import may_probe, user_name
from webhook.cluster.status_types import (
    CertificateSecret,
    Deployment,
    ReplicaPod,
    StoredConfiguration,
    Webhook,
)
from webhook.cluster.transport import NOT_FOUND, ApiError, Transport
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.configmap import KEY
from webhook.core.policy.errors import PolicyError
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.core.selectors import labels
from webhook.core.snapshot import Snapshot
from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import is_created_here
from webhook.scan.evaluation_result import Admission
from webhook.scan.status import CONFIGMAP, MAX_AGE_KEY, ScanStatus
from webhook.scan.status import KEY as SCAN_KEY
from webhook.status.facts import (
    POD_SELECTOR,
    BackstopFacts,
    CertificateFacts,
    ClusterFacts,
    ConfigurationFacts,
    MetricsFacts,
    NotRead,
    PodFacts,
    PolicyFacts,
    ProbeFacts,
    ReplicaFacts,
    ScanFacts,
    WebhookFacts,
)
from webhook.status.probe import PROBE_NAMESPACE, is_unlocked
from webhook.status.webhooks import MUTATING, VALIDATING

_REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
_MAX_SCRAPED_REPLICAS = 10
_SAMPLE = re.compile(r"^tokenguard_(\w+?)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)
_FORBIDDEN = re.compile(r'(HTTP 403:) .* is forbidden: User ".*" cannot (\w+) resource "([\w./]+)".*', re.DOTALL)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
T = TypeVar("T")


def read_facts(transport: Transport, namespace: str, probe_namespace: str | None, *, probe: bool) -> ClusterFacts:
    """Read everything about the installation in a namespace. Raises `ApiError` if the API server cannot be reached.

    With `probe`, the pods of the self-probe are created by dry run, in `probe_namespace` or, without one, in the one of
    the replicas' probes if it exists, else in `default`.
    """
    policy = _attempt(lambda: _policy(transport, namespace))
    namespaces = _attempt(lambda: _namespaces(transport))
    known_namespaces: Mapping[str, Mapping[str, str]] | NotRead = namespaces if namespaces is not None else {}
    skipped = NotRead("--no-probe")
    where = probe_namespace or _probe_namespace(known_namespaces)
    return ClusterFacts(
        cluster=transport.address,
        context=transport.context,
        namespace=namespace,
        now=transport.now(),
        replicas=_attempt(lambda: _replicas(transport, namespace)),
        certificate=_attempt(lambda: _certificate(transport, namespace)),
        policy=policy,
        configurations={kind: _attempt(partial(_configuration, transport, kind)) for kind in (MUTATING, VALIDATING)},
        namespaces=known_namespaces,
        probe=_attempt(lambda: _probe(transport, where, policy, known_namespaces, namespace)) if probe else skipped,
        scan=_attempt(lambda: _scan(transport, namespace)),
        backstop=_attempt(lambda: _backstop(transport, policy)),
    )


def _attempt(read: Callable[[], T | NotRead | None]) -> T | NotRead | None:
    """Return what `read` returns, None if it does not exist, or why it could not be read."""
    try:
        return read()
    except ApiError as error:
        if error.unreachable or error.status == 401:
            raise
        return None if error.status == NOT_FOUND else NotRead(_FORBIDDEN.sub(r"\1 you may not \2 \3", str(error)))


def _get(transport: Transport, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> T:
    body = transport.get(path, query or {}, "application/json")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError):  # its message may quote the content
        raise ApiError(0, f"cannot decode the API server's answer about {path}") from None


def _replicas(transport: Transport, namespace: str) -> ReplicaFacts:
    deployment = _get(transport, f"/apis/apps/v1/namespaces/{namespace}/deployments/tokenguard", Deployment)
    reasons = [
        condition.message
        for condition in deployment.status.conditions or ()
        if condition.type == "ReplicaFailure" and condition.status == "True"
    ]
    try:
        pods = _pods(transport, namespace)
    except ApiError as error:
        pods, reasons = (), [*reasons, f"pods not read: {error}"]
    metrics = dict(_metrics(transport, namespace, [pod.name for pod in pods if pod.is_ready]))
    helm_release = _helm_release(deployment.metadata.labels or {})
    return ReplicaFacts(
        deployment.spec.replicas,
        deployment.status.ready_replicas,
        "; ".join(reasons),
        pods,
        metrics,
        helm_release,
        deployment.manages_certificates,
    )


def _helm_release(labels: Mapping[str, str]) -> str:
    is_helm = labels.get("app.kubernetes.io/managed-by") == "Helm"
    return labels.get("app.kubernetes.io/instance", "") if is_helm else ""


def _pods(transport: Transport, namespace: str) -> tuple[PodFacts, ...]:
    query = {"labelSelector": POD_SELECTOR}
    page = _get(transport, f"/api/v1/namespaces/{namespace}/pods", Page[ReplicaPod], query)
    return tuple(_pod(pod) for pod in page.items or ())


def _pod(pod: ReplicaPod) -> PodFacts:
    """Return the facts of a pod. Its status says why it is not ready: no container's log and no Event is read."""
    name, containers = pod.metadata.name, pod.status.container_statuses or ()
    conditions = {condition.type: condition for condition in pod.status.conditions or ()}
    ready, scheduled = conditions.get("Ready"), conditions.get("PodScheduled")
    if ready and ready.status == "True":
        return PodFacts(name, is_ready=True)
    unscheduled = str(scheduled) if scheduled and scheduled.status == "False" else ""
    reasons = (*(container.reason for container in containers), unscheduled, ready.message if ready else "")
    restarted = any(container.state.waiting and container.is_started for container in containers)
    return PodFacts(
        name,
        is_ready=False,
        reason=next(filter(None, reasons), pod.status.phase),
        has_log=any(container.is_started for container in containers),
        is_restarting=restarted,
    )


def _metrics(transport: Transport, namespace: str, pods: list[str]) -> Iterator[tuple[str, MetricsFacts]]:
    """Yield what ready replicas say, through the API server's proxy; most users may not use that."""
    for pod in pods[:_MAX_SCRAPED_REPLICAS]:
        path = f"/api/v1/namespaces/{namespace}/pods/https:{pod}:8443/proxy/metrics"
        try:
            yield pod, parse_metrics(transport.get(path, {}, "text/plain").decode(errors="replace"))
        except ApiError:
            return  # the others cannot be asked either


def parse_metrics(exposition: str) -> MetricsFacts:
    """Return what a replica's metrics say."""
    samples = [(name, dict(_LABEL.findall(text)), value) for name, text, value in _SAMPLE.findall(exposition)]
    revisions = [sample_labels.get("revision", "") for name, sample_labels, _ in samples if name == "policy_info"]
    expiries = [float(value) for name, _, value in samples if name == "certificate_expiry_timestamp_seconds"]
    successes = {
        sample_labels.get("probe", ""): dt.datetime.fromtimestamp(float(value), dt.UTC)
        for name, sample_labels, value in samples
        if name == "probe_last_success_timestamp_seconds"
    }
    expiry = dt.datetime.fromtimestamp(expiries[0], dt.UTC) if expiries else None
    in_sync = [float(value) == 1 for name, _, value in samples if name == "backstop_in_sync"]
    return MetricsFacts(revisions[0] if revisions else "", expiry, successes, in_sync[0] if in_sync else None)


def _certificate(transport: Transport, namespace: str) -> CertificateFacts:
    data = _get(transport, f"/api/v1/namespaces/{namespace}/secrets/tokenguard-tls", CertificateSecret).data
    chain, bundle = (data.chain, data.bundle) if data else (b"", b"")
    cas = parse_certificates(bundle)
    return CertificateFacts(chain, bundle, bool(cas) and is_created_here(cas[0]))


def _policy(transport: Transport, namespace: str) -> PolicyFacts:
    configmap = _get(transport, f"/api/v1/namespaces/{namespace}/configmaps/token-policy", ConfigMap)
    document = (configmap.data or {}).get(KEY)
    if document is None:
        return PolicyFacts("", None, (PolicyError("", 0, f"the ConfigMap has no key {KEY}"),))
    policy = read_policy(document.encode())
    revision = hashlib.sha256(document.encode()).hexdigest()[:12]
    return PolicyFacts(revision, policy) if isinstance(policy, Policy) else PolicyFacts(revision, None, tuple(policy))


def _configuration(transport: Transport, kind: str) -> ConfigurationFacts:
    stored = _get(transport, f"{_REGISTRATION}/{kind.lower()}s/tokenguard", StoredConfiguration)
    webhooks = {webhook.name: _webhook(webhook) for webhook in stored.webhooks or ()}
    return ConfigurationFacts(kind, webhooks, stored.opt_out_label)


def _webhook(webhook: Webhook) -> WebhookFacts:
    client, service = webhook.client_config, webhook.client_config.service
    host = f"{service.name}.{service.namespace}.svc" if service else urlsplit(client.url).hostname or ""
    return WebhookFacts(
        name=webhook.name,
        failure_policy=webhook.failure_policy,
        rules=frozenset(
            (resource, operation)
            for rule in webhook.rules or ()
            for resource in rule.resources or ()
            for operation in rule.operations or ()
        ),
        namespace_selector=webhook.namespace_selector.requirements if webhook.namespace_selector else (),
        has_object_selector=bool(webhook.object_selector and webhook.object_selector.requirements),
        conditions=tuple((condition.name, condition.expression) for condition in webhook.match_conditions or ()),
        target=f"{service.namespace}/{service.name}" if service else "",
        host=host,
        bundle=client.ca_bundle,
    )


def _namespaces(transport: Transport) -> Mapping[str, Mapping[str, str]]:
    return {
        namespace.metadata.name: namespace.metadata.labels or {} for namespace in list_objects(NAMESPACES, transport)
    }


def _probe_namespace(namespaces: Mapping[str, Mapping[str, str]] | NotRead) -> str:
    return PROBE_NAMESPACE if isinstance(namespaces, NotRead) or PROBE_NAMESPACE in namespaces else "default"


def _probe(
    transport: Transport,
    where: str,
    policy: PolicyFacts | NotRead | None,
    namespaces: Mapping[str, Mapping[str, str]] | NotRead,
    own_namespace: str,
) -> ProbeFacts | NotRead | None:
    if not isinstance(policy, PolicyFacts) or policy.policy is None:
        return None
    if not may_probe(transport, where):
        return NotRead(f"no right to create pods in namespace {where}")
    known = {} if isinstance(namespaces, NotRead) else {name: labels(of) for name, of in namespaces.items()}
    cluster = ClusterState(namespaces=known, own_namespace=own_namespace)
    results = run_probe(transport, where, Snapshot(policy.policy, cluster), user_name(transport))
    return ProbeFacts(
        where, tuple(finding for finding, _ in results), any(is_unlocked(answer) for _, answer in results)
    )


def _scan(transport: Transport, namespace: str) -> ScanFacts | None:
    data = _get(transport, f"/api/v1/namespaces/{namespace}/configmaps/{CONFIGMAP}", ConfigMap).data or {}
    if SCAN_KEY not in data:
        return None
    try:
        status = msgspec.json.decode(data[SCAN_KEY], type=ScanStatus)
    except msgspec.DecodeError as error:
        raise ApiError(0, f"cannot decode {SCAN_KEY} in ConfigMap {CONFIGMAP}: {error}") from error
    max_age = data.get(MAX_AGE_KEY, "")
    unevaluated = status.unevaluated_pods.get(Admission.NOT_EVALUATED, 0)
    return ScanFacts(status.time, int(max_age) if max_age.isdecimal() else None, unevaluated)


def _backstop(transport: Transport, policy: PolicyFacts | NotRead | None) -> BackstopFacts | None:
    state = backstop_state(transport)
    if state.mode is BackstopMode.OFF:
        return None
    # of an invalid policy nothing was exported; the last valid one is not known here
    is_valid = isinstance(policy, PolicyFacts) and policy.policy
    revision = policy.revision if isinstance(policy, PolicyFacts) and is_valid else min(state.revisions, default="")
    return BackstopFacts(state.mode, tuple(state.problems(revision)))
