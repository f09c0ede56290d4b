"""Changing documents at random, in their JSON and in their bytes, by a state that a seed gives.

What JSON may look like is learnt from the seeds: which keys stand beside each other, and what stands under a key. So
most of what comes out is wrong in one or two places, not everywhere, and gets past the reader.
"""

import json
import marshal
import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import yaml

ODD: list[Any] = [
    None, 0, -1, 1, 3600, 3607, 1 << 32, 1 << 63, 1 << 70, 1.5, True, False, "", "x" * 3000, "\u0000\n\u2028",
    "\u202e", "ż", "\U0001f600", "\ufffd", "/", "//", "..", "/a/../b", "*", ",", "~", "~0/~1", "-", "0", [], {}, [None],
    [[]], {"": ""}, {"name": None},
]  # fmt: skip
"""What is put in the place of anything."""

NUMBERS = [b"-0", b"1e400", b"-1e400", b"1E2", b"1.0", b"00", b"01", b"+1", b"NaN", b"Infinity", b"9" * 400, b"0.1e-9"]
IN_TEXT = [b"\x00", b"\\u0000", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80",
           b"\xf4\x90\x80\x80", b"\\", b"\\q", b"\n", b"\x7f", b"\\u2028", b"\xef\xbb\xbf", b"\\/"]  # fmt: skip
MOST_BYTES = 24_000
"""Larger documents are dropped, so that the next ones are made and evaluated quickly."""
_DEEPEST = 100
_KEY = re.compile(rb'"(\w{2,40})"\s*:')
_STRING = re.compile(rb'"[^"\\]{0,200}"')
_NUMBER = re.compile(rb"(?<=[:,\[ ])-?\d+(?=[,}\]])")


def depth(value: Any) -> int:
    """Return how deep a value nests."""
    levels, deepest = [(value, 1)], 0
    while levels:
        nested, at = levels.pop()
        deepest = max(deepest, at)
        inner = nested.values() if isinstance(nested, dict) else nested if isinstance(nested, list) else ()
        levels += [(each, at + 1) for each in inner]
    return deepest


def parsed(data: bytes) -> dict[str, Any] | None:
    """Return the map that JSON or YAML holds, in the types that JSON has, or None where it is neither or too deep."""
    try:
        value = json.loads(data) if data.startswith(b"{") else yaml.load(data, yaml.CSafeLoader)
        json.dumps(value, ensure_ascii=False, default=str).encode()  # raises where it holds what no text can
        if not isinstance(value, dict) or depth(value) > _DEEPEST:
            return None  # YAML's writer recurses
        return json.loads(json.dumps(value, default=str))
    except (ValueError, TypeError, RecursionError, yaml.YAMLError):
        return None


class Vocabulary:
    """What the seeds hold: the values that stand under each key, and the keys that stand beside it."""

    def __init__(self, documents: Iterable[Any]) -> None:
        """Take parsed documents."""
        self._values: dict[str, dict[bytes, None]] = {}
        self._keys: dict[str, dict[str, None]] = {}
        for document in documents:
            self._learn("", document)
        self.values = {key: [*candidates] for key, candidates in self._values.items()}
        self.keys = {key: [*candidates] for key, candidates in self._keys.items()}

    def _learn(self, under: str, value: Any) -> None:
        if isinstance(value, dict):
            self._keys.setdefault(under, {}).update(dict.fromkeys(value))
            for key, inner in value.items():
                self._values.setdefault(key, {})[marshal.dumps(inner)] = None
                self._learn(key, inner)
        elif isinstance(value, list):
            for inner in value:
                self._learn(under, inner)


