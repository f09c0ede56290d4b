"""Evaluates the manifests in files with the same function as the webhook."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from msgspec import structs

from webhook.check.file_reader import read_all, require_objects
from webhook.check.input_files import InputFile, InputProblem, SkippedPath
from webhook.check.manifest_namespaces import ManifestNamespaces
from webhook.check.missing_objects import MissingSecrets, missing_namespaces
from webhook.check.other_findings import POLICY_HELP, UNREADABLE_OBJECT
from webhook.check.pod_templates import combined, found_templates, missing_containers
from webhook.check.refused_values import refused_values
from webhook.check.report import (
    NO_POD_TEMPLATE,
    OTHER_KINDS,
    OUTCOMES,
    TEMPLATES,
    CheckFinding,
    CheckReport,
    ManifestEvaluation,
    NotEvaluated,
    ParsedFile,
    PolicyInUse,
)
from webhook.check.source_map import SourceMap
from webhook.check.unknown_fields import field_warnings
from webhook.check.unknown_kinds import kind_warning, type_error, version_warning
from webhook.check.unrendered import with_chart
from webhook.check.unsubstituted import audience_advice, namespace_placeholders, placeholder_at
from webhook.check.wrong_types import wrong_types
from webhook.core.admission_request import AdmissionRequest, manifest_request
from webhook.core.cluster_state import DEFAULT_NAMESPACE, ClusterState
from webhook.core.decision import INVALID_POLICY, Coverage, Decision, Finding, Outcome
from webhook.core.decode_errors import UNREADABLE
from webhook.core.documents.yaml_writer import with_file_modes, write_flow
from webhook.core.evaluate import evaluate
from webhook.core.json_patch import Edit, Put, Remove, json_path
from webhook.core.kinds import CLUSTER_SCOPED, Subject
from webhook.core.manifests import Manifest, cluster_of
from webhook.core.policy.configmap import KEY
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Action, Mode, Policy

_POLICY = f"/data/{KEY}"
_BEFORE_ANY_END = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "legacy-token-reference": ("valueFrom/secretKeyRef/name", "secretRef/name", "secret/name", "secretName", "name"),
    "token-expiration": ("serviceAccountToken/expirationSeconds", "expirationSeconds"),
    "token-audience": ("serviceAccountToken/audience", "audience", "serviceAccountToken"),
    "token-subpath": ("subPath", "subPathExpr"),
    "kubelet-hostpath": ("path",),
}
"""The fields below the place of a violation that it is about, the most specific first: where to put the caret."""
_NO_RULE = "it has no pod template, and no rule is about its kind"
_ABOUT_AUDIENCES = frozenset({"token-audience", "token-request-audience"})


def check(  # noqa: PLR0913 - what a run depends on, each by its name
    sources: Iterable[InputFile | InputProblem | SkippedPath],
    policy: Policy,
    *,
    now: dt.datetime,
    namespace: str,
    own_namespace: str = DEFAULT_NAMESPACE,
    cluster_objects: Sequence[Manifest] | None = None,
    stdin: BinaryIO,
    in_use: PolicyInUse | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Read the files and evaluate every object in them at the time `now` (aware).

    Objects without a namespace are in `namespace`; tokenguard is installed in `own_namespace`. All files are read
    first: the Secrets, Namespaces and ServiceAccounts in any of them are the cluster state of the evaluation, together
    with `cluster_objects`, which are not evaluated; with these, any other Secret counts as no legacy Secret. `in_use`
    describes the policy in the report. `step` is called with the progress.
    """
    report = CheckReport(in_use or PolicyInUse(revision=policy.revision, mode=policy.mode), help=policy.help)
    files = report.files
    sources = list(sources)
    read_all(report, sources, stdin, step)
    manifests = [manifest for file in files for manifest in file.reading.manifests]
    base = cluster_of(cluster_objects or (), ClusterState(own_namespace=own_namespace), namespace)
    cluster = cluster_of(manifests, base, namespace)
    missing = MissingSecrets(manifests, policy, cluster, namespace)
    evaluator = _Evaluator(policy, cluster, now, report, missing)
    namespaces = ManifestNamespaces(manifests, namespace)
    for number, file in enumerate(files, 1):
        step(f"evaluating file {number} of {len(files)}")
        for manifest in file.reading.manifests:
            evaluator.evaluate(file, manifest, namespaces.namespace_of(manifest))
    report.summary.files = len({each.file_path for each in report.evaluations if each.is_evaluated})
    require_objects(report, sources)
    if cluster_objects is None:
        report.missing_secrets |= missing.users
    for warnings in (
        missing_namespaces(report.evaluations, policy, cluster),
        namespace_placeholders(report.evaluations),
    ):
        report.warnings += warnings
    report.sort([source.path for source in sources])
    report.summary.enforced = None if evaluator.every_object_enforced else evaluator.enforced
    return report


