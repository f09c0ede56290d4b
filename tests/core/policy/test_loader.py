"""Reading a policy document: its values, its errors and its JSON Schema."""

import datetime as dt
import hashlib
import textwrap

import jsonschema
import pytest
import yaml

from tests.policies import DESIGN, HEAD, mistakes, sound
from webhook.core.formatting import quote
from webhook.core.policy import schema
from webhook.core.policy.loader import default_policy
from webhook.core.policy.model import Action, Mode
from webhook.core.policy.serializer import policy_document
from webhook.core.rules import BY_NAME, RULES

BAD_TEMPLATE = "must be a JSON Pointer such as /spec/template, without list indexes or *, not"
PAGE = "x" * 501
ERRORS = [
    pytest.param(
        "kubeletRootDirs: [var/lib/kubelet, /, /var/../lib, 'C:\\', 7]",
        [
            'line 3: kubeletRootDirs[0]: must be an absolute path other than /, without .., not "var/lib/kubelet"',
            'line 3: kubeletRootDirs[1]: must be an absolute path other than /, without .., not "/"',
            'line 3: kubeletRootDirs[2]: must be an absolute path other than /, without .., not "/var/../lib"',
            'line 3: kubeletRootDirs[3]: must be an absolute path other than /, without .., not "C:\\\\"',
            'line 3: kubeletRootDirs[4]: must be an absolute path other than /, without ..; put it in quotes: "7"',
        ],
        id="invalid kubelet root folders",
    ),
    pytest.param(
        "messages: {contact: true}",
        [
            (
                "line 3: messages.contact: must be one line of at most 200 characters,"
                " but YAML reads this word as true; put it in quotes"
            )
        ],
        id="word that is a boolean",
    ),
    pytest.param("kubeletRootDirs: []", ["line 3: kubeletRootDirs: must not be empty"], id="no kubelet root folder"),
    pytest.param(
        "messages: {url: wiki.example.com, contact: 7}\ncontact: x",
        [
            'line 3: messages.url: must be an http or https URL of at most 500 characters, not "wiki.example.com"',
            'line 3: messages.contact: must be one line of at most 200 characters; put it in quotes: "7"',
            'line 4: unknown key "contact"; did you mean "messages.contact"?',
        ],
        id="invalid messages",
    ),
    pytest.param("tokns: {}", ['line 3: unknown key "tokns"; did you mean "tokens"?'], id="an unknown key"),
    pytest.param(
        "maxExpirationSeconds: 600",
        ['line 3: unknown key "maxExpirationSeconds"; did you mean "tokens.maxExpirationSeconds"?'],
        id="a key in the wrong place",
    ),
    pytest.param(
        "overrides: [{inject: []}]",
        [
            (
                'line 3: overrides[0]: unknown key "inject"; it can only be set at the top level; the keys here are'
                " namespaces, namespaceLabels, mode, rules, tokens"
            )
        ],
        id="a key of the top level in an override",
    ),
    pytest.param(
        "overrides: [{contact: us}]",
        [
            (
                'line 3: overrides[0]: unknown key "contact"; "messages.contact" can only be set at the top level;'
                " the keys here are namespaces, namespaceLabels, mode, rules, tokens"
            )
        ],
        id="a key of another section in an override",
    ),
    pytest.param(
        "overrides: [{tokens: {mode: warn}}, {maxExpirationSeconds: 600}]",
        [
            'line 3: overrides[0].tokens: unknown key "mode"; did you mean "overrides[0].mode"?',
            (
                'line 3: overrides[1]: unknown key "maxExpirationSeconds"; did you mean'
                ' "overrides[1].tokens.maxExpirationSeconds"?'
            ),
        ],
        id="keys in the wrong place of an override",
    ),
    pytest.param(
        "rules: {mode: warn}",
        [
            'line 3: rules: unknown rule "mode"; it can only be set at the top level; the rules here are '
            + ", ".join(BY_NAME)
        ],
        id="a key of the top level in a section",
    ),
    pytest.param(
        "apiServerToken: {zebra: 1}",
        ['line 3: apiServerToken: unknown key "zebra"; the keys are expiration, audiences'],
        id="a key like no other",
    ),
    pytest.param(
        "mode: warn\nmode: audit",
        ['line 4: duplicate key "mode"; keep one'],
        id="a duplicate key",
    ),
    pytest.param(
        "mode: enforced", ['line 3: mode: invalid mode "enforced"; did you mean "enforce"?'], id="a wrong mode"
    ),
    pytest.param(
        "mode: off", ['line 3: mode: invalid mode "off"; use enforce, warn or audit'], id="a mode that is off"
    ),
    pytest.param(
        "rules:\n  token-audiense: reject",
        ['line 4: rules: unknown rule "token-audiense"; did you mean "token-audience"?'],
        id="an unknown rule",
    ),
    pytest.param(
        "rules: {token-subpath: patch}",
        ['line 3: rules.token-subpath: invalid action "patch"; use reject, warn, audit or off'],
        id="an action that the rule does not have",
    ),
    pytest.param(
        "rules: {token-subpath: on}",
        ['line 3: rules.token-subpath: invalid action "on"; use reject, warn, audit or off'],
        id="a rule that is on",
    ),
    pytest.param("rules: [a]", ["line 3: rules: must be a map, not a list"], id="a list where a map belongs"),
    pytest.param(
        "inject:\n- {name: a, audience: a, mountPath: /a, namespaces: demo}",
        ['line 4: inject[0].namespaces: must be a list, not "demo"'],
        id="a text where a list belongs",
    ),
    pytest.param(
        "tokens: {maxExpirationSeconds: 599}",
        ["line 3: tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not 599"],
        id="a number that is too small",
    ),
    pytest.param(
        "tokens: {maxRequestExpirationSeconds: 4294967297}",
        ["line 3: tokens.maxRequestExpirationSeconds: must be a whole number from 600 to 4294967296, not 4294967297"],
        id="a number that is too large",
    ),
    pytest.param(
        'tokens: {maxExpirationSeconds: "3600"}',
        ['line 3: tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not "3600"'],
        id="a number in quotes",
    ),
    pytest.param(
        "tokens: {maxExpirationSeconds: 30:00}",
        ['line 3: tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not "30:00"'],
        id="a number in base sixty",
    ),
    pytest.param(
        "tokens: {audiences: {required: yes}}",
        ['line 3: tokens.audiences.required: must be true or false, not "yes"'],
        id="yes for true",
    ),
    pytest.param(
        "tokens: {audiences: {default: valut, allowed: [vault]}}",
        ['line 3: tokens.audiences.default: the default audience "valut" is not allowed; did you mean "vault"?'],
        id="a default that is not allowed",
    ),
    pytest.param(
        "tokens: {audiences: {default: vault}}\noverrides:\n- tokens: {audiences: {allowed: [only]}}",
        [
            (
                'line 5: overrides[0].tokens.audiences.allowed: the default audience "vault" is not allowed; '
                'use one of "only"'
            ),
        ],
        id="a default that an override no longer allows",
    ),
    pytest.param(
        "inject:\n- env: A",
        [
            'line 4: inject[0]: required key "name" is missing',
            'line 4: inject[0]: required key "audience" is missing',
            'line 4: inject[0]: required key "mountPath" is missing',
        ],
        id="an injection without required keys",
    ),
    pytest.param(
        (
            "tokens: {maxExpirationSeconds: 1200}\ninject:\n"
            "- {name: a, audience: a, mountPath: /a, expirationSeconds: 1201}"
        ),
        ["line 5: inject[0].expirationSeconds: 1201 exceeds tokens.maxExpirationSeconds, which is 1200"],
        id="an injection that exceeds the maximum",
    ),
    pytest.param(
        (
            'tokens: {audiences: {allowed: ["https://*.example.com"]}}\ninject:\n'
            "- {name: a, audience: https://x.example.org, mountPath: /a}"
        ),
        [
            (
                'line 5: inject[0].audience: "https://x.example.org" is not in tokens.audiences.allowed; did '
                'you mean one like "https://*.example.com"?'
            ),
        ],
        id="an injection for another audience",
    ),
    pytest.param(
        "inject:\n- {name: a, audience: a, mountPath: /a}\n- {name: a, audience: a, mountPath: /a/}",
        [
            'line 5: inject[1].name: "a" is already the name of inject[0]',
            'line 5: inject[1].mountPath: "/a/" overlaps "/a" of inject[0]',
        ],
        id="two injections with one mount path, and one name",
    ),
    pytest.param(
        "inject:\n- {name: a, audience: a, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}",
        [
            (
                "line 4: inject[0].mountPath: overlaps /var/run/secrets/kubernetes.io/serviceaccount, where "
                "Kubernetes mounts its own token; use another path"
            ),
        ],
        id="an injection over the API server token",
    ),
    pytest.param(
        "inject:\n- {name: a, audience: a, mountPath: a/b}\n- {name: b, audience: a, mountPath: /b/../c}",
        [
            'line 4: inject[0].mountPath: must be an absolute path other than /, without : and .., not "a/b"',
            'line 5: inject[1].mountPath: must be an absolute path other than /, without : and .., not "/b/../c"',
        ],
        id="invalid mount paths",
    ),
    pytest.param(
        (
            "inject:\n- {name: a, audience: a, mountPath: /a/b}\n- {name: b, audience: a, mountPath: /a}\n"
            "- {name: c, audience: a, mountPath: //.}"
        ),
        [
            'line 5: inject[1].mountPath: "/a" overlaps "/a/b" of inject[0]',
            'line 6: inject[2].mountPath: must be an absolute path other than /, without : and .., not "//."',
        ],
        id="a mount path below another, and the root",
    ),
    pytest.param(
        "inject:\n- {name: a, audience: a, mountPath: /a, path: ..token}",
        ['line 4: inject[0].path: must be a relative path that does not start with .., not "..token"'],
        id="a file name that the API server refuses",
    ),
    pytest.param(
        (
            "tokens: {maxExpirationSeconds: 7200}\ninject:\n"
            "- {name: a, audience: https://kubernetes.default.svc, mountPath: /a, expirationSeconds: 3607}"
        ),
        [
            (
                "line 5: inject[0].expirationSeconds: 3607 means a year for the API server, which exceeds "
                "tokens.maxExpirationSeconds, which is 7200"
            ),
        ],
        id="an injection that lasts a year",
    ),
    pytest.param(
        "inject:\n- {name: Vault_1, audience: a, mountPath: /a}",
        ['line 4: inject[0].name: must be a DNS label of at most 52 characters, not "Vault_1"'],
        id="an invalid volume name",
    ),
    pytest.param(
        'inject:\n- {name: a, audience: a, mountPath: /a, podLabels: {app: "sh*"}}',
        ['line 4: inject[0].podLabels.app: must be the exact value of a label, not "sh*"'],
        id="a glob among labels",
    ),
    pytest.param(
        f"exemptions:\n- {{rules: [inject], reason: {PAGE}, until: never}}",
        [f"line 4: exemptions[0].reason: must be a text of at most 500 characters, not {quote(PAGE)}"],
        id="a long reason",
    ),
    pytest.param(
        "workloads:\n- {}",
        [
            'line 4: workloads[0]: required key "apiGroup" is missing',
            'line 4: workloads[0]: required key "kind" is missing',
            'line 4: workloads[0]: required key "template" is missing',
        ],
        id="a workload without required keys",
    ),
    pytest.param(
        (
            "workloads:\n- {apiGroup: apps, kind: Deployment, template: /spec/template}\n"
            "- {apiGroup: authentication.k8s.io, kind: TokenRequest, template: /spec}"
        ),
        [
            'line 4: workloads[0].apiGroup: must be the API group of a custom kind, such as example.com, not "apps"',
            'line 5: workloads[1].kind: "TokenRequest" is built in; remove it',
        ],
        id="a built-in workload",
    ),
    pytest.param(
        (
            "workloads:\n- {apiGroup: example.com, kind: Runner, template: /spec/template}\n"
            "- {apiGroup: example.com, kind: Runner, template: /spec/pod}"
        ),
        ['line 5: workloads[1].kind: "Runner" of "example.com" is already in workloads[0]'],
        id="a duplicate workload",
    ),
    pytest.param(
        (
            "workloads:\n- {apiGroup: example.com/v1, kind: Runner, template: /spec/template}\n"
            "- {apiGroup: example.com, kind: runner, template: /spec/template}\n"
            "- {apiGroup: example.com, kind: Runner, template: spec.template}\n"
            "- {apiGroup: example.com, kind: Pool, template: /spec/tasks/0/template}\n"
            "- {apiGroup: example.com, kind: Batch, template: /metadata/annotations}\n"
            "- {apiGroup: example.com, kind: Group, template: /spec/tasks/*/template}\n"
            "- {apiGroup: example.com, kind: Team, template: '/spec/tasks[0]/template'}"
        ),
        [
            (
                "line 4: workloads[0].apiGroup: must be the API group of a custom kind, such as example.com, "
                'not "example.com/v1"'
            ),
            'line 5: workloads[1].kind: must be a kind, such as Runner, not "runner"',
            f'line 6: workloads[2].template: {BAD_TEMPLATE} "spec.template"',
            f'line 7: workloads[3].template: {BAD_TEMPLATE} "/spec/tasks/0/template"',
            f'line 8: workloads[4].template: {BAD_TEMPLATE} "/metadata/annotations"',
            f'line 9: workloads[5].template: {BAD_TEMPLATE} "/spec/tasks/*/template"',
            f'line 10: workloads[6].template: {BAD_TEMPLATE} "/spec/tasks[0]/template"',
        ],
        id="invalid workloads",
    ),
    pytest.param(
        "exemptions:\n- rules: [token-audience]",
        [
            'line 4: exemptions[0]: required key "reason" is missing',
            'line 4: exemptions[0]: required key "until" is missing',
        ],
        id="an exemption without required keys",
    ),
    pytest.param(
        "exemptions:\n- {rules: [token-audiense], reason: r, until: never}",
        ['line 4: exemptions[0].rules[0]: unknown rule "token-audiense"; did you mean "token-audience"?'],
        id="an exemption from an unknown rule",
    ),
    pytest.param(
        "exemptions:\n- {rules: [], reason: r, until: never}",
        ["line 4: exemptions[0].rules: must not be empty"],
        id="an exemption without rules",
    ),
    pytest.param(
        "exemptions:\n- {rules: ['*'], reason: r, until: 2027-02-30}\n- {rules: ['*'], reason: r, until: soon}",
        [
            'line 4: exemptions[0].until: "2027-02-30" is not a date',
            'line 5: exemptions[1].until: must be a date such as 2027-03-31, or never, not "soon"',
        ],
        id="invalid end dates",
    ),
    pytest.param(
        "rules: {x: y}\nmode: z\ntokens: {maxExpirationSeconds: 1}",
        [
            'line 3: rules: unknown rule "x"; the rules are ' + ", ".join(rule.name for rule in RULES),
            'line 4: mode: invalid mode "z"; use enforce, warn or audit',
            "line 5: tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not 1",
        ],
        id="several errors by line",
    ),
]


