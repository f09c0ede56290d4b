"""Test cases of policies in files: what is read, what fails, and what cannot be run."""

import datetime as dt
import io
from pathlib import Path

import pytest

from tests.policies import HEAD
from webhook.check.input_files import find
from webhook.check.policy_tests import PolicyTestReport, run_policy_tests
from webhook.core.policy.loader import default_policy

NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
POD = "object: {metadata: {name: app, namespace: shop}, spec: {containers: [{name: app}]}}\n"
LONG = (
    "object: {spec: {containers: [{name: app}], volumes: [{name: t, projected:"
    " {sources: [{serviceAccountToken: {path: t, audience: vault, expirationSeconds: 86400}}]}}]}}\n"
)
TOKEN = "{serviceAccountToken: {path: t, audience: vault, expirationSeconds: 3600}}"
CAPPED = f"  volumes: [{{name: t, projected: {{sources: [{TOKEN}]}}}}]\n"


def run(folder: Path, **files: str) -> PolicyTestReport:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return run_policy_tests(find([str(folder)]), default_policy(), now=NOW, stdin=io.BytesIO())


def failures(folder: Path, case: str) -> list[str]:
    report = run(folder, test=case)
    assert report.problems == []
    [result] = report.results
    return [failure.text.splitlines()[0] for failure in result.failures]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        pytest.param(POD, [], id="allowed is expected"),
        pytest.param(POD + "decision: denied\n", ["decision: expected denied, got allowed"], id="decision"),
        pytest.param(LONG, ["decision: expected allowed, got patched"], id="decision that is not named"),
        pytest.param(
            LONG + "decision: patched\nfindings: {token-expiration: reject}\n",
            ["findings: expected {token-expiration: reject}, got {token-expiration: patch}"],
            id="action",
        ),
        pytest.param(
            LONG + "decision: patched\nfindings: {}\n",
            ["findings: expected {}, got {token-expiration: patch}"],
            id="no finding",
        ),
        pytest.param(LONG + "patched:\n spec:\n  containers: [{name: app}]\n" + CAPPED, [], id="patch"),
        pytest.param(
            LONG + "patched: {spec: {containers: [{name: app}]}}\n",
            ["patched: expected (-), got (+)"],
            id="wrong",
        ),
        pytest.param(LONG + "decision: patched\nsays: [capped to 3600s]\n", [], id="message"),
        pytest.param(
            LONG + "decision: patched\nsays: []\n", ["says: expected nothing; the webhook says:"], id="no message"
        ),
        pytest.param(
            LONG + 'policy: {exemptions: [{rules: ["*"], reason: INFRA-1, until: never}]}\nexempted: [INFRA-2]\n',
            ['exempted: expected "INFRA-2"; exemptions that apply:'],
            id="other exemption",
        ),
        pytest.param(
            LONG + 'now: 2027-01-01\npolicy: {exemptions: [{rules: ["*"], reason: r, until: 2026-12-01}]}\n',
            ["decision: expected allowed, got patched"],
            id="exemption that has ended by then",
        ),
        pytest.param(
            LONG.replace("object: {", "object: {metadata: {namespace: loose}, ")
            + "policy: {overrides: [{namespaces: [loose], mode: warn}]}\ndecision: warned\n",
            [],
            id="namespace of the object",
        ),
        pytest.param(
            LONG + 'policy: {messages: {contact: us}}\ndecision: patched\nsays: ["for help, contact us"]\n',
            [],
            id="help",
        ),
        pytest.param(POD + "x-ticket: 7\n", [], id="key of the user"),
        pytest.param(POD + "says:\nexempted:\nfindings:\n", [], id="lists that are commented out"),
        pytest.param(
            "object: {apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: 5}}}}\n"
            "decision: denied\nfindings: {unreadable-object: reject}\n",
            [],
            id="object that cannot be read, as check decides",
        ),
        pytest.param(
            "object: {spec: {securityContext: {}, hostname: a, volumes: [{cephfs: {secretFile: /a}}]}}\n",
            [],
            id="fields that no rule reads",
        ),
        pytest.param("object: {apiVersion: a.example/v1, kind: Run}\ndecision: allowed\n", [], id="so expected"),
    ],
)
def test_difference_is_a_failure(tmp_path: Path, case: str, expected: list[str]) -> None:
    assert failures(tmp_path, f"case: it\n{case}") == expected


