"""What the text and the JSON of a report say."""

import re
from pathlib import Path

from tests.check.runs import (
    BAD_POLICY,
    LEGACY_POD,
    LEGACY_SECRET,
    LONG_POD,
    SEED_POD,
    SUBPATH_POD,
    checked,
    checked_paths,
    json_document,
    policy,
    text_lines,
)
from webhook.check.input_files import InputProblem
from webhook.formatters import check_text

PLACE = "spec.volumes[0].projected.sources[0]"

EXPECTED = [
    (
        "<stdin>:3: denied: Secret/robot-token (document 1): legacy-token-secret: "
        'type requests a token of "robot" that never expires; '
        "project a token into the pod, add an exemption with an end date, "
        "or run: kubectl create token robot -n default --duration=1h"
    ),
    (
        "<stdin>:16: denied: Pod/reader (document 2): legacy-token-reference: "
        'spec.containers[0].env[0] reads the long-lived token of "robot" in Secret "robot-token"; '
        "mount a projected token instead"
    ),
    (
        f"<stdin>:30: patched: Pod/long (document 3): token-expiration: "
        f"{PLACE} has lifetime 86400s, exceeding the maximum 3600s; capped to 3600s"
    ),
    (
        "<stdin>:39: warned: Pod/subpath (document 4): token-subpath: "
        "spec.containers[0].volumeMounts[0] mounts a token by subPath (never refreshed); "
        "mount the whole volume"
    ),
    "4 objects in 1 file evaluated: 2 denied, 1 patched, 1 warned, 0 allowed",
]


def test_text_has_a_line_a_finding_and_a_summary() -> None:
    assert text_lines(checked(LEGACY_SECRET, LEGACY_POD, LONG_POD, SUBPATH_POD)) == EXPECTED


def test_policy_errors_are_shown_as_findings() -> None:
    report = checked(BAD_POLICY)
    assert text_lines(report) == [
        '<stdin>:10: denied: ConfigMap/token-policy: invalid-policy: unknown key "modee"; did you mean "mode"?',
        (
            "<stdin>:11: denied: ConfigMap/token-policy: invalid-policy: "
            "tokens.maxExpirationSeconds must be a whole number from 600 to 4294967296, not 5"
        ),
        "1 object in 1 file evaluated: 1 denied, 0 patched, 0 warned, 0 allowed",
    ]
    told = json_document(report)["findings"][0]
    assert (told["rule"], told["action"], told["path"], told["line"]) == ("invalid-policy", "reject", "", 10)


def test_text_one_document_has_no_document_number() -> None:
    assert text_lines(checked(LONG_POD))[0].startswith("<stdin>:12: patched: Pod/long: token-expiration: ")


def test_text_shows_problems_first_and_counts_them() -> None:
    lines = text_lines(checked("a: [\n", SEED_POD))
    assert lines == [
        "<stdin>:2: error: is not YAML: did not find expected node content",
        "1 object in 1 file evaluated: 0 denied, 0 patched, 0 warned, 1 allowed",
        "could not be read: 1",
    ]


def custom(kind: str) -> str:
    return f"apiVersion: example.com/v1\nkind: {kind}\nmetadata: {{name: x, namespace: team}}\n"


def test_summary_counts_objects_not_evaluated() -> None:
    machinery = custom("Pod").replace("example.com/v1", "v1")
    left = [machinery.replace("team", "kube-system"), machinery.replace("team", "tokenguard")]
    others = [custom("Runner"), custom("Runner"), custom("Pool")]
    report = checked(left[0], left[1], left[0], *others, SEED_POD)
    assert text_lines(report) == [
        "1 object in 1 file evaluated: 0 denied, 0 patched, 0 warned, 1 allowed",
        "excluded: 3 (2 kube-system, 1 tokenguard)",
        "not evaluated: 3 (2 Runner, 1 Pool)",
    ]
    assert text_lines(report, verbose=True)[:2] == [
        "<stdin>:1: note: Pod/x: excluded: namespace kube-system is excluded",
        "<stdin>:5: note: Pod/x: excluded: namespace tokenguard is excluded, except for its Secrets and TokenRequests",
    ]
    summary = json_document(report)["summary"]
    assert (summary["excluded"], summary["notEvaluated"]) == (
        {"kube-system": 2, "tokenguard": 1},
        {"Runner": 2, "Pool": 1},
    )