@pytest.mark.parametrize(("body", "expected"), ERRORS)
def test_read_policy_error_has_line_and_path(body: str, expected: list[str]) -> None:
    assert mistakes(HEAD + body + "\n") == expected


@pytest.mark.parametrize(("body", "expected"), ERRORS)
def test_read_policy_in_configmap_lines_are_those_of_the_file(body: str, expected: list[str]) -> None:
    above = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: token-policy}\ndata:\n  policy.yaml: |\n"
    moved = mistakes(above + textwrap.indent(HEAD + body + "\n", "    "))
    lines = [int(line.split(":")[0].removeprefix("line ")) for line in moved]
    assert lines == [int(line.split(":")[0].removeprefix("line ")) + 5 for line in expected]


NO_POLICY = "line 1: contains no policy: it needs a document of kind TokenPolicy, or a ConfigMap with key policy.yaml"
STAR = "did not find expected alphabetic or numeric character; put a * at the start of a text in quotes"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", NO_POLICY, id="empty"),
        pytest.param(b"kind: [", "line 1: is not YAML: ", id="broken"),
        pytest.param(b"a: *", f"line 1: is not YAML: {STAR}", id="star"),
        pytest.param(b"a: b\nc: \xff", "line 2: is not UTF-8", id="not UTF-8"),
        pytest.param(b"- a", "line 1: must be a map, not a list", id="a list"),
        pytest.param(b"[" * 500_000, "line 1: nests deeper than 30 levels", id="deep"),
        pytest.param(f"{HEAD}---\n{HEAD}".encode(), "line 4: is another policy, besides the one in line 1;", id="two"),
        pytest.param(b"apiVersion: v1\nkind: ConfigMap\ndata: {a: b}", NO_POLICY, id="no key"),
        pytest.param(
            b"apiVersion: v1\nkind: ConfigMap\ndata: {policy.yaml: 'a: ['}", "line 3: is not YAML: ", id="broken inside"
        ),
        pytest.param(b"a: \x00", "line 1: contains a control character, which YAML does not allow", id="NUL"),
    ],
)
def test_read_policy_other_bytes_are_an_error(data: bytes, expected: str) -> None:
    assert mistakes(data)[0].startswith(expected)


