"""What `check` finds, as values: every output format is made from these."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from webhook.check.input_files import InputFile, InputProblem, displayed
from webhook.check.source_map import Excerpt, SourceMap
from webhook.core.decision import INVALID_POLICY, Coverage, Decision, Outcome
from webhook.core.kinds import Subject
from webhook.core.manifests import Manifest, Reading
from webhook.core.policy.model import Action, Mode

OTHER_KINDS = "other kinds"
NO_POD_TEMPLATE = "without a pod template"
KUSTOMIZE_PATCHES = "kustomize patches"
TOOL_FILES = "files of kustomize and kubectl"
HELM_FILES = "files of Helm charts"
TEMPLATES = "unrendered templates"
NO_OBJECTS = "not Kubernetes objects"
"""Reasons why an object or document is not evaluated; others are `namespace NAME` and those of skipped files."""
NO_MANIFESTS = frozenset({KUSTOMIZE_PATCHES, TOOL_FILES, HELM_FILES, TEMPLATES, NO_OBJECTS})
"""The reasons of documents that are never sent to the API server as they are."""

OUTCOMES = {Action.REJECT: Outcome.DENIED, Action.PATCH: Outcome.PATCHED, Action.WARN: Outcome.WARNED}
"""The outcome of a finding that counts, the strongest first."""
DEFAULT_ORIGIN = "built-in defaults"
NamespacedName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PolicyInUse:
    """The policy of a run: where it comes from, its revision, and its mode; `given_mode` replaces that."""

    origin: str = DEFAULT_ORIGIN
    revision: str = ""
    mode: Mode = Mode.ENFORCE
    given_mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A file with its bytes (which may hold a Secret's data) and the manifests in it."""

    source: InputFile
    data: bytes = field(repr=False)
    reading: Reading


