"""Manifests are read as kubectl reads them: hundreds of documents, compared with what kubectl itself makes of them.

One process of kubectl reads one file for each document, so that it goes on after those that it refuses.
"""

import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from webhook.core.manifests import Reading, read_manifests

FOLDERS = (os.environ.get("KUBEBUILDER_ASSETS"), "/usr/local/kubebuilder/bin", None)
KUBECTL = next(filter(None, (shutil.which("kubectl", path=folder) for folder in FOLDERS)), None)
pytestmark = pytest.mark.skipif(
    not KUBECTL, reason="needs kubectl, in $KUBEBUILDER_ASSETS or in $PATH, to compare with"
)

HEAD = """\
apiVersion: v1
kind: X
metadata: {name: NAME}
m: &m {x: 5, w: 6}
o: &o {x: 7, v: 8}
"""
# fmt: off
SCALARS = (
    "a b", "a  b", "a:b", "x:", "::", "http://h:80/p", "http://h/p?q=1", "?x", "-x", "a#b", "a #b", "# c", "yes",
    "NO", "on", "~", "null", "=", "<<", "0777", "0o17", "0x1F", "-0b11", "089", "1:30", "2001-01-01",
    "2001-01-01T10:00:00Z", "1e3", "1e400", "1_000", ".5", ".5_0", "+.5", "1.0", "1e21", "-0.0", "1.5e-7", ".inf",
    "9223372036854775808", "12345678901234567890123", "0x8000000000000000",
    "0x10000000000000000", "9" * 400, "'q'", "'it''s'", '"d"', '"\\u00e9\\x41\\n"', "!!str 12",
    "!!int '12'", "!!float 1", "!!binary aGk=", "!!bool yes", "!x 12", "! 12", "!!int x", "&p q", "\u00e9", "\ufeff",
    "\u2028", "\u0085", "a\tb", "\t", "x?y", "*m", "*o", "*none", "\u007f", "'a\n  b'", '"a\n  b"', "a\n  b",
    "a\n\n  b", "|-\n  t", ">+\n  t\n\n",
)
COLLECTIONS = (
    "{}", "[]", "[a, b]", "{a: 1}", "{a:1}", "[a:]", "{a:}", "{'a':b}", '{"a":b}', "[-]", "[- a]", "{? a : b}",
    "[a: b, c: d]", "[a, {b: [c]}]", "{<<: *m, x: 1}", "{x: 1, <<: *m}", "{<<: [*m, *o]}", "{<<: *m, <<: *o}",
    "{x: 1, x: 2}", "[\n\ta,\n\tb ]",
)
ODD = (
    "{", "}", "[", "]", ",", ",,", ": ", ":", "\t#", "...", "---", "@", "%", "`", "\u0000", "|", "- ", "- a", "? ",
)
KEYS = (
    "a", "b", "y", "off", "1.5", "1e3", "1e6", "0.00001", "0x10", "'q'", '"d"', "a b", "\u00e9", "2001-01-01",
    "&k a", "1e21", ".inf", "<<",
)
# fmt: on
SEPARATORS = (",", ", ", " ,", ",\n  ")


