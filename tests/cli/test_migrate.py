"""The `migrate` command: what it reads, how it ends, and what it prints. Its patches are in `tests/migrate`."""

import datetime as dt
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.list_server import configured, serve_lists
from tests.commands import run_command
from tests.migrate.workloads import legacy_secret, workload

CONTAINER = {"name": "main", "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "old", "key": "token"}}}]}
SECRET_VALUE = "ZXlKaGJHY2lPaUpTVXpJMU5pSjk="
OLD = {**legacy_secret("old"), "data": {"token": SECRET_VALUE}}


def web(account: str = "app", container=None, **metadata):
    spec = {"serviceAccountName": account, "containers": [container or CONTAINER]}
    obj = workload("Deployment", "web", spec)
    obj["metadata"] |= metadata
    return obj


@pytest.fixture
def run(tmp_path):
    def run_migrate(*objects, flags=()):
        (tmp_path / "objects.yaml").write_text("".join(f"---\n{json.dumps(obj)}\n" for obj in objects))
        return run_command("migrate", str(tmp_path / "objects.yaml"), "--output-dir", str(tmp_path / "out"), *flags)

    return run_migrate


def readme(tmp_path: Path) -> str:
    return (tmp_path / "out/shop/README.md").read_text()


def test_migrate_of_manifests_writes_checklist_and_patches(run, tmp_path) -> None:
    done = run(OLD, web())
    folder = tmp_path / "out/shop"
    assert (done.returncode, done.stderr) == (1, "")
    start = f"start with {tmp_path}/out/README.md"
    assert done.stdout == f"shop: 1 workload to change: {folder}/README.md\nfiles: 4 written; {start}\n"
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "deployment-web.yaml", "kustomization.yaml"]
    assert not any(SECRET_VALUE in file.read_text() for file in folder.iterdir())
    assert run(OLD, web()).stdout.endswith(f"files: 4 unchanged; {start}\n")


def test_migrate_without_references_exits_0(run, tmp_path) -> None:
    assert run(OLD, web()).returncode == 1
    done = run(OLD, web(container={"name": "main"}))
    assert (done.returncode, "files: 2 written, 2 removed; " in done.stdout) == (0, True)
    assert "shop: nothing in these manifests refers to its legacy Secrets: " in done.stdout
    assert "None of these manifests names one of the Secrets." in readme(tmp_path)
    assert "tokenguard legacy disable --reason 'migrated to projected tokens' shop/old\n" in readme(tmp_path)


