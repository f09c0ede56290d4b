"""Audit logs of managed clusters: wrapped in other JSON, in lists, and behind prefixes."""

import gzip
import io
import json

import pytest

from tests.audit.log_lines import APP, LEGACY, STALE, event, own, peak_memory
from tests.audit.summarize import run, summarized
from webhook.audit import record_reader
from webhook.audit.json_stream import InvalidJsonError, JsonStream

PAST = event(3, {STALE: f"subject: {APP}, seconds after warning threshold: 7300"}).decode().strip()
OTHER = event(4, {LEGACY: "system:serviceaccount:ci:jenkins"}).decode().strip()
EVENTS = [json.loads(PAST), json.loads(OTHER)]
LOG_ENTRY = {
    "insertId": "a", "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity",
    "operation": {"first": True, "id": "a", "last": True, "producer": "k8s.io"},
    "resource": {"type": "k8s_cluster", "labels": {"cluster_name": "c"}},
    "timestamp": "2026-11-24T12:00:03.123456Z",
    "labels": {STALE: f"subject: {APP}, seconds after warning threshold: 7300"},
    "protoPayload": {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog", "serviceName": "k8s.io",
        "methodName": "io.k8s.core.v1.pods.create", "resourceName": "core/v1/namespaces/shop/pods/web-1",
        "authenticationInfo": {"principalEmail": APP}, "requestMetadata": {"callerSuppliedUserAgent": "client/1.0"},
    },
}  # fmt: skip
LEGACY_ENTRY = {**LOG_ENTRY, "labels": {LEGACY: "system:serviceaccount:ci:jenkins"}}


def azure(text: str) -> dict:
    return {"time": "2026-11-24T12:00:00.1234567Z", "category": "kube-audit", "properties": {"log": f"{text}\n"}}


def cloudwatch(text: str) -> dict:
    return {"logStreamName": "kube-apiserver-audit-1", "timestamp": 1, "message": text, "eventId": "1"}


def event_list(*items) -> dict:
    return {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": list(items)}


WRAPPED = {
    "EventList": event_list(*EVENTS),
    "array": EVENTS,
    "CloudWatch filter-log-events": {"events": [cloudwatch(PAST), cloudwatch(OTHER)], "searchedLogStreams": []},
    "CloudWatch subscription": {"messageType": "DATA_MESSAGE", "logEvents": [cloudwatch(PAST), cloudwatch(OTHER)]},
    "array of texts": [PAST, OTHER],
    "Azure records": {"records": [azure(PAST), azure(OTHER)]},
    "Azure array": [azure(PAST), azure(OTHER)],
    "Log Analytics": {"value": [{"log_s": PAST}, {"log_s": OTHER}]},
    "Cloud Logging": [LOG_ENTRY, LEGACY_ENTRY],
    "Cloud Logging entries": {"entries": [LOG_ENTRY, LEGACY_ENTRY], "nextPageToken": ""},
}
LINES = {
    "Azure lines": f"{json.dumps(azure(PAST))}\n{json.dumps(azure(OTHER))}\n",
    "Cloud Logging lines": f"{json.dumps(LOG_ENTRY)}\n{json.dumps(LEGACY_ENTRY)}\n",
    "S3 export": f"2026-11-24T12:00:03.000Z {PAST}\n2026-11-24T12:00:04.000Z {OTHER}\n",
    "aws logs tail": f"2026-11-24T12:00:03.123000+00:00 kube-apiserver-audit-1 {PAST}\n2026-11-24T12:00:04 {OTHER}",
    "oc adm node-logs": f"ip-10-0-1-2.ec2.internal {PAST}\nmaster-0 {OTHER}\n",
    "container runtime": f"2026-11-24T12:00:03.1Z stdout F {PAST}\n2026-11-24T12:00:03.2Z stderr F {OTHER}\n",
    "json-file": f"{json.dumps({'log': PAST + chr(10), 'stream': 'stdout'})}\n{json.dumps({'log': OTHER})}\n",
    "concatenated": PAST + OTHER,
    "separated by tabs": f"{PAST}\t{OTHER}\n",
    "pretty-printed one after the other": "\n".join(json.dumps(event, indent=2) for event in EVENTS),
    "an element a line": f"[\n{PAST},\n{OTHER}\n]\n",
    "an element a line, comma first": f"[{PAST}\n,{OTHER}]",
}
ALL = LINES | {
    f"{name}, {layout}": json.dumps(value, indent=indent)
    for name, value in WRAPPED.items()
    for layout, indent in (("one line", None), ("pretty-printed", 4))
}


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())], ids=["plain", "gzip"])
@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_every_wrapped_entry_is_found(text, pack):
    summary = summarized("-", stdin=pack(text), status=1)
    assert summary["lines"] == {"tokenguard": 0, "apiServer": 2, "other": 0, "unreadable": 0}
    [stale] = summary["staleTokens"]["rows"]
    [legacy] = summary["legacyTokens"]["rows"]
    assert (stale["account"], legacy["account"]) == ("shop/app", "ci/jenkins")


@pytest.mark.parametrize("longest", [3000, 1 << 24], ids=["longer than a line may be", "shorter"])
@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_entries_do_not_depend_on_chunks(monkeypatch, text, longest):
    monkeypatch.setattr("webhook.audit.line_reader.CHUNK_SIZE", 97)
    monkeypatch.setattr("webhook.audit.line_reader.MAX_LINE", longest)
    entries = [line for _, line in record_reader.read_records(io.BytesIO(text.encode()))]
    assert len([line for line in entries if line.is_event]) == 2


