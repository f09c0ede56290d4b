"""The policy's ConfigMap at a real API server's door: what kubectl says of a bad one, and that good ones pass."""

import base64
import json
from pathlib import Path

import pytest

from tests.control_plane.installed import at
from tests.control_plane.live import BAD, NAMESPACE, POLICY, WARN, install, live
from tests.manifests.rendering import render, the
from tests.serving import eventually

NAME = "policy.validate.tokenguard.svc"
LARGE = "large-policy.validate.tokenguard.svc"
CONFIGURATION = "ValidatingWebhookConfiguration"
LABEL = {"tokenguard/policy": "true"}
EDITOR = r"""#!/bin/sh
if [ -e {folder}/opened ]; then
  cp $1 {folder}/again
  sed -i 's/modee: warn/mode: warn/' $1
else
  touch {folder}/opened
  sed -i 's/^\( *\)kind: TokenPolicy$/&\n\1modee: warn/' $1
fi
"""
EXEMPTION = """\
- rules: ["*"]
  namespaces: [team-{number}]
  serviceAccounts: [app, robot]
  reason: "INFRA-{number}"
  until: 2027-03-31
"""
MISTAKES = [
    '* data[policy.yaml]: line 3: unknown key "modee"; did you mean "mode"?',
    "* data[policy.yaml]: line 4: tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not 5",
]


def config_map(document, *, name="token-policy", namespace=NAMESPACE, labels=LABEL, key="policy.yaml"):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "data": {key: document},
    }


@pytest.fixture(scope="module")
def plane_without_policy(plane, tmp_path_factory):
    """Return the control plane with a tokenguard that evaluates policies but has none yet, and the server."""
    install(plane)
    plane.do("create", "namespace", "elsewhere")
    with live(plane, tmp_path_factory.mktemp("door"), ready=False) as server:
        manifest = at(the(CONFIGURATION, render("manifests")), server)
        manifest["metadata"]["name"] = "tokenguard-policy"
        webhooks = [webhook for webhook in manifest["webhooks"] if webhook["name"] in {NAME, LARGE}]
        authority = Path(server.log.split("--cacert ")[1].split()[0])
        for webhook in webhooks:
            webhook["clientConfig"]["caBundle"] = base64.b64encode(authority.read_bytes()).decode()
        plane.do("apply", "-f", "-", stdin=manifest | {"webhooks": webhooks})
        probe = config_map("none", name="probe")
        eventually(lambda: plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=probe).returncode)
        yield plane, server
        plane.do("delete", CONFIGURATION, "tokenguard-policy")


@pytest.fixture
def plane_with_policy(plane_without_policy):
    """Return the control plane with a sound policy in it."""
    plane, _ = plane_without_policy
    plane.do("apply", "-f", "-", stdin=config_map(POLICY))
    return plane


def document(plane):
    configmap = plane.do("get", "configmap", "token-policy", "-n", NAMESPACE, "-o", "json")
    return json.loads(configmap)["data"]["policy.yaml"]


def assert_refused(done, *mistakes):
    assert done.returncode == 1
    first, *errors, reference = done.stderr.splitlines()
    assert first.strip() == 'The ConfigMap "token-policy" is invalid:'
    assert errors == list(mistakes)
    assert reference.startswith("* tokenguard ")
    assert reference.endswith(": see 'tokenguard policy validate'")


def test_first_policy_is_refused_if_invalid_and_used_if_valid(plane_without_policy) -> None:
    plane, server = plane_without_policy
    assert server.request("GET", "/readyz").status == 503
    assert_refused(plane.kubectl("apply", "-f", "-", stdin=config_map(BAD)), *MISTAKES)
    plane.do("apply", "-f", "-", stdin=config_map(POLICY))
    eventually(lambda: server.request("GET", "/readyz").status == 200)


@pytest.mark.parametrize(
    "call",
    [
        ["apply", "-f", "-"],
        ["apply", "--server-side", "--force-conflicts", "-f", "-"],
        ["replace", "-f", "-"],
        ["patch", "configmap", "token-policy", "-n", NAMESPACE, "-p", json.dumps({"data": {"policy.yaml": BAD}})],
        ["apply", "--dry-run=server", "-f", "-"],
    ],
    ids=["apply", "server-side apply", "replace", "patch", "dry run"],
)
def test_invalid_policy_is_refused_with_every_error_and_line(plane_with_policy, call) -> None:
    assert_refused(plane_with_policy.kubectl(*call, stdin=config_map(BAD)), *MISTAKES)
    assert document(plane_with_policy) == POLICY


def test_invalid_policy_of_any_name_is_refused_in_its_namespace(plane_with_policy) -> None:
    done = plane_with_policy.kubectl("create", "-f", "-", stdin=config_map(BAD, name="other"))
    assert [*MISTAKES] == done.stderr.splitlines()[1:3]
    plane_with_policy.do("create", "--dry-run=server", "-f", "-", stdin=config_map(BAD, namespace="elsewhere"))


