"""Atomic replacement of files."""

import os

import pytest

from webhook.atomic_write import WORLD_READABLE, FileContent, replace_file, replace_files


def test_replace_file_is_atomic_and_owner_only(tmp_path) -> None:
    file = tmp_path / "some.state"
    replace_file(file, [b"old"])
    with file.open("rb") as before:
        replace_file(file, [b"n", b"ew"])
        assert before.read() == b"old"
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path) -> None:
    file = tmp_path / "some.state"
    replace_file(file, [b"old"])

    def pieces():
        yield b"half"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        replace_file(file, pieces())
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_failed_write_of_one_file_replaces_none(tmp_path) -> None:
    first, second = tmp_path / "tls.crt", tmp_path / "tls.key"
    replace_files({first: FileContent([b"old"], WORLD_READABLE), second: FileContent([b"old"])})
    assert [file.stat().st_mode & 0o777 for file in (first, second)] == [0o644, 0o600]

    def pieces():
        yield b"half"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        replace_files({first: FileContent([b"new"]), second: FileContent(pieces())})
    assert [file.read_bytes() for file in (first, second)] == [b"old", b"old"]
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_replace_file_does_not_follow_a_leftover_symlink(tmp_path) -> None:
    file, elsewhere = tmp_path / "some.state", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"another's")
    (tmp_path / f"some.state.{os.getpid()}").symlink_to(elsewhere)
    replace_file(file, [b"new"])
    assert (file.read_bytes(), elsewhere.read_bytes()) == (b"new", b"another's")
    assert not file.is_symlink()
