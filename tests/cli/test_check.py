"""`tokenguard check` as it is called: arguments, environment, streams and exit status."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.check.runs import INJECTION, LEGACY_POD, LEGACY_SECRET, LONG_POD, SEED_POD, SUBPATH_POD
from tests.policies import HEAD
from webhook.cli import main

ALLOWED = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
tokens: {audiences: {allowed: ["https://*.spicybiryaniwala.shop"]}}
"""


def check(*arguments: str, stdin: str = "", at: Path | None = None, **environment: str) -> Result:
    """Run the command in this process."""
    with contextlib.chdir(at or "."):
        return CliRunner().invoke(main, ["check", *arguments], input=stdin, env=environment)


def start_check(
    *arguments: str, stdin: str = "", at: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own: for what streams and the exit status of a process are."""
    return subprocess.run(
        [sys.executable, "-m", "webhook", "check", *arguments],
        input=stdin, cwd=at, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "legacy.yaml").write_text(f"{LEGACY_SECRET}---\n{LEGACY_POD}")
    (tmp_path / "long.yaml").write_text(LONG_POD)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "allowed.yaml").write_text(ALLOWED)
    return tmp_path


def test_check_clean_manifest_exits_0(folder: Path) -> None:
    done = start_check("--policy", str(folder / "policy" / "allowed.yaml"), "-", stdin=SEED_POD)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "1 object in 1 file evaluated: 0 denied, 0 patched, 0 warned, 1 allowed"
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


def test_check_findings_exit_1(folder: Path) -> None:
    done = start_check("--output", "concise", "legacy.yaml", "long.yaml", at=folder)
    assert done.returncode == 1
    assert [line.split(" ")[0] for line in done.stdout.splitlines()][:4] == [
        "legacy.yaml:3:1:",
        "legacy.yaml:17:34:",
        "long.yaml:14:11:",
        "3",
    ]


def test_force_exclude_of_all_named_files_is_clean(folder: Path) -> None:
    done = check("legacy.yaml", "--force-exclude", "--exclude", "legacy*", at=folder)
    assert (done.exit_code, done.stderr) == (0, "")
    assert check("legacy.yaml", "--exclude", "legacy*", at=folder).exit_code == 1


def test_summary_counts_hidden_folders(folder: Path) -> None:
    for name in (".k8s", ".test"):
        (folder / name).mkdir()
        (folder / name / "pod.yaml").write_text(LONG_POD)
    done = check(".", at=folder)
    assert "not evaluated: 3; -v lists them\n  2 hidden files and folders\n" in done.stdout
    line = "    note: .k8s: is hidden, so it is skipped; to evaluate it, name it on the command line\n"
    assert line in check("-v", ".", at=folder).stdout
    report = json.loads(check("-o", "json", ".", at=folder).stdout)
    assert report["summary"]["notEvaluated"]["hidden files and folders"] == 2
    assert "2 findings in" not in done.stdout + check(".k8s", at=folder).stdout


def test_namespace_with_an_impossible_name_is_a_usage_error(folder: Path) -> None:
    done = check("-n", "Team_A", "long.yaml", at=folder)
    assert (done.exit_code, done.stdout) == (2, "")
    assert '"Team_A" is not a namespace name: at most 63 of a-z, 0-9 and inner -' in done.stderr


def test_exclude_repeated_leaves_out_all_matches(folder: Path) -> None:
    excluded = check(".", "--exclude", "legacy*", "--exclude", "policy/", "-q", at=folder)
    assert excluded.stdout == check("long.yaml", "-q", at=folder).stdout


@pytest.mark.parametrize("output", ["text", "concise", "json"])
@pytest.mark.covers("threat-model: CI workflow commands")
def test_check_file_name_starts_no_workflow_command(tmp_path: Path, output: str) -> None:
    for name in ("::error file=a::b.yaml", " ::add-mask::x.yaml", "##[error]c.yaml", "\u2028::d\x85.yaml"):
        (tmp_path / name).write_text(LONG_POD)
        (tmp_path / f"{name}.json").write_text("{")
    names = sorted(path.name for path in tmp_path.iterdir())
    done = start_check("--output", output, *names, at=tmp_path)
    lines = [*done.stdout.split("\n"), *done.stderr.split("\n")]
    assert len(lines) > len(names)
    assert [line for line in lines if line.lstrip().startswith("::") or "##[" in line or not line.isprintable()] == []


def test_check_without_path_reads_stdin() -> None:
    assert start_check(stdin=LONG_POD).returncode == 1


def test_check_missing_path_exits_2_others_evaluated(folder: Path) -> None:
    done = check("nowhere.yaml", "long.yaml", at=folder)
    assert done.exit_code == 2
    assert done.stdout.splitlines()[0] == "error: nowhere.yaml: no such file or directory"
    assert "token-expiration" in done.stdout


def test_check_invalid_policy_shows_every_error_with_its_line(folder: Path) -> None:
    (folder / "bad.yaml").write_text("apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: enforec\nruls: {}\n")
    done = check("--policy", "bad.yaml", "long.yaml", at=folder)
    assert (done.exit_code, done.stdout) == (2, "")
    assert sorted(line.split(": ")[1] for line in done.stderr.splitlines()) == ["bad.yaml:3:1", "bad.yaml:4:1"]


def test_check_missing_policy_exits_2(folder: Path) -> None:
    done = check("--policy", "nowhere.yaml", "long.yaml", at=folder)
    assert (done.exit_code, done.stderr) == (2, "error: nowhere.yaml: no such file or directory\n")


def test_check_options_from_environment_apply(folder: Path) -> None:
    done = check("long.yaml", at=folder, TOKENGUARD_OUTPUT="json", TOKENGUARD_NAMESPACE="shop")
    assert [finding["namespace"] for finding in json.loads(done.stdout)["findings"]] == ["shop"]


@pytest.mark.parametrize("output", ["json", "sarif"])
def test_check_stdout_is_one_document_for_programs(folder: Path, output: str) -> None:
    (folder / "broken.yaml").write_text("apiVersion: v1\nkind: [\n")
    done = check("--output", output, ".", at=folder)
    assert done.exit_code == 2
    assert json.loads(done.stdout)
    assert done.stderr == "error: broken.yaml:2:7: is not YAML: this [ is not closed\n"


def test_fix_manifests_on_stdout_findings_on_stderr(folder: Path) -> None:
    done = check("--fix", "long.yaml", at=folder)
    assert done.exit_code == 1
    assert done.stdout.startswith("---\napiVersion: v1\n")
    assert "expirationSeconds: 3600" in done.stdout
    assert done.stderr.splitlines()[0].startswith("long.yaml")
    assert done.stderr.splitlines()[-1] == "1 document changed"
    assert check("-", stdin=done.stdout).exit_code == 0


def test_fix_injection_is_no_finding(folder: Path) -> None:
    (folder / "inject.yaml").write_text(INJECTION)
    done = check("--fix", "--policy", "inject.yaml", "-", stdin=SEED_POD, at=folder)
    assert done.exit_code == 0
    assert "tokenguard-vault" in done.stdout


PATCHED = "patched without a finding: 1 object by inject"


@pytest.mark.parametrize(
    ("options", "line"),
    [((), f"{PATCHED}; -v lists the patches"), (("-v",), PATCHED), (("--fix",), f"{PATCHED}; -v lists the patches"),
     (("--diff",), PATCHED)],
    ids=["plain", "-v", "--fix", "--diff"],
)  # fmt: skip
def test_injection_is_announced_as_patched_without_a_finding(folder: Path, options: tuple[str, ...], line: str) -> None:
    (folder / "inject.yaml").write_text(INJECTION)
    done = check("--policy", "inject.yaml", "-", *options, stdin=SEED_POD, at=folder)
    assert done.exit_code == 0
    assert line in done.output.splitlines()
    assert ("note[inject]: spec has no token" in done.output) == (options == ("-v",))
    assert "patched[" not in done.output


def test_injection_is_a_note_in_every_format(folder: Path) -> None:
    (folder / "inject.yaml").write_text(INJECTION)
    arguments = ["--policy", "inject.yaml", "-", "-v", "-o"]
    document = json.loads(check(*arguments, "json", stdin=SEED_POD, at=folder).stdout)
    assert document["summary"]["patchedWithoutFinding"] == {"inject": 1}
    assert [(each["action"], each["counts"]) for each in document["findings"]] == [("patch", False)]
    assert [(each["outcome"], bool(each["patch"])) for each in document["objects"]] == [("allowed", True)]
    assert 'failures="0"' in check(*arguments, "junit", stdin=SEED_POD, at=folder).stdout
    assert "::notice " in check(*arguments, "github", stdin=SEED_POD, at=folder).stdout
    run = json.loads(check(*arguments, "sarif", stdin=SEED_POD, at=folder).stdout)["runs"][0]
    assert [each["level"] for each in run["results"]] == ["note"]


def test_fix_unreadable_document_is_printed_unchanged(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{LONG_POD}---\napiVersion: v1\nkind: Pod\na: [\n")
    done = check("--fix", ".", at=tmp_path)
    assert done.exit_code == 2
    assert done.stdout.endswith("---\napiVersion: v1\nkind: Pod\na: [\n")
    notes = [line.split(": ")[1] for line in done.stderr.splitlines() if "; not evaluated" in line]
    assert [note.split(":")[0] for note in notes] == ["a.yaml"]


def test_fix_keeps_a_list_with_one_placeholder(tmp_path: Path) -> None:
    pod = '{"apiVersion": "v1", "kind": "Pod", "spec": {"automountServiceAccountToken": MOUNT}}'
    items = "".join(f"- {pod.replace('MOUNT', value)}\n" for value in ("true", '"${MOUNT}"'))
    text = f"apiVersion: v1\nkind: List\nitems:\n{items}"
    (tmp_path / "list.yaml").write_text(text)
    assert check("--fix", ".", at=tmp_path).stdout == f"---\n{text}"


def test_diff_is_coloured_as_by_git_on_request(folder: Path) -> None:
    plain = check("--diff", "long.yaml", at=folder, FORCE_COLOR="").stdout
    coloured = check("--diff", "long.yaml", at=folder, FORCE_COLOR="1").stdout
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    lines = coloured.splitlines()
    assert lines[0] == "\x1b[1m--- long.yaml\x1b[0m"
    assert lines[2].startswith("\x1b[36m@@ ")
    assert "\x1b[31m-          expirationSeconds: 86400\x1b[0m" in lines
    assert "\x1b[32m+          expirationSeconds: 3600\x1b[0m" in lines
    assert check("--diff", "long.yaml", at=folder, FORCE_COLOR="1", NO_COLOR="1").stdout == plain


def test_fix_prints_kubernetes_objects_only(tmp_path: Path) -> None:
    files = {
        "chart/Chart.yaml": "name: shop\n",
        "chart/values.yaml": b"name: caf\xe9\n",
        "chart/templates/a.yaml": "{{- if .Values.a }}\nkind: Pod\n{{- end }}\n",
        "kustomize/kustomization.yaml": "resources: [../pods.yaml]\npatches: [{path: patch.yaml}, {path: json.yaml}]\n",
        "kustomize/patch.yaml": LONG_POD,
        "kustomize/json.yaml": "- {op: remove, path: /spec/volumes}\n",
        "pods.yaml": f"# licence\n---\nreplicas: 3\n---\n{LONG_POD}---\nreplicas: {{{{ .Values.a }}}}\n---\n{SEED_POD}",
        "other.json": '{"compilerOptions": {}}',
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = check("--fix", ".", at=tmp_path)
    assert done.stdout == f"# licence\n---\n{LONG_POD.replace('86400', '3600')}---\n{SEED_POD}"
    assert "note: 9 documents left out: not Kubernetes objects; see -v" in done.stderr.splitlines()
    assert done.exit_code == 1
    assert check(stdin=done.stdout).exit_code == 0


NOT_UTF8 = "is not UTF-8, so --fix prints nothing; save it as UTF-8"
LOST = {
    "latin.yaml": (SEED_POD.encode() + b"# caf\xe9\n", 2, NOT_UTF8),
    "powershell.yaml": ("\ufeff".encode("utf-16-le") + SEED_POD.encode("utf-16-le"), 2, NOT_UTF8),
    "nowhere.yaml": (None, 2, "cannot be reproduced, so --fix prints nothing; leave it out or correct it"),
}


@pytest.mark.parametrize("name", LOST)
def test_fix_file_that_cannot_be_reproduced_prints_nothing(folder: Path, name: str) -> None:
    data, status, message = LOST[name]
    if data:
        (folder / name).write_bytes(data)
    done = check("--fix", "long.yaml", name, at=folder)
    assert (done.exit_code, done.stdout) == (status, "")
    assert f"error: {name}: {message}" in done.stderr


def test_fix_keeps_the_first_byte_order_mark(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + SEED_POD.encode())
    done = start_check("--fix", "a.yaml", "b.yaml", at=tmp_path)
    assert done.stdout == f"\ufeff---\n{SEED_POD}---\n{SEED_POD}"


DUPLICATE = 'duplicate key "app": only the last one counts; remove the others'


@pytest.mark.parametrize(("output", "stream"), [("text", "stdout"), ("json", "stderr"), ("sarif", "stderr")])
def test_check_duplicate_key_is_a_warning_exits_0(tmp_path: Path, output: str, stream: str) -> None:
    pod = SEED_POD.replace("{name: seed}", "{name: seed, labels: {app: a, app: b}}")
    (tmp_path / "pod.yaml").write_text(f"{SEED_POD}---\n{pod}")
    (tmp_path / "values.yaml").write_text("app: 1\napp: 2\n")
    done = check("--output", output, ".", at=tmp_path)
    assert done.exit_code == 0
    lines = [line for line in getattr(done, stream).splitlines() if "duplicate" in line]
    assert lines == [f"warning: pod.yaml:17:41: {DUPLICATE}"]
    if output == "json":
        expected = {"file": "pod.yaml", "document": 2, "line": 17, "column": 41, "message": DUPLICATE}
        assert json.loads(done.stdout)["warnings"] == [expected]
    if output == "sarif":
        (notification,) = json.loads(done.stdout)["runs"][0]["invocations"][0]["toolExecutionNotifications"]
        assert (notification["level"], notification["message"]["text"]) == ("warning", DUPLICATE)


def test_check_empty_folder_exits_2(tmp_path: Path) -> None:
    done = check("--output", "json", str(tmp_path))
    assert (done.exit_code, done.stderr) == (2, f"error: {tmp_path}: contains no *.yaml, *.yml or *.json file\n")


def test_check_unknown_output_exits_2() -> None:
    assert start_check("--output", "xml", stdin=SEED_POD).returncode == 2


def test_check_never_prints_secret_data() -> None:
    secret = LEGACY_SECRET + "data: {token: c2VjcmV0LXRva2Vu}\nstringData: {a: hunter2}\n"
    for output in ("text", "json", "sarif"):
        done = check("-v", "--output", output, stdin=secret)
        assert done.exit_code == 1
        assert "c2VjcmV0" not in done.stdout + done.stderr
        assert "hunter2" not in done.stdout + done.stderr


def on_terminal(*arguments: str) -> tuple[int, str]:
    """Return the exit status and all that is written when stdin, stdout and stderr are a terminal."""
    pty = pytest.importorskip("pty", reason="needs a terminal")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "webhook", "check", *arguments], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 4096):
            written += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    return process.wait(60), written.decode()


def test_check_terminal_without_path_exits_2() -> None:
    status, written = on_terminal()
    assert status == 2
    assert "name a file, a folder, or - for standard input" in written


def test_check_terminal_has_colour_but_no_progress_line(folder: Path) -> None:
    status, written = on_terminal(str(folder / "long.yaml"))
    assert status == 1
    assert "\x1b[36m" in written
    assert "\x1b[K" not in written


def test_check_csi_driver_has_no_namespace_and_only_warnings(tmp_path: Path) -> None:
    driver = "apiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {name: d}\n"
    (tmp_path / "d.yaml").write_text(f"{driver}spec:\n  tokenRequests:\n  - {{audience: v, expirationSeconds: 7200}}\n")
    done = check("--output", "json", "-n", "kube-system", ".", at=tmp_path)
    assert done.exit_code == 1
    [finding] = json.loads(done.stdout)["findings"]
    assert (finding["rule"], finding["action"], finding["namespace"]) == ("token-expiration", "warn", "")
    assert (finding["line"], finding["path"]) == (6, "spec.tokenRequests[0]")


def test_fail_on_sets_the_weakest_action_that_exits_1(folder: Path) -> None:
    (folder / "subpath.yaml").write_text(SUBPATH_POD)
    statuses = {
        (name, action): check("--fail-on", action, f"{name}.yaml", at=folder).exit_code
        for name in ("legacy", "long", "subpath")
        for action in ("reject", "patch", "warn")
    }
    assert [key for key, status in statuses.items() if status != 1] == [
        ("long", "reject"),
        ("subpath", "reject"),
        ("subpath", "patch"),
    ]
    assert set(statuses.values()) == {0, 1}


def test_mode_overrides_the_policy_and_its_overrides(folder: Path) -> None:
    audit = f"{HEAD}mode: audit\noverrides: [{{namespaces: ['*'], mode: audit}}]\n"
    (folder / "audit.yaml").write_text(audit)
    quiet = check("--policy", "audit.yaml", "legacy.yaml", at=folder)
    assert (quiet.exit_code, "if every namespace were in mode enforce: 2 denied" in quiet.stdout) == (0, True)
    enforced = check("--policy", "audit.yaml", "--mode", "enforce", "legacy.yaml", at=folder)
    assert enforced.exit_code == 1
    assert "--mode enforce instead of audit)" in enforced.stdout.splitlines()[-1]
    same = check("--policy", "audit.yaml", "--mode", "audit", "legacy.yaml", at=folder)
    assert "--mode audit in every namespace)" in same.stdout.splitlines()[-1]


@pytest.mark.parametrize("mode", ["warn", "audit"])
@pytest.mark.parametrize("options", [["--diff"], ["--fix"], ["--fix", "--write"]], ids=" ".join)
@pytest.mark.parametrize("fixture", ["long.yaml", "deployment.yaml"])
def test_fix_explains_what_the_mode_leaves_out(folder: Path, mode: str, options: list[str], fixture: str) -> None:
    indented = "".join(f"    {line}\n" for line in LONG_POD.partition("spec:\n")[2].splitlines())
    (folder / "deployment.yaml").write_text(
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: long}}\nspec:\n  template:\n    spec:\n{indented}"
    )
    before = (folder / fixture).read_text()
    done = check(*options, "--mode", mode, fixture, at=folder)
    reason = f"1 change is left out, because the webhook patches nothing in mode {mode}; --mode enforce makes it\n"
    assert (folder / fixture).read_text() == before
    assert reason in done.stderr
    assert ("0 findings to fix, 0 to correct by hand" in done.stderr) == (options == ["--diff"])
    assert "left out" not in check(*options, "--mode", "enforce", fixture, at=folder).stderr
    assert "left out" not in check(*options, "-q", "--mode", mode, fixture, at=folder).stderr


def test_policy_of_the_output_names_its_source(folder: Path) -> None:
    allowed = check("--policy", "policy/allowed.yaml", "long.yaml", at=folder).stdout.splitlines()[-1]
    assert re.fullmatch(r"policy: policy/allowed\.yaml \(revision [0-9a-f]{12}, mode enforce\)", allowed)
    assert check("long.yaml", at=folder).stdout.splitlines()[-1] == "policy: built-in defaults (mode enforce)"


def test_force_color_and_no_color_decide() -> None:
    assert "\x1b" in start_check(stdin=LONG_POD, FORCE_COLOR="1").stdout
    assert "\x1b" not in start_check(stdin=LONG_POD, FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b" not in start_check(stdin=LONG_POD).stdout


def test_exclude_and_ignore_file_leave_out_files(folder: Path) -> None:
    (folder / ".tokenguardignore").write_text("legacy*\npolicy/\n")
    findings = json.loads(check("-o", "json", ".", at=folder).stdout)["findings"]
    assert [finding["file"] for finding in findings] == ["long.yaml"]


def test_excluded_files_are_counted_and_listed(folder: Path) -> None:
    (folder / ".tokenguardignore").write_text("policy/\n")
    lines = check("-v", "--exclude", "legacy*", "--exclude", "no", ".", at=folder).stdout.splitlines()
    assert 'warning: .: --exclude "no" excludes nothing' in lines
    assert "  2 excluded files and folders" in lines
    assert "    note: legacy.yaml: is excluded" in lines
    alone = check("policy", at=folder)
    assert (alone.exit_code, "error: policy: is excluded by .tokenguardignore" in alone.stdout) == (2, True)
    assert check("policy", "long.yaml", at=folder).exit_code == 1


TWO = f"# two pods\n---\n{SEED_POD}---\n{LONG_POD}# the end\n"


def test_write_changes_files_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text(TWO)
    (tmp_path / "real.yaml").chmod(0o664)
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    (tmp_path / "seed.yaml").write_text(SEED_POD)
    before = (tmp_path / "seed.yaml").stat()
    done = check("--fix", "--write", "link.yaml", "seed.yaml", at=tmp_path)
    assert (done.exit_code, done.stderr) == (0, "link.yaml: fixed: 1 document changed\n")
    assert (tmp_path / "real.yaml").read_text() == TWO.replace("86400", "3600")
    assert (tmp_path / "link.yaml").is_symlink()
    assert (tmp_path / "real.yaml").stat().st_mode & 0o777 == 0o664
    assert (tmp_path / "seed.yaml").stat().st_mtime_ns == before.st_mtime_ns
    again = check("--fix", "--write", "link.yaml", at=tmp_path)
    assert (again.exit_code, again.stderr) == (0, "")


def test_write_exits_1_for_what_it_cannot_repair(folder: Path) -> None:
    done = check("--fix", "--write", "legacy.yaml", "long.yaml", at=folder)
    assert done.exit_code == 1
    assert "3600" in (folder / "long.yaml").read_text()
    assert check("--fix", "--write", "--fail-on", "reject", "legacy.yaml", at=folder).exit_code == 1


def test_write_lists_only_the_findings_left(folder: Path) -> None:
    (folder / "long.yaml").write_text(LONG_POD.replace("86400", "86400\n          # a comment"))
    done = check("--fix", "--write", "-o", "concise", "legacy.yaml", "long.yaml", at=folder)
    assert "token-expiration" not in done.stdout
    assert "1 finding fixed, 2 left" in done.stdout.splitlines()
    assert "can be fixed" not in done.stdout


def test_quiet_prints_findings_and_errors_only(folder: Path) -> None:
    (folder / "seed.yaml").write_text(SEED_POD.replace("metadata:", "metadata: {}\nmetadata:"))
    assert check("-q", "seed.yaml", at=folder).output == ""
    assert "warning" in check("seed.yaml", at=folder).output
    done = check("-q", "-o", "concise", "long.yaml", at=folder)
    assert (done.exit_code, [line[:9] for line in done.output.splitlines()]) == (1, ["long.yaml"])
    assert check("-q", "nowhere.yaml", at=folder).output.startswith("error: nowhere.yaml")


def test_write_changes_json_in_its_layout(tmp_path: Path) -> None:
    token = {"path": "t", "audience": "a", "expirationSeconds": 86400}
    volumes = [{"name": "t", "projected": {"sources": [{"serviceAccountToken": token}]}}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"volumes": volumes}}
    for indent in (None, 4):
        text = json.dumps(pod, indent=indent) * 2
        (tmp_path / "a.json").write_text(text)
        assert check("--fix", "--write", "a.json", at=tmp_path).exit_code == 0
        assert (tmp_path / "a.json").read_text() == text.replace("86400", "3600")


def test_write_file_that_is_not_utf_8_is_left_alone(tmp_path: Path) -> None:
    data = LONG_POD.encode("utf-16")
    (tmp_path / "a.yaml").write_bytes(data)
    (tmp_path / "b.yaml").write_text(LONG_POD)
    done = check("--fix", "--write", ".", at=tmp_path)
    assert (done.exit_code, (tmp_path / "a.yaml").read_bytes()) == (2, data)
    assert "error: a.yaml: is not UTF-8, so it is not changed" in done.stderr
    assert "3600" in (tmp_path / "b.yaml").read_text()
    (tmp_path / "b.yaml").unlink()
    shown = check("a.yaml", at=tmp_path).stdout
    assert "= note: --fix cannot edit it: the file is not UTF-8, so it is not changed; save it as UTF-8\n" in shown
    assert "can be fixed" not in shown
    for flags in (["--fix", "--write"], ["--fix"]):
        done = check(*flags, "a.yaml", at=tmp_path)
        assert "is not UTF-8" in done.stderr


def test_diff_can_be_applied_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TWO.removesuffix("\n"))
    done = check("--diff", "a.yaml", at=tmp_path)
    assert done.exit_code == 1
    assert (tmp_path / "a.yaml").read_text() == TWO.removesuffix("\n")
    assert done.stdout.startswith("--- a.yaml\n+++ a.yaml\n@@ ")
    assert done.stderr == "1 finding to fix, 0 to correct by hand; the check without --diff shows them\n"
    assert "token-expiration" in check("--diff", "-o", "json", "a.yaml", at=tmp_path).stderr
    assert check("--diff", "-q", "a.yaml", at=tmp_path).stderr == ""
    subprocess.run(["patch", "-p0"], input=done.stdout, text=True, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "a.yaml").read_text() == TWO.replace("86400", "3600").removesuffix("\n")


@pytest.mark.parametrize(("fail_on", "status"), [("reject", 0), ("patch", 1), ("warn", 1)])
def test_diff_exit_status_follows_fail_on(tmp_path: Path, fail_on: str, status: int) -> None:
    (tmp_path / "a.yaml").write_text(LONG_POD)
    done = check("--diff", "--fail-on", fail_on, "a.yaml", at=tmp_path)
    assert (done.exit_code, done.stdout[:10]) == (status, "--- a.yaml")


WITH_WARNING = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
STRICT = {
    "warning": (WITH_WARNING, (), 1),
    "no warning": (SEED_POD, (), 0),
    "finding below --fail-on": (LONG_POD, ("--fail-on", "reject"), 0),
    "error": ("kind: Pod\nmetadata: {}\n", (), 2),
    "diff": (WITH_WARNING, ("--diff",), 1),
    "fix": (WITH_WARNING, ("--fix",), 1),
    "written": (WITH_WARNING, ("--fix", "--write"), 1),
    "for programs": (WITH_WARNING, ("-o", "sarif"), 1),
}


@pytest.mark.parametrize(("text", "options", "status"), STRICT.values(), ids=STRICT)
def test_strict_exits_1_for_warnings(tmp_path: Path, text: str, options: tuple[str, ...], status: int) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert check(*options, "--strict", "a.yaml", at=tmp_path).exit_code == status
    assert check(*options, "a.yaml", at=tmp_path).exit_code == (0 if status == 1 else status)


@pytest.mark.parametrize("options", [(), ("-o", "concise"), ("-o", "json"), ("--diff",)], ids=" ".join)
def test_strict_quiet_shows_the_warnings_that_fail(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "a.yaml").write_text(WITH_WARNING)
    done = check(*options, "--strict", "-q", "a.yaml", at=tmp_path)
    assert "Pod/a: has no spec;" in (done.stderr if options in (("-o", "json"), ("--diff",)) else done.stdout)
    assert "has no spec" not in check("-q", "a.yaml", at=tmp_path).output


def test_strict_summary_names_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WITH_WARNING)
    reason = "failed because of 1 warning: --strict"
    assert reason in check("--strict", "a.yaml", at=tmp_path).stdout.splitlines()
    assert reason not in check("a.yaml", at=tmp_path).stdout


NO_EFFECT = f'{HEAD}exemptions: [{{rules: ["*"], reason: OPS-1, until: never}}]\n'
IN_CONFIGMAP = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: token-policy, namespace: tokenguard,"
    ' labels: {tokenguard/policy: "true"}}\ndata:\n  policy.yaml: |\n'
) + "".join(f"    {line}\n" for line in NO_EFFECT.splitlines())


@pytest.mark.parametrize("text", [NO_EFFECT, IN_CONFIGMAP], ids=["document", "ConfigMap that is also checked"])
@pytest.mark.parametrize("options", [(), ("-o", "json"), ("--fix",), ("--diff",)], ids=" ".join)
def test_check_shows_warnings_about_its_policy_once(tmp_path: Path, text: str, options: tuple[str, ...]) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    (tmp_path / "pod.yaml").write_text(LONG_POD)
    names = ["pod.yaml", "policy.yaml"] if text == IN_CONFIGMAP else ["pod.yaml"]
    done = check(*names, "--policy", "policy.yaml", *options, at=tmp_path)
    line = 3 if text == NO_EFFECT else 8
    shown = [each for each in done.output.splitlines() if each.startswith(f"warning: policy.yaml:{line}:")]
    assert (done.exit_code, len(shown)) == (0, 1)
    assert "exemptions[0]" in shown[0]
    assert "warning:" not in check(*names, "--policy", "policy.yaml", "-q", at=tmp_path).output


PATCHING = f"{HEAD}rules: {{legacy-token-reference: patch, legacy-token-secret: off}}\n"
UNEDITABLE = f"""\
{LEGACY_SECRET}---
apiVersion: v1
kind: Pod
metadata: {{name: a}}
spec:
  serviceAccountName: robot
  containers: [{{name: app}}]
  volumes:
  - <<: {{secret: {{secretName: robot-token}}}}  # a key that has to go
    name: t
"""


def test_fix_leaves_documents_that_cannot_be_edited(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(PATCHING)
    (tmp_path / "a.yaml").write_text(UNEDITABLE)
    arguments = ["a.yaml", "--policy", "policy.yaml"]
    warning = (
        'warning: a.yaml:15: is not fixed: "secret" is in an alias or a merge key; correct it by hand,'
        " 'tokenguard check' shows the patch"
    )
    shown = check("--diff", *arguments, at=tmp_path)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr.splitlines() == [
        warning,
        "0 findings to fix, 1 to correct by hand; the check without --diff shows them",
    ]
    printed = check("--fix", *arguments, at=tmp_path)
    assert (printed.exit_code, printed.stdout) == (1, f"---\n{UNEDITABLE}")
    assert warning in printed.stderr.splitlines()
    written = check("--fix", "--write", *arguments, at=tmp_path)
    assert (written.exit_code, warning in written.stdout.splitlines()) == (1, True)
    assert "can be fixed" not in written.stdout + printed.stderr
    assert (tmp_path / "a.yaml").read_text() == UNEDITABLE


SHARED = """\
apiVersion: v1
kind: Pod
metadata: {name: a, annotations: {tokenguard/skip-containers: side}}
spec:
  containers:
  - &app
    name: app
  - <<: *app
    name: side
"""


@pytest.mark.parametrize("change", [("--diff",), ("--fix",), ("--fix", "--write")])
def test_strict_fails_if_a_patch_cannot_be_made(tmp_path: Path, change: tuple[str, ...]) -> None:
    (tmp_path / "policy.yaml").write_text(INJECTION)
    (tmp_path / "a.yaml").write_text(SHARED)
    arguments = (*change, "a.yaml", "--policy", "policy.yaml")
    assert [check(*arguments, *more, at=tmp_path).exit_code for more in ((), ("--strict",))] == [0, 1]


WRONG = {
    "nothing to write": (["--write", "long.yaml"], "--write needs --fix"),
    "standard input": (["--fix", "--write", "-"], "--write needs files and folders"),
    "quiet and verbose": (["-q", "-v", "long.yaml"], "exclude each other"),
    "both": (["--fix", "--diff", "long.yaml"], "exclude each other"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_fix_options_that_contradict_each_other_exit_2(folder: Path, arguments: list[str], message: str) -> None:
    done = check(*arguments, at=folder)
    assert (done.exit_code, message in done.stderr) == (2, True)


def test_stdin_filename_is_the_name_in_every_format() -> None:
    for output in ("text", "concise", "json", "sarif", "junit", "github"):
        done = check("-o", output, "--stdin-filename", "charts/shop", stdin=LONG_POD)
        assert "charts/shop" in done.stdout, output
        assert "stdin" not in done.stdout, output


def test_stdin_filename_without_stdin_is_warned_about(folder: Path) -> None:
    warning = "warning: charts/shop: --stdin-filename has no effect without - for standard input"
    done = check("--stdin-filename", "charts/shop", "long.yaml", at=folder)
    assert (done.exit_code, warning in done.stdout.splitlines()) == (1, True)
    assert "has no effect" not in check("--stdin-filename", "a", "long.yaml", "-", stdin=SEED_POD, at=folder).stdout


def test_objects_are_known_but_neither_evaluated_nor_printed(folder: Path) -> None:
    secret = folder / "objects.yaml"
    secret.write_text(LEGACY_SECRET)
    pod = folder / "pod.yaml"
    pod.write_text(LEGACY_POD)
    done = check("-o", "json", str(pod), "--objects", str(secret))
    assert [finding["rule"] for finding in json.loads(done.stdout)["findings"]] == ["legacy-token-reference"]
    fixed = check("--fix", str(pod), "--objects", str(secret))
    assert (fixed.stdout, fixed.exit_code) == (f"---\n{LEGACY_POD}", 1)
    assert check(str(pod)).exit_code == 0
    assert check("-", "--objects", str(secret), stdin=SEED_POD).exit_code == 0


def test_objects_are_all_that_the_cluster_has(folder: Path) -> None:
    """Other Secrets count as no legacy Secrets, as for `serve --objects`."""
    (folder / "objects.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
    assert "robot-token" in check(stdin=LEGACY_POD).stdout
    assert "robot-token" not in check("--objects", "objects.yaml", "-", stdin=LEGACY_POD, at=folder).stdout


def test_objects_may_come_from_standard_input(folder: Path) -> None:
    (folder / "pod.yaml").write_text(LEGACY_POD)
    assert check("--objects", "-", "pod.yaml", stdin=LEGACY_SECRET, at=folder).exit_code == 1
    assert "--objects - reads standard input" in check("--objects", "-", stdin=LEGACY_SECRET).stderr


OBJECTS_ERRORS = {
    "no such file": (None, "objects.yaml: no such file or directory"),
    "no state": (LONG_POD, "objects.yaml:1: contains no Secret, Namespace or ServiceAccount"),
    "not YAML": ("a: {", ": is not YAML: "),
    "misspelt": (
        LEGACY_SECRET.replace("\ntype", "\ntpye"),
        'objects.yaml:3: unknown field "tpye"; did you mean "type"?',
    ),
}


@pytest.mark.parametrize(("content", "message"), OBJECTS_ERRORS.values(), ids=OBJECTS_ERRORS)
def test_objects_with_a_mistake_end_the_run(folder: Path, content: str | None, message: str) -> None:
    if content is not None:
        (folder / "objects.yaml").write_text(content)
    done = check("--objects", "objects.yaml", "long.yaml", at=folder)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


@pytest.mark.parametrize("output", ["json", "sarif", "junit"])
def test_check_without_summary_prints_notices_on_stderr(output: str) -> None:
    done = check("-o", output, "--mode", "audit", stdin=LEGACY_POD)
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["note", "note"]
    assert "note: if every namespace were in mode enforce: 1 allowed" in done.stderr
    assert "note: 1 Secret is referred to but not among the manifests: default/robot-token;" in done.stderr
    assert check("-o", output, "-q", stdin=LEGACY_POD).stderr == ""


ANNOTATION = (
    "::warning file=long.yaml,line=14,col=11,endColumn=35,title=patched%3A token-expiration::Pod/long: "
    "spec.volumes[0].projected.sources[0] has lifetime 86400s, exceeding the maximum 3600s; would be"
    " capped to 3600s (serviceAccountToken.expirationSeconds: 3600)"
)


def test_github_annotations_name_files_from_the_root(folder: Path) -> None:
    lines = check("-o", "github", "long.yaml", at=folder).stdout.splitlines()
    assert lines[0] == ANNOTATION
    assert lines[-1] == "policy: built-in defaults (mode enforce)"
    root = str(folder.parent)
    line = check("-o", "github", "long.yaml", at=folder, GITHUB_WORKSPACE=root).stdout.splitlines()[0]
    assert f"file={folder.name}/long.yaml," in line


@pytest.mark.parametrize("text", [LONG_POD, "kind: [", "a: 1\n---\n" + LONG_POD], ids=["finding", "error", "both"])
def test_quiet_output_does_not_end_with_an_empty_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    shown = check("-q", "a.yaml", at=tmp_path).stdout
    assert shown.strip()
    assert not shown.endswith("\n\n")
    assert "\n\n\n" not in check("a.yaml", at=tmp_path).stdout
