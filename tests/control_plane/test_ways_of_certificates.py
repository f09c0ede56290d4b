"""From one way of certificates to another, by the very commands that docs/certificates.md shows."""

import contextlib
import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.control_plane.installed import KINDS, at, certs, replica, settings
from tests.control_plane.plane import ControlPlane, own_plane
from tests.control_plane.pod_load import pods_created
from tests.end_to_end.cluster import POLICY, is_webhook_called, prepare
from tests.manifests.rendering import CHECKOUT, load_all, shown_kustomization, the
from tests.serving import Server, eventually
from webhook.cli import main

PAGE = "docs/certificates.md"
ASK = "component!=webhooks"
SELF_MANAGED, BY_HAND = "manifests", "manifests/overlays/by-hand"


def commands(heading: str) -> list[str]:
    """Return the commands that the page shows below a heading, without their comments."""
    below = (CHECKOUT / PAGE).read_text().split(f"## {heading}\n")[1].split("```console\n")[1].split("```")[0]
    lines = re.sub(r"\\\n +", "", below).removeprefix("$ ").split("\n$ ")
    return [re.sub(r" +# .*", "", line).strip() for line in lines]


@dataclass
class Site:
    """An operator's folder with `mine` beside `tokenguard`, and the replicas, which run in the pods' place."""

    plane: ControlPlane
    folder: Path
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    servers: list[Server] = field(default_factory=list)

    def choose(self, base: str, kustomization: str) -> None:
        """Write `mine` for one way."""
        self.base = base
        policy = "{name: token-policy, namespace: tokenguard, behavior: replace, files: [policy.yaml]}"
        (self.folder / "mine/policy.yaml").write_text(POLICY)
        (self.folder / "mine/kustomization.yaml").write_text(f"{kustomization}configMapGenerator: [{policy}]\n")

    def run(self, command: str) -> None:
        """Run a command as it is shown; where it waits for pods, or has the API server ask them, do so by processes."""
        if "rollout status" in command:
            self.roll_out()
        elif command == "kubectl apply -k mine":
            for kind, server in zip(KINDS, self.servers, strict=True):
                self.plane.do("apply", "-f", "-", stdin=at(the(kind, self.rendered()), server))
        elif "certificates,issuers" not in command:  # cert-manager isn't here
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env=self.environment,
                capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stderr)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{self.plane.binaries}:{os.environ['PATH']}", "KUBECONFIG": str(self.plane.folder / "kubeconfig"),
        }  # fmt: skip

    def rendered(self) -> list[dict]:
        done = subprocess.run(
            [self.plane.program, "kustomize", "mine"], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return load_all(done.stdout)

    def roll_out(self) -> None:
        """Replace the replicas by those that the Deployment asks for now."""
        former, self.stack, self.servers = self.stack, contextlib.ExitStack(), []
        environment = settings(self.rendered())
        if (
            "TOKENGUARD_TLS_CERT" in environment
        ):  # the kubelet mounts them from the Secret that was just made from these
            names = {"TOKENGUARD_TLS_CERT": "tls.crt", "TOKENGUARD_TLS_KEY": "tls.key"}
            environment |= {name: str(self.folder / "mine/certs" / file) for name, file in names.items()}
        for number in range(2):
            run = self.folder / f"{Path(self.base).name}-{number}"
            self.servers.append(self.stack.enter_context(replica(self.plane, run, environment)))
        former.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ways")
    (folder / "plane").mkdir()
    (folder / "mine").mkdir()
    (folder / "tokenguard").symlink_to(CHECKOUT)
    with own_plane(folder / "plane") as plane:
        plane.do("create", "serviceaccount", "default", "-n", "default")
        prepare(plane)
        site = Site(plane, folder)
        yield site
        site.stack.close()


def self_managed() -> str:
    return shown_kustomization("docs/install.md", SELF_MANAGED).split("images:")[0]


def change(site: Site, make_secret: list[str]) -> list[str]:
    """Do what the page says, and return what became of the pods that were created meanwhile."""
    with pods_created(site.plane, f"to-{Path(site.base).name}", evaluated=False) as loop:
        for command in commands("Switch to another way"):
            if "create secret" not in command:
                site.run(command)
            for preparation in make_secret if "create secret" in command else []:
                site.run(preparation)
        eventually(lambda: is_webhook_called(site.plane))
    return loop.failures


def test_change_of_certificate_management_refuses_no_pod(site) -> None:
    plane = site.plane
    site.choose(SELF_MANAGED, self_managed())
    with pods_created(plane, "installing", evaluated=False) as loop:
        for command in ("apply -k mine -l app.kubernetes.io/component!=webhooks", "rollout status", "apply -k mine"):
            site.run(f"kubectl {command}")
        eventually(lambda: is_webhook_called(plane))
    assert only_until_trusted(loop.failures)

    out = site.folder / "mine/certs"
    made = CliRunner().invoke(main, ["certs", "generate", "--out", str(out), "--tls-san", "127.0.0.1"])
    assert made.exit_code == 0, made.output
    site.choose(BY_HAND, shown_kustomization(PAGE, BY_HAND))
    [secret] = [command for command in commands("By hand") if "create secret" in command]
    assert change(site, [secret]) == []
    assert is_evaluated_and_trusted(plane, site)
    assert "tls.key" not in plane.do(
        "get", "secret", "tokenguard-tls", "-n", "tokenguard", "-o", "jsonpath={.metadata.annotations}"
    )

    site.choose(SELF_MANAGED, self_managed())
    assert only_until_trusted(change(site, []))
    assert is_evaluated_and_trusted(plane, site)


def only_until_trusted(failures: list[str]) -> bool:
    """Say whether nothing was refused but because tokenguard hadn't put its CA into the new configurations yet."""
    return all("x509: certificate signed by unknown authority" in failure for failure in failures)


def is_evaluated_and_trusted(plane: ControlPlane, site: Site) -> bool:
    with pods_created(plane, f"after-{Path(site.base).name}") as loop:
        pass
    assert loop.failures == []
    status = eventually(lambda: (status := certs(plane, "status")).returncode == 0 and status)
    assert status.stdout.count(" trusts the certificate ") == 2
    return True


def test_documented_commands_are_the_tested_ones() -> None:
    shown = commands("Switch to another way")
    assert shlex.split(shown[0])[:2] == ["kubectl", "delete"]
    assert shown[-1] == "kubectl apply -k mine"
    assert sum(ASK in command for command in shown) == 1
