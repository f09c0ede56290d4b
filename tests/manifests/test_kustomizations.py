"""What is installed, from which files, and in which order it comes and goes."""

import re
import tomllib

import pytest
import yaml
from click.testing import CliRunner

from tests.manifests.rendering import CHECKOUT, FILES, INSTALLATIONS, UNINSTALL, is_custom, render, the
from webhook.cli import main
from webhook.core.policy.loader import KEY, default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.core.policy.serializer import policy_document
from webhook.pki.san import service_names

everywhere = pytest.mark.parametrize("folder", INSTALLATIONS)
CONFIGURATIONS = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]


def identities(objects):
    return {
        (one["apiVersion"], one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects
    }


def kinds(objects):
    return [one["kind"] for one in objects]


@everywhere
def test_what_pods_depend_on_comes_before_the_configurations_that_ask_for_it(folder) -> None:
    order = kinds(render(folder))
    assert order[0] == "Namespace"
    assert order[-2:] == CONFIGURATIONS


def test_nothing_is_deleted_before_the_configurations_and_the_namespace_goes_last() -> None:
    order = kinds(render(UNINSTALL))
    assert order[:2] == CONFIGURATIONS[::-1]
    assert order[-2:] == ["Service", "Namespace"]


@everywhere
def test_uninstalling_deletes_what_was_installed(folder) -> None:
    installed = render(folder)
    assert identities(render(UNINSTALL)) == identities([one for one in installed if not is_custom(one)])
    assert {one["metadata"]["namespace"] for one in installed if is_custom(one)} <= {"tokenguard"}


@everywhere
def test_the_image_is_of_this_version(folder) -> None:
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    [container] = the("Deployment", render(folder))["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"tokenguard:{version}"


@everywhere
def test_tokenguard_finds_nothing_wrong_with_its_own_manifests(folder) -> None:
    done = CliRunner().invoke(main, ["check", "-"], input=yaml.safe_dump_all(render(folder)))
    assert done.exit_code == 0, done.output


def test_the_policy_is_the_default_one_and_carries_the_label_that_it_is_known_by() -> None:
    objects = render("manifests")
    configmap = the("ConfigMap", objects, "token-policy")
    policy = read_policy(configmap["data"][KEY].encode())
    assert isinstance(policy, Policy), policy
    assert policy_document(policy) == policy_document(default_policy())
    assert configmap["metadata"]["labels"]["tokenguard/policy"] == "true"


def test_the_policys_examples_are_sound_when_the_comment_signs_are_taken_away() -> None:
    document = (CHECKOUT / "manifests/base/policy.yaml").read_text()
    shown_examples = re.findall(r"^(\w+): \[\]\n((?:# .*\n)+)", document, re.MULTILINE)
    assert [key for key, _ in shown_examples] == ["workloads", "inject", "overrides", "exemptions"]
    for key, example in shown_examples:
        given = f"{key}:\n" + re.sub("^# ", "", example, flags=re.MULTILINE)
        document = document.replace(f"{key}: []\n{example}", given)
    policy = read_policy(document.encode())
    assert isinstance(policy, Policy), policy
    assert all(policy_document(policy)[key] for key, _ in shown_examples)


def test_cert_manager_signs_for_the_name_that_the_api_server_calls() -> None:
    objects = render("manifests/overlays/cert-manager")
    service = the("Service", objects)["metadata"]
    certificate = the("Certificate", objects)
    assert service_names(service["namespace"], service["name"])[0] in certificate["spec"]["dnsNames"]
    meta = certificate["metadata"]
    for kind in CONFIGURATIONS:
        injected = the(kind, objects)["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
        assert injected == f"{meta['namespace']}/{meta['name']}"


def test_the_certificate_chain_of_cert_manager_holds_together() -> None:
    objects = render("manifests/overlays/cert-manager")
    certificate, authority = the("Certificate", objects), the("Certificate", objects, "tokenguard-ca")
    issuer = the("Issuer", objects, certificate["spec"]["issuerRef"]["name"])
    assert issuer["spec"] == {"ca": {"secretName": authority["spec"]["secretName"]}}
    assert the("Issuer", objects, authority["spec"]["issuerRef"]["name"])["spec"] == {"selfSigned": {}}
    [mounted] = [
        volume["secret"]["secretName"]
        for volume in the("Deployment", objects)["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    ]
    assert mounted == certificate["spec"]["secretName"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CHECKOUT)))
def test_every_file_says_on_top_what_it_holds_and_is_used(file) -> None:
    assert file.read_text().startswith("# ")
    if file.name != "kustomization.yaml":
        assert re.search(
            rf"[- ]{re.escape(file.name)}$", (file.parent / "kustomization.yaml").read_text(), re.MULTILINE
        )
