"""What a scan reads of a cluster, and what becomes of the report where a list is refused."""

import pytest

from tests.cluster.fake import FakeTransport, Lists, Raw, page
from tests.scan.small_cluster import NOW, Object, live, meta, mounts, named_secret, of, policy, spec
from webhook.cluster.api_types import NAMESPACES
from webhook.cluster.listing import read_object
from webhook.cluster.scan_reader import WORKLOAD_KINDS, ScanReader
from webhook.cluster.transport import ApiError
from webhook.core.decision import Outcome
from webhook.core.webhook_namespaces import Requirement, WebhookScope, WebhookScopes
from webhook.formatters import scan_text
from webhook.formatters.scan_findings import grants_text
from webhook.scan.counts import OutcomeCounts
from webhook.scan.exemption_usage import ExemptionStatus
from webhook.scan.options import ScanFilters, ScanOptions
from webhook.scan.report import ScanReport
from webhook.scan.scanner import Scanner

REFUSED = ApiError(403, "HTTP 403: not for you")
ROBOT = {
    "metadata": meta(
        "robot",
        creationTimestamp="2026-01-01T00:00:00Z",
        annotations={"kubernetes.io/service-account.name": "app"},
    )
}
TRACKING = [{"metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking"}, "data": {
    "since": "2026-02-01",
}}]  # fmt: skip
READS = spec(container=named_secret("robot"))
SILENT = 'rules: {legacy-token-secret: "off"}\n'


def scan(text: str = SILENT, names: tuple[str, ...] = (), **lists) -> ScanReport:
    inventory = ScanReader(Lists(**{"configmaps": TRACKING, **lists}), lambda _: None, names)
    options = ScanOptions(policy(text), "policy.yaml", NOW, "https://api", filters=ScanFilters(names))
    scanner = Scanner(options, inventory.snapshot())
    inventory.fill(scanner)
    return scanner.report()


def job(name: str, condition: str = "", status: str = "True", **metadata) -> Object:
    conditions = [{"type": condition, "status": status}] if condition else []
    template = {"spec": {"template": {"spec": READS}}, "status": {"conditions": conditions}}
    return {"metadata": meta(name, **metadata), **template}


def cron_job(name: str) -> Object:
    return {"metadata": meta(name), "spec": {"jobTemplate": {"spec": {"template": {"spec": READS}}}}}


@pytest.mark.parametrize("maker", WORKLOAD_KINDS, ids=lambda maker: maker.kind)
def test_refused_list_makes_no_legacy_secret_removable(maker) -> None:
    assert [secret.removable for secret in scan(secrets=[ROBOT]).legacy_secrets] == [True]
    report = scan(secrets=[ROBOT], **{f"{maker.kind.lower()}s": REFUSED})
    assert [secret.removable for secret in report.legacy_secrets] == [False]
    [unread] = report.unread
    assert f"templates of {maker.kind}s" in unread.missing
    assert "only legacy Secrets marked invalid are safe to delete" in unread.missing
    assert (report.names_unread, report.exit_status) == (True, 2)


COPY = {"metadata": meta("came-back", labels={"kubernetes.io/legacy-token-last-used": "2026-11-20"})}


def test_scan_reports_a_used_token_in_a_secret_of_another_type() -> None:
    transport = Lists(secrets=[ROBOT], labelled_secrets=[COPY], configmaps=TRACKING)
    snapshot = ScanReader(transport, lambda _: None).snapshot()
    requests = [request for request in transport.requests if request.path.endswith("/secrets")]
    assert [request.query for request in requests] == [
        {"fieldSelector": "type=kubernetes.io/service-account-token", "limit": "500"},
        {"fieldSelector": "type!=kubernetes.io/service-account-token", "limit": "500",
         "labelSelector": "kubernetes.io/legacy-token-last-used"},
    ]  # fmt: skip
    assert all("PartialObjectMetadataList" in request.accept for request in requests)
    assert [set(names) for names in snapshot.cluster().legacy_tokens.values()] == [{"robot"}]
    report = scan("", secrets=[ROBOT], labelled_secrets=[COPY])
    [copy, robot] = report.legacy_secrets
    assert (copy.name, copy.is_copy, copy.removable, str(copy.last_used)) == ("came-back", True, False, "2026-11-20")
    [finding] = copy.result.findings
    assert finding.detail.startswith("contains a token that never expires, and makes it valid; ")
    assert (robot.is_copy, report.exit_status) == (False, 0)
    lines = [line for line in scan_text.format_report(report) if "came-back" in line]
    assert len(lines) == 1
    content = "legacy token copied into another Secret type, last used 2026-11-20"
    assert f"Secret/came-back in shop: {content}: delete it and the token's ServiceAccount" in lines[0]
    assert "1 copied into another Secret type" in "".join(scan_text.format_report(report))