def test_workload_is_decided_as_its_pods(tmp_path: Path) -> None:
    template = LONG.replace("object: ", "").strip()
    deployment = f"object: {{apiVersion: apps/v1, kind: Deployment, spec: {{template: {template}}}}}\n"
    case = f"case: it\n{deployment}decision: patched\nsays: [in its pods it will be capped to 3600s]\n"
    assert failures(tmp_path, case) == []


def test_files_are_relative_to_the_case(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "policy.yaml").write_text(
        HEAD + "rules: {legacy-token-reference: warn}\noverrides: [{namespaces: [X]}]\n"
    )
    (tmp_path / "state.yaml").write_text(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\n"
        "metadata: {name: s, namespace: shop, annotations: {kubernetes.io/service-account.name: app}}\n"
    )
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {{name: {0}, namespace: shop}}\nspec: {{containers: [{1}]}}\n"
    reads = "{name: app, envFrom: [{secretRef: {name: s}}]}"
    (tmp_path / "pods.yaml").write_text(pod.format("a", "{name: app}") + "---\n" + pod.format("b", reads))
    settings = "policy: ../policy.yaml\ncluster: [../state.yaml]\n"
    (tmp_path / "tests/test.yaml").write_text(
        f"{settings}---\ncase: a\nobject: ../pods.yaml#Pod/a\n---\n"
        "case: b\nobject: ../pods.yaml#Pod/b\ndecision: warned\nfindings: {legacy-token-reference: warn}\n"
    )
    report = run_policy_tests(find([str(tmp_path)]), default_policy(), now=NOW, stdin=io.BytesIO())
    assert (report.problems, report.failed, len(report.results), report.exit_status) == ([], [], 2, 0)
    assert [(warning.path, warning.line) for warning in report.warnings] == [(str(tmp_path / "policy.yaml"), 4)]
    assert sorted(Path(file.path).name for file in report.skipped) == ["pods.yaml", "policy.yaml", "state.yaml"]


