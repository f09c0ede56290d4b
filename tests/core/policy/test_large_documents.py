"""Documents that are large or expensive to read: anybody who may write a ConfigMap may send one."""

import re
import subprocess
import sys
import textwrap

import pytest

from tests.documented import CHECKOUT
from tests.policies import HEAD, mistakes, sound
from webhook.core.formatting import did_you_mean, quote


@pytest.mark.covers("failure-modes: the policy", "threat-model: expensive policy")
def test_read_policy_nested_aliases_are_too_large() -> None:
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 9)]
    body = "exemptions: [" + ", ".join(["{rules: *r, reason: r, until: never}"] * 9_000) + "]"
    many = "rules: &r [" + ", ".join(["token-audience"] * 200) + "]"
    errors = mistakes("\n".join([*lines, many, body]))
    assert any("is too large" in line for line in errors)


def test_read_policy_many_documents_are_an_error() -> None:
    assert mistakes(HEAD + "---\n" * 200_000) == ["line 1002: contains more than 1000 documents"]


def test_read_policy_errors_past_64_kib_are_counted() -> None:
    errors = mistakes(HEAD + "".join(f"mo{number}: 1\n" for number in range(20_000)))
    *reported, last = errors
    line, left_out = re.fullmatch(r"line (\d+): and (\d+) more errors", last).groups()
    assert len(reported) + int(left_out) == 20_000
    assert int(line) == len(reported) + 2
    assert 65_000 < sum(map(len, reported)) < 66_000


def injections(count: int, audience: str = "v", mount_path: str = "/a{}", name: str = "a{}") -> str:
    line = f"- {{{{name: {name}, audience: {audience}, mountPath: {mount_path}}}}}\n"
    return "inject:\n" + "".join(line.format(*[number] * 3) for number in range(count))


def allowed(count: int, pattern: str) -> str:
    return f"tokens: {{audiences: {{allowed: [{', '.join(pattern.format(number) for number in range(count))}]}}}}\n"


TOO_LARGE = "is too large: "
SLOW = {
    "an alias of a map of unknown keys, over and over": (
        HEAD
        + "exemptions:\n- &e {"
        + "".join(f"k{number}: 1, " for number in range(20_000))
        + "}\n"
        + "- *e\n" * 100_000,
        TOO_LARGE,
    ),
    "an alias of a long text, over and over": (
        f"{HEAD}exemptions: [{{reason: &r {'x ' * 100_000}}}{', {reason: *r }' * 10_000}]",
        TOO_LARGE,
    ),
    "more values than any policy has": (HEAD + "inject: [" + "{}," * 300_000 + "]", TOO_LARGE),
    "injections that all clash": (
        HEAD + injections(1_000, name="a", mount_path="/a"),
        'inject[1].name: "a" is already the name of inject[0]',
    ),
    "injections above one another": (
        HEAD + injections(999, mount_path="/b{}") + "- {name: b, audience: v, mountPath: /b998/b}\n",
        'inject[999].mountPath: "/b998/b" overlaps "/b998" of inject[998]',
    ),
    "many audiences and many patterns": (
        HEAD + allowed(10_000, '"*-{}"') + injections(1_000),
        'inject[0].audience: "v" is not in tokens.audiences.allowed; use one like "*-0", "*-1", ',
    ),
    "a long audience and many patterns": (
        HEAD + allowed(5_000, '"*-{}"') + injections(30).replace("audience: v", f"audience: &v {'x/' * 50_000}", 1),
        "inject[0].audience: too many audiences and patterns: from here on, tokens.audiences.allowed is not checked",
    ),
}
for line_break in "\n\r\x85\u2028\u2029":
    SLOW[f"many directives, each before U+{ord(line_break):04X}"] = (
        HEAD + "...\n" + "".join(f"%TAG !a{number}! b{line_break}" for number in range(40_000)) + "---\n" + HEAD,
        "has more than 100 %TAG directives",
    )


@pytest.mark.parametrize(("document", "expected"), SLOW.values(), ids=SLOW)
@pytest.mark.covers("threat-model: expensive policy")
def test_read_policy_expensive_document_is_fast(document: str, expected: str) -> None:
    assert len(document) < 2**20
    assert mistakes(document)[0].split(": ", 1)[1].startswith(expected)


READ = """
import sys
from tests.policies import mistakes

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

before = peak()
print(len(mistakes(sys.stdin.read())), peak() - before)
"""
"""Prints the number of errors and the peak in KiB, of a process of its own: tracemalloc takes seven times the CPU."""