class Generator:
    """Makes documents at random, each from a few of the tokens, so that many of them are valid."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def document(self, name: str) -> bytes:
        rand = self._random
        odd = rand.sample(ODD, 1) if rand.random() < 0.1 else []
        self._values = [*rand.sample(SCALARS, 5), *rand.sample(COLLECTIONS, 4), *odd]
        self._keys = rand.sample(KEYS, 5)
        text = "".join(f"v{number}:{self._block(2)}" for number in range(rand.randint(1, 2)))
        if rand.random() < 0.1:
            at = rand.randint(0, len(text))
            text = text[:at] + rand.choice("{}[]:,-?&*!|>'\"\n #%<=.~@`") + text[at:]
        text = HEAD.replace("NAME", name) + text
        if rand.random() < 0.1:
            text = text.replace("\n", "\r\n")
        if rand.random() < 0.05:
            text = text.rstrip("\n")
        return text.encode()

    def _flow(self, depth: int = 0) -> str:
        rand = self._random
        kind = rand.random()
        if depth > 2 or kind < 0.5:
            return rand.choice(self._values)
        separator = rand.choice(SEPARATORS)
        if kind < 0.75:
            return (
                f"[{separator.join(self._flow(depth + 1) for _ in range(rand.randint(0, 3)))}{rand.choice([']', ' ]'])}"
            )
        members = (f"{key}{rand.choice([': ', ' : '])}{self._flow(depth + 1)}" for key in rand.sample(self._keys, 2))
        return f"{{{separator.join(members)}}}"

    def _block(self, indent: int, depth: int = 0) -> str:
        rand = self._random
        kind = rand.random()
        if depth > 1 or kind < 0.4:
            return f" {self._flow()}\n"
        if kind < 0.6:
            return "\n" + "".join(
                f"{' ' * indent}-{self._block(indent + 2, depth + 1)}" for _ in range(rand.randint(1, 3))
            )
        keys = rand.sample(self._keys, rand.randint(1, 3))
        if rand.random() < 0.1:
            keys.append(keys[0])
        return "\n" + "".join(f"{' ' * indent}{key}:{self._block(indent + 2, depth + 1)}" for key in keys)


def read_with_kubectl(documents: dict[str, bytes], folder: Path) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Return the objects that kubectl reads from each file, and why it refuses others, by the name of the file.

    An object's file is the part of its name before the first dot.
    """
    for name, data in documents.items():
        (folder / f"{name}.yaml").write_bytes(data)
    command = [str(KUBECTL), "patch", "--local", "-p", "{}", "--type", "merge", "-o", "json"]
    files = [argument for name in documents for argument in ("-f", f"{name}.yaml")]
    done = subprocess.run([*command, *files], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    objects: dict[str, list[Any]] = {}
    text = done.stdout.strip()
    while text:
        obj, end = json.JSONDecoder().raw_decode(text)
        objects.setdefault(obj["metadata"]["name"].partition(".")[0], []).append(normalized(obj))
        text = text[end:].lstrip()
    refusals = re.findall(r'(?:parsing |unable to decode ")(\w+)\.yaml"?: (.*)', done.stderr)
    return objects, dict(refusals)


def normalized(value: Any) -> Any:
    """Return a value with each integer that doesn't fit 64 bits as the float that kubectl makes of it."""
    if isinstance(value, dict):
        return {key: normalized(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [normalized(inner) for inner in value]
    return float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def objects_of(reading: Reading) -> list[Any]:
    return [normalized(json.loads(manifest.raw)) for manifest in reading.manifests]


REPLACED = ("a key must be a string", "is not a finite number, which JSON needs; put it in quotes")
"""Refused here even in a value that a duplicate key replaces, which kubectl never looks at."""


def differences(documents: dict[str, bytes], folder: Path) -> list[tuple[bytes, str]]:
    """Return the documents that are read otherwise than by kubectl, and how."""
    theirs, refusals = read_with_kubectl(documents, folder)
    assert len(theirs) + len(refusals) >= len(documents) * 0.99, "kubectl's output was not understood"
    unlike = []
    for name, data in documents.items():
        reading = read_manifests(data)
        colons = any("starts with a colon" in warning.message for warning in reading.warnings)
        if name in refusals:
            if not reading.problems and not colons:
                unlike.append((data, f"kubectl refuses it: {refusals[name]}"))
        elif any(problem.message not in REPLACED for problem in reading.problems):
            unlike.append((data, f"kubectl reads it, but here: {reading.problems}"))
        elif not reading.problems and objects_of(reading) != theirs.get(name, []):
            unlike.append((data, f"kubectl reads {theirs.get(name)}, not {objects_of(reading)}"))
    return unlike


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.covers("threat-model: manifest read differently")
def test_random_documents_are_read_as_kubectl_does(seed: int, tmp_path: Path) -> None:
    generator = Generator(seed)
    documents = {f"c{number}": generator.document(f"c{number}") for number in range(600)}
    assert differences(documents, tmp_path) == []


def yaml_object(name: str, more: str = "") -> str:
    return f"apiVersion: v1\nkind: X\nmetadata: {{name: {name}}}\n{more}"


ONE, TWO = yaml_object("NAME.1"), yaml_object("NAME.2")
JSON = '{"apiVersion":"v1","kind":"X","metadata":{"name":"NAME.1"}}'
JSON_TWO = JSON.replace(".1", ".2")
STREAMS = (
    *(
        ONE + separator + TWO
        for separator in ("---\n", "--- # c\n", "--- \t\n", "---\r\n", "---\n---\n---\n", "---\n# c\n---\n")
    ),
    *(
        ONE + separator + TWO
        for separator in ("---a\n", "--- {a: b}\n", "...\n", "...\n---\n", "...\n%YAML 1.1\n---\n")
    ),
    *(mark + ONE for mark in ("# c\n---\n", "%YAML 1.1\n---\n", "\ufeff", "\ufeff---\n", "~\n---\n", "---\n# c\n")),
    *(ONE + "---\n" + mark + TWO for mark in ("\ufeff", "\n\n", "{}\n---\n", "foo\n---\n", "- a\n---\n")),
    *(
        ONE + more
        for more in (
            "\0",
            "a: \x7f\n",
            "a: \ufffe\n",
            "a:\n\tb: 1\n",
            "a: |\n  x",
            "a: |\n  ---\n  x",
            "a: 'x\n---\ny'\n",
        )
    ),
    yaml_object("NAME.1", "a: &a x\n") + "---\n" + yaml_object("NAME.2", "b: *a\n"),
    (ONE + "---\n" + TWO).replace("\n", "\r"),
    ONE + "\x85---\x85" + TWO,
    *("---\n" + JSON + end for end in ("", "\n" + JSON_TWO, "\n---\n" + JSON_TWO)),
    JSON,
    JSON + JSON_TWO,
    JSON.replace(",", ",\n\t"),
    JSON + " x",
    *(JSON[:-1] + more + "}" for more in (',"a":1,"a":2', ',"a":1e400', ',"a":1e3', ',"a":12345678901234567890123')),
    *(JSON[:-1] + more + "}" for more in (',"a":"\\ud83d\\ude00"', ',"a":"\x7f\u2028"', ',"a":"\\/"')),
    "---\n" + JSON[:-1] + ',"a":"x\u2028y"}',
    "apiVersion: v1\nkind: List\nitems:\n- " + ONE.replace("\n", "\n  ") + "\n- " + TWO.replace("\n", "\n  ") + "\n",
    "apiVersion: v1\nkind: XList\nitems:\n- metadata: {name: NAME.1}\n- metadata: {name: NAME.2}\n",
    "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nitems:\n- metadata: {name: NAME.1}\n",
    "apiVersion: v1\nkind: List\nitems: [1]\n",
)
ENCODED = (
    *(
        (codec, mark)
        for codec, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"), ("utf-8", b"\xef\xbb\xbf"))
    ),
    ("utf-16-le", b""),
    ("utf-32-le", b"\xff\xfe\0\0"),
)
TAILS = (b"# caf\xe9\n", b"a: \xe9\n", b"a: \xed\xa0\x80\n", b"a: \xc3\n", b"a: \xf0\x9f\x98\n", b"\xe9\n")


@pytest.mark.covers("threat-model: manifest read differently")
def test_streams_and_encodings_are_read_as_kubectl_does(tmp_path: Path) -> None:
    texts = [stream.encode() for stream in STREAMS]
    text = yaml_object("NAME.1", "a: é\n") + "---\r\n" + TWO
    texts += [
        mark + text.replace("NAME", f"s{len(texts) + n}").encode(codec) for n, (codec, mark) in enumerate(ENCODED)
    ]
    texts += [ONE.encode() + tail for tail in TAILS]
    documents = {f"s{number}": data.replace(b"NAME", b"s%d" % number) for number, data in enumerate(texts)}
    assert differences(documents, tmp_path) == []
