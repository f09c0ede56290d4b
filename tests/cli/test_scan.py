"""The `scan` command: its options, which cluster it looks at, and how it fails. What it finds is in `tests/scan`."""

import json
import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.cli.list_server import configured, serve_lists
from tests.policies import HEAD
from tests.tokens.signing import pod_claims, signer
from webhook.cli import main
from webhook.formatters import scan_json

POD = {"metadata": {"name": "a", "namespace": "shop"}, "spec": {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}}
STRICT = f"{HEAD}rules: {{kubelet-hostpath: reject}}\n"
SOUND = f'{HEAD}rules: {{kubelet-hostpath: "off"}}\n'


@pytest.fixture
def api():
    with serve_lists() as server:
        server.answers = {"/api/v1/pods": (200, [POD])}
        yield server


@pytest.fixture
def url(api) -> str:
    return f"http://127.0.0.1:{api.server_port}"


@pytest.fixture
def kubeconfig(url, tmp_path) -> Path:
    return configured(tmp_path / "kubeconfig", here=url)


@pytest.fixture
def policy(tmp_path):
    def write(document: str) -> str:
        (tmp_path / "policy.yaml").write_text(document)
        return str(tmp_path / "policy.yaml")

    return write


def run(*flags, charset="utf-8", given=None, **environment):
    unset = dict.fromkeys(("KUBECONFIG", "TOKENGUARD_KUBECONFIG", "KUBERNETES_SERVICE_HOST"))
    return CliRunner(charset).invoke(main, ["scan", *map(str, flags)], given, unset | environment)


def test_scan_without_policy_uses_the_default_one(kubeconfig, url) -> None:
    done = run("--kubeconfig", kubeconfig)
    assert done.exit_code == 0
    assert f"cluster    {url}, " in done.stdout
    assert ", enforce: default policy, as there is no ConfigMap tokenguard/token-policy\n" in done.stdout
    assert "warn: kubelet-hostpath: spec.volumes[0].hostPath" in done.stdout


WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
INSTALLED = {"metadata": {"name": "tokenguard", "creationTimestamp": "2026-01-01T00:00:00Z"}, "webhooks": []}
NOT_COMPARED = "none, as there is no tokenguard/token-policy: compared with a cluster in which nothing is evaluated\n"


