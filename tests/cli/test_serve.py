"""How the `serve` command turns its options into what it runs."""

import pytest
from click.testing import CliRunner

from tests.kubeconfigs import KUBECONFIG
from webhook.cli import main


@pytest.mark.parametrize("secret", ["tokenguard-tls", "certs/tokenguard-tls"])
def test_serve_names_the_service_in_its_own_namespace(tmp_path, monkeypatch, secret) -> None:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    ran = []
    monkeypatch.setattr("webhook.server.server.run", ran.append)
    flags = ["--own-namespace", "security", "--tls-secret", secret, "--kubeconfig", str(tmp_path / "kubeconfig")]
    done = CliRunner().invoke(main, ["serve", *flags], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    [options] = ran
    names = options.certificates.keywords["names"]
    assert [name for name in names if name.endswith(".svc")] == ["tokenguard.security.svc"]
