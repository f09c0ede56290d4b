"""Reading manifests: the objects with their lines, and the problems of the rest."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.json_values import VALUES
from webhook.core.cluster_state import ClusterState
from webhook.core.documents.document import MAX_WARNINGS, DocumentError
from webhook.core.documents.yaml_reader import Budget, YamlDocument, read_yaml
from webhook.core.documents.yaml_scalars import plain
from webhook.core.manifests import Manifest, cluster_of, read_manifests

POD = b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"


def only(data: bytes) -> Manifest:
    reading = read_manifests(data)
    assert reading.problems == ()
    (manifest,) = reading.manifests
    return manifest


def value_of(yaml: str) -> object:
    return json.loads(only(b"apiVersion: v1\nkind: X\nvalue: " + yaml.encode() + b"\n").raw)["value"]


def test_object_has_group_kind_namespace_and_name() -> None:
    manifest = only(b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n")
    assert manifest.group_kind == ("apps", "Deployment")
    assert (manifest.namespace, manifest.name) == ("shop", "web")


def test_generate_name_is_used_without_a_name() -> None:
    assert only(b"{apiVersion: v1, kind: Pod, metadata: {generateName: web-}}").name == "web-"


DOCUMENTS = {
    "two documents": (POD + b"---\n" + POD, [(1, 1), (2, 5)]),
    "a marker first": (b"---\n" + POD, [(1, 2)]),
    "comments before the first marker": (b"# hello\n\n---\n" + POD, [(1, 4)]),
    "an empty document counts as one but is skipped": (b"---\n# nothing\n---\n" + POD, [(2, 4)]),
    "a marker with a comment": (POD + b"--- # next\n" + POD, [(1, 1), (2, 5)]),
    "an end marker": (POD + b"...\n" + b"---\n" + POD, [(1, 1), (2, 6)]),
    "Windows line ends": ((POD + b"---\n" + POD).replace(b"\n", b"\r\n"), [(1, 1), (2, 5)]),
    "a byte order mark": (b"\xef\xbb\xbf" + POD, [(1, 1)]),
    "a byte order mark in front of each": (b"\xef\xbb\xbf" + POD + b"---\n\xef\xbb\xbf" + POD, [(1, 1), (2, 5)]),
    "UTF-16, little-endian": (
        "\ufeff".encode("utf-16-le") + (POD.decode() + "---\r\n" + POD.decode()).encode("utf-16-le"),
        [(1, 1), (2, 5)],
    ),
    "UTF-16, big-endian": ("\ufeff".encode("utf-16-be") + POD.decode().encode("utf-16-be"), [(1, 1)]),
    "a comment in Latin-1": (b"# caf\xe9\n" + POD, [(1, 2)]),
    "braces without quotes": (b"{apiVersion: v1, kind: Pod}\n---\n" + POD, [(1, 1), (2, 3)]),
    "dashes in a text": (b"apiVersion: v1\nkind: X\nd: |\n  ---\n  a\n---\n" + POD, [(1, 1), (2, 7)]),
    "JSON values in a row": (
        b'{"apiVersion": "v1", "kind": "A"}\n\n{"apiVersion": "v1", "kind": "B"}',
        [(1, 1), (2, 3)],
    ),
    "JSON with tabs": (b'{\n\t"apiVersion":\t"v1",\n\t"kind": "A"\n}', [(1, 1)]),
    "nothing": (b"", []),
    "nothing but comments": (b"# a\n# b\n", []),
}


@pytest.mark.parametrize(("data", "places"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_objects_have_document_and_line(data: bytes, places: list[tuple[int, int]]) -> None:
    reading = read_manifests(data)
    assert reading.problems == ()
    assert [(manifest.document, manifest.line) for manifest in reading.manifests] == places


LISTS = {
    "List": (
        b"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n- apiVersion: v1\n  kind: Secret\n",
        ["Pod", "Secret"],
        [4, 6],
    ),
    "typed list": (
        b"apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n\n- metadata: {name: b}\n",
        ["Pod", "Pod"],
        [4, 6],
    ),
    "typed list of JSON": (
        b'{"apiVersion":"v1","kind":"PodList","items":[\n{"metadata":{}},\n{"metadata":{}}]}',
        ["Pod", "Pod"],
        [2, 3],
    ),
    "a List of Lists": (
        b"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items: [{apiVersion: v1, kind: Pod}]\n",
        ["Pod"],
        [6],
    ),
    "no items": (b"apiVersion: v1\nkind: List\nitems: null\n", [], []),
    "a kind that only sounds like a list": (
        b"apiVersion: example.com/v1\nkind: AllowList\nspec: {}\n",
        ["AllowList"],
        [1],
    ),
    "items of a kind that isn't a list": (
        b"apiVersion: v1\nkind: Pod\nitems:\n- metadata: {name: a}\n- {apiVersion: v1, kind: Secret}\n",
        ["Pod", "Secret"],
        [4, 5],
    ),
}


@pytest.mark.parametrize(("data", "kinds", "lines"), LISTS.values(), ids=LISTS)
def test_list_yields_its_items(data: bytes, kinds: list[str], lines: list[int]) -> None:
    reading = read_manifests(data)
    assert reading.problems == ()
    assert [manifest.kind for manifest in reading.manifests] == kinds
    assert [manifest.line for manifest in reading.manifests] == lines


PLACES = b"""\
apiVersion: v1
kind: Pod
metadata:
  annotations:
    example.com/a: b
