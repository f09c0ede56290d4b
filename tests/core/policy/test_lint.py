"""What is valid in a policy and has no effect."""

import datetime as dt
import time

import msgspec
import pytest

from tests.policies import DESIGN, HEAD
from webhook.core.decision import Outcome
from webhook.core.policy import configmap_admission
from webhook.core.policy.configmap import KEY, LABEL, PolicyConfigMap
from webhook.core.policy.loader import lint_policy

NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
INJECT = "inject: [{name: a, audience: a, mountPath: /a, "
OVERRIDES = "overrides: ["
AUDIENCES = "tokens: {audiences: {allowed: "
EXEMPT = 'exemptions: [{rules: ["*"], reason: r, '
SECOND = "{rules: [inject], reason: r, "


def warnings(body: str) -> list[str]:
    return [str(warning) for warning in lint_policy((HEAD + body + "\n").encode(), NOW)[1]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            EXEMPT + "until: 2026-11-22}]",
            "line 3: exemptions[0].until: ended on 2026-11-22; remove the exemption",
            id="ended exemption",
        ),
        pytest.param(
            OVERRIDES + "{namespaces: [a*], mode: warn},\n {namespaces: [ab*, a], namespaceLabels: {x: y}}]",
            "line 4: overrides[1]: never applies: overrides[0] before it matches all of its namespaces;"
            " move it up, or remove it",
            id="override behind a wider one",
        ),
        pytest.param(
            OVERRIDES + "{namespaces: [a], mode: warn}, {namespaces: [b], mode: warn},\n {namespaces: [a, b]}]",
            "line 4: overrides[2]: never applies: overrides[0] and overrides[1] before it matches all of its"
            " namespaces; move it up, or remove it",
            id="override behind two together",
        ),
        pytest.param(
            OVERRIDES + "{namespaceLabels: {x: y}, mode: warn},\n {namespaces: [a], namespaceLabels: {x: y}}]",
            "line 4: overrides[1]: never applies: overrides[0] before it matches all of its namespaces;"
            " move it up, or remove it",
            id="override behind one for all",
        ),
        pytest.param(
            OVERRIDES + "{namespaces: [a], mode: audit},\n {mode: warn, rules: {inject: off}, namespaces: [b, '*']}]",
            "line 4: overrides[1]: applies to every other namespace, so nothing uses the policy's own mode; set that"
            " there instead, or add namespaces or namespaceLabels",
            id="override for all",
        ),
        pytest.param(
            OVERRIDES + "{rules: {inject: off}, tokens: {maxExpirationSeconds: 600}}]",
            "line 3: overrides[0]: applies to every other namespace, so nothing uses the policy's own rules.inject,"
            " tokens; set that there instead, or add namespaces or namespaceLabels",
            id="override of rules and tokens for all",
        ),
        pytest.param(
            OVERRIDES + "{namespaces: [kube-system]}]",
            "line 3: overrides[0]: never applies: kube-system is not evaluated",
            id="override for kube-system",
        ),
        *(
            pytest.param(
                f"{OVERRIDES}{{namespaces: [z], mode: warn}},\n {{{override}}}{later}]",
                "line 4: overrides[1]: has no effect: its mode, rules and tokens are those of the policy itself;"
                " remove it",
                id=f"override without effect: {override}{later}",
            )
            for override, later in (
                ("namespaces: [a]", ""),
                ("mode: enforce", ""),
                ("namespaces: [a], rules: {inject: patch}, tokens: {maxExpirationSeconds: 3600}", ""),
                ("namespaces: [a, b]", ", {namespaces: ['c*', bb], mode: warn}"),
            )
        ),
        pytest.param(
            f'{AUDIENCES}["https://a.example.com", "*"]}}}}',
            'line 3: tokens.audiences.allowed[1]: "*" allows audiences that nobody has named; list the audiences'
            " in use",
            id="any audience",
        ),
        pytest.param(
            OVERRIDES + "{namespaces: [a], " + AUDIENCES + '["*://*"]}}}]',
            'line 3: overrides[0].tokens.audiences.allowed[0]: "*://*" allows audiences that nobody has named; list'
            " the audiences in use",
            id="any audience in an override",
        ),
        pytest.param(
            OVERRIDES + "{namespaces: [Team_A, b]}]",
            'line 3: overrides[0].namespaces: no namespace can be called "Team_A": names have a-z, 0-9 and inner -',
            id="impossible name",
        ),
        pytest.param(
            INJECT + 'namespaces: ["t-*"], serviceAccounts: [s/app, "x*/b"]}]',
            'line 3: inject[0]: reaches no pod: the ServiceAccounts "s/app", "x*/b" are not in the namespaces "t-*"',
            id="injection for accounts elsewhere",
        ),
        pytest.param(
            "rules: {inject: off}\n" + INJECT + "}]",
            "line 4: inject: injects nothing: the action of the rule inject is off",
            id="injection with its rule off",
        ),
        pytest.param(
            EXEMPT + "namespaces: [ci], serviceAccounts: [a/b], until: never}]",
            'line 3: exemptions[0]: applies to nothing: the ServiceAccounts "a/b" are not in the namespaces "ci"',
            id="exemption for accounts elsewhere",
        ),
        pytest.param(
            EXEMPT + "until: never}]",
            "line 3: exemptions[0]: exempts every object from every rule, for ever; select namespaces,"
            " serviceAccounts or users, or set until to a date",
            id="exemption of everything",
        ),
        *(
            pytest.param(
                EXEMPT + selectors + ", until: never}]",
                "line 3: exemptions[0]: exempts every object from every rule, for ever; select namespaces,"
                " serviceAccounts or users, or set until to a date",
                id=f"exemption of everything by {selectors}",
            )
            for selectors in (
                'namespaces: ["*"]', 'serviceAccounts: ["*"]', 'serviceAccounts: ["*/*"]', 'users: [a, "*"]',
                'namespaces: ["**"], users: ["*"]',
            )
        ),
        pytest.param(
            "rules: {inject: off}\nexemptions: [" + SECOND + "until: never}]",
            'line 4: exemptions[0]: has no effect: the action of "inject" is off in every namespace',
            id="exemption from a rule that is off",
        ),
        pytest.param(
            EXEMPT + "namespaces: [c*], until: 2027-01-01},\n"
            + SECOND + "namespaces: [ci], serviceAccounts: [a], until: 2026-12-01}]",
            "line 4: exemptions[1]: has no effect: exemptions[0] matches everything that this one does, and"
            " ends no earlier",
            id="exemption behind a wider one",
        ),
    ],
)  # fmt: skip
def test_part_without_effect_is_warned_about(body: str, expected: str) -> None:
    assert warnings(body) == [expected]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(EXEMPT + "until: 2026-11-23}]", id="exemption on its last day"),
        pytest.param(EXEMPT + 'namespaces: ["*"], users: [a], until: never}]', id="exemption of a user"),
        pytest.param(EXEMPT + 'serviceAccounts: ["*/a"], until: never}]', id="exemption of an account everywhere"),
        pytest.param(OVERRIDES + "{namespaces: [ab*]}, {namespaces: [a*], mode: warn}]", id="narrower override first"),
        pytest.param(
            OVERRIDES + "{namespaces: [a], namespaceLabels: {x: y}}, {namespaces: [a], mode: warn}]", id="labels first"
        ),
        pytest.param(OVERRIDES + "{namespaces: [a]}, {namespaces: [a, b], mode: warn}]", id="one name more"),
        pytest.param(OVERRIDES + "{namespaceLabels: {x: y}}, {namespaces: [b*], mode: warn}]", id="override by label"),
        pytest.param(
            OVERRIDES + "{namespaces: ['a*']}, {mode: warn, namespaces: ['*b']}]", id="globs of which both may match"
        ),
        pytest.param(
            f"{AUDIENCES}['https://*', '*.example.com', 'a*']}}}}\n" + OVERRIDES + "{namespaces: [a], mode: warn}]",
            id="patterns with a host",
        ),
        pytest.param(OVERRIDES + "{namespaces: [a]}, {mode: warn}]", id="override for all others"),
        pytest.param(OVERRIDES + "{namespaces: [a]}, {namespaceLabels: {x: y}, mode: warn}]", id="label later"),
        pytest.param(
            "rules: {inject: off}\noverrides: [{namespaces: [a], rules: {inject: patch}}]\nexemptions: ["
            + SECOND
            + "until: never}]",
            id="exemption from a rule that is on somewhere",
        ),
        pytest.param(INJECT + 'namespaces: ["a*b"], serviceAccounts: ["*/app"]}]', id="globs that may both match"),
        pytest.param(INJECT + "namespaces: [a], serviceAccounts: [app]}]", id="account of any namespace"),
        pytest.param(
            "rules: {inject: off}\noverrides: [{namespaces: [a], rules: {inject: patch}}]\n" + INJECT + "}]",
            id="on there",
        ),
        pytest.param(EXEMPT + "until: 2027-01-01},\n" + SECOND + "until: 2027-01-02}]", id="longer"),
        pytest.param(EXEMPT + "serviceAccounts: [a], until: never},\n" + SECOND + "until: never}]", id="wider"),
        pytest.param(
            'exemptions: [{rules: [inject], reason: r, until: never}, {rules: ["*"], reason: r, until: 2027-01-01}]',
            id="exemption from more rules",
        ),
        pytest.param("mode: nothing", id="invalid policy"),
    ],
)
def test_part_with_an_effect_is_not_warned_about(body: str) -> None:
    assert warnings(body) == []


