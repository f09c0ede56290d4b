"""A `ClusterState` as lines of JSON: what decisions need, and of a Secret only its name and its account.

A line is of bounded size, because encoding one blocks every other thread.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import msgspec

from webhook.core.cluster_state import ClusterState
from webhook.core.selectors import Labels

MAX_PER_LINE = 1000
"""The largest number of Secrets, namespaces or accounts in a line."""

K = TypeVar("K")
V = TypeVar("V")


class _Line(msgspec.Struct, omit_defaults=True):
    legacy_tokens: dict[str, dict[str, str]] = {}
    namespaces: dict[str, Labels] = {}
    automounts: list[tuple[str, str, bool]] = []


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


def write_cluster(cluster: ClusterState) -> Iterator[bytes]:
    """Yield a cluster's lines, each with its newline; the API server's audiences are left out."""
    for tokens in _legacy_tokens(cluster.legacy_tokens):
        yield _encode(_Line(legacy_tokens=tokens)) + b"\n"
    for namespaces in _chunks(cluster.namespaces):
        yield _encode(_Line(namespaces=namespaces)) + b"\n"
    for automounts in _chunks(cluster.automounts):
        yield _encode(_Line(automounts=[(*account, mounted) for account, mounted in automounts.items()])) + b"\n"


def read_cluster(lines: Iterable[bytes], base: ClusterState) -> ClusterState:
    """Return `base` with the content of the lines. Raises `msgspec.DecodeError` if a line is invalid."""
    tokens: dict[str, dict[str, str]] = {}
    namespaces: dict[str, Labels] = {}
    automounts: dict[tuple[str, str], bool] = {}
    for line in map(_decode, lines):
        for namespace, secrets in line.legacy_tokens.items():
            tokens.setdefault(namespace, {}).update(secrets)
        namespaces.update(line.namespaces)
        automounts.update({(namespace, account): mounted for namespace, account, mounted in line.automounts})
    return replace(base, legacy_tokens=tokens, namespaces=namespaces, automounts=automounts)


def _legacy_tokens(tokens: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, dict[str, str]]]:
    """Join the Secrets of small namespaces into one line, and split those of large ones."""
    joined: dict[str, dict[str, str]] = {}
    count = 0
    for namespace, secrets in tokens.items():
        for chunk in _chunks(secrets):
            if count + len(chunk) > MAX_PER_LINE:
                yield joined
                joined, count = {}, 0
            joined[namespace] = chunk
            count += len(chunk)
    if joined:
        yield joined


def _chunks(entries: Mapping[K, V]) -> Iterator[dict[K, V]]:
    items = iter(entries.items())
    while chunk := dict(islice(items, MAX_PER_LINE)):
        yield chunk
