"""What the text and the JSON of a report say."""

import re
from pathlib import Path

import jsonschema
import pytest

from tests.check.runs import (
    BAD_POLICY,
    LEGACY_POD,
    LEGACY_SECRET,
    LONG_POD,
    SEED_POD,
    SUBPATH_POD,
    checked,
    checked_paths,
    concise_lines,
    json_document,
    policy,
    text_lines,
)
from webhook.check.input_files import InputProblem
from webhook.check.report import CheckReport
from webhook.core.decision import Outcome
from webhook.formatters import check_json
from webhook.formatters.check_lines import problem_line

VALIDATOR = jsonschema.Draft202012Validator(check_json.schema())
PLACE = "spec.volumes[0].projected.sources[0]"

DEFAULTS = "policy: built-in defaults (revision REVISION, mode enforce)"
EXPECTED = [
    (
        "<stdin>:3:1: denied: Secret/robot-token: legacy-token-secret: "
        'type requests a token of "robot" that never expires; '
        "project a token into the pod, add an exemption with an end date, "
        "or run: kubectl create token robot -n default --duration=1h"
    ),
    (
        "<stdin>:17:34: denied: Pod/reader: legacy-token-reference: "
        'spec.containers[0].env[0] reads the long-lived token of "robot" in Secret "robot-token"; '
        "mount a projected token instead"
    ),
    (
        f"<stdin>:32:11: patched: Pod/long: token-expiration: "
        f"{PLACE} has lifetime 86400s, exceeding the maximum 3600s; would be capped to 3600s"
        " (serviceAccountToken.expirationSeconds: 3600)"
    ),
    (
        "<stdin>:39:88: warned: Pod/subpath: token-subpath: "
        "spec.containers[0].volumeMounts[0] mounts a token by subPath (never refreshed); "
        "mount the whole volume"
    ),
    "4 findings in 1 file:",
    "  legacy-token-secret     1 denied",
    "  legacy-token-reference  1 denied",
    "  token-expiration        1 patched",
    "  token-subpath           1 warned",
    "1 finding can be fixed: --diff shows how, --fix --write does it",
    "4 objects in 1 file evaluated: 2 denied, 1 patched, 1 warned, 0 allowed",
    DEFAULTS,
]


def lines_of(report: CheckReport, **options: bool) -> list[str]:
    return [re.sub(r"revision [0-9a-f]{12}", "revision REVISION", line) for line in concise_lines(report, **options)]


def test_concise_has_a_line_a_finding_and_a_summary() -> None:
    assert lines_of(checked(LEGACY_SECRET, LEGACY_POD, LONG_POD, SUBPATH_POD)) == EXPECTED


def test_policy_errors_are_shown_as_findings() -> None:
    report = checked(BAD_POLICY)
    assert lines_of(report)[:2] == [
        (
            '<stdin>:10:5: denied: ConfigMap/token-policy: invalid-policy: unknown key "modee"; did you mean "mode"?'
            "; correct it, then run: tokenguard policy validate FILE"
        ),
        (
            "<stdin>:11:5: denied: ConfigMap/token-policy: invalid-policy: "
            "tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not 5"
            "; correct it, then run: tokenguard policy validate FILE"
        ),
    ]
    finding = json_document(report)["findings"][0]
    assert (finding["rule"], finding["action"], finding["path"], finding["line"]) == (
        "invalid-policy",
        "reject",
        "",
        10,
    )


def test_concise_has_a_place_in_each_line() -> None:
    misspelt, no_containers = LONG_POD.replace("Pod", "Pdo"), "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
    lines = concise_lines(checked(misspelt, no_containers, "a: {{ b }}\n", "\ufeffx: [\n", LEGACY_SECRET))
    placed = [line for line in lines if line.startswith("<stdin>")]
    assert len(placed) == 5
    assert all(re.match(r"<stdin>:[0-9]+:[0-9]+: (error|warning|denied): ", line) for line in placed)


def test_concise_shows_problems_first_and_counts_them() -> None:
    assert lines_of(checked("a: [\n", SEED_POD)) == [
        "<stdin>:1:4: error: is not YAML: this [ is not closed",
        "1 object in 1 file evaluated: 0 denied, 0 patched, 0 warned, 1 allowed",
        "could not be evaluated: 1",
        DEFAULTS,
    ]