def test_read_policy_duplicate_rule_of_exemption_is_one() -> None:
    body = "exemptions: [{rules: [inject, token-audience, inject], reason: r, until: never}]"
    assert sound(HEAD + body).exemptions[0].rules == ("inject", "token-audience")


@pytest.mark.covers("threat-model: control characters in names")
def test_read_policy_key_with_newline_is_quoted() -> None:
    assert mistakes(HEAD + '"mode\\nline 1": warn')[0].startswith('line 3: unknown key "mode\\nline 1"; ')
    assert len(mistakes(HEAD + f"? {'k' * 500_000}\n: 1")[0]) < 400


def test_default_policy_has_the_default_actions() -> None:
    policy = default_policy()
    assert (policy.mode, policy.tokens.max_expiration_seconds, policy.injections) == (Mode.ENFORCE, 3600, ())
    assert {rule.name: policy.rules[rule.name] for rule in RULES} == {rule.name: rule.default for rule in RULES}


def test_read_policy_reads_every_key_of_the_contract() -> None:
    policy = sound(DESIGN)
    [injection], [override], [exemption] = policy.injections, policy.overrides, policy.exemptions
    assert policy.workloads == {("example.com", "Runner"): "/spec/template"}
    assert injection.file == "/var/run/secrets/tokens/vault/token"
    assert override.mode is Mode.WARN
    assert exemption.until == dt.date(2027, 3, 31)
    assert policy.sha256 == hashlib.sha256(DESIGN.encode()).hexdigest()


