"""The policy's mistakes: a document, and what is said of it."""

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
from webhook.core.rules import RULES

PAGE = "x" * 501
NO_FOLDER = "must be an absolute path without .., and not the root"
MISTAKES = {
    "kubelet root folders that are none": (
        "kubeletRootDirs: [var/lib/kubelet, /, /var/../lib, 'C:\\', 7]",
        [
            *(
                f"line 3: kubeletRootDirs[{number}]: {NO_FOLDER}, not {quote(path)}"
                for number, path in enumerate(["var/lib/kubelet", "/", "/var/../lib", "C:\\"])
            ),
            f'line 3: kubeletRootDirs[4]: {NO_FOLDER}; put it in quotes: "7"',
        ],
    ),
    "no kubelet root folder": ("kubeletRootDirs: []", ["line 3: kubeletRootDirs: must not be empty"]),
    "an unknown key": ("tokns: {}", ['line 3: tokns: unknown key; did you mean "tokens"?']),
    "a key in the wrong place": (
        "maxExpirationSeconds: 600",
        ['line 3: maxExpirationSeconds: unknown key; did you mean "tokens.maxExpirationSeconds"?'],
    ),
    "a key like no other": (
        "apiServerToken: {zebra: 1}",
        ['line 3: apiServerToken.zebra: unknown key; there are "expiration", "audiences"'],
    ),
    "a key twice": ("mode: warn\nmode: audit", ["line 4: mode: is given twice, first in line 3"]),
    "a wrong mode": ("mode: enforced", ['line 3: mode: "enforced" is no mode; did you mean "enforce"?']),
    "a mode that is off": ("mode: off", ['line 3: mode: "off" is no mode; it takes enforce, warn, audit']),
    "an unknown rule": (
        "rules:\n  token-audiense: reject",
        ['line 4: rules.token-audiense: unknown rule; did you mean "token-audience"?'],
    ),
    "an action that the rule doesn't have": (
        "rules: {token-subpath: patch}",
        [
            'line 3: rules.token-subpath: "patch" is no action of this rule; it takes reject, warn, audit, off',
        ],
    ),
    "a rule that is on": (
        "rules: {token-subpath: on}",
        ['line 3: rules.token-subpath: "on" is no action of this rule; it takes reject, warn, audit, off'],
    ),
    "a list where a map belongs": ("rules: [a]", ["line 3: rules: must be a map, not a list"]),
    "a text where a list belongs": (
        "inject:\n- {name: a, audience: a, mountPath: /a, namespaces: demo}",
        ['line 4: inject[0].namespaces: must be a list, not "demo"'],
    ),
    "a number that is too small": (
        "tokens: {maxExpirationSeconds: 599}",
        ['line 3: tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not "599"'],
    ),
    "a number that is too large": (
        "tokens: {maxRequestExpirationSeconds: 4294967297}",
        ['line 3: tokens.maxRequestExpirationSeconds: must be a whole number from 600 to 4294967296, not "4294967297"'],
    ),
    "a number in quotes": (
        'tokens: {maxExpirationSeconds: "3600"}',
        ['line 3: tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not "3600"'],
    ),
    "a number in base sixty": (
        "tokens: {maxExpirationSeconds: 30:00}",
        ['line 3: tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not "30:00"'],
    ),
    "yes for true": (
        "tokens: {audiences: {required: yes}}",
        ['line 3: tokens.audiences.required: must be true or false, not "yes"'],
    ),
    "a default that is not allowed": (
        "tokens: {audiences: {default: valut, allowed: [vault]}}",
        [
            'line 3: tokens.audiences.default: the default audience "valut" is not allowed; did you mean "vault"?',
        ],
    ),
    "a default that an override no longer allows": (
        "tokens: {audiences: {default: vault}}\noverrides:\n- tokens: {audiences: {allowed: [only]}}",
        [
            (
                'line 5: overrides[0].tokens.audiences.allowed: the default audience "vault" is not allowed; '
                'use one of "only"'
            )
        ],
    ),
    "an injection without what it needs": (
        "inject:\n- env: A",
        [
            "line 4: inject[0].name: is required",
            "line 4: inject[0].audience: is required",
            "line 4: inject[0].mountPath: is required",
        ],
    ),
    "an injection that outlives the maximum": (
        (
            "tokens: {maxExpirationSeconds: 1200}\n"
            "inject:\n- {name: a, audience: a, mountPath: /a, expirationSeconds: 1201}"
        ),
        ["line 5: inject[0].expirationSeconds: 1201 outlives tokens.maxExpirationSeconds, which is 1200"],
    ),
    "an injection that is not allowed as an audience": (
        (
            'tokens: {audiences: {allowed: ["https://*.example.com"]}}\n'
            "inject:\n- {name: a, audience: https://x.example.org, mountPath: /a}"
        ),
        [
            (
                'line 5: inject[0].audience: "https://x.example.org" is not in tokens.audiences.allowed; '
                'did you mean "https://*.example.com"?'
            )
        ],
    ),
    "two injections with one mount path, and one name": (
        "inject:\n- {name: a, audience: a, mountPath: /a}\n- {name: a, audience: a, mountPath: /a/}",
        [
            'line 5: inject[1].name: "a" is taken already, by inject[0]',
            'line 5: inject[1].mountPath: "/a/" overlaps "/a" of inject[0]',
        ],
    ),
    "an injection over the API server's token": (
        "inject:\n- {name: a, audience: a, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}",
        [
            (
                "line 4: inject[0].mountPath: overlaps /var/run/secrets/kubernetes.io/serviceaccount, where Kubernetes "
                "mounts its own token"
            ),
        ],
    ),
    "a mount path that is none": (
        "inject:\n- {name: a, audience: a, mountPath: a/b}\n- {name: b, audience: a, mountPath: /b/../c}",
        [
            'line 4: inject[0].mountPath: must be an absolute path without : and .., and not the root, not "a/b"',
            'line 5: inject[1].mountPath: must be an absolute path without : and .., and not the root, not "/b/../c"',
        ],
    ),
    "a mount path below another, and the root": (
        (
            "inject:\n- {name: a, audience: a, mountPath: /a/b}\n- {name: b, audience: a, mountPath: /a}\n"
            "- {name: c, audience: a, mountPath: //.}"
        ),
        [
            'line 5: inject[1].mountPath: "/a" overlaps "/a/b" of inject[0]',
            'line 6: inject[2].mountPath: must be an absolute path without : and .., and not the root, not "//."',
        ],
    ),
    "a file that the API server would refuse": (
        "inject:\n- {name: a, audience: a, mountPath: /a, path: ..token}",
        ['line 4: inject[0].path: must be a relative path that doesn\'t begin with .., not "..token"'],
    ),
    "an injection of the number that means a year": (
        (
            "tokens: {maxExpirationSeconds: 7200}\n"
            "inject:\n- {name: a, audience: https://kubernetes.default.svc, mountPath: /a, expirationSeconds: 3607}"
        ),
        [
            (
                "line 5: inject[0].expirationSeconds: 3607 for the API server means a year, which outlives "
                "tokens.maxExpirationSeconds, which is 7200"
            )
        ],
    ),
    "a name that can't be a volume's": (
        "inject:\n- {name: Vault_1, audience: a, mountPath: /a}",
        ['line 4: inject[0].name: must be a DNS label of at most 52 characters, not "Vault_1"'],
    ),
    "a glob among labels": (
        'inject:\n- {name: a, audience: a, mountPath: /a, podLabels: {app: "sh*"}}',
        [
            'line 4: inject[0].podLabels.app: must be a label\'s value (matched exactly, so without *), not "sh*"',
        ],
    ),
    "a reason as long as a page": (
        f"exemptions:\n- {{rules: [inject], reason: {PAGE}, until: never}}",
        [f"line 4: exemptions[0].reason: must be the reason, in words and at most 500 characters, not {quote(PAGE)}"],
    ),
    "a workload without what it needs": (
        "workloads:\n- {}",
        [
            "line 4: workloads[0].apiGroup: is required",
            "line 4: workloads[0].kind: is required",
            "line 4: workloads[0].template: is required",
        ],
    ),
    "a workload of Kubernetes itself": (
        (
            "workloads:\n- {apiGroup: apps, kind: Deployment, template: /spec/template}\n"
            "- {apiGroup: authentication.k8s.io, kind: TokenRequest, template: /spec}"
        ),
        [
            'line 4: workloads[0].apiGroup: must be the API group of a custom kind, like example.com, not "apps"',
            'line 5: workloads[1].kind: "TokenRequest" is a kind of Kubernetes itself: remove it',
        ],
    ),
    "a workload twice": (
        (
            "workloads:\n- {apiGroup: example.com, kind: Runner, template: /spec/template}\n"
            "- {apiGroup: example.com, kind: Runner, template: /spec/pod}"
        ),
        ['line 5: workloads[1].kind: "Runner" of "example.com" is given already, by workloads[0]'],
    ),
    "workloads that can't be": (
        (
            "workloads:\n- {apiGroup: example.com/v1, kind: Runner, template: /spec/template}\n"
            "- {apiGroup: example.com, kind: runner, template: /spec/template}\n"
            "- {apiGroup: example.com, kind: Runner, template: spec.template}\n"
            "- {apiGroup: example.com, kind: Pool, template: /spec/tasks/0/template}\n"
            "- {apiGroup: example.com, kind: Batch, template: /metadata/annotations}"
        ),
        [
            (
                "line 4: workloads[0].apiGroup: must be the API group of a custom kind, like example.com, "
                'not "example.com/v1"'
            ),
            'line 5: workloads[1].kind: must be a kind, like Runner, not "runner"',
            (
                "line 6: workloads[2].template: must be a JSON Pointer through maps, like /spec/template, "
                'not "spec.template"'
            ),
            (
                "line 7: workloads[3].template: must be a JSON Pointer through maps, like /spec/template, "
                'not "/spec/tasks/0/template"'
            ),
            (
                "line 8: workloads[4].template: must be a JSON Pointer through maps, like /spec/template, "
                'not "/metadata/annotations"'
            ),
        ],
    ),
    "an exemption without reason and end": (
        "exemptions:\n- rules: [token-audience]",
        ["line 4: exemptions[0].reason: is required", "line 4: exemptions[0].until: is required"],
    ),
    "an exemption from a rule that there isn't": (
        "exemptions:\n- {rules: [token-audiense], reason: r, until: never}",
        ['line 4: exemptions[0].rules[0]: "token-audiense" is no rule; did you mean "token-audience"?'],
    ),
    "an exemption from nothing": (
        "exemptions:\n- {rules: [], reason: r, until: never}",
        ["line 4: exemptions[0].rules: must not be empty"],
    ),
    "an end that is no day": (
        "exemptions:\n- {rules: ['*'], reason: r, until: 2027-02-30}\n- {rules: ['*'], reason: r, until: soon}",
        [
            'line 4: exemptions[0].until: must be a date like 2027-03-31, or never, not "2027-02-30"',
            'line 5: exemptions[1].until: must be a date like 2027-03-31, or never, not "soon"',
        ],
    ),
    "every mistake at once, in the order of their lines": (
        "rules: {x: y}\nmode: z\ntokens: {maxExpirationSeconds: 1}",
        [
            "line 3: rules.x: unknown rule; there are " + ", ".join(rule.name for rule in RULES),
            'line 4: mode: "z" is no mode; it takes enforce, warn, audit',
            'line 5: tokens.maxExpirationSeconds: must be a whole number from 600 to 4294967296, not "1"',
        ],
    ),
}