def test_refused_list_of_copies_leaves_decisions() -> None:
    report = scan(labelled_secrets=REFUSED)
    assert [(resource.resource, resource.affects_decisions) for resource in report.unread] == [
        ("secrets of other types", False)
    ]
    assert report.exit_status == 0


@pytest.mark.parametrize("what", ["namespaces", "secrets", "serviceaccounts"])
def test_refused_list_for_decisions_exits_2(what) -> None:
    report = scan(**{what: REFUSED})
    assert [resource.resource for resource in report.unread] == [what]
    assert (report.exit_status, report.names_unread) == (2, False)
    assert (report.summary.secrets is None) == (what == "secrets")


@pytest.mark.parametrize("what", ["roles", "clusterroles", "rolebindings", "clusterrolebindings"])
def test_refused_roles_or_bindings_leave_out_permissions_only(what) -> None:
    pods = [{"metadata": meta("a"), "spec": live()}]
    assert [account.grants for account in scan(pods=pods).accounts_with_tokens] == [()]
    report = scan(pods=pods, **{what: REFUSED})
    assert [account.grants for account in report.accounts_with_tokens] == [None]
    assert report.exit_status == 0
    assert [resource.affects_decisions for resource in report.unread] == [False]


def test_refused_csi_drivers_are_reported_as_not_read() -> None:
    requests = [{"audience": "vault", "expirationSeconds": 86400}]
    driver = {"metadata": {"name": "vault.example.com"}, "spec": {"tokenRequests": requests}}
    assert [csi_driver.name for csi_driver in scan("", csidrivers=[driver]).csi_drivers] == ["vault.example.com"]
    report = scan(csidrivers=REFUSED)
    assert (report.csi_drivers, report.exit_status) == ((), 0)
    [unread] = report.unread
    assert (unread.resource, unread.affects_decisions) == ("csidrivers", False)
    advice = "kubectl auth can-i list csidrivers.storage.k8s.io --all-namespaces; manifests/scanner grants it"
    assert unread.hint == advice


def test_unknown_start_of_tracking_makes_no_secret_removable() -> None:
    report = scan(secrets=[ROBOT], configmaps=REFUSED)
    assert (report.tracked_since, report.exit_status) == (None, 0)
    assert [secret.removable for secret in report.legacy_secrets] == [False]


def test_server_error_ends_the_scan() -> None:
    with pytest.raises(ApiError):
        scan(deployments=ApiError(401, "HTTP 401: who are you?"))


@pytest.mark.parametrize("condition", ["Complete", "Failed"])
def test_finished_job_is_not_recreated_and_pods_are_finished(condition) -> None:
    done = {"metadata": meta("migrate-a", **of("Job", "migrate", "batch")), "spec": READS}
    done["status"] = {"phase": "Succeeded"}
    report = scan(secrets=[ROBOT], jobs=[job("migrate", condition)], pods=[done])
    assert (report.workloads, report.exit_status, report.summary.finished_pods) == ((), 0, 1)
    assert [(secret.references, secret.removable) for secret in report.legacy_secrets] == [((), True)]


@pytest.mark.parametrize(("condition", "status"), [("", ""), ("Complete", "False"), ("SuccessCriteriaMet", "True")])
def test_unfinished_job_is_evaluated_by_its_template(condition, status) -> None:
    report = scan(secrets=[ROBOT], jobs=[job("migrate", condition, status)])
    assert [(workload.title, workload.outcome) for workload in report.workloads] == [("Job/migrate", Outcome.DENIED)]
    assert report.exit_status == 1


