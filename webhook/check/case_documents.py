"""The documents of files with test cases: which are cases, and which are settings for those below."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from webhook.check.case_settings import CASE_ONLY, CaseSettings
from webhook.check.input_files import InputProblem
from webhook.check.sample_tokens import with_tokens
from webhook.core.documents.document import DocumentError, DocumentWarning, Path, pointer_of
from webhook.core.documents.stream import Document, documents, split
from webhook.core.formatting import did_you_mean, quote

_KEYS = frozenset(field.encode_name for field in msgspec.structs.fields(CaseSettings))
_CASE = re.compile(r"^(\{\s*)?[\"']?case[\"']?\s*:", re.MULTILINE)
_ANY = re.compile(rf"\b(case|{'|'.join(CASE_ONLY)})[\"']?\s*:")


def has_cases(text: str) -> bool:
    """Return whether a file has documents that are test cases, or are meant as such although their key is misspelt."""
    if not _ANY.search(text):
        return False
    results = list(read_documents("", text))
    values = [result[1] for result in results if not isinstance(result, InputProblem)]
    is_unread = len(values) < len(results)
    return any(is_case(value) or _is_meant(value) for value in values) or (is_unread and bool(_CASE.search(text)))


def is_case(value: Any) -> bool:
    """Return whether a document is a test case."""
    return isinstance(value, dict) and "case" in value


def _is_meant(value: Any) -> bool:
    """Return whether a document without the key `case` is a test case all the same, in a file that may be anything."""
    if not isinstance(value, dict) or "kind" in value or not any(key in value for key in CASE_ONLY):
        return False
    return len(_KEYS & value.keys()) > 1 or bool(_misspelt_case(value))


def _misspelt_case(value: dict[str, Any]) -> str:
    """Return the key of a document that is a misspelt `case`; empty if there is none."""
    return next((key for key in value if key not in _KEYS and did_you_mean(key, ("case",))), "")


def _missing_case(value: dict[str, Any]) -> tuple[Path, str] | None:
    """Return where and how a document shows that it is a case without the key `case`; None for settings."""
    if key := _misspelt_case(value):
        return (key,), f"unknown key {quote(key)}{did_you_mean(key, ('case',))}"
    own = next((key for key in CASE_ONLY if key in value), "")
    return ((own,), f'required key "case" is missing: only a case has the key {quote(own)}') if own else None


@dataclass(frozen=True, slots=True)
class CaseDocument:
    """The document of a case, and that of the settings above it, which the `inherited` keys are from."""

    document: Document
    settings: Document
    inherited: frozenset[str] = frozenset()

    @property
    def warnings(self) -> Iterator[DocumentWarning]:
        """What both documents contain that readers may read differently, such as a duplicate key."""
        yield from self.document.warnings
        yield from () if self.settings is self.document else self.settings.warnings

    @property
    def number(self) -> int:
        """The number of the case's document in the file, from 1."""
        return self.document.number

    def line_of(self, pointer: str) -> int:
        """Return the line of what a JSON Pointer names, in the document that has its first key."""
        first_key = pointer.removeprefix("/").partition("/")[0]
        return (self.settings if first_key in self.inherited else self.document).line_of(pointer)

    def place_of(self, pointer: str) -> tuple[int, int]:
        """Return the line of what a JSON Pointer names, and 0 for its column, which is not known."""
        return self.line_of(pointer), 0


def case_documents(path: str, text: str) -> Iterator[tuple[CaseDocument, dict[str, Any]] | InputProblem]:
    """Yield the document of each case with its keys and those of the settings above it, and what cannot be read."""
    settings: dict[str, Any] = {}
    above: Document | None = None
    is_used = True
    for result in read_documents(path, text):
        if isinstance(result, InputProblem):
            yield result
            continue
        document, value = result
        if isinstance(value, dict) and "case" not in value:
            if missing := _missing_case(value):
                yield InputProblem(path, missing[1], document.line_of(pointer_of(missing[0])), document.number)
                yield from _warnings(path, document)
                is_used = True
                continue
            if above and not is_used:
                yield from _unused(path, above, settings)
            settings, above, is_used = value, document, False
        elif isinstance(value, dict):
            is_used = True
            inherited = frozenset(settings.keys() - value.keys())
            yield CaseDocument(document, above or document, inherited), with_tokens(_merged(settings, value))
        elif value is not None:
            yield InputProblem(path, "must be a map", document.line_of(""), document.number)
            yield from _warnings(path, document)
    if above and not is_used:
        yield from _unused(path, above, settings)


def _unused(path: str, document: Document, settings: dict[str, Any]) -> Iterator[InputProblem]:
    """Yield that settings have no case below them, unless they are an object of another kind."""
    if not _KEYS.isdisjoint(settings):
        message = "has settings, but no case follows; add the key case, or remove the document"
        yield InputProblem(path, message, document.line_of(""), document.number)
    yield from _warnings(path, document)


def _warnings(path: str, document: Document) -> Iterator[InputProblem]:
    for warning in document.warnings:
        yield InputProblem(path, warning.message, warning.line, document.number, warning.column or None)


def read_documents(path: str, text: str) -> Iterator[tuple[Document, Any] | InputProblem]:
    """Yield the documents of a file with their values, and a problem in place of each that cannot be read."""
    number = 1
    for piece in split(text):
        try:
            for document, value in documents(piece, number):
                number = document.number + 1
                yield document, value
        except DocumentError as error:
            yield InputProblem(path, error.message, error.line, number, error.column or None)
            number += 1


def _merged(settings: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Return a case with the settings that it does not have; those of `request` are merged key by key."""
    merged = {**settings, **case}
    requests = settings.get("request"), case.get("request")
    if all(isinstance(request, dict) for request in requests):
        merged["request"] = {**settings["request"], **case["request"]}
    return merged
