"""Which files are found, and what is said of those that can't be read."""

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from webhook.check import input_files
from webhook.check.input_files import InputFile, InputProblem, SkippedPath, displayed, read, uri


def find(*arguments: Any, **options: Any) -> list[InputFile | InputProblem]:
    """Find files, without what is excluded."""
    return [file for file in input_files.find(*arguments, **options) if not isinstance(file, SkippedPath)]


def file_paths(*paths: Path | str) -> list[str]:
    return [file.path for file in find([str(path) for path in paths])]


def test_find_folders_are_sorted_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c.json", "d.txt", ".e.yaml", "sub/f.YAML", ".git/g.yaml", "a-sub/h.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert file_paths(tmp_path) == [
        str(tmp_path / name) for name in ("a.yml", "b.yaml", "c.json", "a-sub/h.yaml", "sub/f.YAML")
    ]


def test_find_file_behind_a_link_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").touch()
    (tmp_path / "a.yaml").symlink_to("b.yaml")
    assert file_paths(tmp_path) == [str(tmp_path / "a.yaml")]
    assert file_paths(tmp_path / "b.yaml", tmp_path) == [str(tmp_path / "b.yaml")]
    not_excluded = [file for file in find([str(tmp_path)], ["/b.yaml"]) if isinstance(file, InputFile)]
    assert [file.path for file in not_excluded] == [str(tmp_path / "a.yaml")]


TREE = (
    "a.yaml",
    "charts/web/values.yaml",
    "charts/web/templates/a.yaml",
    "deploy/a.yaml",
    "deploy/test/b.yaml",
    "t.json",
)
EXCLUDED = {
    "a name at any depth": (["a.yaml"], ["charts/web/values.yaml", "deploy/test/b.yaml", "t.json"]),
    "a glob at any depth": (["*.yaml"], ["t.json"]),
    "a folder at any depth": (["test"], [file for file in TREE if "/test/" not in file]),
    "a folder by a slash behind it": (["charts/", "t.json/"], [file for file in TREE if not file.startswith("charts")]),
    "a path from the folder": (["deploy/a.yaml"], [file for file in TREE if file != "deploy/a.yaml"]),
    "a file of the folder itself": (["/a.yaml"], [file for file in TREE if file != "a.yaml"]),
    "a path from the folder, as find gives it": (["./a.yaml"], [file for file in TREE if file != "a.yaml"]),
    "a star for file folder": (["*/templates"], list(TREE)),
    "two stars for any": (["charts/**/a.yaml"], [file for file in TREE if "templates" not in file]),
    "two stars for none": (["deploy/**/a.yaml"], [file for file in TREE if file != "deploy/a.yaml"]),
    "two stars at the end": (["charts/**"], [file for file in TREE if not file.startswith("charts")]),
    "several": (["charts", "deploy"], ["a.yaml", "t.json"]),
    "letters of another case": (["A.yaml"], list(TREE)),
    "included again": (
        ["*.yaml", "!a.yaml"],
        [file for file in TREE if file.endswith(("/a.yaml", ".json"))] + ["a.yaml"],
    ),
    "included again, and excluded": (["*.yaml", "!a.yaml", "*.yaml"], ["t.json"]),
    "included before it is excluded": (["!a.yaml", "*.yaml"], ["t.json"]),
    "included, not excluded": (["!a.yaml"], list(TREE)),
    "below an excluded folder": (["charts", "deploy", "!a.yaml"], ["a.yaml", "t.json"]),
}


@pytest.mark.parametrize(("globs", "left"), EXCLUDED.values(), ids=EXCLUDED)
def test_find_exclude_works_like_gitignore(tmp_path: Path, globs: list[str], left: list[str]) -> None:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths = {str(Path(file.path).relative_to(tmp_path)) for file in find([str(tmp_path)], globs)}
    assert paths == set(left)


def test_find_exclude_keeps_named_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    assert [file.path for file in find([str(tmp_path / "a.yaml")], ["*"])] == [str(tmp_path / "a.yaml")]
    [problem] = find([str(tmp_path)], ["*"])
    assert isinstance(problem, InputProblem)
    assert (
        problem.message
        == "contains no *.yaml, *.yml or *.json file that neither --exclude nor .tokenguardignore excludes"
    )


