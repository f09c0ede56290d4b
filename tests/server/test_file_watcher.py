"""Watched files: what is used, what is rejected, and what the next worker finds."""

import copy

import pytest

from tests.serving import eventually
from webhook.server.file_watcher import FileWatcher, RejectedError, WatchedFiles


class Watched(WatchedFiles):
    """A file whose content is rejected if it begins with `bad`; records what is used, counted and reported."""

    def __init__(self, folder):
        self.used, self.counted, self.reported = [], [], []
        super().__init__(
            "policy", [folder / "file"], self._use_content, folder,
            count=lambda name, accepted: self.counted.append((name, accepted)),
            on_error=lambda _name, reason: self.reported.append(reason),
        )  # fmt: skip

    def _use_content(self, content):
        if content.startswith(b"bad"):
            raise RejectedError("one mistake", "another")
        self.used.append(content)
        return content


@pytest.fixture
def watched_file(tmp_path, caplog):
    caplog.set_level("INFO", "tokenguard")
    (tmp_path / "file").write_text("first")
    watched = Watched(tmp_path)
    watched.check()
    return watched


def test_changed_file_is_used_counted_and_logged_once(watched_file, tmp_path, caplog):
    watched_file.check()
    (tmp_path / "file").write_text("second")
    watched_file.check()
    watched_file.check()
    assert watched_file.used == [b"first", b"second"]
    assert watched_file.counted == [("policy", True)] * 2
    assert caplog.messages == [f"policy reloaded: {tmp_path}/file"]


@pytest.mark.covers("failure-modes: policy invalid or missing")
def test_invalid_content_is_reported_with_every_error(watched_file, tmp_path, caplog):
    caplog.clear()
    for content in ("bad", "bad again"):
        (tmp_path / "file").write_text(content)
        watched_file.check()
    assert watched_file.used == [b"first"]
    assert watched_file.counted == [("policy", True), ("policy", False)], "the same mistakes again"
    assert watched_file.reported == ["policy not loaded: one mistake (and 1 more)"] * 2
    assert caplog.messages == [
        "policy not used: one mistake", "policy not used: another",
        f"policy {tmp_path}/file is invalid (errors: 2); the last valid one stays in force",
    ]  # fmt: skip
    (tmp_path / "file").write_text("good")
    watched_file.check()
    assert watched_file.used == [b"first", b"good"]


@pytest.mark.covers("failure-modes: policy invalid or missing")
def test_missing_file_leaves_its_content_in_force(watched_file, tmp_path):
    (tmp_path / "file").unlink()
    for _ in range(2):
        watched_file.check()
    assert watched_file.is_loaded
    assert watched_file.reported == [f"policy not loaded: {tmp_path}/file: no such file or directory"]
    (tmp_path / "file").write_text("back")
    watched_file.check()
    assert watched_file.used == [b"first", b"back"]


def test_mounted_file_is_followed_through_its_symlinks(watched_file, tmp_path):
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "file").write_text(version)
    (tmp_path / "data").symlink_to("1")
    (tmp_path / "file").unlink()
    (tmp_path / "file").symlink_to("data/file")
    watched_file.check()
    (tmp_path / "fresh").symlink_to("2")
    (tmp_path / "fresh").replace(tmp_path / "data")
    watched_file.check()
    assert watched_file.used == [b"first", b"1", b"2"]


@pytest.mark.covers("failure-modes: out of file descriptors")
def test_content_that_failed_to_load_is_loaded_at_the_next_check(tmp_path):
    (tmp_path / "file").write_text("content")
    watched_file = Watched(tmp_path)
    use, lacks = watched_file.use, [OSError(28, "No space left on device")]

    def use_or_fail(content):
        if lacks:
            raise lacks.pop()
        return use(content)

    watched_file.use = use_or_fail
    watched_file.check()
    assert not watched_file.is_loaded
    watched_file.check()
    assert watched_file.used == [b"content"]


@pytest.mark.covers("failure-modes: policy invalid or missing")
def test_next_worker_restores_what_the_last_one_used(watched_file, tmp_path, caplog):
    forked = copy.copy(watched_file)
    (tmp_path / "file").write_text("second")
    watched_file.check()
    (tmp_path / "file").write_text("bad")
    watched_file.check()
    forked.check()
    assert watched_file.used == [b"first", b"second", b"second"]
    assert f"policy {tmp_path}/file is invalid: restored the last valid one" in caplog.messages
    (tmp_path / "file").write_text("bad again")
    forked.check()
    assert len(watched_file.used) == 3
    assert (tmp_path / "policy.stored").stat().st_mode & 0o777 == 0o600


def test_file_that_changes_while_it_is_read_is_read_again(watched_file, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("half")
    times = iter([1, 2])
    with monkeypatch.context() as patch:
        patch.setattr("webhook.server.file_watcher._fingerprint", lambda *_: (("file", 0, next(times), 0),))
        watched_file.check()
    assert watched_file.used == [b"first"]
    watched_file.check()
    assert watched_file.used == [b"first", b"half"]


def test_watcher_goes_on_after_a_check_that_fails(caplog):
    calls = []

    def fail():
        raise KeyError

    watcher = FileWatcher([("one", fail), ("other", lambda: calls.append(1))], interval=0.001)
    watcher.start()
    try:
        eventually(lambda: len(calls) > 3)
    finally:
        watcher.stop()
    assert "cannot check one" in caplog.text
