"""Evaluates the manifests in files with the same function as the webhook."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO

from webhook.check.input_files import InputFile, InputProblem, read
from webhook.check.report import CheckFinding, CheckReport, ManifestEvaluation, ParsedFile
from webhook.core.admission_request import manifest_request
from webhook.core.cluster_state import DEFAULT_NAMESPACE, ClusterState
from webhook.core.decision import INVALID_POLICY, Coverage, Finding, Outcome
from webhook.core.documents.stream import decode_text
from webhook.core.evaluate import evaluate
from webhook.core.kinds import CLUSTER_SCOPED, Subject
from webhook.core.manifests import RENDERING, TOOL_FILES, Reading, cluster_of, read_manifests
from webhook.core.policy.configmap import KEY
from webhook.core.policy.model import Action, Policy

UNREADABLE_OBJECT = "unreadable-object"
"""The rule name of a finding about an object that rules look at and that cannot be read."""

_POLICY = f"/data/{KEY}"
_OUTCOMES = {Action.REJECT: Outcome.DENIED, Action.PATCH: Outcome.PATCHED, Action.WARN: Outcome.WARNED}
"""The outcome of a finding that counts, the strongest first."""


def check(  # noqa: PLR0913 - what a run depends on, each by its name
    found: Iterable[InputFile | InputProblem],
    policy: Policy,
    *,
    now: dt.datetime,
    namespace: str,
    own_namespace: str = DEFAULT_NAMESPACE,
    stdin: BinaryIO,
    step: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Read the files and evaluate every object in them at the time `now` (aware).

    Objects without a namespace are in `namespace`; tokenguard is installed in `own_namespace`. All files are read
    first: the Secrets, Namespaces and ServiceAccounts in any of them are the cluster state of the evaluation. `step`
    is called with the progress.
    """
    report = CheckReport()
    files = report.files
    _read_all(report, list(found), stdin, step)
    cluster = cluster_of(
        (manifest for file in files for manifest in file.reading.manifests),
        ClusterState(own_namespace=own_namespace),
        namespace,
    )
    for number, file in enumerate(files, 1):
        step(f"evaluating file {number} of {len(files)}")
        reading, path = file.reading, file.source.path
        documents = {part.document for parts in (reading.manifests, reading.problems) for part in parts}
        for manifest in reading.manifests:
            within = manifest.namespace or namespace
            request = manifest_request(manifest.group_kind, manifest.raw, namespace=within, workloads=policy.workloads)
            subject, decision = request.subject, evaluate(request, policy, cluster, now)
            shown = "" if subject in CLUSTER_SCOPED else within
            _add(report, ManifestEvaluation(path, manifest, shown, subject, decision, len(documents) > 1))
    report.summary.files = len({found.file_path for found in report.evaluations if found.is_evaluated})
    return report


def _read_all(
    report: CheckReport, sources: list[InputFile | InputProblem], stdin: BinaryIO, step: Callable[[str], None]
) -> None:
    """Add the files, what could not be read, and the documents that are no Kubernetes objects."""
    problems, skipped = report.problems, report.skipped
    for number, source in enumerate(sources, 1):
        step(f"reading file {number} of {len(sources)}")
        data = source if isinstance(source, InputProblem) else read(source, stdin)
        if isinstance(data, InputProblem) or isinstance(source, InputProblem):
            problems += [data] if isinstance(data, InputProblem) else []
            continue
        path, named = source.path, source.named
        reading, tool_files = _without_tool_files(source, read_manifests(data))
        skipped += tool_files
        report.files.append(ParsedFile(source, data, reading))
        if _is_empty(data):
            (problems if named else skipped).append(InputProblem(path, "contains no manifest"))
        for problem in reading.problems:
            (skipped if problem.foreign and not named else problems).append(
                InputProblem(path, problem.message, problem.line, problem.document, problem.template)
            )
        for warning in reading.warnings:
            if named or not warning.foreign:
                report.warnings.append(InputProblem(path, warning.message, warning.line, warning.document))
    if skipped and not (problems or any(file.reading.manifests for file in report.files)):
        problems += _without_manifests(report.files, skipped)


