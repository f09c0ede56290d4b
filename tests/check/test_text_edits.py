"""Patches in the text of a document: everything else stays, byte by byte."""

import difflib
import json
import re
from typing import Any

import jsonpatch
import pytest

from tests.golden_cases import LOADED, golden_case
from webhook.check.text_edits import edit_text
from webhook.check.yaml_aliases import LayoutError
from webhook.core.admission_request import Phase
from webhook.core.documents.yaml_reader import YamlDocument
from webhook.core.documents.yaml_writer import write_block, write_flow
from webhook.core.json_patch import Operation

POD = """\
# licence
---
apiVersion: v1
kind:   Pod   # odd   spacing
metadata: {name: "a", labels: { app: a }}
spec:
  containers:
  # the app
  - name: app
    image: 'app:1'
    command:
      - sh
      - -c
      - |
        echo one

        echo two

    # no mounts yet
  - name: side   # car
    volumeMounts: [ {name: t, mountPath: /t} ]   # one

  # volumes
  volumes:
  - name: t
    projected:
      sources:
      - serviceAccountToken:
          path: token   # the file
          # a day
          expirationSeconds:   86400   # too long
  - name: old
    secret: {secretName: robot-token}
# the end
"""
TOKEN = "/spec/volumes/0/projected/sources/0/serviceAccountToken"
EDITS = {
    "a value": (
        [{"op": "replace", "path": f"{TOKEN}/expirationSeconds", "value": 3600}],
        ["-          expirationSeconds:   86400   # too long", "+          expirationSeconds:   3600   # too long"],
    ),
    "a new member at the end": (
        [{"op": "add", "path": f"{TOKEN}/audience", "value": "vault"}],
        ["+          audience: vault"],
    ),
    "a new list below a text block": (
        [{"op": "add", "path": "/spec/containers/0/volumeMounts", "value": [{"name": "v", "mountPath": "/v"}]}],
        ["+    volumeMounts:", "+    - name: v", "+      mountPath: /v"],
    ),
    "an item of a flow list": (
        [{"op": "add", "path": "/spec/containers/1/volumeMounts/-", "value": {"name": "v", "mountPath": "/v"}}],
        [
            "-    volumeMounts: [ {name: t, mountPath: /t} ]   # one",
            "+    volumeMounts: [ {name: t, mountPath: /t}, {name: v, mountPath: /v} ]   # one",
        ],
    ),
    "an item of a block list": (
        [{"op": "add", "path": "/spec/volumes/-", "value": {"name": "v", "emptyDir": {}}}],
        ["+  - name: v", "+    emptyDir: {}"],
    ),
    "one member for another": (
        [
            {"op": "add", "path": "/spec/volumes/1/projected", "value": {"sources": []}},
            {"op": "remove", "path": "/spec/volumes/1/secret"},
        ],
        ["-    secret: {secretName: robot-token}", "+    projected:", "+      sources: []"],
    ),
    "without the last item": (
        [{"op": "remove", "path": "/spec/volumes/1"}],
        ["-  - name: old", "-    secret: {secretName: robot-token}"],
    ),
    "a member of a flow mapping": (
        [{"op": "add", "path": "/metadata/annotations", "value": {"a": "1"}}],
        [
            '-metadata: {name: "a", labels: { app: a }}',
            '+metadata: {name: "a", labels: { app: a }, annotations: {a: "1"}}',
        ],
    ),
    "in the last container and behind it": (
        [
            {"op": "add", "path": "/spec/containers/1/env", "value": [{"name": "A", "value": "1"}]},
            {"op": "add", "path": "/spec/automountServiceAccountToken", "value": False},
        ],
        ["+    env:", "+    - name: A", '+      value: "1"', "+  automountServiceAccountToken: false"],
    ),
}


def read(text: str) -> Any:
    return YamlDocument(text, 1, 1).value()


def changed_lines(before: str, after: str) -> list[str]:
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return [f"{line[0]}{line[2:]}" for line in lines if line[0] in "-+"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("operations", "lines"), EDITS.values(), ids=EDITS)
def test_edit_changes_only_these_lines(operations: list[Operation], lines: list[str], newline: str) -> None:
    text = POD.partition("---\n")[2].replace("\n", newline)
    edited = edit_text(text, operations)
    assert edited is not None
    assert changed_lines(text, edited) == lines
    assert read(edited) == jsonpatch.apply_patch(read(text), operations)
    assert edited.count("\r") == (edited.count("\n") if newline == "\r\n" else 0)


