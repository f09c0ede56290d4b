"""What follows from the facts: for each cause its row, its text and a command, and nothing else."""

import datetime as dt
from dataclasses import replace

import pytest

from tests.manifests.rendering import render, the
from webhook.core.policy.loader import read_policy
from webhook.core.webhook_namespaces import Requirement
from webhook.pki.issue import create_ca, issue_certificate
from webhook.status import webhooks
from webhook.status.facts import (
    BackstopFacts,
    CertificateFacts,
    ClusterFacts,
    ConfigurationFacts,
    MetricsFacts,
    NotRead,
    PodFacts,
    PolicyFacts,
    ProbeFacts,
    ReplicaFacts,
    ScanFacts,
    WebhookFacts,
)
from webhook.status.parts import evaluate_status
from webhook.status.probe import ProbeFinding, ProbePod, ProbeResult
from webhook.status.report import RowState

NOW = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
CA = create_ca(NOW - DAY)
HOST = "tokenguard.tokenguard.svc"
PAIR = issue_certificate(CA, (HOST,), NOW - DAY, 90 * DAY)
HEAD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
MUTATING, VALIDATING = webhooks.MUTATING, webhooks.VALIDATING
SUCCESSES = (ProbeFinding(ProbePod.DENY, ProbeResult.SUCCESS), ProbeFinding(ProbePod.PATCH, ProbeResult.SUCCESS))
BACKSTOP = BackstopFacts("vap", ())


def policy(rest=""):
    document = read_policy(f"{HEAD}{rest}\n".encode())
    return (
        PolicyFacts("abc", None, tuple(document))
        if isinstance(document, tuple | list)
        else PolicyFacts("abc", document)
    )


def configuration(kind, **changed):
    """Return a configuration as shipped; `changed` are fields of its first webhook."""
    hooks = {}
    for name, (failure_policy, rules) in webhooks.SHIPPED[kind].items():
        pairs = frozenset((resource, verb) for resource, verbs in rules.items() for verb in verbs)
        term = Requirement("kubernetes.io/metadata.name", "NotIn", ("kube-system", "tokenguard"))
        hooks[name] = WebhookFacts(
            name, failure_policy, pairs, (term,), has_object_selector=False, conditions=(),
            target="tokenguard/tokenguard", host=HOST, bundle=CA.certificate,
        )  # fmt: skip
    first = next(iter(hooks))
    hooks[first] = hooks[first]._replace(**changed)
    return ConfigurationFacts(kind, hooks)


FACTS = ClusterFacts(
    cluster="https://api",
    context="staging",
    namespace="tokenguard",
    now=NOW,
    replicas=ReplicaFacts(2, 2),
    certificate=CertificateFacts(PAIR.certificate, CA.certificate, is_managed=True),
    policy=policy(),
    configurations={kind: configuration(kind) for kind in (MUTATING, VALIDATING)},
    namespaces={name: {} for name in ("default", "kube-system", "tokenguard", "shop")},
    probe=ProbeFacts("default", SUCCESSES),
    scan=None,
    backstop=None,
)


def changed(kind, **fields):
    return {**FACTS.configurations, kind: configuration(kind, **fields)}


def without(kind, name):
    rest = {key: webhook for key, webhook in configuration(kind).webhooks.items() if key != name}
    return {**FACTS.configurations, kind: ConfigurationFacts(kind, rest)}


def probed(result, reason="x", **more):
    return ProbeFacts("default", (ProbeFinding(ProbePod.DENY, result, reason), SUCCESSES[1]), **more)