def test_policy_of_the_design_has_no_warning() -> None:
    assert lint_policy(DESIGN.encode(), NOW)[1] == ()


def test_place_is_that_in_the_configmap() -> None:
    policy = "\n".join(f"    {line}" for line in (HEAD + OVERRIDES + "{namespaces: [kube-system]}]").splitlines())
    configmap = f"apiVersion: v1\nkind: ConfigMap\ndata:\n  policy.yaml: |\n{policy}\n"
    for text in (configmap, configmap.replace("\n", "\r\n")):
        assert [(warning.line, warning.column) for warning in lint_policy(text.encode(), NOW)[1]] == [(7, 17)]
    quoted = f"apiVersion: v1\nkind: ConfigMap\ndata:\n  policy.yaml: {(HEAD + OVERRIDES + '{namespaces: [X]}]')!r}\n"
    quoted = quoted.replace("'", '"')
    assert [(warning.line, warning.column) for warning in lint_policy(quoted.encode(), NOW)[1]] == [(4, 0)]


@pytest.mark.parametrize(("users", "is_compared"), [(400, True), (2_000, False)])
@pytest.mark.covers("threat-model: expensive policy")
def test_admission_compares_no_more_than_it_can_at_once(users: int, *, is_compared: bool) -> None:
    exempt = ", ".join(f"{{rules: ['*'], reason: r, until: 2026-11-22, users: [u{number}]}}" for number in range(users))
    document = f"{HEAD}exemptions: [{exempt}]\n"
    body = msgspec.json.encode({"metadata": {"labels": {LABEL: "true"}}, "data": {KEY: document}})
    configmap = msgspec.json.decode(body, type=PolicyConfigMap)
    decision = configmap_admission.decide(configmap, None, NOW, in_own_namespace=True)
    assert decision.outcome is Outcome.ALLOWED
    assert bool(decision.policy_warnings) is is_compared


def test_many_overrides_are_compared_in_linear_time() -> None:
    same = [f"{{namespaces: [a{number}, 'b{number}*']}}" for number in range(2000)]
    other = [f"{{namespaces: [c{number}, 'd{number}*'], mode: warn}}" for number in range(2000)]
    started = time.process_time()
    warnings(f"{OVERRIDES}{', '.join(same + other)}]")
    assert time.process_time() - started < 5