@pytest.mark.covers("threat-model: oversized policy")
def test_bad_policy_in_a_review_over_the_size_limit_is_refused(plane_with_policy) -> None:
    sound, bad = config_map(POLICY), config_map(f"{BAD}# {'<' * 700_000}")
    filled = sound | {"data": sound["data"] | {"filler": "<" * 900_000}}  # six bytes each in a review
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/token-policy"  # as it is: kubectl itself would escape the filler
    plane_with_policy.do("replace", "--raw", path, "-f", "-", stdin=filled)
    done = plane_with_policy.kubectl("replace", "--raw", path, "-f", "-", stdin=bad)
    assert done.returncode == 1
    assert f'failed calling webhook "{LARGE}"' in done.stderr
    assert document(plane_with_policy) == POLICY
    plane_with_policy.do("replace", "--raw", path, "-f", "-", stdin=sound)


@pytest.mark.parametrize("name", ["token-policy", "other"])
@pytest.mark.covers("threat-model: policy label removed")
def test_invalid_policy_without_its_label_is_refused(plane_with_policy, name) -> None:
    plane_with_policy.do("apply", "-f", "-", stdin=config_map(POLICY, name=name))
    done = plane_with_policy.kubectl("replace", "-f", "-", stdin=config_map(BAD, name=name, labels={}))
    assert [*MISTAKES] == done.stderr.splitlines()[1:3]
    plane_with_policy.do("replace", "-f", "-", stdin=config_map(POLICY, name=name, labels={}))


def test_installed_policy_is_evaluated_without_a_label(plane_with_policy) -> None:
    plane_with_policy.do("label", "configmap", "token-policy", "-n", NAMESPACE, "tokenguard/policy-")
    assert_refused(plane_with_policy.kubectl("replace", "-f", "-", stdin=config_map(BAD, labels={})), *MISTAKES)
    plane_with_policy.do("apply", "-f", "-", stdin=config_map(BAD, name="notes", labels={"tokenguard/policy": "false"}))
    plane_with_policy.do("apply", "-f", "-", stdin=config_map(BAD, name="notes", labels={}))


def test_kubectl_edit_reopens_with_errors_until_corrected(plane_with_policy, tmp_path, monkeypatch) -> None:
    editor = tmp_path / "editor"
    editor.write_text(EDITOR.format(folder=tmp_path))
    editor.chmod(0o755)
    monkeypatch.setenv("KUBE_EDITOR", str(editor))
    plane = plane_with_policy
    plane.do("replace", "-f", "-", stdin=config_map(POLICY))
    plane.do("edit", "configmap", "token-policy", "-n", NAMESPACE)
    assert f"# {MISTAKES[0]}\n" in (tmp_path / "again").read_text()
    assert document(plane) == WARN


def test_label_on_an_invalid_policy_is_refused(plane_with_policy) -> None:
    plane_with_policy.do("apply", "-f", "-", stdin=config_map(BAD, name="later", labels={}))
    done = plane_with_policy.kubectl("label", "configmap", "later", "-n", NAMESPACE, "tokenguard/policy=true")
    assert done.returncode == 1
    assert MISTAKES[1] in done.stderr


def test_policy_under_another_key_is_refused_with_advice(plane_with_policy) -> None:
    done = plane_with_policy.kubectl("replace", "-f", "-", stdin=config_map(POLICY, key="policy.yml"))
    assert_refused(
        done, "* data: has no key policy.yaml; add the policy there, or remove the label tokenguard/policy first"
    )


def test_policy_in_binary_data_is_refused_with_advice(plane_with_policy) -> None:
    binary = config_map(POLICY) | {"data": {}, "binaryData": {"policy.yaml": base64.b64encode(b"\xff").decode()}}
    done = plane_with_policy.kubectl("replace", "-f", "-", stdin=binary)
    assert_refused(done, "* binaryData[policy.yaml]: is not read; put the policy under data, as UTF-8 text")


def test_largest_configmap_is_evaluated_within_the_timeout(plane_with_policy) -> None:
    mistakes = POLICY + "".join(f"mo{number}: 1\n" for number in range(95_000))
    assert 1_000_000 < len(mistakes) < 2**20
    done = plane_with_policy.kubectl("create", "-f", "-", stdin=config_map(mistakes, name="mistaken"))
    *_, more, _ = done.stderr.splitlines()
    assert more.endswith(" more errors")
    sound = f"{POLICY}exemptions:\n" + "".join(EXEMPTION.format(number=number) for number in range(8_500))
    assert 900_000 < len(sound) < 2**20
    plane_with_policy.do("create", "-f", "-", stdin=config_map(sound, name="large"))


def test_refused_policy_is_in_the_api_servers_audit_log(plane_with_policy) -> None:
    plane_with_policy.kubectl("replace", "-f", "-", stdin=config_map(BAD))
    events = [json.loads(line).get("annotations", {}) for line in plane_with_policy.audit.splitlines()]
    assert {"denied"} == {
        event[f"{NAME}/decision"] for event in events if event.get(f"{NAME}/rules") == "invalid-policy"
    }
