"""Objects that cannot be read: which field is wrong, and where it is in the file."""

import pytest

from tests.check.runs import LEGACY_SECRET, LONG_POD, SEED_POD, UNREADABLE_POD, checked, text_lines
from webhook.check.other_findings import EXPLANATIONS

LINE = "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds"


def test_unreadable_field_has_path_line_and_snippet() -> None:
    report = checked(LONG_POD.replace("86400", '"86400"'))
    [finding] = report.findings
    assert (finding.path, finding.line) == (LINE, 14)
    assert finding.message == "must be a whole number, not a string; write it without quotes"
    lines = text_lines(report)
    assert '    14 |           expirationSeconds: "86400"'[1:] in [line[1:] for line in lines]
    assert "       |           ^^^^^^^^^^^^^^^^^^^^^^^^^^" in lines


CONFIDENTIAL = {
    "a long text": LONG_POD.replace("86400", '"' + 41 * "s" + '"'),
    "a token": LONG_POD.replace("86400", "eyJhbGciOiJSUzI1NiJ9"),
    "a list": LONG_POD.replace("86400", "[sesame]"),
    "Secret data": LEGACY_SECRET + "data: {key: [sesame], token: 12345}\nstringData: {type: 12345}\n",
    "data that is a text": LEGACY_SECRET + "data: sesame\n",
    "an annotation": SEED_POD.replace("{name: seed}", "{name: seed, annotations: {path: 12345}}"),
    "an unknown field": SEED_POD.replace("spec:\n", "spec:\n  path: sesame\n"),
    "a variable": SEED_POD.replace("{name: app,", "{name: app, env: [{name: A, value: 12345}, {name: [sesame]}],"),
}


@pytest.mark.parametrize("text", CONFIDENTIAL.values(), ids=CONFIDENTIAL)
def test_confidential_wrong_value_is_not_shown(text: str) -> None:
    shown = "\n".join(text_lines(checked(text), verbose=True))
    assert "sesame" not in shown
    assert "sss" not in shown
    assert "12345" not in shown
    assert "eyJ" not in shown


UNQUOTED = {
    "a duration": ("expirationSeconds: 86400", "expirationSeconds: 1h", "a whole number, not a string"),
    "a word": (
        "spec:\n", "spec:\n  automountServiceAccountToken: nope\n", "a boolean, not a string; write true or false",
    ),
    "a quoted word": (
        "spec:\n", "spec:\n  automountServiceAccountToken: 'no'\n", "a boolean, not a string; write it without quotes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "message"), UNQUOTED.values(), ids=UNQUOTED)
def test_unreadable_text_has_advice_that_helps(before: str, after: str, message: str) -> None:
    [finding] = checked(LONG_POD.replace(before, after, 1)).findings
    assert finding.message == f"must be {message}"


MANY_WRONG = """\
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: 1, tier: true}}
spec:
  hostNetwrk: true
  containers:
  - text
  - {name: app, env: {A: b}, args: [1], volumeMounts: [{mountPath: 3, subPth: x}]}
  volumes:
  - name: t
    projected:
      sources:
      - serviceAccountToken: {path: t, expirationSeconds: "86400", audience: x}
      - serviceAccountToken: {path: t, expirationSeconds: "${TTL}", audience: x}
"""


def test_all_wrong_types_and_unknown_fields_are_found() -> None:
    report = checked(MANY_WRONG)
    source = "spec.volumes[0].projected.sources"
    assert [(finding.line, finding.statement[:80]) for finding in report.findings] == [
        (3, "metadata.labels.app must be a string, not a number; put it in quotes"),
        (3, "metadata.labels.tier must be a string, not a boolean; put it in quotes"),
        (7, "spec.containers[0] must be a mapping, not a string"),
        (8, "spec.containers[1].env must be a list, not a mapping"),
        (8, "spec.containers[1].volumeMounts[0].mountPath must be a string, not a number; put"),
        (13, f"{source}[0].serviceAccountToken.expirationSeconds must b"[:80]),
        (14, f"{source}[1].serviceAccountToken.expirationSeconds is the"[:80]),
    ]
    assert [(warning.line, warning.message) for warning in report.warnings] == [
        (5, 'Pod/a: spec: unknown field "hostNetwrk"; did you mean "hostNetwork"?'),
        (8, 'Pod/a: spec.containers[1].volumeMounts[0]: unknown field "subPth"; did you mean "subPath"?'),
    ]
    assert report.findings[-1].message.startswith("is the placeholder ${TTL}; substitute it first")


def test_number_of_wrong_types_is_limited() -> None:
    labels = "".join(f"    l{number}: {number}\n" for number in range(100))
    report = checked(f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n{labels}")
    assert len(report.findings) == 20


@pytest.mark.parametrize(("audiences", "wrong"), [("[1, 2, x]", [0, 1]), ("[null]", [0]), ("[[], a, {}]", [0, 2])])
def test_wrong_items_of_a_list_are_found(audiences: str, wrong: list[int]) -> None:
    request = "apiVersion: authentication.k8s.io/v1\nkind: TokenRequest\nmetadata: {name: a}\nspec: {audiences: %s}\n"
    paths = [finding.path for finding in checked(request % audiences).findings]
    assert paths == [f"spec.audiences[{number}]" for number in wrong]


def test_wrong_label_has_its_key_and_line() -> None:
    labels = "metadata:\n  name: a\n  labels:\n    app: web\n    app.kubernetes.io/version: 1.0\n"
    [finding] = checked(f"apiVersion: v1\nkind: Pod\n{labels}").findings
    assert (finding.path, finding.line) == ("metadata.labels[app.kubernetes.io/version]", 7)
    assert finding.message == "must be a string, not a number; put it in quotes"


def test_unreadable_object_in_a_list_has_its_own_line() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  spec:\n    volumes: 3\n"
    [finding] = checked(text).findings
    assert (finding.path, finding.message, finding.line) == ("spec.volumes", "must be a list, not a number", 7)


def test_every_decoding_error_of_a_wrong_type_is_explained() -> None:
    for value in ("3", "x", "[]", "true", "1.5"):
        for field in ("volumes", "containers", "automountServiceAccountToken", "serviceAccountName"):
            findings = checked(UNREADABLE_POD.replace("{volumes: 3}", f"{{{field}: {value}}}")).findings
            assert all(each.message.startswith("must be ") for each in findings if each.rule in EXPLANATIONS)