def test_cron_job_is_evaluated_though_its_jobs_are_finished() -> None:
    done = [job(f"nightly-{number}", "Complete", **of("CronJob", "nightly", "batch")) for number in range(3)]
    report = scan(secrets=[ROBOT], cronjobs=[cron_job("nightly")], jobs=done)
    assert [(workload.title, workload.outcome) for workload in report.workloads] == [
        ("CronJob/nightly", Outcome.DENIED)
    ]
    assert [reference.title for reference in report.legacy_secrets[0].references] == ["CronJob/nightly"]


def test_terminating_pod_of_a_job_is_under_its_cron_job() -> None:
    ending = {"metadata": meta("n-1-a", **of("Job", "n-1", "batch")), "spec": live(), "status": {"phase": "Running"}}
    report = scan(jobs=[job("n-1", "Failed", **of("CronJob", "n", "batch"))], pods=[ending])
    assert [(workload.title, workload.pod_count) for workload in report.workloads] == [("CronJob/n", 1)]


def test_jobs_of_one_template_keep_their_own_labels() -> None:
    by_label = "inject: [{name: vault, audience: vault, mountPath: /vault, podLabels: {job-name: b}}]\n"
    quiet = spec(automountServiceAccountToken=False, container=mounts(("data", "/data")))
    made, pods = [], []
    for name in ("a", "b"):
        template = {"metadata": {"labels": {"job-name": name}}, "spec": quiet}
        made.append({"metadata": meta(name), "spec": {"template": template}})
        pods.append({"metadata": meta(f"{name}-1", **of("Job", name, "batch")), "spec": quiet})
    report = scan(by_label, jobs=made, pods=pods)
    assert [workload.outcome for workload in report.workloads] == [Outcome.ALLOWED, Outcome.PATCHED]
    assert report.summary.pods == OutcomeCounts(allowed=1, patched=1)


def requested_paths(*names: str, **lists) -> set[str]:
    transport = Lists(**lists)
    inventory = ScanReader(transport, lambda _: None, names)
    inventory.fill(Scanner(ScanOptions(policy(SILENT), "policy.yaml", NOW, "https://api"), inventory.snapshot()))
    return {request.path for request in transport.requests}


def test_named_namespace_is_listed_alone_except_rbac() -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    others = {
        "/api/v1/namespaces",
        f"{rbac}/roles",
        f"{rbac}/clusterroles",
        f"{rbac}/rolebindings",
        f"{rbac}/clusterrolebindings",
        "/.well-known/openid-configuration",
        "/apis",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    }
    within = {
        path for path in requested_paths("demo", "shop", "demo") - others if "/namespaces/kube-system/" not in path
    }
    assert {path.split("/namespaces/")[1].split("/")[0] for path in within} == {"demo", "shop"}
    assert {path.rpartition("/")[2] for path in within} == {
        "secrets", "serviceaccounts", "pods", "deployments", "replicasets", "statefulsets", "daemonsets",
        "replicationcontrollers", "cronjobs", "jobs",
    }  # fmt: skip
    assert len(within) == 2 * 10


def csi_driver(name: str, kind: str = "PartialObjectMetadata", **labels: str) -> dict[str, Object]:
    return {name: Raw({"kind": kind, "metadata": {"name": name, "labels": labels}})}


LENIENT = SILENT + "overrides: [{namespaceLabels: {team: a}, mode: warn}]\n"
READING = [{"metadata": meta("a"), "spec": READS}]


def test_named_namespaces_are_read_singly_if_lists_are_refused() -> None:
    lists = {"namespaces": REFUSED, "secrets": [ROBOT], "pods": READING}
    report = scan(LENIENT, ("shop",), **lists, **csi_driver("shop", team="a"))
    assert (report.exit_status, report.unread, report.summary.namespaces) == (0, (), 1)
    assert report.summary.pods.warned == 1
    assert scan(LENIENT, ("shop",), **lists, **csi_driver("shop", team="b")).summary.pods.denied == 1


