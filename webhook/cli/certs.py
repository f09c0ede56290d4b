"""The `certs` commands: status, rotation and creation of certificates."""

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from webhook.atomic_write import OWNER_ONLY, WORLD_READABLE, FileContent, replace_files
from webhook.cli.common import NAMESPACED_NAME, Failure, cluster_at_hand, kubeconfig_option
from webhook.cluster.certificates.rotation_request import RotationError, rotate
from webhook.cluster.certificates.status import read_status
from webhook.cluster.certificates.tls_secret import TlsSecret
from webhook.cluster.transport import ApiError, Transport
from webhook.core.formatting import plain
from webhook.pki.generate_files import generate_files
from webhook.pki.san import service_names
from webhook.pki.tls_probe import ProbeError, fetch_chain

_F = TypeVar("_F", bound=Callable[..., Any])
_PROBLEM = "  <-- problem"


def _where(command: _F) -> _F:
    """Add the options that select cluster and Secret."""
    secret = click.option(
        "--tls-secret", envvar="TOKENGUARD_TLS_SECRET", show_envvar=True, show_default=True, type=NAMESPACED_NAME,
        default="tokenguard/tokenguard-tls", help="Secret with the certificates.",
    )  # fmt: skip
    return kubeconfig_option(secret(command))


@click.group("certs")
def certs_group() -> None:
    """Check, rotate or create certificates."""


@certs_group.command("status")
@_where
@click.option("--connect", metavar="HOST:PORT", help="Also check the certificate that this server presents.")
def certs_status(kubeconfig: Path | None, tls_secret: str, connect: str | None) -> None:
    """Show certificates, who trusts and who serves them.

    Shows issuer, names and validity, whether the webhook configurations trust the certificate, and which replicas serve
    it.

    Exit status: 0 no problem, 1 a problem, 2 the API server or the server cannot be reached.
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
        click.echo(f"{line.text}{_PROBLEM if line.is_problem else ''}")
    sys.exit(1 if any(line.is_problem for line in lines) else 0)


@certs_group.command("rotate")
@_where
@click.option("--ca", is_flag=True, help="Replace the CA, too, without failing reviews.")
@click.option("--timeout", type=click.IntRange(min=0), default=900, show_default=True, metavar="SECONDS",
              help="How long to wait until the rotation is complete; 0: don't wait.")  # fmt: skip
def certs_rotate(kubeconfig: Path | None, tls_secret: str, *, ca: bool, timeout: int) -> None:
    """Renew the certificate now, or the CA.

    Waits until every replica serves the new certificate. With --ca, the old CA remains trusted until every replica
    serves a certificate of the new CA.
    """
    secret = TlsSecret(tls_secret)
    with cluster_at_hand(kubeconfig) as transport:
        try:
            click.echo(rotate(transport, secret, _now(), ca=ca))
        except RotationError as error:
            raise Failure(str(error)) from error
        if timeout:
            _await(transport, secret, timeout)


def _await(transport: Transport, secret: TlsSecret, timeout: int) -> None:
    deadline = time.monotonic() + timeout
    reported = ""
    while True:
        try:
            status = read_status(transport, secret, _now())
            pending = status.pending_step
        except ApiError as error:  # it may be unavailable for a moment
            pending = str(error)
        if not pending:
            break
        if pending != reported:
            click.echo(f"in progress: {pending}")
            reported = pending
        if time.monotonic() >= deadline:
            raise Failure(f"not complete after {timeout} seconds ({pending}); see 'tokenguard certs status'")
        time.sleep(1)
    click.echo(f"done: {status.rollout}")


@certs_group.command("generate")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(), show_default=True,
              metavar="FOLDER", help="Folder for the files.")  # fmt: skip
@click.option("--namespace", default="tokenguard", show_default=True, help="Namespace of the Service.")
@click.option("--tls-san", "names", multiple=True, metavar="NAME", help="Additional name or address; may be repeated.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True,
              help="Validity of the certificate in days.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite an existing certificate and key.")
def certs_generate(out: Path, namespace: str, names: tuple[str, ...], days: int, *, force: bool) -> None:
    """Create certificate files for the Service.

    Writes tls.crt and tls.key, ca.crt and ca.key (keep ca.key offline), and ca-bundle.yaml, a patch with the CA for
    both webhook configurations. An existing CA in the folder signs again, so the configurations need not change.
    """
    try:
        existing = {name: (out / name).read_bytes() for name in ("ca.crt", "ca.key") if (out / name).exists()}
        present = [name for name in ("tls.crt", "tls.key") if (out / name).exists()]
        if present and not force:
            raise Failure(f"{out / present[0]} already exists; use --force to overwrite it")
        made = generate_files(existing, (*service_names(namespace), *names), _now(), days)
        files = {
            out / name: FileContent([made[name]], OWNER_ONLY if name.endswith(".key") else WORLD_READABLE)
            for name in made
        }
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