@pytest.mark.parametrize("case", [
    pytest.param(([], [], NOT_COMPARED, "1 newly denied"), id="nothing is evaluated"),
    pytest.param(([INSTALLED], [], "enforce: default policy, as there is no ", "no change"), id="a webhook"),
    pytest.param(([], ["--mode", "enforce"], "enforce: --mode enforce, default policy, ", "no change"), id="a mode"),
    pytest.param(([], ["--policy", "-"], "enforce: -\n", "no change"), id="a policy"),
])  # fmt: skip
def test_simulate_without_policy_compares_with_no_evaluation(api, kubeconfig, tmp_path, case) -> None:
    webhooks, flags, base, change = case
    (tmp_path / "policy.yaml").write_text(HEAD)
    reading = {"name": "a", "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "old", "key": "token"}}}]}
    api.answers["/api/v1/pods"] = (200, [{**POD, "spec": {"containers": [reading]}}])
    api.answers["/api/v1/secrets"] = (200, [{"metadata": {"name": "old", "namespace": "shop"}}])
    api.answers[WEBHOOKS] = (200, webhooks)
    done = run("--kubeconfig", kubeconfig, "--simulate", tmp_path / "policy.yaml", *flags, given=HEAD)
    assert f"policy     {base}" in re.sub(r"\b[0-9a-f]{12}, ", "", done.stdout)
    assert f"\nworkloads  {change}\n" in done.stdout


def test_scan_uses_the_clusters_policy_unless_given_another(api, kubeconfig, policy) -> None:
    held = {"metadata": {"name": "token-policy"}, "data": {"policy.yaml": STRICT}}
    api.answers["/api/v1/namespaces/tokenguard/configmaps"] = (200, [held])
    own = run("--kubeconfig", kubeconfig)
    assert (own.exit_code, "enforce: ConfigMap tokenguard/token-policy\n" in own.stdout) == (1, True)
    assert run("--kubeconfig", kubeconfig, "--policy", policy(SOUND)).exit_code == 0
    assert run("--kubeconfig", kubeconfig, "--simulate", policy(SOUND)).exit_code == 0


@pytest.mark.parametrize("environment", [{}, {"TOKENGUARD_POLICY_CONFIGMAP": "other/policy"}], ids=["flag", "variable"])
@pytest.mark.parametrize("labeled", [[], [{"metadata": {"name": "token-policy", "namespace": "tokenguard"}}], None])
def test_scan_given_configmap_that_is_missing_exits_2(api, kubeconfig, labeled, environment) -> None:
    flags = [] if environment else ["--policy-configmap", "other/policy"]
    api.answers["/api/v1/configmaps"] = (403, []) if labeled is None else (200, labeled)
    done = run("--kubeconfig", kubeconfig, *flags, **environment)
    others = "; policies of this cluster: tokenguard/token-policy" if labeled else ""
    missing = f"--policy-configmap: ConfigMap other/policy does not exist in this cluster{others}"
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {missing}\n")


def test_scan_report_names_context_and_version(url, tmp_path) -> None:
    file = configured(tmp_path / "two", here=url, there=url)
    for flags, context in (([], "here"), (["--context", "there"], "there")):
        assert f"\ncontext    {context}\n" in run("--kubeconfig", file, *flags).stdout
        report = json.loads(run("--kubeconfig", file, "--output", "json", *flags).stdout)
        assert (report["context"], report["toolVersion"]) == (context, metadata.version("tokenguard-webhook"))


OWN = pytest.mark.parametrize(
    ("flags", "environment"),
    [
        pytest.param(["--own-namespace", "security"], {}, id="flag"),
        pytest.param([], {"TOKENGUARD_OWN_NAMESPACE": "security"}, id="environment"),
        pytest.param(["--policy-configmap", "security/token-policy"], {}, id="policy"),
    ],
)


@OWN
def test_scan_leaves_alone_the_namespace_of_the_installation(api, kubeconfig, flags, environment) -> None:
    held = {"metadata": {"name": "token-policy"}, "data": {"policy.yaml": STRICT}}
    api.answers["/api/v1/namespaces/security/configmaps"] = (200, [held])
    api.answers["/api/v1/pods"] = (200, [POD | {"metadata": {"name": "a", "namespace": "security"}}])
    done = run("--kubeconfig", kubeconfig, *flags, **environment)
    assert (done.exit_code, "enforce: ConfigMap security/token-policy\n" in done.stdout) == (0, True), done.output


@pytest.mark.parametrize("environment", [{}, {"TOKENGUARD_OWN_NAMESPACE": "security"}], ids=["flag", "environment"])
def test_scan_own_namespace_wins_over_that_of_the_policy(api, kubeconfig, environment) -> None:
    held = {"metadata": {"name": "token-policy"}, "data": {"policy.yaml": STRICT}}
    api.answers["/api/v1/namespaces/policies/configmaps"] = (200, [held])
    flags = ["--policy-configmap", "policies/token-policy", *([] if environment else ["--own-namespace", "security"])]
    for namespace, status in (("security", 0), ("policies", 1)):
        api.answers["/api/v1/pods"] = (200, [POD | {"metadata": {"name": "a", "namespace": namespace}}])
        assert run("--kubeconfig", kubeconfig, *flags, **environment).exit_code == status


def test_scan_html_is_written_to_stdout(kubeconfig) -> None:
    done = run("--kubeconfig", kubeconfig, "--output", "html")
    assert done.stdout.startswith("<!DOCTYPE html>")
    assert done.stdout.endswith("</html>\n")
    assert done.exit_code == run("--kubeconfig", kubeconfig).exit_code


def test_scan_json_matches_its_schema(kubeconfig) -> None:
    done = run("--kubeconfig", kubeconfig, "--output", "json")
    assert set(json.loads(done.stdout)) == set(scan_json.schema()["properties"])
    assert run("--schema").stdout == json.dumps(scan_json.schema(), indent=2) + "\n"


def test_scan_summary_is_the_start_of_the_report(kubeconfig) -> None:
    full, summary = run("--kubeconfig", kubeconfig), run("--kubeconfig", kubeconfig, "--summary")
    assert summary.exit_code == full.exit_code
    shown = set(summary.stdout.splitlines()[2:])
    assert shown < set(full.stdout.splitlines())
    assert "warn: kubelet-hostpath" not in summary.stdout


def test_scan_warns_about_a_folder_without_checklists(kubeconfig, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some plans" / "shop").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "some plans" / "shop" / "README.md").touch()
    warnings = [
        run("--kubeconfig", kubeconfig, "-o", "html", "--checklists", given).stderr.partition("; ")[0]
        for given in ("absent", "empty", "some%20plans", "https://git.example.com/plans")
    ]
    assert warnings == [
        "warning: --checklists absent: no such folder in the working directory",
        "warning: --checklists empty: has no checklist",
        "",
        "",
    ]


def test_scan_shows_the_source_of_api_audiences(kubeconfig) -> None:
    assert "audiences  the API server's, assumed (see --api-audience): " in run("--kubeconfig", kubeconfig).stdout
    given = run("--kubeconfig", kubeconfig, "--api-audience", "a", "--api-audience", "b", "--output", "json")
    assert json.loads(given.stdout)["policy"]["apiAudiences"] == {"names": ["a", "b"], "source": "given"}


NAMED = {**POD, "metadata": {"name": "é∑", "namespace": "shop"}}


@pytest.mark.parametrize("charset", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("output", ["json", "html", "text"])
def test_scan_output_in_any_encoding_is_complete(api, kubeconfig, policy, output, charset) -> None:
    api.answers["/api/v1/pods"] = (200, [NAMED])
    flags = ("--kubeconfig", kubeconfig, "--output", output, "--simulate", policy(STRICT))
    done = run(*flags, charset=charset)
    assert done.exit_code == 1
    if output == "text":
        written = "utf-8" if charset == "ascii" else charset  # as click writes by default
        readable = "é∑".encode(written, "backslashreplace").decode(written)
        text = done.stdout_bytes.decode(written)
        assert f"workloads: newly denied if recreated\n  Pod/{readable} in shop, " in text
        assert f"recreated: policy {'>' if written == 'cp1252' else '→'} simulated" in text
    else:
        assert "é∑" in done.stdout_bytes.decode("utf-8")
    assert done.stdout_bytes.endswith({"json": b"\n}\n", "html": b"</html>\n", "text": b"\n"}[output])


@pytest.mark.parametrize(("given", "said"), [
    ("defualt", 'error: --namespace "defualt": no such namespace; did you mean "default"?\n'),
    ("prod-*", 'error: --namespace "prod-*": no such namespace\n'),
])  # fmt: skip
def test_scan_unknown_namespace_exits_2(api, kubeconfig, given, said) -> None:
    names = [*(f"aa-{number}" for number in range(300)), "default", "shop"]
    api.answers["/api/v1/namespaces"] = (200, [{"metadata": {"name": name}} for name in names])
    done = run("--kubeconfig", kubeconfig, "-n", "sh*", "-n", given)
    assert (done.exit_code, done.stdout, done.stderr.splitlines(keepends=True)[-1]) == (2, "", said)
    assert run("--kubeconfig", kubeconfig, "-n", "sh*", "-n", "default").exit_code == 0


@pytest.mark.parametrize("given", ["..", ".", "Shop", "a/b", "x" * 64, "ci,shop", "a*,b"])
def test_scan_invalid_namespace_name_sends_no_request(api, kubeconfig, given) -> None:
    done = run("--kubeconfig", kubeconfig, "-n", given)
    assert done.exit_code == 2
    assert "is not a namespace name" in done.stderr
    assert api.requests == []


def test_scan_namespaces_with_comma_hints_at_repeating(kubeconfig) -> None:
    assert "repeat the option for each namespace" in run("--kubeconfig", kubeconfig, "-n", "ci,shop").stderr


def test_scan_repeated_namespace_counts_once(kubeconfig) -> None:
    assert "showing only namespace shop\n" in run("--kubeconfig", kubeconfig, "-n", "shop", "-n", "shop").stdout
    assert "showing only namespaces shop, sh*\n" in run("--kubeconfig", kubeconfig, "-n", "shop", "-n", "sh*").stdout


def test_scan_unreadable_namespace_is_not_missing(api, kubeconfig) -> None:
    api.answers["/api/v1/namespaces"] = (403, [])
    api.answers["/api/v1/namespaces/shop"] = (403, [])
    api.answers["/api/v1/namespaces/other"] = (200, {"kind": "PartialObjectMetadata", "metadata": {"name": "other"}})
    done = run("--kubeconfig", kubeconfig, "-n", "other", "-n", "shop")
    assert "no such namespace" not in done.stderr
    assert "not read: namespace shop" in done.stdout


def test_scan_unreadable_namespaces_accept_any_glob(api, kubeconfig) -> None:
    api.answers["/api/v1/namespaces"] = (403, [])
    done = run("--kubeconfig", kubeconfig, "-n", "sh*")
    assert done.exit_code == 2
    assert "scanned    1 namespace, 1 pod of 1 workload\n" in done.stdout


def test_scan_invalid_policy_of_the_cluster_exits_2(api, kubeconfig) -> None:
    held = {"metadata": {"name": "token-policy"}, "data": {"policy.yaml": f"{HEAD}modee: warn\n"}}
    api.answers["/api/v1/namespaces/tokenguard/configmaps"] = (200, [held])
    done = run("--kubeconfig", kubeconfig)
    assert (done.exit_code, done.stdout) == (2, "")
    assert 'error: ConfigMap tokenguard/token-policy:3:1: unknown key "modee"' in done.stderr
    assert "correct it or use --policy" in done.stderr


def test_scan_context_selects_the_cluster(url, tmp_path) -> None:
    both = configured(tmp_path / "both", dead="http://127.0.0.1:9", here=url)
    assert run("--kubeconfig", both, "--context", "here").exit_code == 0
    assert run("--kubeconfig", both).exit_code == 2
    wrong = run("--kubeconfig", both, "--context", "heer")
    assert wrong.exit_code == 2
    assert 'context "heer" does not exist; did you mean "here"?' in wrong.stderr
    none = run("--kubeconfig", both, "--context", "production")
    assert 'context "production" does not exist; there are "dead", "here"' in none.stderr


def test_scan_several_kubeconfigs_are_merged(url, tmp_path) -> None:
    first = configured(tmp_path / "first", dead="http://127.0.0.1:9")
    second = configured(tmp_path / "second", here=url)
    several = f"{tmp_path}/absent:{first}:{second}"
    assert run("--context", "here", KUBECONFIG=several).exit_code == 0
    absent = run(KUBECONFIG=f"{tmp_path}/absent:{tmp_path}/neither")
    assert (absent.exit_code, absent.stdout) == (2, "")
    assert ": no such file or directory" in absent.stderr


def test_scan_without_cluster_and_kubeconfig_exits_2(tmp_path) -> None:
    done = run("--context", "x", HOME=str(tmp_path))
    assert done.exit_code == 2
    assert "use --kubeconfig FILE" in done.stderr


def test_scan_unreadable_pods_fail_others_are_reported(api, kubeconfig, policy) -> None:
    api.answers["/api/v1/secrets"] = (403, [])
    gap = run("--kubeconfig", kubeconfig, "--policy", policy(SOUND))
    assert gap.exit_code == 2
    assert "not read: secrets: HTTP 403: not for you" in gap.stdout
    api.answers["/api/v1/pods"] = (403, [])
    done = run("--kubeconfig", kubeconfig)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "kubectl auth can-i list pods --all-namespaces" in done.stderr


@pytest.mark.parametrize("flags", [
    ("--policy-configmap", "token-policy"), ("--policy-configmap", "a/b/c"), ("--rule", "nonsense"),
    ("--action", "off"), ("--unused-days", "-1"),
    ("--unused-days", "3651"), ("--policy", "-", "--simulate", "-"), ("--policy", "/no/such/file"),
    ("--write-reports",), ("--report-api", "openreports.io"), ("--report-api", "wrong", "-o", "policyreport"),
    ("-o", "policyreport", "--status-configmap", "a"), ("-o", "json", "--summary"), ("-o", "json", "--checklists", "a"),
    ("-o", "policyreport", "--write-reports", "--rule", "token-expiration"),
    ("-o", "policyreport", "--write-reports", "--action", "warn"),
    ("-o", "policyreport", "--write-reports", "--status-configmap", "a", "-n", "shop"),
], ids=" ".join)  # fmt: skip
def test_scan_invalid_options_exit_2(flags) -> None:
    done = run(*flags)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr


def test_scan_prints_policy_reports_without_their_kinds(kubeconfig, policy) -> None:
    done = run("--kubeconfig", kubeconfig, "-o", "policyreport", "--policy", policy(STRICT))
    [report] = yaml.safe_load_all(done.stdout)
    assert (done.exit_code, report["apiVersion"]) == (1, "wgpolicyk8s.io/v1alpha2")
    assert report["metadata"]["namespace"] == "shop"
    given = run("--kubeconfig", kubeconfig, "-o", "policyreport", "--report-api", "openreports.io")
    assert yaml.safe_load(given.stdout)["kind"] == "Report"


@pytest.mark.parametrize(("served", "kind"), [
    (["wgpolicyk8s.io/v1alpha2"], "PolicyReport"), (["openreports.io/v1alpha1"], "Report"),
    (["wgpolicyk8s.io/v1alpha2", "openreports.io/v1alpha1"], "PolicyReport"),
])  # fmt: skip
def test_scan_prints_policy_reports_of_the_served_api(api, kubeconfig, served, kind) -> None:
    for version in served:
        kinds = ("Report", "ClusterReport", "PolicyReport", "ClusterPolicyReport")
        api.answers[f"/apis/{version}"] = (200, {"resources": [{"kind": name} for name in kinds]})
    assert yaml.safe_load(run("--kubeconfig", kubeconfig, "-o", "policyreport").stdout)["kind"] == kind


def test_scan_policy_reports_exclude_simulation(kubeconfig, policy) -> None:
    done = run("--kubeconfig", kubeconfig, "-o", "policyreport", "--simulate", policy(STRICT))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "excludes --simulate" in done.stderr


def test_scan_cannot_write_reports_that_are_not_served(kubeconfig) -> None:
    done = run("--kubeconfig", kubeconfig, "-o", "policyreport", "--write-reports")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "the cluster does not serve wgpolicyk8s.io nor openreports.io" in done.stderr


@pytest.mark.covers("failure-modes: scan incomplete")
def test_scan_with_gaps_writes_no_reports(api, kubeconfig) -> None:
    api.answers["/api/v1/secrets"] = (403, [])
    done = run("--kubeconfig", kubeconfig, "-o", "policyreport", "--write-reports")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "not read: secrets: HTTP 403: not for you" in done.stderr
    assert "no report written: the outcomes may be wrong" in done.stderr


def test_scan_never_prints_credentials(kubeconfig, api) -> None:
    api.answers = {path: (401, []) for path in ("/api/v1/pods", "/api/v1/namespaces")}
    done = run("--kubeconfig", kubeconfig)
    assert done.exit_code == 2
    assert "hunter2" not in done.output


@pytest.fixture
def cluster_policy(api, tmp_path, url) -> list[str]:
    """Arguments that select the cluster's own policy, whose mode is audit."""
    document = f"{HEAD}mode: audit\nrules: {{kubelet-hostpath: reject}}\n"
    configmap = {"metadata": {"name": "token-policy"}, "data": {"policy.yaml": document}}
    api.answers["/api/v1/namespaces/tokenguard/configmaps"] = (200, [configmap])
    return ["--policy-configmap", "token-policy", "--kubeconfig", str(configured(tmp_path / "kubeconfig", a=url))]


def test_check_uses_the_policy_of_the_cluster(cluster_policy, tmp_path) -> None:
    (tmp_path / "pod.json").write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", **POD}))
    done = CliRunner().invoke(main, ["check", str(tmp_path / "pod.json"), *cluster_policy])
    assert done.exit_code == 0, done.output
    assert "if every namespace were in mode enforce: 1 denied" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("policy: ConfigMap tokenguard/token-policy (revision ")
    assert last.endswith(", mode audit)")


def test_token_inspect_uses_the_policy_of_the_cluster(cluster_policy) -> None:
    token = signer().sign(pod_claims())
    done = CliRunner().invoke(main, ["token", "inspect", *cluster_policy], input=token)
    assert "ConfigMap tokenguard/token-policy (revision " in done.stdout, done.output


def test_check_missing_configmap_exits_2(tmp_path, url) -> None:
    kubeconfig = configured(tmp_path / "kubeconfig", a=url)
    arguments = ["check", "-", "--policy-configmap", "other/absent", "--kubeconfig", str(kubeconfig)]
    done = CliRunner().invoke(main, arguments, input="{}")
    assert done.exit_code == 2
    assert "ConfigMap other/absent does not exist in this cluster" in done.stderr


def test_check_argument_replaces_the_policy_of_the_environment(cluster_policy, tmp_path) -> None:
    (tmp_path / "sound.yaml").write_text(SOUND)
    (tmp_path / "pod.json").write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", **POD}))
    pod, sound = str(tmp_path / "pod.json"), str(tmp_path / "sound.yaml")
    environment = {"TOKENGUARD_POLICY": sound}
    assert "ConfigMap" in CliRunner().invoke(main, ["check", pod, *cluster_policy], env=environment).stdout
    both = CliRunner().invoke(main, ["check", pod, "--policy", sound, *cluster_policy])
    assert (both.exit_code, "exclude each other" in both.stderr) == (2, True)


NOT_ENFORCED = "with workloads or legacy Secrets is not in mode enforce; mode enforce would deny"


def test_scan_says_what_enforce_would_deny(cluster_policy) -> None:
    quiet = CliRunner().invoke(main, ["scan", *cluster_policy])
    assert quiet.exit_code == 0, quiet.output
    assert f"1 namespace {NOT_ENFORCED} 1 workload there; for details, use --mode enforce" in quiet.stdout
    enforced = CliRunner().invoke(main, ["scan", *cluster_policy, "--mode", "enforce"])
    assert enforced.exit_code == 1
    assert "enforce: --mode enforce, ConfigMap" in " ".join(enforced.stdout.split())
    assert NOT_ENFORCED not in enforced.stdout
    results = json.loads(CliRunner().invoke(main, ["scan", *cluster_policy, "-o", "json"]).stdout)["workloads"]
    result = results[0]["pods"][0]["evaluation"]["result"]
    assert (result["outcome"], result["enforced"]) == ("allowed", "denied")