def custom(kind: str) -> str:
    return f"apiVersion: example.com/v1\nkind: {kind}\nmetadata: {{name: x, namespace: team}}\n"


def test_summary_counts_objects_not_evaluated() -> None:
    machinery = custom("Pod").replace("example.com/v1", "v1")
    left = [machinery.replace("team", "kube-system"), machinery.replace("team", "tokenguard")]
    others = [custom("Runner"), custom("Runner"), custom("Pool")]
    report = checked(left[0], left[1], left[0], *others, SEED_POD)
    assert lines_of(report) == [
        "1 object in 1 file evaluated: 0 denied, 0 patched, 0 warned, 1 allowed",
        "not evaluated: 6; -v lists them",
        "  3 of other kinds: 2 Runner, 1 Pool",
        "  2 in namespace kube-system",
        "  1 in namespace tokenguard",
        DEFAULTS,
    ]
    assert lines_of(report, verbose=True)[-4:-1] == [
        "    note: <stdin>:9: Pod/x: namespace kube-system is excluded",
        "  1 in namespace tokenguard",
        (
            "    note: <stdin>:5: Pod/x: namespace tokenguard is excluded, except for its Secrets, TokenRequests and"
            " policies"
        ),
    ]
    document = json_document(report)
    assert document["summary"]["notEvaluated"] == {
        "other kinds": 3,
        "namespace kube-system": 2,
        "namespace tokenguard": 1,
    }
    assert document["notEvaluated"][0] == {
        "file": "<stdin>",
        "document": 1,
        "line": 1,
        "column": None,
        "message": "Pod/x: namespace kube-system is excluded",
        "reason": "namespace kube-system",
        "kind": "Pod",
    }


