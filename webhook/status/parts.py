"""Whether the parts of an installation besides the webhook configurations are as they should be."""

from collections.abc import Iterator

from webhook.core.cluster_state import DEFAULT_NAMESPACE
from webhook.core.decision import INVALID_POLICY
from webhook.core.formatting import counted, listing, plain
from webhook.core.policy.model import Mode
from webhook.status.certificate import certificate_row
from webhook.status.facts import (
    POD_SELECTOR,
    ClusterFacts,
    ConfigurationFacts,
    NotRead,
    PolicyFacts,
    ReplicaFacts,
)
from webhook.status.probe import PROBE_NAMESPACE, ProbeResult
from webhook.status.report import RowState, StatusProblem, StatusReport, StatusRow, build_row, unread_row
from webhook.status.webhooks import MUTATING, VALIDATING, configuration_row, names_of, namespaces_row

_MAX_LISTED = 5
_ON_THE_WAY = ("replicas", "certificate", "mutating", "validating")
"""The parts through which a dry run passes: a problem of one is the likely cause of a wrong answer."""


def evaluate_status(facts: ClusterFacts) -> StatusReport:
    """Return the status that follows from the facts; a single row if nothing of tokenguard is there."""
    missing = _not_installed(facts)
    rows = (missing,) if missing else _rows(facts)
    return StatusReport(facts.cluster, facts.context, facts.now, facts.namespace, rows)


def _rows(facts: ClusterFacts) -> tuple[StatusRow, ...]:
    return (
        replicas_row(facts),
        certificate_row(facts),
        policy_row(facts),
        configuration_row(facts, MUTATING),
        configuration_row(facts, VALIDATING),
        namespaces_row(facts),
        probe_row(facts),
        backstop_row(facts),
        scan_row(facts),
    )


def _not_installed(facts: ClusterFacts) -> StatusRow | None:
    """Return the only row if nothing of tokenguard is in the namespace, and no webhook calls it there."""
    configurations = facts.configurations.values()
    webhooks = [
        hook
        for configuration in configurations
        if isinstance(configuration, ConfigurationFacts)
        for hook in configuration.webhooks.values()
    ]
    targets = sorted({hook.target for hook in webhooks if hook.target})
    if (
        facts.replicas is not None
        or facts.policy is not None
        or any(isinstance(configuration, NotRead) for configuration in configurations)
        or f"{facts.namespace}/tokenguard" in targets
    ):
        return None
    text = f"tokenguard is not installed in namespace {facts.namespace}"
    if targets:
        other = targets[0].partition("/")[0]
        problem = StatusProblem(
            f"{text}: its webhook configurations call Service {targets[0]}",
            f"tokenguard status --own-namespace {other}",
        )
    else:
        problem = StatusProblem(f"{text}; if it is in another one: --own-namespace", "see docs/install.md")
    return build_row("installed", "no", (problem,))


def replicas_row(facts: ClusterFacts) -> StatusRow:
    """Return the row of the Deployment and its pods."""
    replicas, name = facts.replicas, "replicas"
    if isinstance(replicas, NotRead):
        return unread_row(name, replicas.reason)
    if replicas is None:
        problem = StatusProblem(
            f"there is no Deployment tokenguard in namespace {facts.namespace}", facts.install_command
        )
        return build_row(name, "no Deployment", (problem,))
    summary = f"{replicas.ready} of {replicas.wanted} ready"
    if replicas.ready >= replicas.wanted > 0:
        return build_row(name, summary)
    if replicas.wanted == 0:
        scale = f"kubectl scale -n {facts.namespace} deployment/tokenguard --replicas=2"
        return build_row(name, summary, (StatusProblem("no replica: the Deployment is scaled to 0", scale),))
    reasons = [*_unready_reasons(replicas)]
    why = f" ({'; '.join(map(plain, reasons[:_MAX_LISTED]))})" if reasons else ""
    missing = counted(replicas.wanted - replicas.ready, "replica")
    text = f"{missing} of {replicas.wanted} not ready{why}" if replicas.ready else f"no replica is ready{why}"
    needed = () if replicas.manages_certificates else ("certificate",)
    problem = StatusProblem(
        text, _replica_fix(replicas, facts.namespace), is_note=replicas.ready > 0, depends_on=needed
    )
    return build_row(name, summary, (problem,))


def _unready_reasons(replicas: ReplicaFacts) -> Iterator[str]:
    """Yield why pods are missing or not ready, each reason once."""
    if replicas.reason:
        yield replicas.reason
    names: dict[str, list[str]] = {}
    for pod in replicas.pods:
        if not pod.is_ready:
            names.setdefault(pod.reason or "not ready", []).append(pod.name)
    for reason, pods in names.items():
        yield f"{names_of(pods)}: {reason}"


