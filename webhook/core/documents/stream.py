"""A stream of documents, cut into pieces as kubectl cuts it.

Source: YAMLReader and YAMLOrJSONDecoder in k8s.io/apimachinery/pkg/util/yaml/decoder.go, from Kubernetes 1.33 on.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from webhook.core.documents.document import Document, DocumentError
from webhook.core.documents.json_reader import read_json
from webhook.core.documents.yaml_reader import read_yaml

_SEPARATOR = re.compile(r"^---(?=[^\S\n]|\n|\Z)", re.MULTILINE)
_MARKER = re.compile(r"^---[^\S\n]*([^\s#].*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands between two separators, with the separator before it.

    `first_line` counts from one. `refusals` are the lines in it that make kubectl refuse the file, and why. `is_first`
    is false for all that kubectl reads as YAML alone.
    """

    text: str
    first_line: int
    is_first: bool
    refusals: tuple[tuple[int, str], ...] = ()


def cut(text: str) -> Iterator[str]:
    """Cut the text of a file before each line that says `---`, so that one broken document leaves the others whole."""
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text)), len(text)]
    return (text[start:end] for start, end in pairwise(starts) if start < end)


def split(text: str) -> Iterator[Piece]:
    """Yield the pieces of a file, without the comments and directives before its first separator."""
    line = 1
    refusals: list[tuple[int, str]] = []
    for number, piece in enumerate(cut(text)):
        refusals += _marker_refusals(piece, line)
        if number or not _is_preamble(piece):
            yield Piece(piece, line, number == 0, tuple(refusals))
            refusals = []
        else:
            refusals += _directive_refusals(piece)
        line += piece.count("\n")


def _is_preamble(piece: str) -> bool:
    """Return whether nothing but comments and directives stands before the first separator."""
    return all(not line.strip() or line.startswith(("#", "%")) for line in piece.split("\n"))


def _directive_refusals(piece: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(piece.split("\n"), 1):
        if line.startswith("%"):
            yield number, "kubectl refuses a file with a directive such as %YAML; remove this line"
            return


def _marker_refusals(piece: str, first_line: int) -> Iterator[tuple[int, str]]:
    if marker := _MARKER.search(piece):
        line = first_line + piece.count("\n", 0, marker.start())
        yield line, "kubectl refuses text behind '---'; move it to the next line"


def documents(piece: Piece, number: int) -> Iterator[tuple[Document, Any]]:
    """Yield the documents of a piece, of which the first has this number in the file, and what each says.

    Raises `DocumentError`.
    """
    if not piece.is_first or not piece.text.lstrip().startswith("{"):
        yield read_yaml(piece.text, piece.first_line, number)
        return
    read = 0
    try:
        for document in read_json(piece.text, 0, piece.first_line, number):
            yield document
            read += 1
    except DocumentError as error:
        if read or error.final:
            raise
        yield read_yaml(piece.text, piece.first_line, number)  # braces are YAML, too