def test_summary_counts_skipped_documents(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    (tmp_path / "values.yaml").write_text("replicas: 3\n")
    for number in range(5):
        (tmp_path / f"t{number}.yaml").write_text("a: {{ .Values.a }}\n")
    report = checked_paths(tmp_path)
    assert lines_of(report)[2:-1] == [
        "not evaluated: 6; -v lists them",
        "  5 unrendered templates",
        "  1 not a Kubernetes object",
    ]
    assert len(json_document(report)["notEvaluated"]) == 6


def test_summary_counts_kustomize_patches(tmp_path: Path) -> None:
    (tmp_path / "overlay").mkdir()
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    kustomization = (
        "resources: [../pod.yaml]\npatches:\n- path: long.yaml\n- path: json6902.yaml\n- patch: |-\n    a: 1\n"
    )
    (tmp_path / "overlay" / "json6902.yaml").write_text("- {op: remove, path: /spec}\n")
    chart = tmp_path / "chart"
    chart.mkdir()
    for name in ("Chart.yaml", "values.yaml", "values-prod.yaml", "other.yaml"):
        (chart / name).write_text("a: 1\n")
    (tmp_path / "overlay" / "kustomization.yaml").write_text(kustomization)
    (tmp_path / "overlay" / "long.yaml").write_text(LONG_POD)
    report = checked_paths(tmp_path)
    assert report.findings == []
    assert {reason: len(skipped) for reason, skipped in report.by_reason().items()} == {
        "files of Helm charts": 3,
        "kustomize patches": 2,
        "files of kustomize and kubectl": 1,
        "not Kubernetes objects": 1,
    }
    hint = "  2 kustomize patches"
    assert hint in text_lines(report)
    assert checked_paths(tmp_path / "overlay" / "long.yaml").findings  # named: it is what the caller wants


def test_summary_shows_ten_kinds_and_escapes_names() -> None:
    kinds = [f"Kind{number}" for number in range(12)]
    last = lines_of(checked(*map(custom, kinds)))[-2]
    assert last == f"  12 of other kinds: {', '.join(f'1 {kind}' for kind in kinds[:10])}, 2 others"
    forged = lines_of(checked(custom('"x\\n::error::' + "y" * 200 + '"')))[-2]
    assert forged == f"  1 of other kinds: 1 x\\n::error::{'y' * 89}"


def under_mode(mode: str) -> CheckReport:
    return checked(
        LEGACY_SECRET, LONG_POD, under=policy(f"apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: {mode}\n")
    )


def test_notes_are_shown_with_verbose_only() -> None:
    report = under_mode("audit")
    assert "token-expiration" not in "".join(lines_of(report))
    assert lines_of(report, verbose=True)[1].startswith("<stdin>:21:11: note: Pod/long: token-expiration: ")
    assert json_document(report)["findings"] == []
    assert [finding["action"] for finding in json_document(report, verbose=True)["findings"]] == ["audit", "audit"]


@pytest.mark.parametrize(("mode", "outcome"), [("audit", "allowed"), ("warn", "warned")])
def test_summary_says_what_enforce_would_do(mode: str, outcome: str) -> None:
    report = under_mode(mode)
    assert report.summary.outcomes[Outcome(outcome)] == 2
    assert lines_of(report)[-2] == (
        f"if every namespace were in mode enforce: 1 denied, 1 patched (the policy's mode is {mode}); for details, use"
        " --mode enforce"
    )
    assert json_document(report)["summary"]["underEnforce"] == {"denied": 1, "patched": 1, "warned": 0, "allowed": 0}


def test_text_with_colour_is_the_same_text() -> None:
    report = checked(LEGACY_SECRET, LEGACY_POD, LONG_POD, "a: [\n")
    for lines in (text_lines, concise_lines):
        coloured = lines(report, colour=True)
        assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == lines(report)
        assert "\x1b[31m" in coloured[0]


def test_text_escapes_names() -> None:
    forged = LONG_POD.replace("name: long", 'name: "x\\n/etc/passwd:1: error\\e[2J\\u202e"')
    lines = lines_of(checked(forged))
    assert "Pod/x\\n/etc/passwd:1: error\\x1b[2J\\u202e: token-expiration" in lines[0]
    assert all(line.isprintable() for line in text_lines(checked(forged)))
    assert problem_line(InputProblem("a\nb", "no\tgood", 1)) == "error: a\\nb:1: no\\tgood"


def test_json_has_every_key() -> None:
    document = json_document(checked(LEGACY_SECRET, LONG_POD, "a: [\n"))
    assert document["version"] == 4
    assert document["findings"][1] == {
        "file": "<stdin>",
        "document": 2,
        "line": 21,
        "column": 11,
        "endColumn": 35,
        "kind": "Pod",
        "namespace": "default",
        "name": "long",
        "rule": "token-expiration",
        "action": "patch",
        "path": PLACE,
        "message": "has lifetime 86400s, exceeding the maximum 3600s",
        "help": "would be capped to 3600s",
        "changes": ["serviceAccountToken.expirationSeconds: 3600"],
        "fixObstacle": "",
        "counts": True,
    }
    assert [(each["kind"], each["outcome"], len(each["patch"])) for each in document["objects"]] == [
        ("Secret", "denied", 0),
        ("Pod", "patched", 1),
    ]
    assert document["summary"] == {
        "objects": 2,
        "files": 1,
        "denied": 1,
        "patched": 1,
        "warned": 0,
        "allowed": 0,
        "underEnforce": None,
        "exempt": 0,
        "patchedWithoutFinding": {},
        "fixed": 0,
        "rules": {
            "legacy-token-secret": {"denied": 1, "patched": 0, "warned": 0, "allowed": 0},
            "token-expiration": {"denied": 0, "patched": 1, "warned": 0, "allowed": 0},
        },
        "notEvaluated": {},
    }
    message = "is not YAML: this [ is not closed"
    assert document["notEvaluated"] == []
    assert (document["policy"]["origin"], document["policy"]["mode"]) == ("built-in defaults", "enforce")
    assert document["problems"] == [{"file": "<stdin>", "document": 3, "line": 24, "column": 4, "message": message}]
    assert set(document) == set(check_json.schema()["required"])
    VALIDATOR.validate(document)


def test_json_schema_describes_every_key() -> None:
    for name, definition in check_json.schema()["$defs"].items():
        for key, value in definition.get("properties", {}).items():
            assert value.get("description") or "$ref" in value or key in [*Outcome], f"{name}.{key}"