OPT_OUT = (
    *FACTS.configurations[VALIDATING].webhooks["pods.validate.tokenguard.svc"].namespace_selector,
    Requirement("example.com/off", "DoesNotExist"),
)
OTHER = issue_certificate(create_ca(NOW - DAY), (HOST,), NOW - DAY, 90 * DAY)
PODS = (PodFacts("tokenguard-a", is_ready=False, reason="ErrImagePull"),)
PENDING = PodFacts("tokenguard-a", is_ready=False, reason="Unschedulable: 0/3 nodes are available")
RESTARTING = PENDING._replace(reason="CrashLoopBackOff: Error, exit status 1", has_log=True, is_restarting=True)
PROBLEMS = {
    "no Deployment": ({"replicas": None}, "replicas", "no Deployment tokenguard"),
    "no replica": ({"replicas": ReplicaFacts(2, 0, "", PODS)}, "replicas",
                   "no replica is ready (tokenguard-a: ErrImagePull)"),
    "scaled to 0": ({"replicas": ReplicaFacts(0, 0)}, "replicas", "scaled to 0"),
    "no certificate": ({"certificate": None}, "certificate", "does not exist or contains no certificate"),
    "certificate expired": ({"now": NOW + 90 * DAY}, "certificate", "expired on 2027-02-23"),
    "certificate of another CA": ({"certificate": CertificateFacts(OTHER.certificate, b"", is_managed=False)},
                                  "certificate", "does not match the certificate"),
    "a replica's certificate expired": (
        {"certificate": NotRead("403"), "replicas": ReplicaFacts(1, 1, metrics={"a": MetricsFacts("abc", NOW - DAY)})},
        "certificate", "a replica serves a certificate that expired"),
    "no policy": ({"policy": None}, "policy", "ConfigMap tokenguard/token-policy does not exist"),
    "policy invalid": ({"policy": policy("modee: warn")}, "policy", 'unknown key "modee"'),
    "mode warn": ({"policy": policy("mode: warn")}, "policy", "mode is warn"),
    "mode audit": ({"policy": policy("mode: audit")}, "policy", "mode is audit"),
    "another policy in force": ({"replicas": ReplicaFacts(2, 2, metrics={"a": MetricsFacts("def")})},
                                "policy", "replica a has policy def in force, not abc"),
    "no mutating configuration": ({"configurations": {**FACTS.configurations, MUTATING: None}}, "mutating",
                                  "does not exist: no token is capped"),
    "no validating configuration": ({"configurations": {**FACTS.configurations, VALIDATING: None}}, "validating",
                                    "does not exist: nothing is denied"),
    "no webhook for Secrets": ({"configurations": without(VALIDATING, "secrets.validate.tokenguard.svc")},
                               "validating", "has no webhook secrets.validate"),
    "a rule is missing": ({"configurations": changed(VALIDATING, rules=frozenset({("pods", "CREATE")}))}, "validating",
                          "not called for UPDATE of pods/ephemeralcontainers"),
    "object selector": ({"configurations": changed(VALIDATING, has_object_selector=True)}, "validating",
                        "objectSelector"),
    "another Service": ({"configurations": changed(MUTATING, target="other/tokenguard")}, "mutating",
                        "Service other/tokenguard is called, not tokenguard/tokenguard, by pods.mutate"),
    "no caBundle": ({"configurations": changed(MUTATING, bundle=b"")}, "mutating", "no caBundle in pods.mutate"),
    "namespace excluded by a label": (
        {"configurations": changed(VALIDATING, namespace_selector=OPT_OUT),
         "namespaces": {**FACTS.namespaces, "shop": {"example.com/off": ""}}},
        "namespaces", "namespace shop is excluded by its label example.com/off"),
    "not enforced": ({"probe": probed(ProbeResult.NOT_ENFORCED, "was not denied")}, "probe", "was not denied"),
    "unreachable": ({"probe": probed(ProbeResult.UNREACHABLE, "x509")}, "probe", "x509"),
    "backstop edited": ({"backstop": BackstopFacts("vap", ("tokenguard-inject-deny was edited",))}, "backstop",
                        "tokenguard-inject-deny was edited"),
}  # fmt: skip
NOTES = {
    "one replica is missing": ({"replicas": ReplicaFacts(2, 1)}, "replicas", "1 replica of 2 not ready"),
    "certificate expires": ({"now": NOW + 82 * DAY}, "certificate", "expires on 2027-02-23"),
    "override": ({"policy": policy("overrides: [{namespaces: [lab], mode: warn}]")}, "policy", '"lab"'),
    "failure policy": ({"configurations": changed(VALIDATING, failure_policy="Ignore")}, "validating",
                       "is Ignore: it lets requests pass"),
    "condition": ({"configurations": changed(MUTATING, conditions=(("mine", "false"),))}, "mutating", "mine"),
    "no webhook for workloads": ({"configurations": without(VALIDATING, "workloads.validate.tokenguard.svc")},
                                 "validating", "has no webhook workloads"),
    "namespace excluded by name": (
        {"configurations": changed(MUTATING, conditions=((
            "not-in-an-excluded-namespace", "!(request.namespace in 'shop,lab'.split(','))"),))},
        "namespaces", 'pods in "shop" are not evaluated'),
    "namespace excluded by the label of the installation": (
        {"configurations": {
            kind: replace(found, opt_out_label="example.com/off")
            for kind, found in changed(VALIDATING, namespace_selector=OPT_OUT).items()
        }, "namespaces": {**FACTS.namespaces, "shop": {"example.com/off": ""}}},
        "namespaces", "namespace shop is excluded by its label example.com/off, as this installation allows"),
    "probe refused by another": ({"probe": probed(ProbeResult.ERROR, "refused, but not by tokenguard")}, "probe",
                                 "refused, but not by tokenguard"),
    "probe namespace without a quota": ({"probe": ProbeFacts("tokenguard-probe", SUCCESSES, is_unlocked=True)}, "probe",
                                        "no ResourceQuota"),
    "scan is old": ({"scan": ScanFacts(NOW - DAY, 3600, 0)}, "last scan", "background scan is from 2026-11-25"),
    "pods were not evaluated": ({"scan": ScanFacts(NOW, 3600, 3)}, "last scan", "3 running pods"),
}  # fmt: skip


