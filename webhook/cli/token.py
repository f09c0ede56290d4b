"""The `token` commands: inspect and verify a token."""

import contextlib
import datetime as dt
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from webhook.check.input_files import STDIN, InputFile, InputProblem
from webhook.check.input_files import read as read_file
from webhook.cli.common import (
    FILE,
    cluster_options,
    connected,
    label_option,
    output_option,
    own_namespace_option,
    read_input,
)
from webhook.cli.policy_source import PolicyOptions, policy_options, read_policy_options
from webhook.cluster.token_review import published_issuer, review
from webhook.cluster.transport import ApiError, Transport
from webhook.core.formatting import did_you_mean
from webhook.core.selectors import Labels
from webhook.formatters import token_json, token_text
from webhook.formatters.formatter import Formatter, print_report
from webhook.tokens.claims import Token, TokenFormatError, parse_token
from webhook.tokens.inspection import TokenInspection, inspect_token
from webhook.tokens.jwks import JwksError, parse_jwks
from webhook.tokens.verification import Issuer, PresentedToken, VerificationResult, verify_by_review, verify_with_keys

_EXPOSED = "the token is now in your shell's history and in the list of processes; use standard input or @FILE instead"
_STDIN = ((), (STDIN,))
_token = click.argument("given", nargs=-1, metavar="[TOKEN|-|@FILE]")
INSPECTION_FORMATTERS: Mapping[str, Formatter[TokenInspection]] = {
    "text": token_text.format_inspection,
    "json": token_json.format_inspection,
}
VERIFICATION_FORMATTERS: Mapping[str, Formatter[VerificationResult]] = {
    "text": token_text.format_verification,
    "json": token_json.format_verification,
}


class _TokenGroup(click.Group):
    """An unknown command may be a token, so errors don't quote it, unlike click's."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            raise click.UsageError(
                f"no such command{did_you_mean(args[0], self.commands)}; use one of: {', '.join(self.commands)}", ctx
            )
        return super().resolve_command(ctx, args)


@click.group("token", cls=_TokenGroup)
def command() -> None:
    """Inspect or verify a service account token.

    The token is read from standard input (-, the default), from a file (@FILE) or, with a warning, from the arguments.
    No command prints a token or its signature.
    """


@command.command("inspect")
@_token
@policy_options
@own_namespace_option
@label_option
@output_option(INSPECTION_FORMATTERS)
def inspect(
    given: tuple[str, ...],
    *,
    policy: str | None,
    policy_configmap: str | None,
    own_namespace: str,
    kubeconfig: Path | None,
    context: str | None,
    labels: Labels,
    output: str,
) -> int:
    """Show claims, lifetime and policy decision.

    Works offline, unless --policy-configmap is given, and does not verify the signature. The policy decision
    shows whether such a token could be requested again; for a legacy token, whether its Secret could be created
    again.

    \b
    Example:
      kubectl create token app | tokenguard token inspect

    Exit status: 0 no finding; 1 a problem (expired, never expires, valid for longer than requested, not a service
    account token) or a policy decision other than allowed; 2 the token cannot be read.
    """
    if given in _STDIN and policy == STDIN:
        raise click.UsageError("token and policy cannot both be standard input")
    _, token = _read_token(given)
    options = PolicyOptions(policy, policy_configmap, own_namespace, kubeconfig, context)
    chosen, in_use = read_policy_options(options)
    inspection = inspect_token(token, chosen, dt.datetime.now(dt.UTC), labels)
    inspection = replace(inspection, policy_origin=in_use.origin)
    print_report(INSPECTION_FORMATTERS, output, inspection)
    return int(inspection.has_findings)


@command.command("verify")
@_token
@click.option("--audience", "audiences", multiple=True, metavar="NAME",
              help="Audience that the token must be issued for. May be repeated: one must match. Default: the API"
                   " server.")  # fmt: skip
@cluster_options
@click.option("--jwks", type=FILE, metavar="FILE",
              help="Verify offline with the issuer's keys, from: kubectl get --raw /openid/v1/jwks > FILE")  # fmt: skip
@click.option("--issuer", metavar="URL", help="With --jwks: the issuer that the token must name. Default: any.")
@click.option("--cluster-keys", is_flag=True,
              help="Verify with the keys that the cluster publishes, without sending the token.")  # fmt: skip
@output_option(VERIFICATION_FORMATTERS)
def verify(
    given: tuple[str, ...],
    *,
    audiences: tuple[str, ...],
    kubeconfig: Path | None,
    context: str | None,
    jwks: str | None,
    issuer: str | None,
    cluster_keys: bool,
    output: str,
) -> int:
    """Verify a token with the API server or the issuer's keys.

    With --jwks or --cluster-keys, the command cannot check whether the account and the bound objects still exist, and
    assumes that the API server's audiences are the token issuer and https://kubernetes.default.svc, with and without
    .cluster.local.

    Exit status: 0 accepted, 1 rejected, 2 the token cannot be read or the API server cannot be reached.
    """
    if jwks and cluster_keys:
        raise click.UsageError("--jwks and --cluster-keys exclude each other")
    if issuer and not jwks:
        raise click.UsageError("--issuer needs --jwks")
    if given in _STDIN and jwks == STDIN:
        raise click.UsageError("token and keys cannot both be standard input")
    text, token = _read_token(given)
    presented = PresentedToken(text, token, audiences, dt.datetime.now(dt.UTC))
    if jwks:
        result = verify_with_keys(presented, _issuer(jwks, issuer or ""))
    else:
        with connected(kubeconfig, context) as transport:
            if cluster_keys:
                result = verify_with_keys(presented, published_issuer(transport))
            else:
                result = _review(transport, presented)
    print_report(VERIFICATION_FORMATTERS, output, result)
    return int(not result.accepted)


def _read_token(given: tuple[str, ...]) -> tuple[bytes, Token]:
    """Return a token as text and decoded. No error quotes it."""
    if len(given) > 1:
        raise click.UsageError("expected one token and nothing before it")
    text, hint = _token_text("".join(given) or STDIN)
    try:
        return text, parse_token(text)
    except TokenFormatError as error:
        raise click.ClickException(f"cannot read the token: {error}{hint}") from None


def _token_text(given: str) -> tuple[bytes, str]:
    """Return the token's text, and a hint for an error message."""
    if given == STDIN and sys.stdin.isatty():
        return click.prompt("Token (not shown)", hide_input=True, err=True).encode(errors="replace"), ""
    if given == STDIN or given.startswith("@"):
        data = read_file(InputFile(given.removeprefix("@")), sys.stdin.buffer)
        if isinstance(data, InputProblem):  # its path may be a token
            source = "standard input" if given == STDIN else "the file after @"
            raise click.ClickException(f"cannot read {source}: {data.message}")
        return data, ""
    click.echo(f"warning: {_EXPOSED}", err=True)
    return given.encode(errors="replace"), "; to read a file, pass @FILE"


def _issuer(jwks: str, name: str) -> Issuer:
    try:
        return Issuer(parse_jwks(read_input(jwks)), name)
    except JwksError as error:
        raise click.ClickException(f"{jwks}: {error}") from None


def _review(transport: Transport, presented: PresentedToken) -> VerificationResult:
    """Ask the API server and, if it rejects the token, look for the reasons with the keys that it publishes."""
    answer = review(transport, presented.text, presented.audiences)
    issuer = None
    if not answer.authenticated:
        with contextlib.suppress(ApiError):  # the right to create TokenReviews does not include the right to read keys
            issuer = published_issuer(transport)
    return verify_by_review(presented, answer, issuer)
