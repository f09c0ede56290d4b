"""What a scan reads of a cluster, and what becomes of the report where a list is refused."""

import pytest

from tests.cluster.fake import Lists
from tests.scan.cluster import NOW, Object, live, meta, mounts, named_secret, of, policy, spec
from webhook.cluster.inventory import MAKERS, Inventory
from webhook.cluster.transport import ApiError
from webhook.core.decision import Outcome
from webhook.scan.asked import Asked
from webhook.scan.report import Counts, Report
from webhook.scan.scan import Scan

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


def scan(text: str = SILENT, **lists) -> Report:
    inventory = Inventory(Lists(**{"configmaps": TRACKING, **lists}), lambda _: None)
    found = Scan(Asked(policy(text), "policy.yaml", NOW, "https://api"), inventory.known())
    inventory.fill(found)
    return found.report()


def job(name: str, condition: str = "", status: str = "True", **metadata) -> Object:
    conditions = [{"type": condition, "status": status}] if condition else []
    template = {"spec": {"template": {"spec": READS}}, "status": {"conditions": conditions}}
    return {"metadata": meta(name, **metadata), **template}


def cron_job(name: str) -> Object:
    return {"metadata": meta(name), "spec": {"jobTemplate": {"spec": {"template": {"spec": READS}}}}}


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.kind)
def test_a_legacy_secret_is_never_said_to_go_where_a_list_is_refused_that_may_name_it(maker) -> None:
    assert [one.can_go for one in scan(secrets=[ROBOT]).legacy_secrets] == [True]
    report = scan(secrets=[ROBOT], **{f"{maker.kind.lower()}s": REFUSED})
    assert [one.can_go for one in report.legacy_secrets] == [False]
    [unread] = report.unread
    assert f"templates of {maker.kind}s" in unread.lacks
    assert "of legacy Secrets only those marked invalid are said to go" in unread.lacks
    assert (report.names_unread, report.exit_status) == (True, 2)


@pytest.mark.parametrize("what", ["namespaces", "secrets", "serviceaccounts"])
def test_what_decisions_depend_on_and_is_refused_makes_the_exit_status_2(what) -> None:
    report = scan(**{what: REFUSED})
    assert [one.what for one in report.unread] == [what]
    assert (report.exit_status, report.names_unread) == (2, False)


@pytest.mark.parametrize("what", ["rolebindings", "clusterrolebindings"])
def test_bindings_that_are_refused_leave_out_what_is_said_of_accounts_and_nothing_else(what) -> None:
    pods = [{"metadata": meta("a"), "spec": live()}]
    assert len(scan(pods=pods).idle_accounts or ()) == 1
    report = scan(pods=pods, **{what: REFUSED})
    assert report.idle_accounts is None
    assert report.exit_status == 0
    assert [one.affects_decisions for one in report.unread] == [False]


def test_where_the_start_of_tracking_is_refused_no_secret_is_said_to_go_and_decisions_stand() -> None:
    report = scan(secrets=[ROBOT], configmaps=REFUSED)
    assert (report.tracked_since, report.exit_status) == (None, 0)
    assert [one.can_go for one in report.legacy_secrets] == [False]


def test_a_server_that_fails_otherwise_ends_it() -> None:
    with pytest.raises(ApiError):
        scan(deployments=ApiError(401, "HTTP 401: who are you?"))


@pytest.mark.parametrize("condition", ["Complete", "Failed"])
def test_a_finished_job_of_nobody_is_not_created_again_and_its_pods_are_finished(condition) -> None:
    done = {"metadata": meta("migrate-a", **of("Job", "migrate", "batch")), "spec": READS}
    done["status"] = {"phase": "Succeeded"}
    report = scan(secrets=[ROBOT], jobs=[job("migrate", condition)], pods=[done])
    assert (report.owners, report.exit_status, report.summary.finished_pods) == ((), 0, 1)
    assert [(one.references, one.can_go) for one in report.legacy_secrets] == [((), True)]


@pytest.mark.parametrize(("condition", "status"), [("", ""), ("Complete", "False"), ("SuccessCriteriaMet", "True")])
def test_a_job_that_is_not_finished_counts_by_its_template(condition, status) -> None:
    report = scan(secrets=[ROBOT], jobs=[job("migrate", condition, status)])
    assert [(one.title, one.outcome) for one in report.owners] == [("Job/migrate", Outcome.DENIED)]
    assert report.exit_status == 1


def test_a_cron_jobs_template_counts_though_its_jobs_are_finished() -> None:
    done = [job(f"nightly-{number}", "Complete", **of("CronJob", "nightly", "batch")) for number in range(3)]
    report = scan(secrets=[ROBOT], cronjobs=[cron_job("nightly")], jobs=done)
    assert [(one.title, one.outcome) for one in report.owners] == [("CronJob/nightly", Outcome.DENIED)]
    assert [one.title for one in report.legacy_secrets[0].references] == ["CronJob/nightly"]


def test_a_pod_of_a_finished_job_that_still_ends_is_told_of_under_its_cron_job() -> None:
    ending = {"metadata": meta("n-1-a", **of("Job", "n-1", "batch")), "spec": live(), "status": {"phase": "Running"}}
    report = scan(jobs=[job("n-1", "Failed", **of("CronJob", "n", "batch"))], pods=[ending])
    assert [(one.title, one.pod_count) for one in report.owners] == [("CronJob/n", 1)]


def test_jobs_of_one_template_are_judged_each_by_its_own_labels() -> None:
    by_label = "inject: [{name: vault, audience: vault, mountPath: /vault, podLabels: {job-name: b}}]\n"
    quiet = spec(automountServiceAccountToken=False, container=mounts(("data", "/data")))
    made, pods = [], []
    for name in ("a", "b"):
        template = {"metadata": {"labels": {"job-name": name}}, "spec": quiet}
        made.append({"metadata": meta(name), "spec": {"template": template}})
        pods.append({"metadata": meta(f"{name}-1", **of("Job", name, "batch")), "spec": quiet})
    report = scan(by_label, jobs=made, pods=pods)
    assert [one.outcome for one in report.owners] == [Outcome.ALLOWED, Outcome.PATCHED]
    assert report.summary.pods == Counts(allowed=1, patched=1)
