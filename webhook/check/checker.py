"""Evaluates the manifests in files with the same function as the webhook."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO

from webhook.check.input_files import InputFile, InputProblem, read
from webhook.check.report import CheckFinding, CheckReport, CheckSummary, ManifestEvaluation, ParsedFile
from webhook.core.admission_request import manifest_request
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
    stdin: BinaryIO,
    step: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Read the files and evaluate every object in them at the time `now` (aware).

    Objects without a namespace are in `namespace`. All files are read first: the Secrets, Namespaces and
    ServiceAccounts in any of them are the cluster state of the evaluation. `step` is called with the progress.
    """
    files, problems, skipped = _read_all(found, stdin, step)
    cluster = cluster_of((manifest for file in files for manifest in file.reading.manifests), namespace=namespace)
    evaluations: list[ManifestEvaluation] = []
    for number, file in enumerate(files, 1):
        step(f"evaluating file {number} of {len(files)}")
        reading, path = file.reading, file.source.path
        documents = {part.document for parts in (reading.manifests, reading.problems) for part in parts}
        for manifest in reading.manifests:
            request = manifest_request(
                manifest.group_kind,
                manifest.raw,
                namespace=manifest.namespace or namespace,
                workloads=policy.workloads,
            )
            decision = evaluate(request, policy, cluster, now)
            evaluations.append(ManifestEvaluation(path, manifest, request.subject, decision, len(documents) > 1))
    return _report(files, evaluations, problems, skipped, namespace)


def _read_all(
    found: Iterable[InputFile | InputProblem], stdin: BinaryIO, step: Callable[[str], None]
) -> tuple[list[ParsedFile], list[InputProblem], list[InputProblem]]:
    """Return the files, what could not be read, and the documents that are no Kubernetes objects."""
    files: list[ParsedFile] = []
    problems: list[InputProblem] = []
    skipped: list[InputProblem] = []
    sources = list(found)
    for number, source in enumerate(sources, 1):
        step(f"reading file {number} of {len(sources)}")
        data = source if isinstance(source, InputProblem) else read(source, stdin)
        if isinstance(data, InputProblem) or isinstance(source, InputProblem):
            problems += [data] if isinstance(data, InputProblem) else []
            continue
        reading, tool_files = _without_tool_files(source, read_manifests(data))
        skipped += tool_files
        files.append(ParsedFile(source, data, reading))
        if _is_empty(data):
            (problems if source.named else skipped).append(InputProblem(source.path, "contains no manifest"))
        for problem in reading.problems:
            ignored = problem.foreign and not source.named
            (skipped if ignored else problems).append(
                InputProblem(source.path, problem.message, problem.line, problem.document, problem.template)
            )
    if skipped and not (problems or any(file.reading.manifests for file in files)):
        problems += _without_manifests(files, skipped)
    return files, problems, skipped


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


def _report(
    files: list[ParsedFile],
    evaluations: list[ManifestEvaluation],
    problems: list[InputProblem],
    skipped: list[InputProblem],
    namespace: str,
) -> CheckReport:
    findings: list[CheckFinding] = []
    notes: list[CheckFinding] = []
    not_evaluated: list[InputProblem] = []
    outcomes = Counter(dict.fromkeys(reversed(Outcome), 0))
    left_alone: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    paths: set[str] = set()
    for evaluation in evaluations:
        manifest, coverage = evaluation.manifest, evaluation.decision.coverage
        if coverage is Coverage.EVALUATED:
            found = list(_findings(evaluation, namespace))
            counted = [finding for finding, counts in found if counts]
            findings += counted
            notes += [finding for finding, counts in found if not counts]
            actions = {finding.action for finding in counted}
            outcomes[next((_OUTCOMES[action] for action in _OUTCOMES if action in actions), Outcome.ALLOWED)] += 1
            paths.add(evaluation.file_path)
            continue
        not_evaluated.append(_not_evaluated(evaluation))
        if coverage is Coverage.LEFT_ALONE:
            left_alone[manifest.namespace or namespace] += 1
        else:
            without = " without a pod template" if evaluation.subject is Subject.TEMPLATE else ""
            kinds[f"{manifest.kind}{without}"] += 1
    return CheckReport(
        files=tuple(files),
        evaluations=tuple(evaluations),
        findings=tuple(findings),
        notes=tuple(notes),
        problems=tuple(problems),
        skipped=tuple(skipped),
        not_evaluated=tuple(not_evaluated),
        warnings=tuple(_warnings(files)),
        summary=CheckSummary(len(paths), outcomes, dict(left_alone.most_common()), dict(kinds.most_common())),
    )


def _warnings(files: Iterable[ParsedFile]) -> Iterator[InputProblem]:
    for file in files:
        for warning in file.reading.warnings:
            if file.source.named or not warning.foreign:
                yield InputProblem(file.source.path, warning.message, warning.line, warning.document)


def _not_evaluated(evaluation: ManifestEvaluation) -> InputProblem:
    manifest, decision = evaluation.manifest, evaluation.decision
    title = f"{manifest.kind}/{manifest.name}" if manifest.name else manifest.kind
    message = f"{title}: {decision.coverage}: {decision.note}"
    return InputProblem(evaluation.file_path, message, manifest.line, manifest.document)


def _findings(evaluation: ManifestEvaluation, namespace: str) -> Iterator[tuple[CheckFinding, bool]]:
    """Yield the findings about an object, each with whether it affects the exit status."""
    manifest, decision = evaluation.manifest, evaluation.decision

    def finding_of(rule: str, action: Action, path: str, detail: str, line: int | None = None) -> CheckFinding:
        return CheckFinding(
            evaluation.file_path,
            manifest.document,
            evaluation.multi_document,
            manifest.line if line is None else line,
            manifest.kind,
            "" if evaluation.subject in CLUSTER_SCOPED else manifest.namespace or namespace,
            manifest.name,
            rule,
            action,
            path,
            detail,
        )

    if decision.problem:
        yield finding_of(UNREADABLE_OBJECT, Action.REJECT, "", decision.problem), True
    for error in decision.policy_errors:
        line = manifest.line_in(_POLICY, error.line)
        yield finding_of(INVALID_POLICY, Action.REJECT, error.path, error.message, line), True
    for finding in decision.findings:
        line = manifest.line_of(finding.violation.pointer)
        yield finding_of(finding.rule, finding.action, finding.path, finding.detail, line), _counts(finding)
    for rule, exemption in decision.exemptions:
        yield finding_of(rule, Action.OFF, "", f"exempt: {exemption}"), False


def _counts(finding: Finding) -> bool:
    return finding.action is Action.REJECT or (finding.violation.authored and finding.action in _OUTCOMES)


def _is_empty(data: bytes) -> bool:
    """Return whether a file contains only comments, directives and separators."""
    content = (line.partition("#")[0].strip() for line in decode_text(data).splitlines())
    return all(text in ("", "---", "...") or text.startswith("%") for text in content)