_Part = tuple[AdmissionRequest, Decision]
"""What is evaluated of an object: the object, or one of its pod templates."""


class _Evaluator:
    """Evaluates manifests and adds the results to a report."""

    def __init__(
        self, policy: Policy, cluster: ClusterState, now: dt.datetime, report: CheckReport, missing: MissingSecrets
    ) -> None:
        self.every_object_enforced = True
        self.enforced: Counter[Outcome] = Counter()
        self._policy = policy
        self._enforced = policy.with_mode(Mode.ENFORCE)
        self._cluster = cluster
        self._now = now
        self._report = report
        self._missing = missing
        self._source: SourceMap | None = None

    def evaluate(self, file: ParsedFile, manifest: Manifest, namespace: str) -> None:
        """Evaluate a manifest in a namespace, and add the evaluation, its findings and its place in the summary."""
        wrong_field, error = type_error(manifest)
        kind = ("", "") if error else manifest.group_kind
        read = partial(manifest_request, kind, namespace=namespace, workloads=self._policy.workloads)
        request = read(manifest.raw)
        parts = [(request, self._decide(request))]
        found = () if error else found_templates(manifest, request, namespace)
        parts += [(each, self._decide(each)) for each in found]
        if len(parts) > 1 and parts[0][1].coverage is Coverage.NOT_EVALUATED:
            del parts[0]  # only the templates that were found are evaluated
        subject, decision = parts[0][0].subject, combined([decision for _, decision in parts])
        shown = "" if subject in CLUSTER_SCOPED else namespace
        evaluation = ManifestEvaluation(file.source.path, manifest, shown, subject, decision, _outcome(decision))
        report = self._report
        if decision.problem and (placeholder := placeholder_at(manifest, decision.problem_field)):
            self._add_unsubstituted(file, evaluation, placeholder)
            return
        report.evaluations.append(evaluation)
        if warning := version_warning(manifest):
            report.warnings.append(
                evaluation.problem_at("/apiVersion", warning, self._source_of(manifest), show_value=True)
            )
        if not evaluation.is_evaluated:
            if error:
                report.problems.append(evaluation.problem_at(wrong_field, error, self._source_of(manifest)))
            else:
                self._add_not_evaluated(evaluation, request)
            return
        wrong, raw, decoded = wrong_types(manifest.raw, request, read)
        wrong |= {each.problem_field: each.problem for each, _ in parts if each is not request and each.problem}
        findings = [self._unreadable(evaluation, *each) for each in wrong.items()]
        findings += self._findings(evaluation, parts)
        for finding in sorted(findings, key=lambda each: each.position):
            (report.findings if finding.counts else report.notes).append(finding)
        unknown = list(field_warnings(evaluation, raw, decoded, self._source_of))
        report.warnings += unknown or missing_containers(evaluation, request)  # an unknown field is the likely cause
        for each, _ in parts:
            self._missing.add(evaluation, each.object, namespace)
            report.warnings += refused_values(evaluation, each, self._source_of)
        report.summary.outcomes[evaluation.outcome] += 1
        report.summary.exempt += sum(_counts(finding) for finding, _ in evaluation.decision.exempted)
        self._count_enforced(parts, evaluation)

    def _add_unsubstituted(self, file: ParsedFile, evaluation: ManifestEvaluation, placeholder: str) -> None:
        """Add an object that cannot be read because of a placeholder, like an unrendered template."""
        manifest, pointer = evaluation.manifest, evaluation.decision.problem_field
        message = with_chart(f"{evaluation.title}: {placeholder}", evaluation.file_path)
        problem = evaluation.problem_at(pointer, message, self._source_of(manifest))
        if file.source.named:
            self._report.problems.append(problem)
        else:
            self._report.not_evaluated.append(NotEvaluated(TEMPLATES, problem, manifest.kind, evaluation.title))

    def _add_not_evaluated(self, evaluation: ManifestEvaluation, request: AdmissionRequest) -> None:
        """Add an object that no rule was applied to."""
        report = self._report
        report.not_evaluated.append(_not_evaluated(evaluation))
        if evaluation.subject is None and (warning := kind_warning(evaluation.manifest)):
            report.warnings.append(evaluation.problem(warning))
        elif evaluation.decision.coverage is not Coverage.EXCLUDED:
            report.warnings += missing_containers(evaluation, request)

    def _decide(self, request: AdmissionRequest) -> Decision:
        return evaluate(request, self._policy, self._cluster, self._now)

    def _count_enforced(self, parts: Sequence[_Part], evaluation: ManifestEvaluation) -> None:
        """Count the outcome that the object would have under mode enforce."""
        outcome = evaluation.outcome
        if evaluation.decision.mode not in (None, Mode.ENFORCE):
            self.every_object_enforced = False
            enforced = (evaluate(request, self._enforced, self._cluster, self._now) for request, _ in parts)
            outcome = _outcome(combined([*enforced]))
        self.enforced[outcome] += 1

    def _findings(self, evaluation: ManifestEvaluation, parts: Sequence[_Part]) -> Iterator[CheckFinding]:
        """Yield the findings about an object."""
        manifest, decision = evaluation.manifest, evaluation.decision
        for error in decision.policy_errors:
            line = manifest.line_in(_POLICY, error.line)
            excerpt = self._source_of(manifest).line_excerpt(line)
            yield CheckFinding(
                evaluation, INVALID_POLICY, Action.REJECT, error.path, error.message, line, POLICY_HELP, excerpt=excerpt
            )
        self._report.warnings += (
            InputProblem(
                evaluation.file_path, f"{warning.path}: {warning.message}", manifest.line_in(_POLICY, warning.line)
            )
            for warning in decision.policy_warnings
        )
        for request, part in parts:
            ended = self._ended_exemptions(request, part)
            for finding in part.findings:
                shown = self._finding(evaluation, finding, request.template_pointer)
                if exemption := ended.get((finding.rule, finding.violation.pointer)):
                    advice = "; ".join(filter(None, (shown.advice, f"its exemption ended: {exemption}")))
                    shown = replace(shown, advice=advice)
                yield shown
            for finding, exemption in part.exempted:
                placed = _in_template(finding, request.template_pointer)
                shown = self._finding(evaluation, placed, request.template_pointer)
                message = f"{shown.message}; exempt: {exemption}"
                yield replace(
                    shown, action=Action.OFF, message=message, advice="", changes=(), counts=False, unpatched_in=None
                )

    def _ended_exemptions(self, request: AdmissionRequest, decision: Decision) -> dict[tuple[str, str], Exemption]:
        """Return the exemptions that would apply if they had not ended, by rule and place of the finding."""
        if not decision.findings or all(exemption.is_active(self._now) for exemption in self._policy.exemptions):
            return {}
        before = evaluate(request, self._policy, self._cluster, _BEFORE_ANY_END)
        template = request.template_pointer
        return {
            (finding.rule, template + finding.violation.pointer): exemption for finding, exemption in before.exempted
        }

    def _unreadable(self, evaluation: ManifestEvaluation, pointer: str, problem: str) -> CheckFinding:
        manifest, path = evaluation.manifest, json_path(pointer)
        message = (placeholder_at(manifest, pointer) or problem.removeprefix(UNREADABLE).lstrip()).removeprefix(path)
        source = self._source_of(manifest)
        excerpt = source.field_excerpt(manifest.pointer + pointer, show_value=True) if pointer else None
        line = excerpt.line if excerpt else manifest.line_of(pointer)
        return CheckFinding(evaluation, UNREADABLE_OBJECT, Action.REJECT, path, message.lstrip(), line, excerpt=excerpt)

    def _finding(self, evaluation: ManifestEvaluation, finding: Finding, template: str) -> CheckFinding:
        manifest, violation = evaluation.manifest, finding.violation
        pointer = violation.pointer
        if len(violation.edits) == 1 and isinstance(edit := violation.edits[0], Put) and edit.replaces:
            pointer = template + edit.pointer  # the value that has to change
        fields = _FIELDS.get(finding.rule, ())
        excerpt = self._source_of(manifest).excerpt(manifest.pointer + pointer, fields)
        line = excerpt.line if excerpt else manifest.line_of(pointer)
        message, advice = finding.parts
        if finding.rule in _ABOUT_AUDIENCES:
            advice = audience_advice(manifest, [pointer, *(f"{pointer}/{field}" for field in fields)]) or advice
        edits = violation.edits if finding.action is Action.PATCH else ()
        source = self._source_of(manifest)
        changes = tuple(_change(template, edit, violation.pointer, source) for edit in edits)
        if edits:
            advice = f"would be {advice}"
        return CheckFinding(
            evaluation, finding.rule, finding.action, finding.path, message, line, advice, changes, excerpt,
            _counts(finding), unpatched_in=_unpatched_in(evaluation.decision, finding),
        )  # fmt: skip

    def _source_of(self, manifest: Manifest) -> SourceMap:
        """Return the map of a manifest's document; the last one is cached."""
        if self._source is None or self._source.document is not manifest.source:
            self._source = SourceMap(manifest.source)
        return self._source


