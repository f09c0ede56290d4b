"""What `--fix` makes of manifests."""

import difflib
import json

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.check.runs import INJECTION, LEGACY_POD, LEGACY_SECRET, LONG_POD, SEED_POD, checked, policy
from tests.core.json_values import VALUES
from webhook.check import fix
from webhook.check.input_files import InputProblem
from webhook.check.text_edits import edit_text
from webhook.core.manifests import read_manifests


def fixed(*texts: str, under: str | None = None) -> str:
    documents = fix.fixed_documents(checked(*texts, under=policy(under) if under else None))
    assert not isinstance(documents, InputProblem)
    return "".join(documents.pieces)


def objects(text: str) -> list[object]:
    reading = read_manifests(text.encode())
    assert reading.problems == ()
    return [json.loads(manifest.raw) for manifest in reading.manifests]


def test_fix_unchanged_document_is_printed_as_written() -> None:
    seed = "# seed\n" + SEED_POD
    assert fixed(seed, LONG_POD, seed).count(f"---\n{seed}") == 2


def test_fix_changes_only_the_patched_fields() -> None:
    before = objects(LONG_POD)
    after = objects(fixed(LONG_POD))
    assert after == json.loads(json.dumps(before).replace("86400", "3600"))
    assert checked(fixed(LONG_POD)).findings == []


def test_fix_denied_object_is_unchanged() -> None:
    assert objects(fixed(LEGACY_SECRET, LEGACY_POD)) == objects(f"{LEGACY_SECRET}---\n{LEGACY_POD}")


def test_fix_injection_is_idempotent() -> None:
    result = fixed(LONG_POD, SEED_POD, under=INJECTION)
    assert result.count("name: tokenguard-vault") == 4
    assert fixed(result, under=INJECTION) == result


def test_fix_objects_of_a_list_stay_in_it() -> None:
    items = [json.loads(item.raw) for item in read_manifests(f"{SEED_POD}---\n{LONG_POD}".encode()).manifests]
    text = fixed(
        json.dumps({"apiVersion": "v1", "kind": "List", "metadata": {"x": "1"}, "items": items}) + "\n", SEED_POD
    )
    assert "86400" not in text
    assert 'kind: List\nmetadata:\n  x: "1"\n' in text
    assert objects(text)[0] == items[0]


def test_fix_json_beside_yaml_is_printed_as_yaml() -> None:
    text = json.dumps(objects(SEED_POD)[0]) + "\n"
    assert fixed(text, SEED_POD).startswith("---\napiVersion: v1\nkind: Pod\n")
    assert objects(fixed(text, SEED_POD)) == objects(SEED_POD) * 2


def test_fix_json_in_a_stream_of_yaml_stays_json() -> None:
    text = "---\n" + json.dumps(objects(LONG_POD)[0], separators=(",", ":")) + "\n"
    assert fixed(SEED_POD + text) == f"---\n{SEED_POD}" + text.replace("86400", "3600")
    assert '{"name":"tokenguard-vault","mountPath":' in fixed(SEED_POD + text, under=INJECTION)


def test_fix_keeps_line_ends() -> None:
    text = LONG_POD.replace("\n", "\r\n")
    assert fixed(text) == "---\r\n" + text.replace("86400", "3600")


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_fix_json_alone_stays_json_in_its_layout(indent: int | str | None) -> None:
    text = json.dumps(objects(LONG_POD)[0], indent=indent) + "\n"
    assert fixed(text) == text.replace("86400", "3600")


def test_fix_aliases_are_changed_independently() -> None:
    shared = SEED_POD.replace(
        '[{name: app, image: "app:1"}]', "[{name: a, volumeMounts: &m []}, {name: b, volumeMounts: *m}]"
    )
    (pod,) = objects(fixed(shared, under=INJECTION))
    assert isinstance(pod, dict)
    assert [len(container["volumeMounts"]) for container in pod["spec"]["containers"]] == [1, 1]


def test_fix_counts_changed_documents() -> None:
    assert fix.changed_documents(checked(LONG_POD, SEED_POD, LONG_POD)) == 2


def test_fix_document_end_marker_is_accepted() -> None:
    assert fixed(f"{SEED_POD}...\n", SEED_POD) == f"---\n{SEED_POD}...\n---\n{SEED_POD}"


UNREAD = {
    "broken YAML": "a: [\n",
    "a template": "a: {{ .Values.a }}\n",
    "foreign YAML": "replicas: 3\n",
    "broken JSON": '{"a": [\n',
    "foreign JSON": '{"a": 1}\n',
    "a comment": "# nothing\n",
    "the next document and more": f"{LONG_POD}: [\n",
}


@pytest.mark.parametrize("unread", UNREAD.values(), ids=UNREAD)
def test_fix_skipped_document_is_printed_as_written(unread: str) -> None:
    given = fixed(LONG_POD, unread, LONG_POD)
    assert given == f"{fixed(LONG_POD)}---\n{unread}{fixed(LONG_POD)}"
    assert "86400" not in given.replace(unread, "")


def test_fix_keeps_leading_comment_and_drops_directive() -> None:
    assert fixed(f"# licence\n%YAML 1.1\n---\n{SEED_POD}") == f"# licence\n---\n{SEED_POD}"


