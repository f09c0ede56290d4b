"""Requests with disabled tokens, which the API server's log shows as 401 without a user."""

from tests.audit.log_lines import BACKUP, labelled, refused
from webhook.audit import refused_uses
from webhook.audit.log_entry import decode_entry
from webhook.audit.refused_uses import INVALIDATED, RefusedUseFinder
from webhook.audit.summary import AuditSummary


def find(*lines: bytes) -> list[tuple[str, str, str]]:
    finder = RefusedUseFinder()
    uses = [use for line in lines for use in finder.find(decode_entry(line))]
    return [(use.secret, use.address, use.client) for use in uses]


def test_refused_use_is_found_by_the_label_written_meanwhile() -> None:
    assert find(labelled(1.1, 1.2), refused(1, 1.3)) == [("shop/robot", *BACKUP)]


def test_further_requests_of_the_client_count() -> None:
    other = ("10.0.0.8", "curl/8")
    assert (
        find(labelled(1.1, 1.2), refused(1, 1.3), refused(2, 3), refused(3, 4, other)) == [("shop/robot", *BACKUP)] * 2
    )


def test_request_at_another_time_is_no_refused_use() -> None:
    assert find(labelled(1.1, 1.2), refused(1.15, 1.3), refused(1.0, 1.19), refused(5, 6)) == []


def test_patch_belongs_to_one_request_alone() -> None:
    other = ("10.0.0.8", "curl/8")
    assert find(labelled(1.1, 1.2), refused(1, 1.3), refused(1, 1.4, other)) == [("shop/robot", *BACKUP)]


def test_nearest_patch_belongs_to_the_request() -> None:
    lines = labelled(1.1, 1.2, "first"), labelled(1.2, 1.3, "second"), refused(1.15, 1.31), refused(1, 1.4)
    assert [secret for secret, *_ in find(*lines)] == ["shop/second", "shop/first"]


def test_other_patches_and_answers_are_ignored() -> None:
    assert find(labelled(1.1, 1.2, user="admin"), refused(1, 1.3)) == []
    assert find(labelled(1.1, 1.2, stage="RequestReceived"), refused(1, 1.3)) == []
    assert find(labelled(1.1, 1.2, verb="get"), refused(1, 1.3)) == []
    assert find(labelled(1.1, 1.2), refused(1, 1.3, responseStatus={"code": 403})) == []
    assert find(labelled(1.1, 1.2), refused(1, 1.3, responseStatus=None)) == []
    assert find(labelled(1.1, 1.2, requestReceivedTimestamp=None), refused(1, 1.3)) == []


def test_documented_annotation_names_the_secret() -> None:
    assert find(refused(1, 2, annotations={INVALIDATED: "robot/shop"})) == [("shop/robot", *BACKUP)]
    assert find(refused(1, 2, annotations={INVALIDATED: "robot"})) == []


def test_clients_and_patches_are_limited(monkeypatch) -> None:
    monkeypatch.setattr(refused_uses, "_MAX_CLIENTS", 2)
    clients = [(f"10.0.0.{number}", "c") for number in range(3)]
    lines = [line for client in clients for line in (labelled(1.1, 1.2), refused(1, 1.3, client))]
    again = [refused(2, 3, client) for client in clients]
    assert [address for _, address, _ in find(*lines, *again)] == [
        "10.0.0.0",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.1",
        "10.0.0.2",
    ]


def test_summary_counts_refused_uses_by_secret_and_client() -> None:
    summary = AuditSummary()
    summary.read(decode_entry(line) for line in (labelled(1.1, 1.2), refused(1, 1.3), refused(2, 3)))
    [(names, count)] = summary.refused_uses()
    assert names == ("shop/robot", *BACKUP)
    assert (count.requests, count.last.isoformat()) == (2, "2026-11-24T12:00:03+00:00")
    assert summary.has_findings