@pytest.mark.parametrize(("body", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_path_and_line(body: str, expected: list[str]) -> None:
    assert mistakes(HEAD + body + "\n") == expected


@pytest.mark.parametrize(("body", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_in_a_config_map_the_lines_are_the_files(body: str, expected: list[str]) -> None:
    above = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: token-policy}\ndata:\n  policy.yaml: |\n"
    moved = mistakes(above + textwrap.indent(HEAD + body + "\n", "    "))
    lines = [int(line.split(":")[0].removeprefix("line ")) for line in moved]
    assert lines == [int(line.split(":")[0].removeprefix("line ")) + 5 for line in expected]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "line 1: holds no policy: there must be one document of kind TokenPolicy, "),
        (b"kind: [", "line 2: is not YAML: "),
        (b"a: *", "line 1: is not YAML: did not find expected alphabetic or numeric character; a * at the start"),
        (b"a: b\nc: \xff", "line 2: is not UTF-8"),
        (b"- a", "line 1: must be a map, not a list"),
        (b"[" * 500_000, "line 1: is nested deeper than 30 levels"),
        (HEAD.encode() + b"---\n" + HEAD.encode(), "line 1: holds several policies: give one"),
        (b"apiVersion: v1\nkind: ConfigMap\ndata: {a: b}", "line 1: holds no policy: "),
        (b"apiVersion: v1\nkind: ConfigMap\ndata: {policy.yaml: 'a: ['}", "line 3: is not YAML: "),
        (b"a: \x00", "line 1: is not YAML: "),
    ],
    ids=["empty", "broken", "star", "not UTF-8", "a list", "deep", "two", "no key", "broken inside", "NUL"],
)
def test_what_is_no_policy_is_told_and_nothing_breaks(data: bytes, expected: str) -> None:
    assert mistakes(data)[0].startswith(expected)


