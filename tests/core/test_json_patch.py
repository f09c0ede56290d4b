"""Edits in, JSON Patch out."""

import itertools

import jsonpatch
import pytest

from webhook.core.json_patch import Append, Put, Remove, assemble, json_path

POD = {"spec": {"volumes": [{"name": "a"}, {"name": "b"}, {"name": "c"}], "containers": [{"name": "x"}]}}
EDITS = (
    Remove("/spec/volumes/0"),
    Remove("/spec/volumes/2"),
    Put("/spec/volumes/1/name", "B", replaces=True),
    Put("/spec/volumes/2/name", "gone", replaces=True),
    Append("/spec/volumes", {"name": "d"}, exists=True),
    Append("/spec/containers/0/env", {"name": "E"}, exists=False),
    Append("/spec/containers/0/env", {"name": "F"}, exists=False),
)


@pytest.mark.parametrize("order", [EDITS, EDITS[::-1], EDITS[3:] + EDITS[:3]], ids=["given", "reversed", "rotated"])
def test_edits_mean_the_same_in_any_order(order) -> None:
    patched = jsonpatch.apply_patch(POD, list(assemble(order)))
    env = patched["spec"]["containers"][0].pop("env")
    assert patched == {"spec": {"volumes": [{"name": "B"}, {"name": "d"}], "containers": [{"name": "x"}]}}
    assert sorted(variable["name"] for variable in env) == ["E", "F"]


def test_edit_within_a_removed_part_is_dropped() -> None:
    for edits in itertools.permutations(
        (Remove("/a/1"), Put("/a/1/b", 1), Remove("/a/1/c"), Append("/a/1/d", 1, exists=True))
    ):
        assert assemble(edits) == ({"op": "remove", "path": "/a/1"},)


def test_elements_of_a_missing_list_are_added_together() -> None:
    assert assemble([Append("/l", 1, exists=False), Append("/l", 2, exists=False)]) == (
        {"op": "add", "path": "/l", "value": [1, 2]},
    )


def test_removals_from_a_list_go_by_descending_index() -> None:
    removed = [operation["path"] for operation in assemble(Remove(f"/l/{n}") for n in (2, 10, 9))]
    assert removed == ["/l/10", "/l/9", "/l/2"]


@pytest.mark.parametrize(
    ("pointer", "path"),
    [
        ("/spec/containers/0/env/2", "spec.containers[0].env[2]"),
        ("/metadata/annotations/tokenguard~1inject", "metadata.annotations[tokenguard/inject]"),
        ("/type", "type"),
        ("", ""),
    ],
)
def test_pointer_is_shown_as_a_field_path(pointer: str, path: str) -> None:
    assert json_path(pointer) == path
