"""Manifests: the Kubernetes objects in files of YAML or JSON, and the cluster that they would make.

Reads bytes and never raises: what cannot be read is a `Problem`, and the rest still counts. A repository contains many
files of YAML and JSON that Kubernetes never reads; these are `foreign`, which is no reason for a run to fail.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from webhook.core.cluster_state import ClusterState
from webhook.core.documents.document import DocumentError
from webhook.core.documents.stream import Document, Piece, decode_text, documents, split
from webhook.core.k8s_types import Namespace, Object
from webhook.core.placeholders import RENDERING, placeholder_advice
from webhook.core.selectors import Labels, labels
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE, Secret, ServiceAccount

NO_OBJECT = "is not a Kubernetes object"
"""How the message about a document that is none begins."""
_BUILTIN_PLUGIN = "builtin"
"""The API version of kustomize's own transformers, generators and validators."""
_TOOL_KINDS: Mapping[tuple[str, str], str] = {
    ("", "Config"): "kubectl",
    ("kustomize.config.k8s.io", "Component"): "kustomize",
    ("kustomize.config.k8s.io", "Kustomization"): "kustomize",
}
"""Kinds of files that look like objects but are never sent to the API server, and what reads them."""

_MAX_NESTED_LISTS = 5
_NO_STATE = ClusterState()
_ENCODE = msgspec.json.Encoder().encode
_DECODE: dict[tuple[str, str], Any] = {
    ("", kind.__name__): msgspec.json.Decoder(kind).decode for kind in (Namespace, Secret, ServiceAccount)
}
_KEYS = ("apiVersion", "kind")
_BLOCK_KEYS = [re.compile(rf"^[\"']?{key}[\"']?[ \t]*:", re.MULTILINE) for key in _KEYS]
_FLOW_KEYS = [re.compile(rf"[{{,\s][\"']?{key}[\"']?\s*:") for key in _KEYS]
_TEMPLATE = re.compile(r"^[^\S\n]*(?:\{\{|\{%|<%)|[:\[,-]\s*\{\{", re.MULTILINE)

