"""What `check` finds, as values: every output format is made from these."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from webhook.check.input_files import InputFile, InputProblem, displayed
from webhook.core.decision import Decision, Outcome
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
    """The decision about one object; `multi_document` is true if its file has more than one document."""

    file_path: str
    manifest: Manifest
    subject: Subject | None
    decision: Decision
    multi_document: bool = False


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One finding: `path` is the place in the object, `line` and `document` count from one."""

    file_path: str
    document: int
    multi_document: bool
    line: int
    kind: str
    namespace: str
    name: str
    rule: str
    action: Action
    path: str
    detail: str

    @property
    def file(self) -> str:
        """The file's path as text."""
        return displayed(self.file_path)

    @property
    def title(self) -> str:
        """The object's kind and name."""
        return f"{self.kind}/{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class CheckSummary:
    """Numbers of objects. `outcomes` and `files` count evaluated objects, each by its strongest finding.

    `left_alone` counts objects by namespace that no rule applies to by design, `not_evaluated` counts objects by kind
    that no rule exists for.
    """

    files: int = 0
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    left_alone: Mapping[str, int] = field(default_factory=dict)
    not_evaluated: Mapping[str, int] = field(default_factory=dict)

    @property
    def objects(self) -> int:
        """The number of evaluated objects."""
        return sum(self.outcomes.values())


@dataclass(frozen=True)
class CheckReport:
    """The result of a run.

    `notes` are findings that are shown on request only: those that only the audit log would record, those that are not
    about what the author wrote, and exempt ones. `problems` are files and documents that could not be read, `skipped`
    documents in folders that are not Kubernetes objects, `not_evaluated` objects that no rule was applied to.
    `warnings` are about documents that kubectl may read differently than their author expects; they don't affect the
    exit status.
    """

    files: tuple[ParsedFile, ...]
    evaluations: tuple[ManifestEvaluation, ...]
    findings: tuple[CheckFinding, ...]
    notes: tuple[CheckFinding, ...]
    problems: tuple[InputProblem, ...]
    skipped: tuple[InputProblem, ...]
    not_evaluated: tuple[InputProblem, ...]
    warnings: tuple[InputProblem, ...]
    summary: CheckSummary

    @property
    def exit_status(self) -> int:
        """0 for no finding, 1 for any finding, 2 if something could not be read."""
        return 2 if self.problems else int(bool(self.findings))

    def shown_findings(self, *, verbose: bool) -> tuple[CheckFinding, ...]:
        """Return the findings, with `verbose` the notes after them."""
        return (*self.findings, *self.notes) if verbose else self.findings
