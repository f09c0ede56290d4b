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
        (obj["apiVersion"], obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]) for obj in objects
    }


def kinds(objects):
    return [obj["kind"] for obj in objects]


@everywhere
def test_webhook_configurations_come_last(folder) -> None:
    order = kinds(render(folder))
    assert order[0] == "Namespace"
    assert order[-2:] == CONFIGURATIONS


def test_uninstall_deletes_configurations_first_namespace_last() -> None:
    order = kinds(render(UNINSTALL))
    assert order[:2] == CONFIGURATIONS[::-1]
    assert order[-3:] == ["Service", "Namespace", "Namespace"]


@everywhere
def test_uninstall_deletes_what_was_installed(folder) -> None:
    installed = [*render(folder), *render("manifests/probe")]
    assert identities(render(UNINSTALL)) == identities([obj for obj in installed if not is_custom(obj)])
    assert {obj["metadata"]["namespace"] for obj in installed if is_custom(obj)} <= {"tokenguard"}


@everywhere
def test_image_tag_is_this_version(folder) -> None:
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    [container] = the("Deployment", render(folder))["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"tokenguard:{version}"


@everywhere
def test_check_of_own_manifests_is_clean(folder) -> None:
    done = CliRunner().invoke(main, ["check", "-"], input=yaml.safe_dump_all(render(folder)))
    assert done.exit_code == 0, done.output


def test_installed_policy_is_the_default_with_its_label() -> None:
    objects = render("manifests")
    configmap = the("ConfigMap", objects, "token-policy")
    policy = read_policy(configmap["data"][KEY].encode())
    assert isinstance(policy, Policy), policy
    assert policy_document(policy) == policy_document(default_policy())
    assert configmap["metadata"]["labels"]["tokenguard/policy"] == "true"


def test_commented_examples_in_the_policy_are_valid() -> None:
    document = (CHECKOUT / "manifests/base/policy.yaml").read_text()
    shown_examples = re.findall(r"^(\w+): \[\]\n((?:# .*\n)+)", document, re.MULTILINE)
    assert [key for key, _ in shown_examples] == ["workloads", "inject", "overrides", "exemptions"]
    for key, example in shown_examples:
        given = f"{key}:\n" + re.sub("^# ", "", example, flags=re.MULTILINE)
        document = document.replace(f"{key}: []\n{example}", given)
    policy = read_policy(document.encode())
    assert isinstance(policy, Policy), policy
    assert all(policy_document(policy)[key] for key, _ in shown_examples)


def test_cert_manager_certificate_is_for_the_service_name() -> None:
    objects = render("manifests/overlays/cert-manager")
    service = the("Service", objects)["metadata"]
    certificate = the("Certificate", objects)
    assert service_names(service["namespace"], service["name"])[0] in certificate["spec"]["dnsNames"]
    meta = certificate["metadata"]
    for kind in CONFIGURATIONS:
        injected = the(kind, objects)["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
        assert injected == f"{meta['namespace']}/{meta['name']}"


def test_cert_manager_issuers_reference_each_other() -> None:
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
def test_every_manifest_is_described_and_used(file) -> None:
    assert file.read_text().startswith("# ")
    if file.name != "kustomization.yaml":
        assert re.search(
            rf"[- ]{re.escape(file.name)}$", (file.parent / "kustomization.yaml").read_text(), re.MULTILINE
        )