def rows_with_problems(facts):
    return {row.name: row for row in evaluate_status(facts).rows if row.problems}


def test_installation_as_shipped_is_protected() -> None:
    report = evaluate_status(replace(FACTS, backstop=BACKSTOP, scan=ScanFacts(NOW, 3600, 0)))
    assert report.is_protected
    assert {row.name: row.state for row in report.rows if row.state is not RowState.OK} == {}


def test_optional_parts_are_absent_without_a_problem() -> None:
    report = evaluate_status(FACTS)
    assert report.is_protected
    assert {row.name for row in report.rows if row.state is RowState.ABSENT} == {"backstop", "last scan"}


@pytest.mark.parametrize(("facts", "name", "text"), PROBLEMS.values(), ids=PROBLEMS)
def test_problem_is_named_with_its_fix(facts, name, text) -> None:
    rows = rows_with_problems(replace(FACTS, **facts))
    assert list(rows) == [name]
    assert not evaluate_status(replace(FACTS, **facts)).is_protected
    assert rows[name].state is RowState.PROBLEM
    assert text in rows[name].problems[0].text
    assert all(problem.fix for problem in rows[name].problems)


@pytest.mark.parametrize(("facts", "name", "text"), NOTES.values(), ids=NOTES)
def test_note_leaves_pods_protected(facts, name, text) -> None:
    report = evaluate_status(replace(FACTS, **facts))
    rows = rows_with_problems(replace(FACTS, **facts))
    assert report.is_protected
    assert (list(rows), rows[name].state) == ([name], RowState.NOTE)
    assert text in rows[name].problems[0].text


