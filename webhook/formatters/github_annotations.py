"""Workflow commands of GitHub Actions: annotations at the lines of a change.

Source of the escapes: `escapeData` and `escapeProperty` in actions/toolkit, packages/core/src/command.ts; of the limit:
docs/problem-matchers.md there.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from webhook.check.input_files import STDIN, InputProblem, displayed
from webhook.core.formatting import counted, plain
from webhook.core.safe_output import safe_text
from webhook.formatters.check_lines import editor_line

MAX_ANNOTATIONS = 10
"""How many annotations of each kind GitHub shows of one step."""


class Annotation(NamedTuple):
    """An annotation: its kind (error, warning or notice), its command, and the same as a line of the log."""

    kind: str
    command: str
    line: str


def annotation_lines(annotations: Iterable[Annotation]) -> Iterator[str]:
    """Yield the commands that GitHub shows, the first of each kind, and then the others as lines of the log."""
    others: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for kind, command, line in annotations:
        counts[kind] += 1
        if counts[kind] <= MAX_ANNOTATIONS:
            yield f"{command}\n"
        else:
            others.setdefault(kind, []).append(line)
    for kind, lines in others.items():
        yield f"{counted(len(lines), f'more {kind}')}, as GitHub shows {MAX_ANNOTATIONS} of each kind:\n"
        yield from (f"{safe_text(line)}\n" for line in lines)


def annotation(kind: str, path: str, properties: Mapping[str, object], message: str, line: str) -> Annotation:
    """Return an annotation of a file; properties without a value are left out. The message may have several lines."""
    named = {"file": _path(path), **{name: str(value or "") for name, value in properties.items()}}
    shown = ",".join(f"{name}={_escaped_property(value)}" for name, value in named.items() if value)
    text = "%0A".join(map(_escaped, message.split("\n")))
    return Annotation(kind, f"::{kind} {shown}::{text}", line)


def problem_annotation(problem: InputProblem, kind: str = "error") -> Annotation:
    """Return the annotation of what could not be read, or of a warning."""
    properties = {"line": problem.line, "col": problem.column, "title": "tokenguard"}
    return annotation(kind, problem.path, properties, problem.message, editor_line(problem, kind))


def _path(path: str) -> str:
    """Return a path as annotations name it: relative to the root of the repository; empty for standard input."""
    if path == STDIN:
        return ""
    root = os.environ.get("GITHUB_WORKSPACE")
    full = Path(os.path.normpath(Path.cwd() / path))
    return displayed(str(full.relative_to(root)) if root and full.is_relative_to(root) else path)


def _escaped(text: str) -> str:
    return plain(text).replace("%", "%25")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
