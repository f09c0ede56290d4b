"""The kustomizations that the documentation shows, rendered."""

import base64
import re
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from tests.documented import PAGES
from tests.end_to_end.operator import INSTALL, MOVE, UNINSTALL, exchange_namespaces, shown_commands
from tests.manifests.rendering import CHECKOUT, render_text, shown_kustomization, the
from webhook.cli import main

KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
CLIENT_CA = "TOKENGUARD_CLIENT_CA"
POLICY = "apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: audit\n"


@pytest.fixture
def render_overlay(tmp_path):
    """Return a function that writes a kustomization and returns what kubectl makes of it."""

    def render(kustomization: str):
        return render_text(tmp_path, kustomization)

    render.folder = tmp_path
    return render


def test_documented_overlay_sets_image_and_policy(render_overlay) -> None:
    (render_overlay.folder / "policy.yaml").write_text(POLICY)
    objects = render_overlay(shown_kustomization("docs/install.md", "manifests"))
    [container] = the("Deployment", objects)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/tokenguard:0.1.0"
    configmap = the("ConfigMap", objects, "token-policy")
    assert configmap["data"] == {"policy.yaml": POLICY}
    assert configmap["metadata"]["labels"]["tokenguard/policy"] == "true"


def test_documented_commands_are_three_to_install_one_to_remove() -> None:
    assert [len(shown_commands(block)) for block in (INSTALL, UNINSTALL)] == [3, 1]
    assert {exchange_namespaces(exchange_namespaces(line)) for line in shown_commands(MOVE)} == {*shown_commands(MOVE)}


def test_documented_overlay_for_certificates_by_hand(render_overlay) -> None:
    done = CliRunner().invoke(main, ["certs", "generate", "--out", str(render_overlay.folder / "certs")])
    assert done.exit_code == 0, done.output
    objects = render_overlay(shown_kustomization("docs/certificates.md", "manifests/overlays/by-hand"))
    bundle = base64.b64encode((render_overlay.folder / "certs/ca.crt").read_bytes()).decode()
    for kind in KINDS:
        for webhook in the(kind, objects)["webhooks"]:
            assert webhook["clientConfig"]["caBundle"] == bundle
            assert webhook["clientConfig"]["service"]["name"] == "tokenguard"


def test_documented_overlay_excludes_cert_managers_namespace(render_overlay) -> None:
    objects = render_overlay(shown_kustomization("docs/certificates.md", "manifests/overlays/cert-manager"))
    validating = the(KINDS[1], objects)["webhooks"][0]
    assert "!(request.namespace in 'cert-manager'.split(','))" in {
        condition["expression"] for condition in validating["matchConditions"]
    }


def test_documented_overlay_requires_client_certificates(render_overlay) -> None:
    (render_overlay.folder / "client-ca.crt").write_text("a CA")
    (render_overlay.folder / "policy.yaml").write_text(POLICY)
    page = (CHECKOUT / "docs/threat-model.md").read_text()
    [more] = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if CLIENT_CA in block]
    first = yaml.safe_load(shown_kustomization("docs/install.md", "manifests"))
    second = yaml.safe_load(more)
    second["configMapGenerator"] += first.pop("configMapGenerator")
    objects = render_overlay(yaml.safe_dump(first | second))
    assert the("ConfigMap", objects, "client-ca")["data"] == {"client-ca.crt": "a CA"}
    pod = the("Deployment", objects)["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [file] = [Path(variable["value"]) for variable in container["env"] if variable["name"] == CLIENT_CA]
    [volume] = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == str(file.parent)]
    assert {"name": volume, "configMap": {"name": "client-ca"}} in pod["volumes"]
    assert file.name == "client-ca.crt"
    assert "TOKENGUARD_POLICY_CONFIGMAP" in {variable["name"] for variable in container["env"]}


@pytest.mark.parametrize("page", PAGES)
def test_documented_commands_exist(page) -> None:
    for call in re.findall(r"^\$ tokenguard (.*?)(?: {2,}#.*| \\| > .*)?$", PAGES[page], re.MULTILINE):
        words, flags = [], []
        for word in call.split():
            (flags if word.startswith("--") else words).append(word)
        command, path = main, []
        while hasattr(command, "commands") and words:
            command = command.get_command(click.Context(command), words[0])
            path.append(words.pop(0))
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(flags) <= options, call