def test_migrate_without_legacy_secrets_names_objects(run, tmp_path) -> None:
    done = run(web())
    assert (done.returncode, "'tokenguard objects' prints those of a cluster" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_migrate_keeps_an_edited_file_and_exits_2(run, tmp_path) -> None:
    run(OLD, web())
    patch = tmp_path / "out/shop/deployment-web.yaml"
    patch.write_text(patch.read_text().replace("TOKEN_FILE", "OURS"))
    assert run(OLD, web()).returncode == 1  # nothing new
    changed = web(container={**CONTAINER, "name": "renamed"})
    done = run(OLD, changed)
    assert (done.returncode, done.stderr) == (
        2, f"error: {patch}: kept: edited, or of another program or migration; compare, or overwrite it with --force\n"
    )  # fmt: skip
    assert "OURS" in patch.read_text()
    assert run(OLD, changed, flags=["--force"]).returncode == 1
    assert "OURS" not in patch.read_text()


def service_account(**lists: str):
    entries = {field: [{"name": name}] for field, name in lists.items()}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app", "namespace": "shop"}, **entries}


def test_account_in_two_manifests_is_written_once(run, tmp_path) -> None:
    done = run(OLD, service_account(secrets="old"), service_account(secrets="old"), service_account())
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("shop: 1 ServiceAccount to change: ")
    assert (tmp_path / "out/shop/kustomization.yaml").read_text().count("path: ") == 1
    assert readme(tmp_path).count("Remove `old` from `secrets`") == 1


def test_account_in_two_manifests_has_the_secrets_of_both(run, tmp_path) -> None:
    assert run(OLD, service_account(secrets="old"), service_account(imagePullSecrets="old")).returncode == 1
    assert "Remove `old` from `secrets` and `old` from `imagePullSecrets`" in readme(tmp_path)


def test_workload_in_two_manifests_is_planned_once_if_equal(run, tmp_path) -> None:
    done = run(OLD, web(), web(labels={"track": "canary"}))
    assert (done.returncode, done.stdout.startswith("shop: 1 workload to change: ")) == (1, True)
    clean = web(container={"name": "main"})
    done = run(OLD, clean, web())
    file = f"{tmp_path}/objects.yaml"
    assert done.returncode == 2
    assert f"error: {file}:6: Deployment/web in namespace shop is left out: {file}:4 has another" in done.stderr
    assert "so workloads may be missing here" in readme(tmp_path)


def test_migrate_with_an_unreadable_manifest_exits_2(run, tmp_path) -> None:
    run(OLD, web())
    (tmp_path / "bad.yaml").write_text("kind: [")
    done = run(OLD, web(container={"name": "main"}), flags=[str(tmp_path / "bad.yaml")])
    assert (done.returncode, "bad.yaml:" in done.stderr) == (2, True)
    assert (tmp_path / "out/shop/deployment-web.yaml").exists()
    assert "so workloads may be missing here" in readme(tmp_path)


def placed(obj, namespace: str = ""):
    """Return an object in another namespace; without a name it names none, as in the source of an overlay."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "namespace"}
    return {**obj, "metadata": {**metadata, **({"namespace": namespace} if namespace else {})}}


@pytest.mark.parametrize("flags", [[], ["-n", "shop", "-n", "other"], ["-n", "sh*"]], ids=["none", "two", "a glob"])
def test_migrate_of_objects_without_a_namespace_is_an_error(run, tmp_path, flags) -> None:
    done = run(OLD, placed(web()), placed(service_account()), flags=flags)
    source = f"{tmp_path}/objects.yaml:4"
    assert done.returncode == 2
    assert f"2 objects name no namespace: Deployment/web ({source}) and others; name the one they are" in done.stderr
    assert not (tmp_path / "out").exists()


def test_migrate_puts_objects_into_the_given_namespace(run, tmp_path) -> None:
    done = run(OLD, placed(web()), flags=["-n", "shop"])
    assert (done.returncode, done.stderr) == (1, "")
    assert "| `old` | `app` | unknown use | Deployment/web |" in readme(tmp_path)


def test_migrate_of_other_objects_needs_no_namespace(run) -> None:
    others = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": "plain"}}
    assert run(OLD, web(), others).returncode == 1


def test_migrate_plans_only_the_namespaces_of_its_manifests(run, tmp_path) -> None:
    elsewhere = [
        placed(OLD, "ci"),
        placed(OLD, "data"),
        {**placed(OLD, "ci"), "metadata": {"name": "b", "namespace": "ci"}},
    ]
    (tmp_path / "out/ci").mkdir(parents=True)
    done = run(OLD, web(), *elsewhere)
    why = "because no workload of these namespaces is among the manifests"
    assert done.stdout.splitlines()[1] == f"not planned: 3 legacy Secrets in ci, data, {why}"
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["README.md", "ci", "shop"]
    index = (tmp_path / "out/README.md").read_text()
    assert "- `ci`: 2 legacy Secrets\n- `data`: 1 legacy Secret\n" in index
    assert "Made from manifests: 1 workload of this namespace was read." in readme(tmp_path)


def test_migrate_of_manifests_keeps_what_it_does_not_plan(run, tmp_path) -> None:
    assert run(OLD, web(), placed(OLD, "ci"), placed(web(), "ci")).returncode == 1
    assert run(OLD, web(), placed(OLD, "ci")).returncode == 1
    assert (tmp_path / "out/ci/deployment-web.yaml").exists()
    assert "\n- [ci](ci/README.md)\n" in (tmp_path / "out/README.md").read_text()
    assert run(OLD, web(), placed(web(), "ci")).returncode == 1  # ci has no legacy Secret left
    assert not (tmp_path / "out/ci").exists()


def test_namespace_of_migrate_selects_among_manifests(run, tmp_path) -> None:
    done = run(OLD, web(), placed(OLD, "ci"), placed(web(), "ci"), flags=["-n", "ci"])
    assert (done.returncode, done.stdout.startswith("ci: 1 workload to change: ")) == (1, True)
    assert not (tmp_path / "out/shop").exists()


def test_migrate_of_secrets_without_workloads_is_an_error(run, tmp_path) -> None:
    done = run(OLD)
    assert (done.returncode, "no workload among the manifests; pass the workloads" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_misspelt_namespace_of_migrate_is_an_error(run) -> None:
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("kube-system", "shop")
    ]
    done = run(OLD, placed(web()), *namespaces, flags=["-n", "shopp"])
    assert (done.returncode, '"shopp": no such namespace; did you mean "shop"?' in done.stderr) == (2, True)


def recorded_use(last_used: str = "", invalid_since: str = ""):
    labels = {"legacy-token-last-used": last_used, "legacy-token-invalid-since": invalid_since}
    given = {f"kubernetes.io/{key}": value for key, value in labels.items() if value}
    return {**OLD, "metadata": {**OLD["metadata"], "labels": given, "creationTimestamp": "2024-01-05T08:00:00Z"}}


TRACKING = {
    "apiVersion": "v1", "kind": "ConfigMap", "data": {"since": "2025-01-15"},
    "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([recorded_use("2026-11-25")], "last used 2026-11-25"),
        ([recorded_use("2026-11-25"), OLD], "last used 2026-11-25"),
        ([recorded_use()], "unknown use"),
        ([recorded_use(), TRACKING], "no use recorded since 2025-01-15"),
        ([recorded_use("2026-11-25", "2026-11-26")], "last used 2026-11-25; disabled since 2026-11-26"),
    ],
    ids=["used", "used, and again in Git", "not tracked", "unused", "disabled"],
)
def test_checklist_of_manifests_has_the_recorded_uses(run, tmp_path, objects, expected: str) -> None:
    assert run(*objects, web()).returncode == 1
    assert f"| `old` | `app` | {expected} | Deployment/web |" in readme(tmp_path)
    assert ("tokenguard legacy delete shop/old" in readme(tmp_path)) is ("disabled" in expected)


def test_checklist_says_what_fails_now_and_when_to_delete_it(run, tmp_path) -> None:
    assert run(recorded_use("2026-11-25", "2026-11-26"), web()).returncode == 1
    assert "**It fails now where it uses `old`:** the API server refuses this token since 2026-11-26." in readme(
        tmp_path
    )
    assert "- [ ] From 2026-12-10 on, delete 1 Secret, disabled on 2026-11-26, if nobody missed it." in readme(tmp_path)


def test_checklist_waits_for_secrets_about_which_it_is_too_early(run, tmp_path) -> None:
    today = dt.datetime.now(dt.UTC).date()
    new = legacy_secret("new")
    new["metadata"]["creationTimestamp"] = f"{today}T00:00:00Z"
    assert run(recorded_use(), new, TRACKING, web()).returncode == 1
    section = readme(tmp_path).partition("\n## Disable the Secrets\n")[2]
    assert f"- [ ] From {today + dt.timedelta(days=30)} on, disable 1 Secret that no workload among" in section
    assert "- [ ] Disable 1 Secret when no workload names it any more.\n" in section


def test_one_command_disables_the_secrets_of_a_namespace(run, tmp_path) -> None:
    unused = [legacy_secret(f"preview-{number}-token") for number in range(9)]
    assert run(OLD, *unused, web()).returncode == 1
    section = readme(tmp_path).partition("\n## Disable the Secrets\n")[2]
    assert section.count("- [ ] ") == section.count("```sh") == 2
    assert "- [ ] Disable 9 Secrets that no workload among the manifests names." in section
    assert "- [ ] Disable 1 Secret when no workload names it any more." in section
    words = " ".join(section.replace("\\\n", " ").split())
    assert all(f" shop/preview-{number}-token " in words for number in range(9))
    assert max(map(len, section.partition("```sh")[2].splitlines())) < 110


def test_image_pull_secrets_are_removed_and_named(run, tmp_path) -> None:
    pulls = web(container={"name": "main"})
    pulls["spec"]["template"]["spec"]["imagePullSecrets"] = [{"name": "registry"}, {"name": "old"}]
    pod = workload("Pod", "bare", pulls["spec"]["template"]["spec"])  # its account may have added the entry
    done = run(OLD, pulls, pod, service_account(imagePullSecrets="old"))
    assert done.stdout.startswith("shop: 1 workload and 1 ServiceAccount to change: ")
    text = readme(tmp_path)
    assert "| `spec.template.spec.imagePullSecrets[1]` | pulls images | removed; Kubernetes pulls no image with" in text
    assert "{..imagePullSecrets[*].name}" in text
    assert "| Deployment/web, ServiceAccount/app |" in text
    assert "What your program gets instead" not in text


def test_migrate_reads_pull_secrets_of_another_form(run) -> None:
    rollout = web()
    rollout |= {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    rollout["spec"]["template"]["spec"]["imagePullSecrets"] = ["registry"]
    assert run(OLD, rollout).stdout.startswith("shop: 1 workload to change: ")


def test_patch_has_file_modes_in_octal(run, tmp_path) -> None:
    obj = web(
        container={"name": "main", "volumeMounts": [{"name": "t", "mountPath": "/etc/token", "subPath": "token"}]}
    )
    volume = {"name": "t", "secret": {"secretName": "old", "defaultMode": 288}}
    obj["spec"]["template"]["spec"]["volumes"] = [volume]
    assert run(OLD, obj).returncode == 1
    assert "defaultMode: 0440\n" in (tmp_path / "out/shop/deployment-web.yaml").read_text()
    assert "or make `/etc/token` a symbolic link to it in the image" in readme(tmp_path)


def test_index_says_for_whom_each_folder_is(run, tmp_path) -> None:
    labels = {"team": "shop", "kubernetes.io/metadata.name": "shop"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}}
    other = web(account="other", annotations={"meta.helm.sh/release-name": "shop"})
    clean = placed(web(container={"name": "main"}), "done")
    assert run(namespace, OLD, other, placed(OLD, "done"), clean).returncode == 1
    change = "1 workload to change; 1 needs more than a patch"
    row = f"| [shop](shop/README.md) | `team=shop` | Helm release shop | {change} | 1 |"
    index = (tmp_path / "out/README.md").read_text()
    assert row in index
    assert index.index(row) < index.index("| [done](done/README.md) |")


def test_index_of_another_program_is_kept(run, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/README.md").write_text("ours\n")
    done = run(OLD, web())
    assert (done.returncode, f"{tmp_path}/out/README.md: kept" in done.stderr) == (2, True)


def test_migrate_into_a_file_is_an_error(run, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/shop").write_text("a file")
    done = run(OLD, web())
    assert (done.returncode, f"{tmp_path}/out/shop" in done.stderr.splitlines()[0]) == (2, True)


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (
            web(annotations={"meta.helm.sh/release-name": "shop"}),
            "Deployed by Helm release shop: make the change there.",
        ),
        (
            web(annotations={"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"}),
            "Argo CD application shop:",
        ),
        (web(labels={"kustomize.toolkit.fluxcd.io/name": "shop"}), "Deployed by Flux Kustomization shop:"),
        (
            web(ownerReferences=[{"apiVersion": "example.com/v1", "kind": "App", "name": "shop", "controller": True}]),
            "Change `App.example.com/shop`, which creates this object",
        ),
        (web(account="other"), "uses a token of ServiceAccount `app`, but the pods run as `other`."),
    ],
    ids=["Helm", "Argo CD", "Flux", "an operator", "another account"],
)
def test_checklist_says_where_to_change_a_workload(run, tmp_path, obj, expected: str) -> None:
    assert run(OLD, obj).returncode == 1
    assert expected in readme(tmp_path)
    has_patch = (tmp_path / "out/shop/deployment-web.yaml").exists()
    assert has_patch is expected.startswith(("Deployed", "Argo"))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Pod", "kubectl replace --force -f -"),
        ("Job", "Delete the Job, and create it again"),
        ("CronJob", "Wait for the next Job"),
        ("ReplicaSet", "Delete its pods"),
        ("Rollout", "kubectl patch rollout.argoproj.io a -n shop --type json --patch-file rollout.argoproj.io-a.yaml"),
        ("StatefulSet", "kubectl rollout status statefulset a -n shop"),
    ],
)
def test_checklist_has_the_steps_of_each_kind(run, tmp_path, kind: str, expected: str) -> None:
    spec = {"serviceAccountName": "app", "containers": [CONTAINER]}
    assert run(OLD, workload(kind, "a", spec)).returncode == 1
    assert expected in readme(tmp_path)


def test_hostile_names_stay_in_folder_and_are_no_markup(run, tmp_path) -> None:
    hostile = workload("Deployment", "../../x`<b>|\n## y", {"serviceAccountName": "app", "containers": [CONTAINER]})
    assert run(OLD, hostile).returncode == 1
    assert all(
        file.parent in (tmp_path / "out", tmp_path / "out/shop")
        for file in (tmp_path / "out").rglob("*")
        if file.is_file()
    )
    assert "\n## y" not in readme(tmp_path)
    assert r"\<b\>" in readme(tmp_path)


def test_longest_name_makes_a_shorter_file_name(run, tmp_path) -> None:
    spec = {"serviceAccountName": "app", "containers": [CONTAINER]}
    assert run(OLD, workload("Deployment", "x" * 253, spec)).returncode == 1
    [patch] = (tmp_path / "out/shop").glob("deployment-*.yaml")
    assert f"({patch.name})" in readme(tmp_path)


@pytest.fixture
def api():
    metadata = {"name": "old", "namespace": "shop", "annotations": {"kubernetes.io/service-account.name": "app"}}
    with serve_lists() as server:
        server.answers = {
            "/api/v1/secrets": (200, [{"metadata": metadata}]),
            "/apis/apps/v1/deployments": (200, [web()]),
            "/apis/apps/v1/namespaces/shop/deployments": (200, [web()]),
        }
        yield server


@pytest.fixture
def run_in_cluster(api, tmp_path):
    def run_migrate(*flags):
        kubeconfig = configured(tmp_path / "kubeconfig", here=f"http://127.0.0.1:{api.server_port}")
        return run_command("migrate", "--kubeconfig", str(kubeconfig), "--output-dir", str(tmp_path / "out"), *flags)

    return run_migrate


def test_migrate_of_a_cluster_reads_single_workloads(run_in_cluster, api, tmp_path) -> None:
    done = run_in_cluster()
    assert (done.returncode, done.stderr) == (1, "")
    assert (tmp_path / "out/shop/deployment-web.yaml").exists()
    assert "/apis/apps/v1/namespaces/shop/deployments" in api.requests


def test_migrate_of_a_cluster_removes_finished_namespaces(run_in_cluster, api, tmp_path) -> None:
    assert run_in_cluster().returncode == 1
    api.answers["/api/v1/secrets"] = (200, [])
    assert run_in_cluster("-n", "other*").returncode == 0
    assert (tmp_path / "out/shop").exists()
    done = run_in_cluster()
    assert (done.returncode, done.stdout) == (0, "no legacy Secrets\nfiles: 4 removed\n")
    assert not (tmp_path / "out").exists()


def test_migrate_beside_other_migrations_keeps_their_files(run_in_cluster, api, tmp_path) -> None:
    [old] = api.answers["/api/v1/secrets"][1]
    out = tmp_path / "out"
    assert run_in_cluster().returncode == 1
    out.rename(tmp_path / "prod")
    out.mkdir()
    for name in ("prod", "stage"):
        shutil.copytree(tmp_path / "prod", out / name)
    (out / "empty").mkdir()
    before = {path: path.read_text() for path in out.rglob("*") if path.is_file()}
    assert run_in_cluster().returncode == 1
    assert {path: path.read_text() for path in before} == before
    assert "prod" not in (out / "README.md").read_text()
    api.answers["/api/v1/secrets"] = (200, [placed(old, "prod")])
    done = run_in_cluster()
    assert (done.returncode, f"{out}/prod/README.md: kept: edited, or of another" in done.stderr) == (2, True)
    assert {path: path.read_text() for path in before} == before
    api.answers["/api/v1/secrets"] = (200, [])
    assert run_in_cluster("--force").returncode == 0
    assert sorted(path.name for path in out.iterdir()) == ["empty", "prod", "stage"]
    assert {path: path.read_text() for path in before} == before


def test_migrate_without_right_to_secrets_writes_nothing(run_in_cluster, api, tmp_path) -> None:
    api.answers["/api/v1/secrets"] = (403, [])
    done = run_in_cluster()
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: cannot read secrets: " in done.stderr
    assert "error: nothing was written: without the legacy Secrets there is no plan" in done.stderr
    assert not (tmp_path / "out").exists()


def test_migrate_of_a_namespace_keeps_the_others_in_the_index(run_in_cluster, api, tmp_path) -> None:
    [old] = api.answers["/api/v1/secrets"][1]
    api.answers["/api/v1/secrets"] = (200, [old, placed(old, "other")])
    assert run_in_cluster().returncode == 1
    assert "| [other](other/README.md) |" in (tmp_path / "out/README.md").read_text()
    api.answers["/api/v1/namespaces/shop/secrets"] = (200, [old])
    api.answers["/api/v1/namespaces/shop"] = (200, {"metadata": {"name": "shop"}})
    run_in_cluster("-n", "shop")
    assert "\n- [other](other/README.md)\n" in (tmp_path / "out/README.md").read_text()


def test_migrate_of_a_part_of_the_cluster_exits_2(run_in_cluster, api, tmp_path) -> None:
    (tmp_path / "out/gone").mkdir(parents=True)
    api.answers["/apis/apps/v1/daemonsets"] = (403, [])
    done = run_in_cluster()
    assert (done.returncode, done.stderr.startswith("error: cannot read daemonsets: ")) == (2, True)
    assert (tmp_path / "out/shop/README.md").exists()
    assert (tmp_path / "out/gone").exists()


def test_checklist_of_an_unreadable_workload_has_hints(run_in_cluster, api, tmp_path) -> None:
    api.answers["/apis/apps/v1/namespaces/shop/deployments"] = (403, [])
    assert run_in_cluster().returncode == 1
    assert "kubectl get deployment web -n shop -o yaml | grep -nF -e old" in readme(tmp_path)


def test_migrate_needs_no_template_engine_before_it_writes() -> None:
    code = "import sys, webhook.cli.migrate; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
