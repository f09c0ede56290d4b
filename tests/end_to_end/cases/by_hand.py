"""What docs/tokens.md shows under 'Request a token', command by command."""

import json
import re
import shlex

import pytest

from tests.end_to_end.cluster import created, pod
from tests.manifests.rendering import CHECKOUT
from webhook.tokens.claims import Token, parse_token

SECTION = re.search(r"\n## Request a token\n(.*?)\n##", (CHECKOUT / "docs/tokens.md").read_text(), re.DOTALL)[1]
CALLS = re.findall(r"^\$ (kubectl .*?)(?:    # .*)?\n((?:[^$`].*\n)*)", SECTION, re.MULTILINE)
REQUEST = re.search(r"```json\n(.*?)```", SECTION, re.DOTALL)[1]
ID = re.compile(r"(?<=\[tokenguard )[0-9a-f]{8}")


@pytest.fixture(scope="module")
def monitoring_cluster(cluster):
    """Return the cluster with the account and the pod that the page names."""
    for namespace in ("monitoring", "oncall"):
        cluster.do("create", "serviceaccount", "monitoring-sa", "-n", namespace)
    created(cluster, pod("prometheus-0", "monitoring", "monitoring-sa"))
    return cluster


def run(cluster, call: str, folder):
    """Run one of the page's commands, in a folder that contains its file."""
    (folder / "request.json").write_text(REQUEST)
    _, *arguments = shlex.split(call.replace("request.json", str(folder / "request.json")))
    return cluster.kubectl(*arguments)


@pytest.mark.parametrize(("call", "output"), CALLS, ids=[call for call, _ in CALLS])
def test_command_shown_is_issued_or_denied_as_shown(monitoring_cluster, tmp_path, call, output) -> None:
    done = run(monitoring_cluster, call, tmp_path)
    if output:
        assert (done.returncode, done.stdout) == (1, "")
        assert ID.sub("ID", done.stderr) == ID.sub("ID", output)
    else:
        assert (done.returncode, done.stderr) == (0, "")


def token_of(done) -> Token:
    return parse_token((json.loads(done.stdout)["status"]["token"] if "{" in done.stdout else done.stdout).encode())


def test_token_issued_has_the_lifetime_and_audience_shown(monitoring_cluster, tmp_path) -> None:
    tokens = [token_of(run(monitoring_cluster, call, tmp_path)) for call, output in CALLS if not output]
    plain, two_hours, vault, bound = tokens
    assert (plain.lifetime, plain.audiences) == (3600, (plain.issuer,))
    assert two_hours.lifetime == 7200
    assert (vault.lifetime, vault.audiences) == (3600, ("https://vault.example.com",))
    assert (bound.lifetime, bound.audiences) == (3600, ("https://vault.example.com", "https://grafana.example.com"))
    assert bound.bound[0].name == "prometheus-0"