@pytest.mark.parametrize(
    ("case", "line", "message"),
    [
        ("objct: {}", 1, 'required key "object" is missing'),
        (POD + "decisin: denied", 3, 'unknown key "decisin"; did you mean "decision"?'),
        (POD + "decision: deny", 3, 'decision: invalid decision "deny"; use allowed, warned, patched or denied'),
        (POD + "findings: {token-expirations: patch}", 3,
         'findings: unknown rule "token-expirations"; did you mean "token-expiration"?'),
        (POD + "policy: {mod: warn}", 3, 'policy: unknown key "mod"; did you mean "mode"?'),
        (POD + "policy: absent.yaml", 3, 'policy: "absent.yaml": no such file or directory'),
        ("object: test.yaml", 2, 'object: "test.yaml": line 1: is not a Kubernetes object: it has no apiVersion'),
        (POD + "now: noon", 3, 'now: "noon" is not a date such as 2027-03-31, or a time'),
        (POD + "cluster: [{kind: Secret}]", 3, "cluster[0]: is not a Kubernetes object: it has no apiVersion"),
        ("object: [", 2, "this [ is not closed"),
        ("object: {apiVersion: apps/v1, kind: Deploymant}\ndecision: allowed", 2,
         'object: API group apps has no kind "Deploymant"; did you mean "Deployment"?'),
        ("object: {apiVersion: apps/v9, kind: Deployment}\ndecision: allowed", 2,
         'object: Deployment has no API version "apps/v9"; use apps/v1'),
        ("object: {kind: Secrte}\ndecision: allowed", 2,
         'object: the core API (v1) has no kind "Secrte"; did you mean "Secret"?'),
        ("object: {apiVersion: a.example/v1, kind: Run}", 2, "object: no rule applies to CREATE of runs; correct"),
        ("object: {apiVersion: v1, kind: ConfigMap, data: {a: b}}", 2,
         ("object: is not evaluated: a ConfigMap without the label tokenguard/policy;"
         " add decision: allowed if that is intended")),
        ("object: {apiVersion: argoproj.io/v1, kind: Rollot}", 2,
         'object: no rule applies to CREATE of rollots; did you mean "Rollout"?'),
        ("object: {apiVersion: a.example/v1, kind: Deployment}", 2, "object: no rule applies to CREATE of deploy"),
        (POD + "request: {namespace: demo}", 3,
         'request.namespace: is "demo", but the object is in namespace "shop"'),
        ("object: ''", 2, "object: must be a map, or the name of a file: FILE or FILE#KIND/NAME"),
        (POD + "old: ''", 3, "old: must be a map, or the name of a file: FILE or FILE#KIND/NAME"),
        ("object: {kind: List, items: []}", 2, "object: must be one object, not a List"),
        ("object: {kind: List, items: [{apiVersion: v1, kind: Pod}, {apiVersion: v1, kind: Pod}]}", 2,
         "object: must be one object, not a List"),
        ("object: {kind: 5}", 2, "object: is not a Kubernetes object: it has no kind"),
        ("object: {kind: Secret}\napiToken: true", 3, "apiToken: only a valid Pod that is created has this token"),
        ("object: {spec: {containers: [null]}}\napiToken: true", 3, "apiToken: only a valid Pod that is created"),
        ("object: {metadata: [a]}\napiToken: true", 3, "apiToken: only a valid Pod that is created"),
        (POD.replace("containers", "contianers") + "decision: allowed", 2,
         'object.spec.contianers: unknown field "contianers"; did you mean "containers"?'),
        (POD.replace("{name: app}]", "{name: app, envfrom: []}]"), 2,
         'object.spec.containers[0].envfrom: unknown field "envfrom"; did you mean "envFrom"?'),
        ("object: {apiVersion: argoproj.io/v1, kind: Rollout, spec: {template: {spec: {volums: []}}}}", 2,
         'object.spec.template.spec.volums: unknown field "volums"; did you mean "volumes"?'),
    ],
)  # fmt: skip
def test_case_that_cannot_be_run_is_an_error(tmp_path: Path, case: str, line: int, message: str) -> None:
    report = run(tmp_path, test=f"case: it\n{case}\n")
    assert (report.results, report.exit_status) == ([], 2)
    assert report.problems[0].line == line
    assert message in report.problems[0].message


def test_mistake_in_settings_is_one_error_at_its_line(tmp_path: Path) -> None:
    settings = "polcy: x\nnow: noon\n---\n"
    report = run(tmp_path, test=settings + f"case: a\n{POD}---\ncase: b\n{POD}decison: denied\n")
    assert [(problem.line, problem.message) for problem in report.problems] == [
        (1, 'unknown key "polcy"; did you mean "policy"?'),
        (2, 'now: "noon" is not a date such as 2027-03-31, or a time'),
        (9, 'unknown key "decison"; did you mean "decision"?'),
    ]


def test_case_shows_all_its_errors_at_once(tmp_path: Path) -> None:
    pod = "object: {spec: {contianers: []}}\n"
    case = f"case: it\n{pod}findings: {{token-audienc: patch}}\ndecison: denied\nnow: noon\npolicy: {{mod: warn}}\n"
    report = run(tmp_path, test=f"{case}request: {{operation: PATCH}}\ncluster: [{{kind: Secret}}]\n")
    assert [problem.line for problem in report.problems] == [2, 3, 4, 5, 6, 7, 8]


def test_case_names_all_its_missing_files(tmp_path: Path) -> None:
    case = "case: a\ncluster: [c.yaml, d.yaml]\nobject: o.yaml\nold: b.yaml\n"
    report = run(tmp_path, test=f"policy: p.yaml\n---\n{case}---\n{case}".replace("case: a", "case: b", 1))
    missing = ["policy", "cluster[0]", "cluster[1]", "object", "old"]
    for unrun in report.unrun:
        assert [problem.message.partition(":")[0] for problem in unrun.problems] == missing
    assert len(report.unrun) == 2


