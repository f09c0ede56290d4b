"""Applies the webhook's patches to manifests and returns them as a stream of YAML documents.

An unchanged document is returned as it was written, and so is one that cannot be read. A changed document, and one that
was JSON, is written again from its values: its comments, anchors and layout are lost.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

import jsonpatch

from webhook.check.input_files import InputProblem
from webhook.check.report import CheckReport, ParsedFile
from webhook.core.documents.stream import Document, cut
from webhook.core.documents.yaml_writer import write_document

_Patch = list[dict[str, Any]]
_DIRECTIVES = re.compile(r"^%.*\n?", re.MULTILINE)


def fixed_documents(report: CheckReport) -> tuple[str, ...] | InputProblem:
    """Return all documents as the webhook would leave them, or the file that cannot be reproduced."""
    unread = next((problem.path for problem in report.problems if problem.document is None), None)
    if unread is not None:
        return _lost(unread)
    patches = _patches(report)
    written: list[str] = []
    for file in report.files:
        try:
            written += map(_delimited, _pieces(file, patches))
        except UnicodeDecodeError:
            return InputProblem(file.source.path, "is not UTF-8, so --fix prints nothing; save it as UTF-8")
        except ValueError:  # changed JSON is mixed with text that cannot be read
            return _lost(file.source.path)
    if report.files and report.files[0].data.startswith(BOM_UTF8):
        written.insert(0, "\ufeff")
    return tuple(filter(None, written))


def _lost(path: str) -> InputProblem:
    return InputProblem(path, "cannot be reproduced, so --fix prints nothing; leave it out or correct it")


def changed_documents(report: CheckReport) -> int:
    """Return the number of changed documents."""
    return len(_patches(report))


def _patches(report: CheckReport) -> dict[int, _Patch]:
    """Return the patch of each changed document, by the document's identity."""
    patches: dict[int, _Patch] = {}
    for evaluation in report.evaluations:
        manifest = evaluation.manifest
        for operation in evaluation.decision.patch:
            moved = operation | {"path": manifest.pointer + operation["path"]}
            patches.setdefault(id(manifest.source), []).append(moved)
    return patches


def _pieces(file: ParsedFile, patches: dict[int, _Patch]) -> Iterator[str]:
    """Yield the parts between the file's `---`, the changed ones written again. Raises `ValueError`."""
    sources = {id(manifest.source): manifest.source for manifest in file.reading.manifests}
    changes = {source.text: source for key, source in sources.items() if source.text is not None and key in patches}
    values = [source for source in sources.values() if source.text is None]
    numbers = {source.number for source in sources.values()}
    unread = [problem.line for problem in file.reading.problems if problem.document not in numbers]
    line = 1
    for piece in cut(file.data.removeprefix(BOM_UTF8).decode()):
        after = line + piece[:-1].count("\n") + 1
        within = [source for source in values if line <= source.line_of("") < after]
        if piece in changes:
            yield _rewritten(changes[piece], patches)
        elif not within or not any(line <= number <= after for number in unread):
            yield from [_rewritten(source, patches) for source in within] or [piece]
        elif any(id(source) in patches for source in within):
            raise ValueError
        else:
            yield piece
        line = after


def _rewritten(source: Document, patches: dict[int, _Patch]) -> str:
    return write_document(jsonpatch.apply_patch(source.value(), patches.get(id(source), [])))


def _delimited(piece: str) -> str:
    """Return a piece that can follow another: with a `---` before it and a line end after it."""
    if all(line.lstrip()[:1] in ("", "#", "%") for line in piece.splitlines()):
        piece = _DIRECTIVES.sub("", piece)  # allowed at the very start only
    elif not piece.startswith("---"):
        piece = f"---\n{piece}"
    return piece if piece.endswith("\n") or not piece else f"{piece}\n"