EXEMPT_UNTIL = "exemptions: [{{rules: [inject], reason: r, until: {}}}]"


@pytest.mark.parametrize(
    ("written", "until"),
    [
        ("2027-03-31", dt.date(2027, 3, 31)),
        ("'2027-3-1'", dt.date(2027, 3, 1)),
        ("2028-02-29", dt.date(2028, 2, 29)),
        ("0001-01-01", dt.date(1, 1, 1)),
        ("9999-12-31", dt.date(9999, 12, 31)),
        ("never", None),
    ],
)
def test_read_policy_reads_the_end_of_an_exemption(written, until) -> None:
    [exemption] = sound(HEAD + EXEMPT_UNTIL.format(written)).exemptions
    assert exemption.until == until


@pytest.mark.parametrize("written", ["2027-02-29", "2027-13-01", "2027-00-10", "2027-04-31", "2027-1-0", "0000-01-01"])
def test_read_policy_rejects_a_day_that_does_not_exist(written) -> None:
    [error] = mistakes(HEAD + EXEMPT_UNTIL.format(f"'{written}'"))
    assert error == f'line 3: exemptions[0].until: "{written}" is not a date'


@pytest.mark.parametrize(
    "written",
    [
        "27-03-31", "12027-03-31", "2027-031-1", "2027-03-001", "2027-03", "2027-03-31-01", "2027/03/31", "20270331",
        "2027-W13-3", "2027-090", " 2027-03-31", "2027-03-31 ", "2027-03- 1", "+2027-03-31", "-2027-03-31",
        "2_27-03-31", "\\uff12027-03-31", "2027-03-31T00:00:00Z", "2027-03-31\\n", "Never", "tomorrow",
    ],
)  # fmt: skip
def test_read_policy_rejects_a_date_of_another_form(written) -> None:
    [error] = mistakes(HEAD + EXEMPT_UNTIL.format(f'"{written}"'))
    assert error.startswith("line 3: exemptions[0].until: must be a date such as 2027-03-31, or never, not ")