@pytest.mark.parametrize("part", ["replicas", "certificate", "policy", "namespaces", "probe", "scan", "backstop"])
def test_part_that_was_not_read_is_unknown(part) -> None:
    report = evaluate_status(replace(FACTS, **{part: NotRead("HTTP 403: no")}))
    name = "last scan" if part == "scan" else part
    [row] = [row for row in report.rows if row.name == name]
    assert (row.state, report.is_protected) == (RowState.UNKNOWN, True)
    assert "HTTP 403: no" in row.summary


def test_installation_of_which_nothing_was_read_is_not_protected() -> None:
    parts = ("replicas", "certificate", "policy", "namespaces", "probe", "scan", "backstop")
    unread = dict.fromkeys(parts, NotRead("HTTP 403: no"))
    configurations = dict.fromkeys(FACTS.configurations, NotRead("HTTP 403: no"))
    report = evaluate_status(replace(FACTS, **unread, configurations=configurations))
    assert (report.is_unknown, report.is_protected) == (True, False)


def test_last_success_of_the_replicas_is_shown() -> None:
    metrics = {
        "a": MetricsFacts("abc", None, {"deny": NOW - DAY, "patch": NOW}),
        "b": MetricsFacts("abc", None, {"deny": NOW, "patch": NOW - dt.timedelta(hours=1)}),
    }
    facts = replace(FACTS, replicas=ReplicaFacts(2, 2, metrics=metrics), probe=NotRead("no right"))
    [row] = [row for row in evaluate_status(facts).rows if row.name == "probe"]
    assert row.summary == "replicas: last success 2026-11-26 11:00:00 UTC; not probed now: no right"


@pytest.mark.parametrize(("backstop", "summary"), [(None, "none"), (BACKSTOP, "vap")])
def test_backstop_that_a_replica_cannot_update_is_a_problem(backstop, summary) -> None:
    metrics = {"a": MetricsFacts("abc"), "b": MetricsFacts("abc", backstop_in_sync=False)}
    facts = replace(FACTS, replicas=ReplicaFacts(2, 2, metrics=metrics), backstop=backstop)
    [row] = [row for row in evaluate_status(facts).rows if row.name == "backstop"]
    assert (row.summary, row.state) == (summary, RowState.PROBLEM)
    [problem] = row.problems
    assert problem.text == "replica b cannot keep the exported policies in step with its policy"
    assert problem.fix == "kubectl logs -n tokenguard b | grep backstop"


@pytest.mark.parametrize("kind", [MUTATING, VALIDATING])
def test_shipped_webhooks_are_those_of_the_manifests(kind) -> None:
    shipped = the(kind, render("manifests"))["webhooks"]
    assert webhooks.SHIPPED[kind] == {
        webhook["name"]: (
            webhook["failurePolicy"],
            {resource: tuple(rule["operations"]) for rule in webhook["rules"] for resource in rule["resources"]},
        )
        for webhook in shipped
    }


def test_conditions_are_all_in_the_manifests() -> None:
    objects = render("manifests")
    shipped = [webhook for kind in (MUTATING, VALIDATING) for webhook in the(kind, objects)["webhooks"]]
    assert {condition["name"] for webhook in shipped for condition in webhook["matchConditions"]} == webhooks.CONDITIONS


def test_fix_of_what_is_missing_is_the_command_of_the_installer() -> None:
    lost = replace(FACTS, configurations={**FACTS.configurations, MUTATING: None})
    by_helm = replace(lost, replicas=ReplicaFacts(2, 2, helm_release="guard"))
    assert evaluate_status(lost).problems[0].fix.startswith("kubectl apply -k")
    assert evaluate_status(by_helm).problems[0].fix == "helm upgrade guard CHART -n tokenguard --reuse-values"


def test_nothing_of_tokenguard_is_one_problem() -> None:
    none = replace(
        FACTS, replicas=None, policy=None, certificate=None, configurations=dict.fromkeys(FACTS.configurations)
    )
    [problem] = evaluate_status(none).problems
    assert problem.text.startswith("tokenguard is not installed in namespace tokenguard; ")
    assert evaluate_status(none).verdict == "NOT PROTECTED: 1 problem"
    assert len(evaluate_status(replace(none, policy=FACTS.policy)).rows) > 1