@dataclass(frozen=True, slots=True)
class ManifestEvaluation:
    """The decision about one object; `outcome` is that of the findings that count.

    `namespace` is empty for a cluster-scoped object, even if its pods are in a namespace, which is unknown.
    """

    file_path: str
    manifest: Manifest
    namespace: str
    subject: Subject | None
    decision: Decision
    outcome: Outcome = Outcome.ALLOWED

    @property
    def file(self) -> str:
        """The file's path as text."""
        return displayed(self.file_path)

    @property
    def title(self) -> str:
        """The object's kind and name."""
        return self.manifest.title

    @property
    def source_title(self) -> str:
        """The object's kind and name, and the template that Helm rendered it from, if that is known."""
        template = self.manifest.template_file
        return f"{self.title}, rendered from {template}" if template else self.title

    @property
    def full_title(self) -> str:
        """The object's kind, name and namespace, if it is in one."""
        return f"{self.title} in namespace {self.namespace}" if self.namespace else self.title

    @property
    def is_evaluated(self) -> bool:
        """Whether rules were applied to the object."""
        return self.decision.coverage is Coverage.EVALUATED

    def problem(self, message: str) -> InputProblem:
        """Return a message about the whole object, at its line."""
        manifest = self.manifest
        return InputProblem(self.file_path, message, manifest.line, manifest.document, title=self.full_title)

    def problem_at(self, pointer: str, message: str, source: SourceMap, *, show_value: bool = False) -> InputProblem:
        """Return a message about a field of the object, at its key."""
        pointer = self.manifest.pointer + pointer
        excerpt = source.field_excerpt(pointer, show_value=show_value)
        line, column = (excerpt.line, excerpt.column) if excerpt else (self.manifest.source.line_of(pointer), None)
        return InputProblem(self.file_path, message, line, self.manifest.document, column, excerpt, self.full_title)


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One finding: `path` is the place in the object, `line` counts from one.

    `message` says what is wrong, `advice` what is done about it or what the author can do, and `changes` what is
    patched. `excerpt` is the place in the file, if that is known. `counts`: it affects the object's outcome and the
    exit status; others are shown on request only. `obstacle` is why `--fix` cannot write the patch into the file; empty
    if it can. `unpatched_in` is the mode in which it is not patched, though it would be in mode enforce.
    """

    evaluation: ManifestEvaluation
    rule: str
    action: Action
    path: str
    message: str
    line: int
    advice: str = ""
    changes: tuple[str, ...] = ()
    excerpt: Excerpt | None = None
    counts: bool = True
    obstacle: str = ""
    unpatched_in: Mode | None = None

    @property
    def rank(self) -> int:
        """0 for the most severe ones; the largest number for those that do not count."""
        return [*OUTCOMES].index(self.action) if self.counts else len(OUTCOMES)

    @property
    def position(self) -> tuple[int, int]:
        """Its line and column; 0 for a column that is not known."""
        return self.line, self.excerpt.column if self.excerpt else 0

    @property
    def statement(self) -> str:
        """Where in the object something is wrong, and what."""
        colon = ":" if self.path and self.rule == INVALID_POLICY else ""  # the message is a sentence of its own
        return f"{self.path}{colon} {self.message}".strip()

    @property
    def detail(self) -> str:
        """Where something is wrong, what, and what to do or, with its field, what would be patched."""
        change = f" ({self.changes[0]})" if self.advice and len(self.changes) == 1 else ""
        obstacle = self.obstacle and f"--fix cannot edit it: {self.obstacle}"
        return "; ".join(filter(None, (self.statement, f"{self.advice}{change}", obstacle)))


@dataclass(frozen=True, slots=True)
class NotEvaluated:
    """An object or a document that no rule was applied to, and why; `kind` and `name` are empty for a document.

    `name` is the object's as it is shown, with its kind.
    """

    reason: str
    problem: InputProblem
    kind: str = ""
    name: str = ""


def _outcomes() -> "Counter[Outcome]":
    return Counter(dict.fromkeys(reversed(Outcome), 0))


@dataclass(slots=True)
class CheckSummary:
    """Numbers of objects. `outcomes` and `files` count evaluated objects, each by its strongest finding.

    `enforced` counts the outcomes under mode enforce; None if that is the mode of every object. `exempt` is the number
    of findings that would count without the policy's exemptions.
    """

    files: int = 0
    exempt: int = 0
    outcomes: Counter[Outcome] = field(default_factory=_outcomes)
    enforced: Counter[Outcome] | None = None

    @property
    def objects(self) -> int:
        """The number of evaluated objects."""
        return self.outcomes.total()


@dataclass
class CheckReport:
    """The result of a run.

    `notes` are findings that are shown on request only: those that only the audit log would record, those that are not
    about what the author wrote, and exempt ones. `problems` are files and documents that could not be read, and objects
    whose kind is misspelt, `not_evaluated` objects and documents that no rule was applied to. `warnings` are about
    documents that kubectl may read differently than their author expects; they don't affect the exit status.
    `missing_secrets` are the Secrets that no file has, each with the objects whose pods use it. `fail_on` is the
    weakest action of a finding that does. `help` is where the policy's `messages` send authors. `fixed` is the number
    of findings that were repaired before this run, and `fix_hint` says how to repair others.
    """

    policy: PolicyInUse = field(default_factory=PolicyInUse)
    files: list[ParsedFile] = field(default_factory=list)
    evaluations: list[ManifestEvaluation] = field(default_factory=list)
    findings: list[CheckFinding] = field(default_factory=list)
    notes: list[CheckFinding] = field(default_factory=list)
    problems: list[InputProblem] = field(default_factory=list)
    not_evaluated: list[NotEvaluated] = field(default_factory=list)
    warnings: list[InputProblem] = field(default_factory=list)
    missing_secrets: dict[NamespacedName, list[ManifestEvaluation]] = field(default_factory=dict)
    summary: CheckSummary = field(default_factory=CheckSummary)
    fail_on: Action = Action.WARN
    strict: bool = False
    fixed: int = 0
    help: str = ""
    fix_hint: str = "--diff shows how, --fix --write does it"

    @property
    def exit_status(self) -> int:
        """2 if something could not be evaluated, 1 for a finding or, if `strict`, a warning that fails, else 0."""
        return 2 if self.problems else int(self.warnings_fail or any(map(self.fails, self.findings)))

    @property
    def fixable(self) -> int:
        """The number of findings that `--fix` repairs."""
        return sum(finding.action is Action.PATCH and not finding.obstacle for finding in self.findings)

    @property
    def left_to_authors(self) -> int:
        """The number of findings that `--fix` does not repair in any mode."""
        return len(self.findings) - self.fixable - sum(finding.unpatched_in is not None for finding in self.findings)

    @property
    def unpatched(self) -> Counter[Mode]:
        """The number of patches that are not made because of the mode, by mode."""
        return Counter(each.unpatched_in for each in (*self.findings, *self.notes) if each.unpatched_in is not None)

    @property
    def patched_without_finding(self) -> dict[str, int]:
        """The number of objects that the webhook patches though their author wrote nothing wrong, by rule."""
        patches = {(note.rule, id(note.evaluation)) for note in self.notes if note.action is Action.PATCH}
        return dict(sorted(Counter(rule for rule, _ in patches).items()))

    def sort(self, paths: Iterable[str]) -> None:
        """Sort what is about documents by file, in the order of `paths`, and by line."""
        order = {path: number for number, path in enumerate(paths)}

        def position(problem: InputProblem) -> tuple[int, int, int]:
            return order.get(problem.path, len(order)), problem.line or 0, problem.column or 0

        self.problems.sort(key=position)
        self.warnings.sort(key=position)
        self.not_evaluated.sort(key=lambda skipped: position(skipped.problem))

    @property
    def warnings_fail(self) -> bool:
        """Whether there are warnings that make the run fail."""
        return self.strict and bool(self.warnings)

    def shown_warnings(self, *, quiet: bool) -> list[InputProblem]:
        """Return the warnings, with `quiet` only if they make the run fail."""
        return self.warnings if self.warnings_fail or not quiet else []

    def fails(self, finding: CheckFinding) -> bool:
        """Return whether a finding makes the run fail."""
        actions = tuple(OUTCOMES)
        return finding.counts and finding.action in actions[: actions.index(self.fail_on) + 1]

    def shown_findings(self, *, verbose: bool) -> list[CheckFinding]:
        """Return the findings, with `verbose` also the notes, in the order of their objects and places."""
        if not verbose:
            return self.findings
        order = {id(evaluation): number for number, evaluation in enumerate(self.evaluations)}
        return sorted([*self.findings, *self.notes], key=lambda each: (order[id(each.evaluation)], *each.position))

    def by_rule(self) -> dict[str, Counter[Outcome]]:
        """Return the number of findings of each rule, by their outcome, most severe first."""
        rules: dict[str, Counter[Outcome]] = {}
        for finding in self.findings:
            rules.setdefault(finding.rule, _outcomes())[OUTCOMES[finding.action]] += 1
        return dict(sorted(rules.items(), key=lambda item: [-count for count in item[1].values()]))

    def by_reason(self) -> dict[str, list[NotEvaluated]]:
        """Return what was not evaluated by reason, the largest number first."""
        reasons: dict[str, list[NotEvaluated]] = {}
        for document in self.not_evaluated:
            reasons.setdefault(document.reason, []).append(document)
        return dict(sorted(reasons.items(), key=lambda item: -len(item[1])))