def _without_tool_files(source: InputFile, reading: Reading) -> tuple[Reading, list[InputProblem]]:
    """Return a reading without the files of tools that look like manifests, and these files."""
    tool_files = [
        InputProblem(source.path, f"{manifest.kind} is a file of {tool}", manifest.line, manifest.document)
        for manifest in reading.manifests
        if (tool := TOOL_FILES.get(manifest.group_kind))
    ]
    if not tool_files:
        return reading, []
    manifests = tuple(manifest for manifest in reading.manifests if manifest.group_kind not in TOOL_FILES)
    return replace(reading, manifests=manifests), tool_files


def _without_manifests(files: list[ParsedFile], skipped: list[InputProblem]) -> Iterator[InputProblem]:
    """Yield a problem for each given path: a run that evaluates nothing must not look clean."""
    templates = {problem.path for problem in skipped if problem.template}
    for root in dict.fromkeys(file.source.root for file in files):
        paths = {file.source.path for file in files if file.source.root == root}
        hint = f", only unrendered templates; render them first: {RENDERING}" if templates & paths else ""
        yield InputProblem(root, f"contains no Kubernetes manifest{hint}")


def _add(report: CheckReport, evaluation: ManifestEvaluation) -> None:
    """Add an evaluation, its findings and its place in the summary."""
    manifest, decision, summary = evaluation.manifest, evaluation.decision, report.summary
    report.evaluations.append(evaluation)
    if evaluation.is_evaluated:
        found = list(_findings(evaluation))
        counted = [finding for finding, counts in found if counts]
        report.findings += counted
        report.notes += [finding for finding, counts in found if not counts]
        actions = {finding.action for finding in counted}
        summary.outcomes[next((_OUTCOMES[action] for action in _OUTCOMES if action in actions), Outcome.ALLOWED)] += 1
        return
    message = f"{evaluation.title}: {decision.coverage}: {decision.note}"
    report.not_evaluated.append(InputProblem(evaluation.file_path, message, manifest.line, manifest.document))
    if decision.coverage is Coverage.EXCLUDED:
        summary.excluded[evaluation.namespace] += 1
    else:
        without = " without a pod template" if evaluation.subject is Subject.TEMPLATE else ""
        summary.not_evaluated[f"{manifest.kind}{without}"] += 1


def _findings(evaluation: ManifestEvaluation) -> Iterator[tuple[CheckFinding, bool]]:
    """Yield the findings about an object, each with whether it affects the exit status."""
    manifest, decision = evaluation.manifest, evaluation.decision
    if decision.problem:
        yield CheckFinding(evaluation, UNREADABLE_OBJECT, Action.REJECT, "", decision.problem, manifest.line), True
    for error in decision.policy_errors:
        line = manifest.line_in(_POLICY, error.line)
        yield CheckFinding(evaluation, INVALID_POLICY, Action.REJECT, error.path, error.message, line), True
    for finding in decision.findings:
        line = manifest.line_of(finding.violation.pointer)
        shown = CheckFinding(evaluation, finding.rule, finding.action, finding.path, finding.detail, line)
        yield shown, _counts(finding)
    for rule, exemption in decision.exemptions:
        yield CheckFinding(evaluation, rule, Action.OFF, "", f"exempt: {exemption}", manifest.line), False


def _counts(finding: Finding) -> bool:
    return finding.action is Action.REJECT or (finding.violation.authored and finding.action in _OUTCOMES)


def _is_empty(data: bytes) -> bool:
    """Return whether a file contains only comments, directives and separators."""
    content = (line.partition("#")[0].strip() for line in decode_text(data).splitlines())
    return all(text in ("", "---", "...") or text.startswith("%") for text in content)
