"""Reads a policy from its document: all errors at once, each with its path and line."""

import datetime as dt
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from webhook.core.documents.document import DocumentError
from webhook.core.documents.stream import split
from webhook.core.documents.yaml_reader import Budget, YamlDocument
from webhook.core.policy.builder import build
from webhook.core.policy.configmap import KEY
from webhook.core.policy.errors import ErrorCollector, PolicyError
from webhook.core.policy.lint import count_compared, ineffective, without_entries
from webhook.core.policy.model import Action, Mode, Policy
from webhook.core.policy.schema import API_VERSION, KIND, PolicyDocument, misplaced
from webhook.core.policy.validator import validate

_MAX_DOCUMENTS = 1000
_ENTRY = re.compile(r"(inject|overrides|exemptions)\[(\d+)\]")
_EMPTY = f"apiVersion: {API_VERSION}\nkind: {KIND}\n".encode()
_GROUP = API_VERSION.partition("/")[0] + "/"
_POINTER = f"/data/{KEY}"
NO_POLICY = PolicyError("", 1, f"contains no policy: it needs a document of kind {KIND}, or a ConfigMap with key {KEY}")
"""The error of a file whose documents are something else."""

_Documents = list[tuple[YamlDocument, Any]]


def default_policy() -> Policy:
    """Return the policy of an empty document."""
    policy = read_policy(_EMPTY)
    if not isinstance(policy, Policy):
        raise AssertionError(policy)  # noqa: TRY004 - the defaults contradict each other: a bug, not bad input
    return policy


def inactive_policy() -> Policy:
    """Return what decides where there is no policy: no rule applies. It has no revision."""
    policy = default_policy()
    return replace(policy, mode=Mode.AUDIT, rules=dict.fromkeys(policy.rules, Action.OFF), sha256="")


def read_policy(data: bytes) -> Policy | tuple[PolicyError, ...]:
    """Return the policy in `data`, or all errors in the order of their lines (past 64 KiB: how many more).

    `data` is the bare document, or a ConfigMap manifest that contains it as `policy.yaml`; other documents beside it
    are ignored. The policy's hash is of the exact bytes of the document. Time and memory are in proportion to size.
    """
    document = _find_document(data)
    return document if isinstance(document, tuple) else document.read()


def lint_policy(
    data: bytes, now: dt.datetime, max_compared: int | None = None
) -> tuple[Policy | tuple[PolicyError, ...], tuple[PolicyError, ...]]:
    """Return what `read_policy` does, and warnings about parts of the policy that have no effect now (aware).

    In an invalid policy the entries that have errors get no warning. With `max_compared` there are no warnings if the
    policy is invalid, or if more entries and patterns than that would be compared with one another.
    """
    document = _find_document(data)
    if isinstance(document, tuple):
        return document, ()
    policy, errors = document.build()
    if max_compared is not None and (errors or count_compared(policy) > max_compared):
        return errors or policy, ()
    invalid = {(entry[1], int(entry[2])) for error in errors if (entry := _ENTRY.match(error.path))}
    warnings = ErrorCollector(document.place_of)
    for path, message in ineffective(without_entries(policy, invalid), now):
        if path[:2] not in invalid:
            warnings.add(path, message)
    return errors or policy, warnings.sorted()


def is_policy(value: Any) -> bool:
    """Return whether the value of a document is meant as a policy, or as a ConfigMap that contains one."""
    if _kind(value) == "ConfigMap":
        return (text := _configmap_text(value)) is not None and (KIND in text or _GROUP in text)
    version = value.get("apiVersion") if isinstance(value, dict) else None
    return _kind(value) == KIND or (isinstance(version, str) and version.startswith(_GROUP))


def _find_document(data: bytes) -> "_PolicyDocument | tuple[PolicyError, ...]":
    """Return the document of the policy, or why there is not exactly one."""
    try:
        documents = _read_documents(data.decode())
    except UnicodeDecodeError as error:
        return (PolicyError("", data.count(b"\n", 0, error.start) + 1, "is not UTF-8"),)
    except DocumentError as error:
        return (PolicyError("", error.line, error.message, error.column),)
    bare = [(document, value) for document, value in documents if _kind(value) != "ConfigMap"]
    texts = [(document, text) for document, value in documents if (text := _configmap_text(value)) is not None]
    is_alone = len(bare) == 1 and not texts and not _is_another_object(bare[0][1])
    policies = bare if is_alone else [entry for entry in bare if _kind(entry[1]) == KIND]
    if len(policies) + len(texts) != 1:
        return _not_one([document for document, _ in (*policies, *texts)])
    if policies:
        return _PolicyDocument(*policies[0], data)
    return _in_configmap(*texts[0])


