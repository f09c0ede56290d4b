"""The text of a check: by file and object, with the line in the file."""

import json

import pytest

from tests.check.runs import (
    INJECTION,
    LEGACY_POD,
    LEGACY_SECRET,
    LONG_POD,
    SEED_POD,
    checked,
    checked_paths,
    policy,
    text_lines,
)
from tests.policies import HEAD

HELP = "project a token into the pod, add an exemption with an end date, or run: kubectl create token robot -n default"
EXPECTED = f"""\
<stdin>
  Secret/robot-token in namespace default: denied
    denied[legacy-token-secret]: type requests a token of "robot" that never expires
     --> <stdin>:3:1
      |
    3 | type: kubernetes.io/service-account-token
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: {HELP} --duration=1h
  Pod/long in namespace default: patched
    patched[token-expiration]: spec.volumes[0].projected.sources[0] has lifetime 86400s, exceeding the maximum 3600s
      --> <stdin>:21:11
       |
    21 |           expirationSeconds: 86400
       |           ^^^^^^^^^^^^^^^^^^^^^^^^
       = patch: serviceAccountToken.expirationSeconds: 3600

2 findings in 1 file:
  legacy-token-secret  1 denied
  token-expiration     1 patched
1 finding can be fixed: --diff shows how, --fix --write does it
2 objects in 1 file evaluated: 1 denied, 1 patched, 0 warned, 0 allowed
"""


def test_text_groups_by_object_and_shows_the_source() -> None:
    assert "\n".join(text_lines(checked(LEGACY_SECRET, LONG_POD))[:-1]) + "\n" == EXPECTED


def test_text_notes_are_in_their_places_among_findings() -> None:
    lines = text_lines(checked(LONG_POD, SEED_POD, under=policy(INJECTION)), verbose=True)
    heads = [line.strip().partition(":")[0] for line in lines if line[:6].lstrip()[:1].isalpha()]
    assert heads[:5] == [
        "Pod/long in namespace default",
        "note[inject]",
        "patched[token-expiration]",
        "Pod/seed in namespace default",
        "note[inject]",
    ]


@pytest.mark.parametrize("width", [70, 80])
def test_text_wraps_between_words_at_the_width_of_the_terminal(width: int) -> None:
    unsubstituted = LONG_POD.replace("86400", "${TTL}")
    report = checked(LEGACY_SECRET, LEGACY_POD, LONG_POD.replace("spec:", "spec:\n  hostNetwrk: true"), unsubstituted)
    narrow = text_lines(report, width=width)
    assert narrow[0].startswith("error: <stdin>:")
    assert any(line.startswith("warning: <stdin>:") for line in narrow)
    words = [line for line in narrow if max(map(len, line.split() or [""])) < width - 10]
    assert all(len(line) <= width for line in words)
    assert len(narrow) > len(text_lines(report))
    assert " ".join(" ".join(narrow).split()) == " ".join(" ".join(text_lines(report)).split())


def test_text_colours_the_word_of_a_wrapped_error() -> None:
    first, second, *_ = text_lines(checked(LONG_POD.replace("86400", "${TTL}")), width=70, colour=True)
    assert first.startswith("\x1b[31m\x1b[1merror\x1b[0m: <stdin>:14:11: Pod/long:")
    assert second.startswith("    ")


def test_text_names_the_template_that_helm_rendered() -> None:
    lines = text_lines(checked(SEED_POD, f"# Source: shop/templates/pod.yaml\n{LONG_POD}"))
    assert "  Pod/long in namespace default, rendered from shop/templates/pod.yaml: patched" in lines


SECRET_LINES = {
    "a flow mapping": "{apiVersion: v1, kind: Secret, metadata: {name: a}, type: TYPE, data: {token: HUNTER}}\n",
    "JSON": json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "type": "TYPE",
                        "stringData": {"x": "HUNTER"}}) + "\n",
    "a comment": "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ntype: TYPE  # HUNTER\n",
    "an annotation": "apiVersion: v1\nkind: Secret\nmetadata: {annotations: {a: HUNTER}, name: a}\ntype: TYPE\n",
    "several lines": '{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {token: "a\n  HUNTER"}, type: TYPE}\n',
}  # fmt: skip


@pytest.mark.parametrize("text", SECRET_LINES.values(), ids=SECRET_LINES)
def test_text_source_line_has_no_secret_value(text: str) -> None:
    lines = text_lines(checked(text.replace("TYPE", "kubernetes.io/service-account-token")))
    shown = [line for line in lines if "kubernetes.io/service-account-token" in line and "|" in line]
    assert len(shown) == 1
    assert "HUNTER" not in "".join(lines)


def test_text_source_line_has_no_environment_value() -> None:
    env = "- {name: TOKEN, value: HUNTER, valueFrom: {secretKeyRef: {name: robot-token, key: token}}}"
    pod = LEGACY_POD.partition("    - name")[0] + f"    {env}\n"
    [shown] = [line for line in text_lines(checked(LEGACY_SECRET, pod)) if "secretKeyRef" in line]
    assert "{name: …, value: …, valueFrom: {secretKeyRef: {name: robot-token, key: …}}}" in shown


