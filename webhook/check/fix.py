"""What the webhook would make of manifests, as a stream of YAML documents.

A document in which nothing is changed is given back as it was written, and so is one that can't be read. One that is
changed, or that was JSON, is written anew from its values: its comments, anchors and layout are lost.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jsonpatch
import yaml

from webhook.check.checker import CheckReport, ParsedFile
from webhook.check.input_files import InputProblem
from webhook.core.manifests.documents import Document
from webhook.core.manifests.scalars import plain
from webhook.core.manifests.stream import cut

if TYPE_CHECKING:
    from yaml import SafeDumper as _Dumper
else:  # with libyaml, where it is there: many times faster
    _Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _KubernetesDumper(_Dumper):
    """Writes YAML that kubectl reads as it was meant."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base's signature
        """Write everything out: no anchors."""
        return True


def _string(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    """Quote what kubectl would take for a number or a yes (`y`, `1e3`), though this writer wouldn't."""
    style = "|" if "\n" in value else None if _reads_as_text(value) and value != "<<" else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _reads_as_text(value: str) -> bool:
    return isinstance(plain(value), str)


_KubernetesDumper.add_representer(str, _string)


_Patch = list[dict[str, Any]]
_DIRECTIVES = re.compile(r"^%.*\n?", re.MULTILINE)


def documents(report: CheckReport) -> tuple[str, ...] | InputProblem:
    """Return all that the files hold as the webhook would leave it, piece by piece, or what can't be given back."""
    unread = next((one.path for one in report.problems if one.document is None), None)
    if unread is not None:
        return _lost(unread)
    patches = _patches(report)
    written: list[str] = []
    for file in report.files:
        try:
            written += map(_set_off, _pieces(file, patches))
        except UnicodeDecodeError:
            return InputProblem(
                file.source.path, "is not UTF-8, which --fix writes, so nothing is printed; save it as UTF-8"
            )
        except ValueError:  # JSON that is changed is mixed with what can't be read
            return _lost(file.source.path)
    if report.files and report.files[0].data.startswith(BOM_UTF8):
        written.insert(0, "\ufeff")
    return tuple(filter(None, written))


def _lost(path: str) -> InputProblem:
    return InputProblem(path, "can't be given back as it was, so nothing is printed")


def changed(report: CheckReport) -> int:
    """Return how many documents are not as they were written."""
    return len(_patches(report))


def _patches(report: CheckReport) -> dict[int, _Patch]:
    """Return for each document that is changed, by its identity, the patches of its objects as one of the document."""
    patches: dict[int, _Patch] = {}
    for judgement in report.judgements:
        manifest = judgement.manifest
        for operation in judgement.decision.patch:
            moved = operation | {"path": manifest.pointer + operation["path"]}
            patches.setdefault(id(manifest.source), []).append(moved)
    return patches


def _pieces(file: ParsedFile, patches: dict[int, _Patch]) -> Iterator[str]:
    """Yield what stands between the file's `---`, the pieces with changes written anew. Raises ValueError."""
    sources = {id(one.source): one.source for one in file.reading.manifests}
    changes = {one.text: one for key, one in sources.items() if one.text is not None and key in patches}
    values = [one for one in sources.values() if one.text is None]
    numbers = {one.number for one in sources.values()}
    unread = [one.line for one in file.reading.problems if one.document not in numbers]
    line = 1
    for piece in cut(file.data.removeprefix(BOM_UTF8).decode()):
        after = line + piece[:-1].count("\n") + 1
        within = [one for one in values if line <= one.line_of("") < after]
        if piece in changes:
            yield _anew(changes[piece], patches)
        elif not within or not any(line <= one <= after for one in unread):
            yield from [_anew(one, patches) for one in within] or [piece]
        elif any(id(one) in patches for one in within):
            raise ValueError
        else:
            yield piece
        line = after


def _anew(source: Document, patches: dict[int, _Patch]) -> str:
    value = jsonpatch.apply_patch(source.value(), patches.get(id(source), []))
    written: str = yaml.dump(value, Dumper=_KubernetesDumper, sort_keys=False, allow_unicode=True, width=2**20)
    return f"---\n{written}"


def _set_off(piece: str) -> str:
    """Return a piece fit to stand behind another: with a `---` before it, and a line end behind it."""
    if all(line.lstrip()[:1] in ("", "#", "%") for line in piece.splitlines()):
        piece = _DIRECTIVES.sub("", piece)  # which may stand at the very start alone
    elif not piece.startswith("---"):
        piece = f"---\n{piece}"
    return piece if piece.endswith("\n") or not piece else f"{piece}\n"