def test_installation_in_another_namespace_is_one_problem() -> None:
    none = replace(FACTS, namespace="security", replicas=None, policy=None, certificate=None)
    [problem] = evaluate_status(none).problems
    assert "its webhook configurations call Service tokenguard/tokenguard" in problem.text
    assert problem.fix == "tokenguard status --own-namespace tokenguard"


@pytest.mark.parametrize(
    "probe", [probed(ProbeResult.UNREACHABLE, "failed calling webhook"), None, NotRead("no right")]
)
def test_rejected_pods_are_an_effect_and_show_the_way_out(probe) -> None:
    blocked = replace(FACTS, replicas=ReplicaFacts(2, 0), probe=probe)
    report = evaluate_status(blocked)
    assert report.verdict.startswith("NO POD CAN BE CREATED: 1 problem")
    [problem] = report.problems
    assert problem.text == "no replica is ready"
    assert report.effects(problem)[0].text.startswith("no pod can be created")
    assert report.emergency_exit.startswith("kubectl delete validatingwebhookconfiguration tokenguard && ")
    ignored = replace(blocked, probe=None, configurations=changed(VALIDATING, failure_policy="Ignore"))
    assert evaluate_status(ignored).verdict.startswith("NOT PROTECTED")


def test_missing_configuration_needs_a_replica_first() -> None:
    lost = replace(FACTS, replicas=ReplicaFacts(2, 0), configurations={**FACTS.configurations, VALIDATING: None})
    [fix] = [problem.fix for problem in evaluate_status(lost).problems if "does not exist" in problem.text]
    assert fix.startswith("with a ready replica, kubectl apply -k")


@pytest.mark.parametrize(("replicas", "command"), [
    pytest.param(
        None, "kubectl apply -k mine -l app.kubernetes.io/component!=webhooks && kubectl rollout status -n tokenguard"
        " deployment/tokenguard && kubectl apply -k mine, where", id="no Deployment",
    ),
    pytest.param(
        ReplicaFacts(2, 0, helm_release="guard"), "helm upgrade guard CHART -n tokenguard --reuse-values --set"
        " webhooks.enabled=false --wait && helm upgrade guard CHART -n tokenguard --reuse-values --set"
        " webhooks.enabled=true", id="Helm, none ready",
    ),
])  # fmt: skip
def test_fix_without_replicas_and_webhooks_has_two_steps(replicas, command) -> None:
    nothing = dict.fromkeys(FACTS.configurations)
    problems = evaluate_status(replace(FACTS, replicas=replicas, configurations=nothing)).problems
    missing = [problem for problem in problems if "not exist" in problem.text or "no Deployment" in problem.text]
    assert len(missing) == (2 if replicas else 3)
    assert all(problem.fix.startswith(command) for problem in missing)


def test_report_names_cluster_context_and_time() -> None:
    report = evaluate_status(FACTS)
    assert (report.cluster, report.context, report.time) == ("https://api", "staging", NOW)


def test_same_fault_of_several_webhooks_is_one_problem() -> None:
    hooks = {name: hook._replace(bundle=b"") for name, hook in configuration(VALIDATING).webhooks.items()}
    lost = replace(FACTS, configurations={**FACTS.configurations, VALIDATING: ConfigurationFacts(VALIDATING, hooks)})
    [problem] = evaluate_status(lost).problems
    assert "no caBundle in pods.validate.tokenguard.svc and 5 more" in problem.text


def test_namespaces_are_not_counted_without_a_configuration() -> None:
    for configuration_facts, state in ((None, RowState.ABSENT), (NotRead("403"), RowState.UNKNOWN)):
        facts = replace(FACTS, configurations=dict.fromkeys(FACTS.configurations, configuration_facts))
        assert {row.name: row.state for row in evaluate_status(facts).rows}["namespaces"] is state