spec:
  containers: [{name: x}]
  volumes:
  - name: one
    projected:
      sources:
      - serviceAccountToken:
          path: token
  - &two
    name: two
  - *two
"""
POINTERS = {
    "": 1,
    "/spec": 6,
    "/spec/volumes/0": 9,
    "/spec/volumes/0/projected/sources/0/serviceAccountToken": 12,
    "/spec/volumes/0/projected/sources/0/serviceAccountToken/path": 13,
    "/spec/volumes/0/projected/sources/0/serviceAccountToken/audience": 12,
    "/spec/volumes/2/name": 16,
    "/spec/volumes/9": 8,
    "/metadata/annotations/example.com~1a": 5,
    "/metadata/annotations/other": 4,
    "/nowhere/at/all": 1,
}


@pytest.mark.parametrize(("pointer", "line"), POINTERS.items(), ids=POINTERS)
def test_pointer_has_the_line_of_its_value_or_nearest_parent(pointer: str, line: int) -> None:
    assert only(PLACES).line_of(pointer) == line
    assert read_manifests(b"a: 1\n---\n" + PLACES).manifests[0].line_of(pointer) == line + 2


@pytest.mark.parametrize(
    ("pointer", "line"), [("", 1), ("/a~1b", 3), ("/a~1b/1", 5), ("/a~1b/1/x", 5), ("/a~1b/7", 3), ("/kind/x", 2)]
)
def test_pointer_has_its_line_in_json(pointer: str, line: int) -> None:
    data = b'{"apiVersion": "v1",\n"kind": "X",\n"a/b": [ {"x": "{[,"} ,\n\n{"x": 1}]}'
    assert only(data).line_of(pointer) == line


SCALARS = {
    "a date": ("2024-01-01", "2024-01-01"),
    "a time": ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
    "base 60": ("12:30", "12:30"),
    "octal": ("0644", 0o644),
    "new octal": ("0o644", 0o644),
    "hexadecimal": ("0x1F", 31),
    "binary": ("0b101", 5),
    "underscores": ("1_000", 1000),
    "not octal": ("089", 89),
    "a sign": ("-12", -12),
    "zero": ("0", 0),
    "an exponent": ("1e3", 1000),
    "a fraction": (".5", 0.5),
    "a version": ("1.2.3", "1.2.3"),
    "a hash": ("12e", "12e"),
    "other digits": ("1\uff12", "1\uff12"),
    "yes": ("yes", True),
    "y": ("y", True),
    "off": ("off", False),
    "quoted": ("'off'", "off"),
    "a tag": ("!!str 12", "12"),
    "an unknown tag": ("!Ref x", "x"),
    "a tagged number": ("!!int 12", 12),
    "nothing": ("", None),
    "tilde": ("~", None),
    "empty quotes": ("''", ""),
    "a block": ("|\n  a\n  b", "a\nb\n"),
    "keys that are no strings": ("{1: a, y: b}", {"1": "a", "true": "b"}),
    "an equals sign": ("=", "="),
    "a float for a key": (
        "{1.5: a, 1e6: b, 0.1: c, .inf: d, 1e39: e}",
        {"1.5": "a", "1e+06": "b", "0.1": "c", ".inf": "e"},
    ),
    "a number too large for a float": ("1e400", "1e400"),
    "an integer too large": ("9223372036854775808", 2.0**63),
    "an integer too large for a float": ("9" * 400, "9" * 400),
    "a hexadecimal number too large": ("0x10000000000000000", "0x10000000000000000"),
    "underscores in a fraction": (".5_0", 0.5),
    "underscores that separate nothing": ("._5", "._5"),
    "base64": ("!!binary aGk=", "hi"),
    "a tagged integer as float": ("!!float 1", 1),
    "a quoted number, tagged": ("!!int '12'", 12),
    "a date, tagged": ("!!timestamp 2024-01-01", "2024-01-01"),
    "a bare exclamation mark": ("! 12", "12"),
    "colons in a flow sequence": (
        "[a:b, http://x:80/, '[::]:80', fd00::]",
        ["a:b", "http://x:80/", "[::]:80", "fd00::"],
    ),
    "a colon at the end in a flow sequence": ("[a:]", ["a:"]),
    "a colon at the end in a flow mapping": ("{a:, b:}", {"a:": None, "b:": None}),
    "a question mark in a flow sequence": ("[?x, -y]", [{"x": None}, "-y"]),
    "a quoted key in a flow mapping": ("{'a':b, \"c\":d}", {"a": "b", "c": "d"}),
    "tabs in a flow sequence": ("[\n\ta:,\n\tb\n]", ["a:", "b"]),
    "lines in a flow sequence": ("[a:,b\n  c\n\n  d # e\n  , f]", ["a:", "b c\nd", "f"]),
}


@pytest.mark.parametrize(("yaml", "value"), SCALARS.values(), ids=SCALARS)
def test_scalar_has_the_value_that_kubectl_reads(yaml: str, value: object) -> None:
    assert value_of(yaml) == value


MERGES = {
    "before the mapping's own keys": ("{<<: *a, x: 3}", {"x": 3, "z": 2}),
    "after them": ("{x: 3, <<: *a}", {"x": 1, "z": 2}),
    "between them": ("{x: 3, <<: *a, z: 4}", {"x": 1, "z": 4}),
    "two": ("{<<: *a, <<: *b}", {"x": 5, "z": 2, "w": 6}),
    "a sequence, of which the first wins": ("{<<: [*a, *b]}", {"x": 1, "z": 2, "w": 6}),
    "a mapping of its own": ("{<<: {q: 1}, r: 2}", {"q": 1, "r": 2}),
    "in quotes, which is a key": ("{'<<': 1}", {"<<": 1}),
}


@pytest.mark.parametrize(("yaml", "merged"), MERGES.values(), ids=MERGES)
@pytest.mark.covers("threat-model: manifest read differently")
def test_merge_key_replaces_the_keys_before_it(yaml: str, merged: object) -> None:
    data = f"apiVersion: v1\nkind: X\na: &a {{x: 1, z: 2}}\nb: &b {{x: 5, w: 6}}\nvalue: {yaml}\n"
    assert json.loads(only(data.encode()).raw)["value"] == merged


@pytest.mark.parametrize(
    ("pointer", "line"),
    [("/b/x", 6), ("/b/x/deep", 6), ("/b/own", 5), ("/c/x", 9), ("/c/w/z", 11)],
)
def test_merged_or_duplicate_key_has_the_line_that_counts(pointer: str, line: int) -> None:
    data = b"apiVersion: v1\nkind: X\na: &a {x: 1}\nb:\n  own: 1\n  <<: *a\n"
    data += b"c:\n  x: 1\n  x: 2\n  w:\n    z: 1\n"
    assert only(data).line_of(pointer) == line


COLON = "kubectl refuses a text that starts with a colon here; put it in quotes"
IGNORED = "what follows from here on is ignored; start it with '---' on a line of its own"
WARNED = {
    "a duplicate key": (
        b"a:\n  b: 1\n  c: 2\n  b: 3\n",
        {"b": 3, "c": 2},
        6,
        'duplicate key "b": only the last one counts; remove the others',
    ),
    "a duplicate in another spelling": (
        b"a: {1: a, 0x1: b}\n",
        {"1": "b"},
        3,
        'duplicate key "1": only the last one counts; remove the others',
    ),
    "a merge key after the key that it replaces": (
        b"a:\n  b: 1\n  <<: {b: 2}\n",
        {"b": 2},
        5,
        "parsers differ on whether '<<' replaces the key \"b\" before it; put '<<' first",
    ),
    "a colon that starts a text": (b"a: [0.0.0.0/0, ::/0]\n", ["0.0.0.0/0", "::/0"], 3, COLON),
    "a document after an end marker": (b"a: 1\n...\nb: 2\n", 1, 5, IGNORED),
    "a separator after old line ends": (b"a: 1\r---\ra: 2\r", 1, 4, IGNORED),
}


@pytest.mark.parametrize(("data", "value", "line", "message"), WARNED.values(), ids=WARNED)
def test_ambiguous_yaml_is_read_as_kubectl_does_with_a_warning(
    data: bytes, value: object, line: int, message: str
) -> None:
    (manifest,), (warning,) = (
        (reading := read_manifests(b"apiVersion: v1\nkind: X\n" + data)).manifests,
        reading.warnings,
    )
    assert json.loads(manifest.raw)["a"] == value
    assert (warning.line, warning.message, warning.document, warning.foreign) == (line, message, 1, False)
    assert reading.problems == ()


def test_duplicate_keys_of_json_have_their_lines() -> None:
    reading = read_manifests(
        b'{"apiVersion": "v1", "kind": "X",\n"a": {"b": "\\"}",\n "b": 2},\n"\\u0061": 3}\n{"b": 1,\n "b": 2}'
    )
    assert json.loads(reading.manifests[0].raw)["a"] == 3
    assert [(each.document, each.line, each.column, each.message.split(":")[0]) for each in reading.warnings] == [
        (1, 3, 2, 'duplicate key "b"'),
        (1, 4, 1, 'duplicate key "a"'),
        (2, 6, 2, 'duplicate key "b"'),
    ]
    assert [warning.foreign for warning in reading.warnings] == [False, False, True]


def test_json_that_only_yaml_allows_is_warned_about() -> None:
    data = b'{"apiVersion": "v1",\n"kind": "Pod",\n}\n'
    [warning] = read_manifests(data).warnings
    assert (warning.line, warning.column) == (2, 14)
    assert warning.message == (
        "is read as YAML, because it is not JSON: a comma before }; remove it; kubectl before 1.33 refuses it"
    )
    for same in (b"---\n" + data, data.replace(b'"', b"")):
        assert (len(read_manifests(same).manifests), read_manifests(same).warnings) == (1, ())


def test_many_warnings_about_a_document_are_counted() -> None:
    warnings = read_manifests(POD + b"a: 1\n" * 1000).warnings
    assert len(warnings) == MAX_WARNINGS + 1
    assert warnings[-1].message == f"{999 - MAX_WARNINGS} more warnings like this below"


REFUSED = {
    "a directive": (
        b"# a\n%YAML 1.1\n---\n" + POD,
        2,
        "kubectl refuses a file with a directive such as %YAML; remove this line",
    ),
    "an object behind a separator": (
        b"# a\n--- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n",
        2,
        "kubectl refuses text behind '---'; move it to the next line",
    ),
    "text behind dashes": (POD + b"---a: 1\n", 4, "kubectl refuses text behind '---'; move it to the next line"),
}


@pytest.mark.parametrize(("data", "line", "message"), REFUSED.values(), ids=REFUSED)
def test_object_that_kubectl_refuses_is_read(data: bytes, line: int, message: str) -> None:
    reading = read_manifests(data)
    assert [manifest.name for manifest in reading.manifests] == ["a"]
    assert [(problem.line, problem.message) for problem in reading.problems] == [(line, message)]


BOMB = b"a0: &a0 [xxxxxxxx]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (level, level, b",".join([b"*a%d" % (level - 1)] * 9)) for level in range(1, 30)
)
BROKEN = {
    "broken YAML": (
        b"apiVersion: v1\nkind: [\n",
        2,
        "is not YAML: this [ is not closed",
    ),
    "tabs": (
        b"a:\n\tb: 1\n",
        2,
        "is not YAML: found character that cannot start any token; indent with spaces, not tabs",
    ),
    "an open quote": (b'a: 1\nb: "x\nc: 1\n', 2, "is not YAML: this quote is not closed"),
    "broken JSON": (b'{"apiVersion": "v1"}\n{"kind":\n', 2, "is not JSON: expecting value"),
    "JSON with a comma at the end of a list": (b'{"a": [1, 2 ,\n\n]\n', 1, "is not JSON: a comma before ]; remove it"),
    "broken JSON at first": (b'{"apiVersion":\n"v1" 1\n\n', 2, "is not JSON: expecting ',' delimiter"),
    "JSON that ends too early": (b'{"apiVersion":\n\n', 1, "is not JSON: expecting value"),
    "broken YAML in braces": (b"{apiVersion: v1]\n", 1, "is not YAML: did not find expected ',' or '}'"),
    "UTF-16 without a mark": ("a: 1".encode("utf-16-le"), 1, "contains a control character, which YAML does not allow"),
    "a control character": (b"a: 1\nb: \x01\n", 2, "contains a control character, which YAML does not allow"),
    "an alias of nothing": (b"a: *b\n", 1, 'alias "b" has no anchor; put a * at the start of a text in quotes'),
    "an alias of itself": (b"a: &a\n  b: *a\n", 2, 'alias "a" is inside its own anchor'),
    "aliases without end": (BOMB, 7, "is too large: its aliases expand to more than 4 MiB"),
    "deep YAML": (b"a: " + b"[" * 100_000, 1, "nests deeper than 200 levels"),
    "deep blocks": (b"- " * 100_000, 1, "nests deeper than 200 levels"),
    "deep JSON": (b'{"a":' * 100_000, 1, "nests deeper than 200 levels"),
    "a list for a key": (b"? [a]\n: b\n", 1, "a key must be a string"),
    "null for a key": (b"a: 1\n~: b\n", 2, "a key must be a string"),
    "a key that is a number for kubectl alone": (b"a: {? [1] : b}\n", 1, "a key must be a string"),
    "a wrong tag": (b"a: !!int x\n", 1, '"x" is not of type int; remove the tag !!int, or change the value'),
    "no base64": (b"a: !!binary x\n", 1, "is not base64; remove the tag !!binary, or encode the text"),
    "too large a number in JSON": (
        b'{"apiVersion": "v1", "kind": "X", "a": 1e400}',
        1,
        'number "1e400" is too large',
    ),
    "a merge of a list behind an alias": (b"a: &a [{b: 1}]\nc:\n  <<: *a\n", 3, "'<<' must merge a mapping"),
    "a merge of text": (b"a: 1\n<<: b\n", 2, "'<<' must merge a mapping"),
    "infinity": (b"a: .inf\n", 1, "is not a finite number, which JSON needs; put it in quotes"),
    "infinity in JSON": (
        b'{"apiVersion": "v1", "kind": "X"}\n{"a": Infinity}',
        2,
        "Infinity is not a finite number, which JSON needs; put it in quotes",
    ),
    "half a character": (
        b'{"apiVersion": "v1", "kind": "X", "a": "\\ud800"}',
        1,
        "X cannot be written as JSON: it nests too deep, or has too large a number or half a character",
    ),
    "an item that is no object": (
        b"apiVersion: v1\nkind: List\nitems:\n- 3\n",
        4,
        "is not a Kubernetes object: it is not a mapping",
    ),
    "a List whose items are a map": (
        b"apiVersion: v1\nkind: List\nitems: {a: b}\n",
        1,
        "List has items that are not a list; write '-' before each object",
    ),
    "a List without items": (b"apiVersion: v1\nkind: List\n", 1, "List has no items"),
    "a list": (
        b"- apiVersion: v1\n  kind: X\n",
        1,
        "is not a Kubernetes object: it is a list; put '---' between objects",
    ),
    "no kind": (b"apiVersion: v1\n", 1, "is not a Kubernetes object: it has no kind"),
    "a kind that is no text": (b"apiVersion: v1\nkind: 3\n", 1, "is not a Kubernetes object: it has no kind"),
}


@pytest.mark.parametrize(("data", "line", "message"), BROKEN.values(), ids=BROKEN)
def test_invalid_manifest_is_a_problem_with_its_line(data: bytes, line: int, message: str) -> None:
    problems = read_manifests(data).problems
    assert (problems[-1].line, problems[-1].message) == (line, message)
    assert str(problems[-1]) == f"line {line}: {message}"


BESIDE_OTHERS = {what: case for what, case in BROKEN.items() if "JSON" not in what}  # JSON is for whole files


@pytest.mark.parametrize(("text", "place", "message"), [
    ("a: [", (1, 4), "this [ is not closed"),
    ("a:\n- {b: [c,\n  d\n# e\n\n", (2, 7), "this [ is not closed"),
    ("a: {b: [c],\n  d: e\n", (1, 4), "this { is not closed"),
    ("a: 1\nmode\n\n", (2, 1), "could not find expected ':'"),
    ("a: 1\nmode\nb: 2\n", (2, 1), "could not find expected ':'"),
    ('a: 1\nb: "c\n', (2, 4), "this quote is not closed"),
])  # fmt: skip
def test_error_at_the_end_is_reported_where_it_begins(text, place, message) -> None:
    with pytest.raises(DocumentError) as caught:
        read_yaml(text, 1, 1)
    assert ((caught.value.line, caught.value.column), caught.value.message) == (place, f"is not YAML: {message}")


@given(st.text("ab:-[]{}'\"|>?!&*#, \n", max_size=30))
def test_error_is_in_a_line_that_exists(text) -> None:
    lines = []
    for budget in (None, Budget()):
        try:
            YamlDocument(text, 1, 1, budget).read()
        except DocumentError as error:
            lines.append(error.line)
    assert all(1 <= line <= 1 + text.rstrip().count("\n") for line in lines)


@pytest.mark.parametrize(("bracket", "end"), ["[]", "{}"])
def test_broken_yaml_names_the_bracket_above(bracket: str, end: str) -> None:
    [problem] = read_manifests(POD + f"---\na: 1\nb: {bracket}c: d,\n  e: f\n  'g': h\n".encode()).problems
    message = f"is not YAML: did not find expected ',' or '{end}' after the {bracket} in line 6"
    assert (problem.line, problem.message) == (8, message)


@pytest.mark.parametrize(("data", "line", "message"), BESIDE_OTHERS.values(), ids=BESIDE_OTHERS)
def test_broken_document_leaves_the_others_readable(data: bytes, line: int, message: str) -> None:
    reading = read_manifests(POD + b"---\n" + data.rstrip() + b"\n---\n" + POD)
    assert [manifest.name for manifest in reading.manifests if manifest.name] == ["a", "a"]
    assert message in {problem.message for problem in reading.problems}
    assert line + 4 in {problem.line for problem in reading.problems}


@pytest.mark.parametrize("data", [b"replicas: 3\n", b"just words\n", b"[1, 2]\n"], ids=["mapping", "text", "list"])
def test_document_without_kind_and_api_version_is_foreign(data: bytes) -> None:
    (problem,) = read_manifests(data).problems
    assert problem.foreign


@given(st.binary(max_size=200) | st.text(alphabet="a{}[]:,-&*!|>'\"\n\t #%?<1.", max_size=80).map(str.encode))
def test_any_bytes_are_read_without_an_exception(data: bytes) -> None:
    reading = read_manifests(POD + b"---\n" + data)
    assert reading.manifests[0].name == "a"
    for problem in reading.problems:
        assert problem.line >= 4


@given(st.text(max_size=30))
def test_plain_scalars_never_fail(text: str) -> None:
    assert plain(text) is None or isinstance(plain(text), str | bool | int | float)


@given(VALUES)
def test_json_is_read_as_it_was_written(value: object) -> None:
    data = json.dumps({"apiVersion": "v1", "kind": "X", "value": value}, ensure_ascii=False, indent=1)
    assert json.loads(only(data.encode()).raw)["value"] == value


CLUSTER = b"""\
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata:
  name: robot-token
  namespace: shop
  annotations: {kubernetes.io/service-account.name: robot}
