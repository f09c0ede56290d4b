"""Parsing of entries of both logs."""

import pytest

from tests.audit.log_lines import APP, LEGACY, STALE, event, own
from webhook.audit.events import AuditOutcome, DecisionEvent, parse_event, parse_exemptions, parse_record
from webhook.audit.log_entry import decode_entry
from webhook.core.policy.exemptions import Exemption

MUTATE, VALIDATE = "pods.mutate.tokenguard.svc/", "all.validate.tokenguard.svc/"


def parse(annotations, **changed):
    return list(parse_event(decode_entry(event(0, annotations, **changed))))


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (own(0, "inject: reject"), AuditOutcome.DENIED),
        (own(0, "inject: patch", decision="patched"), AuditOutcome.PATCHED),
        (own(0, "inject: warn", decision="warned"), AuditOutcome.WARNED),
        (own(0, "inject: audit", decision="allowed"), AuditOutcome.AUDITED),
        (own(0, decision="allowed"), AuditOutcome.ALLOWED),
    ],
)
def test_parse_record_returns_the_outcome(line, outcome):
    assert parse_record(decode_entry(line)).outcome is outcome


def test_rule_counts_once_by_its_strongest_outcome():
    line = own(0, "token-expiration: patch", "inject: audit", "token-expiration: reject", "token-expiration: warn")
    assert parse_record(decode_entry(line)).rules == (
        ("token-expiration", AuditOutcome.DENIED),
        ("inject", AuditOutcome.AUDITED),
    )


def test_account_includes_its_namespace():
    assert parse_record(decode_entry(own())).account == "shop/app"
    assert parse_record(decode_entry(own(serviceAccount=""))).account == ""


REASONS = ["PLAT-1", "old; inject: not this (until Friday)", "a: b; c", ""]


def test_parse_exemptions_separates_reasons_of_any_form():
    for reason in REASONS:
        said = "; ".join(f"{rule}: {Exemption((rule,), reason, None)}" for rule in ("inject", "token-subpath"))
        exemptions = parse_exemptions(said)
        assert exemptions[-1] == ("token-subpath", f"{reason} (until never)")
        assert [rule for rule, _ in exemptions].count("token-subpath") == 1
    assert parse_exemptions("") == ()


def test_event_contains_the_answers_of_both_webhooks():
    (event,) = parse({
        f"{MUTATE}decision": "patched", f"{MUTATE}rules": "inject,token-expiration", f"{MUTATE}id": "1",
        f"{VALIDATE}decision": "denied", f"{VALIDATE}rules": "legacy-token-reference,inject", f"{VALIDATE}id": "2",
        "other.example.com/decision": "denied", "authorization.k8s.io/decision": "allow",
    })  # fmt: skip
    assert isinstance(event, DecisionEvent)
    assert (event.outcome, event.namespace, event.account, event.dry_run) == (AuditOutcome.DENIED, "shop", "", False)
    assert dict(event.rules) == {
        "inject": AuditOutcome.DENIED,
        "token-expiration": AuditOutcome.PATCHED,
        "legacy-token-reference": AuditOutcome.DENIED,
    }


def test_event_contains_exemption_and_dry_run():
    answered = {f"{VALIDATE}decision": "allowed", f"{VALIDATE}exemption": "inject: PLAT-1 (until never)"}
    (event,) = parse(answered, requestURI="/api/v1/namespaces/shop/pods?dryRun=All&fieldManager=kubectl")
    assert (event.outcome, event.exemptions, event.dry_run) == (
        AuditOutcome.ALLOWED,
        (("inject", "PLAT-1 (until never)"),),
        True,
    )


def test_event_of_a_token_request_names_the_account():
    about = {"resource": "serviceaccounts", "subresource": "token", "namespace": "shop", "name": "app"}
    (event,) = parse({f"{VALIDATE}decision": "denied", f"{VALIDATE}rules": "token-request-expiration"}, objectRef=about)
    assert event.account == "shop/app"


def test_stale_token_use_names_its_sender():
    (use,) = parse({STALE: f"subject: {APP}, seconds after warning threshold: 4211"}, user={"username": "other"})
    assert (use.user, use.seconds_stale, use.legacy, use.client) == (APP, 4211, False, "client/1.0")
    (use,) = parse({STALE: "in words that a later version uses"})
    assert (use.user, use.seconds_stale, use.pod) == (APP, 0, "app-1")


def test_legacy_token_use_names_its_secret():
    (use,) = parse({LEGACY: APP, f"{LEGACY}-manual-secret": "app-token"})
    assert (use.user, use.legacy, use.details) == (APP, True, ("manual-secret app-token",))


@pytest.mark.parametrize("stage", ["RequestReceived", "ResponseStarted"])
def test_request_counts_once_when_it_is_complete(stage):
    assert parse({LEGACY: APP}, stage=stage) == []
    assert len(parse({LEGACY: APP}, stage="Panic")) == 1


@pytest.mark.parametrize("line", [event(), event(0, {}), event(0, {"authorization.k8s.io/decision": "allow"})])
def test_event_without_relevant_annotations_is_ignored(line):
    assert list(parse_event(decode_entry(line))) == []


@pytest.mark.parametrize(
    "line", [b"{}", b'{"kind":"Event","apiVersion":"v1"}', b'{"kind":"Event","apiVersion":"audit.k8s.io/v1"}',
             b'{"webhook":"mutate"}', b'{"level":"info","msg":"started","time":"2026-11-24T12:00:00Z"}'],
)  # fmt: skip
def test_other_json_belongs_to_neither_log(line):
    assert not decode_entry(line).is_tokenguard
    assert not decode_entry(line).is_event


def test_long_name_is_cut():
    assert len(parse_record(decode_entry(own(serviceAccount="a" * 5000))).account) == 320
