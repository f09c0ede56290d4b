"""The legacy tokens of a cluster are retired, by an account with the rights of manifests/retire and no others.

There are more than 200 legacy Secrets of all kinds, and tokenguard reviews each change.
"""

import json
import re
import time
from collections import Counter

import pytest

from tests.commands import run_command
from tests.control_plane.live import account_kubeconfig
from tests.control_plane.retiring import COUNT, OLD, RETIRE, Retiring, retiring
from tests.documented import PAGES
from tests.end_to_end.cluster import INVALID_SINCE
from tests.serving import eventually

NAMED, USED, MISSED = "alpha/robot-01-token", "gamma/robot-05-token", "alpha/robot-03-token"
GENERATED, DISABLED = "beta/robot-31-token", "beta/robot-33-token"
CLIENT = "backup/1.0"
WITHIN = 15
"""Seconds in which a restored token is valid again."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with retiring(tmp_path_factory.mktemp("retire")) as running:
        yield running


def test_wave_is_disabled_one_is_missed_and_the_rest_deleted(cluster: Retiring, tmp_path) -> None:
    assert cluster.use(cluster.token(USED)) == 200
    eventually(lambda: cluster.secrets()[USED]["state"] == "in use")
    assert len(cluster.secrets()) == COUNT
    select = ("--unused-days", "30", "-n", "alpha", "-n", "gamma", "--yes")
    cluster.legacy("disable", NAMED, USED, *select, "--reason", "wave 1", status=1)
    wave = {title: secret for title, secret in cluster.secrets().items() if secret["disabled"]}
    assert len(wave) == 20
    assert [secret["account"] for secret in wave.values()][:10] == ["deployer"] * 10
    assert not {NAMED, USED} & wave.keys()
    assert all(
        (secret["created"], secret["references"], secret["lastUsed"]) == (OLD, [], None) for secret in wave.values()
    )

    token = cluster.token(MISSED)
    assert [cluster.use(token, CLIENT) for _ in range(3)] == [401] * 3
    log = str(cluster.plane.folder / "audit.log")
    missed = eventually(
        lambda: [secret for secret in cluster.secrets("--audit-log", log).values() if secret["refusedUses"]]
    )
    assert [(secret["name"], secret["state"]) for secret in missed] == [("robot-03-token", "disabled but still used")]
    [use] = missed[0]["refusedUses"]
    assert (use["address"], use["client"], use["requests"]) == ("127.0.0.1", CLIENT, 3)
    done = run_command("audit", "summarize", log)
    assert re.search(rf"{MISSED} +3 +\S+ +127.0.0.1 +{CLIENT}\n", done.stdout), done.stdout

    begun = time.monotonic()
    assert "restored" in cluster.legacy("restore", "--still-used", "--reason", "the backup uses it", "--yes")
    eventually(lambda: cluster.use(token, CLIENT) == 200)
    assert time.monotonic() - begun < WITHIN
    metadata = cluster.metadata(MISSED)
    assert not [
        key for key in {**metadata["labels"], **metadata["annotations"]} if "tokenguard" in key or key == INVALID_SINCE
    ]
    assert not [entry for entry in metadata["managedFields"] if entry["manager"] == "tokenguard-legacy"]

    rest = wave.keys() - {MISSED}
    assert {title for title, secret in cluster.secrets().items() if secret["disabled"]} == rest
    cluster.legacy("delete", *rest, "--yes", status=1)  # too early
    cluster.put_back(15, *rest)
    cluster.legacy("delete", "-n", "alpha", "-n", "gamma", "--keep", str(tmp_path / "kept"), "--yes")
    assert wave.keys() - cluster.secrets().keys() == rest
    assert {f"{file.parent.name}/{file.name.partition('.')[0]}" for file in tmp_path.rglob("*.yaml")} == rest
    reasons = cluster.plane.do("get", "events", "-n", "alpha", "-o", "jsonpath={.items[*].reason}").split()
    assert reasons.count("LegacyTokenDisabled") == 20 - len([title for title in wave if title.startswith("gamma")])
    assert reasons.count("LegacyTokenRestored") == 1


@pytest.mark.covers("threat-model: retiring account")
def test_others_may_not_restore(cluster: Retiring, tmp_path) -> None:
    cluster.legacy("disable", DISABLED, "--reason", "wave 2", "--yes")
    title = ("-n", "tokenguard", "--serviceaccount=tokenguard:other")
    cluster.plane.do("create", "serviceaccount", "other", "-n", "tokenguard")
    for role in ("retire", "scanner"):
        cluster.plane.do(
            "create", "clusterrolebinding", f"other-{role}", f"--clusterrole=tokenguard-{role}", *title[2:]
        )
    cluster.plane.do("create", "rolebinding", "other", "--role=tokenguard-scanner", *title)
    other = account_kubeconfig(cluster.plane, tmp_path, account="other")
    for kubeconfig in (other, cluster.plane.folder / "kubeconfig"):
        done = run_command("legacy", "restore", DISABLED, "--yes", "--kubeconfig", str(kubeconfig))
        assert done.returncode == 2
        assert f"{DISABLED}: not restored: HTTP 403" in done.stderr
        assert "legacy-token-secret" in done.stderr
    assert cluster.secrets()[DISABLED]["disabled"]["reason"] == "wave 2"
    cluster.legacy("restore", DISABLED, "--yes")
    assert cluster.secrets()[DISABLED]["disabled"] is None


def test_cleaner_leaves_ours_alone_and_we_leave_its(cluster: Retiring) -> None:
    cluster.legacy("disable", DISABLED, "--reason", "wave 3", "--yes")
    cluster.plane.stop_controllers()
    cluster.plane.start_controllers("--legacy-service-account-token-clean-up-period=720h")
    secrets = eventually(lambda: (secrets := cluster.secrets())[GENERATED]["disabled"] and secrets)
    assert secrets[GENERATED]["disabled"]["by"] == "kube-controller-manager"
    assert secrets[DISABLED]["disabled"]["by"] == RETIRE
    assert "kube-controller-manager has disabled it" in cluster.legacy("restore", GENERATED, "--yes", status=1)
    cluster.legacy("restore", "--force", GENERATED, "--yes")
    assert INVALID_SINCE not in cluster.metadata(GENERATED).get("labels", {})


def test_commands_of_the_page_print_what_it_shows(cluster: Retiring, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    cluster.use(cluster.token("shop/report-token"))
    shown = re.findall(r"^\$ tokenguard legacy (.*)\n((?:[^$`].*\n|\n)*)", PAGES["docs/retire.md"], re.MULTILINE)
    walk = [(command, output) for command, output in shown if "-n shop" in command]
    assert [command.split()[0] for command, _ in walk] == ["list", "disable", "list", "restore", "delete"]
    before = {
        2: lambda: [cluster.use(cluster.token("shop/backup-token"), CLIENT) for _ in range(3)],
        4: lambda: cluster.put_back(15, "shop/ci-token"),
    }
    (tmp_path / "audit.log").symlink_to(cluster.plane.folder / "audit.log")
    for number, (command, output) in enumerate(walk):
        before.get(number, lambda: None)()
        yes = () if command.startswith("list") else ("--yes",)
        done = run_command("legacy", *_split(command), *yes, "--kubeconfig", str(cluster.kubeconfig))
        expected = "".join(line for line in output.splitlines(keepends=True) if "[y/N]" not in line)
        assert comparable(done.stdout) == comparable(expected), done.stdout + done.stderr


def _split(command: str) -> list[str]:
    return [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', command)]


def comparable(output: str) -> str:
    """Return an output without what differs from run to run."""
    output = re.sub(r"(context +)\S+", r"\1NAME", output)
    for pattern, text in ((r"https://\S+?(?=[,\s])", "URL"), (r"\d{4}-\d\d-\d\d( \d\d:\d\d UTC)?", "DAY")):
        output = re.sub(pattern, text, output)
    return output.strip()


@pytest.mark.covers("threat-model: tokens in memory or logs")
def test_no_secret_data_was_read_or_sent(cluster: Retiring) -> None:
    verbs = Counter()
    for event in cluster.requested():
        verbs[event["verb"]] += 1
        sent, answer = event.get("requestObject") or {}, event["responseObject"]
        assert sent.keys() <= {"apiVersion", "kind", "metadata", "preconditions"}, event
        assert answer["kind"] in ("PartialObjectMetadata", "PartialObjectMetadataList", "Status"), event
        assert all(item.keys() <= {"apiVersion", "kind", "metadata"} for item in answer.get("items") or ()), event
        assert answer["kind"] != "PartialObjectMetadata" or answer.keys() == {"apiVersion", "kind", "metadata"}, event
        assert not re.search("eyJ|ZXlK", json.dumps(event))
    assert verbs.keys() == {"list", "patch", "delete"}
    assert verbs["delete"] >= 19
    assert verbs["patch"] >= 20
