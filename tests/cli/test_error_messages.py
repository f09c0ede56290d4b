"""Errors of every command: `error: FILE: what is wrong`, exit status 2, no traceback and no name of an exception."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.cli.refusing_server import certificates, refusing_server
from tests.commands import run_command
from tests.generated_docs import commands
from webhook.cli import main
from webhook.cli.common import Choice
from webhook.cli.error_messages import environment_variables

ONE_LINE = re.compile(r"error: (?P<place>\S+?(:\d+)?): [^A-Z\n]*[^.\n]*")
CLASS_NAME = re.compile(r"\b[A-Z]\w+(Error|Exception|Warning)\b|Traceback|Errno|object at 0x")

POD = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: a}]}}\n"
CONTENTS = {
    "missing": None,
    "folder": "",
    "empty": b"",
    "binary": bytes(range(256)),
    "not UTF-8": "a: ü\n".encode("latin-1"),
    "no YAML": b"a: [b\n",
    "another kind": b"apiVersion: v1\nkind: Service\n",
    "a list": b"[1, 2]\n",
    "cannot be read": b"/proc/self/mem",
}
POLICY_READERS = [
    "check --policy FILE POD",
    "policy export FILE",
    "policy show FILE",
    "policy test --policy FILE POD",
    "scan --policy FILE",
    "scan --simulate FILE",
    "token inspect --policy FILE @POD",
]
KUBECONFIG_READERS = [
    "certs rotate",
    "certs status",
    "check --policy-configmap token-policy POD",
    "legacy delete shop/a --yes",
    "legacy disable shop/a --reason x --yes",
    "legacy list",
    "legacy restore shop/a --yes",
    "migrate",
    "objects",
    "policy init",
    "scan",
    "status",
    "token inspect --policy-configmap token-policy @TOKEN",
    "token verify @TOKEN",
]
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4Iiwic3ViIjoieCJ9.AA"


def run(call: str, file: Path | str = "") -> tuple[int, str]:
    """Run a command line in which FILE, POD and TOKEN are paths; return the exit status and stderr."""
    (Path("POD")).write_text(POD)
    (Path("TOKEN")).write_text(TOKEN)
    done = run_command(*call.replace("FILE", str(file)).split())
    return done.returncode, done.stderr


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)


@pytest.fixture(params=CONTENTS)
def unusable(request, tmp_path) -> Path:
    """Return the path of a file that no command can use."""
    content, file = CONTENTS[request.param], tmp_path / "input"
    if request.param == "cannot be read":
        return Path(content.decode())
    if content == "":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    return file


@pytest.mark.parametrize("call", [*POLICY_READERS, "token verify --jwks FILE @TOKEN", "objects --kubeconfig FILE"])
def test_unusable_file_is_one_form_of_error(call, unusable) -> None:
    status, stderr = run(call.replace("@POD", "@TOKEN"), unusable)
    assert status == 2
    lines = stderr.splitlines()
    assert lines
    assert all(line.startswith(f"error: {unusable}") and ONE_LINE.match(line) for line in lines), stderr
    assert not CLASS_NAME.search(stderr)


@pytest.mark.parametrize("call", ["check FILE", "policy test FILE", "check -o json FILE", "audit summarize FILE"])
@pytest.mark.parametrize("path", ["/no/such/file", "/proc/self/mem"])
def test_unreadable_input_is_the_same_form_of_error(call, path) -> None:
    done = run_command(*call.replace("FILE", path).split())
    assert done.returncode == 2
    assert f"error: {path}: " in f"{done.stdout}{done.stderr}"


USAGE = {
    "check --polcy x": 'error: no such option "--polcy"; did you mean "--policy"?',
    "chekc": 'error: no such command "chekc"; did you mean "check"?',
    "policy valdate": 'error: no such command "valdate"; did you mean "validate"?',
    "token inspct": 'error: no such command; did you mean "inspect"?; use one of: inspect, verify',
    "rules inyect": 'error: no such rule "inyect"; did you mean "inject"?',
    "scan --rule token-audienc": '; did you mean "token-audience"?',
    "check -o jsn POD": '"jsn" is not one of text, concise, json, sarif, junit, github; did you mean "json"?',
    "check -o": "error: option '-o' requires an argument",
    "completion": "error: missing argument",
    "completion bsh": '"bsh" is not one of bash, zsh, fish; did you mean "bash"?',
    "scan --unused-days x": "error: --unused-days: 'x' is not a whole number",
    "audit summarize --since 24.11.2026 x": 'error: --since: "24.11.2026" is not a day like 2026-11-24',
    "rules a b": "error: got unexpected extra argument (b)",
}


@pytest.mark.parametrize(("call", "message"), USAGE.items(), ids=USAGE)
def test_usage_error_is_one_line_and_where_to_read_on(call, message) -> None:
    status, stderr = run(call)
    lines = stderr.splitlines()
    assert status == 2
    assert message in lines[0]
    assert re.fullmatch("see '.* --help' for usage", lines[1]) if lines[1:] else call.endswith("-o")
    assert len(lines) <= 2


@pytest.mark.parametrize("call", [(), ("legacy",), ("policy",)], ids=str)
def test_missing_command_shows_the_help_alone(call) -> None:
    done = run_command(*call)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == run_command(*call, "--help").stdout


@pytest.mark.parametrize(("variable", "call"), [
    ("TOKENGUARD_OUTPUT", "check POD"), ("TOKENGUARD_TLS_SECRET", "certs status"),
])  # fmt: skip
def test_usage_error_names_the_environment_variable(variable, call) -> None:
    (Path("POD")).write_text(POD)
    done = click.testing.CliRunner().invoke(main, call.split(), env={variable: "a/b/c"})
    assert done.exit_code == 2
    assert done.stderr.startswith(f'error: {variable}: "a/b/c" is not ')


def test_every_choice_suggests_the_nearest() -> None:
    params = [(context.command_path, param) for context in commands() for param in context.command.params]
    plain = [where for where, param in params if type(param.type) is click.Choice]
    assert plain == []
    assert sum(isinstance(param.type, Choice) for _, param in params) > 10


def kubeconfig(cluster: str = '{server: "https://127.0.0.1:1"}', user: str = "{}", more: str = "") -> str:
    return (
        f"kind: Config\nclusters: [{{name: c, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
        f"{more or 'contexts: [{name: x, context: {cluster: c, user: u}}]'}\ncurrent-context: x\n"
    )


EXEC = "apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never"
UNUSABLE = {
    "refused": (kubeconfig(), "the connection to the server 127.0.0.1:1 was refused - did you specify the right host"),
    "scheme": (kubeconfig('{server: "foo://x"}'), 'unable to connect to the server: unsupported protocol scheme "foo"'),
    "no server": (kubeconfig("{}"), 'kubeconfig: cluster "c": has no server'),
    "plugin missing": (
        kubeconfig(user=f"{{exec: {{{EXEC}, command: no-such-plugin, installHint: install it}}}}"),
        'kubeconfig: user "u": exec: executable no-such-plugin not found; install it',
    ),
    "plugin fails": (
        kubeconfig(user=f'{{exec: {{{EXEC}, command: "false"}}}}'),
        "getting credentials: exec: executable false failed with exit code 1",
    ),
    "plugin prints no JSON": (
        kubeconfig(user=f"{{exec: {{{EXEC}, command: echo, args: [hello]}}}}"),
        "getting credentials: exec: failed to decode process output",
    ),
    "CA missing": (
        kubeconfig('{server: "https://127.0.0.1:1", certificate-authority: ca.crt}'),
        'cluster "c": unable to read certificate-authority',
    ),
    "CA no base64": (
        kubeconfig('{server: "https://127.0.0.1:1", certificate-authority-data: "%"}'),
        'cluster "c": certificate-authority-data: illegal base64 data',
    ),
    "client key missing": (kubeconfig(user="{client-key: key}"), 'user "u": unable to read client-key'),
    "token file missing": (kubeconfig(user="{tokenFile: t}"), 'user "u": unable to read tokenFile'),
    "cluster missing": (
        kubeconfig(more="contexts: [{name: x, context: {cluster: y, user: u}}]"),
        'kubeconfig: context "x": cluster "y" does not exist',
    ),
    "context missing": (kubeconfig(more="contexts: []"), 'kubeconfig: context "x" does not exist'),
    "no context": ("kind: Config\n", "kubeconfig: no current context is set; it has no contexts"),
    "no YAML": ("a: [b\n", "kubeconfig:2: error loading config file: it is not valid YAML"),
    "another kind": ("kind: Pod\n", "kubeconfig: error loading config file: it is not a kubeconfig"),
    "no such file": (None, "kubeconfig: no such file or directory"),
}


@pytest.mark.parametrize("call", KUBECONFIG_READERS)
@pytest.mark.parametrize(("content", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_kubeconfig_is_reported_as_kubectl_does(tmp_path, call, content, message) -> None:
    if content is not None:
        (tmp_path / "kubeconfig").write_text(content)
    status, stderr = run(f"{call} --kubeconfig {tmp_path}/kubeconfig")
    assert status == 2
    assert stderr.startswith("error: ")
    assert message in stderr
    assert stderr.count("\n") == 1, "one line"
    assert not CLASS_NAME.search(stderr)


X509 = "unable to connect to the server: tls: failed to verify certificate: x509: "
REFUSED = {
    "expired credentials": "you must be logged in to the server (Unauthorized): the credentials are missing, wrong or",
    "certificate for another name": f"{X509}certificate is not valid for 127.0.0.1",
    "certificate of another CA": f"{X509}certificate signed by unknown authority",
    "expired certificate": f"{X509}certificate has expired or is not yet valid",
}


@pytest.fixture(scope="module", params=REFUSED)
def refused(request, tmp_path_factory) -> Iterator[tuple[Path, str]]:
    """Return a kubeconfig for a server that cannot be used, and what kubectl says about it."""
    with refusing_server(tmp_path_factory.mktemp("server"), *certificates()[request.param]) as config:
        yield config, REFUSED[request.param]


@pytest.mark.parametrize("call", KUBECONFIG_READERS)
def test_unusable_server_is_reported_as_kubectl_does(call, refused) -> None:
    config, message = refused
    status, stderr = run(f"{call} --kubeconfig {config}")
    assert status == 2
    assert stderr.startswith(f"error: {message}")
    assert stderr.count("\n") == 1, "one line"
    assert not CLASS_NAME.search(stderr)


@pytest.mark.parametrize("call", KUBECONFIG_READERS)
def test_unknown_context_suggests_the_nearest(tmp_path, call) -> None:
    text = kubeconfig(more="contexts: [{name: prod, context: {cluster: c}}, {name: x, context: {cluster: c}}]")
    (tmp_path / "kubeconfig").write_text(text)
    status, stderr = run(f"{call} --kubeconfig {tmp_path}/kubeconfig --context prd")
    assert (status, stderr) == (
        2, f'error: {tmp_path}/kubeconfig: context "prd" does not exist; did you mean "prod"?\n',
    )  # fmt: skip


def test_every_command_with_a_kubeconfig_is_tried() -> None:
    tried = {" ".join(call.split()[:2]) for call in KUBECONFIG_READERS}
    with_kubeconfig = {
        context.command_path.removeprefix("tokenguard ")
        for context in commands()
        if any("--kubeconfig" in param.opts for param in context.command.params)
    }
    assert {name for name in with_kubeconfig if not any(call.startswith(name) for call in tried)} == {"serve"}


def environment_cases():
    """Yield each environment variable that docs/cli.md names, with a command that reads it."""
    for context in commands():
        for param in context.command.params:
            for name in environment_variables(param, context):
                yield pytest.param(context, param, name, id=f"{context.command_path}-{name}")


@pytest.mark.parametrize(("context", "param", "variable"), [*environment_cases()])
def test_documented_environment_variable_is_read(context, param, variable, monkeypatch) -> None:
    number = isinstance(param.type, click.IntRange | click.FloatRange)
    choices = [*param.type.choices] if isinstance(param.type, click.Choice) else []
    values = {"bind": "127.0.0.1:80", "audit_file_max_size": "5", "max_body_bytes": "2000"}
    default = choices[0] if choices else "1" if number or getattr(param, "is_flag", False) else "x"
    monkeypatch.setenv(variable, values.get(param.name, default))
    fresh = click.Context(context.command, info_name="x", auto_envvar_prefix=context.auto_envvar_prefix)
    _, source = param.consume_value(fresh, {})
    assert source is click.core.ParameterSource.ENVIRONMENT
    assert param.type_cast_value(fresh, param.value_from_envvar(fresh)) is not None