class Mutator:
    """Makes documents of seeds, and of those that `keep` adds."""

    def __init__(
        self,
        seeds: Sequence[bytes],
        chance: random.Random,
        write: Callable[[Any], bytes] | None = None,
        pieces: Sequence[bytes] = (),
        largest: int = 200_000,
    ) -> None:
        """Take seeds; `write` writes a document, `pieces` are put into the bytes, which may grow up to `largest`."""
        self._chance = chance
        documents = [document for seed in seeds if (document := parsed(seed)) is not None]
        self._vocabulary = Vocabulary(documents)
        self._write = write or self._as_json
        self._pieces = pieces
        self._largest = largest
        self._texts = [*seeds]
        self._parsed = [marshal.dumps(document) for document in documents]

    def next(self) -> bytes:
        """Return a document."""
        chance = self._chance
        if chance.random() < 0.1:
            data = chance.choice(self._texts)
        else:
            document = marshal.loads(chance.choice(self._parsed))
            for _ in range(self._few()):
                self._change(document)
            data = self._write(document)
        if chance.random() < 0.3:
            for _ in range(self._few()):
                data = chance.choice(_IN_BYTES)(self, data)
        return data

    def keep(self, data: bytes) -> None:
        """Make more of this one: it led to something new."""
        if len(data) < MOST_BYTES:
            self._texts.append(data)
            document = parsed(data)
            if document is not None:
                self._parsed.append(marshal.dumps(document))

    def _few(self) -> int:
        return min(int(self._chance.expovariate(0.5)) + 1, 12)

    def _as_json(self, document: Any) -> bytes:
        return json.dumps(document, ensure_ascii=self._chance.random() < 0.5, separators=(",", ":")).encode(
            errors="surrogatepass"
        )

    def _change(self, value: Any) -> None:
        """Change one member, more often deep within than on the surface, where everything is soon refused."""
        chance, under = self._chance, ""
        while True:
            keys: list[Any] = [*value] if isinstance(value, dict) else [*range(len(value))]
            within = [key for key in keys if isinstance(value[key], dict | list)]
            if within and chance.random() < 0.85:
                key = chance.choice(within)
                under = under if isinstance(key, int) else key
                value = value[key]
            elif not keys or chance.random() < 0.3:
                return self._add(value, under) if isinstance(value, dict) else self._add_element(value, under)
            else:
                key = chance.choice(keys)
                return self._alter(value, key, under if isinstance(key, int) else key)

    def _alter(self, value: Any, key: Any, under: str) -> None:
        chance = self._chance
        how = chance.random()
        if how < 0.4:
            value[key] = self._seen(under)
        elif how < 0.55:
            del value[key]
        elif how < 0.7 and isinstance(value, list):
            value.insert(chance.randrange(len(value) + 1), marshal.loads(marshal.dumps(value[key])))
        elif how < 0.75 and isinstance(value, list):
            chance.shuffle(value)
        elif how < 0.85 and isinstance(value[key], str):
            text = value[key]
            at = chance.randrange(len(text) + 1)
            value[key] = text[:at] + chance.choice(["", "/", "x", "*", ".", "\u0301", "\u017f", "\n", "A"]) + text[at:]
        elif how < 0.85 and isinstance(value[key], int):
            value[key] += chance.choice([-1, 1, 7])
        else:
            value[key] = marshal.loads(marshal.dumps(chance.choice(ODD)))

    def _add(self, value: dict[str, Any], under: str) -> None:
        keys = self._vocabulary.keys.get(under) or self._vocabulary.keys[""]
        key = self._chance.choice(keys) if self._chance.random() < 0.95 else "futureField"
        value[key] = self._seen(key)

    def _add_element(self, value: list[Any], under: str) -> None:
        seen = self._seen(under)
        if isinstance(seen, list):
            value.extend(seen)

    def _seen(self, key: str) -> Any:
        values = self._vocabulary.values.get(key)
        return marshal.loads(self._chance.choice(values)) if values else self._chance.choice(ODD[:20])

    def _cut(self, data: bytes) -> bytes:
        return data[: self._chance.randrange(len(data) + 1)]

    def _insert(self, data: bytes) -> bytes:
        at = self._chance.randrange(len(data) + 1)
        new = (
            self._chance.choice(self._pieces) if self._pieces else self._chance.randbytes(self._chance.randrange(1, 9))
        )
        return data[:at] + new + data[at:]

    def _leave_out(self, data: bytes) -> bytes:
        at = self._chance.randrange(len(data) + 1)
        return data[:at] + data[at + self._chance.randrange(40) :]

    def _repeat(self, data: bytes) -> bytes:
        at = self._chance.randrange(len(data) + 1)
        piece = data[at : at + self._chance.randrange(1, 400)]
        times = self._chance.choice([1, 1, 2, 2, 9, 9, 60, 60, 3000])
        return data[:at] + piece * min(times, self._largest // len(piece or b"x")) + data[at:]

    def _in_text(self, data: bytes) -> bytes:
        return self._at(_STRING, data, lambda match: match[0][:-1] + self._chance.choice(IN_TEXT) + b'"')

    def _number(self, data: bytes) -> bytes:
        return self._at(_NUMBER, data, lambda _: self._chance.choice(NUMBERS))

    def _twice(self, data: bytes) -> bytes:
        """Give a key a second time, before or after, with another value."""
        junk = json.dumps(self._chance.choice(ODD)).encode()
        return self._at(_KEY, data, lambda match: b'"%b":%b,%b' % (match[1], junk, match[0]))

    def _other_case(self, data: bytes) -> bytes:
        def other(match: "re.Match[bytes]") -> bytes:
            key = match[1]
            return match[0].replace(key, self._chance.choice([key.upper(), key.lower(), key.title(), key.swapcase()]))

        return self._at(_KEY, data, other)

    def _deeper(self, data: bytes) -> bytes:
        depth = self._chance.choice([3, 30, 300, 900, 1100, 3000])
        before, after = self._chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
        return self._at(_KEY, data, lambda match: b'"x":%b1%b,%b' % (before * depth, after * depth, match[0]))

    def _at(self, pattern: "re.Pattern[bytes]", data: bytes, changed: "Callable[[re.Match[bytes]], bytes]") -> bytes:
        start = self._chance.randrange(len(data) + 1)
        match = pattern.search(data, start) or pattern.search(data)
        return data[: match.start()] + changed(match) + data[match.end() :] if match else data


_IN_BYTES: list[Callable[[Mutator, bytes], bytes]] = [
    Mutator._cut, Mutator._insert, Mutator._leave_out, Mutator._repeat, Mutator._deeper,
    *[Mutator._in_text, Mutator._number, Mutator._twice, Mutator._other_case] * 3,
]  # fmt: skip
