"""The `policy init` command: what it prints around the draft, and its exit status. The draft is in `tests/scan`."""

import re
import subprocess

import pytest
import yaml
from click.testing import CliRunner

from tests.cli.list_server import configured, serve_lists
from tests.documented import CHECKOUT
from webhook.cli import main
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy

ROLLOUT = CHECKOUT / "docs/rollout.md"
TOKEN = {"serviceAccountToken": {"path": "t", "audience": "minio", "expirationSeconds": 900}}
SPEC = {"containers": [{"name": "app", "image": "app"}], "volumes": [{"name": "t", "projected": {"sources": [TOKEN]}}]}
NIGHTLY = {
    "metadata": {"name": "nightly", "namespace": "shop"},
    "spec": {"jobTemplate": {"spec": {"template": {"spec": SPEC}}}},
}


@pytest.fixture
def api():
    with serve_lists() as server:
        server.answers = {"/apis/batch/v1/cronjobs": (200, [NIGHTLY])}
        yield server


@pytest.fixture
def init(api, tmp_path):
    kubeconfig = configured(tmp_path / "kubeconfig", here=f"http://127.0.0.1:{api.server_port}")
    return lambda *flags: CliRunner().invoke(main, ["policy", "init", "--kubeconfig", str(kubeconfig), *flags])


def test_audiences_are_commented_with_their_namespaces(init) -> None:
    done = init()
    assert done.exit_code == 0
    assert "\n    allowed:\n    - minio  # CronJob/nightly in shop\n" in done.stdout
    assert done.stderr == (
        "scanned 1 workload and 0 legacy Secrets; in mode enforce, the draft denies nothing that the scan saw running\n"
    )


def test_assumed_api_audience_is_listed_and_commented(api, init) -> None:
    audience = "https://kubernetes.default.svc.cluster.local"
    volume = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": audience}}]}}
    spec = {"containers": [{"name": "app"}], "volumes": [volume]}
    api.answers["/api/v1/pods"] = (200, [{"metadata": {"name": "api", "namespace": "ci"}, "spec": spec}])
    assumed = init().stdout
    assert f"\n    - {audience}  # Pod/api in ci; assumed to be the API server's\n" in assumed
    assert "\n# The API server's audiences are assumed: https://kubernetes.default.svc, " in assumed
    given = init("--api-audience", audience).stdout
    assert f"\n    - {audience}  # Pod/api in ci; the API server's\n" in given
    assert "assumed" not in given


def test_workloads_with_capped_tokens_of_their_own_are_counted(api, init) -> None:
    assert "--rule token-expiration" not in init().stdout
    for number, lifetime in enumerate((86400, 7200, 3600)):
        source = {"serviceAccountToken": {"path": "t", "audience": "vault", "expirationSeconds": lifetime}}
        spec = {"containers": [{"name": "app"}], "volumes": [{"name": "t", "projected": {"sources": [source]}}]}
        pod = {"metadata": {"name": f"p{number}", "namespace": "ci"}, "spec": spec}
        api.answers["/api/v1/pods"] = (200, [*api.answers.get("/api/v1/pods", (200, []))[1], pod])
    drafted = init().stdout
    assert "\n# The draft also caps the projected tokens of 2 workloads, " in drafted
    assert "\n#   tokenguard scan --policy FILE --rule token-expiration --action patch\n" in drafted


def test_audiences_by_namespace_are_commented_at_their_override(init) -> None:
    done = init("--audiences-by-namespace")
    assert (done.exit_code, "rules only warn" in done.stderr) == (0, False)
    api_server = "# the API server's: the others are allowed by overrides"
    assert f"    - https://kubernetes.default.svc  {api_server}\n" in done.stdout
    override = '# shop: also allows audiences that only this namespace uses:\n#   "minio": CronJob/nightly in shop\n'
    assert f"overrides:\n{override}- namespaces:\n  - shop\n" in done.stdout
    [parsed] = yaml.safe_load(done.stdout)["overrides"]
    assert parsed["tokens"] == {"audiences": {"allowed": ["minio"]}}


def test_init_for_a_namespace_says_that_it_is_for_the_cluster() -> None:
    done = CliRunner().invoke(main, ["policy", "init", "-n", "shop"])
    assert done.exit_code == 2
    assert done.stderr.splitlines()[0].endswith("; to see one namespace, run: tokenguard scan -n shop")