POD_AS_JSON = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{}]}})


@pytest.mark.parametrize("unread", ['{"a": 1}', "{", "]"], ids=["foreign", "open", "closed"])
def test_fix_partly_unreadable_json_is_printed_if_unchanged(unread: str) -> None:
    text = f"{POD_AS_JSON}\n{unread}\n"
    assert fixed(text, LONG_POD) == f"---\n{text}{fixed(LONG_POD)}"
    lost = fix.fixed_documents(checked(text, under=policy(INJECTION)))
    assert isinstance(lost, InputProblem)


TEXTS = ["y", "n", "1e3", "0o7", "<<", "=", "off", "2024-01-01", "12:30", "0644", "~", "", "a\nb", "a: b", "1_0", "\t"]


@pytest.mark.parametrize("text", TEXTS)
def test_fix_strings_stay_strings(text: str) -> None:
    written = fixed(json.dumps({"apiVersion": "v1", "kind": "X", "data": {text: text}}) + "\n", SEED_POD)
    read, _ = objects(written)
    assert isinstance(read, dict)
    assert read["data"] == {text: text}


@given(VALUES.filter(lambda value: "\\ud" not in json.dumps(value)) | st.floats(allow_nan=False, allow_infinity=False))
def test_fix_rewritten_document_has_the_same_values(value: object) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "X", "value": value}) + "\n"
    before = objects(text)
    assert objects(fixed(text, SEED_POD))[:-1] == before


def test_fix_comment_of_hashes_is_kept() -> None:
    ruler = "#" * 2_000
    assert fixed(f"{ruler}\n{SEED_POD}").startswith(f"---\n{ruler}\n")


def test_fix_keeps_comments_and_layout() -> None:
    text = LONG_POD.replace("86400", "86400  # a day").replace("spec:", "\nspec:   # what runs")
    assert fixed(text) == "---\n" + text.replace("86400  #", "3600  #")


SHARED = {
    "a new key below an alias": (
        "  containers:\n  - name: app\n    env: &env []\n  - name: side  # the second\n    env: *env  # the same\n",
        [
            "+    volumeMounts:",
            "+    - name: tokenguard-vault",
            "+      mountPath: /var/run/secrets/tokens/vault",
            "+      readOnly: true",
        ]
        * 2,
    ),
    "a merge key": (
        "  containers:\n  - &app\n    name: app  # 1st\n    volumeMounts: []\n  - <<: *app  # alike\n    name: side\n",
        [
            "-    volumeMounts: []",
            "+    volumeMounts: [{name: tokenguard-vault, mountPath: /var/run/secrets/tokens/vault, readOnly: true}]",
        ],
    ),
}
SKIPPED = "{name: seed, annotations: {tokenguard/skip-containers: side}}"


def changed_lines(text: str, under: str = INJECTION) -> list[str]:
    """Return the lines of a document that change, and check that they give the patched values."""
    report = checked(text, under=policy(under))
    (evaluation,) = report.evaluations
    documents = fix.fixed_documents(report)
    assert not isinstance(documents, InputProblem)
    assert documents.unfixed == 0
    after = "".join(documents.pieces).removeprefix("---\n")
    patched = jsonpatch.apply_patch(json.loads(evaluation.manifest.raw), evaluation.decision.patch)
    assert objects(after) == [patched]
    lines = difflib.ndiff(text.splitlines(), after.splitlines())
    return [f"{line[0]}{line[2:]}" for line in lines if line[0] in "+-"]


VOLUME = [
    "+  volumes:",
    "+  - name: tokenguard-vault",
    "+    projected:",
    "+      sources:",
    "+      - serviceAccountToken:",
    "+          audience: https://vault.example.com",
    "+          expirationSeconds: 3600",
    "+          path: token",
]
POD_HEAD = "apiVersion: v1\nkind: Pod\nmetadata: {name: seed}\nspec:\n"


@pytest.mark.parametrize(("containers", "lines"), SHARED.values(), ids=SHARED)
def test_fix_keeps_comments_beside_aliases(containers: str, lines: list[str]) -> None:
    assert changed_lines(POD_HEAD + containers) == [*lines, *VOLUME]


def test_fix_gives_an_alias_its_own_value() -> None:
    head = POD_HEAD.replace("{name: seed}", SKIPPED)
    mounts = "  containers:  # two\n  - name: app\n    volumeMounts: &m [{name: a, mountPath: /a}]\n"
    alias = f"{mounts}  - name: side\n    volumeMounts: *m  # the same\n  volumes:\n  - {{name: a, emptyDir: {{}}}}\n"
    lines = changed_lines(head + alias)
    assert "-    volumeMounts: *m  # the same" in lines
    assert {"+    volumeMounts:  # the same", "+    - name: a", "+      mountPath: /a"} <= {*lines}
    merge = f"{mounts}  - name: side\n    <<: {{volumeMounts: *m}}\n".replace("side\n", "side  # no token\n")
    assert {"+    volumeMounts:", "+    - name: a", "+      mountPath: /a"} <= {*changed_lines(head + merge)}


