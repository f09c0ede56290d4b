"""The API server set up as in docs/threat-model.md: it shows tokenguard a certificate, only it gets an answer."""

import datetime as dt
import json
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.control_plane.conftest import clients, configuration, registered_webhook, rule
from tests.control_plane.plane import ControlPlane, free_ports, own_plane
from tests.documented import CHECKOUT
from tests.pki.foreign import CLIENT, foreign
from tests.serving import JSON, POLICY, Server, eventually, serve
from webhook.pki.issue import KeyPair, create_ca

NOW = dt.datetime.now(dt.UTC)
FIRST, SECOND = create_ca(NOW), create_ca(NOW)
PAGE = (CHECKOUT / "docs/threat-model.md").read_text()
ADMISSION, KUBECONFIG = (
    re.search(rf"`/etc/kubernetes/tokenguard/{name}`:\n\n```yaml\n(.*?)```", PAGE, re.DOTALL)[1]
    for name in ("admission.yaml", "webhooks.kubeconfig")
)


@dataclass
class Site:
    """A control plane that shows a certificate, and tokenguard, which asks for one."""

    plane: ControlPlane
    server: Server
    folder: Path

    def show(self, authority: KeyPair) -> None:
        """Put another certificate, of this CA, where the API server finds its own."""
        made = foreign("kube-apiserver", CLIENT, by=authority, now=NOW)
        (self.folder / "client.crt").write_bytes(made.certificate)
        (self.folder / "client.key").write_bytes(made.key)

    def know(self, *authorities: KeyPair) -> None:
        """Have tokenguard know clients by these CAs."""
        before = self.server.metric("tokenguard_reloads_total", source="client-ca", result="accepted")
        (self.folder / "ca.crt").write_bytes(b"".join(authority.certificate for authority in authorities))
        eventually(
            lambda: self.server.metric("tokenguard_reloads_total", source="client-ca", result="accepted") == before + 1
        )

    def denial(self) -> str:
        """Return kubectl's stderr for a token that the policy doesn't allow."""
        return self.plane.kubectl("create", "token", "app", "-n", "demo", "--duration=48h").stderr


def service(server: Server, path: str) -> dict:
    """Return the Service as the manifests have it, but for the port: its type makes an address of it here."""
    port = int(server.address.rpartition(":")[2])
    return clients(server, path, service={"namespace": "tokenguard", "name": "tokenguard", "port": port, "path": path})


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    [port] = free_ports(1)
    for name, content in {"admission.yaml": ADMISSION, "webhooks.kubeconfig": KUBECONFIG}.items():
        here = content.replace("/etc/kubernetes/tokenguard", str(folder))
        (folder / name).write_text(
            here.replace("name: tokenguard.tokenguard.svc", f"name: tokenguard.tokenguard.svc:{port}")
        )
    (folder / "ca.crt").write_bytes(FIRST.certificate)
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "objects.yaml").write_text("")
    flags = ["--policy", str(folder / "policy.yaml"), "--objects", str(folder / "objects.yaml")]
    wary = ["--client-ca", str(folder / "ca.crt"), "--bind", f"127.0.0.1:{port}", "--audit-level", "all"]
    with serve(folder / "run", *flags, *wary) as server:
        made = Site(None, server, folder)
        made.show(FIRST)
        flag = f"--admission-control-config-file={folder / 'admission.yaml'}"
        with own_plane(tmp_path_factory.mktemp("showing-plane"), flag) as plane:
            made.plane = plane
            for namespace in ("demo", "tokenguard"):
                plane.do("create", "namespace", namespace)
            plane.do("create", "serviceaccount", "app", "-n", "demo")
            plane.do("create", "service", "externalname", "tokenguard", "-n", "tokenguard", "--external-name=localhost")
            plane.do("apply", "-f", "-", stdin=configuration("MutatingWebhookConfiguration", {
                "name": "pods.mutate.tokenguard.svc", "clientConfig": service(server, "/mutate"),
                "rules": [rule("", ["pods"], ["CREATE"])],
            }))  # fmt: skip
            plane.do("apply", "-f", "-", stdin=configuration("ValidatingWebhookConfiguration", {
                "name": "all.validate.tokenguard.svc", "clientConfig": service(server, "/validate"),
                "rules": [rule("", ["pods", "serviceaccounts/token"], ["CREATE"])],
            }))  # fmt: skip
            eventually(lambda: "admission webhook" in made.denial())
            yield made


def test_api_server_with_client_certificate_is_answered(site) -> None:
    assert "token-request-expiration: " in site.denial()
    site.plane.do("create", "-f", "-", stdin={
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain", "namespace": "demo"},
        "spec": {"serviceAccountName": "app", "containers": [{"name": "app", "image": "nginx"}]},
    })  # fmt: skip
    names = site.plane.do("get", "pod", "plain", "-n", "demo", "-o", "jsonpath={.spec.volumes[*].name}")
    assert "tokenguard-vault" in names
    assert site.server.metric("tokenguard_requests_refused_total", status="403") == 0


def test_api_server_without_client_certificate_is_refused(site, plane) -> None:
    with registered_webhook(plane, "shows-none", clients(site.server, "/validate")) as create:
        said = eventually(create)
    assert 'failed calling webhook "policy.validate.tokenguard.svc"' in said
    assert "a client certificate of the CA in --client-ca is required" in said
    assert "kubeConfigFile" in said


@pytest.mark.covers("threat-model: made-up reviews")
def test_review_of_another_client_is_refused(site) -> None:
    made_up = json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "1"}})
    lines = len(site.server.audit)
    assert site.server.request("POST", "/validate", made_up, JSON).status == 403
    assert len(site.server.audit) == lines


def end_workers(server: Server) -> None:
    """Have other workers come: with the old ones their connections end, and what those have shown."""
    before = set(server.workers)
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: server.workers and not before & set(server.workers))


def test_client_ca_replaced_as_documented_needs_no_restart(site) -> None:
    site.know(FIRST, SECOND)
    assert "token-request-expiration: " in site.denial()
    site.show(SECOND)
    site.know(SECOND)
    end_workers(site.server)
    eventually(lambda: "token-request-expiration: " in site.denial())
    site.know(FIRST)
    assert "token-request-expiration: " in site.denial(), "a connection that stands was verified when it was made"
    end_workers(site.server)
    assert re.search("/validate?.*tls: unknown certificate authority", eventually(site.denial))