def _replica_fix(replicas: ReplicaFacts, namespace: str) -> str:
    """Return the command that shows why a pod is missing, does not start, or is not ready."""
    pod = next((pod for pod in replicas.pods if not pod.is_ready), None)
    if pod is None:
        return f"kubectl describe replicasets,pods -n {namespace} -l {POD_SELECTOR}"
    if pod.has_log:
        return f"kubectl logs -n {namespace} {pod.name}{' --previous' if pod.is_restarting else ''}"
    return f"kubectl describe pod -n {namespace} {pod.name}"


def policy_row(facts: ClusterFacts) -> StatusRow:
    """Return the row of the policy: in the ConfigMap, and in force."""
    stored, name, configmap = facts.policy, "policy", f"ConfigMap {facts.namespace}/token-policy"
    if isinstance(stored, NotRead):
        return unread_row(name, stored.reason)
    if stored is None:
        problem = StatusProblem(
            f"{configmap} does not exist: the last valid policy, if any, stays in force", facts.install_command
        )
        return build_row(name, "none", (problem,))
    if stored.policy is None:
        first = plain(str(stored.errors[0])) if stored.errors else INVALID_POLICY
        more = f" (and {len(stored.errors) - 1} more)" if len(stored.errors) > 1 else ""
        fix = (
            f"kubectl get configmap token-policy -n {facts.namespace} -o yaml | tokenguard policy validate -, "
            "and apply a corrected policy"
        )
        text = f"{configmap} is invalid: {first}{more}; the last valid policy, if any, stays in force"
        return build_row(name, f"{stored.revision}, invalid", (StatusProblem(text, fix),))
    problems = [*_mode_problems(stored), *_revision_problems(facts, stored.revision)]
    return build_row(name, f"{stored.revision}, mode {stored.policy.mode}", tuple(problems))


def _mode_problems(stored: PolicyFacts) -> Iterator[StatusProblem]:
    policy = stored.policy
    if policy is None:
        return
    if policy.mode is not Mode.ENFORCE:
        effect = "only warns" if policy.mode is Mode.WARN else "only records"
        yield StatusProblem(
            f"mode is {policy.mode}: the policy {effect}, and denies and patches nothing",
            "set mode: enforce in your policy.yaml and apply it; docs/rollout.md says what to check before",
        )
    weaker = [override for override in policy.overrides if override.mode is not Mode.ENFORCE]
    if weaker and policy.mode is Mode.ENFORCE:
        globs = listing([glob for override in weaker for glob in override.namespaces])
        text = f"{counted(len(weaker), 'override')} without mode enforce, for namespaces {globs}"
        yield StatusProblem(text, is_note=True)


def _revision_problems(facts: ClusterFacts, revision: str) -> Iterator[StatusProblem]:
    metrics = facts.replicas.metrics if isinstance(facts.replicas, ReplicaFacts) else {}
    others = {pod: replica.revision for pod, replica in metrics.items() if replica.revision not in {"", revision}}
    for pod, other in sorted(others.items())[:_MAX_LISTED]:
        fix = f"kubectl logs -n {facts.namespace} {pod}"
        yield StatusProblem(f"replica {pod} has policy {other} in force, not {revision}", fix)


def probe_row(facts: ClusterFacts) -> StatusRow:
    """Return the row of the probe: what the API server answered now, and when the replicas' own succeeded last."""
    probe, name = facts.probe, "probe"
    last = _last_success(facts)
    if probe is None or isinstance(probe, NotRead):
        reason = "no valid policy is known" if probe is None else probe.reason
        summary = "; ".join(filter(None, (last, f"not probed now: {reason}")))
        if _rejects_pods(facts):
            why = "no replica is ready, and the failurePolicy of the webhook for pods is Fail"
            return build_row(name, summary, (_blocked(why, facts),))
        return StatusRow(name, summary, RowState.OK if last else RowState.UNKNOWN)
    problems: list[StatusProblem] = []
    revision = facts.policy.revision if isinstance(facts.policy, PolicyFacts) else ""
    other_policy = ("policy",) if any(_revision_problems(facts, revision)) else ()
    for finding in probe.findings:
        text = f"dry run in namespace {probe.namespace}: pod {finding.pod}: {finding.reason}"
        if finding.result is ProbeResult.UNREACHABLE:
            problems[:0] = [] if any(problem.blocks_pods for problem in problems) else [_blocked(text, facts)]
        elif finding.result is ProbeResult.NOT_ENFORCED:
            problems.append(StatusProblem(text, facts.logs_command, depends_on=(*_ON_THE_WAY, *other_policy)))
        elif finding.reason:
            problems.append(StatusProblem(text, is_note=True))
    if probe.is_unlocked and probe.namespace == PROBE_NAMESPACE:
        text = f"pods can be created in namespace {probe.namespace}: no ResourceQuota of 0 pods applies there"
        problems.append(StatusProblem(text, facts.install_command, is_note=True))
    results = ", ".join(f"{finding.pod} {finding.result}" for finding in probe.findings)
    return build_row(name, "; ".join(filter(None, (f"now: {results}", last))), tuple(problems))