def test_find_ignore_file_applies_to_its_folder_and_below(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml", "deploy/a.yaml", "deploy/b.yaml", "deploy/deep/b.yaml", "other/b.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".tokenguardignore").write_text("# examples\n\n/a.yaml\n/other/  \n")
    (tmp_path / "deploy" / ".tokenguardignore").write_text("b.yaml\n!deep/b.yaml\n")
    assert file_paths(tmp_path) == [str(tmp_path / name) for name in ("b.yaml", "deploy/a.yaml", "deploy/deep/b.yaml")]


def test_find_ignore_file_of_the_working_directory_applies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deploy").mkdir()
    for name in ("a.yaml", "deploy/a.yaml", "deploy/b.yaml"):
        (tmp_path / name).touch()
    (tmp_path / ".tokenguardignore").write_text("a.yaml\n")
    monkeypatch.chdir(tmp_path)
    assert file_paths("deploy") == ["deploy/b.yaml"]
    assert file_paths("deploy/../deploy") == ["deploy/../deploy/b.yaml"]
    monkeypatch.chdir(tmp_path / "deploy")
    assert file_paths("../deploy") == ["../deploy/a.yaml", "../deploy/b.yaml"]


def test_find_exclude_wins_over_the_ignore_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    (tmp_path / "b.yaml").touch()
    (tmp_path / ".tokenguardignore").write_text("*.yaml\n!a.yaml\n!b.yaml\n")
    assert [file.path for file in find([str(tmp_path)], ["a.yaml"])] == [str(tmp_path / "b.yaml")]
    assert len([*find([str(tmp_path)], ["!*.yaml"])]) == 2


def test_find_unreadable_ignore_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    (tmp_path / ".tokenguardignore").mkdir()
    assert [type(each) for each in find([str(tmp_path)])] == [InputFile, InputProblem]


def test_find_skips_node_modules(tmp_path: Path) -> None:
    (tmp_path / "node_modules" / "a").mkdir(parents=True)
    (tmp_path / "node_modules" / "a" / "package.json").touch()
    (tmp_path / "a.yaml").touch()
    assert file_paths(tmp_path) == [str(tmp_path / "a.yaml")]


def test_find_named_file_is_found_once(tmp_path: Path) -> None:
    (tmp_path / "pod.txt").touch()
    (tmp_path / "pod.yaml").touch()
    named = [tmp_path / "pod.txt", tmp_path / "pod.yaml", tmp_path, tmp_path / "pod.yaml"]
    assert file_paths(*named) == [str(tmp_path / "pod.txt"), str(tmp_path / "pod.yaml")]


def test_find_named_hidden_folder_is_searched(tmp_path: Path) -> None:
    (tmp_path / ".deploy").mkdir()
    (tmp_path / ".deploy" / "a.yaml").touch()
    assert file_paths(tmp_path / ".deploy") == [str(tmp_path / ".deploy" / "a.yaml")]


