"""What the text and the JSON of a report say."""

import json
import re

from tests.reporting.checked import (
    BAD_POLICY,
    LEGACY_POD,
    LEGACY_SECRET,
    LONG_POD,
    SEED_POD,
    SUBPATH_POD,
    checked,
    policy,
)
from webhook.reporting import as_json, as_text
from webhook.reporting.files import Trouble

PLACE = "spec.volumes[0].projected.sources[0]"

EXPECTED = [
    (
        "<stdin>:3: error: Secret/robot-token (document 1): legacy-token-secret: "
        'type asks for a token of "robot" that never expires; '
        "project a token into the pod, use an exemption that ends, "
        "or kubectl create token robot -n default --duration=1h"
    ),
    (
        "<stdin>:16: error: Pod/reader (document 2): legacy-token-reference: "
        'spec.containers[0].env[0] reads the long-lived token in Secret "robot-token"; '
        "mount a projected token instead"
    ),
    (
        f"<stdin>:30: patch: Pod/long (document 3): token-expiration: "
        f"{PLACE} lives 86400 seconds, more than the maximum of 3600; capped to 3600"
    ),
    (
        "<stdin>:39: warning: Pod/subpath (document 4): token-subpath: "
        "spec.containers[0].volumeMounts[0] mounts a token by subPath, never refreshed; "
        "mount the whole volume"
    ),
    "4 objects in 1 file judged: 2 would be rejected, 1 patched, 1 warned",
]


def test_text_has_one_line_a_finding_and_a_summary() -> None:
    assert list(as_text.lines(checked(LEGACY_SECRET, LEGACY_POD, LONG_POD, SUBPATH_POD))) == EXPECTED


def test_a_policys_mistakes_are_told_as_findings_are() -> None:
    report = checked(BAD_POLICY)
    assert list(as_text.lines(report)) == [
        '<stdin>:10: error: ConfigMap/token-policy: invalid-policy: modee unknown key; did you mean "mode"?',
        (
            "<stdin>:11: error: ConfigMap/token-policy: invalid-policy: "
            'tokens.maxExpirationSeconds must be a whole number from 600 to 4294967296, not "5"'
        ),
        "1 object in 1 file judged: 1 would be rejected, 0 patched, 0 warned",
    ]
    told = json.loads(as_json.text(report))["findings"][0]
    assert (told["rule"], told["action"], told["path"], told["line"]) == ("invalid-policy", "reject", "modee", 10)


def test_a_file_of_one_document_needs_no_document_number() -> None:
    first = next(as_text.lines(checked(LONG_POD)))
    assert first.startswith("<stdin>:12: patch: Pod/long: token-expiration: ")


def test_text_tells_trouble_first_and_counts_it() -> None:
    lines = list(as_text.lines(checked("a: [\n", SEED_POD)))
    assert lines == [
        "<stdin>:2: error: is not YAML: did not find expected node content",
        "1 object in 1 file judged: 0 would be rejected, 0 patched, 0 warned; 1 could not be read",
    ]


def test_notes_are_told_on_request_alone() -> None:
    report = checked(LONG_POD, under=policy("apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: audit\n"))
    assert len(list(as_text.lines(report))) == 1
    assert next(iter(as_text.lines(report, verbose=True))).startswith("<stdin>:12: note: Pod/long: token-expiration: ")
    assert json.loads(as_json.text(report))["findings"] == []
    assert [one["action"] for one in json.loads(as_json.text(report, verbose=True))["findings"]] == ["audit"]


def test_colours_change_nothing_but_the_colour() -> None:
    report = checked(LEGACY_SECRET, LEGACY_POD, LONG_POD, "a: [\n")
    coloured = list(as_text.lines(report, colour=True))
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == list(as_text.lines(report))
    assert "\x1b[31m" in coloured[0]


def test_a_name_can_not_forge_a_line() -> None:
    forged = LONG_POD.replace("name: long", 'name: "x\\n/etc/passwd:1: error\\e[2J\\u202e"')
    lines = list(as_text.lines(checked(forged)))
    assert len(lines) == 2
    assert "Pod/x\\n/etc/passwd:1: error\\x1b[2J\\u202e: token-expiration" in lines[0]
    assert as_text.trouble_line(Trouble("a\nb", "no\tgood", 1)) == "a\\nb:1: error: no\\tgood"


def test_json_names_everything_that_a_program_needs() -> None:
    document = json.loads(as_json.text(checked(LEGACY_SECRET, LONG_POD, "a: [\n")))
    assert document["version"] == 1
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
        "detail": "lives 86400 seconds, more than the maximum of 3600; capped to 3600",
    }
    assert document["summary"] == {"objects": 2, "files": 1, "rejected": 1, "patched": 1, "warned": 0}
    message = "is not YAML: did not find expected node content"
    assert document["problems"] == [{"file": "<stdin>", "document": 3, "line": 25, "message": message}]