def _not_one(documents: list[YamlDocument]) -> tuple[PolicyError, ...]:
    """Return the error of a file with so many policies: none, or several, of which each but the first is an error."""
    first, *others = sorted(document.line_of("/apiVersion") for document in documents) or [0]
    advice = "a file contains one policy: keep one of them, or put each in a file of its own"
    message = f"is another policy, besides the one in line {first}; {advice}"
    return tuple(PolicyError("", line, message) for line in others) or (NO_POLICY,)


def _read_documents(text: str) -> _Documents:
    """Return the documents that are not empty, and their values. Raises `DocumentError`."""
    documents: _Documents = []
    budget = Budget()
    for number, piece in enumerate(split(text), 1):
        if number > _MAX_DOCUMENTS:
            raise DocumentError(piece.first_line, f"contains more than {_MAX_DOCUMENTS} documents")
        document = YamlDocument(piece.text, piece.first_line, number, budget)
        value = document.read()
        if value is not None:
            documents.append((document, value))
    return documents


def _kind(value: Any) -> Any:
    return value.get("kind") if isinstance(value, dict) else None


def _is_another_object(value: Any) -> bool:
    """Return whether a document is an object of another API, not a policy whose head is misspelt."""
    version = value.get("apiVersion") if isinstance(value, dict) else None
    group = _GROUP.rstrip("/")
    return isinstance(version, str) and isinstance(_kind(value), str) and group not in version and _kind(value) != KIND


def _configmap_text(value: Any) -> str | None:
    data = value.get("data") if _kind(value) == "ConfigMap" else None
    text = data.get(KEY) if isinstance(data, dict) else None
    return text if isinstance(text, str) else None


def _in_configmap(configmap: YamlDocument, text: str) -> "_PolicyDocument | tuple[PolicyError, ...]":
    """Return the document in a ConfigMap; places are those in the file. In quotes, its columns are unknown."""
    source, first_line = configmap.source()
    lines, lines_of_file = text.split("\n"), source.split("\n")

    def place_in_file(line: int, column: int) -> tuple[int, int]:
        number = configmap.line_in(_POINTER, line)
        own = "".join(lines[line - 1 : line])
        in_file = "".join(lines_of_file[number - first_line :][:1]).removesuffix("\r")
        return number, column + len(in_file) - len(own) if column and in_file.endswith(own) else 0

    try:
        documents = _read_documents(text)
    except DocumentError as error:
        line, column = place_in_file(error.line, error.column)
        return (PolicyError("", line, error.message, column),)
    if len(documents) != 1:
        return (PolicyError(KEY, configmap.line_in(_POINTER, 1), "must contain one document"),)
    return _PolicyDocument(*documents[0], text.encode(), place_in_file)


@dataclass(frozen=True, slots=True)
class _PolicyDocument:
    """The document of a policy: its value and its exact bytes.

    `place_in_file` returns the line and column in the file of those in the document.
    """

    document: YamlDocument
    value: Any
    data: bytes
    place_in_file: Callable[[int, int], tuple[int, int]] = lambda line, column: (line, column)

    def place_of(self, pointer: str) -> tuple[int, int]:
        """Return the line and the column of what a JSON Pointer names; a column of 0 is unknown."""
        return self.place_in_file(self.document.line_of(pointer), self.document.column_of(pointer))

    def read(self) -> Policy | tuple[PolicyError, ...]:
        """Return the policy, or all errors."""
        policy, errors = self.build()
        return errors or policy

    def build(self) -> tuple[Policy, tuple[PolicyError, ...]]:
        """Return the policy, which must not be used if there are errors, and the errors."""
        errors = ErrorCollector(self.place_of, misplaced)
        for line, message, path, column in self.document.warnings:
            errors.add(path, message, place=self.place_in_file(line, column))
        policy = build(validate(self.value, PolicyDocument, errors), hashlib.sha256(self.data).hexdigest(), errors)
        return policy, errors.sorted()
