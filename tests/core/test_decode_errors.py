"""Errors of decoding, in the words of a manifest."""

import msgspec
import pytest

from webhook.core.admission_request import manifest_request
from webhook.core.decode_errors import explain_decode_error
from webhook.core.json_patch import json_path
from webhook.core.kinds import KINDS

ERRORS = {
    "the object itself": ("Expected `object`, got `array`", "", "must be a mapping, not a list"),
    "a boolean": ("Expected `bool | null`, got `int` - at `$.a.b[3]`", "/a/b/3", "must be a boolean, not a number"),
    "text": ("Expected `str`, got `bool` - at `$.a`", "/a", "must be a string, not a boolean; put it in quotes"),
    "a whole number": (
        "Expected `int | null`, got `float` - at `$.a`", "/a", "must be a whole number, not a number with a fraction",
    ),
    "a map's value": ("Expected `str`, got `null` - at `$.a.labels[...]`", "/a/labels", "must be a string, not null"),
    "another limit": (
        "Expected `array` of length <= 1000 - at `$.spec.audiences`",
        "/spec/audiences",
        "is invalid: expected array of length <= 1000",
    ),
    "no JSON": ("JSON is malformed: invalid number", "", "is invalid: JSON is malformed: invalid number"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "pointer", "message"), ERRORS.values(), ids=ERRORS)
def test_explain_decode_error_names_field_and_types(text: str, pointer: str, message: str) -> None:
    assert explain_decode_error(msgspec.ValidationError(text), b"{}") == (pointer, message)


PLACES = {
    "a label": ('{"metadata": {"labels": {"a": "x", "b": null, "c/d": 1.0}}}', "metadata.labels[c/d] must be a string"),
    "an annotation": ('{"metadata": {"annotations": {"a": true}}}', "metadata.annotations.a must be a string"),
    "a placeholder": ('{"spec": {"volumes": "$VOLUMES"}}', "spec.volumes must be a list, not a string"),
}


@pytest.mark.parametrize(("body", "problem"), PLACES.values(), ids=PLACES)
def test_problem_names_the_key_and_no_value(body: str, problem: str) -> None:
    request = manifest_request(("", "Pod"), body.encode(), namespace="shop")
    assert request.problem.startswith(f"the object can't be read: {problem}")
    assert json_path(request.problem_field) == problem.split(maxsplit=1)[0]


@pytest.mark.parametrize("value", ["7", "true", "1.5", '"x"', "[7]", '{"a": 7}'])
@pytest.mark.parametrize("group_kind", KINDS, ids=str)
def test_problem_of_any_kind_names_no_type_of_python(group_kind: tuple[str, str], value: str) -> None:
    for body in ('{"metadata": %s}', '{"spec": %s}', '{"spec": {"template": {"spec": {"volumes": %s}}}}'):
        request = manifest_request(group_kind, (body % value).encode(), namespace="shop")
        assert "`" not in request.problem
        assert request.problem.startswith("the object can't be read: ") or not request.problem
        assert bool(request.problem) >= bool(request.problem_field)


def test_deep_object_has_a_problem() -> None:
    deep = b'{"spec": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}"
    request = manifest_request(("", "Pod"), deep, namespace="shop")
    assert request.problem == "the object can't be read: it nests too deep"
