"""Reading lines: plain or gzip, however they are cut, damaged or long."""

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.audit import line_reader as module
from webhook.audit.line_reader import CorruptLogError, OversizedLine, read_lines


def read(data: bytes) -> list[bytes | None]:
    return [None if isinstance(line, OversizedLine) else line for line in read_lines(io.BytesIO(data))]


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))), st.integers(2, 50), st.booleans())
def test_lines_are_the_same_wherever_chunks_end_and_whether_compressed_or_not(wanted, size, compressed):
    wanted = [b"x", *wanted, b"end"]
    data = b"\n".join(wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_SIZE", size)
        assert read(gzip.compress(data) if compressed else data) == wanted


def test_several_gzip_members_and_zeros_behind_them_are_read_as_gzip_does():
    assert read(gzip.compress(b"a\nb") + gzip.compress(b"c\n") + bytes(1000)) == [b"a", b"bc"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [(lambda data: data[:-12], "truncated"), (lambda data: data[:20] + b"\xff" * 30 + data[50:], "damaged")],
    ids=["cut", "changed"],
)
def test_damaged_gzip_is_an_error_after_what_came_before(damage, said):
    data = gzip.compress(b"".join(b"%d\n" % number for number in range(5000)))
    assert len(data) > 1000
    read_so_far = read_lines(io.BytesIO(gzip.compress(b"first\n") + damage(data)))
    assert next(read_so_far) == b"first"
    with pytest.raises(CorruptLogError, match=said):
        list(read_so_far)


def test_a_line_that_is_too_long_is_passed_over_in_no_more_memory(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_SIZE", 10)
    monkeypatch.setattr(module, "MAX_LINE", 50)
    assert read(b"a\n" + b"x" * 1000 + b"\nb\n") == [b"a", None, b"b"]
    assert read(b"a\n" + b"x" * 1000) == [b"a", None]


def test_what_was_taken_from_the_file_is_told():
    taken = []
    data = gzip.compress(b"line\n" * 1000)
    list(read_lines(io.BytesIO(data), taken.append))
    assert sum(taken) == len(data)


def test_an_empty_file_has_no_read_lines():
    assert read(b"") == []
