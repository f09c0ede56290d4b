"""Every threat in docs/security.md has a test that there is, and every test named there is run by somebody."""

import re
import shutil
import subprocess

import pytest

from tests.documented import CHECKOUT, is_there

PAGE = (CHECKOUT / "docs/security.md").read_text()
HEAD = "| who tries what | what stops it | tests |"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for table in PAGE.split(f"{HEAD}\n")[1:] for line in table.split("\n\n")[0].splitlines()[1:]
]  # fmt: skip
NAMED = [re.findall(r"`(tests/[^`]+)`", row[-1]) for row in ROWS]
ASKED_FOR = {
    "mirror pod": "a mirror annotation", "labels and annotations": "label tricks", "kube-api-access-": "such names",
    "letters of another alphabet": "look-alikes in globs", "with `..`, `//`": "paths", "subPathExpr": "subPathExpr",
    "makes the pod first": "a Secret created after the pod", "impersonate acts": "impersonation",
    "relabels a namespace": "a namespace relabelled", "replaces the `caBundle`": "caBundle replaced",
    "tokenguard's own account": "the webhook's own RBAC", "line breaks": "log injection",
    "fill the monitoring system": "metrics cardinality", "full of addresses": "SSRF through policy",
}  # fmt: skip


def test_the_page_has_threats_of_all_kinds() -> None:
    assert len(ROWS) == PAGE.count("\n| ") - PAGE.count(HEAD) - PAGE.count("\n| `failed calling") - 2
    assert [what for words, what in ASKED_FOR.items() if not any(words in row[0] for row in ROWS)] == []


@pytest.mark.parametrize(("row", "named"), list(zip(ROWS, NAMED, strict=True)), ids=[row[0][:60] for row in ROWS])
def test_a_threat_names_who_and_what_stops_it_and_tests_that_there_are(row, named) -> None:
    assert len(row) == 3
    assert all(row)
    assert named
    assert [one for one in named if not is_there(one)] == []


def test_nothing_else_stands_among_the_tests_of_a_threat() -> None:
    for row, named in zip(ROWS, NAMED, strict=True):
        assert ", ".join(f"`{one}`" for one in named) == row[-1]


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("bash")), reason="needs bash and openssl")
def test_the_commands_for_a_clients_certificate_make_one_of_that_ca_for_clients_alone(tmp_path) -> None:
    [commands] = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    subprocess.run(["bash", "-euc", commands], cwd=tmp_path, capture_output=True, check=True)
    for purpose, taken in (("sslclient", True), ("sslserver", False)):
        call = ["openssl", "verify", "-CAfile", "client-ca.crt", "-purpose", purpose, "client.crt"]
        assert (subprocess.run(call, cwd=tmp_path, capture_output=True, check=False).returncode == 0) is taken
    assert {one.name: one.stat().st_mode & 0o777 for one in tmp_path.glob("*.key")} == {
        "client-ca.key": 0o600, "client.key": 0o600,
    }  # fmt: skip