def test_roles_of_named_namespaces_are_read_there() -> None:
    refused = _Outside(pods=[{"metadata": meta("a"), "spec": live()}], roles=[READER], rolebindings=BOUND)
    reader = ScanReader(refused, lambda _: None, ("shop",))
    snapshot = reader.snapshot()
    assert [unread.resource for unread in snapshot.unread] == ["clusterroles", "clusterrolebindings"]
    grants = {name: grants_text(snapshot.grants_of("shop", name)) for name in ("reads", "views", "custom", "none")}
    assert grants == {
        "reads": "may read Secrets in shop; otherwise unknown",
        "views": "may read resources in shop; otherwise unknown",
        "custom": "unknown permissions",
        "none": "unknown permissions",
    }
    scanner = Scanner(ScanOptions(policy(), "p", NOW, "https://api", filters=ScanFilters(("shop",))), snapshot)
    shown = "\n".join(scan_text.format_report(scanner.report()))
    assert shown.count("\nnot read") == 1
    assert "not read, as that needs more permissions: clusterroles, clusterrolebindings\n" in shown


READER = {
    "metadata": meta("reader"), "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
}  # fmt: skip
BOUND = [
    {
        "metadata": meta(name), "subjects": [{"kind": "ServiceAccount", "name": name}],
        "roleRef": {"kind": kind, "name": role},
    }
    for name, kind, role in (
        ("reads", "Role", "reader"), ("views", "ClusterRole", "view"), ("custom", "ClusterRole", "ours"),
    )
]  # fmt: skip


class _Outside(Lists):
    """A cluster whose roles and bindings may only be listed in a namespace."""

    def get(self, path, query, accept):
        if "rbac" in path and "/namespaces/" not in path:
            raise REFUSED
        return super().get(path, query, accept)


def test_unreadable_namespace_is_a_gap_missing_one_fails() -> None:
    report = scan(LENIENT, ("demo",), namespaces=REFUSED, demo=REFUSED)
    assert [(unread.resource, unread.affects_decisions) for unread in report.unread] == [("namespace demo", True)]
    assert report.unread[0].hint == ("kubectl auth can-i get namespaces/demo -n demo; manifests/scanner grants it")
    with pytest.raises(ApiError, match="--namespace demo: no such namespace"):
        scan(LENIENT, ("demo",), namespaces=REFUSED, demo=ApiError(404, "HTTP 404"))
    with pytest.raises(ApiError, match="HTTP 500"):
        scan(LENIENT, ("demo",), namespaces=REFUSED, demo=ApiError(500, "HTTP 500"))


@pytest.mark.parametrize(
    "answer", [csi_driver("demo", kind="Namespace")["demo"], Raw([])], ids=["content", "no object"]
)
def test_namespace_answer_that_is_no_metadata_fails(answer) -> None:
    with pytest.raises(ApiError):
        scan(LENIENT, ("demo",), namespaces=REFUSED, demo=answer)


def test_namespace_is_requested_again_from_a_busy_server(monkeypatch) -> None:
    monkeypatch.setattr("webhook.cluster.listing.MAX_TRIES", 2)
    waits: list[float] = []
    transport = FakeTransport(ApiError(503, "HTTP 503"), page(kind="PartialObjectMetadata"))
    assert read_object(NAMESPACES, "demo", transport, waits.append).kind == "PartialObjectMetadata"
    assert len(waits) == 1


def test_list_refused_in_one_namespace_names_it() -> None:
    refused = ApiError(403, "HTTP 403")
    report = scan(SILENT, ("demo", "shop"), namespaces=[{"metadata": {"name": "demo"}}], secrets=refused)
    assert [unread.resource for unread in report.unread] == ["secrets in demo", "secrets in shop"]
    assert report.unread[1].hint == "kubectl auth can-i list secrets -n shop; manifests/scanner grants it"
    with pytest.raises(ApiError, match="kubectl auth can-i list pods -n demo; manifests/scanner grants it"):
        scan(SILENT, ("demo",), pods=refused)


def test_exemption_of_unknown_namespaces_is_not_unused() -> None:
    text = SILENT + "exemptions: [{rules: ['*'], namespaces: ['team-*'], reason: soon, until: never}]\n"
    namespaces = [{"metadata": {"name": "team-a"}}]
    assert [exemption.status for exemption in scan(text, ("team-a",), namespaces=namespaces).exemptions] == [
        ExemptionStatus.UNUSED
    ]
    unknown = scan(text, ("team-a",), namespaces=REFUSED, **csi_driver("team-a"))
    assert [exemption.status for exemption in unknown.exemptions] == [ExemptionStatus.NOT_SCANNED]
    its_own = scan(text.replace("team-*", "team-a"), ("team-a",), namespaces=REFUSED, **csi_driver("team-a"))
    assert [exemption.status for exemption in its_own.exemptions] == [ExemptionStatus.UNUSED]


