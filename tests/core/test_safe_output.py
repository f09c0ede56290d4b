"""What leaves the program can't forge a line, command a terminal or start a workflow command in CI."""

import json

import pytest

from webhook.core.safe_output import safe_json, safe_json_line, safe_text

BAD = {
    "line separator": "\u2028", "paragraph separator": "\u2029", "next line": "\x85", "C1 control": "\x9b",
    "escape": "\x1b]0;owned\x07", "delete": "\x7f", "carriage return": "\r", "right to left": "\u202e",
    "isolate": "\u2066", "byte order mark": "\ufeff", "tag": "\U000e0041", "lone surrogate": "\udc80",
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_unprintable_characters_are_escaped_in_text(bad) -> None:
    shown = safe_text(f"a{bad}b\nc")
    assert shown.count("\n") == 1
    assert shown.replace("\n", "").isprintable()
    assert shown.startswith("a\\")


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_unprintable_characters_are_escaped_in_json_of_the_same_meaning(bad) -> None:
    value = {"näme": [f"a{bad}b"]}
    text = json.dumps(value, ensure_ascii=False, indent=2)
    assert safe_json(text).replace("\n", "").isprintable()
    assert json.loads(safe_json(text)) == value
    assert '"näme"' in safe_json(text)
    if bad != BAD["lone surrogate"]:
        line = safe_json_line(json.dumps(value, ensure_ascii=False).encode())
        assert line.decode().isprintable()
        assert json.loads(line) == value


@pytest.mark.parametrize(
    "line",
    ["::error file=a::b", "  ::add-mask::x", "a\n::warning::b", "a##[error]b", "##vso[task.complete]", "\t::debug::x"],
)
def test_a_workflow_command_is_no_command_any_more(line) -> None:
    for shown in safe_text(line).split("\n"):
        assert not shown.lstrip().startswith("::")
        assert "##[" not in shown
        assert "##vso[" not in shown
    assert json.loads(safe_json(json.dumps(line))) == line
    assert "##" not in safe_json(json.dumps(line))


def test_plain_lines_and_colours_are_left_as_they_are() -> None:
    text = "a: \x1b[31mrejected\x1b[0m: Pod/ä::b\n## heading"
    assert safe_text(text) == text