def test_summary_counts_skipped_documents(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    (tmp_path / "values.yaml").write_text("replicas: 3\n")
    for number in range(5):
        (tmp_path / f"t{number}.yaml").write_text("a: {{ .Values.a }}\n")
    report = checked_paths(tmp_path)
    first = ", ".join(str(tmp_path / f"t{number}.yaml") for number in range(3))
    assert text_lines(report)[1:] == [
        "skipped: 1 document without a Kubernetes object",
        (f"unrendered templates: 5 ({first} and 2 more); render them first: helm template CHART | tokenguard check -"),
    ]
    document = json_document(report)
    assert (document["summary"]["skipped"], document["summary"]["templates"], len(document["skipped"])) == (1, 5, 6)


def test_summary_shows_ten_kinds_and_escapes_names() -> None:
    kinds = [f"Kind{number}" for number in range(12)]
    last = text_lines(checked(*map(custom, kinds)))[-1]
    assert last == f"not evaluated: 12 ({', '.join(f'1 {kind}' for kind in kinds[:10])}, 2 others)"
    forged = text_lines(checked(custom('"x\\n::error::' + "y" * 200 + '"')))[-1]
    assert forged == f"not evaluated: 1 (x\\n::error::{'y' * 89})"


def test_notes_are_shown_with_verbose_only() -> None:
    report = checked(LONG_POD, under=policy("apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: audit\n"))
    assert len(text_lines(report)) == 1
    assert text_lines(report, verbose=True)[0].startswith("<stdin>:12: note: Pod/long: token-expiration: ")
    assert json_document(report)["findings"] == []
    assert [finding["action"] for finding in json_document(report, verbose=True)["findings"]] == ["audit"]


def test_text_with_colour_is_the_same_text() -> None:
    report = checked(LEGACY_SECRET, LEGACY_POD, LONG_POD, "a: [\n")
    coloured = text_lines(report, colour=True)
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == text_lines(report)
    assert "\x1b[31m" in coloured[0]


def test_text_escapes_names() -> None:
    forged = LONG_POD.replace("name: long", 'name: "x\\n/etc/passwd:1: error\\e[2J\\u202e"')
    lines = text_lines(checked(forged))
    assert len(lines) == 2
    assert "Pod/x\\n/etc/passwd:1: error\\x1b[2J\\u202e: token-expiration" in lines[0]
    assert check_text.problem_line(InputProblem("a\nb", "no\tgood", 1)) == "a\\nb:1: error: no\\tgood"


def test_json_has_every_key() -> None:
    document = json_document(checked(LEGACY_SECRET, LONG_POD, "a: [\n"))
    assert document["version"] == 2
    assert document["findings"][1] == {
        "file": "<stdin>",
        "document": 2,
        "line": 19,
        "kind": "Pod",
        "namespace": "default",
        "name": "long",
        "rule": "token-expiration",
        "action": "patch",
        "path": PLACE,
        "detail": "has lifetime 86400s, exceeding the maximum 3600s; capped to 3600s",
    }
    assert document["summary"] == {
        "objects": 2,
        "files": 1,
        "denied": 1,
        "patched": 1,
        "warned": 0,
        "allowed": 0,
        "excluded": {},
        "notEvaluated": {},
        "skipped": 0,
        "templates": 0,
    }
    message = "is not YAML: did not find expected node content"
    assert document["skipped"] == []
    assert document["problems"] == [{"file": "<stdin>", "document": 3, "line": 25, "message": message}]
