"""Generated files: written once, updated, removed; what a person has done to one is kept."""

import pytest

from webhook.migrate.output_files import INDEX_OWNER, FileState, namespace_owner, write_folder

CHECKLIST = "## Deployment/a\n\n- [ ] Apply the patch.\n\n## Deployment/b\n\n- [ ] Apply the patch.\n"
OWNER = namespace_owner("shop")
FILES = {"README.md": CHECKLIST, "deployment-a.yaml": "kind: Deployment\n"}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "migration" / "shop"
    assert states(folder, FILES) == {"README.md": "written", "deployment-a.yaml": "written"}
    return folder


def states(folder, files, owner=OWNER, **options) -> dict[str, str]:
    return {file.path.name: file.state.value for file in write_folder(folder, owner, files, **options)}


def edit(file, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_second_run_changes_nothing(folder) -> None:
    before = {file.name: (file.read_text(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    assert set(states(folder, FILES).values()) == {"unchanged"}
    assert {file.name: (file.read_text(), file.stat().st_mtime_ns) for file in folder.iterdir()} == before


def test_generated_file_is_updated_and_removed(folder) -> None:
    changed = {"README.md": CHECKLIST + "more\n"}
    assert states(folder, changed) == {"README.md": "written", "deployment-a.yaml": "removed"}
    assert states(folder, {}) == {"README.md": "removed"}
    assert not folder.exists()


def test_files_of_a_killed_process_are_removed(folder) -> None:
    complete, empty = (folder / f"deployment-a.yaml.{number}" for number in (17, 18))
    complete.write_text((folder / "deployment-a.yaml").read_text())
    empty.touch()
    others = {"backup.yaml.1": "kind: Deployment\n", "notes.2": ""}
    for name, text in others.items():
        (folder / name).write_text(text)
    states(folder, FILES)
    assert {file.name for file in folder.iterdir()} == {*FILES, *others}


def test_edited_file_is_kept_if_it_would_change(folder) -> None:
    patch = folder / "deployment-a.yaml"
    edit(patch, "kind: Deployment", "kind: Deployment  # and ours")
    assert states(folder, FILES)["deployment-a.yaml"] == "unchanged"  # there is nothing new to write
    changed = {**FILES, "deployment-a.yaml": "kind: StatefulSet\n"}
    assert states(folder, changed)["deployment-a.yaml"] == "kept"
    assert states(folder, {"README.md": CHECKLIST})["deployment-a.yaml"] == "kept"
    assert "and ours" in patch.read_text()
    assert states(folder, changed, force=True)["deployment-a.yaml"] == "written"
    assert patch.read_text().endswith("kind: StatefulSet\n")


def test_file_of_another_program_is_kept(folder) -> None:
    (folder / "deployment-b.yaml").write_text("kind: Deployment\n")
    (folder / "notes.md").write_text("ours\n")
    assert states(folder, {**FILES, "deployment-b.yaml": "new\n"})["deployment-b.yaml"] == "kept"
    assert states(folder, {}, force=True) == {"README.md": "removed", "deployment-a.yaml": "removed"}
    assert sorted(file.name for file in folder.iterdir()) == ["deployment-b.yaml", "notes.md"]


@pytest.mark.parametrize("owner", [INDEX_OWNER, namespace_owner("other")])
def test_file_of_another_owner_is_kept_and_not_removed(folder, owner: str) -> None:
    before = {file.name: file.read_text() for file in folder.iterdir()}
    assert states(folder, {}, owner, force=True) == {}
    assert states(folder, {"README.md": "new\n"}, owner) == {"README.md": "kept"}
    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    assert states(folder, {"README.md": "new\n"}, owner, force=True) == {"README.md": "written"}


def test_folder_in_which_nothing_was_written_is_kept(tmp_path) -> None:
    unfinished = tmp_path / "backup.yaml.1"
    unfinished.touch()
    assert states(tmp_path, {}) == {}
    assert unfinished.exists()
    unfinished.unlink()
    assert states(tmp_path, {}) == {}
    assert tmp_path.exists()


@pytest.mark.parametrize("mark", ["x", "X"])
def test_ticked_box_stays_ticked_below_its_heading(folder, mark: str) -> None:
    checklist = folder / "README.md"
    edit(checklist, "b\n\n- [ ]", f"b\n\n- [{mark}]")
    assert states(folder, {**FILES, "README.md": CHECKLIST + "\nmore\n"})["README.md"] == "written"
    text = checklist.read_text()
    assert "b\n\n- [x] Apply the patch.\n" in text
    assert "a\n\n- [ ] Apply the patch.\n" in text
    assert "more" in text


def test_line_ends_of_another_system_are_no_edit(folder) -> None:
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert set(states(folder, {name: f"{text}more\n" for name, text in FILES.items()}).values()) == {"written"}


def test_states_are_words_of_the_output() -> None:
    assert [*FileState] == ["written", "unchanged", "removed", "kept"]