@pytest.mark.parametrize(
    ("settings", "case", "places"),
    [
        pytest.param("", f"case: a\n{POD}decision: denied\ndecision: allowed\n", [(4, 1)], id="in the case"),
        pytest.param(
            "request: {name: a, name: b}\n---\n", f"case: a\n{POD}---\ncase: b\n{POD}", [(1, 20)], id="in settings"
        ),
    ],
)
def test_case_with_a_duplicate_key_is_not_run(
    tmp_path: Path, settings: str, case: str, places: list[tuple[int, int]]
) -> None:
    report = run(tmp_path, test=settings + case)
    assert [(problem.line, problem.column) for problem in report.problems] == places
    assert "duplicate key" in report.problems[0].message
    assert (report.results, len(report.unrun), report.exit_status) == ([], case.count("case:"), 2)


def test_duplicate_key_in_settings_without_a_case_is_an_error(tmp_path: Path) -> None:
    report = run(tmp_path, test=f"case: a\n{POD}---\nnow: 2026-01-01\nnow: 2026-01-02\n")
    assert [problem.line for problem in report.problems] == [4, 5]


EVERY = "tokens: {audiences: {allowed: ['*']}}"


def test_policy_in_a_case_is_warned_about_once(tmp_path: Path) -> None:
    inline = f"policy: {{{EVERY}}}\n"
    report = run(tmp_path, test=f"{inline}---\ncase: a\n{POD}---\ncase: b\n{POD}---\ncase: c\n{POD}{inline}")
    assert [(Path(warning.path).name, warning.line) for warning in report.warnings] == [
        ("test.yaml", 1),
        ("test.yaml", 11),
    ]
    assert all(warning.message.startswith("policy.tokens.audiences.allowed[0]: ") for warning in report.warnings)
    assert (report.problems, report.exit_status) == ([], 0)


@pytest.mark.parametrize(("now", "until", "warnings"), [
    ("", NOW.year - 1, 1),
    (f"now: {NOW.year - 2}-01-01\n", NOW.year - 1, 0),
    (f"now: {NOW.year + 2}-01-01\n", NOW.year + 1, 0),
], ids=["ended", "in use at the time of the case", "ended only at the time of the case"])  # fmt: skip
def test_exemption_in_a_case_is_warned_about_if_it_has_no_use(
    tmp_path: Path, now: str, until: int, warnings: int
) -> None:
    exemption = f"{{rules: [token-audience], namespaces: [a], reason: r, until: {until}-06-01}}"
    report = run(tmp_path, test=f"case: a\n{POD}{now}policy: {{exemptions: [{exemption}]}}\n")
    assert (len(report.warnings), report.exit_status) == (warnings, 0), report


def test_cases_of_one_name_in_a_file_are_warned_about(tmp_path: Path) -> None:
    report = run(tmp_path, test=f"case: a\n{POD}---\ncase: b\n{POD}---\ncase: a\n{POD}", other=f"case: a\n{POD}")
    [warning] = report.warnings
    message = 'the case "a" in line 1 has the same name; rename one of them'
    assert (Path(warning.path).name, warning.line, warning.message) == ("test.yaml", 7, message)
    assert (len(report.results), report.exit_status) == (4, 0)


def test_incomplete_case_has_no_error_about_its_kind(tmp_path: Path) -> None:
    report = run(tmp_path, test="case: it\nobject: {apiVersion: a.example/v1, kind: Run}\ndecison: allowed\n")
    assert [problem.message for problem in report.problems] == ['unknown key "decison"; did you mean "decision"?']


