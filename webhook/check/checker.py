"""Judging the manifests in files: the same decision as the webhook's, and what is told of it. Prints nothing."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from webhook.check.input_files import InputFile, InputProblem, read, shown
from webhook.check.summary import CheckSummary, SummaryCounter
from webhook.core.decision import INVALID_POLICY, Coverage, Decision, Finding
from webhook.core.evaluate import evaluate
from webhook.core.kinds import CLUSTER_SCOPED, Subject
from webhook.core.manifests import Manifest, Reading, cluster_of, read_manifests
from webhook.core.manifests.encoding import decode_text
from webhook.core.manifests.intent import RENDERING, TOOL_FILES
from webhook.core.policy.configmap import KEY
from webhook.core.policy.model import Action, Policy
from webhook.core.request import of_object

UNREADABLE_OBJECT = "unreadable-object"
"""Stands in for a rule where an object of a kind that rules look at can't be read."""

_POLICY = f"/data/{KEY}"
_TOLD = frozenset({Action.REJECT, Action.PATCH, Action.WARN})


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A file that was read: all its bytes (which may hold a Secret's data), and what was found in them."""

    source: InputFile
    data: bytes = field(repr=False)
    reading: Reading


@dataclass(frozen=True, slots=True)
class ManifestEvaluation:
    """What was decided about one object of a file; `several` says that its file holds more than one document."""

    path: str
    manifest: Manifest
    subject: Subject | None
    decision: Decision
    several: bool = False


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One finding as it is told, whatever the output: where it stands, what it is about, what is wrong."""

    path: str
    document: int
    several: bool
    line: int
    kind: str
    namespace: str
    name: str
    rule: str
    action: Action
    place: str
    detail: str

    @property
    def file(self) -> str:
        """The path for people and reports."""
        return shown(self.path)


@dataclass(frozen=True)
class CheckReport:
    """What came of a run.

    `findings` are those that count; `notes` are told on request alone: what only the audit log would hear of, what
    is not about what an author wrote, and what is exempt. `problems` are files and documents that could not be
    read, `skipped` the documents of folders that don't pretend to be Kubernetes objects, `not_evaluated` the objects
    that no rule was applied to, `warnings` are about documents that kubectl may read otherwise than their author means;
    they don't count.
    """

    files: tuple[ParsedFile, ...]
    judgements: tuple[ManifestEvaluation, ...]
    findings: tuple[CheckFinding, ...]
    notes: tuple[CheckFinding, ...]
    problems: tuple[InputProblem, ...]
    skipped: tuple[InputProblem, ...]
    not_evaluated: tuple[InputProblem, ...]
    summary: CheckSummary
    warnings: tuple[InputProblem, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 where nothing was found, 1 where something was, 2 where not everything could be read."""
        return 2 if self.problems else int(bool(self.findings))


def check(  # noqa: PLR0913 - what a run depends on, each by its name
    found: Iterable[InputFile | InputProblem],
    policy: Policy,
    *,
    now: dt.datetime,
    namespace: str,
    stdin: BinaryIO,
    step: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Read the files and judge every object in them by the policy, at the time `now` (aware).

    `namespace` is that of objects that name none. Secrets, Namespaces and ServiceAccounts in any of the files are the
    cluster that all are judged by, so everything is read first. `step` is told what is being done, every so often.
    """
    files, problems, skipped = _read_all(found, stdin, step)
    cluster = cluster_of((one for file in files for one in file.reading.manifests), namespace=namespace)
    judgements: list[ManifestEvaluation] = []
    for number, file in enumerate(files, 1):
        step(f"judging file {number} of {len(files)}")
        manifests = file.reading.manifests
        documents = {one.document for one in manifests} | {one.document for one in file.reading.problems}
        for manifest in manifests:
            request = of_object(
                manifest.group_kind,
                manifest.raw,
                namespace=manifest.namespace or namespace,
                workloads=policy.workloads,
            )
            decision = evaluate(request, policy, cluster, now)
            judgements.append(
                ManifestEvaluation(file.source.path, manifest, request.subject, decision, len(documents) > 1)
            )
    return replace(_report(files, judgements, problems, skipped, namespace), warnings=tuple(_warnings(files)))


def _warnings(files: Iterable[ParsedFile]) -> Iterator[InputProblem]:
    for file in files:
        for warning in file.reading.warnings:
            if file.source.named or not warning.foreign:
                yield InputProblem(file.source.path, warning.message, warning.line, warning.document)


def _read_all(
    found: Iterable[InputFile | InputProblem], stdin: BinaryIO, step: Callable[[str], None]
) -> tuple[list[ParsedFile], list[InputProblem], list[InputProblem]]:
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
            (problems if source.named else skipped).append(InputProblem(source.path, "holds no manifest"))
        for problem in reading.problems:
            ignored = problem.foreign and not source.named
            (skipped if ignored else problems).append(
                InputProblem(source.path, problem.message, problem.line, problem.document, problem.template)
            )
    if skipped and not (problems or any(file.reading.manifests for file in files)):
        problems += _without_manifests(files, skipped)
    return files, problems, skipped


def _without_tool_files(source: InputFile, reading: Reading) -> tuple[Reading, list[InputProblem]]:
    """Return a reading without the files of tools that look like manifests, and these."""
    tool_files = [
        InputProblem(source.path, f"{one.kind} is a file of {tool}", one.line, one.document)
        for one in reading.manifests
        if (tool := TOOL_FILES.get(one.group_kind))
    ]
    if not tool_files:
        return reading, []
    manifests = tuple(one for one in reading.manifests if one.group_kind not in TOOL_FILES)
    return replace(reading, manifests=manifests), tool_files


def _without_manifests(files: list[ParsedFile], skipped: list[InputProblem]) -> Iterator[InputProblem]:
    """Yield that each path that was given holds no manifest: nothing evaluated must not pass for nothing found."""
    templates = {one.path for one in skipped if one.template}
    for root in dict.fromkeys(file.source.root for file in files):
        paths = {file.source.path for file in files if file.source.root == root}
        hint = f", but unrendered templates; render them first: {RENDERING}" if templates & paths else ""
        yield InputProblem(root, f"holds no Kubernetes manifest{hint}")


def _report(
    files: list[ParsedFile],
    judgements: list[ManifestEvaluation],
    problems: list[InputProblem],
    skipped: list[InputProblem],
    namespace: str,
) -> CheckReport:
    findings: list[CheckFinding] = []
    notes: list[CheckFinding] = []
    not_evaluated: list[InputProblem] = []
    counter = SummaryCounter()
    for judgement in judgements:
        manifest, coverage = judgement.manifest, judgement.decision.coverage
        if coverage is not Coverage.EVALUATED:
            counter.add_other(coverage, manifest.kind, manifest.namespace or namespace, judgement.subject)
            not_evaluated.append(_not_evaluated(judgement))
            continue
        told = list(_told(judgement, namespace))
        counted = [one for one, counts in told if counts]
        findings += counted
        notes += [one for one, counts in told if not counts]
        counter.add(judgement.path, {one.action for one in counted})
    return CheckReport(
        tuple(files),
        tuple(judgements),
        tuple(findings),
        tuple(notes),
        tuple(problems),
        tuple(skipped),
        tuple(not_evaluated),
        counter.summary(),
    )


def _not_evaluated(judgement: ManifestEvaluation) -> InputProblem:
    manifest, decision = judgement.manifest, judgement.decision
    what = f"{manifest.kind}/{manifest.name}" if manifest.name else manifest.kind
    return InputProblem(
        judgement.path, f"{what}: {decision.coverage}: {decision.note}", manifest.line, manifest.document
    )


def _told(judgement: ManifestEvaluation, namespace: str) -> Iterator[tuple[CheckFinding, bool]]:
    """Yield what there is to tell about an object, each with whether it counts."""
    manifest, decision = judgement.manifest, judgement.decision

    def told(rule: str, action: Action, place: str, detail: str, line: int | None = None) -> CheckFinding:
        return CheckFinding(
            judgement.path,
            manifest.document,
            judgement.several,
            manifest.line if line is None else line,
            manifest.kind,
            "" if judgement.subject in CLUSTER_SCOPED else manifest.namespace or namespace,
            manifest.name,
            rule,
            action,
            place,
            detail,
        )

    if decision.problem:
        yield told(UNREADABLE_OBJECT, Action.REJECT, "", decision.problem), True
    for mistake in decision.mistakes:
        line = manifest.line_in(_POLICY, mistake.line)
        yield told(INVALID_POLICY, Action.REJECT, mistake.path, mistake.message, line), True
    for finding in decision.findings:
        line = manifest.line_of(finding.violation.pointer)
        yield told(finding.rule, finding.action, finding.path, finding.detail, line), _counts(finding)
    for rule, exemption in decision.exemptions:
        yield told(rule, Action.OFF, "", f"exempt: {exemption}"), False


def _counts(finding: Finding) -> bool:
    return finding.action is Action.REJECT or (finding.violation.authored and finding.action in _TOLD)


def _is_empty(data: bytes) -> bool:
    """Say whether a file holds no document: nothing but comments, directives and separators."""
    said = (line.partition("#")[0].strip() for line in decode_text(data).splitlines())
    return all(text in ("", "---", "...") or text.startswith("%") for text in said)
