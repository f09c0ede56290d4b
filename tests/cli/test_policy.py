"""`tokenguard policy validate`, `test`, `show` and `schema`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from tests.commands import run_command
from tests.documented import CHECKOUT
from webhook.cli import main

HEAD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"


def show(policy: str, *arguments: str) -> str:
    return run_command("policy", "show", "-", *arguments, stdin=policy.encode()).stdout


def test_validate_reports_every_error_with_its_line(tmp_path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"{HEAD}mod: warn\nrules: {{inject: reject}}\n")
    done = run_command("policy", "validate", str(file))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f'error: {file}:3:1: unknown key "mod"; did you mean "mode"?',
        f'error: {file}:4:9: rules.inject: invalid action "reject"; use patch, warn, audit or off',
        "invalid: 2 errors",
    ]


def test_validate_on_a_terminal_asks_for_a_file() -> None:
    terminal, stdin = os.openpty()
    command = [sys.executable, "-m", "webhook", "policy", "validate"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOKENGUARD_")}
    done = subprocess.run(
        command, stdin=stdin, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    os.close(stdin)
    os.close(terminal)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no input; name a file, a folder, or - for standard input" in done.stderr


def test_validate_in_a_configmap_names_places_in_the_file(tmp_path) -> None:
    file = tmp_path / "policy.yaml"
    text = f"{HEAD}mod: warn\n".replace("\n", "\n    ")
    file.write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: p}}\ndata:\n  policy.yaml: |\n    {text}\n")
    done = run_command("policy", "validate", str(file))
    assert done.stdout.splitlines()[0] == f'error: {file}:8:5: unknown key "mod"; did you mean "mode"?'
    file.write_text(file.read_text().replace("mod: warn", "mode: [}"))
    line = run_command("policy", "validate", str(file)).stdout.splitlines()[0]
    assert line.startswith(f"error: {file}:8:12: is not YAML")


def test_validate_warns_beside_errors_about_other_entries(tmp_path) -> None:
    file = tmp_path / "policy.yaml"
    exempt = "{{rules: [{rule}], reason: r, until: {until}}}"
    exemptions = [
        exempt.format(rule="inject", until="2020-01-01"),
        exempt.format(rule="injekt", until="2020-01-01"),
        exempt.format(rule="inject", until="never"),
        exempt.format(rule="inject", until="never"),
    ]
    file.write_text(f"{HEAD}exemptions:\n" + "".join(f"- {exemption}\n" for exemption in exemptions))
    done = run_command("policy", "validate", str(file))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"warning: {file}:4:32: exemptions[0].until: ended on 2020-01-01; remove the exemption",
        f'error: {file}:5:12: exemptions[1].rules[0]: unknown rule "injekt"; did you mean "inject"?',
        (
            f"warning: {file}:7:3: exemptions[3]: has no effect: exemptions[2] matches everything that this one does,"
            " and ends no earlier"
        ),
        "invalid: 1 error, 2 warnings",
    ]


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--strict",), 1)])
def test_validate_strict_fails_for_warnings(tmp_path, options, status) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"{HEAD}overrides: [{{namespaces: [kube-system]}}]\n")
    done = run_command("policy", "validate", *options, str(file))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (status, "valid (revision bea1018b963c), 1 warning")


def test_validate_reads_files_and_folders(tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "good.yaml").write_text(HEAD)
    (tmp_path / "folder" / "other.yaml").write_text("kind: ConfigMap\n")
    (tmp_path / "bad.yaml").write_text(f"{HEAD}mode: [\n")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "other.yaml").write_text("kind: ConfigMap\n")
    done = run_command("policy", "validate", f"{tmp_path}/folder", f"{tmp_path}/bad.yaml")
    assert (done.returncode, done.stdout.splitlines()) == (1, [
        f"{tmp_path}/folder/good.yaml: valid (revision 8c0cec78672a)",
        f"error: {tmp_path}/bad.yaml:3:7: is not YAML: this [ is not closed",
        f"{tmp_path}/bad.yaml: invalid: 1 error",
        "2 policies: 1 valid, 1 invalid",
    ])  # fmt: skip
    (tmp_path / "pod.yaml").write_text("apiVersion: v1\nkind: Pod\n")
    done = run_command("policy", "validate", f"{tmp_path}/pod.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pod.yaml: contains no policy: it needs a document of kind TokenPolicy" in done.stderr
    done = run_command("policy", "validate", f"{tmp_path}/none", f"{tmp_path}/folder")
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path}/none: contains no document of kind TokenPolicy\n")


def test_validate_in_a_folder_skips_test_cases(tmp_path) -> None:
    (tmp_path / "policy.yaml").write_text(HEAD)
    inner = "  apiVersion: tokenguard/v1\n  kind: TokenPolicy\n"
    configmap = "object:\n kind: ConfigMap\n data:\n  policy.yaml: |\n   kind: TokenPolicy\n   mode: x\n"
    cases = tmp_path / "cases.yaml"
    cases.write_text(f"case: a\npolicy:\n{inner}object: {{}}\n---\ncase: b\n{configmap}decision: denied\n")
    (tmp_path / "broken.yaml").write_text(f"case: a\npolicy:\n{inner}object: [\n")
    (tmp_path / "values.yaml").write_text(f"policy:\n{inner}")
    done = run_command("policy", "validate", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "valid (revision 8c0cec78672a)\n")
    done = run_command("policy", "validate", str(cases))
    message = "contains no policy, but test cases; run them with 'tokenguard policy test'"
    assert (done.returncode, done.stderr) == (2, f"error: {cases}: {message}\n")


def test_validate_in_a_folder_finds_every_form_of_a_policy(tmp_path) -> None:
    document = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
    head = "apiVersion: v1\nkind: ConfigMap\n"
    for name, text in {
        "behind.yaml": f"{head}---\n{document}",
        "configmap.yaml": f"{head}data:\n  policy.yaml: |\n    apiVersion: tokenguard/v1\n    kind: TokenPolicy\n",
        "flow.json": '{"apiVersion": "tokenguard/v1", "kind": "TokenPolicy"}',
        "kind.yaml": "apiVersion: tokenguard/v1\nkind: TokenPolcy\n",
        "broken.yaml": f"{document}mode: [\n",
        "another.yaml": f"{head}data:\n  policy.yaml: 'allow: all'\n  x: TokenPolicy\n",
    }.items():
        (tmp_path / name).write_text(text)
    done = run_command("policy", "validate", "-o", "json", str(tmp_path))
    found = [Path(policy["file"]).name for policy in json.loads(done.stdout)["policies"]]
    assert found == ["behind.yaml", "broken.yaml", "configmap.yaml", "flow.json", "kind.yaml"]


def test_validate_duplicate_key_has_its_column(tmp_path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"{HEAD}tokens: {{audiences: {{required: true, required: false}}}}\n")
    done = run_command("policy", "validate", str(file))
    message = 'tokens.audiences: duplicate key "required"; keep one'
    assert done.stdout.splitlines()[0] == f"error: {file}:3:38: {message}"


def test_validate_json_and_github_have_errors_and_warnings(tmp_path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"{HEAD}mod: warn\noverrides: [{{namespaces: [kube-system]}}]\n")
    [policy] = json.loads(run_command("policy", "validate", "-o", "json", str(file)).stdout)["policies"]
    assert (policy["file"], policy["valid"], policy["revision"]) == (str(file), False, "")
    assert policy["errors"] == [
        {"line": 3, "column": 1, "path": "", "message": 'unknown key "mod"; did you mean "mode"?'}
    ]
    assert [(each["line"], each["path"]) for each in policy["warnings"]] == [(4, "overrides[0]")]
    lines = run_command("policy", "validate", "-o", "github", str(file)).stdout.splitlines()
    assert lines[0] == f'::error file={file},line=3,col=1,title=tokenguard::unknown key "mod"; did you mean "mode"?'
    assert lines[1].startswith(f"::warning file={file},line=4,col=13,title=tokenguard::overrides[0]: never applies")
    assert lines[2] == f"{file}: invalid: 1 error, 1 warning"


@pytest.mark.parametrize(
    ("output", "more"), [("github", "\n3 more errors, as GitHub shows 10 of each kind:\n"), ("text", "")]
)
def test_validate_shows_every_error_in_each_format(tmp_path, output, more) -> None:
    file = tmp_path / "policy.yaml"
    keys = [f"key{number}" for number in range(13)]
    file.write_text(HEAD + "".join(f"{key}: 1\n" for key in keys))
    shown = run_command("policy", "validate", "-o", output, str(file)).stdout
    assert [shown.count(f'unknown key "{key}"') for key in keys] == [1] * 13
    assert more in shown


def test_validate_shows_the_revision_of_a_valid_policy(tmp_path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(HEAD)
    done = run_command("policy", "validate", str(file))
    assert (done.returncode, done.stdout) == (0, "valid (revision 8c0cec78672a)\n")


STATUSES = {
    "valid": (HEAD.encode(), 0),
    "invalid": (f"{HEAD}mode: x\n".encode(), 1),
    "broken": (f"{HEAD}mode: [\n".encode(), 1),
    "not UTF-8": (f"{HEAD}mode: ".encode() + b"\xff\n", 1),
    "several": (f"{HEAD}---\n{HEAD}".encode(), 1),
    "of another kind": (b"apiVersion: v1\nkind: Pod\n", 2),
    "empty": (b"", 2),
}


@pytest.mark.parametrize(("content", "status"), STATUSES.values(), ids=STATUSES)
def test_invalid_policy_is_a_finding_for_validate_only(tmp_path, content, status) -> None:
    file, cases = tmp_path / "policy.yaml", tmp_path / "cases.yaml"
    file.write_bytes(content)
    cases.write_text("case: a\nobject: {spec: {containers: [{name: app}]}}\n")
    assert run_command("policy", "validate", str(file)).returncode == status
    for command in (["policy", "show", str(file)], ["policy", "test", str(cases), "--policy", str(file)]):
        assert run_command(*command).returncode == (2 if status else 0)


def test_validate_missing_file_exits_2() -> None:
    done = run_command("policy", "validate", "/no/such/file")
    assert (done.returncode, done.stderr) == (2, "error: /no/such/file: no such file or directory\n")


def test_show_prints_a_valid_policy() -> None:
    shown = run_command("policy", "show").stdout
    assert run_command("policy", "validate", "-", stdin=shown.encode()).returncode == 0
    assert show(shown) == shown


def test_show_namespace_applies_overrides() -> None:
    override = "{namespaces: ['s-*'], namespaceLabels: {tier: x}, mode: warn, tokens: {maxExpirationSeconds: 600}}"
    policy = f"{HEAD}overrides:\n- {override}\n"
    matched = show(policy, "--namespace", "s-1", "--label", "tier=x")
    assert matched.startswith("# namespace s-1: overrides[0] applies\napiVersion: ")
    assert "mode: warn" in matched
    assert "maxExpirationSeconds: 600" in matched
    other = show(policy, "--namespace", "s-1", "--label", "tier=y")
    assert other.startswith("# namespace s-1: no override applies\n")
    assert "mode: enforce" in other


def test_show_overrides_only_with_what_differs() -> None:
    overrides = "[{namespaces: [a], mode: warn, rules: {inject: off}}, {namespaces: [b]}]"
    shown = yaml.safe_load(show(f"{HEAD}overrides: {overrides}\n"))
    assert shown["overrides"] == [
        {"namespaces": ["a"], "namespaceLabels": {}, "mode": "warn", "rules": {"inject": "off"}},
        {"namespaces": ["b"], "namespaceLabels": {}, "mode": "enforce"},
    ]


def test_show_escapes_text_that_keeps_its_meaning() -> None:
    reason = "words " * 20 + "::error::a ##[error]b \u202e \U000e0041 " + "words " * 20
    exemption = {"rules": ["*"], "users": ["::error::x", "a##vso[b]"], "reason": reason, "until": "never"}
    shown = show(HEAD + yaml.safe_dump({"exemptions": [exemption]}))
    assert not any(line.lstrip().startswith("::") or "##[" in line or "##vso[" in line for line in shown.split("\n"))
    assert shown.replace("\n", "").isprintable()
    read = yaml.safe_load(shown)["exemptions"][0]
    assert read["reason"] == reason.strip()
    assert read["users"] == ["::error::x", "a##vso[b]"]
    assert show(shown) == shown


def test_schema_is_json() -> None:
    assert json.loads(run_command("policy", "schema").stdout)["title"] == "tokenguard/v1 TokenPolicy"


def test_schema_of_cases_accepts_the_golden_ones_only() -> None:
    schema = json.loads(run_command("policy", "schema", "--cases").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema).is_valid
    documents = [
        json.loads(json.dumps(document, default=str))
        for file in (CHECKOUT / "tests" / "cases").glob("*.yaml")
        for document in yaml.safe_load_all(file.read_text())
    ]
    assert [document for document in documents if not valid(document)] == []
    case = {"case": "a", "object": {}}
    for wrong in (
        {"caes": "a", "object": {}}, {"case": "a"}, {"decision": "denied"}, case | {"decison": "denied"},
        case | {"request": {"operation": "PATCH"}}, case | {"policy": {"mod": "warn"}},
        case | {"findings": {"x": "warn"}},
    ):  # fmt: skip
        assert not valid(wrong), wrong


def test_export_prints_manifests_and_lists_what_is_not_expressed() -> None:
    done = run_command("policy", "export", "-", stdin=f"{HEAD}mode: enforce\n".encode())
    objects = list(yaml.safe_load_all(done.stdout))
    assert done.returncode == 0
    assert {obj["kind"] for obj in objects} == {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert "legacy-token-reference: not expressed" in done.stderr
    assert "API server's audiences: assumed to be https://kubernetes.default.svc" in done.stderr


def test_export_takes_audiences_and_namespace_of_the_cluster() -> None:
    arguments = ("-o", "vap+map", "--own-namespace", "guard", "--api-audience", "https://api.internal")
    done = run_command("policy", "export", *arguments)
    assert "MutatingAdmissionPolicy" in done.stdout
    assert "https://api.internal" in done.stdout
    assert "assumed" not in done.stderr
    assert selectors(done.stdout)[0]["values"] == ["kube-system", "guard"]
    assert "needs Kubernetes 1.36 or newer; on an older one, use -o vap" in done.stderr


def test_export_leaves_alone_what_the_webhooks_in_a_file_exclude(tmp_path) -> None:
    manifest = (CHECKOUT / "manifests/webhooks/validating.yaml").read_text()
    file = tmp_path / "webhooks.yaml"
    file.write_text(manifest.replace("values: [kube-system, tokenguard]", "values: [kube-system, tokenguard, calico]"))
    done = run_command("policy", "export", "--webhooks", str(file))
    assert done.returncode == 0
    excluded = {tuple(selector["values"]) for selector in selectors(done.stdout)}
    assert excluded == {("kube-system", "tokenguard", "calico"), ("kube-system",)}
    assert "needs Kubernetes 1.30 or newer\n" in done.stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: ConfigMap\napiVersion: v1\n", "no ValidatingWebhookConfiguration named tokenguard"),
        (
            "{kind: ValidatingWebhookConfiguration, apiVersion: v1, metadata: {name: tokenguard}, webhooks: 1}",
            "ValidatingWebhookConfiguration tokenguard: Expected `array | null`, got `int` - at `$.webhooks`",
        ),
    ],
)
def test_export_webhooks_that_cannot_be_used_exit_2(text, problem, tmp_path) -> None:
    file = tmp_path / "webhooks.yaml"
    file.write_text(text)
    done = run_command("policy", "export", "--webhooks", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {file}: {problem}" in done.stderr


def selectors(manifests: str) -> list[dict]:
    """Return the requirements of each policy about the name of the namespace."""
    matched = [part["spec"].get("matchConstraints") for part in yaml.safe_load_all(manifests)]
    return [term for part in filter(None, matched) for term in part["namespaceSelector"]["matchExpressions"]]


def test_export_too_large_policy_exits_2_with_the_reason() -> None:
    patterns = ", ".join(f"'team-{number:05}-*'" for number in range(9000))
    exemption = f"{{rules: ['*'], namespaces: [{patterns}], reason: r, until: never}}"
    done = run_command("policy", "export", "-", stdin=f"{HEAD}exemptions: [{exemption}]\n".encode())
    assert (done.returncode, done.stdout) == (2, "")
    assert "the policy is too large for the API server: an expression of ValidatingAdmissionPolicy" in done.stderr


def test_validate_warns_about_what_has_no_effect(tmp_path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"{HEAD}overrides: [{{namespaces: [kube-system]}}]\n")
    done = run_command("policy", "validate", str(file))
    assert done.returncode == 0
    expected = f"warning: {file}:3:13: overrides[0]: never applies: kube-system is not evaluated"
    assert done.stdout.splitlines()[0] == expected


CASES = """case: passes
object: {spec: {containers: [{name: app}]}}
---
case: fails <&
object: {spec: {containers: [{name: app}]}}
decision: denied
"""


@pytest.mark.parametrize("output", ["text", "json", "junit", "github"])
def test_test_reports_each_failed_case(tmp_path, output) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(CASES)
    done = run_command("policy", "test", str(tmp_path), "--output", output)
    assert (done.returncode, done.stderr) == (1, "")
    failure = "decision: expected denied, got allowed"
    if output == "text":
        summary = "2 cases in 1 file: 1 passed, 1 failed"
        assert done.stdout.splitlines() == [f"failed: {file}:4: fails <&", f"  {failure}", summary]
    elif output == "json":
        report = json.loads(done.stdout)
        difference = {"key": "decision", "expected": "denied", "got": "allowed", "text": failure}
        assert [(case["case"], case["differences"]) for case in report["cases"]] == [
            ("passes", []),
            ("fails <&", [difference]),
        ]
        assert report["summary"] == {"cases": 2, "passed": 1, "failed": 1, "notRun": 0, "notSelected": 0}
    elif output == "github":
        summary = "2 cases in 1 file: 1 passed, 1 failed"
        assert done.stdout.splitlines() == [f"::error file={file},line=4,title=failed%3A fails <&::{failure}", summary]
    else:
        [suite] = ET.fromstring(done.stdout)
        assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == (str(file), "2", "1")
        assert [(case.get("name"), [part.get("message") for part in case]) for case in suite] == [
            ("passes", []), ("fails <&", [failure]),
        ]  # fmt: skip


def test_test_names_cases_that_cannot_be_run(tmp_path) -> None:
    file = tmp_path / "cases.yaml"
    settings = "now: noon\n---\n"
    file.write_text(f"{settings}{CASES}---\ncase: broken\nobjct: {{}}\n---\n- x\n")
    done = run_command("policy", "test", str(file))
    summary = "3 cases in 1 file: 0 passed, 0 failed, 3 cannot be run, 1 other error"
    assert (done.returncode, done.stdout.splitlines()[-1]) == (2, summary)
    done = run_command("policy", "test", str(file), "-o", "junit")
    [suite] = ET.fromstring(done.stdout)
    noon = 'now: "noon" is not a date such as 2027-03-31, or a time'
    assert [(case.get("name"), [part.get("message") for part in case]) for case in suite] == [
        (f"{file}: document 5, line 13", ["must be a map"]),
        ("passes", [noon]),
        ("fails <&", [noon]),
        ("broken", [f"{noon} (and 2 more errors)"]),
    ]
    report = json.loads(run_command("policy", "test", str(file), "-o", "json").stdout)
    assert report["summary"] == {"cases": 3, "passed": 0, "failed": 0, "notRun": 3, "notSelected": 0}
    assert len(report["notRun"]) == 3
    assert all(case["problems"] and {"file", "line", "case"} < case.keys() for case in report["notRun"])
    assert len(report["problems"]) == 4


@pytest.mark.parametrize(
    ("decision", "options", "shown"),
    [("denied", (), True), ("allowed", ("-v",), True), ("allowed", (), False), (None, (), True)],
)
def test_test_notes_secrets_that_are_not_in_the_cluster(tmp_path, decision, options, shown) -> None:
    file = tmp_path / "cases.yaml"
    reads = "{name: app, envFrom: [{secretRef: {name: t}}, {secretRef: {name: known}}]}"
    known = "cluster: [{apiVersion: v1, kind: Secret, metadata: {name: known}}]\n"
    file.write_text(
        f"case: a\n{known}object: {{spec: {{containers: [{reads}]}}}}\n{f'decision: {decision}' if decision else ''}\n"
    )
    done = run_command("policy", "test", str(file), *options)
    note = '  note: not in cluster, so not known as legacy tokens: the Secret "default/t"'
    assert (note in done.stdout.splitlines()) is shown
    [case] = json.loads(run_command("policy", "test", str(file), "-o", "json").stdout)["cases"]
    assert case["missingSecrets"] == [{"namespace": "default", "name": "t"}]


def test_test_without_a_case_exits_2(tmp_path) -> None:
    (tmp_path / "policy.yaml").write_text(HEAD)
    assert run_command("policy", "test", str(tmp_path)).returncode == 2


def test_test_without_a_path_runs_the_working_directory(tmp_path, monkeypatch) -> None:
    (tmp_path / "cases.yaml").write_text(f"{CASES}---\ncase: broken\nobjct: {{}}\n")
    monkeypatch.chdir(tmp_path)
    done = run_command("policy", "test", "-k", "PASS", "--select", "nothing")
    summary = "1 case in 1 file: 1 passed, 0 failed, 2 not selected\n"
    assert (done.returncode, done.stdout) == (0, summary)


def test_test_lists_the_findings_once(tmp_path) -> None:
    token = "{serviceAccountToken: {path: t, audience: b, expirationSeconds: 99999}}"
    volumes = f"[{{name: t, projected: {{sources: [{token}, {{serviceAccountToken: {{path: u}}}}]}}}}]"
    (tmp_path / "cases.yaml").write_text(f"case: it\nobject: {{spec: {{volumes: {volumes}}}}}\nsays: [another]\n")
    lines = run_command("policy", "test", str(tmp_path)).stdout.splitlines()
    assert lines[-2] == '  says: expected "another"; the webhook says: the lines above'
    assert len([line for line in lines if "has no audience" in line]) == 1


def test_test_without_a_selected_case_exits_2(tmp_path) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(CASES)
    done = run_command("policy", "test", str(file), "-k", "other")
    assert done.returncode == 2
    assert done.stdout.splitlines()[0] == f'error: {file}: has no case whose name contains "other"'


def test_test_junit_has_one_failure_for_each_case(tmp_path) -> None:
    (tmp_path / "cases.yaml").write_text(CASES + "findings: {inject: patch}\n")
    done = run_command("policy", "test", str(tmp_path), "-o", "junit")
    [failure] = ET.fromstring(done.stdout).iter("failure")
    assert failure.get("message") == "decision: expected denied, got allowed (and 1 more difference)"
    assert failure.text.splitlines()[1] == "findings: expected {inject: patch}, got {}"


@pytest.mark.parametrize(("options", "variables", "case"), [
    (["--policy", "./policy.yaml"], {}, ""),
    ([], {"TOKENGUARD_POLICY": "./policy.yaml"}, ""),
    (["--policy", "./policy.yaml"], {}, "policy: policy.yaml\n"),
], ids=["option", "variable", "option and case"])  # fmt: skip
def test_test_warns_once_about_the_default_policy(tmp_path, monkeypatch, options, variables, case) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text(HEAD + "tokens: {audiences: {allowed: ['*']}}\n")
    Path("case.yaml").write_text(f"case: it\nobject: {{spec: {{containers: [{{name: app}}]}}}}\n{case}")
    done = CliRunner().invoke(main, ["policy", "test", *options], env=variables)
    assert done.stdout.count("warning: policy.yaml:3:") == 1, done.output
    assert (done.output.count("warning: "), done.exit_code) == (1, 0)