def test_a_rule_that_an_exemption_names_twice_is_one() -> None:
    body = "exemptions: [{rules: [inject, token-audience, inject], reason: r, until: never}]"
    assert sound(HEAD + body).exemptions[0].rules == ("inject", "token-audience")


@pytest.mark.covers("threat-model: control characters in names")
def test_a_key_can_not_forge_a_line() -> None:
    assert mistakes(HEAD + '"mode\\nline 1": warn')[0].startswith('line 3: "mode\\nline 1": unknown key; ')
    assert len(mistakes(HEAD + f"? {'k' * 500_000}\n: 1")[0]) < 400


def test_an_empty_document_is_the_defaults() -> None:
    policy = default_policy()
    assert (policy.mode, policy.tokens.max_expiration_seconds, policy.injections) == (Mode.ENFORCE, 3600, ())
    assert {rule.name: policy.rules[rule.name] for rule in RULES} == {rule.name: rule.default for rule in RULES}


def test_the_designs_policy_is_sound_and_read_whole() -> None:
    policy = sound(DESIGN)
    [injection], [override], [exemption] = policy.injections, policy.overrides, policy.exemptions
    assert policy.workloads == {("example.com", "Runner"): "/spec/template"}
    assert injection.file == "/var/run/secrets/tokens/vault/token"
    assert override.mode is Mode.WARN
    assert exemption.until == dt.date(2027, 3, 31)
    assert policy.sha256 == hashlib.sha256(DESIGN.encode()).hexdigest()


