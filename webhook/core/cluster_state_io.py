"""A `ClusterState` as lines of JSON: so much as is judged by, and nothing of a Secret but its name and its account.

It comes in lines of a bounded size, because encoding one holds up every other thread.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import msgspec

from webhook.core.cluster_state import ClusterState
from webhook.core.selectors import Labels

MOST_IN_LINE = 1000
"""So many Secrets, namespaces or accounts are in a line at the most."""

K = TypeVar("K")
V = TypeVar("V")


class _Line(msgspec.Struct, omit_defaults=True):
    """A part of each."""

    legacy_tokens: dict[str, dict[str, str]] = {}
    namespaces: dict[str, Labels] = {}
    automounts: list[tuple[str, str, bool]] = []


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


def write_cluster(cluster: ClusterState) -> Iterator[bytes]:
    """Yield a cluster's lines, each with its end; the API server's audiences are left out."""
    for tokens in _tokens(cluster.legacy_tokens):
        yield _encode(_Line(legacy_tokens=tokens)) + b"\n"
    for namespaces in _pieces(cluster.namespaces):
        yield _encode(_Line(namespaces=namespaces)) + b"\n"
    for automounts in _pieces(cluster.automounts):
        yield _encode(_Line(automounts=[(*account, mounted) for account, mounted in automounts.items()])) + b"\n"


def read_cluster(lines: Iterable[bytes], base: ClusterState) -> ClusterState:
    """Return `base` with what is in the lines in place of its own. Raises `msgspec.DecodeError` where one is broken."""
    tokens: dict[str, dict[str, str]] = {}
    namespaces: dict[str, Labels] = {}
    automounts: dict[tuple[str, str], bool] = {}
    for line in map(_decode, lines):
        for namespace, secrets in line.legacy_tokens.items():
            tokens.setdefault(namespace, {}).update(secrets)
        namespaces.update(line.namespaces)
        automounts.update({(namespace, account): mounted for namespace, account, mounted in line.automounts})
    return replace(base, legacy_tokens=tokens, namespaces=namespaces, automounts=automounts)


def _tokens(tokens: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, dict[str, str]]]:
    """Gather the Secrets of small namespaces, and split those of large ones."""
    gathered: dict[str, dict[str, str]] = {}
    count = 0
    for namespace, secrets in tokens.items():
        for piece in _pieces(secrets):
            if count + len(piece) > MOST_IN_LINE:
                yield gathered
                gathered, count = {}, 0
            gathered[namespace] = piece
            count += len(piece)
    if gathered:
        yield gathered


def _pieces(of: Mapping[K, V]) -> Iterator[dict[K, V]]:
    items = iter(of.items())
    while piece := dict(islice(items, MOST_IN_LINE)):
        yield piece
