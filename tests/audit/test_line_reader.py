"""Reading of plain, compressed, damaged and oversized lines."""

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
def test_lines_do_not_depend_on_chunks_or_compression(wanted, size, compressed):
    wanted = [b"x", *wanted, b"end"]
    data = b"\n".join(wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_SIZE", size)
        assert read(gzip.compress(data) if compressed else data) == wanted


def test_gzip_members_and_zeros_are_read_like_gzip():
    assert read(gzip.compress(b"a\nb") + gzip.compress(b"c\n") + bytes(1000)) == [b"a", b"bc"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [(lambda data: data[:-12], "truncated"), (lambda data: data[:20] + b"\xff" * 30 + data[50:], "damaged")],
    ids=["cut", "changed"],
)
def test_damaged_gzip_raises_after_the_readable_lines(damage, said):
    data = gzip.compress(b"".join(b"%d\n" % number for number in range(5000)))
    assert len(data) > 1000
    read_so_far = read_lines(io.BytesIO(gzip.compress(b"first\n") + damage(data)))
    assert next(read_so_far) == b"first"
    with pytest.raises(CorruptLogError, match=said):
        list(read_so_far)


def test_oversized_line_is_skipped_in_constant_memory(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_SIZE", 10)
    monkeypatch.setattr(module, "MAX_LINE", 50)
    assert read(b"a\n" + b"x" * 1000 + b"\nb\n") == [b"a", None, b"b"]
    assert read(b"a\n" + b"x" * 1000) == [b"a", None]


def test_read_callback_gets_the_compressed_size():
    taken = []
    data = gzip.compress(b"line\n" * 1000)
    list(read_lines(io.BytesIO(data), taken.append))
    assert sum(taken) == len(data)


def test_empty_file_has_no_lines():
    assert read(b"") == []
