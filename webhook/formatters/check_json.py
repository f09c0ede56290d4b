"""A check as JSON, and its JSON Schema; `version` changes when a key changes its meaning or is removed."""

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from webhook.check.input_files import InputProblem
from webhook.check.report import CheckFinding, CheckReport, ManifestEvaluation, NotEvaluated
from webhook.core.decision import Outcome
from webhook.core.policy.model import Action, Mode
from webhook.formatters import json_schema
from webhook.formatters.formatter import DEFAULT_OPTIONS, FormatOptions, format_json

VERSION = 4

File = Annotated[str, Meta(description="The file as it was given, or <stdin>.")]
Document = Annotated[int, Meta(description="The number of the YAML document in the file, from 1.")]
Line = Annotated[int, Meta(description="The line in the file, from 1.")]
Column = Annotated[int | None, Meta(description="The column, from 1; null if it is not known.")]
Kind = Annotated[str, Meta(description="The object's kind.")]
Namespace = Annotated[str, Meta(description="The object's namespace; empty if it is cluster-scoped.")]
Name = Annotated[str, Meta(description="The object's name, or its generateName.")]


class _Part(Struct, frozen=True, rename="camel"):
    """A part of the report."""


class PolicyPart(_Part, frozen=True):
    """The policy of the run."""

    origin: Annotated[str, Meta(description="The policy's file or ConfigMap, or: built-in defaults.")]
    revision: Annotated[str, Meta(description="The first 12 hex digits of its SHA-256; empty for the defaults.")]
    mode: Annotated[Mode, Meta(description="Its mode, or that of --mode.")]
    help: Annotated[str, Meta(description="Where its messages send authors; empty if it has none.")]


class ObjectPart(_Part, frozen=True):
    """An object that was evaluated."""

    file: File
    document: Document
    line: Line
    group: Annotated[str, Meta(description="The API group of the kind; empty for the core group.")]
    kind: Kind
    namespace: Namespace
    name: Name
    template: Annotated[str, Meta(description="The template that Helm rendered it from; empty if not known.")]
    outcome: Annotated[Outcome, Meta(description="The strongest outcome of its findings. For a workload: its pods'.")]
    patch: Annotated[
        tuple[dict[str, Any], ...], Meta(description="The JSON Patch (RFC 6902) that the webhook applies to it.")
    ]


class FindingPart(_Part, frozen=True):
    """What a rule found in an object."""

    file: File
    document: Document
    line: Line
    column: Column
    end_column: Annotated[int | None, Meta(description="The column behind the place; null if it is not known.")]
    kind: Kind
    namespace: Namespace
    name: Name
    rule: Annotated[str, Meta(description="The rule's name, for tokenguard rules RULE.")]
    action: Annotated[
        Action, Meta(description="reject, patch, warn; with --verbose also audit, and off for an exempt finding.")
    ]
    path: Annotated[str, Meta(description="The place in the object; empty for the object itself.")]
    message: Annotated[str, Meta(description="What is wrong there.")]
    help: Annotated[str, Meta(description="What is done about it or, if nothing is, what the author can do.")]
    changes: Annotated[tuple[str, ...], Meta(description="What the patch changes, each in one line of YAML.")]
    fix_obstacle: Annotated[str, Meta(description="Why --fix cannot write the changes; empty if it can.")]
    counts: Annotated[bool, Meta(description="Whether it affects the outcome; others appear with --verbose only.")]


class OutcomeTotals(_Part, frozen=True):
    """Numbers by outcome."""

    denied: int
    patched: int
    warned: int
    allowed: int

    @classmethod
    def of(cls, outcomes: Counter[Outcome]) -> "OutcomeTotals":
        """Return the numbers of a counter."""
        return cls(**{outcome.value: outcomes[outcome] for outcome in Outcome})


class SummaryPart(OutcomeTotals, frozen=True):
    """Numbers of evaluated objects by outcome, and other totals."""

    objects: Annotated[int, Meta(description="How many objects were evaluated.")]
    files: Annotated[int, Meta(description="How many files contain one.")]
    under_enforce: Annotated[
        OutcomeTotals | None,
        Meta(description="The outcomes under mode enforce; null if the policy enforces everywhere."),
    ]
    exempt: Annotated[int, Meta(description="How many findings would count without the policy's exemptions.")]
    patched_without_finding: Annotated[
        dict[str, int], Meta(description="By rule, how many objects the webhook patches though nothing is wrong.")
    ]
    fixed: Annotated[int, Meta(description="How many findings --fix --write has repaired.")]
    rules: Annotated[dict[str, OutcomeTotals], Meta(description="Numbers of findings by rule.")]
    not_evaluated: Annotated[dict[str, int], Meta(description="Numbers of documents that no rule applies to.")]


