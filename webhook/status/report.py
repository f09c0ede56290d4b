"""The status of an installation: a row for each part, and what is wrong with the command that repairs it."""

import datetime as dt
from dataclasses import dataclass

from webhook.core.formatting import FastStrEnum, counted

_EMERGENCY_EXIT = (
    "kubectl delete validatingwebhookconfiguration tokenguard && kubectl delete mutatingwebhookconfiguration tokenguard"
)


class RowState(FastStrEnum):
    """Whether a part is as it should be: `unknown` if it could not be read, `absent` if it is optional and missing."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"
    UNKNOWN = "unknown"
    ABSENT = "absent"


@dataclass(frozen=True)
class StatusProblem:
    """What is wrong, and what to do; `is_note` does not leave pods unprotected, `blocks_pods`: none can be created.

    `depends_on` are the rows whose problems, if they have any, are its likely cause.
    """

    text: str
    fix: str = ""
    is_note: bool = False
    blocks_pods: bool = False
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class StatusRow:
    """One part of an installation."""

    name: str
    summary: str
    state: RowState = RowState.OK
    problems: tuple[StatusProblem, ...] = ()


def build_row(name: str, summary: str, problems: tuple[StatusProblem, ...] = ()) -> StatusRow:
    """Return a row whose state follows from its problems."""
    if any(not problem.is_note for problem in problems):
        return StatusRow(name, summary, RowState.PROBLEM, problems)
    return StatusRow(name, summary, RowState.NOTE if problems else RowState.OK, problems)


def unread_row(name: str, reason: str) -> StatusRow:
    """Return the row of a part that could not be read."""
    return StatusRow(name, f"not read: {reason}", RowState.UNKNOWN)


@dataclass(frozen=True)
class StatusReport:
    """All rows, in the order in which they are shown, and of which cluster (its URL), by which context and when."""

    cluster: str
    context: str
    time: dt.datetime
    namespace: str
    rows: tuple[StatusRow, ...]

    @property
    def problems(self) -> tuple[StatusProblem, ...]:
        """What is wrong with any part, without effects of something else; first what blocks pods, last the notes."""
        causes = [problem for row in self.rows for problem in row.problems if self.cause(problem) is None]
        return tuple(sorted(causes, key=lambda problem: (not self.blocks_pods(problem), problem.is_note)))

    def cause(self, problem: StatusProblem) -> StatusProblem | None:
        """Return the problem of another part from which one probably follows; None if it is a cause itself."""
        parts = {row.name: row for row in self.rows}
        for name in problem.depends_on:
            for other in parts[name].problems if name in parts else ():
                if not other.is_note:
                    return self.cause(other) or other
        return None

    def effects(self, cause: StatusProblem) -> tuple[StatusProblem, ...]:
        """Return the problems that probably follow from one; first what blocks pods."""
        effects = [problem for row in self.rows for problem in row.problems if self.cause(problem) == cause]
        return tuple(sorted(effects, key=lambda problem: not problem.blocks_pods))

    def blocks_pods(self, cause: StatusProblem) -> bool:
        """Return whether no pod can be created because of a problem."""
        return any(problem.blocks_pods for problem in (cause, *self.effects(cause)))

    @property
    def emergency_exit(self) -> str:
        """The command that turns tokenguard off, if no pod can be created."""
        return _EMERGENCY_EXIT if any(map(self.blocks_pods, self.problems)) else ""

    @property
    def verdict(self) -> str:
        """The answer in a few words, with the number of problems and of parts that could not be read."""
        problems = [problem for problem in self.problems if not problem.is_note]
        if self.is_unknown:
            return "UNKNOWN: nothing could be read"
        verdict = "protected" if self.is_protected else "NOT PROTECTED"
        if self.emergency_exit:
            verdict = "NO POD CAN BE CREATED"
        unread = sum(row.state is RowState.UNKNOWN for row in self.rows)
        counts = [counted(len(problems), "problem")] if problems else []
        counts += [f"{counted(unread, 'part')} not read"] if unread else []
        return f"{verdict}: {', '.join(counts)}" if counts else verdict

    @property
    def is_protected(self) -> bool:
        """Whether something was read, and nothing was found that leaves pods unprotected."""
        return not self.is_unknown and not any(row.state is RowState.PROBLEM for row in self.rows)

    @property
    def is_unknown(self) -> bool:
        """Whether nothing could be read."""
        return all(row.state is RowState.UNKNOWN for row in self.rows)
