"""Notes of what each worker serves, as long as it lives."""

import os
import subprocess
import sys

import pytest

from webhook.cluster.certificates.notes import Notes, note_name


@pytest.fixture
def other():
    """Return the id of another process that lives."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


@pytest.fixture
def notes(tmp_path) -> Notes:
    return Notes(tmp_path / "serving", lambda: "fingerprint")


def test_what_each_living_worker_serves_is_known(tmp_path, notes, other) -> None:
    assert notes.read() == frozenset()
    notes.write()
    (tmp_path / "serving" / note_name(other)).write_text("another")
    assert notes.read() == {"fingerprint", "another"}


def test_a_note_of_a_worker_that_is_gone_is_removed(tmp_path, notes) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        gone = note_name(process.pid)
        process.communicate(b"\n")
    notes.write()
    (tmp_path / "serving" / gone).write_text("another")
    assert notes.read() == {"fingerprint"}
    assert not (tmp_path / "serving" / gone).exists()


def test_a_note_of_a_worker_whose_number_another_process_has_is_removed(tmp_path, notes) -> None:
    notes.write()
    number, _, started = note_name(os.getpid()).partition("-")
    (tmp_path / "serving" / f"{number}-{int(started) - 1}").write_text("another")
    assert notes.read() == {"fingerprint"}
    assert [file.name for file in (tmp_path / "serving").iterdir()] == [f"{number}-{started}"]


def test_a_process_is_known_by_when_it_was_started(other) -> None:
    own, later = (int(note_name(pid).partition("-")[2]) for pid in (os.getpid(), other))
    assert own < later


def test_a_note_that_is_just_being_written_is_left_alone(tmp_path, notes, other) -> None:
    notes.write()
    (tmp_path / "serving" / f"{note_name(other)}.{other}").write_text("half")
    assert notes.read() == {"fingerprint"}
    assert (tmp_path / "serving" / f"{note_name(other)}.{other}").exists()


def test_where_the_system_tells_no_start_the_number_has_to_do(tmp_path, notes, other, monkeypatch) -> None:
    monkeypatch.setattr("webhook.cluster.certificates.notes._PROCESSES", tmp_path / "none")
    notes.write()
    (tmp_path / "serving" / note_name(other)).write_text("another")
    assert notes.read() == {"fingerprint", "another"}
