"""The `token` commands: look into a token, and have it checked."""

import contextlib
import datetime as dt
import sys
from pathlib import Path

import click

from webhook.check.input_files import STDIN, InputFile, InputProblem
from webhook.check.input_files import read as read_file
from webhook.cluster.token_review import published_issuer, review
from webhook.cluster.transport import ApiError, Transport
from webhook.commands import Failure, bytes_in, cluster_at_hand, kubeconfig_option, labels_given, policy_in
from webhook.core.decision import Outcome
from webhook.core.safe_output import safe_json
from webhook.formatters import token_json, token_text
from webhook.tokens.claims import Token, TokenFormatError, parse_token
from webhook.tokens.jwks import JwksError, parse_jwks
from webhook.tokens.policy_check import check_against_policy
from webhook.tokens.problems import find_problems
from webhook.tokens.verification import Issuer, PresentedToken, VerificationResult, verify_by_review, verify_with_keys

_TOLD = "the token is now in your shell's history and in the list of processes: pipe it in, or give @FILE"
_STDIN = ((), (STDIN,))
_token = click.argument("given", nargs=-1, metavar="[TOKEN|-|@FILE]")
_output = click.option(
    "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How it is told."
)


class _Commands(click.Group):
    """The commands; what is no command may be a token, so it isn't quoted as click would."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called, and its arguments."""
        if args[0] not in self.commands:
            raise click.UsageError(f"after 'token' goes one of: {', '.join(self.commands)}", ctx)
        return super().resolve_command(ctx, args)


@click.group("token", cls=_Commands)
def token_group() -> None:
    """Look into a service account's token, or have it checked. No command prints a token or its signature.

    A token is read from standard input (-, which is also the default), from a file (@FILE), or, with a warning, from
    the arguments.
    """


@token_group.command("inspect")
@_token
@click.option("--policy", envvar="TOKENGUARD_POLICY", show_envvar=True, metavar="FILE",
              help="Policy document, or ConfigMap that holds one, in place of the default policy.")  # fmt: skip
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE",
              help="A label of the token's namespace, for the policy's overrides; may be repeated.")  # fmt: skip
@_output
def inspect(given: tuple[str, ...], policy: str | None, labels: tuple[str, ...], output: str) -> None:
    """Tell what a token is, whose, for whom, how long it lives, and what a policy says about such a one.

    No cluster is asked and the signature isn't checked. Exit status: 0 nothing is amiss, 1 something is (it has
    expired, never does, lives longer than was asked for, is no service account's, or the policy would refuse such a
    token or warn of it), 2 it can't be read.
    """
    if given in _STDIN and policy == STDIN:
        raise click.UsageError("token and policy can't both be standard input")
    its_labels = labels_given(labels)
    _, found = _read_token(given)
    now = dt.datetime.now(dt.UTC)
    problems = tuple(find_problems(found, now))
    decision = check_against_policy(found, policy_in(policy), now, its_labels)
    if output == "json":
        click.echo(safe_json(token_json.token_text(found, problems, decision, now)).encode())
    else:
        for line in token_text.token_lines(found, problems, decision, now):
            click.echo(line)
    sys.exit(1 if problems or (decision and decision.outcome is not Outcome.ALLOWED) else 0)


@token_group.command("verify")
@_token
@click.option("--audience", "audiences", multiple=True, metavar="NAME",
              help="Whom the token has to be made out to; may be repeated: one that fits is enough. None: the API "
              "server.")  # fmt: skip
@kubeconfig_option
@click.option("--jwks", metavar="FILE", help="Ask no cluster: check by the issuer's keys in this file, which "
              "'kubectl get --raw /openid/v1/jwks' gives.")  # fmt: skip
@click.option("--issuer", metavar="URL", help="The issuer of the keys in --jwks, which the token has to name.")
@click.option("--cluster-keys", is_flag=True,
              help="Check by the keys that the cluster publishes; the token is sent nowhere.")  # fmt: skip
@_output
def verify(
    given: tuple[str, ...],
    audiences: tuple[str, ...],
    kubeconfig: Path | None,
    jwks: str | None,
    issuer: str | None,
    *,
    cluster_keys: bool,
    output: str,
) -> None:
    """Have a token checked by the API server (TokenReview), or by its issuer's keys alone.

    By keys alone, nobody is asked whether the account and what the token is bound to still exist; and the API server's
    audiences are taken to be its issuer's name and the usual ones.

    Exit status: 0 it is accepted, 1 it is refused (its signature, key, algorithm, issuer, time, audience or claims
    aren't right, or what it is bound to is gone), 2 it is no token that can be read, or nobody could be asked.
    """
    if jwks and cluster_keys:
        raise click.UsageError("--jwks and --cluster-keys are two places for the keys: give one")
    if issuer and not jwks:
        raise click.UsageError("--issuer goes with --jwks: a cluster is asked for its own")
    if given in _STDIN and jwks == STDIN:
        raise click.UsageError("token and keys can't both be standard input")
    text, found = _read_token(given)
    shown = PresentedToken(text, found, audiences, dt.datetime.now(dt.UTC))
    if jwks:
        result = verify_with_keys(shown, _issuer(jwks, issuer or ""))
    else:
        with cluster_at_hand(kubeconfig) as transport:
            result = (
                verify_with_keys(shown, published_issuer(transport)) if cluster_keys else _reviewed(transport, shown)
            )
    if output == "json":
        click.echo(safe_json(token_json.verification_text(result)).encode())
    else:
        for line in token_text.verification_lines(result):
            click.echo(line)
    sys.exit(0 if result.accepted else 1)


def _read_token(given: tuple[str, ...]) -> tuple[bytes, Token]:
    """Return a token as a whole, and what it says of itself. No failure quotes what was given."""
    if len(given) > 1:
        raise click.UsageError("give one token, with no word before it")
    text, hint = _text("".join(given) or STDIN)
    try:
        return text, parse_token(text)
    except TokenFormatError as error:
        raise Failure(f"this is no token that can be read: {error}{hint}") from None


def _text(given: str) -> tuple[bytes, str]:
    """Return what was given for a token, and what may have been meant where it is none."""
    if given == STDIN and sys.stdin.isatty():
        return click.prompt("Token (it isn't shown)", hide_input=True, err=True).encode(errors="replace"), ""
    if given == STDIN or given.startswith("@"):
        data = read_file(InputFile(given.removeprefix("@")), sys.stdin.buffer)
        if isinstance(data, InputProblem):
            raise Failure(f"{'standard input' if given == STDIN else 'the file after @'} can't be read: {data.message}")
        return data, ""
    click.echo(f"warning: {_TOLD}", err=True)
    return given.encode(errors="replace"), "; a file is given as @FILE"


def _issuer(jwks: str, name: str) -> Issuer:
    try:
        return Issuer(parse_jwks(bytes_in(jwks)), name)
    except JwksError as error:
        raise Failure(f"--jwks {jwks} {error}") from None


def _reviewed(transport: Transport, shown: PresentedToken) -> VerificationResult:
    """Ask the API server, and where it refuses and says little, look at its keys for the reasons."""
    answer = review(transport, shown.text, shown.audiences)
    issuer = None
    if not answer.authenticated:
        with contextlib.suppress(ApiError):  # whoever may review tokens may not be allowed to read this
            issuer = published_issuer(transport)
    return verify_by_review(shown, answer, issuer)