def test_nothing_is_drafted_if_secrets_could_not_be_read(api, init) -> None:
    api.answers["/api/v1/secrets"] = (403, [])
    done = init()
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no policy was drafted, as a part of the cluster could not be read\n")
    assert "\nerror: cannot read secrets" in done.stderr


@pytest.fixture
def reads_a_secret(api):
    """Add a pod that reads a legacy Secret, and one that is marked invalid."""
    pod = {"metadata": {"name": "job", "namespace": "shop"}, "spec": {
        "serviceAccountName": "robot", "containers": [{"name": "app", "envFrom": [{"secretRef": {"name": "old"}}]}],
    }}  # fmt: skip
    api.answers["/api/v1/pods"] = (200, [pod])
    account = {"kubernetes.io/service-account.name": "robot"}
    secret = {"metadata": {"name": "old", "namespace": "shop", "annotations": account}}
    invalid = {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}
    disabled = {"metadata": {"name": "disabled", "namespace": "shop", "annotations": account, "labels": invalid}}
    api.answers["/api/v1/secrets"] = (200, [secret, disabled])


@pytest.mark.usefixtures("reads_a_secret")
def test_exempt_accounts_are_commented_with_their_permissions(init) -> None:
    done = init()
    assert done.exit_code == 0, done.stderr
    comment = "# for Pod/job in shop:\n#   robot: no permissions\n"
    assert f"\nexemptions:\n{comment}- rules:\n  - legacy-token-reference\n  namespaces:" in done.stdout
    stay = "2 legacy Secrets in use would stay, but could not be created again: shop/old, shop/old. "
    assert stay in done.stdout.replace("\n# ", " ")
    assert "the draft denies nothing that the scan saw running; 1 account exempt\n" in done.stderr
    exempting = init("--exempt-secrets")
    assert exempting.exit_code == 0, exempting.stderr
    assert f"\n{comment}- rules:\n  - legacy-token-reference\n  namespaces:" in exempting.stdout
    copies = "# for Secret/old in shop:\n#   every account of the namespace\n"
    assert f"\n{copies}- rules:\n  - legacy-token-secret\n" in exempting.stdout
    assert "could not be created again" not in exempting.stdout
    assert " can get new tokens of the account that never expire." in exempting.stdout.replace("\n# ", " ")


@pytest.mark.usefixtures("reads_a_secret")
def test_rollout_copies_a_draft_without_comments_and_exemptions(init, tmp_path) -> None:
    [command] = re.findall(r"^\$ (.* mine/goal.yaml\) > mine/policy.yaml)$", ROLLOUT.read_text(), re.MULTILINE)
    drafted = init("--audiences-by-namespace").stdout + "inject: []\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/goal.yaml").write_text(drafted)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    copied = (tmp_path / "mine/policy.yaml").read_text()
    expected = yaml.safe_load(drafted) | {"mode": "audit"}
    assert len(expected.pop("exemptions")) == 1
    assert yaml.safe_load(copied) == expected
    assert not [line for line in copied.splitlines() if line.startswith("#")]


@pytest.mark.usefixtures("reads_a_secret")
def test_rollout_line_that_a_draft_has_after_a_hash_is_valid(init) -> None:
    step = ROLLOUT.read_text().split("\n## 3. ")[1]
    sentence, line = re.search(r"A draft already contains (.*?):\n\n```yaml\n(.*)\n```", step).groups()
    assert sentence == "it after a `#`: remove this `#`"
    drafted = init().stdout
    assert drafted.count(f"\n#{line}") == 1
    policy = read_policy(drafted.replace(f"\n#{line}", f"\n{line}").encode())
    assert isinstance(policy, Policy), policy
    assert policy.api_server_token.keep


@pytest.mark.parametrize("audience", ["*", "https://*.example.com", "two words", "a\nb: c"])
def test_audience_that_cannot_be_listed_exempts_its_account(api, init, audience) -> None:
    token = {"serviceAccountToken": {"path": "t", "audience": audience, "expirationSeconds": 900}}
    volume = {"name": "t", "projected": {"sources": [token]}}
    spec = {"serviceAccountName": "star", "containers": [{"name": "app", "image": "app"}], "volumes": [volume]}
    api.answers["/api/v1/pods"] = (200, [{"metadata": {"name": "odd", "namespace": "shop"}, "spec": spec}])
    done = init()
    assert done.exit_code == 0, done.stderr
    policy = yaml.safe_load(done.stdout)
    assert policy["tokens"]["audiences"]["allowed"] == ["minio"]
    [exemption] = policy["exemptions"]
    assert (exemption["rules"], exemption["serviceAccounts"]) == (["token-audience"], ["star"])
    assert "\n# A policy cannot allow exactly the audience " in done.stdout
    why = "contains * (a pattern)" if "*" in audience else "contains white space"
    comment = re.sub(r"\n# +", " ", done.stdout)
    assert f", which {why}, so exempt are the accounts of Pod/odd in shop." in comment