def discovery(group: str, version: str, *kinds: str) -> dict[str, Raw]:
    """Return the discovery of one group in one version, as `Lists` takes it."""
    resources = [{"name": f"{kind.lower()}s", "kind": kind} for kind in kinds]
    resources += [{"name": f"{kind.lower()}s/scale", "kind": "Scale"} for kind in kinds]
    groups = [{"name": group, "versions": [{"version": "v0"}, {"version": version}]}, {"name": "apps", "versions": []}]
    return {"apis": Raw({"groups": groups}), "v0": Raw({"resources": []}), version: Raw({"resources": resources})}


def custom(name: str, kind: str = "", **metadata) -> Object:
    return {"kind": kind, "metadata": meta(name, **metadata), "spec": {"template": {"spec": READS}}}


ROLLOUTS = discovery("argoproj.io", "v1alpha1", "Rollout")


def test_rollout_owns_its_pods_and_is_evaluated_without_pods() -> None:
    pod = {"metadata": meta("web-1-a", **of("ReplicaSet", "web-1")), "spec": live()}
    replicas = {"metadata": meta("web-1", **of("Rollout", "web", "argoproj.io")), "spec": {"template": {"spec": READS}}}
    without = {"metadata": meta("elsewhere"), "spec": {"workloadRef": {"kind": "Deployment", "name": "web"}}}
    rollouts = [custom("web"), custom("idle"), without, {"metadata": meta("odd"), "spec": 3}]
    report = scan(secrets=[ROBOT], rollouts=rollouts, replicasets=[replicas], pods=[pod], **ROLLOUTS)
    assert [(workload.title, workload.pod_count, workload.outcome) for workload in report.workloads] == [
        ("Rollout.argoproj.io/idle", 0, Outcome.DENIED),
        ("Rollout.argoproj.io/web", 1, Outcome.DENIED),
    ]
    assert (report.exit_status, report.unread) == (1, ())


def test_custom_kind_of_the_policy_is_listed() -> None:
    text = SILENT + "workloads: [{apiGroup: example.com, kind: Runner, template: /spec/template}]\n"
    served = discovery("example.com", "v1", "Runner", "Other")
    report = scan(text, secrets=[ROBOT], runners=[custom("a")], others=[custom("b")], **served)
    assert [(workload.title, workload.outcome) for workload in report.workloads] == [
        ("Runner.example.com/a", Outcome.DENIED)
    ]
    assert [reference.title for reference in report.legacy_secrets[0].references] == ["Runner.example.com/a"]
    assert scan(secrets=[ROBOT], runners=[custom("a")], **served).workloads == ()


def test_custom_kind_controlled_by_another_is_counted_once() -> None:
    served = discovery("serving.knative.dev", "v1", "Service", "Configuration")
    controlled = custom("web", **of("Service", "web", "serving.knative.dev"))
    report = scan(secrets=[ROBOT], services=[custom("web")], configurations=[controlled], **served)
    assert [workload.title for workload in report.workloads] == ["Service.serving.knative.dev/web"]


def test_deployment_config_owns_its_pods() -> None:
    pod = {"metadata": meta("web-1-a", **of("ReplicationController", "web-1", "")), "spec": live()}
    made = {"metadata": meta("web-1", **of("DeploymentConfig", "web", "apps.openshift.io")), "spec": {}}
    report = scan(replicationcontrollers=[made], pods=[pod])
    assert [workload.title for workload in report.workloads] == ["DeploymentConfig.apps.openshift.io/web"]


@pytest.mark.parametrize("refused", ["apis", "v1alpha1", "rollouts"])
def test_refused_custom_kinds_are_a_gap(refused) -> None:
    report = scan(secrets=[ROBOT], **{**ROLLOUTS, refused: REFUSED})
    [unread] = report.unread
    assert "pod templates of custom kinds" in unread.missing
    assert (report.exit_status, report.names_unread) == (2, True)
    assert [secret.removable for secret in report.legacy_secrets] == [False]