def _outcome(decision: Decision) -> Outcome:
    """Return the outcome of the findings that count."""
    if decision.problem or decision.policy_errors:
        return Outcome.DENIED
    actions = {finding.action for finding in decision.findings if _counts(finding)}
    return next((OUTCOMES[action] for action in OUTCOMES if action in actions), Outcome.ALLOWED)


def _not_evaluated(evaluation: ManifestEvaluation) -> NotEvaluated:
    manifest, decision = evaluation.manifest, evaluation.decision
    if decision.coverage is Coverage.EXCLUDED:
        reason = f"namespace {evaluation.namespace}"
    else:
        reason = NO_POD_TEMPLATE if evaluation.subject is Subject.TEMPLATE else OTHER_KINDS
    note = decision.note
    if evaluation.subject is None:
        is_used = manifest.group_kind == ("", "Namespace")
        note = "its labels are used, no rule applies to it" if is_used else _NO_RULE
    return NotEvaluated(reason, evaluation.problem(f"{evaluation.title}: {note}"), manifest.kind, evaluation.title)


def _in_template(finding: Finding, template: str) -> Finding:
    """Return an exempt finding with its place in the object, which other findings have already."""
    violation = finding.violation
    return structs.replace(finding, violation=structs.replace(violation, pointer=template + violation.pointer))


def _change(template: str, edit: Edit, pointer: str, source: SourceMap) -> str:
    """Return what an edit in a template does, in one line of YAML; its path is relative to `pointer` if below it.

    The modes of files are written as the document writes them.
    """
    place = template + edit.pointer
    path = json_path(place.removeprefix(pointer) if place.startswith(f"{pointer}/") else place)
    if isinstance(edit, Remove):
        return f"remove {path}"
    value = edit.value
    if isinstance(value, dict | list) and source.has_octal_modes:
        value = with_file_modes(value)
    return f"{path}: {'' if isinstance(edit, Put) else 'add '}{write_flow(value)}"


def _unpatched_in(decision: Decision, finding: Finding) -> Mode | None:
    """Return the mode that keeps the webhook from patching this; None if it patches it, or never would."""
    return decision.mode if finding.is_repaired and finding.action is not Action.PATCH else None


def _counts(finding: Finding) -> bool:
    """Return whether the object is denied for it, or its author can correct it."""
    return finding.action is Action.REJECT or (finding.violation.authored and finding.action in OUTCOMES)
