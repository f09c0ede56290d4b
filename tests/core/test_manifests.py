"""Reading manifests: what is taken, where it stands, and what is told of the rest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.cluster import Cluster
from webhook.core.manifests import Manifest, cluster_of, read_manifests
from webhook.core.manifests.yaml_text import plain

POD = b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"


def only(data: bytes) -> Manifest:
    reading = read_manifests(data)
    assert reading.problems == ()
    (manifest,) = reading.manifests
    return manifest


def value_of(yaml: str) -> object:
    return json.loads(only(b"apiVersion: v1\nkind: X\nvalue: " + yaml.encode() + b"\n").raw)["value"]


def test_an_object_is_known_by_group_kind_namespace_and_name() -> None:
    manifest = only(b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n")
    assert manifest.group_kind == ("apps", "Deployment")
    assert (manifest.namespace, manifest.name) == ("shop", "web")


def test_a_generated_name_stands_in_for_a_name() -> None:
    assert only(b"{apiVersion: v1, kind: Pod, metadata: {generateName: web-}}").name == "web-"


DOCUMENTS = {
    "two documents": (POD + b"---\n" + POD, [(1, 1), (2, 5)]),
    "a marker first": (b"---\n" + POD, [(1, 2)]),
    "comments before the first marker": (b"# hello\n\n---\n" + POD, [(1, 4)]),
    "a directive before the first marker": (b"%YAML 1.1\n---\n" + POD, [(1, 3)]),
    "an empty document counts as one but is skipped": (b"---\n# nothing\n---\n" + POD, [(2, 4)]),
    "a marker with a comment": (POD + b"--- # next\n" + POD, [(1, 1), (2, 5)]),
    "an object on the marker's line": (b"--- {apiVersion: v1, kind: Pod}\n", [(1, 1)]),
    "an end marker": (POD + b"...\n" + b"---\n" + POD, [(1, 1), (2, 6)]),
    "Windows line ends": ((POD + b"---\n" + POD).replace(b"\n", b"\r\n"), [(1, 1), (2, 5)]),
    "a byte order mark": (b"\xef\xbb\xbf" + POD, [(1, 1)]),
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
def test_documents_are_counted_and_their_objects_lines_known(data: bytes, places: list[tuple[int, int]]) -> None:
    reading = read_manifests(data)
    assert reading.problems == ()
    assert [(one.document, one.line) for one in reading.manifests] == places


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
}


@pytest.mark.parametrize(("data", "kinds", "lines"), LISTS.values(), ids=LISTS)
def test_lists_are_opened(data: bytes, kinds: list[str], lines: list[int]) -> None:
    reading = read_manifests(data)
    assert reading.problems == ()
    assert [one.kind for one in reading.manifests] == kinds
    assert [one.line for one in reading.manifests] == lines


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
def test_a_pointer_has_the_line_of_what_it_names_or_of_its_nearest_parent(pointer: str, line: int) -> None:
    assert only(PLACES).line_of(pointer) == line
    assert read_manifests(b"a: 1\n---\n" + PLACES).manifests[0].line_of(pointer) == line + 2


@pytest.mark.parametrize(
    ("pointer", "line"), [("", 1), ("/a~1b", 3), ("/a~1b/1", 5), ("/a~1b/1/x", 5), ("/a~1b/7", 3), ("/kind/x", 2)]
)
def test_a_pointer_has_its_line_in_json_too(pointer: str, line: int) -> None:
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
}


@pytest.mark.parametrize(("yaml", "value"), SCALARS.values(), ids=SCALARS)
def test_scalars_mean_what_kubectl_takes_them_for(yaml: str, value: object) -> None:
    assert value_of(yaml) == value


def test_merge_keys_fill_in_what_is_not_said() -> None:
    data = b"apiVersion: v1\nkind: X\na: &a {x: 1, y1: 2}\nb: {<<: *a, x: 3}\nc: {<<: [{z: 1}, *a], q: 0}\n"
    value = json.loads(only(data).raw)
    assert value["b"] == {"x": 3, "y1": 2}
    assert value["c"] == {"z": 1, "x": 1, "y1": 2, "q": 0}


BOMB = b"a0: &a0 [xxxxxxxx]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (level, level, b",".join([b"*a%d" % (level - 1)] * 9)) for level in range(1, 30)
)
BROKEN = {
    "broken YAML": (b"apiVersion: v1\nkind: [\n", 3, "is not YAML: did not find expected node content"),
    "tabs": (
        b"a:\n\tb: 1\n",
        2,
        "is not YAML: found character that cannot start any token; YAML is indented with spaces, not tabs",
    ),
    "broken JSON": (b'{"apiVersion": "v1"}\n{"kind":\n', 3, "is not JSON: expecting value"),
    "not UTF-8": (b"a: 1\nb: \xff\n", 2, "is not UTF-8 text"),
    "UTF-16": ("a: 1".encode("utf-16"), 1, "is not UTF-8 text"),
    "a control character": (b"a: 1\nb: \x01\n", 2, "holds a control character, which YAML doesn't allow"),
    "a key twice": (b"a:\n  b: 1\n  c: 2\n  b: 3\n", 4, 'the key "b" is there twice'),
    "a key twice in JSON": (b'{"a": {\n"b": 1, "b": 2}}', 2, 'the key "b" is there twice'),
    "a key twice in later JSON": (b'{"apiVersion": "v1"}\n{"b": 1,\n "b": 2}', 2, 'the key "b" is there twice'),
    "an alias of nothing": (b"a: *b\n", 1, 'no anchor "b" for this alias'),
    "an alias of itself": (b"a: &a\n  b: *a\n", 2, 'the alias "a" stands inside what it stands for'),
    "aliases without end": (BOMB, 8, "the aliases stand for more than 10000000 characters"),
    "deep YAML": (b"a: " + b"[" * 100_000, 1, "nests deeper than 200 levels"),
    "deep blocks": (b"- " * 100_000, 1, "nests deeper than 200 levels"),
    "deep JSON": (b'{"a":' * 100_000, 1, "nests deeper than 200 levels"),
    "a list for a key": (b"? [a]\n: b\n", 1, "a key has to be a string"),
    "null for a key": (b"a: 1\n~: b\n", 2, "a key has to be a string"),
    "more after the end": (b"a: 1\n...\nb: 2\n", 3, "is not YAML: did not find expected <document start>"),
    "a merge of text": (b"a: 1\n<<: b\n", 2, "'<<' merges what is no mapping"),
    "infinity": (b"a: .inf\n", 1, "is no number that JSON has"),
    "infinity in JSON": (
        b'{"apiVersion": "v1", "kind": "X"}\n{"a": Infinity}',
        2,
        "Infinity is no number that JSON has",
    ),
    "half a character": (
        b'{"apiVersion": "v1", "kind": "X", "a": "\\ud800"}',
        1,
        "X can't be written as JSON: nested too deep, too large a number or half a character",
    ),
    "an item that is no object": (
        b"apiVersion: v1\nkind: List\nitems:\n- 3\n",
        4,
        "is no Kubernetes object, which would be a mapping",
    ),
    "no kind": (b"apiVersion: v1\n", 1, "is no Kubernetes object: it has no kind"),
    "a kind that is no text": (b"apiVersion: v1\nkind: 3\n", 1, "is no Kubernetes object: it has no kind"),
}


@pytest.mark.parametrize(("data", "line", "message"), BROKEN.values(), ids=BROKEN)
def test_what_can_not_be_taken_is_a_problem_with_its_line(data: bytes, line: int, message: str) -> None:
    problems = read_manifests(data).problems
    assert (problems[-1].line, problems[-1].message) == (line, message)
    assert not problems[-1].foreign
    assert str(problems[-1]) == f"line {line}: {message}"


BESIDE_OTHERS = {what: case for what, case in BROKEN.items() if what != "UTF-16"}  # that is about a whole file


@pytest.mark.parametrize(("data", "line", "message"), BESIDE_OTHERS.values(), ids=BESIDE_OTHERS)
def test_a_broken_document_leaves_the_others_whole(data: bytes, line: int, message: str) -> None:
    reading = read_manifests(POD + b"---\n" + data.rstrip() + b"\n---\n" + POD)
    assert [one.name for one in reading.manifests if one.name] == ["a", "a"]
    assert message in {one.message for one in reading.problems}
    assert line + 4 in {one.line for one in reading.problems}


@pytest.mark.parametrize("data", [b"replicas: 3\n", b"just words\n", b"[1, 2]\n"], ids=["mapping", "text", "list"])
def test_what_never_claims_to_be_a_kubernetes_object_is_foreign(data: bytes) -> None:
    (problem,) = read_manifests(data).problems
    assert problem.foreign


@given(st.binary(max_size=200) | st.text(alphabet="a{}[]:,-&*!|>'\"\n\t #%?<1.", max_size=80).map(str.encode))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    reading = read_manifests(POD + b"---\n" + data)
    assert reading.manifests[0].name == "a"
    for problem in reading.problems:
        assert problem.line >= 4


@given(st.text(max_size=30))
def test_plain_scalars_never_fail(text: str) -> None:
    assert plain(text) is None or isinstance(plain(text), str | bool | int | float)


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


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


def test_the_cluster_is_made_of_legacy_secrets_namespaces_and_accounts() -> None:
    cluster = cluster_of(read_manifests(CLUSTER).manifests)
    assert cluster.legacy_tokens == {"shop": {"robot-token": "robot"}, "default": {"old": ""}}
    assert cluster.namespaces == {"shop": frozenset({("tier", "backend")})}
    assert cluster.automounts == {("shop", "robot"): False}


def test_objects_without_a_namespace_are_in_the_one_that_is_asked_for() -> None:
    assert cluster_of(read_manifests(CLUSTER).manifests, namespace="other").legacy_tokens["other"] == {"old": ""}


def test_the_base_is_kept_and_not_changed() -> None:
    base = Cluster({"shop": {"first": "x"}}, {"a": frozenset()}, {}, ("https://api",))
    cluster = cluster_of(read_manifests(CLUSTER).manifests, base)
    assert cluster.legacy_tokens["shop"] == {"first": "x", "robot-token": "robot"}
    assert set(cluster.namespaces) == {"a", "shop"}
    assert cluster.api_audiences == ("https://api",)
    assert base.legacy_tokens == {"shop": {"first": "x"}}


def test_a_secrets_data_is_not_shown() -> None:
    secret = only(b"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: hunter2}\n")
    assert "hunter2" not in repr(secret)
