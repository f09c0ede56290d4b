"""Paths in one spelling each."""

import pytest

from webhook.core.paths import clean_path, without_drive


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/t", "/t"),
        ("/t/", "/t"),
        ("//t//./x/..", "/t"),
        ("t", "/t"),
        ("", "/"),
        (None, "/"),
        ("/..", "/"),
        ("/T", "/T"),
        ("/a:b", "/a:b"),
        pytest.param("/var/..pods", "/var/..pods", id="a name that begins with dots"),
    ],
)
def test_clean_path_of_posix_path_returns_one_spelling(path, expected) -> None:
    assert clean_path(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        r"C:\var\run",
        r"c:\VAR\Run" + "\\",
        "C:/var/run",
        r"\var\run",
        r"\var/run",
        r"C:var\run",
        r"C:\var\.\x\..\run",
        r"C:\\var\\run",
        r"\\?\C:\var\run",
        r"\\.\c:\var\run",
        "//?/C:/var/run",
        pytest.param("C:\\var. \\run ..", id="trailing dots and spaces"),
    ],
)
@pytest.mark.covers("threat-model: odd paths")
def test_clean_path_of_windows_path_returns_one_spelling(path) -> None:
    assert clean_path(path) == "c:/var/run"
    assert clean_path(path, windows=True) == "c:/var/run"
    assert without_drive(clean_path(path)) == "/var/run"


def test_clean_path_in_windows_pod_adds_drive_and_lowers_case() -> None:
    assert clean_path("/Var/Run/", windows=True) == "c:/var/run"
    assert clean_path(None, windows=True) == "c:/"
    assert clean_path("/a/...", windows=True) == "c:/a/..."


def test_clean_path_keeps_other_drives_apart() -> None:
    assert clean_path(r"D:\var\run") == "d:/var/run"
    assert without_drive("d:/var/run") == "/var/run"
    assert without_drive("/var/run") == "/var/run"