@pytest.mark.parametrize(
    ("pods", "fix"),
    [
        pytest.param((PENDING,), "kubectl describe pod -n tokenguard tokenguard-a", id="pending"),
        pytest.param((RESTARTING,), "kubectl logs -n tokenguard tokenguard-a --previous", id="restarting"),
        pytest.param((PENDING._replace(has_log=True),), "kubectl logs -n tokenguard tokenguard-a", id="running"),
        pytest.param(
            (), "kubectl describe replicasets,pods -n tokenguard -l app.kubernetes.io/name=tokenguard", id="none"
        ),
    ],
)
def test_fix_of_a_replica_shows_why_it_is_not_ready(pods, fix) -> None:
    [problem] = evaluate_status(replace(FACTS, replicas=ReplicaFacts(2, 0, "", pods))).problems
    assert problem.fix == fix


def test_pods_with_the_same_reason_are_counted() -> None:
    pods = (PENDING, PENDING._replace(name="tokenguard-b"), RESTARTING._replace(name="tokenguard-c"))
    [problem] = evaluate_status(replace(FACTS, replicas=ReplicaFacts(3, 0, "", pods))).problems
    assert problem.text == (
        "no replica is ready (tokenguard-a and 1 more: Unschedulable: 0/3 nodes are available;"
        " tokenguard-c: CrashLoopBackOff: Error, exit status 1)"
    )


def test_what_follows_from_a_cause_is_no_problem_of_its_own() -> None:
    hooks = {name: hook._replace(bundle=b"") for name, hook in configuration(VALIDATING).webhooks.items()}
    facts = replace(
        FACTS,
        replicas=ReplicaFacts(2, 0, "", (PENDING,)),
        certificate=None,
        configurations={**FACTS.configurations, VALIDATING: ConfigurationFacts(VALIDATING, hooks)},
        probe=probed(ProbeResult.UNREACHABLE, "failed calling webhook"),
    )
    report = evaluate_status(facts)
    [cause] = report.problems
    assert cause.text.startswith("no replica is ready")
    assert [effect.text.partition(":")[0] for effect in report.effects(cause)] == [
        "no pod can be created, except in excluded namespaces",
        "Secret tokenguard/tokenguard-tls does not exist or contains no certificate",
        "ValidatingWebhookConfiguration/tokenguard",
    ]


def test_replicas_follow_from_a_certificate_that_they_mount() -> None:
    mounted = ReplicaFacts(2, 0, "", (PENDING,), manages_certificates=False)
    report = evaluate_status(replace(FACTS, replicas=mounted, certificate=None))
    [cause] = report.problems
    assert cause.text == "Secret tokenguard/tokenguard-tls does not exist or contains no certificate"
    assert report.effects(cause)[0].text.startswith("no replica is ready")


def test_probe_without_another_problem_is_a_cause_itself() -> None:
    report = evaluate_status(replace(FACTS, probe=probed(ProbeResult.UNREACHABLE, "failed calling webhook")))
    [cause] = report.problems
    assert (cause.text.startswith("no pod can be created"), report.effects(cause)) == (True, ())
    assert cause.fix.startswith("kubectl get endpointslices -n tokenguard -l kubernetes.io/service-name=tokenguard;")


def test_mode_of_the_policy_is_not_the_cause_of_a_wrong_answer() -> None:
    report = evaluate_status(replace(FACTS, policy=policy("mode: warn"), probe=probed(ProbeResult.NOT_ENFORCED)))
    assert len(report.problems) == 2
    other = ReplicaFacts(2, 2, metrics={"a": MetricsFacts("def")})
    report = evaluate_status(replace(FACTS, replicas=other, probe=probed(ProbeResult.NOT_ENFORCED)))
    assert len(report.problems) == 1