def test_edit_without_a_line_end_at_the_end() -> None:
    added: list[Operation] = [{"op": "add", "path": "/b", "value": [1]}]
    assert edit_text("a: 1", added) == "a: 1\nb:\n- 1"
    assert edit_text("a:", [{"op": "replace", "path": "/a", "value": 1}]) == "a: 1"


MODES = "volumes:\n- name: t\n  secret:\n    defaultMode: 0400\n"


@pytest.mark.parametrize(("text", "mode"), [(MODES, "0400"), (MODES.replace("0400", "256"), "256")])
def test_edit_writes_file_modes_as_the_document_does(text: str, mode: str) -> None:
    projected = {"defaultMode": 256, "sources": []}
    added: list[Operation] = [
        {"op": "add", "path": "/volumes/0/projected", "value": projected},
        {"op": "add", "path": "/other", "value": projected},
    ]
    edited = edit_text(text, added)
    assert edited is not None
    assert re.findall(r"defaultMode: (\d+)", edited) == [mode] * 3
    flow = edit_text(f"a: {{mode: {mode}}}\n", [{"op": "add", "path": "/a/b", "value": projected}])
    assert flow == f"a: {{mode: {mode}, b: {{defaultMode: {mode}, sources: []}}}}\n"


def test_edit_removes_all_items() -> None:
    removed: list[Operation] = [{"op": "remove", "path": f"/a/{index}"} for index in (1, 0)]
    assert edit_text("a:\n- b\n- c\nd: 1\n", removed) == "a: []\nd: 1\n"
    assert edit_text("{a: [b, c], d: 1}", removed) == "{a: [], d: 1}"
    replaced: list[Operation] = [{"op": "add", "path": "/a/-", "value": "e"}, *removed]
    assert edit_text("{a: [b, c], d: 1}", replaced) == "{a: [e], d: 1}"
    assert edit_text("a:\n- b\n- c\nd: 1\n", replaced) == "a:\n- e\nd: 1\n"


EMPTY = {
    "YAML": ("a: []\n", "a: [1, 2]\n"),
    "JSON": ('{"a": []}', '{"a": [1, 2]}'),
    "JSON on lines": ('{\n  "a": []\n}', '{\n  "a": [\n    1,\n    2\n  ]\n}'),
    "JSON with an empty line": ('{\n  "a": [\n  ]\n}', '{\n  "a": [\n    1,\n    2\n  ]\n}'),
}


@pytest.mark.parametrize(("text", "expected"), EMPTY.values(), ids=EMPTY)
def test_edit_adds_several_items_to_an_empty_list(text: str, expected: str) -> None:
    added: list[Operation] = [{"op": "add", "path": "/a/-", "value": value} for value in (1, 2)]
    assert edit_text(text, added, is_json=text.startswith("{")) == expected


def test_edit_replaces_an_alias_and_not_its_anchor() -> None:
    text = "a: &x {b: 1}\nc: *x  # the same\nd: [*x, *x]\ne:\n- *x\n"
    replaced: list[Operation] = [
        {"op": "replace", "path": path, "value": value}
        for path, value in (("/c", {"b": 2}), ("/d/1", {"b": 3}), ("/e/0", {"b": 4}))
    ]
    assert edit_text(text, replaced) == "a: &x {b: 1}\nc:  # the same\n  b: 2\nd: [*x, {b: 3}]\ne:\n- b: 4\n"


@pytest.mark.parametrize("value", ["", " null", " []"])
def test_edit_keeps_a_comment_behind_its_key(value: str) -> None:
    operations: list[Operation] = [
        {"op": "add", "path": "/spec/a", "value": [{"b": 1}]},
        {"op": "add", "path": "/spec/c", "value": 2},
    ]
    for end in ("", "\n"):
        after = edit_text(f"spec:\n  a:{value}  # none{end}", operations)
        assert after == f"spec:\n  a:  # none\n  - b: 1\n  c: 2{end}"