_HELM_SOURCE = re.compile(r"(?:---[^\n]*)?\n?# Source: ([^\n]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object: its API version and kind, its namespace if it names one, and its name (or generateName).

    `raw` is the object as JSON, for `webhook.core.admission_request.manifest_request`; it may contain Secret data, so
    it is never shown. `source` is its document, and `pointer` (RFC 6901) its place there: empty but for a List.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    raw: bytes = field(repr=False)
    source: Document = field(repr=False, compare=False)
    pointer: str = ""

    @property
    def group(self) -> str:
        """Its API group, empty for the core API."""
        return self.api_version.rpartition("/")[0]

    @property
    def group_kind(self) -> tuple[str, str]:
        """API group and kind, as `manifest_request` takes them."""
        return self.group, self.kind

    @property
    def tool(self) -> str:
        """The tool that reads it and never sends it to the API server; empty for an object."""
        return "kustomize" if self.api_version == _BUILTIN_PLUGIN else _TOOL_KINDS.get(self.group_kind, "")

    @property
    def title(self) -> str:
        """Its kind and name."""
        return f"{self.kind}/{self.name}" if self.name else self.kind

    @property
    def document(self) -> int:
        """The number of its document in the file, from 1."""
        return self.source.number

    @property
    def line(self) -> int:
        """The line it starts at, from 1."""
        return self.line_of("")

    @property
    def template_file(self) -> str:
        """The template that the document was rendered from, if Helm wrote that above it."""
        source = _HELM_SOURCE.match(self.source.text or "")
        return source[1] if source else ""

    def line_of(self, pointer: str) -> int:
        """Return the line of a place in the object, or of its nearest existing parent."""
        return self.source.line_of(self.pointer + pointer)

    def line_in(self, pointer: str, line: int) -> int:
        """Return the line of a line (from 1) in the text at a place in the object."""
        return self.source.line_in(self.pointer + pointer, line)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document, or an object in it, was not read; `line`, `column` (0: unknown) and `document` count from 1.

    `foreign` marks what is not meant as a Kubernetes object, such as the values of a Helm chart, and `template` what
    has to be rendered first.
    """

    line: int
    message: str
    document: int
    foreign: bool = False
    template: bool = False
    column: int = 0

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Reading:
    """The contents of a file; `warnings` are about documents that may not mean what their author intends."""

    manifests: tuple[Manifest, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read_manifests(data: bytes) -> Reading:
    """Return the objects in the documents of a file, those in Lists among them, and what could not be read.

    Encodings, separators and values mean what they mean to kubectl. Empty documents are skipped.
    """
    results: list[Manifest | Problem] = []
    warnings: list[Problem] = []
    number = 1
    for piece in split(decode_text(data)):
        first = number
        in_piece: list[Manifest | Problem] = []
        try:
            for document, value in documents(piece, first):
                number = document.number + 1
                objects = list(_objects(document, value))
                foreign = _are_foreign(objects)
                warnings += (
                    Problem(each.line, each.message, document.number, foreign, column=each.column)
                    for each in document.warnings
                )
                in_piece += objects
        except DocumentError as error:
            in_piece.append(_unreadable(piece, error, number))
            number += 1
        results += in_piece
        if in_piece:
            foreign = _are_foreign(in_piece)
            results += (Problem(line, message, first, foreign) for line, message in piece.refusals)
    manifests = tuple(manifest for manifest in results if isinstance(manifest, Manifest))
    problems = tuple(problem for problem in results if isinstance(problem, Problem))
    return Reading(manifests, problems, tuple(warnings))


def _are_foreign(objects: Iterable[Manifest | Problem]) -> bool:
    return all(isinstance(obj, Problem) and obj.foreign for obj in objects)


def _unreadable(piece: Piece, error: DocumentError, number: int) -> Problem:
    """Return the problem of a document that cannot be read, foreign unless its text looks like an object's."""
    text = piece.text
    if _TEMPLATE.search(text):
        message = f"is an unrendered template; render it first: {RENDERING}"
        return Problem(error.line, message, number, foreign=True, template=True)
    lines = text.splitlines()[error.line - piece.first_line :]
    if advice := placeholder_advice(lines[0], error.column) if lines else "":
        message = f"is not YAML because of {advice}"
        return Problem(error.line, message, number, foreign=True, template=True, column=error.column)
    keys = _FLOW_KEYS if text.lstrip("- \t\r\n").startswith("{") else _BLOCK_KEYS
    foreign = not all(key.search(text) for key in keys)
    return Problem(error.line, error.message, number, foreign, column=error.column)


def _objects(document: Document, value: Any, pointer: str = "", depth: int = 0) -> Iterator[Manifest | Problem]:
    """Yield the object, or those of a List, or why there is none."""

    def problem(message: str, *, foreign: bool = False) -> Problem:
        return Problem(document.line_of(pointer), message, document.number, foreign)

    if value is None:
        return
    if reason := _not_an_object(value):
        # meant as an object if it has both keys, or one of them and metadata
        is_meant = isinstance(value, dict) and sum(key in value for key in (*_KEYS, "metadata")) >= 2
        yield problem(f"{NO_OBJECT}: {reason}", foreign=not pointer and not is_meant)
        return
    version, kind = value["apiVersion"], value["kind"]
    items = value.get("items")
    if isinstance(items, list) or (kind.endswith("List") and "items" in value and items is None):
        if depth >= _MAX_NESTED_LISTS:
            yield problem(f"is a List inside {_MAX_NESTED_LISTS} other Lists")
            return
        for number, item in enumerate(items or ()):
            yield from _objects(document, _typed(item, version, kind), f"{pointer}/items/{number}", depth + 1)
        return
    if (version, kind) == ("v1", "List"):
        what = "items that are not a list; write '-' before each object" if "items" in value else "no items"
        yield problem(f"List has {what}")
        return
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    name = _text(metadata.get("name")) or _text(metadata.get("generateName"))
    try:
        raw = _ENCODE(value)
    except (RecursionError, UnicodeEncodeError, OverflowError):
        reason = "it nests too deep, or has too large a number or half a character"
        yield problem(f"{kind} cannot be written as JSON: {reason}")
        return
    yield Manifest(version, kind, _text(metadata.get("namespace")), name, raw, document, pointer)


def _not_an_object(value: Any) -> str:
    """Return why a document is no object, empty if it is one."""
    if not isinstance(value, dict):
        return "it is a list; put '---' between objects" if isinstance(value, list) else "it is not a mapping"
    missing = " and ".join(key for key in _KEYS if not _text(value.get(key)))
    return f"it has no {missing}" if missing else ""


def _typed(item: Any, version: str, kind: str) -> Any:
    """Return an item of a typed list with the list's kind: a PodList's items need not have one."""
    if kind == "List" or not isinstance(item, dict):
        return item
    return {"apiVersion": version, "kind": kind.removesuffix("List"), **item}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def cluster_of(
    manifests: Iterable[Manifest], base: ClusterState = _NO_STATE, namespace: str = "default"
) -> ClusterState:
    """Return `base` with the legacy Secrets, the namespaces and the ServiceAccounts among the manifests.

    `namespace` is that of objects that name none. Objects that cannot be decoded are left out.
    """
    tokens = {name: dict(secrets) for name, secrets in base.legacy_tokens.items()}
    namespaces: dict[str, Labels] = dict(base.namespaces)
    automounts = dict(base.automounts)
    for manifest in manifests:
        obj = _decoded(manifest)
        within = manifest.namespace or namespace
        if isinstance(obj, Secret) and obj.type == LEGACY_TOKEN_TYPE:
            account = obj.metadata.annotation(LEGACY_TOKEN_ACCOUNT)
            tokens.setdefault(within, {})[manifest.name] = account
        elif isinstance(obj, Namespace):
            namespaces[manifest.name] = labels(obj.metadata.labels)
        elif isinstance(obj, ServiceAccount) and obj.automount_service_account_token is not None:
            automounts[within, manifest.name] = obj.automount_service_account_token
    return replace(base, legacy_tokens=tokens, namespaces=namespaces, automounts=automounts)


def _decoded(manifest: Manifest) -> Object | None:
    decode = _DECODE.get(manifest.group_kind)
    try:
        obj: Object | None = decode(manifest.raw) if decode else None
    except (msgspec.DecodeError, RecursionError):
        return None
    return obj
