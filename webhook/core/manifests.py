"""Manifests: the Kubernetes objects in files of YAML or JSON, and the cluster that they would make.

Reads bytes and never raises: what can't be taken is told as a `Problem`, and the rest still counts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from webhook.core import document_intent
from webhook.core.cluster_state import ClusterState
from webhook.core.documents.document import Document, DocumentError, Problem
from webhook.core.documents.encoding import decode_text
from webhook.core.documents.stream import Piece, documents, split
from webhook.core.k8s_types import Namespace, Object, decoder
from webhook.core.selectors import Labels, labels
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE, Secret, ServiceAccount

_MOST_LISTS = 5
_NOTHING = ClusterState()
_ENCODE = msgspec.json.Encoder().encode
_DECODE: dict[tuple[str, str], tuple[type[Object], Any]] = {
    ("", kind.__name__): (kind, decoder(kind).decode) for kind in (Namespace, Secret, ServiceAccount)
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object: its API group and kind, its namespace as far as it says one, and its name (or generateName).

    `raw` is the object as JSON, for `webhook.core.admission_request.manifest_request`; it may contain Secret data, so
    it is never shown. `source` is its document, and `pointer` (RFC 6901) its place there: empty but for a List.
    """

    group: str
    kind: str
    namespace: str
    name: str
    raw: bytes = field(repr=False)
    source: Document = field(repr=False, compare=False)
    pointer: str = ""

    @property
    def group_kind(self) -> tuple[str, str]:
        """API group and kind, as `manifest_request` takes them."""
        return self.group, self.kind

    @property
    def document(self) -> int:
        """The number of its document in the file, from one."""
        return self.source.number

    @property
    def line(self) -> int:
        """The line it starts at, from one."""
        return self.line_of("")

    def line_of(self, pointer: str) -> int:
        """Return the line of a place in the object, or of the nearest parent of it that is there."""
        return self.source.line_of(self.pointer + pointer)

    def line_in(self, pointer: str, line: int) -> int:
        """Return the line of a line (from one) of the text at a place in the object, or else the text's."""
        return self.source.line_in(self.pointer + pointer, line)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds; `warnings` are about documents that are read but may not mean what their author thinks."""

    manifests: tuple[Manifest, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read_manifests(data: bytes) -> Reading:
    """Return the objects in the documents of a file, those in Lists among them, and what could not be taken.

    Encodings, separators and values mean what they mean to kubectl. Empty documents are skipped.
    """
    reading = _Reading()
    for piece in split(decode_text(data)):
        reading.add(piece)
    return Reading(tuple(reading.manifests), tuple(reading.problems), tuple(reading.warnings))


class _Reading:
    """Collects what the pieces of a file hold."""

    def __init__(self) -> None:
        self.manifests: list[Manifest] = []
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._number = 1

    def add(self, piece: Piece) -> None:
        """Read a piece."""
        first, foreign = self._number, True
        objects = len(self.manifests) + len(self.problems)
        try:
            for document, value in documents(piece, first):
                self._number = document.number + 1
                foreign &= self._add(document, value)
        except DocumentError as bad:
            problem = document_intent.unreadable(piece.text, bad, self._number)
            self.problems.append(problem)
            self._number += 1
            foreign &= problem.foreign
        if objects < len(self.manifests) + len(self.problems):
            self.problems += (Problem(line, message, first, foreign) for line, message in piece.refusals)

    def _add(self, document: Document, value: Any) -> bool:
        """Add the objects of a document, and return whether it doesn't pretend to hold any."""
        objects = list(_objects(document, value))
        self.manifests += (found for found in objects if isinstance(found, Manifest))
        problems = [found for found in objects if isinstance(found, Problem)]
        self.problems += problems
        foreign = all(problem.foreign for problem in problems) and len(problems) == len(objects)
        self.warnings += (Problem(line, message, document.number, foreign) for line, message in document.warnings)
        return foreign


def cluster_of(
    manifests: Iterable[Manifest], base: ClusterState = _NOTHING, namespace: str = "default"
) -> ClusterState:
    """Return `base` with the legacy Secrets, the namespaces and the ServiceAccounts among the manifests.

    `namespace` is that of objects that name none. Objects that can't be read are left out.
    """
    tokens = {name: dict(secrets) for name, secrets in base.legacy_tokens.items()}
    namespaces: dict[str, Labels] = dict(base.namespaces)
    automounts = dict(base.automounts)
    for manifest in manifests:
        found = _decoded(manifest)
        within = manifest.namespace or namespace
        if isinstance(found, Secret) and found.type == LEGACY_TOKEN_TYPE:
            account = found.metadata.annotation(LEGACY_TOKEN_ACCOUNT)
            tokens.setdefault(within, {})[manifest.name] = account
        elif isinstance(found, Namespace):
            namespaces[manifest.name] = labels(found.metadata.labels)
        elif isinstance(found, ServiceAccount) and found.automount_service_account_token is not None:
            automounts[within, manifest.name] = found.automount_service_account_token
    return replace(base, legacy_tokens=tokens, namespaces=namespaces, automounts=automounts)


def _decoded(manifest: Manifest) -> Object | None:
    known = _DECODE.get(manifest.group_kind)
    if known is None:
        return None
    try:
        found: Object = known[1](manifest.raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found


def _objects(document: Document, value: Any, pointer: str = "", depth: int = 0) -> Iterator[Manifest | Problem]:
    """Yield the object, or those of a List, or why there is none."""
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield _problem(document, pointer, "is no Kubernetes object, which would be a mapping", foreign=not pointer)
        return
    version, kind = _text(value.get("apiVersion")), _text(value.get("kind"))
    if not (version and kind):
        lacks = " and ".join(key for key, said in (("apiVersion", version), ("kind", kind)) if not said)
        foreign = not pointer and not document_intent.is_object(value)
        yield _problem(document, pointer, f"is no Kubernetes object: it has no {lacks}", foreign=foreign)
        return
    items = value.get("items")
    if isinstance(items, list) or (kind.endswith("List") and "items" in value and items is None):
        if depth >= _MOST_LISTS:
            yield _problem(document, pointer, "is a List within too many Lists")
            return
        for number, item in enumerate(items or ()):
            yield from _objects(document, _typed(item, version, kind), f"{pointer}/items/{number}", depth + 1)
        return
    yield _manifest(document, pointer, value, version.rpartition("/")[0], kind)


def _typed(item: Any, version: str, kind: str) -> Any:
    """Return an item of a typed list with the kind that the list speaks for (a PodList's items need not say it)."""
    if kind == "List" or not isinstance(item, dict):
        return item
    return {"apiVersion": version, "kind": kind.removesuffix("List"), **item}


def _manifest(document: Document, pointer: str, value: Mapping[str, Any], group: str, kind: str) -> Manifest | Problem:
    meta = value.get("metadata")
    if not isinstance(meta, Mapping):
        meta = {}
    name = _text(meta.get("name")) or _text(meta.get("generateName"))
    try:
        raw = _ENCODE(value)
    except (RecursionError, UnicodeEncodeError, OverflowError):
        what = "nested too deep, too large a number or half a character"
        return _problem(document, pointer, f"{kind} can't be written as JSON: {what}")
    return Manifest(group, kind, _text(meta.get("namespace")), name, raw, document, pointer)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _problem(document: Document, pointer: str, message: str, *, foreign: bool = False) -> Problem:
    return Problem(document.line_of(pointer), message, document.number, foreign)