class ProblemPart(_Part, frozen=True):
    """What could not be read, or a warning."""

    file: File
    document: Annotated[int | None, Meta(description="The number of the document; null for the whole file.")]
    line: Annotated[int | None, Meta(description="The line; null if it is not known.")]
    column: Column
    message: Annotated[str, Meta(description="What is wrong.")]


class NotEvaluatedPart(ProblemPart, frozen=True):
    """An object or a document that no rule was applied to."""

    reason: Annotated[str, Meta(description="Why, as the summary counts it.")]
    kind: Annotated[str, Meta(description="The object's kind; empty for a document that is no object.")]


class SecretPart(_Part, frozen=True):
    """A Secret that pods use and no file contains."""

    namespace: Annotated[str, Meta(description="Its namespace; empty if that is unknown.")]
    name: Name


class Report(_Part, frozen=True):
    """The report."""

    policy: PolicyPart
    objects: Annotated[tuple[ObjectPart, ...], Meta(description="The objects that were evaluated, in their order.")]
    findings: Annotated[tuple[FindingPart, ...], Meta(description="What rules found.")]
    summary: SummaryPart
    problems: Annotated[tuple[ProblemPart, ...], Meta(description="What could not be evaluated.")]
    warnings: Annotated[tuple[ProblemPart, ...], Meta(description="What changes the exit status only with --strict.")]
    missing_secrets: Annotated[tuple[SecretPart, ...], Meta(description="Secrets that pods use and no file contains.")]
    not_evaluated: Annotated[tuple[NotEvaluatedPart, ...], Meta(description="What no rule was applied to, and why.")]


def format_report(report: CheckReport, options: FormatOptions = DEFAULT_OPTIONS) -> Iterator[str]:
    """Yield the report as indented JSON."""
    summary, policy = report.summary, report.policy
    document = Report(
        policy=PolicyPart(policy.origin, policy.revision, policy.given_mode or policy.mode, report.help),
        objects=tuple(_object(each) for each in report.evaluations if each.is_evaluated),
        findings=tuple(map(_finding, report.shown_findings(verbose=options.verbose))),
        summary=SummaryPart(
            **msgspec.structs.asdict(OutcomeTotals.of(summary.outcomes)),
            objects=summary.objects,
            files=summary.files,
            under_enforce=None if summary.enforced is None else OutcomeTotals.of(summary.enforced),
            exempt=summary.exempt,
            patched_without_finding=report.patched_without_finding,
            fixed=report.fixed,
            rules={rule: OutcomeTotals.of(counts) for rule, counts in report.by_rule().items()},
            not_evaluated={reason: len(skipped) for reason, skipped in report.by_reason().items()},
        ),
        problems=tuple(map(_problem, report.problems)),
        warnings=tuple(map(_problem, report.warnings)),
        missing_secrets=tuple(SecretPart(*names) for names in report.missing_secrets),
        not_evaluated=tuple(map(_not_evaluated, report.not_evaluated)),
    )
    head = {"version": VERSION, "toolVersion": version("tokenguard-webhook")}
    yield format_json(head | msgspec.to_builtins(document))


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the report."""
    return json_schema.report_schema(Report, "check", VERSION)


def _object(evaluation: ManifestEvaluation) -> ObjectPart:
    manifest = evaluation.manifest
    return ObjectPart(
        file=evaluation.file,
        document=manifest.document,
        line=manifest.line,
        group=manifest.group,
        kind=manifest.kind,
        namespace=evaluation.namespace,
        name=manifest.name,
        template=manifest.template_file,
        outcome=evaluation.outcome,
        patch=tuple(evaluation.decision.patch),
    )


def _finding(finding: CheckFinding) -> FindingPart:
    evaluation, manifest, excerpt = finding.evaluation, finding.evaluation.manifest, finding.excerpt
    return FindingPart(
        file=evaluation.file,
        document=manifest.document,
        line=finding.line,
        column=excerpt.column if excerpt else None,
        end_column=excerpt.end_column if excerpt else None,
        kind=manifest.kind,
        namespace=evaluation.namespace,
        name=manifest.name,
        rule=finding.rule,
        action=finding.action,
        path=finding.path,
        message=finding.message,
        help=finding.advice,
        changes=finding.changes,
        fix_obstacle=finding.obstacle,
        counts=finding.counts,
    )


def _problem(problem: InputProblem) -> ProblemPart:
    return ProblemPart(problem.file, problem.document, problem.line, problem.column, problem.message)


def _not_evaluated(skipped: NotEvaluated) -> NotEvaluatedPart:
    problem = skipped.problem
    return NotEvaluatedPart(
        problem.file, problem.document, problem.line, problem.column, problem.message, skipped.reason, skipped.kind
    )