@pytest.mark.parametrize("written", ["off", "'off'", "false", "Off", "OFF"])
def test_read_policy_off_is_an_action_in_any_spelling(written: str) -> None:
    assert sound(HEAD + f"rules: {{token-subpath: {written}}}").rules["token-subpath"] is Action.OFF


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_read_policy_accepts_every_action_of_a_rule(rule) -> None:
    for action in rule.actions:
        assert sound(HEAD + f"rules: {{{rule.name}: {action}}}").rules[rule.name] is action


def test_read_policy_in_configmap_has_the_hash_of_the_document() -> None:
    held = "apiVersion: v1\nkind: ConfigMap\ndata:\n  policy.yaml: |\n" + textwrap.indent(DESIGN, "    ")
    assert sound(held) == sound(DESIGN)


def test_read_policy_null_section_counts_as_absent() -> None:
    body = "rules:\n  # inject: off\ntokens:\ninject:\noverrides:\nexemptions: null\n"
    assert policy_document(sound(HEAD + body)) == policy_document(default_policy())


def test_read_policy_null_value_is_an_error() -> None:
    assert mistakes(f"{HEAD}mode:\n") == ["line 3: mode: must not be null; remove the key, or give it a value"]


def test_read_policy_null_action_is_an_error() -> None:
    [error] = mistakes(HEAD + "rules: {inject: null}")
    assert error == "line 3: rules.inject: must not be null; remove the key, or give it a value"


