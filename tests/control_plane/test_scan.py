"""A scan of a control plane full of pods: it reports what is there, and its predictions come true."""

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest

from tests.commands import run_command
from tests.control_plane.conftest import INTERNAL_AUDIENCE
from tests.control_plane.crowd import SECRETS, TEAMS, Crowd
from tests.control_plane.installed import KINDS, at
from tests.control_plane.live import account_kubeconfig, install, live, put_policy, revision, revisions
from tests.control_plane.plane import ControlPlane, own_plane
from tests.end_to_end.cluster import LEGACY, is_webhook_called
from tests.formatters.scan_html.reading import Page, agree
from tests.manifests.rendering import render, the
from tests.serving import eventually
from webhook.formatters.scan_json import schema

GUARDED = range(TEAMS - 5, TEAMS)
"""Teams whose pods were created and patched under another policy."""
BEFORE = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
rules: {legacy-token-reference: patch, legacy-token-secret: "off"}
tokens: {audiences: {default: https://vault.example.com}}
inject:
- {name: vault, audience: https://vault.example.com, mountPath: /var/run/secrets/tokens/vault, env: VAULT}
- {name: former, audience: https://former.example.com, mountPath: /var/run/secrets/tokens/former}
overrides:
- {namespaces: [team-53], rules: {api-token-automount: patch}}
"""
POLICY = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
rules: {kubelet-hostpath: reject}
tokens:
  audiences: {allowed: ["https://*.example.com"]}
inject:
- name: vault
  audience: https://vault.example.com
  expirationSeconds: 1800
  mountPath: /var/run/secrets/tokens/vault
  namespaces: ["team-1*", "team-4*"]
  serviceAccounts: [app]
overrides:
- {namespaceLabels: {tier: backend}, mode: warn}
- {namespaces: [team-07], mode: audit}
- {namespaces: [team-08, team-09], rules: {legacy-token-reference: patch, api-token-automount: patch}}
- {namespaces: [team-51], rules: {api-token-automount: reject}}
exemptions:
- {rules: [legacy-token-reference], namespaces: ["team-2*"], serviceAccounts: [robot], reason: soon, until: never}
- {rules: ["*"], namespaces: [nowhere], reason: long gone, until: never}
- {rules: [legacy-token-secret], namespaces: ["team-3*"], reason: it is over, until: 2020-01-01}
- {rules: [legacy-token-secret], users: [admin], reason: by who asks, until: never}
"""
TIGHTER = POLICY.replace("mode: warn", "mode: enforce").replace(
    "rules: {kubelet-hostpath: reject}", "rules: {kubelet-hostpath: reject, token-subpath: reject}"
)

WATCH = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as result:
    result.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""
"""Run in between: a process begins with its parent's peak of memory, and the tests' own is larger than a scan's."""


class Full(NamedTuple):
    """The control plane, who is in it, the server that it asks, and the kubeconfig of who scans."""

    plane: ControlPlane
    crowd: Crowd
    server: Any
    kubeconfig: Path


@pytest.fixture(scope="module")
def crowded_cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    with contextlib.ExitStack() as stack:
        plane = stack.enter_context(own_plane(folder))
        install(plane)
        plane.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": render("manifests/scanner")})
        kubeconfig = account_kubeconfig(plane, folder / "scanner", account="tokenguard-scanner")
        plane.do("create", "serviceaccount", "default", "-n", "default")
        crowd = stack.enter_context(contextlib.closing(Crowd(plane)))
        crowd.fill(range(GUARDED.start))
        put_policy(plane, BEFORE)
        with live(plane, folder / "server", "--audit-level", "all") as server:
            bundle = base64.b64encode(Path(server.log.split("--cacert ")[1].split()[0]).read_bytes()).decode()
            for kind in KINDS:
                configuration = at(the(kind, render("manifests")), server)
                for webhook in configuration["webhooks"]:
                    webhook["clientConfig"]["caBundle"] = bundle
                plane.do("apply", "-f", "-", stdin=configuration)
            eventually(lambda: is_webhook_called(plane))
            crowd.fill(GUARDED)
            put_policy(plane, POLICY)
            eventually(lambda: revisions(server) == {revision(POLICY)})
            yield Full(plane, crowd, server, kubeconfig)


class Done(NamedTuple):
    """A scan that was run: what it printed, its exit status, and its peak memory in MiB where that is measured."""

    stdout: str
    stderr: str
    status: int
    memory: float = 0.0


def run(crowded_cluster: Full, *flags: str, kubeconfig: Path | None = None) -> Done:
    """Run `tokenguard scan` as an account that may do no more than the manifest says."""
    done = run_command("scan", "--kubeconfig", str(kubeconfig or crowded_cluster.kubeconfig), *flags)
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.stdout, done.stderr, done.returncode)


def measure(crowded_cluster: Full, *flags: str) -> Done:
    """Run it in a process of its own, and measure its memory."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOKENGUARD_")}
    command = [sys.executable, "-m", "webhook", "scan", "--kubeconfig", str(crowded_cluster.kubeconfig), *flags]
    with (
        (crowded_cluster.plane.folder / "out").open("w+") as out,
        (crowded_cluster.plane.folder / "err").open("w+") as err,
    ):
        memory = crowded_cluster.plane.folder / "memory"
        watched = [sys.executable, "-c", WATCH, str(memory), *command]
        process = subprocess.run(watched, stdout=out, stderr=err, env=environment, check=False)
        texts = [Path(stream.name).read_text() for stream in (out, err)]
    assert "Traceback" not in texts[1], texts[1]
    return Done(*texts, process.returncode, int(memory.read_text()) / 1024)


def as_json(crowded_cluster: Full, *flags: str) -> Any:
    return json.loads(run(crowded_cluster, "--output", "json", "--unused-days", "0", *flags).stdout)


@pytest.fixture(scope="module")
def scan_run(crowded_cluster):
    return measure(crowded_cluster, "--output", "json", "--unused-days", "0")


@pytest.fixture(scope="module")
def report(scan_run):
    return json.loads(scan_run.stdout)


@pytest.fixture(scope="module")
def text(crowded_cluster):
    return run(crowded_cluster, "--unused-days", "0").stdout


@pytest.fixture(scope="module")
def cluster_objects(crowded_cluster):
    """Return all objects in the cluster by kind, as kubectl prints them."""
    kinds = "pods,secrets,serviceaccounts,rolebindings,deployments,replicasets,statefulsets,daemonsets,jobs,cronjobs"
    by_kind = defaultdict(list)
    for item in json.loads(crowded_cluster.plane.do("get", kinds, "-A", "-o", "json"))["items"]:
        by_kind[item["kind"]].append(item)
    return by_kind


def key(obj):
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def pod_results(report, policy="evaluation"):
    """Return the workload, group and result of every pod, by namespace and name."""
    return {
        (workload["namespace"], name): (workload, group, group[policy]["result"])
        for workload in report["workloads"]
        for group in workload["pods"]
        for name in group["names"]
    }


def test_large_cluster_is_scanned_in_little_memory(crowded_cluster, scan_run, report) -> None:
    assert len(crowded_cluster.crowd.pods) > 2000
    assert len(report["legacySecrets"]) == TEAMS * SECRETS > 500
    assert (scan_run.status, report["exitStatus"], report["unread"]) == (1, 1, [])
    assert scan_run.memory < 200


def test_report_matches_its_schema(report) -> None:
    report_schema = schema()
    jsonschema.Draft202012Validator.check_schema(report_schema)
    jsonschema.Draft202012Validator(report_schema, format_checker=jsonschema.FormatChecker()).validate(report)


def test_every_pod_is_reported_once_under_its_owner(cluster_objects, report) -> None:
    results = pod_results(report)
    assert sum(len(group["names"]) for workload in report["workloads"] for group in workload["pods"]) == len(results)
    assert set(results) == {key(pod) for pod in cluster_objects["Pod"]}
    behind = {("ReplicaSet", *key(replica_set)): replica_set for replica_set in cluster_objects["ReplicaSet"]}
    behind |= {("Job", *key(job)): job for job in cluster_objects["Job"]}
    for pod in cluster_objects["Pod"]:
        namespace, name = key(pod)
        expected = ("Pod", name)
        owner = pod
        while owner and owner["metadata"].get("ownerReferences"):
            [reference] = owner["metadata"]["ownerReferences"]
            expected = (reference["kind"], reference["name"])
            owner = behind.get((reference["kind"], namespace, reference["name"]))
        workload = results[namespace, name][0]
        assert (workload["kind"], workload["name"]) == expected


def fields(value, field=""):
    """Yield every text in a manifest with the last names of the fields that lead to it."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from fields(item, f"{field.rpartition('.')[2]}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from fields(item, field)
    elif isinstance(value, str):
        yield field, value


def secrets_named(pod):
    return [
        value
        for field, value in fields(pod["spec"])
        if field in {"secret.secretName", "secretKeyRef.name", "secretRef.name"}
    ]


def test_legacy_secrets_are_reported_with_their_references(cluster_objects, report) -> None:
    legacy = {key(secret): secret for secret in cluster_objects["Secret"] if secret["type"] == LEGACY}
    naming = defaultdict(set)
    for pod in cluster_objects["Pod"]:
        for name in secrets_named(pod):
            naming[pod["metadata"]["namespace"], name].add(pod["metadata"]["name"])
    secrets = {(secret["namespace"], secret["name"]): secret for secret in report["legacySecrets"]}
    assert secrets.keys() == legacy.keys()
    for where, secret in secrets.items():
        meta = legacy[where]["metadata"]
        labels = meta.get("labels", {})
        assert secret["account"] == meta["annotations"]["kubernetes.io/service-account.name"]
        assert secret["created"] == meta["creationTimestamp"]
        assert secret["lastUsed"] == labels.get("kubernetes.io/legacy-token-last-used")
        assert secret["invalidSince"] == labels.get("kubernetes.io/legacy-token-invalid-since")
        assert {pod for reference in secret["references"] for pod in reference["pods"]} == naming[where]
        assert secret["listedBy"] == (["robot"] if secret["name"] in ("token-0", "token-5") else [])
        referred = bool(secret["references"])
        assert secret["unusedSince"] == report["trackedSince"]
        assert secret["removable"] is not referred
    assert any(secret["removable"] for secret in secrets.values())
    assert report["trackedSince"]


def test_tokens_are_counted_by_their_real_lifetime(cluster_objects, report) -> None:
    legacy = {key(secret) for secret in cluster_objects["Secret"] if secret["type"] == LEGACY}
    counted: Counter[tuple[str, int | None]] = Counter()
    for pod in cluster_objects["Pod"]:
        for volume in pod["spec"].get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                if token := source.get("serviceAccountToken"):
                    audience = token.get("audience", "").replace("https://kubernetes.default.svc", "")
                    seconds = token["expirationSeconds"]
                    counted[audience, 31_536_000 if seconds == 3607 and not audience else seconds] += 1
        namespace = pod["metadata"]["namespace"]
        counted["", None] += sum((namespace, name) in legacy for name in secrets_named(pod))
    assert {
        (token["audience"], token["lifetimeSeconds"]): token["now"] for token in report["tokens"] if token["now"]
    } == counted


def test_accounts_without_bindings_have_no_permissions(cluster_objects, report) -> None:
    bound = {
        (subject.get("namespace"), subject["name"])
        for binding in cluster_objects["RoleBinding"]
        for subject in binding.get("subjects", [])
    }
    accepted = ["", *report["policy"]["apiAudiences"]["names"]]
    with_tokens = Counter(
        (pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"])
        for pod in cluster_objects["Pod"]
        if any(
            source["serviceAccountToken"].get("audience", "") in accepted
            for volume in pod["spec"].get("volumes", [])
            for source in volume.get("projected", {}).get("sources", [])
            if "serviceAccountToken" in source
        )
    )
    without_permissions = {
        (account["namespace"], account["name"]): account["pods"]
        for account in report["accountsWithTokens"]
        if account["grants"] == [] and account["pods"]
    }
    assert without_permissions == {account: count for account, count in with_tokens.items() if account not in bound}
    assert without_permissions


def test_exemptions_have_the_status_of_their_use(report) -> None:
    used, unused, ended, unknown = report["exemptions"]
    exempt = [result for _, _, result in pod_results(report).values() if result["exemptions"]]
    accounts = [account for account in report["accounts"] if account["result"]["exemptions"]]
    covered = used["covers"]
    assert (used["status"], covered["serviceAccounts"], covered["secrets"]) == ("in use", len(accounts), 0)
    assert (covered["pods"], covered["workloads"]) == (len(exempt), report["summary"]["exempt"]["workloads"])
    assert len(exempt) > 50
    assert len(accounts) == 10
    assert (unused["status"], {*unused["covers"].values()}, unused["rules"]) == ("unused", {0}, ["*"])
    in_use = [secret for secret in report["legacySecrets"] if not (secret["removable"] or secret["invalidSince"])]
    covered = sum(secret["namespace"].startswith("team-3") for secret in in_use)
    assert (ended["status"], ended["covers"]["secrets"]) == ("expired", covered)
    assert covered > 10
    assert (unknown["status"], unknown["users"]) == ("unknown", ["admin"])


def test_recreated_pods_get_the_predicted_decisions(crowded_cluster, report, cluster_objects) -> None:
    before = len(crowded_cluster.server.audit)
    answers = crowded_cluster.crowd.again()
    lines_by_pod: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for line in crowded_cluster.server.audit[before:]:
        if line["resource"] == "pods" and line["dryRun"]:
            lines_by_pod[line["namespace"], line["name"].removesuffix("-again")].append(line)
    live_pods = {key(pod): pod for pod in cluster_objects["Pod"]}
    results = pod_results(report)
    differing, outcomes = {}, Counter()
    for where, (status, _, _) in answers.items():
        if is_altered(crowded_cluster.crowd.pods[where], live_pods[where]):
            continue
        lines = lines_by_pod[where]
        predicted = results[where][2]
        seen = {
            (finding["rule"], finding["action"], finding["path"], finding["detail"])
            for line in lines
            for finding in line["findings"]
        }
        expected = {
            (finding["rule"], finding["action"], finding["path"], finding["detail"])
            for finding in predicted["findings"]
        }
        outcome = outcome_of(lines)
        outcomes[outcome] += 1
        if (status == 403) != (predicted["outcome"] == "denied") or seen != expected or outcome != predicted["outcome"]:
            differing[where] = (outcome, predicted["outcome"], seen ^ expected)
    assert differing == {}
    assert min(outcomes[outcome] for outcome in ("denied", "patched", "warned", "allowed")) > 20
    assert sum(outcomes.values()) > 2000


def test_admission_patches_hide_no_finding_of_the_next_pods(report, cluster_objects) -> None:
    results = pod_results(report)
    outcomes = Counter()
    for pod in cluster_objects["Pod"]:
        names = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        if "tokenguard-former" in names and pod["metadata"].get("ownerReferences"):
            workload, _, result = results[key(pod)]
            template = workload["nextPod"]["evaluation"]["result"]
            assert result == template or workload["kind"] in ("Deployment", "CronJob")
            outcomes[result["outcome"]] += 1
    assert min(outcomes["denied"], outcomes["patched"]) > 5


def outcome_of(lines):
    """Return what became of a pod, by what the two webhooks logged of it."""
    decisions = {line["webhook"]: line["decision"] for line in lines}
    if decisions["validate"] == "denied":
        return "denied"
    return "patched" if decisions["mutate"] == "patched" else decisions["validate"]


def is_altered(written, live):
    """Say whether a pod that nothing makes was changed in what its author wrote, which nobody can know any more."""
    if written["metadata"].get("ownerReferences"):
        return False
    spec, live_spec = written["spec"], live["spec"]
    volumes = {volume["name"]: volume for volume in live_spec.get("volumes", [])}
    automount = "automountServiceAccountToken"
    return spec.get(automount) != live_spec.get(automount) or any(
        tokens(volume) != tokens(volumes[volume["name"]]) for volume in spec.get("volumes", [])
    )


def tokens(volume):
    """Return what of a volume is about tokens."""
    sources = [source.get("serviceAccountToken", {}) for source in volume.get("projected", {}).get("sources", [])]
    requested = [(item.get("audience"), item.get("expirationSeconds", 3600)) for item in sources]
    return volume.get("secret", {}).get("secretName"), requested


def numbers(line):
    return [int(match) for match in re.findall(r"\d+", line)]


def row(text, name):
    [line] = [line for line in text.partition("\n\n")[0].splitlines() if line.startswith(name)]
    return line.removeprefix(name)


def test_summary_is_not_cut_and_agrees_with_the_json(text, report) -> None:
    summary, _, details = text.partition("\n\n")
    assert "…" not in summary
    for name, kind in (
        ("pods", "pods"),
        ("workloads (worst outcome)", "workloads"),
        ("legacy Secrets in use", "secrets"),
    ):
        counts = report["summary"][kind]
        assert numbers(row(text, name)) == [counts[outcome] for outcome in ("denied", "patched", "warned", "allowed")]
    for rule in {count["rule"] for count in report["ruleCounts"]}:
        by_action = Counter()
        for count in report["ruleCounts"]:
            by_action[count["action"]] += count["count"] * (count["rule"] == rule)
        assert numbers(row(text, f"  {rule} ")) == [
            by_action[action] for action in ("reject", "patch", "warn", "audit")
        ]
    assert f"accounts   {len(report['accountsWithTokens'])} with API tokens: " in summary
    assert f"{sum(secret['removable'] for secret in report['legacySecrets'])} safe to delete" in summary
    entries = re.findall(r"^  (?:Secret/|and (\d+) more Secret)", details, re.MULTILINE)
    assert sum(int(number or 1) for number in entries) == len(report["legacySecrets"])


def test_html_page_agrees_with_the_json(crowded_cluster, report) -> None:
    done = measure(crowded_cluster, "--output", "html", "--unused-days", "0")
    assert done.status == 1
    assert done.memory < 200
    agree(Page(done.stdout), report)


def findings(workload):
    """Return the findings for the author of a workload's pods, as the text report prints them."""
    groups = [*workload["pods"], *filter(None, [workload["nextPod"]])]
    results = [group["evaluation"]["result"] for group in groups]
    authored = [finding for result in results for finding in result["findings"] if finding["authored"]]
    exempt = [exempted for result in results for exempted in result["exemptions"] if exempted["authored"]]
    lines = {f"{finding['action']}: {finding['rule']}: {finding['path']} {finding['detail']}" for finding in authored}
    return lines | {
        f"exempt: {exempted['rule']}: {exempted['path']} {exempted['detail']}"
        f" (exemption without end: {exempted['reason']})"
        for exempted in exempt
    }


def test_details_list_the_owners_of_the_json(text, report) -> None:
    expected = {(row["namespace"], f"{row['kind']}/{row['name']}"): findings(row) for row in report["workloads"]}
    shown, folded = {}, 0
    for section in re.findall(r"^workloads: \w+ if recreated(?:\n  .+)*", text, re.MULTILINE):
        for entry in re.split(r"\n  (?=\S)", section)[1:]:
            title, _, rest = entry.partition("\n")
            if re.match(r"\d+ (other )?workloads?, only for the API server's token|--output html and json", title):
                continue
            name, namespace = re.match(r"(\S+) in ([\w-]+)", title).groups()
            more = re.search(r"; and (\d+) more workload", title)
            folded += int(more[1]) if more else 0
            shown[namespace, name] = set(
                re.findall(r"^    (.*?)(?: \((?:\d+ of|not|template) .*\))?$", rest, re.MULTILINE)
            )
            shown[namespace, name] = {line for line in shown[namespace, name] if "see 'API server tokens" not in line}
    assert shown == {workload: expected[workload] for workload in shown}
    assert len(shown) + folded == sum(bool(lines) for lines in expected.values())
    assert folded


@pytest.mark.parametrize("flags", [(), ("--exempt-secrets",), ("--audiences-by-namespace",)])
def test_policy_init_drafts_a_policy_that_denies_nothing(crowded_cluster, tmp_path, flags) -> None:
    draft = tmp_path / "draft.yaml"
    done = run_command("policy", "init", *flags, "--kubeconfig", str(crowded_cluster.kubeconfig))
    assert done.returncode == 0
    assert re.fullmatch(
        r"scanned \d+ workloads and \d+ legacy Secrets; in mode enforce, .* nothing that the scan saw running; .*\n",
        done.stderr,
    )
    draft.write_text(done.stdout)
    for unused_days in ("30", "0"):  # in the second scan, no Secret without a reference is in use
        scanned = run(crowded_cluster, "--policy", str(draft), "--unused-days", unused_days, "--output", "json")
        checked = json.loads(scanned.stdout)
        assert (checked["policy"]["mode"], checked["exitStatus"], scanned.status) == ("enforce", 0, 0)
        assert [checked["summary"][kind]["denied"] for kind in ("pods", "workloads")] == [0, 0]
        rejecting = {count["rule"] for count in checked["ruleCounts"] if count["action"] == "reject"}
        assert rejecting == (set() if "--exempt-secrets" in flags else {"legacy-token-secret"})
        idle = [secret for secret in checked["legacySecrets"] if secret["removable"] or secret["invalidSince"]]
        assert idle
        assert all(secret["result"] is None for secret in idle)
        assert sum(checked["summary"]["secrets"].values()) == len(checked["legacySecrets"]) - len(idle)


def test_filters_limit_the_report(crowded_cluster, report) -> None:
    done = as_json(crowded_cluster, "-n", "team-0*", "-n", "team-20")
    wanted = [row for row in report["workloads"] if re.fullmatch("team-0.|team-20", row["namespace"])]
    assert done["workloads"] == wanted
    assert done["summary"]["namespaces"] == 11
    filtered = as_json(crowded_cluster, "--rule", "token-subpath")
    assert {count["rule"] for count in filtered["ruleCounts"]} == {"token-subpath"}
    assert (filtered["exitStatus"], filtered["summary"]) == (1, report["summary"])
    of_rule = [count for count in report["ruleCounts"] if count["rule"] == "token-subpath"]
    assert filtered["ruleCounts"] == of_rule
    rejections = run(crowded_cluster, "--action", "reject", "--rule", "kubelet-hostpath")
    assert rejections.status == 1
    assert "patch:" not in rejections.stdout


def test_scan_compares_two_policies(crowded_cluster, report, tmp_path) -> None:
    (tmp_path / "tighter.yaml").write_text(TIGHTER)
    both = as_json(crowded_cluster, "--simulate", str(tmp_path / "tighter.yaml"))
    alone = as_json(crowded_cluster, "--policy", str(tmp_path / "tighter.yaml"))
    assert results(both) == results(report)
    assert results(both, "simulated") == results(alone)
    newly = {key for key, result in results(both, "simulated").items() if result["outcome"] == "denied"}
    newly -= {key for key, result in results(both).items() if result["outcome"] == "denied"}
    reported = {
        (workload["namespace"], name)
        for workload in both["workloads"]
        for group in workload["pods"]
        for name in group["names"]
        if group["change"] == "newly denied"
    }
    assert reported == newly
    assert len(newly) > 50
    text = run(crowded_cluster, "--simulate", str(tmp_path / "tighter.yaml")).stdout
    changed = Counter(workload["change"] for workload in both["workloads"])
    assert f"\nworkloads  {changed['newly denied']} newly denied" in text


def results(report, policy="evaluation"):
    return {where: result for where, (_, _, result) in pod_results(report, policy).items()}


def test_scan_only_lists_and_only_legacy_secrets(crowded_cluster, scan_run) -> None:
    events = [json.loads(line) for line in crowded_cluster.plane.audit.splitlines()]
    by_scanner = [entry for entry in events if entry["user"]["username"].endswith(":tokenguard-scanner")]
    of_secrets = [entry["requestURI"] for entry in by_scanner if "/secrets" in entry["requestURI"]]
    assert {entry["verb"] for entry in by_scanner if "objectRef" in entry} == {"list"}
    without_object = {entry["requestURI"] for entry in by_scanner if "objectRef" not in entry}
    assert without_object == {"/.well-known/openid-configuration", "/apis"}
    assert of_secrets
    kind, used = "kubernetes.io/service-account-token", "labelSelector=kubernetes.io/legacy-token-last-used"
    assert all(f"fieldSelector=type%3D{kind}" in uri or used in uri for uri in of_secrets)
    assert any(used in uri and f"fieldSelector=type%21%3D{kind}" in uri for uri in of_secrets)
    assert "limit=500&continue=" in "".join(
        entry["requestURI"] for entry in by_scanner if "/pods" in entry["requestURI"]
    )
    assert "made-up" not in scan_run.stdout + scan_run.stderr


@pytest.mark.covers("threat-model: CSI driver")
def test_tokens_of_csi_drivers_are_reported(crowded_cluster) -> None:
    requests = [{"audience": "https://vault.example.com", "expirationSeconds": 86400}, {"audience": ""}]
    driver = {
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "vault.example.com"},
        "spec": {"tokenRequests": requests},
    }  # fmt: skip
    crowded_cluster.plane.do("apply", "-f", "-", stdin=driver)
    try:
        [driver] = as_json(crowded_cluster)["csiDrivers"]
        done = run(crowded_cluster)
        narrowed = as_json(crowded_cluster, "-n", "team-01")
    finally:
        crowded_cluster.plane.do("delete", "csidriver", "vault.example.com")
    assert [(finding["rule"], finding["action"], finding["path"]) for finding in driver["result"]["findings"]] == [
        ("token-expiration", "warn", "spec.tokenRequests[0]"), ("token-audience", "warn", "spec.tokenRequests[1]"),
    ]  # fmt: skip
    assert "CSIDriver/vault.example.com: warn: token-expiration: spec.tokenRequests[0]" in done.stdout
    assert narrowed["csiDrivers"] == []


def test_missing_permission_to_list_pods_is_named(crowded_cluster, tmp_path) -> None:
    own = account_kubeconfig(crowded_cluster.plane, tmp_path)
    done = run(crowded_cluster, kubeconfig=own)
    assert (done.status, done.stdout) == (2, "")
    assert "HTTP 403" in done.stderr
    assert "kubectl auth can-i list pods --all-namespaces; manifests/scanner grants it" in done.stderr


def test_refused_lists_are_reported_and_never_clean(crowded_cluster, tmp_path) -> None:
    plane = crowded_cluster.plane
    plane.do("create", "serviceaccount", "partial", "-n", "tokenguard")
    plane.do("create", "clusterrole", "partial", "--verb=list", "--resource=pods,namespaces,replicasets.apps")
    plane.do("create", "clusterrolebinding", "partial", "--clusterrole=partial", "--serviceaccount=tokenguard:partial")
    own = account_kubeconfig(plane, tmp_path, account="partial")
    (tmp_path / "policy.yaml").write_text(POLICY.replace("{kubelet-hostpath: reject}", "{token-audience: warn}"))
    done = run(crowded_cluster, "--policy", str(tmp_path / "policy.yaml"), "-n", "team-01", kubeconfig=own)
    assert done.status == 2
    for what in ("secrets", "serviceaccounts", "deployments"):
        assert f"not read: {what}" in done.stdout
    assert "not read, as that needs more permissions: roles in team-01, rolebindings in team-01, " in done.stdout
    assert ", ConfigMap kube-system/" in done.stdout
    assert "\nincomplete outcomes may be wrong: could not read " in done.stdout.partition("\n\n")[0]
    assert "kubectl auth can-i list deployments.apps -n team-01" in done.stdout
    refused = run(crowded_cluster, kubeconfig=own)
    assert refused.status == 2
    assert "cannot read the cluster's policy" in refused.stderr


def _without_accounts(workload):
    """Return a workload without what its accounts may do, which the roles of the whole cluster say."""
    return {key: value for key, value in workload.items() if key != "accounts"}


def test_scan_with_rights_in_one_namespace_reports_that_one(crowded_cluster, tmp_path) -> None:
    plane = crowded_cluster.plane
    plane.do("create", "serviceaccount", "lead", "-n", "tokenguard")
    plane.do(
        "create",
        "rolebinding",
        "lead",
        "--clusterrole=tokenguard-scanner",
        "--serviceaccount=tokenguard:lead",
        "-n",
        "team-01",
    )
    own = account_kubeconfig(plane, tmp_path, account="lead")
    (tmp_path / "policy.yaml").write_text(POLICY)
    flags = ("--policy", str(tmp_path / "policy.yaml"), "-n", "team-01", "--output", "json")
    by_lead, by_scanner = (run(crowded_cluster, *flags, kubeconfig=token) for token in (own, None))
    assert by_lead.status == by_scanner.status != 2
    by_lead_report, whole = json.loads(by_lead.stdout), json.loads(by_scanner.stdout)
    assert (
        [_without_accounts(workload) for workload in by_lead_report["workloads"]]
        == [_without_accounts(workload) for workload in whole["workloads"]]
        != []
    )
    assert by_lead_report["summary"] == whole["summary"]
    assert {resource["resource"]: resource["affectsDecisions"] for resource in by_lead_report["unread"]} == {
        "clusterroles": False,
        "clusterrolebindings": False,
        "validatingwebhookconfigurations": False,
        "ConfigMap kube-system/kube-apiserver-legacy-service-account-token-tracking": False,
    }
    events = [json.loads(line) for line in plane.audit.splitlines()]
    listed = {entry["requestURI"].partition("?")[0] for entry in events if entry["user"]["username"].endswith(":lead")}
    assert "/api/v1/namespaces/team-01/pods" in listed
    assert "/api/v1/pods" not in listed
    other = run(crowded_cluster, "--policy", str(tmp_path / "policy.yaml"), "-n", "team-02", kubeconfig=own)
    assert other.status == 2
    assert "kubectl auth can-i list pods -n team-02" in other.stderr


@pytest.fixture(scope="module")
def internal_cluster(internal_plane, tmp_path_factory):
    """Return a control plane whose API server has an audience of its own, and the kubeconfig of who scans."""
    scanner = {"apiVersion": "v1", "kind": "List", "items": render("manifests/scanner")}
    internal_plane.do("apply", "-f", "-", stdin=scanner)
    folder = tmp_path_factory.mktemp("scanner")
    kubeconfig = account_kubeconfig(internal_plane, folder, account="tokenguard-scanner")
    return internal_plane, Full(internal_plane, None, None, kubeconfig)


USUAL = "https://kubernetes.default.svc"


def projecting(audience, name, **more):
    sources = [{"serviceAccountToken": {"path": "t", "audience": audience, "expirationSeconds": 3600}}]
    mounts = [{"name": "t", "mountPath": "/t"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": {
        "automountServiceAccountToken": False, "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "x", "volumeMounts": mounts}],
        "volumes": [{"name": "t", "projected": {"sources": sources}}], **more,
    }}  # fmt: skip


def test_api_audiences_are_read_given_or_assumed(internal_cluster, tmp_path) -> None:
    plane, scanner = internal_cluster
    plane.do("create", "serviceaccount", "default", "-n", "default")
    for name, audience in (("own", INTERNAL_AUDIENCE), ("usual", USUAL)):
        plane.do("apply", "-f", "-", stdin=projecting(audience, name))
    (tmp_path / "policy.yaml").write_text(
        f"{POLICY.partition('rules:')[0]}tokens: {{audiences: {{allowed: [nobody]}}}}\n"
    )
    flags = ("--policy", str(tmp_path / "policy.yaml"), "-n", "default")
    by_certificate = {"kubeconfig": plane.folder / "kubeconfig"}
    for more, options, source, denied in (
        ((), {}, "token", "usual"),
        (("--api-audience", INTERNAL_AUDIENCE), by_certificate, "given", "usual"),
        ((), by_certificate, "assumed", "own"),
    ):
        report = json.loads(run(scanner, *flags, *more, "--output", "json", **options).stdout)
        outcomes = {workload["name"]: workload["outcome"] for workload in report["workloads"]}
        assert report["policy"]["apiAudiences"]["source"] == source
        assert [name for name, outcome in outcomes.items() if outcome == "denied"] == [denied]


def test_finished_pods_are_left_out(internal_cluster) -> None:
    plane, scanner = internal_cluster
    plane.do("create", "namespace", "over")
    plane.do("create", "serviceaccount", "default", "-n", "over")
    pod = projecting("", "done")
    pod["metadata"]["namespace"] = "over"
    plane.do("apply", "-f", "-", stdin=pod)
    plane.do("create", "job", "once", "-n", "over", "--image=x")
    before = json.loads(run(scanner, "-n", "over", "--output", "json").stdout)
    assert [(workload["group"], workload["kind"], workload["name"]) for workload in before["workloads"]] == [
        ("batch", "Job", "once"),
        ("", "Pod", "done"),
    ]
    status = ["patch", "-n", "over", "--subresource=status", "--type=merge", "-p"]
    now = "2026-01-01T00:00:00Z"
    types = ("SuccessCriteriaMet", "Complete") if plane.version >= (1, 31) else ("Complete",)
    ended = [{"type": type_, "status": "True", "lastTransitionTime": now} for type_ in types]
    done = {"startTime": now, "completionTime": now, "conditions": ended}
    plane.do(*status, json.dumps({"status": done}), "job", "once")
    plane.do(*status, '{"status": {"phase": "Succeeded"}}', "pod", "done")
    after = json.loads(run(scanner, "-n", "over", "--output", "json").stdout)
    assert (after["workloads"], after["tokens"], after["summary"]["finishedPods"]) == ([], [], 1)
