"""What `check` finds, as values: every output format is made from these."""

from collections import Counter
from dataclasses import dataclass, field

from webhook.check.input_files import InputFile, InputProblem, displayed
from webhook.core.decision import Coverage, Decision, Outcome
from webhook.core.kinds import Subject
from webhook.core.manifests import Manifest, Reading
from webhook.core.policy.model import Action


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A file with its bytes (which may hold a Secret's data) and the manifests in it."""

    source: InputFile
    data: bytes = field(repr=False)
    reading: Reading


@dataclass(frozen=True, slots=True)
class ManifestEvaluation:
    """The decision about one object; `multi_document` is true if its file has more than one document.

    `namespace` is empty for a cluster-scoped object.
    """

    file_path: str
    manifest: Manifest
    namespace: str
    subject: Subject | None
    decision: Decision
    multi_document: bool

    @property
    def file(self) -> str:
        """The file's path as text."""
        return displayed(self.file_path)

    @property
    def title(self) -> str:
        """The object's kind and name."""
        manifest = self.manifest
        return f"{manifest.kind}/{manifest.name}" if manifest.name else manifest.kind

    @property
    def is_evaluated(self) -> bool:
        """Whether rules were applied to the object."""
        return self.decision.coverage is Coverage.EVALUATED


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One finding: `path` is the place in the object, `line` counts from one."""

    evaluation: ManifestEvaluation
    rule: str
    action: Action
    path: str
    detail: str
    line: int


def _outcomes() -> "Counter[Outcome]":
    return Counter(dict.fromkeys(reversed(Outcome), 0))


@dataclass(slots=True)
class CheckSummary:
    """Numbers of objects. `outcomes` and `files` count evaluated objects, each by its strongest finding.

    `excluded` counts objects by namespace that no rule applies to by design, `not_evaluated` counts objects by kind
    that no rule exists for.
    """

    files: int = 0
    outcomes: Counter[Outcome] = field(default_factory=_outcomes)
    excluded: Counter[str] = field(default_factory=Counter)
    not_evaluated: Counter[str] = field(default_factory=Counter)

    @property
    def objects(self) -> int:
        """The number of evaluated objects."""
        return self.outcomes.total()


@dataclass
class CheckReport:
    """The result of a run.

    `notes` are findings that are shown on request only: those that only the audit log would record, those that are not
    about what the author wrote, and exempt ones. `problems` are files and documents that could not be read, `skipped`
    documents in folders that are not Kubernetes objects, `not_evaluated` objects that no rule was applied to.
    `warnings` are about documents that kubectl may read differently than their author expects; they don't affect the
    exit status.
    """

    files: list[ParsedFile] = field(default_factory=list)
    evaluations: list[ManifestEvaluation] = field(default_factory=list)
    findings: list[CheckFinding] = field(default_factory=list)
    notes: list[CheckFinding] = field(default_factory=list)
    problems: list[InputProblem] = field(default_factory=list)
    skipped: list[InputProblem] = field(default_factory=list)
    not_evaluated: list[InputProblem] = field(default_factory=list)
    warnings: list[InputProblem] = field(default_factory=list)
    summary: CheckSummary = field(default_factory=CheckSummary)

    @property
    def exit_status(self) -> int:
        """0 for no finding, 1 for any finding, 2 if something could not be read."""
        return 2 if self.problems else int(bool(self.findings))

    def shown_findings(self, *, verbose: bool) -> list[CheckFinding]:
        """Return the findings, with `verbose` the notes after them."""
        return [*self.findings, *self.notes] if verbose else self.findings