def test_wrong_findings_are_followed_by_their_messages(tmp_path: Path) -> None:
    report = run(tmp_path, test=f"case: it\n{LONG}decision: patched\nfindings: {{}}\n")
    [failure] = report.results[0].failures
    assert failure.text.splitlines()[1].startswith("  token-expiration: spec.volumes[0]")
    report = run(tmp_path, test=f"case: it\n{LONG}findings: {{}}\n")
    assert ["token-expiration: spec" in failure.text for failure in report.results[0].failures] == [True, False]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Pod/ap", '"pods.yaml" has no Pod/ap; did you mean "Pod/app"?'),
        ("Job/x", '"pods.yaml" has no Job/x; it has "Pod/app"'),
    ],
)
def test_object_that_a_file_lacks_is_named(tmp_path: Path, name: str, message: str) -> None:
    pods = "apiVersion: v1\nkind: Pod\nmetadata: {name: app}\n"
    report = run(tmp_path, test=f"case: it\nobject: pods.yaml#{name}\n", pods=pods)
    assert [problem.message for problem in report.problems] == [f"object: {message}"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("operation: PATCH", 'request.operation: invalid operation "PATCH"; use CREATE, UPDATE, DELETE or CONNECT'),
        ("operation: create", 'request.operation: invalid operation "create"; did you mean "CREATE"?'),
        ("subresource: ephemeralcontainer",
         'request.subresource: unknown subresource "ephemeralcontainer"; did you mean "ephemeralcontainers"?'),
        ("namespace: A_b",
         'request.namespace: must be the name of a namespace, or "" for an object without one, not "A_b"'),
        ("name: a/b", 'request.name: must be the name of an object, not "a/b"'),
        ("user: 'system:serviceaccount:a/b'",
         ("request.user: must be the name of a user, such as system:serviceaccount:NAMESPACE:NAME or system:node:NAME,"
         ' not "system:serviceaccount:a/b"')),
        ("groups: ['system:node']", 'request.groups[0]: unknown group "system:node"; did you mean "system:nodes"?'),
        ("groups: ['']", 'request.groups[0]: must be the name of a group, not ""'),
    ],
)  # fmt: skip
def test_request_that_the_api_server_never_sends_is_an_error(tmp_path: Path, request_: str, message: str) -> None:
    report = run(tmp_path, test=f"case: it\n{POD}request: {{{request_}}}\ndecision: denied\n")
    assert ([problem.message for problem in report.problems], report.exit_status) == ([message], 2)


def test_request_with_names_of_kubernetes_is_run(tmp_path: Path) -> None:
    groups = "[system:authenticated, 'system:serviceaccounts:ci', 'system:node-problems-of-ours', devs]"
    request = f"{{operation: UPDATE, subresource: status, user: 'system:serviceaccount:ci:a.b', groups: {groups}}}"
    assert failures(tmp_path, f"case: it\n{POD}request: {request}\n") == []


STATE = "use a Secret, Namespace or ServiceAccount of apiVersion v1"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("apiVersion: v1, kind: Secrte, metadata: {name: x}",
         'cluster[0]: the core API (v1) has no kind "Secrte"; did you mean "Secret"?'),
        ("apiVersion: v1, kind: Pod, metadata: {name: x}",
         f"cluster[0]: Pod of v1 is no state of the cluster; {STATE}"),
        ("apiVersion: v2, kind: Namespace, metadata: {name: x}",
         'cluster[0]: Namespace has no API version "v2"; use v1'),
        ("apiVersion: v1, kind: Secret, metadata: {name: x}, tpye: q",
         'cluster[0].tpye: unknown field "tpye"; did you mean "type"?'),
        ("apiVersion: v1, kind: ServiceAccount, metadata: {name: x}, automountServiceAccountTokn: false",
         ('cluster[0].automountServiceAccountTokn: unknown field "automountServiceAccountTokn";'
         ' did you mean "automountServiceAccountToken"?')),
        ("apiVersion: v1, kind: Namespace, metadata: {labels: {a: b}}", "cluster[0]: Namespace has no metadata.name"),
        ("apiVersion: v1, kind: Namespace, metadata: {name: x, labels: [a]}",
         "cluster[0]: metadata.labels must be a mapping, not a list"),
    ],
)  # fmt: skip
def test_mistake_in_the_cluster_is_an_error(tmp_path: Path, state: str, message: str) -> None:
    report = run(tmp_path, test=f"case: it\n{POD}cluster:\n- {{{state}}}\n")
    assert [(problem.message, problem.line) for problem in report.problems] == [(message, 4)]


