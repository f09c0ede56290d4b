"""What `--fix` makes of manifests."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.check.runs import INJECTION, LEGACY_POD, LEGACY_SECRET, LONG_POD, SEED_POD, checked, policy
from tests.core.json_values import VALUES
from webhook.check import fix
from webhook.check.input_files import InputProblem
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


def test_fix_layout_that_cannot_be_edited_is_rewritten() -> None:
    token = "serviceAccountToken: {path: a, audience: b, expirationSeconds: 86400}"
    shared = SEED_POD.partition("  volumes")[0] + (
        f"  volumes:\n  - {{name: a, projected: &p {{sources: [{token}]}}}}\n  - {{name: b, projected: *p}}\n"
    )
    documents = fix.fixed_documents(checked(shared))
    assert not isinstance(documents, InputProblem)
    assert (documents.rewritten, "".join(documents.pieces).count("expirationSeconds: 3600")) == (0, 1)
    skipped = SEED_POD.replace("{name: seed}", "{name: seed, annotations: {tokenguard/skip-containers: b}}").replace(
        '[{name: app, image: "app:1"}]', "[{name: a, volumeMounts: &m []}, {name: b, volumeMounts: *m}]"
    )
    documents = fix.fixed_documents(checked(skipped, under=policy(INJECTION)))
    assert not isinstance(documents, InputProblem)
    assert documents.rewritten == 1
