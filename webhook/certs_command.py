"""The `certs` commands: how an installation's certificates stand, a renewal before its time, certificates by hand."""

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from webhook.atomic_write import OWN, READABLE, Content, replace_files
from webhook.cluster.certificates.rotate import RotationError, rotate
from webhook.cluster.certificates.secret import TlsSecret
from webhook.cluster.certificates.status import read_status
from webhook.cluster.transport import ApiError, Transport
from webhook.commands import NAMESPACED_NAME, Failure, cluster_at_hand, kubeconfig_option
from webhook.core.text import plain
from webhook.pki.generate_files import generate_files
from webhook.pki.san import service_names
from webhook.pki.tls_probe import ProbeError, fetch_chain

_F = TypeVar("_F", bound=Callable[..., Any])
_AMISS = "  <-- amiss"


def _where(command: _F) -> _F:
    """Give a command the flags that say which cluster and which Secret."""
    secret = click.option(
        "--tls-secret", envvar="TOKENGUARD_TLS_SECRET", show_envvar=True, show_default=True, type=NAMESPACED_NAME,
        default="tokenguard/tokenguard-tls", help="Where the certificates are kept.",
    )  # fmt: skip
    return kubeconfig_option(secret(command))


@click.group("certs")
def certs_group() -> None:
    """Look at the certificates of an installation, renew them before their time, or make them by hand."""


@certs_group.command("status")
@_where
@click.option("--connect", metavar="HOST:PORT", help="Ask a server, too, which certificate it serves.")
def certs_status(kubeconfig: Path | None, tls_secret: str, connect: str | None) -> None:
    """Show issuer, names and days left, whether the webhook configurations trust it, and which replica serves it.

    Exit status: 0 all is well, 1 something is amiss, 2 it can't be found out.
    """
    secret = TlsSecret(tls_secret)
    try:
        chain = fetch_chain(connect) if connect else ()
    except ProbeError as error:
        raise Failure(f"--connect {connect}: {error}") from error
    with cluster_at_hand(kubeconfig) as transport:
        status = read_status(transport, secret, _now())
    lines = list(status.lines(_now()))
    if connect:
        lines += status.lines_about(connect, chain, _now())
    for line in lines:
        click.echo(f"{line.text}{_AMISS if line.amiss else ''}")
    sys.exit(1 if any(line.amiss for line in lines) else 0)


@certs_group.command("rotate")
@_where
@click.option("--ca", "authority", is_flag=True, help="Replace the CA, too, in steps that no review notices.")
@click.option("--timeout", type=click.IntRange(min=0), default=900, show_default=True, metavar="SECONDS",
              help="How long to wait until it is over; 0: not at all.")  # fmt: skip
def certs_rotate(kubeconfig: Path | None, tls_secret: str, *, authority: bool, timeout: int) -> None:
    """Renew the certificate now, and wait until every replica serves it.

    With --ca the old CA stays trusted until the last replica serves a certificate of the new one.
    """
    secret = TlsSecret(tls_secret)
    with cluster_at_hand(kubeconfig) as transport:
        try:
            click.echo(rotate(transport, secret, _now(), authority=authority))
        except RotationError as error:
            raise Failure(str(error)) from error
        if timeout:
            _await(transport, secret, timeout)


def _await(transport: Transport, secret: TlsSecret, timeout: int) -> None:
    deadline = time.monotonic() + timeout
    told = ""
    while True:
        try:
            status = read_status(transport, secret, _now())
            why = status.under_way
        except ApiError as error:  # one that is away for a moment doesn't end it
            why = str(error)
        if not why:
            break
        if why != told:
            click.echo(f"under way: {why}")
            told = why
        if time.monotonic() >= deadline:
            raise Failure(f"after {timeout} seconds it is still under way ({why}): see 'tokenguard certs status'")
        time.sleep(1)
    click.echo(f"done: {status.arrived}")


@certs_group.command("generate")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(), show_default="here",
              metavar="FOLDER", help="Where to write the files.")  # fmt: skip
@click.option("--namespace", default="tokenguard", show_default=True, help="The namespace of the Service.")
@click.option("--tls-san", "names", multiple=True, metavar="NAME", help="One more name or address; repeatable.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True,
              help="How long the certificate is valid.")  # fmt: skip
@click.option("--force", is_flag=True, help="Write over a certificate and key that are there.")
def certs_generate(out: Path, namespace: str, names: tuple[str, ...], days: int, *, force: bool) -> None:
    """Make a certificate for the Service, and a CA where there is none yet, as files.

    Writes tls.crt and tls.key, ca.crt and ca.key (keep that one offline), and ca-bundle.yaml, a patch that has both
    webhook configurations trust the CA. A CA that is there already signs again, so that nobody's trust has to change.
    """
    try:
        held = {name: (out / name).read_bytes() for name in ("ca.crt", "ca.key") if (out / name).exists()}
        there = [name for name in ("tls.crt", "tls.key") if (out / name).exists()]
        if there and not force:
            raise Failure(f"{out / there[0]} is there already: give --force to write over it")
        made = generate_files(held, (*service_names(namespace), *names), _now(), days)
        files = {out / name: Content([made[name]], OWN if name.endswith(".key") else READABLE) for name in made}
        out.mkdir(parents=True, exist_ok=True)
        replace_files(files)
    except ValueError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"{error.filename2 or error.filename or out}: {error.strerror}") from error
    for path in files:
        click.echo(f"wrote {plain(str(path))}")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