@pytest.mark.parametrize("written", ["off", "'off'", "false", "Off", "OFF"])
def test_off_is_taken_however_yaml_reads_it(written: str) -> None:
    assert sound(HEAD + f"rules: {{token-subpath: {written}}}").rules["token-subpath"] is Action.OFF


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_action_of_a_rule_is_taken(rule) -> None:
    for action in rule.actions:
        assert sound(HEAD + f"rules: {{{rule.name}: {action}}}").rules[rule.name] is action


def test_a_config_map_is_hashed_as_the_document_that_it_holds() -> None:
    held = "apiVersion: v1\nkind: ConfigMap\ndata:\n  policy.yaml: |\n" + textwrap.indent(DESIGN, "    ")
    assert sound(held) == sound(DESIGN)


def test_a_key_that_is_null_counts_as_absent() -> None:
    assert policy_document(
        sound(HEAD + "mode:\nrules:\ntokens:\ninject:\noverrides:\nexemptions: null\n")
    ) == policy_document(default_policy())


@pytest.mark.parametrize("document", [HEAD, DESIGN], ids=["empty", "design"])
def test_a_policy_that_is_shown_reads_as_the_same(document: str) -> None:
    policy = sound(document)
    again = sound(yaml.safe_dump(policy_document(policy)))
    assert policy_document(again) == policy_document(policy)


def test_the_schema_takes_what_is_sound_and_refuses_what_is_not() -> None:
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