FEW, SOME, MANY = 100, 1_000, 10_000
LISTS = {
    "overrides": ("overrides: [{}]", "{}", MANY),
    "exemptions": ("exemptions: [{}]", "{rules: ['*'], reason: r, until: never}", MANY),
    "exemptions[0].users": ("exemptions: [{{rules: ['*'], reason: r, until: never, users: [{}]}}]", "u", MANY),
    "overrides[0].namespaces": ("overrides: [{{namespaces: [{}]}}]", "n", MANY),
    "tokens.audiences.allowed": ("tokens: {{audiences: {{allowed: [{}]}}}}", "'*'", MANY),
    "inject": ("inject: [{}]", "{name: a, audience: v, mountPath: /a}", SOME),
    "workloads": ("workloads: [{}]", "{apiGroup: a.b, kind: A, template: /a}", SOME),
    "kubeletRootDirs": ("kubeletRootDirs: [{}]", "/a", FEW),
    "apiServerToken.audiences": ("apiServerToken: {{audiences: [{}]}}", "a", FEW),
}
"""Lists by their path: a document with one, an entry, and the maximum."""


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.covers("threat-model: expensive policy")
def test_read_policy_long_list_is_an_error(path: str) -> None:
    document, entry, maximum = LISTS[path]
    exceeds = f"line 3: {path}: has {maximum + 1} entries, which exceeds the maximum of {maximum}"
    assert mistakes(HEAD + document.format(", ".join([entry] * (maximum + 1)))) == [exceeds]


def test_read_policy_longest_lists_are_valid() -> None:
    users = ", ".join(f"'*u{number}'" for number in range(MANY))
    policy = sound(
        f"{HEAD}overrides: [{'{}, ' * MANY}]\nexemptions: [{{rules: ['*'], reason: r, until: never, users: [{users}]}}]"
    )
    assert len(policy.overrides) == len(policy.exemptions[0].users.patterns) == MANY


def deep(levels: int) -> str:
    """Return a mode that is a list of very many values at this level."""
    return f"{HEAD}mode: {'[' * levels}{'a,' * 200_000}{']' * levels}\n"


@pytest.mark.parametrize("levels", [28, 195])
@pytest.mark.parametrize("in_configmap", [False, True], ids=["bare", "in a ConfigMap"])
@pytest.mark.covers("threat-model: expensive policy")
def test_read_policy_deep_document_needs_limited_memory(levels: int, *, in_configmap: bool) -> None:
    document = deep(levels)
    if in_configmap:
        beside = document.replace(HEAD, "kind: ConfigMap\n").replace("mode", "x")
        document = f"{beside}data:\n  policy.yaml: |\n{textwrap.indent(document, '    ')}"
    assert len(document) < 2**20
    done = subprocess.run(
        [sys.executable, "-c", READ], input=document, stdout=subprocess.PIPE, text=True, check=True, cwd=CHECKOUT
    )
    errors, peak = map(int, done.stdout.split())
    assert errors == 1
    assert peak < 64 << 10


def test_read_policy_documents_share_the_limit_of_aliases() -> None:
    keys = ", ".join(f"k{number}: 1" for number in range(800))
    expanding = f"---\na: &a {{{keys}}}\nb: [{', '.join(['*a'] * 100)}]\n"
    assert sound(HEAD + expanding).sha256
    assert mistakes(HEAD + expanding * 2) == ["line 8: is too large: its aliases expand to more than 4 MiB"]


def test_read_policy_text_may_mention_tag_directives() -> None:
    reason = "a %TAG " * 70
    exemptions = f"- {{rules: [inject], reason: '{reason}', until: never}}\n" * 10
    assert len(sound(f"{HEAD}exemptions:\n{exemptions}").exemptions) == 10


def test_read_policy_suggestions_are_limited() -> None:
    audiences = [f"https://wrong-{number}.example.com" for number in range(100)]
    wrong = "".join(
        f"- {{name: a{at}, audience: {audience}, mountPath: /a{at}}}\n" for at, audience in enumerate(audiences)
    )
    errors = mistakes(HEAD + allowed(100, "https://right-{}.example.com") + "inject:\n" + wrong)
    assert ["did you mean" in line for line in errors] == [True] * 10 + [False] * 90


def test_did_you_mean_compares_limited_text() -> None:
    words = ["a" * 99 + letter for letter in "bcdefghijklmnopqrstuvwxyz"]
    assert did_you_mean("b" * 100, [*words[:10], "b" * 101]) == f"; did you mean {quote('b' * 101)}?"
    assert did_you_mean("b" * 100, [*words, "b" * 101]) == ""
