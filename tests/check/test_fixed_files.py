"""Unified diffs: `patch` makes the new text of the old one."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webhook.check.fixed_files import diff_lines

TEXTS = st.lists(st.sampled_from("abcd"), max_size=40).map("\n".join)


def patched(folder: Path, before: str, after: str) -> str:
    (folder / "a").write_text(before)
    diff = "".join(diff_lines("a", before, after))
    subprocess.run(["patch", "-p0", "-s"], input=diff, text=True, cwd=folder, check=True, timeout=60)
    return (folder / "a").read_text() if (folder / "a").exists() else ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=TEXTS.filter(bool), after=TEXTS.filter(bool), end=st.sampled_from(["", "\n"]))
def test_diff_of_any_texts_can_be_applied(tmp_path: Path, before: str, after: str, end: str) -> None:
    if before != after:
        assert patched(tmp_path, before + end, after + "\n") == after + "\n"


@pytest.mark.parametrize("lines", [1, 20_000])
def test_diff_of_many_changes_can_be_applied(tmp_path: Path, lines: int) -> None:
    before = "".join(f"a: {number}\nb: 86400\nsame\n" for number in range(lines))
    assert patched(tmp_path, before, before.replace("86400", "3600\nc: 1")) == before.replace("86400", "3600\nc: 1")