def test_refused_kind_of_the_policy_hints_at_the_missing_right() -> None:
    text = SILENT + "workloads: [{apiGroup: example.com, kind: Runner, template: /spec/template}]\n"
    [unread] = scan(text, runners=REFUSED, **discovery("example.com", "v1", "Runner")).unread
    assert unread.hint == (
        "kubectl auth can-i list runners.example.com --all-namespaces; "
        "add a rule for it to the ClusterRole of manifests/scanner"
    )
    [unread] = scan(rollouts=REFUSED, **ROLLOUTS).unread
    assert unread.hint.endswith("; manifests/scanner grants it")


CONDITION = "!(request.namespace in 'cert-manager,calico-system'.split(','))"


def test_history_is_read_from_webhook_and_policy() -> None:
    webhook = {
        "metadata": {"name": "tokenguard", "creationTimestamp": "2026-11-20T12:00:00Z"},
        "webhooks": [
            {"name": "other.validate.tokenguard.svc", "namespaceSelector": {"matchLabels": {"never": "read"}}},
            {
                "name": "pods.validate.tokenguard.svc",
                "namespaceSelector": {
                    "matchLabels": {"guarded": "yes"},
                    "matchExpressions": [{"key": "name", "operator": "NotIn", "values": ["a", "b"]}],
                },
                "matchConditions": [
                    {"name": "other", "expression": "true"},
                    {"name": "not-in-an-excluded-namespace", "expression": CONDITION},
                ],
            },
        ],
    }
    fields = [("2026-11-21T00:00:00Z", {"f:data": {}}), ("2026-11-22T00:00:00Z", {"f:metadata": {}})]
    managed = [{"time": time, "fieldsV1": changed} for time, changed in fields]
    held = {"metadata": {"name": "token-policy", "managedFields": managed}, "data": {"policy.yaml": ""}}
    reader = ScanReader(Lists(configmaps=[held], validatingwebhookconfigurations=[webhook]), lambda _: None)
    assert reader.policy("tokenguard", "token-policy") == ""
    history = reader.snapshot().history
    assert (history.is_known, str(history.webhook_created), str(history.policy_changed)) == (
        True, "2026-11-20 12:00:00+00:00", "2026-11-21 00:00:00+00:00",
    )  # fmt: skip
    assert history.scopes.pods == WebhookScope(
        (Requirement("guarded", "In", ("yes",)), Requirement("name", "NotIn", ("a", "b"))),
        frozenset({"cert-manager", "calico-system"}),
    )


CALLABLE = {"caBundle": "QQ=="}


@pytest.mark.parametrize(
    ("validating", "mutating", "lacks"),
    [
        ((CALLABLE,), (CALLABLE,), False),
        ((CALLABLE, {}), (CALLABLE,), True),
        ((CALLABLE,), ({},), True),
        ((CALLABLE,), None, False),
        (None, ({},), False),
    ],
)
def test_history_says_whether_a_webhook_lacks_its_ca_bundle(validating, mutating, lacks) -> None:
    lists = {
        f"{kind}webhookconfigurations": [
            {
                "metadata": {"name": "tokenguard"},
                "webhooks": [
                    {"name": f"{number}.svc", "clientConfig": client} for number, client in enumerate(clients)
                ],
            }
        ]
        for kind, clients in (("validating", validating), ("mutating", mutating))
        if clients is not None
    }
    snapshot = ScanReader(Lists(**lists), lambda _: None).snapshot()
    assert (snapshot.history.lacks_ca_bundle, snapshot.unread) == (lacks, [])


def test_history_without_right_to_the_mutating_webhook_is_known() -> None:
    validating = [{"metadata": {"name": "tokenguard"}, "webhooks": [{"name": "a.svc", "clientConfig": CALLABLE}]}]
    lists = Lists(validatingwebhookconfigurations=validating, mutatingwebhookconfigurations=REFUSED)
    snapshot = ScanReader(lists, lambda _: None).snapshot()
    assert (snapshot.history.is_known, snapshot.history.lacks_ca_bundle) == (True, False)
    assert [unread.resource for unread in snapshot.unread] == ["mutatingwebhookconfigurations"]


@pytest.mark.parametrize(("configurations", "is_known"), [([], True), (REFUSED, False)])
def test_history_without_webhook_is_known_unless_refused(configurations, is_known) -> None:
    history = ScanReader(Lists(validatingwebhookconfigurations=configurations), lambda _: None).snapshot().history
    assert (history.is_known, history.webhook_created, history.scopes) == (is_known, None, WebhookScopes())