def _rejects_pods(facts: ClusterFacts) -> bool:
    """Return whether the API server rejects every pod, as it can call no replica."""
    configuration = facts.configurations[VALIDATING]
    webhook = (
        configuration.webhooks.get("pods.validate.tokenguard.svc")
        if isinstance(configuration, ConfigurationFacts)
        else None
    )
    return webhook is not None and webhook.failure_policy == "Fail" and not facts.has_ready_replica


def _blocked(reason: str, facts: ClusterFacts) -> StatusProblem:
    text = f"no pod can be created, except in excluded namespaces: {reason}"
    service = f"kubectl get endpointslices -n {facts.namespace} -l kubernetes.io/service-name=tokenguard"
    fix = f"{service}; if it lists the replicas: docs/troubleshooting.md#the-api-server-cannot-reach-tokenguard"
    return StatusProblem(text, fix, blocks_pods=True, depends_on=_ON_THE_WAY)


def _last_success(facts: ClusterFacts) -> str:
    metrics = facts.replicas.metrics.values() if isinstance(facts.replicas, ReplicaFacts) else ()
    times = [min(replica.probe_successes.values()) for replica in metrics if replica.probe_successes]
    return f"replicas: last success {max(times):%Y-%m-%d %H:%M:%S} UTC" if times else ""


def backstop_row(facts: ClusterFacts) -> StatusRow:
    """Return the row of the exported admission policies, which are optional."""
    backstop, name = facts.backstop, "backstop"
    if isinstance(backstop, NotRead):
        return unread_row(name, backstop.reason)
    problems = [*_out_of_sync(facts)]
    if backstop is None and not problems:
        return StatusRow(name, "not installed", RowState.ABSENT)
    if backstop is None:
        return build_row(name, "none", tuple(problems))
    policy = f"kubectl get configmap token-policy -n {facts.namespace} -o yaml"
    webhooks = "kubectl get validatingwebhookconfiguration tokenguard -o yaml"
    own = f" --own-namespace {facts.namespace}" if facts.namespace != DEFAULT_NAMESPACE else ""
    export = f"tokenguard policy export -o {backstop.mode}{own} --webhooks <({webhooks}) -"
    fix = f"{policy} | {export} | kubectl apply --server-side --force-conflicts -f -"
    problems += [StatusProblem(f"the exported policies: {text}", fix) for text in backstop.problems]
    return build_row(name, backstop.mode if problems else f"{backstop.mode}, in step with the policy", tuple(problems))


def _out_of_sync(facts: ClusterFacts) -> Iterator[StatusProblem]:
    metrics = facts.replicas.metrics if isinstance(facts.replicas, ReplicaFacts) else {}
    for pod in sorted(pod for pod, replica in metrics.items() if replica.backstop_in_sync is False)[:1]:
        fix = f"kubectl logs -n {facts.namespace} {pod} | grep backstop"
        yield StatusProblem(f"replica {pod} cannot keep the exported policies in step with its policy", fix)


def scan_row(facts: ClusterFacts) -> StatusRow:
    """Return the row of the background scan, which is optional."""
    scan, name = facts.scan, "last scan"
    if isinstance(scan, NotRead):
        return unread_row(name, scan.reason)
    if scan is None:
        return StatusRow(name, "no background scan", RowState.ABSENT)
    problems = []
    age = facts.now - scan.time
    if scan.max_age and age.total_seconds() > scan.max_age:
        fix = f"kubectl get cronjob,job -n {facts.namespace}"
        problems.append(
            StatusProblem(f"the last background scan is from {scan.time:%Y-%m-%d %H:%M} UTC", fix, is_note=True)
        )
    if scan.unevaluated:
        text = f"{counted(scan.unevaluated, 'running pod')} admitted without evaluation at the last scan"
        problems.append(StatusProblem(text, "tokenguard scan", is_note=True))
    return build_row(name, f"{scan.time:%Y-%m-%d %H:%M} UTC", tuple(problems))
