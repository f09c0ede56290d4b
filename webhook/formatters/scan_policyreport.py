"""A scan as policy reports: one for each namespace, and one for the cluster-scoped objects.

Each result is about one object: a workload, by its running pods and its template as if they were created now; a pod
that the policy would deny as it is; a legacy Secret, a ServiceAccount or a CSIDriver. The summary counts all results,
also those that do not fit into the report.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from webhook.core.documents.yaml_writer import write_document
from webhook.core.formatting import counted, plain
from webhook.core.policy.model import Action
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions
from webhook.formatters.scan_findings import ADMISSIONS, exemption_text
from webhook.scan.evaluation_result import Admission, AppliedExemption, EvaluationResult, ReportedFinding
from webhook.scan.report import LegacySecret, ScannedWorkload, ScanReport, UnevaluatedPod
from webhook.scan.report_api import MANAGED_BY, REPORT_NAME, WG_POLICY, ReportApi

MAX_BYTES = 1_000_000
"""Of a report's results as JSON. etcd accepts requests of at most 1.5 MiB by default."""
LEFT_OUT = "tokenguard/left-out"
"""The annotation with the number of results that do not fit."""
RESULTS = ("fail", "warn", "skip", "pass")
"""From the most to the least important: those that do not fit are the last ones."""
POLICY = "token-policy"
RECREATED = "If recreated"
_CATEGORIES = {
    Admission.NOT_EVALUATED: "Admitted without evaluation",
    Admission.BEFORE_INSTALLATION: "Admitted without evaluation",
    Admission.EXCLUDED: "Admitted without evaluation",
    Admission.UNDETERMINED: "Would be denied as it runs",
}
_RESULTS = {Action.REJECT: "fail", Action.WARN: "warn", Action.AUDIT: "warn"}
_SEVERE_RULES = frozenset({"legacy-token-reference", "legacy-token-secret", "kubelet-hostpath"})
"""Those about tokens that never expire or belong to others."""
_MAX_FINDINGS = 5
_Result = dict[str, Any]


def format_report(
    report: ScanReport, _options: FormatOptions = DEFAULT_OPTIONS, api: ReportApi = WG_POLICY
) -> Iterator[str]:
    """Yield the reports as YAML documents."""
    yield from map(write_document, policy_reports(report, api))


def policy_reports(report: ScanReport, api: ReportApi) -> Iterator[dict[str, Any]]:
    """Yield the reports as objects, sorted by namespace; none for a namespace without results."""
    by_namespace: dict[str, list[_Result]] = {}
    timestamp = {"seconds": int(report.time.timestamp()), "nanos": 0}
    for namespace, result in _results(report):
        by_namespace.setdefault(namespace, []).append(_completed(result, timestamp))
    for namespace, results in sorted(by_namespace.items()):
        yield _policy_report(namespace, sorted(results, key=_order), api)


def result_counts(reports: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Return the sum of the reports' summaries."""
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report["summary"])
    return counts


def left_out(report: Mapping[str, Any]) -> int:
    """Return how many results do not fit into a report."""
    return int(report["metadata"].get("annotations", {}).get(LEFT_OUT, 0))


def _policy_report(namespace: str, results: list[_Result], api: ReportApi) -> dict[str, Any]:
    counts = Counter(result["result"] for result in results)
    fitting = _fitting(results)
    metadata: dict[str, Any] = {"name": REPORT_NAME, "labels": dict(MANAGED_BY)}
    if len(fitting) < len(results):
        metadata["annotations"] = {LEFT_OUT: str(len(results) - len(fitting))}
        fitting.append(_left_out(len(results) - len(fitting), results[0]["timestamp"]))
    scope: dict[str, Any] = {}
    if namespace:
        metadata["namespace"] = namespace
        scope = {"scope": {"apiVersion": "v1", "kind": "Namespace", "name": namespace}}
    return {
        "apiVersion": api.api_version,
        "kind": api.kind if namespace else api.cluster_kind,
        "metadata": metadata,
        **({} if api == WG_POLICY else {"source": REPORT_NAME}),
        **scope,
        "summary": {"error": 0} | {name: counts[name] for name in RESULTS},
        "results": fitting,
    }


def _fitting(results: list[_Result]) -> list[_Result]:
    """Return the first results that fit."""
    size = 0
    for number, result in enumerate(results):
        size += len(msgspec.json.encode(result)) + 1
        if size > MAX_BYTES:
            return results[:number]
    return results[:]


def _left_out(count: int, timestamp: dict[str, int]) -> _Result:
    message = f"{counted(count, 'more result')} do not fit into this report; see 'tokenguard scan'"
    return _completed({"result": "skip", "message": message}, timestamp)


def _completed(result: _Result, timestamp: dict[str, int]) -> _Result:
    """Return a result with the fields that all have."""
    scored = result["result"] in ("fail", "pass")
    return {"source": REPORT_NAME, "policy": POLICY, **result, "scored": scored, "timestamp": timestamp}


def _order(result: _Result) -> tuple[Any, ...]:
    """Pods that were admitted without evaluation come first: nothing else shows them."""
    [resource] = result["resources"]
    is_pod = "admission" in result.get("properties", ())
    return (
        RESULTS.index(result["result"]), not is_pod, resource["kind"], resource["name"], result.get("rule", ""),
        result["message"],
    )  # fmt: skip


