"""Objects that cannot be read: which field is wrong, and where it is in the file."""

from tests.check.runs import LONG_POD, UNREADABLE_POD, checked, text_lines
from webhook.check.other_findings import EXPLANATIONS

LINE = "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds"


def test_unreadable_field_has_path_line_and_snippet() -> None:
    report = checked(LONG_POD.replace("86400", '"86400"'))
    [finding] = report.findings
    assert (finding.path, finding.line) == (LINE, 14)
    assert finding.message == "must be a whole number, not a string; write it without quotes"
    lines = text_lines(report)
    assert "    14 |           expirationSeconds: …"[1:] in [line[1:] for line in lines]
    assert "       |           ^^^^^^^^^^^^^^^^^" in lines


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
