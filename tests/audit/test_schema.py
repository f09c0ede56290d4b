"""The JSON Schema of the audit log matches what the server writes."""

import json

import jsonschema
import pytest
from click.testing import CliRunner

from tests.golden_cases import LOADED, NOW, golden_case, the_object
from tests.recorded_reviews import EXPECTED, recorded
from tests.reviews import review
from tests.server.audit_log.cases import large_denial
from tests.serving import OBJECTS, POLICY, serve
from webhook.audit.record import encode_record
from webhook.audit.record_types import SCHEMA_VERSION, Record, schema
from webhook.cli import main
from webhook.core.admission_request import Phase, read_review
from webhook.core.decision import Decision, Finding, Outcome, Violation
from webhook.core.policy.model import Action


def closed(part):
    """Return a schema that lets no key pass that it doesn't describe."""
    if isinstance(part, dict):
        more = {"additionalProperties": False} if "properties" in part else {}
        return {key: closed(value) for key, value in part.items()} | more
    return part


LINE = jsonschema.Draft202012Validator(closed(schema()), format_checker=jsonschema.FormatChecker())


def test_audit_schema_prints_the_schema_with_its_version():
    done = CliRunner().invoke(main, ["audit", "schema"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == schema()
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["$id"] == f"urn:tokenguard:audit-line:{SCHEMA_VERSION}"


def test_every_property_has_a_description():
    for kind in (schema(), *schema()["$defs"].values()):
        assert all(said["description"] for said in kind["properties"].values())
    assert len(schema()["properties"]) == len(Record.__struct_fields__)


def test_server_records_of_recorded_reviews_match_the_schema(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "objects.yaml").write_text(OBJECTS)
    policy_flags = ("--policy", str(tmp_path / "policy.yaml"), "--objects", str(tmp_path / "objects.yaml"))
    flags = ("--audit-level", "all", "--audit-sample", "0.5", "--audit-file", str(tmp_path / "file"))
    with serve(tmp_path, *policy_flags, *flags) as server:
        for case in EXPECTED:
            for phase in ("mutate", "validate"):
                server.review(f"/{phase}", recorded(case, phase))
        server.review("/validate", large_denial(1))
        lines = server.audit
    assert {line["decision"] for line in lines} == {"allowed", "patched", "warned", "denied"}
    assert any("leftOut" in line for line in lines)
    assert any("sample" in line for line in lines)
    for line in lines:
        LINE.validate(line)
    assert (tmp_path / "file").read_bytes() == (tmp_path / "audit").read_bytes()


@pytest.mark.parametrize(("rule", "case"), LOADED, ids=[f"{rule}: {case['case']}" for rule, case in LOADED])
def test_records_of_golden_cases_match_the_schema(rule, case):  # noqa: ARG001 - for the id
    golden = golden_case(case)
    for phase in (Phase.MUTATE, Phase.VALIDATE):
        request = read_review(review(the_object(case), **golden.request), phase)
        decision = golden.evaluate(the_object(case), phase)
        LINE.validate(json.loads(encode_record(request, decision, NOW, 0.001)))


@pytest.mark.parametrize(
    "wrong", [{"decision": "maybe"}, {"webhook": "check"}, {"time": 7}, {"more": 1}, {"name": None}, {"findings": {}}]
)
def test_invalid_record_does_not_match_the_schema(wrong):
    request = read_review(recorded("pod-plain.pods", "mutate"), Phase.MUTATE)
    violation = Finding("inject", Action.PATCH, Action.PATCH, Violation("/spec", "is wrong"))
    line = json.loads(encode_record(request, Decision(Outcome.PATCHED, (violation,)), NOW, 0.001))
    LINE.validate(line)
    assert not LINE.is_valid(line | wrong)