def test_utf_16_with_byte_order_mark_is_read(tmp_path):
    (tmp_path / "log.json").write_text(json.dumps(WRAPPED["EventList"], indent=2), "utf-16")
    assert summarized(tmp_path / "log.json", status=1)["lines"]["apiServer"] == 2


def test_log_entry_names_user_object_and_client():
    [(_, line)] = record_reader.read_records(io.BytesIO(json.dumps(LOG_ENTRY).encode()))
    assert (line.user.username, line.user_agent) == (APP, "client/1.0")
    about = line.object_ref
    assert (about.namespace, about.resource, about.name, about.subresource) == ("shop", "pods", "web-1", "")


@pytest.mark.parametrize(("name", "about"), [
    ("core/v1/namespaces/shop/serviceaccounts/app/token", ("shop", "serviceaccounts", "app", "token")),
    ("core/v1/namespaces/shop", ("", "namespaces", "shop", "")),
    ("core/v1/nodes/n-1", ("", "nodes", "n-1", "")),
    ("apps/v1/namespaces/shop/deployments", ("shop", "deployments", "", "")),
    ("", ("", "", "", "")),
])  # fmt: skip
def test_log_entry_resource_name_is_parsed(name, about):
    entry = LOG_ENTRY | {"protoPayload": LOG_ENTRY["protoPayload"] | {"resourceName": name}}
    [(_, line)] = record_reader.read_records(io.BytesIO(json.dumps(entry).encode()))
    reference = line.object_ref
    assert (reference.namespace, reference.resource, reference.name, reference.subresource) == about


def test_messages_of_other_programs_belong_to_neither_log():
    text = json.dumps({"events": [cloudwatch("I1124 12:00:00 1 server.go:1] started"), cloudwatch(PAST)]})
    assert summarized("-", stdin=text.encode())["lines"] == {
        "tokenguard": 0,
        "apiServer": 1,
        "other": 1,
        "unreadable": 0,
    }


@pytest.mark.parametrize("indent", [None, 2], ids=["one line", "pretty-printed"])
def test_unreadable_record_in_a_list_costs_no_other(indent):
    damaged = {**EVENTS[0], "stageTimestamp": "0001-01-01T00:00:00Z"}
    summary = summarized("-", stdin=json.dumps(event_list(EVENTS[0], damaged, EVENTS[1]), indent=indent).encode())
    assert (summary["lines"]["apiServer"], summary["lines"]["unreadable"]) == (2, 1)


def test_damaged_text_in_a_pretty_printed_list_costs_no_other():
    text = json.dumps(event_list(*EVENTS, *EVENTS), indent=2)
    at = text.index('"level"', text.index('"level"') + 1)
    done = run("--output", "json", "-", stdin=(text[:at] + "garbage" + text[at:]).encode())
    summary = json.loads(done.stdout)
    assert (summary["lines"]["apiServer"], summary["lines"]["unreadable"]) == (3, 1)
    line = text[:at].count("\n") + 1
    assert any(f"<stdin>:{number}: " in done.stderr for number in range(line - 5, line + 1))


def test_torn_line_is_unreadable_and_costs_no_other():
    torn = own(1)[:40].strip()
    for end in (b"", b",", b'{"a":', b'{"a":[1,'):
        summary = summarized("-", stdin=torn + end + b"\n" + own(2) + PAST.encode() + b"\n")
        assert summary["lines"] == {"tokenguard": 1, "apiServer": 1, "other": 0, "unreadable": 1}
    summary = summarized("-", stdin=own(2) + b'{"time": "2026-11-24T12:00:01Z",\n' + own(3, name="app-2"))
    assert summary["lines"] == {"tokenguard": 2, "apiServer": 0, "other": 0, "unreadable": 1}


def test_truncated_list_is_read_as_far_as_possible():
    text = json.dumps(event_list(*EVENTS, *EVENTS), indent=2)
    done = run("--output", "json", "-", stdin=text[: len(text) * 7 // 8].encode())
    assert json.loads(done.stdout)["lines"] == {"tokenguard": 0, "apiServer": 3, "other": 0, "unreadable": 1}
    assert "ends early" in done.stderr


def test_unknown_wrapper_fails_with_a_jq_command():
    done = run("-", stdin=json.dumps({"rows": [EVENTS[0]]}).encode())
    assert done.exit_code == 2
    assert "jq -c" in done.stderr


def test_json_stream_reports_the_first_line_of_each_value():
    values = list(JsonStream(1000).feed('[{"a": 1},\n\n{"b":\n2}]\n{"c": 3}\n'))
    assert values == [(0, '{"a": 1}'), (2, '{"b":\n2}'), (4, '{"c": 3}')]


def test_json_stream_rejects_a_long_value_and_returns_the_rest():
    stream = JsonStream(100)
    with pytest.raises(InvalidJsonError, match="is longer than"):
        list(stream.feed('{"a": ["' + 'x",\n"' * 50))


def test_json_stream_limits_nesting():
    with pytest.raises(InvalidJsonError, match="nested too deeply"):
        list(JsonStream(1 << 20).feed('{"a":' * 200_000, final=True))


@pytest.mark.parametrize("indent", [None, 1], ids=["one line", "pretty-printed"])
def test_memory_does_not_grow_with_a_list(tmp_path, indent):
    def peak(count: int) -> int:
        item = json.dumps(EVENTS[0], indent=indent)
        with (tmp_path / "log").open("w") as log:
            log.write('{"kind": "EventList", "items": [')
            log.writelines(f"{',' if at else ''}{item}" for at in range(count))
            log.write("]}")
        return peak_memory(tmp_path / "log", "from webhook.audit import line_reader; line_reader.MAX_LINE = 1 << 20")

    assert peak(12_000) < 1.1 * peak(3000)