---
apiVersion: v1
kind: Secret
type: Opaque
metadata: {name: plain, namespace: shop}
---
{"apiVersion": "v1", "kind": "SecretList", "items": [
 {"metadata": {"name": "old"}, "type": "kubernetes.io/service-account-token"}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {tier: backend}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, namespace: shop}
automountServiceAccountToken: false
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default}
---
apiVersion: v1
kind: Secret
type: {no: text}
metadata: {name: broken}
---
apiVersion: example.com/v1
kind: Namespace
metadata: {name: impostor}
"""


def test_cluster_of_manifests_has_secrets_and_accounts() -> None:
    cluster = cluster_of(read_manifests(CLUSTER).manifests)
    assert cluster.legacy_tokens == {"shop": {"robot-token": "robot"}, "default": {"old": ""}}
    assert cluster.namespaces == {"shop": frozenset({("tier", "backend")})}
    assert cluster.automounts == {("shop", "robot"): False}


def test_objects_without_a_namespace_get_the_given_one() -> None:
    assert cluster_of(read_manifests(CLUSTER).manifests, namespace="other").legacy_tokens["other"] == {"old": ""}


def test_base_cluster_is_extended_and_not_changed() -> None:
    base = ClusterState({"shop": {"first": "x"}}, {"a": frozenset()}, {}, ("https://api",))
    cluster = cluster_of(read_manifests(CLUSTER).manifests, base)
    assert cluster.legacy_tokens["shop"] == {"first": "x", "robot-token": "robot"}
    assert set(cluster.namespaces) == {"a", "shop"}
    assert cluster.api_audiences == ("https://api",)
    assert base.legacy_tokens == {"shop": {"first": "x"}}


def test_data_of_a_secret_is_not_in_its_repr() -> None:
    secret = only(b"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: hunter2}\n")
    assert "hunter2" not in repr(secret)


def _seconds(data: bytes) -> float:
    def measure() -> float:
        start = time.process_time()
        read_manifests(data)
        return time.process_time() - start

    return min(measure() for _ in range(3))


@pytest.mark.parametrize(
    ("head", "repeated"),
    [
        pytest.param(b"", b'{"a": 1}\n', id="objects in JSON one after the other"),
        pytest.param(b"apiVersion: v1\nkind: [\n", b"\n" * 4, id="empty lines in what can't be read"),
    ],
)
def test_reading_takes_time_in_proportion_to_length(head: bytes, repeated: bytes) -> None:
    assert _seconds(head + repeated * 8000 + b"x") < 10 * _seconds(head + repeated * 2000 + b"x")  # squared: 16 times
