"""The files that the server's processes have in common."""

import pytest

from webhook.files import replace_file


def test_a_file_is_replaced_as_a_whole_and_is_this_users_alone(tmp_path) -> None:
    file = tmp_path / "some.kept"
    replace_file(file, [b"old"])
    with file.open("rb") as before:
        replace_file(file, [b"n", b"ew"])
        assert before.read() == b"old"
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_what_cant_be_written_leaves_the_old_file_and_no_other(tmp_path) -> None:
    file = tmp_path / "some.kept"
    replace_file(file, [b"old"])

    def pieces():
        yield b"half"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        replace_file(file, pieces())
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
