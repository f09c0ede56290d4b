"""Applies the webhook's patches to manifests: in their files, or as a stream of YAML documents.

Patches are applied to the text, so that comments and layout stay, and the result is read again: a document that would
not have the patched values is not fixed. It is returned as it was written, and so is one that cannot be read.
"""

import json
import re
from bisect import bisect_left
from codecs import BOM_UTF8
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jsonpatch

from webhook.check.input_files import InputProblem
from webhook.check.report import NO_MANIFESTS, CheckReport, ParsedFile
from webhook.check.text_edits import edit_text
from webhook.check.yaml_aliases import LayoutError, lost_anchor, outside_aliases, with_own_values
from webhook.core.documents.document import DocumentError
from webhook.core.documents.json_reader import read_json
from webhook.core.documents.stream import Document, cut
from webhook.core.documents.yaml_reader import YamlDocument
from webhook.core.documents.yaml_writer import write_document
from webhook.core.policy.model import Action

_Patch = list[dict[str, Any]]
_BY_HAND = "correct it by hand, 'tokenguard check' shows the patch"
_UTF_8 = "save it as UTF-8"
_MAX_ATTEMPTS = 4
"""How often a document with aliases is edited: an alias can be in what another one names."""
_UNKNOWN = "its layout cannot be edited"
_NO_DOCUMENTS: Mapping[str, dict[int, int]] = {}
_DIRECTIVES = re.compile(r"^%.*\n?", re.MULTILINE)


class FixedDocuments(NamedTuple):
    """All objects as the webhook would leave them, except for `unfixed` ones, whose layout cannot be edited.

    Documents that cannot be read are as they were; `left_out` is the number of those that are no Kubernetes objects.
    """

    pieces: tuple[str, ...]
    unfixed: int
    left_out: int


class FixedFile(NamedTuple):
    """A file with patches: its text before and after, how many documents change, and those that cannot be edited."""

    path: str
    before: str
    after: str
    changed: int
    unfixed: tuple["UnfixedDocument", ...]


class UnfixedDocument(NamedTuple):
    """A document whose layout cannot be edited, why, and the line (from 1) of the field that is to blame."""

    source: Document
    reason: str
    line: int

    def problem(self, path: str) -> InputProblem:
        """Return the message about it."""
        return InputProblem(path, f"is not fixed: {self.reason}; {_BY_HAND}", self.line, self.source.number)


def fixed_documents(report: CheckReport) -> FixedDocuments | InputProblem:
    """Return all objects as the webhook would leave them, or the file that cannot be reproduced."""
    unread = next((problem.path for problem in report.problems if problem.document is None), None)
    if unread is not None:
        return _lost(unread)
    patches = _patches(report)
    left_out = _left_out(report)
    written: list[str] = []
    unfixed = 0
    files = [file for file in report.files if _has_objects(file, left_out.get(file.source.path, ()))]
    keeps_json = len(files) == 1 and _is_json(files[0])
    for file in files:
        fixer = _Fixer(file, patches, left_out)
        try:
            pieces = fixer.pieces(json_as_yaml=not keeps_json)
            written += pieces if keeps_json else map(_delimited, pieces)
        except UnicodeDecodeError:
            return InputProblem(file.source.path, f"is not UTF-8, so --fix prints nothing; {_UTF_8}")
        except ValueError:  # changed JSON is mixed with text that cannot be read
            return _lost(file.source.path)
        unfixed += len(fixer.unfixed)
    if files and files[0].data.startswith(BOM_UTF8):
        written.insert(0, "\ufeff")
    return FixedDocuments(tuple(filter(None, written)), unfixed, sum(map(len, left_out.values())))


def fixed_files(report: CheckReport) -> Iterator[FixedFile | InputProblem]:
    """Yield the files that change, or why a file cannot be changed."""
    patches = _patches(report)
    for file in report.files:
        changed = len({id(manifest.source) for manifest in file.reading.manifests} & patches.keys())
        if not changed:
            continue
        fixer = _Fixer(file, patches)
        try:
            after = "".join(fixer.pieces(json_as_yaml=False))
        except UnicodeDecodeError:
            yield InputProblem(file.source.path, f"is not UTF-8, so it is not changed; {_UTF_8}")
            continue
        except ValueError:
            yield InputProblem(file.source.path, "cannot be changed in its layout; write it as YAML, one document each")
            continue
        unfixed = tuple(fixer.unfixed)
        mark = "\ufeff" if file.data.startswith(BOM_UTF8) else ""
        yield FixedFile(file.source.path, file.data.decode(), mark + after, changed - len(unfixed), unfixed)