@pytest.mark.parametrize("text", ["? [a]\n: b\n", "a: [b\n", "\ufeffa: 1\n"], ids=["no mapping", "broken", "mark"])
def test_edit_unknown_layout_is_refused(text: str) -> None:
    with pytest.raises(LayoutError):
        edit_text(text, [{"op": "replace", "path": "/a/c/d", "value": 1}])


def patched_cases() -> list[Any]:
    cases = []
    for stem, case in LOADED:
        golden = golden_case({key: value for key, value in case.items() if value is not None})
        obj = golden.object
        operations = golden.evaluate(obj, Phase.MUTATE).patch
        if operations:
            cases.append(pytest.param(obj, operations, id=f"{stem}: {case['case']}"))
    return cases


STYLES = {
    "block": lambda obj: write_block(obj, indents_lists=False),
    "indented": lambda obj: write_block(obj, indents_lists=True),
    "flow": write_flow,
    "JSON": lambda obj: json.dumps(obj, indent=2),
    "JSON with tabs": lambda obj: json.dumps(obj, indent="\t"),
    "JSON in a line": json.dumps,
    "compact JSON": lambda obj: json.dumps(obj, separators=(",", ":")),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("obj", "operations"), patched_cases())
def test_edit_of_every_golden_patch_gives_the_patched_values(obj: Any, operations: list[Operation], style: str) -> None:
    text, is_json, patched = STYLES[style](obj), "JSON" in style, jsonpatch.apply_patch(obj, operations)
    edited = edit_text(text, operations, is_json=is_json)
    assert edited is not None
    assert (json.loads(edited) if is_json else read(edited)) == patched
    if is_json:
        assert edited == STYLES[style](patched)
    additions = [operation for operation in operations if operation["op"] == "add"]
    if style in ("block", "indented") and len(additions) == len(operations) and not re.search(r"null|\[\]", text):
        assert [line for line in changed_lines(text, edited) if line.startswith("-")] == []


COMMENTS = {
    "behind a removed field": (
        "spec:\n  a: 1\n  b: {c: d}   # keep # me\n",
        [{"op": "remove", "path": "/spec/b"}, {"op": "add", "path": "/spec/e", "value": "f"}],
        "spec:\n  a: 1\n  # keep # me\n  e: f\n",
    ),
    "inside a replaced field": (
        "a:  # the old\n  # of two\n  b: '# text'  # one\n  c: 1\nd: 2  # two\n",
        [{"op": "replace", "path": "/a", "value": {"e": 1}}],
        "# the old\n# of two\n# one\na:\n  e: 1\nd: 2  # two\n",
    ),
    "inside a removed item": (
        "l:\n- a: 1  # one\n- b: 2  # two\n  c: 3  # three\n- d: 4\n",
        [{"op": "remove", "path": "/l/1"}],
        "l:\n- a: 1  # one\n# two\n# three\n- d: 4\n",
    ),
    "in a flow collection": (
        "l: [\n  a,  # one\n  b,  # two\n  c\n]\n",
        [{"op": "remove", "path": "/l/1"}],
        "l: [\n  a,  # one\n  # two\n  c\n]\n",
    ),
    "twice the same, below an insertion": (
        "a:\n  b: 1\nc:  # twice\n  d: 1  # twice\n",
        [{"op": "add", "path": "/a/e", "value": 2}, {"op": "remove", "path": "/c"}],
        "a:\n  b: 1\n  e: 2\n# twice\n# twice\n",
    ),
    "with the line ends of Windows": (
        "a: 1\r\nb: 2  # two\r\n",
        [{"op": "remove", "path": "/b"}],
        "a: 1\r\n# two\r\n",
    ),
    "no comment": (
        "a: 1\nb: 'a # b'\nc: |\n  # text\n",
        [{"op": "remove", "path": "/b"}, {"op": "remove", "path": "/c"}],
        "a: 1\n",
    ),
}


@pytest.mark.parametrize(("text", "operations", "expected"), COMMENTS.values(), ids=COMMENTS)
def test_comments_of_removed_values_are_kept(text: str, operations: list[Operation], expected: str) -> None:
    assert edit_text(text, operations) == expected
