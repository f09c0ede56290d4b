"""A file of documents, decoded and cut into pieces as kubectl does.

Source: FileVisitor in k8s.io/cli-runtime/pkg/resource/visitor.go (`unicode.BOMOverride`), YAMLReader and
YAMLOrJSONDecoder in k8s.io/apimachinery/pkg/util/yaml/decoder.go, from Kubernetes 1.33 on.
"""

import codecs
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from webhook.core.documents.document import DocumentError, DocumentWarning
from webhook.core.documents.json_reader import NOT_JSON, JsonDocument, read_json
from webhook.core.documents.yaml_reader import YamlDocument, read_yaml

Document = YamlDocument | JsonDocument

_ENCODINGS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_SEPARATOR = re.compile(r"^---(?=[^\S\n]|\n|\Z)", re.MULTILINE)
_TEXT_AFTER_SEPARATOR = re.compile(r"^---[^\S\n]*([^\s#].*)$", re.MULTILINE)
_JSON_OBJECT = re.compile(r"\s*\{\s*\"")
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)


class Piece(NamedTuple):
    """The text between two separators, with the separator before it.

    `first_line` counts from 1. `refusals` are the lines before and in it for which kubectl refuses the file, and why.
    kubectl reads JSON in the first piece alone (`is_first`), and all others as YAML.
    """

    text: str
    first_line: int
    is_first: bool
    refusals: tuple[tuple[int, str], ...] = ()


def decode_text(data: bytes) -> str:
    """Return the text of a file: UTF-16 after a byte order mark, else UTF-8, always without the mark.

    Bytes that are invalid in that encoding become U+FFFD, so that a comment in Latin-1 does no harm.
    """
    content, encoding = _without_mark(data)
    return content.decode(encoding, "replace")


def _without_mark(data: bytes) -> tuple[bytes, str]:
    for mark, encoding in _ENCODINGS:
        if data.startswith(mark):
            return data[len(mark) :], encoding
    return data, "utf-8"


def first_invalid_line(data: bytes) -> int | None:
    """Return the line, from 1, of the first bytes that `decode_text` replaces."""
    content, encoding = _without_mark(data)
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        return content[: error.start].decode(encoding).count("\n") + 1
    return None


def cut(text: str) -> Iterator[str]:
    """Cut the text of a file before each line `---`, so that a broken document does not affect the others."""
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text)), len(text)]
    return (text[start:end] for start, end in pairwise(starts) if start < end)


def split(text: str) -> Iterator[Piece]:
    """Yield the pieces of a file, without the comments and directives before its first separator."""
    first_line = 1
    refusals: list[tuple[int, str]] = []
    for number, piece in enumerate(cut(text)):
        if marker := _TEXT_AFTER_SEPARATOR.search(piece):
            line = first_line + piece.count("\n", 0, marker.start())
            refusals.append((line, "kubectl refuses text behind '---'; move it to the next line"))
        if number or not _is_preamble(piece):
            yield Piece(piece, first_line, number == 0, tuple(refusals))
            refusals = []
        elif directive := _DIRECTIVE.search(piece):
            line = 1 + piece.count("\n", 0, directive.start())
            refusals.append((line, "kubectl refuses a file with a directive such as %YAML; remove this line"))
        first_line += piece.count("\n")


def _is_preamble(piece: str) -> bool:
    """Return whether nothing but comments and directives is before the first separator."""
    return all(not line.strip() or line.startswith(("#", "%")) for line in piece.split("\n"))


def documents(piece: Piece, number: int) -> Iterator[tuple[Document, Any]]:
    """Yield the documents of a piece and their values; the first one has this number in the file.

    Raises `DocumentError` at the first one that cannot be read.
    """
    if not piece.is_first or not piece.text.lstrip().startswith("{"):
        yield read_yaml(piece.text, piece.first_line, number)
        return
    read = 0
    try:
        for document in read_json(piece.text, piece.first_line, number):
            yield document
            read += 1
    except DocumentError as error:
        if read or error.final:
            raise
        yield _read_braces(piece, number, error)


def _read_braces(piece: Piece, number: int, refused: DocumentError) -> tuple[Document, Any]:
    """Return the document of a piece that is not JSON, but may be YAML; `refused` is why it is not JSON.

    Raises `DocumentError`: `refused`, if the document looks like JSON.
    """
    is_meant_as_json = _JSON_OBJECT.match(piece.text)
    try:
        document, value = read_yaml(piece.text, piece.first_line, number)
    except DocumentError:
        if is_meant_as_json and refused.column:
            raise refused from None
        raise
    if is_meant_as_json:
        reason = refused.message.removeprefix(NOT_JSON)
        message = f"is read as YAML, because it {NOT_JSON}{reason}; kubectl before 1.33 refuses it"
        document.warnings = (DocumentWarning(refused.line, message, column=refused.column), *document.warnings)
    return document, value