def add_obstacles(report: CheckReport, files: Iterable[FixedFile | InputProblem]) -> None:
    """Add to the findings that a patch repairs why `--fix` cannot write it; `files` are those that would change."""
    in_files = {file.path: f"the file {file.message}" for file in files if isinstance(file, InputProblem)}
    in_documents = {
        id(unfixed.source): f"line {unfixed.line}: {unfixed.reason}"
        for file in files
        if isinstance(file, FixedFile)
        for unfixed in file.unfixed
    }
    for number, finding in enumerate(report.findings if in_files or in_documents else ()):
        evaluation = finding.evaluation
        obstacle = in_documents.get(id(evaluation.manifest.source)) or in_files.get(evaluation.file_path)
        if obstacle and finding.action is Action.PATCH:
            report.findings[number] = replace(finding, obstacle=obstacle)


def _left_out(report: CheckReport) -> dict[str, dict[int, int]]:
    """Return the documents that are not sent to the API server as they are, by file and number, each with a line.

    A List in which one object has a placeholder is not among them.
    """
    left_out: dict[str, dict[int, int]] = {}
    objects = {(evaluation.file_path, evaluation.manifest.document) for evaluation in report.evaluations}
    for skipped in report.not_evaluated:
        problem = skipped.problem
        number = problem.document
        if skipped.reason in NO_MANIFESTS and number is not None and (problem.path, number) not in objects:
            left_out.setdefault(problem.path, {})[number] = problem.line or 0
    return left_out


def _has_objects(file: ParsedFile, skipped: Collection[int]) -> bool:
    """Return whether a file has documents besides those that are left out."""
    numbers = {manifest.document for manifest in file.reading.manifests}
    return not numbers.union(problem.document for problem in file.reading.problems).issubset(skipped)


def _lost(path: str) -> InputProblem:
    return InputProblem(path, "cannot be reproduced, so --fix prints nothing; leave it out or correct it")


def _is_json(file: ParsedFile) -> bool:
    """Return whether a file is JSON from its beginning to its end."""
    manifests = file.reading.manifests
    return bool(manifests) and not file.reading.problems and all(each.source.text is None for each in manifests)


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


def _first_line(source: Document) -> int:
    return source.line_of("")


def _has_line(lines: Sequence[int], start: int, end: int) -> bool:
    """Return whether one of the sorted lines is in a range, without its end."""
    number = bisect_left(lines, start)
    return number < len(lines) and lines[number] < end