def test_file_with_the_cluster_may_have_other_objects(tmp_path: Path) -> None:
    other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n"
    namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n"
    case = f"case: it\n{POD}cluster: [state.yaml]\n"
    assert run(tmp_path, test=case, state=other + namespace).exit_status == 0
    report = run(tmp_path, state=f"{other}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\ntpye: q\n")
    message = 'cluster[0]: "state.yaml": line 8: unknown field "tpye"; did you mean "type"?'
    assert [problem.message for problem in report.problems] == [message]


@pytest.mark.parametrize(
    ("document", "line", "message"),
    [
        pytest.param(f"caes: b\n{POD}", 4, 'unknown key "caes"; did you mean "case"?', id="misspelt"),
        *(
            pytest.param(
                f"title: b\n{key}: x\n", 5, f'required key "case" is missing: only a case has the key "{key}"', id=key
            )
            for key in ("object", "old", "decision", "findings", "patched", "says", "exempted")
        ),
        pytest.param(
            "cluster: []\n",
            4,
            "has settings, but no case follows; add the key case, or remove the document",
            id="settings",
        ),
    ],
)
def test_document_without_case_in_a_test_file_is_an_error(
    tmp_path: Path, document: str, line: int, message: str
) -> None:
    good = f"case: a\n{POD}"
    report = run(tmp_path, test=f"{good}---\n{document}")
    assert [(problem.line, problem.message) for problem in report.problems] == [(line, message)]
    report = run(tmp_path, test=f"{good}---\n{document}---\npolicy: {{}}\n---\n{good}")
    assert [(problem.line, problem.message) for problem in report.problems] == [(line, message)]
    assert (len(report.results), report.exit_status) == (2, 2)


def test_settings_above_a_misspelt_case_are_no_error(tmp_path: Path) -> None:
    report = run(tmp_path, test=f"policy: {{}}\n---\ncaes: b\n{POD}")
    assert [problem.message for problem in report.problems] == ['unknown key "caes"; did you mean "case"?']


def test_object_behind_the_last_case_is_skipped(tmp_path: Path) -> None:
    report = run(tmp_path, test=f"case: a\n{POD}---\n{HEAD}---\nkind: Kustomization\nresources: [x.yaml]\n")
    assert (report.problems, report.exit_status) == ([], 0)


def test_file_whose_only_case_is_misspelt_is_an_error(tmp_path: Path) -> None:
    report = run(tmp_path, good=f"case: a\n{POD}", test=f"caes: b\n{POD}", other=f"name: b\n{POD}decision: denied\n")
    assert [(Path(problem.path).stem, problem.line, problem.message) for problem in report.problems] == [
        ("other", 2, 'required key "case" is missing: only a case has the key "object"'),
        ("test", 1, 'unknown key "caes"; did you mean "case"?'),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "object: {}\nimage: x\n",
        "policy: {}\ncluster: a\n",
        f"kind: X\ncases: []\n{POD}",
        "a:\n  case: x\n",
        "object: [\n",
    ],
)
def test_other_file_in_a_folder_is_skipped(tmp_path: Path, text: str) -> None:
    report = run(tmp_path, good=f"case: a\n{POD}", values=text)
    assert (report.problems, [Path(file.path).stem for file in report.skipped]) == ([], ["values"])


def test_indented_json_is_a_case(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text('{\n  "case": "a",\n  "object": {}\n}\n')
    assert [result.name for result in run(tmp_path).results] == ["a"]


def test_folder_without_a_case_is_an_error(tmp_path: Path) -> None:
    report = run(tmp_path, policy=HEAD)
    assert report.exit_status == 2
    assert report.problems[0].message == "contains no test case; a file with test cases has documents with the key case"


def test_failed_case_is_status_one(tmp_path: Path) -> None:
    assert run(tmp_path, test=f"case: it\n{POD}decision: denied\n").exit_status == 1