def test_fix_of_an_anchor_is_enough_for_its_uses() -> None:
    token = "serviceAccountToken: &token {path: t, audience: v, expirationSeconds: 9000}"
    text = POD_HEAD + (
        f"  volumes:\n  - name: a\n    projected: &p\n      sources:\n      - {token}\n"
        "  - name: b\n    projected: *p\n"
        "  - name: c\n    projected:\n      sources:\n"
        "      - serviceAccountToken:\n          <<: *token\n          path: u\n"
    )
    lines = changed_lines(text, under="apiVersion: tokenguard/v1\nkind: TokenPolicy\n")
    assert lines == [f"-      - {token}", f"+      - {token.replace('9000', '3600')}"]


def test_fix_overrides_a_merged_value() -> None:
    head = POD_HEAD.replace("{name: seed}", SKIPPED.replace("side", "app"))
    text = head + "  containers:\n  - &app\n    name: app\n    volumeMounts: []  # none\n  - name: side\n    <<: *app\n"
    text = text.replace("  - name: side\n    <<: *app\n", "  - <<: *app  # alike\n    name: side\n")
    lines = changed_lines(text)
    assert "-    volumeMounts: []  # none" not in lines
    assert lines[0] == "+    volumeMounts:"


def test_fix_gives_an_aliased_container_its_own_text() -> None:
    text = POD_HEAD + (
        "  containers:\n  - {name: a, volumeMounts: []}\n  initContainers:\n  - &c {name: i, command: [a]}  # first\n"
        "other:\n- *c  # kept\n"
    )
    assert {"-- *c  # kept", "+- name: i", "+  - a  # kept"} <= {*changed_lines(text)}


PATCHING = policy("apiVersion: tokenguard/v1\nkind: TokenPolicy\nrules: {legacy-token-reference: patch}\n")
UNEDITABLE = {
    "a merged key that has to go": (
        "  - <<: {secret: {secretName: robot-token}}  # a key that goes\n    name: t\n",
        15,
        '"secret" is in an alias or a merge key',
    ),
    "an anchor of an alias": (
        "  - name: t\n    secret:\n      secretName: &n robot-token\n  - name: *n\n    emptyDir: {}\n",
        17,
        "anchor &n would be removed, but is used on line 18",
    ),
    "a duplicate key": (
        "  - {name: t, secret: {secretName: x}, secret: {secretName: robot-token}}\n",
        15,
        '"secret" is a duplicate key',
    ),
    "a byte order mark": (
        "  - {name: t, secret: {secretName: robot-token}} # \ufeff\n",
        7,
        "the places of its fields are unknown",
    ),
}


@pytest.mark.parametrize(("volumes", "line", "reason"), UNEDITABLE.values(), ids=UNEDITABLE)
def test_fix_layout_that_cannot_be_edited_is_left_and_reported(volumes: str, line: int, reason: str) -> None:
    pod = f"{POD_HEAD}  serviceAccountName: robot\n  containers: [{{name: app}}]\n  volumes:\n{volumes}"
    report = checked(LEGACY_SECRET, pod, under=PATCHING)
    documents = fix.fixed_documents(report)
    assert not isinstance(documents, InputProblem)
    assert "".join(documents.pieces).endswith(pod)
    assert documents.unfixed == 1
    files = list(fix.fixed_files(report))
    [unfixed] = [each for file in files if isinstance(file, fix.FixedFile) for each in file.unfixed]
    problem = unfixed.problem("a.yaml")
    assert (problem.line, problem.message.partition("; ")[0]) == (line, f"is not fixed: {reason}")
    fix.add_obstacles(report, files)
    [finding] = [each for each in report.findings if each.rule == "legacy-token-reference"]
    assert (finding.obstacle, report.fixable) == (f"line {line}: {reason}", 0)
    assert finding.detail.endswith(f"; --fix cannot edit it: line {line}: {reason}")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            ("expirationSeconds: &life 86400", "activeDeadlineSeconds: *life"),
            ("expirationSeconds: &life 3600", "activeDeadlineSeconds: 86400"),
            id="used",
        ),
        pytest.param(
            ("expirationSeconds: !!int &life 86400  # a", ""),
            ("expirationSeconds: &life 3600  # a", ""),
            id="unused, behind a tag",
        ),
    ],
)
def test_fix_keeps_the_anchor_of_a_value(before: tuple[str, str], after: tuple[str, str]) -> None:
    pod = LONG_POD.replace("expirationSeconds: 86400", before[0]) + f"  {before[1]}\n"
    assert fixed(pod) == f"---\n{pod.replace(before[0], after[0]).replace(before[1] or '-', after[1] or '-')}"


def test_fix_keeps_the_anchor_of_a_collection() -> None:
    text = "a: &x\n  b: 1\nc: *x\nd: [&y {e: 1}, *y]\n"
    values = {"/a": {"b": 2}, "/d/0": {"e": 2}}
    assert (
        edit_text(text, [{"op": "replace", "path": path, "value": value} for path, value in values.items()])
        == "a: &x\n  b: 2\nc: *x\nd: [&y {e: 2}, *y]\n"
    )