def test_read_policy_null_limit_is_the_default() -> None:
    body = "tokens: {maxRequestExpirationSeconds: null, audiences: {default: null}}"
    assert policy_document(sound(HEAD + body)) == policy_document(default_policy())


def test_read_policy_merge_key_fills_a_map() -> None:
    override, other = sound(HEAD + "overrides: [&a {mode: warn}, {<<: *a, namespaces: [b]}]").overrides
    assert (other.mode, other.namespaces) == (override.mode, ("b",))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{<<: *a, <<: *a}", "duplicate key '<<'; merge a list instead, such as '<<: [*a, *b]'"),
        ("{mode: audit, <<: *a}", "parsers differ on whether '<<' replaces the key \"mode\" before it; put '<<' first"),
    ],
    ids=["two", "behind a key"],
)
def test_read_policy_ambiguous_merge_key_is_an_error(body: str, expected: str) -> None:
    [error] = mistakes(f"{HEAD}overrides: [&a {{mode: warn}}, {body}]")
    assert error.removeprefix("line 3: ").removeprefix("overrides[1]: ") == expected


@pytest.mark.parametrize("document", [HEAD, DESIGN], ids=["empty", "design"])
def test_policy_document_reads_as_the_same_policy(document: str) -> None:
    policy = sound(document)
    again = sound(yaml.safe_dump(policy_document(policy)))
    assert policy_document(again) == policy_document(policy)


def test_json_schema_accepts_valid_and_refuses_unknown_key() -> None:
    document = schema.json_schema()
    jsonschema.Draft202012Validator.check_schema(document)
    validator = jsonschema.Draft202012Validator(document)
    loaded = yaml.load(DESIGN, yaml.BaseLoader)  # dates and numbers as texts
    loaded["tokens"]["maxExpirationSeconds"] = 3600
    loaded["tokens"]["maxRequestExpirationSeconds"] = None
    loaded["tokens"]["audiences"] |= {"required": True, "default": None}
    loaded["inject"][0] |= {"expirationSeconds": 1800, "onRequest": False}
    validator.validate(loaded)
    loaded["inject"][0]["mountpath"] = "/a"
    assert [error.message for error in validator.iter_errors(loaded)] == [
        "Additional properties are not allowed ('mountpath' was unexpected)"
    ]


def test_json_schema_every_property_has_a_description() -> None:
    document = schema.json_schema()
    sections = {"": document, **document["$defs"]}
    missing = {
        f"{name}.{key}"
        for name, section in sections.items()
        for key, about in section.get("properties", {}).items()
        if not about.get("description", "").strip().endswith(".")
    }
    assert missing == set()