def test_odd_audience_of_a_lenient_namespace_names_its_override(api, init) -> None:
    token = {"serviceAccountToken": {"path": "t", "audience": "*", "expirationSeconds": 900}}
    spec = {"containers": [{"name": "app"}], "volumes": [{"name": "t", "projected": {"sources": [token]}}]}
    pods = [{"metadata": {"name": f"p{number}", "namespace": "shop"}, "spec": spec} for number in range(4)]
    api.answers["/api/v1/pods"] = (200, [*pods, {"metadata": {"name": "odd", "namespace": "ci"}, "spec": spec}])
    done = init()
    assert [override["namespaces"] for override in yaml.safe_load(done.stdout)["overrides"]] == [["shop"]]
    assert [exemption["namespaces"] for exemption in yaml.safe_load(done.stdout)["exemptions"]] == [["ci"]]
    head = " ".join(line.removeprefix("# ") for line in done.stdout.splitlines())
    assert (
        'the audience "*", which contains * (a pattern), so exempt are the accounts of Pod/odd in ci; an override lets'
        " token-audience warn about"
        " 4 workloads in shop."
    ) in head


def test_draft_of_odd_audiences_alone_allows_every_one(api, init) -> None:
    token = {"serviceAccountToken": {"path": "t", "audience": "*", "expirationSeconds": 900}}
    spec = {"containers": [{"name": "app"}], "volumes": [{"name": "t", "projected": {"sources": [token]}}]}
    api.answers |= {
        "/api/v1/pods": (200, [{"metadata": {"name": "odd", "namespace": "ci"}, "spec": spec}]),
        "/apis/batch/v1/cronjobs": (200, []),
    }
    done = init()
    assert "tokens" not in yaml.safe_load(done.stdout)
    assert 'the audience "*", which contains * (a pattern), so the draft allows every audience.\n' in done.stdout


def test_rules_that_a_scan_cannot_check_warn_and_say_why(init) -> None:
    done = init()
    rules = {"token-request-expiration": "warn", "token-request-audience": "warn"}
    assert yaml.safe_load(done.stdout)["rules"] == rules
    comment = "# Not reject, because a scan cannot see who requests which tokens. 'tokenguard audit summarize' counts"
    assert re.search(rf"\n#apiServerToken: .*\n{comment} ", done.stdout)
    head = " ".join(line.removeprefix("# ") for line in done.stdout.splitlines())
    assert "It cannot see TokenRequests either, so the draft only warns about them." in head


@pytest.mark.parametrize("days", ["0", "3651", "9999999"])
def test_days_out_of_range_are_a_usage_error(days) -> None:
    done = CliRunner().invoke(main, ["policy", "init", "--days", days])
    assert done.exit_code == 2
    assert f"--days: {days} is not in the range 1<=x<=3650" in done.stderr


def test_override_is_commented_with_the_workloads_that_it_is_for(api, init) -> None:
    reads = {"containers": [{"name": "app", "envFrom": [{"secretRef": {"name": "old"}}]}]}
    pods = [{"metadata": {"name": f"p{number}", "namespace": "shop"}, "spec": reads} for number in range(4)]
    api.answers["/api/v1/pods"] = (200, pods)
    account = {"kubernetes.io/service-account.name": "robot"}
    secret = {"metadata": {"name": "old", "namespace": "shop", "annotations": account}}
    api.answers["/api/v1/secrets"] = (200, [secret])
    done = init()
    assert done.exit_code == 0, done.stderr
    assert "; without an end date, rules only warn in 1 namespace (shop)" in done.stderr
    assert (
        "\noverrides:\n# shop: without an end, so remove it when its workloads are migrated:\n"
        "#   legacy-token-reference would deny 4 of 5 workloads:\n#     Pod/p0, Pod/p1, Pod/p2, Pod/p3:\n"
        "#       account default: no permissions; token of robot: no permissions\n- namespaces:\n"
    ) in done.stdout