def test_find_names_folders_that_are_not_searched(tmp_path: Path) -> None:
    for name in (".k8s/a.yaml", ".git/config.json", "web/node_modules/a/package.json", "web/.b/.c/b.yaml", ".ci.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "web" / "pod.yaml").touch()
    (tmp_path / "other").symlink_to(tmp_path / "web")
    found = {file.path: file.reason for file in input_files.find([str(tmp_path)]) if isinstance(file, SkippedPath)}
    assert found == {
        str(tmp_path / ".ci.yml"): input_files.HIDDEN,
        str(tmp_path / ".k8s"): input_files.HIDDEN,
        str(tmp_path / "other"): input_files.LINKS,
        str(tmp_path / "web" / ".b"): input_files.HIDDEN,
        str(tmp_path / "web" / "node_modules"): input_files.DEPENDENCIES,
    }
    assert file_paths(tmp_path, tmp_path / ".k8s", tmp_path / "web" / "node_modules") == [
        str(tmp_path / name) for name in ("web/pod.yaml", ".k8s/a.yaml", "web/node_modules/a/package.json")
    ]


def test_find_link_to_itself_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    (tmp_path / "again").symlink_to(tmp_path)
    assert file_paths(tmp_path) == [str(tmp_path / "a.yaml")]


def test_read_missing_file_is_a_problem(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere")
    assert read(InputFile(path), io.BytesIO()) == InputProblem(path, "no such file or directory")


def test_read_large_file_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_files, "MAX_BYTES", 2**20)
    (tmp_path / "large.yaml").write_bytes(b"#" * (2**20 + 1))
    problem = read(InputFile(str(tmp_path / "large.yaml")), io.BytesIO())
    assert isinstance(problem, InputProblem)
    assert problem.message == "is larger than 1 MiB"


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
def test_read_pipe_in_a_folder_is_a_problem(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (source,) = find([str(tmp_path)])
    assert isinstance(source, InputFile)
    assert read(source, io.BytesIO()) == InputProblem(source.path, "is not a regular file")


def test_read_stdin_returns_its_content() -> None:
    assert read(InputFile("-"), io.BytesIO(b"a: 1")) == b"a: 1"


URIS = {
    "plain": ("deploy/a.yaml", "deploy/a.yaml"),
    "a dot first": ("./deploy/../a.yaml", "a.yaml"),
    "spaces and signs": ("a b/100%#?.yaml", "a%20b/100%25%23%3F.yaml"),
    "other letters": ("überall.yaml", "%C3%BCberall.yaml"),
    "a colon": ("a:b.yaml", "a%3Ab.yaml"),
    "no text": (os.fsdecode(b"\xff.yaml"), "%FF.yaml"),
    "elsewhere": ("/nowhere/a b.yaml", "file:///nowhere/a%20b.yaml"),
    "stdin": ("-", "stdin"),
}


@pytest.mark.parametrize(("path", "expected"), URIS.values(), ids=URIS)
def test_uri_is_relative_and_percent_encoded(path: str, expected: str) -> None:
    assert uri(path) == expected


def test_uri_of_absolute_path_below_cwd_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert uri(str(tmp_path.resolve() / "a.yaml")) == "a.yaml"


def test_displayed_path_escapes_bytes() -> None:
    assert displayed(os.fsdecode(b"a\xff.yaml")) == "a\\xff.yaml"


@pytest.mark.parametrize(("ignored", "globs", "left"), [
    ("", (), ["deploy/a.yaml", "a.yaml", "deploy"]),
    ("deploy/", (), ["a.yaml"]),
    ("", ("a.yaml",), ["deploy"]),
    ("*\n!deploy\n", (), ["deploy/a.yaml", "deploy"]),
], ids=["nothing", "a folder above", "a name", "included again"])  # fmt: skip
def test_find_excludes_named_files_on_request(tmp_path, monkeypatch, ignored, globs, left) -> None:
    monkeypatch.chdir(tmp_path)
    for name in TREE:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path(".tokenguardignore").write_text(ignored.replace("!deploy", "!deploy\n!deploy/**"))
    given = ["deploy/a.yaml", "a.yaml", "deploy", "/no/such/file"]
    roots = {file.root for file in find(given, globs, excludes_named=True) if isinstance(file, InputFile)}
    assert roots == {*left, "/no/such/file"}
    assert {file.path for file in find(given[:2], globs)} == {*given[:2]}


def test_find_names_what_it_excludes_and_unused_globs(tmp_path) -> None:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".tokenguardignore").write_text("t.json\n")
    unused: list[InputProblem] = []
    globs = ["!t.json", "./charts/web", "test", "[", "no/such", "!a.yaml"]
    files = list(input_files.find([str(tmp_path)], globs, warn=unused.append))
    excluded = [file.path for file in files if isinstance(file, SkippedPath)]
    assert excluded == [str(tmp_path / name) for name in ("charts/web", "deploy/test")]
    messages = [f'--exclude "{glob}" excludes nothing' for glob in ("[", "no/such")]
    assert [each.message for each in unused] == [*messages, '--exclude "!a.yaml" includes nothing again']


def test_find_exclude_is_relative_to_the_working_directory_too(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in TREE:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    for glob in ("deploy/test", "/deploy/test", "/test", "test/*.yaml"):
        assert [file.path for file in find(["deploy"], [glob])] == ["deploy/a.yaml"], glob


@pytest.mark.parametrize("line", ["deploy", "deploy/test", "/deploy/test/", "deploy/*/"])
def test_find_given_folder_is_excluded_by_a_file_above(tmp_path, monkeypatch, line) -> None:
    monkeypatch.chdir(tmp_path)
    for name in TREE:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path(".tokenguardignore").write_text(f"{line}\n")
    assert list(input_files.find(["deploy/test"])) == [SkippedPath("deploy/test", given=True)]
    assert [file.path for file in find(["deploy/test/b.yaml"])] == ["deploy/test/b.yaml"]
