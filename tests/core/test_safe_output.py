"""What leaves the program can't forge a line, command a terminal or start a workflow command in CI."""

import io
import json

import pytest

from webhook.core.safe_output import raw_stream, safe_json, safe_json_line, safe_stream, safe_text

BAD = {
    "line separator": "\u2028", "paragraph separator": "\u2029", "next line": "\x85", "C1 control": "\x9b",
    "escape": "\x1b]0;owned\x07", "delete": "\x7f", "carriage return": "\r", "right to left": "\u202e",
    "isolate": "\u2066", "byte order mark": "\ufeff", "tag": "\U000e0041", "lone surrogate": "\udc80",
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.covers("threat-model: control characters in names")
def test_unprintable_characters_are_escaped_in_text(bad) -> None:
    shown = safe_text(f"a{bad}b\nc")
    assert shown.count("\n") == 1
    assert shown.replace("\n", "").isprintable()
    assert shown.startswith("a\\")


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.covers("threat-model: control characters in names")
def test_unprintable_characters_in_json_are_escaped(bad) -> None:
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
@pytest.mark.covers("threat-model: CI workflow commands")
def test_workflow_command_is_neutralized(line) -> None:
    for shown in safe_text(line).split("\n"):
        assert not shown.lstrip().startswith("::")
        assert "##[" not in shown
        assert "##vso[" not in shown
    assert json.loads(safe_json(json.dumps(line))) == line
    assert "##" not in safe_json(json.dumps(line))


def test_plain_lines_and_colours_are_left_as_they_are() -> None:
    text = "a: \x1b[31mrejected\x1b[0m: Pod/ä::b\n## heading"
    assert safe_text(text) == text


@pytest.mark.parametrize(
    "text", ["::error::a", "  ::a\n::b", "###[a", "##vso[a", "a\x1b[31mb\x85\u202e\\x85", "\x1b]0;a\x07"]
)
def test_safe_text_of_safe_text_is_the_same(text) -> None:
    assert safe_text(safe_text(text)) == safe_text(text)


def test_safe_stream_escapes_text_and_delegates_the_rest() -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    stream = safe_stream(raw)
    assert stream.write("::a\n") == 4
    stream.writelines(["b\x85\n", "c\n"])
    stream.flush()
    stream.buffer.write(b"::d\n")
    assert raw.buffer.getvalue() == b"\\x3a:a\nb\\x85\nc\n::d\n"  # type: ignore[attr-defined]
    assert stream.encoding == "utf-8"
    assert raw_stream(stream) is raw
    assert raw_stream(raw) is raw