def _results(report: ScanReport) -> Iterator[tuple[str, _Result]]:
    for pod in report.unevaluated_pods:
        yield pod.namespace, _unevaluated(pod)
    for workload in report.workloads:
        for result in _of_workload(workload):
            yield workload.namespace, result
    for secret in report.legacy_secrets:
        for result in _of_secret(secret):
            yield secret.namespace, result
    for account in report.accounts:
        resource = _resource("ServiceAccount", account.namespace, account.name, "v1", account.uid)
        for result in _of_object([account.result], resource):
            yield account.namespace, result
    for driver in report.csi_drivers:
        resource = _resource("CSIDriver", "", driver.name, "storage.k8s.io/v1", driver.uid)
        for result in _of_object([driver.result], resource):
            yield "", result


def _unevaluated(pod: UnevaluatedPod) -> _Result:
    lines = [f"{finding.path} {finding.detail} ({finding.rule})" for finding in pod.findings[:_MAX_FINDINGS]]
    if len(pod.findings) > _MAX_FINDINGS:
        lines.append(f"and {len(pod.findings) - _MAX_FINDINGS} more")
    worst = next((finding for finding in pod.findings if finding.rule in _SEVERE_RULES), pod.findings[0])
    is_excluded = pod.admission is Admission.EXCLUDED
    created = f"{pod.created:%Y-%m-%dT%H:%M:%SZ}" if pod.created else ""
    return {
        "rule": worst.rule,
        "category": _CATEGORIES[pod.admission],
        "severity": "info" if is_excluded else _severity(worst),
        "result": "skip" if is_excluded else "fail",
        "message": plain(
            f"{ADMISSIONS[pod.admission]}: {'; '.join(lines)}. Owner: {pod.owner}. What to do: {pod.hint}"
        ),
        "resources": [_resource("Pod", pod.namespace, pod.name, "v1", pod.uid)],
        "properties": {"admission": pod.admission.value, "owner": pod.owner, "created": created},
    }


def _of_workload(workload: ScannedWorkload) -> Iterator[_Result]:
    resource = _resource(workload.kind, workload.namespace, workload.name, workload.api_version, workload.uid)
    results = [group.evaluation.result for group in workload.groups]
    entries = list(_of_object(results, resource))
    yield from entries
    if entries:
        return
    if note := next((result.note for result in results if result.note), ""):
        yield {"category": RECREATED, "result": "skip", "message": plain(note), "resources": [resource]}
        return
    patched = sorted({finding.rule for result in results for finding in result.findings})
    message = f"patched by {', '.join(patched)}" if patched else "no violation"
    yield {"category": RECREATED, "result": "pass", "message": message, "resources": [resource]}


def _of_secret(secret: LegacySecret) -> Iterator[_Result]:
    """Yield the results of a legacy Secret; one that is not in use is not evaluated, as nobody creates it again."""
    resource = _resource("Secret", secret.namespace, secret.name, "v1", secret.uid)
    properties = _secret_properties(secret)
    if secret.result:
        yield from _of_object([secret.result], resource, properties)
        return
    state = "safe to delete" if secret.removable else f"marked invalid {secret.invalid_since}"
    message = f"contains a token that never expires; not in use: {state}"
    common = {"category": RECREATED, "severity": "info", "result": "skip"}
    yield {**common, "message": message, "resources": [resource], "properties": properties}


def _of_object(
    results: Iterable[EvaluationResult], resource: dict[str, str], properties: Mapping[str, str] | None = None
) -> Iterator[_Result]:
    """Yield the results of one object, each once: its findings except patches, and its exemptions."""
    entries: dict[tuple[str, ...], _Result] = {}
    for result in results:
        for finding in result.findings:
            if finding.action in _RESULTS:
                entries.setdefault(
                    ("finding", finding.rule, finding.action, finding.path, finding.detail),
                    _of_finding(finding, resource, properties or {}),
                )
        for exemption in result.exemptions:
            entries.setdefault(
                ("exemption", exemption.rule, exemption.path, exemption.detail, str(exemption.exemption)),
                _of_exemption(exemption, resource),
            )
    yield from entries.values()


def _of_finding(finding: ReportedFinding, resource: dict[str, str], properties: Mapping[str, str]) -> _Result:
    return {
        "rule": finding.rule,
        "category": RECREATED,
        "severity": _severity(finding),
        "result": _RESULTS[finding.action],
        "message": plain(f"{finding.path} {finding.detail}".strip()),
        "resources": [resource],
        "properties": {"action": finding.action.value, "path": plain(finding.path), **properties},
    }


def _of_exemption(exemption: AppliedExemption, resource: dict[str, str]) -> _Result:
    return {
        "rule": exemption.rule,
        "category": RECREATED,
        "severity": "info",
        "result": "skip",
        "message": f"exempt: {exemption_text(exemption)}",
        "resources": [resource],
        "properties": {
            "path": plain(exemption.path),
            "exemption": f"exemptions[{exemption.exemption}]",
            "until": str(exemption.until or "never"),
        },
    }


def _severity(finding: ReportedFinding) -> str:
    if finding.action is Action.REJECT:
        return "high" if finding.rule in _SEVERE_RULES else "medium"
    return "low" if finding.action is Action.WARN else "info"


def _secret_properties(secret: LegacySecret) -> dict[str, str]:
    used = {"lastUsed": str(secret.last_used)} if secret.last_used else {}
    return {"serviceAccount": plain(secret.account), "removable": str(secret.removable).lower(), **used}


def _resource(kind: str, namespace: str, name: str, api_version: str, uid: str) -> dict[str, str]:
    """Return an ObjectReference; what is empty is left out."""
    fields = {"apiVersion": api_version, "kind": kind, "namespace": namespace, "name": name, "uid": uid}
    return {key: value for key, value in fields.items() if value}