def test_text_caret_is_below_the_value_in_a_flow_mapping() -> None:
    pod = LONG_POD.partition("      - serviceAccountToken")[0]
    token = "{serviceAccountToken: {path: token, audience: ÄÄ, expirationSeconds: 86400}}"
    lines = text_lines(checked(f"{pod}      - {token}  # for a day\n"))
    [number] = [number for number, line in enumerate(lines) if "serviceAccountToken: {" in line]
    at = lines[number].index("expirationSeconds: 86400")
    assert lines[number].endswith("audience: …, expirationSeconds: 86400}}")
    assert lines[number + 1][at:] == "^" * len("expirationSeconds: 86400")
    assert lines[number - 2].endswith(f":{12}:{len('      - ') + token.index('expiration') + 1}")


def test_text_long_source_line_is_cropped_around_the_caret() -> None:
    token = f"{{path: {'x' * 90}, expirationSeconds: 86400, audience: {'y' * 90}}}"
    pod = LONG_POD.partition("      - serviceAccountToken")[0] + f"      - serviceAccountToken: {token}\n"
    lines = text_lines(checked(pod), width=80)
    [number] = [number for number, line in enumerate(lines) if "^" in line]
    at = lines[number].index("^")
    assert lines[number - 1][at:].startswith("expirationSeconds: 86400")
    assert all(len(line) <= 80 for line in lines)


BLOCK_POD = """\
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - name: app
    env:
    - name: TOKEN
      valueFrom:
        secretKeyRef:
          key: token
          name: robot-token
    volumeMounts:
    - name: long
      mountPath: /a
      subPath: token
  volumes:
  - name: long
    projected:
      sources:
      - serviceAccountToken:
          path: token
          audience: forbidden
          expirationSeconds: 86400
  - name: host
    hostPath:
      type: Directory
      path: /var/lib/kubelet
"""
REJECTED = "rules: {token-expiration: reject, token-audience: reject}\ntokens: {audiences: {allowed: [vault]}}\n"


def test_text_caret_is_at_the_field_that_is_wrong() -> None:
    lines = text_lines(checked(LEGACY_SECRET, BLOCK_POD, under=policy(HEAD + REJECTED)))
    marked = [lines[number - 1].partition("| ")[2].strip() for number, line in enumerate(lines) if "^" in line]
    assert sorted(marked) == [
        "audience: forbidden",
        "expirationSeconds: 86400",
        "name: robot-token",
        "path: /var/lib/kubelet",
        "subPath: token",
        "type: kubernetes.io/service-account-token",
    ]


def test_text_shows_the_strongest_findings_and_counts_the_others() -> None:
    report = checked(*[LONG_POD] * 5, LEGACY_SECRET, LEGACY_POD)
    lines = text_lines(report, rows=3)
    shown = [line.strip().partition("[")[0] for line in lines if line.startswith("    ") and "[" in line.split(":")[0]]
    assert sorted(shown) == ["denied", "denied", "patched"]
    assert "and 4 more findings in 1 file: --max-findings 0 shows all" in lines
    assert "  token-expiration        5 patched" in lines


def test_text_long_path_fits_below_its_heading(tmp_path) -> None:
    path = tmp_path / ("folder/" * 12) / "pod.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(LONG_POD)
    report = checked_paths(path)
    assert [line.strip() for line in text_lines(report, width=80) if "-->" in line] == ["--> .../pod.yaml:14:11"]
    assert [line.strip() for line in text_lines(report) if "-->" in line] == [f"--> {path}:14:11"]


def test_text_refers_to_the_errors_above_the_findings() -> None:
    lines = text_lines(checked(LONG_POD, *["apiVersion: v1\nkind: [\n"] * 5))
    assert "could not be evaluated: 5; the errors are above the findings" in lines
    assert [number for number, line in enumerate(lines) if "error: " in line] == [0, 1, 2, 3, 4]
    assert "could not be evaluated: 1" in text_lines(checked(SEED_POD, "apiVersion: v1\nkind: [\n"))


def test_text_marks_where_a_long_line_is_cut() -> None:
    token = "{serviceAccountToken: {path: t, expirationSeconds: 90000}}"
    sources = f"sources: [{{secret: {{name: a-long-name-of-a-secret}}}}, {token}]"
    volume = f"- {{name: a, projected: {{defaultMode: 256, {sources}}}}}"
    pod = SEED_POD.partition("  - name: token")[0] + f"  {volume}\n"
    text, *_ = [line for line in text_lines(checked(pod), width=72) if "expirationSeconds: 90000" in line]
    assert text.partition("| ")[2].startswith("...")
    whole, *_ = [line for line in text_lines(checked(pod)) if "expirationSeconds: 90000" in line]
    assert "..." not in whole
