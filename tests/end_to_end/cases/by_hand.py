"""What the README shows under 'Tokens by hand', command by command."""

import json
import re
import shlex

import pytest

from tests.end_to_end.cluster import created, pod
from tests.manifests.rendering import CHECKOUT
from webhook.tokens.claims import Token, parse_token

SECTION = re.search(r"\n## Tokens by hand\n(.*?)\n##", (CHECKOUT / "README.md").read_text(), re.DOTALL)[1]
CALLS = re.findall(r"^\$ (kubectl .*?)(?:    # .*)?\n((?:[^$`].*\n)*)", SECTION, re.MULTILINE)
REQUEST = re.search(r"```json\n(.*?)```", SECTION, re.DOTALL)[1]
ID = re.compile(r"(?<=\[tokenguard )[0-9a-f]{8}")


@pytest.fixture(scope="module")
def monitored(cluster):
    """Return the cluster with the account and the pod of whom the README speaks."""
    for namespace in ("monitoring", "oncall"):
        cluster.do("create", "serviceaccount", "monitoring-sa", "-n", namespace)
    created(cluster, pod("prometheus-0", "monitoring", "monitoring-sa"))
    return cluster


def run(cluster, call: str, folder):
    """Run one of the README's commands, in a folder that holds the README's file."""
    (folder / "request.json").write_text(REQUEST)
    _, *arguments = shlex.split(call.replace("request.json", str(folder / "request.json")))
    return cluster.kubectl(*arguments)


@pytest.mark.parametrize(("call", "output"), CALLS, ids=[call for call, _ in CALLS])
def test_what_the_readme_says_is_issued_is_and_what_it_says_is_refused_is_so_in_its_words(
    monitored, tmp_path, call, output
) -> None:
    done = run(monitored, call, tmp_path)
    if output:
        assert (done.returncode, done.stdout) == (1, "")
        assert ID.sub("ID", done.stderr) == ID.sub("ID", output)
    else:
        assert (done.returncode, done.stderr) == (0, "")


def token_of(done) -> Token:
    return parse_token((json.loads(done.stdout)["status"]["token"] if "{" in done.stdout else done.stdout).encode())


def test_what_is_issued_lives_as_long_and_is_for_whom_the_readme_says(monitored, tmp_path) -> None:
    tokens = [token_of(run(monitored, call, tmp_path)) for call, output in CALLS if not output]
    plain, two_hours, vault, bound = tokens
    assert (plain.lifetime, plain.audiences) == (3600, (plain.issuer,))
    assert two_hours.lifetime == 7200
    assert (vault.lifetime, vault.audiences) == (3600, ("https://vault.example.com",))
    assert (bound.lifetime, bound.audiences) == (3600, ("https://vault.example.com", "https://grafana.example.com"))
    assert bound.bound[0].name == "prometheus-0"