class _Fixer:
    """Changes the documents of one file; `unfixed` are those whose layout cannot be edited."""

    def __init__(
        self, file: ParsedFile, patches: dict[int, _Patch], left_out: Mapping[str, dict[int, int]] = _NO_DOCUMENTS
    ) -> None:
        self.unfixed: list[UnfixedDocument] = []
        self._file = file
        self._patches = patches
        self._left_out = left_out

    def pieces(self, *, json_as_yaml: bool) -> Iterator[str]:
        """Yield the parts between the file's `---`, changed where they have to be. Raises `ValueError`."""
        file, patches = self._file, self._patches
        skipped = self._left_out.get(file.source.path, {})
        sources = {
            id(manifest.source): manifest.source
            for manifest in file.reading.manifests
            if manifest.document not in skipped
        }
        changes = {source.text: source for key, source in sources.items() if source.text is not None and key in patches}
        values = sorted((source for source in sources.values() if source.text is None), key=_first_line)
        numbers = {source.number for source in sources.values()}
        unread = sorted(problem.line for problem in file.reading.problems if problem.document not in numbers)
        kept = [_first_line(source) for source in sources.values()]
        kept += [problem.line for problem in file.reading.problems if problem.document not in skipped]
        kept.sort()
        left_out = sorted(skipped.values())
        line = 1
        for piece in cut(file.data.removeprefix(BOM_UTF8).decode()):
            after = line + piece[:-1].count("\n") + 1
            within = values[slice(*(bisect_left(values, end, key=_first_line) for end in (line, after)))]
            if skipped and not _has_line(kept, line, after):
                yield from [] if _has_line(left_out, line, after + 1) else [piece]
            elif piece in changes:
                yield self._changed(changes[piece])
            elif within and not json_as_yaml:
                yield self._changed_json(piece, within)
            elif not within or not _has_line(unread, line, after + 1):
                yield from [self._rewritten(source) for source in within] or [piece]
            elif any(id(source) in patches for source in within):
                raise ValueError
            else:
                yield piece
            line = after

    def _changed(self, source: Document) -> str:
        """Return a document written as YAML with its patch, or as it is if that is impossible."""
        before, wanted = source.text or "", self._value(source)
        operations = self._patches[id(source)]
        own = outside_aliases(before, operations)  # an anchor that changes may be all that is needed
        for first in (own, operations) if own != operations else (operations,):
            try:
                return _edited(before, first, wanted)
            except LayoutError as error:
                cause = error
        self._add_unfixed(source, cause)
        return before

    def _add_unfixed(self, source: Document, error: LayoutError) -> None:
        first = source.source()[1]
        self.unfixed.append(UnfixedDocument(source, error.reason(first), first + error.line))

    def _changed_json(self, piece: str, sources: Sequence[Document]) -> str:
        """Return a piece with the patches of its JSON documents, the last one first."""
        length = len(piece)
        for source in reversed(sources):
            if id(source) not in self._patches:
                continue
            start = length - len(source.source()[0])
            try:
                piece = piece[:start] + _edited_json(piece[start:], self._patches[id(source)], self._value(source))
            except LayoutError as error:
                self._add_unfixed(source, error)
        return piece

    def _value(self, source: Document) -> Any:
        return jsonpatch.apply_patch(source.value(), self._patches.get(id(source), []))

    def _rewritten(self, source: Document) -> str:
        return write_document(self._value(source))


def _edited_json(before: str, operations: Sequence[dict[str, Any]], wanted: Any) -> str:
    """Return the text of a JSON document with these changes. Raises `LayoutError`."""
    text = edit_text(before, operations, is_json=True)
    if _read(text, is_json=True) != wanted:
        raise LayoutError(_UNKNOWN)
    return text


def _edited(before: str, operations: Sequence[dict[str, Any]], wanted: Any) -> str:
    """Return the text of a document with these changes, and others until it has the wanted value.

    Raises `LayoutError` if it cannot have that.
    """
    cause = LayoutError(_UNKNOWN)
    for _ in range(_MAX_ATTEMPTS):
        result = None
        try:
            text = edit_text(before, operations, is_json=_is_json_text(before))
            result = _read(text)
            if result == wanted:
                return text
            cause = lost_anchor(before, text) or cause
        except LayoutError as error:
            cause = error
        operations = with_own_values(before, operations, result, wanted)
    raise cause


def _is_json_text(text: str) -> bool:
    """Return whether a document of YAML is written as JSON."""
    try:
        json.loads(text.removeprefix("---"))
    except ValueError:
        return False
    return True


def _read(text: str, *, is_json: bool = False) -> Any:
    """Return the value of a document, None if it cannot be read."""
    try:
        return next(read_json(text, 1, 1))[1] if is_json else YamlDocument(text, 1, 1).value()
    except DocumentError:
        return None


def _delimited(piece: str) -> str:
    """Return a piece that can follow another: with a `---` before it and a line end after it."""
    newline = "\r\n" if "\r\n" in piece else "\n"
    if all(line.lstrip()[:1] in ("", "#", "%") for line in piece.splitlines()):
        piece = _DIRECTIVES.sub("", piece)  # allowed at the very start only
    elif not piece.startswith("---"):
        piece = f"---{newline}{piece}"
    return piece if piece.endswith("\n") or not piece else f"{piece}{newline}"
