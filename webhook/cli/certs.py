"""The `certs` commands: status, rotation and creation of certificates."""

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from webhook.atomic_write import OWNER_ONLY, WORLD_READABLE, FileContent, replace_files
from webhook.cli.common import (
    NAMESPACE,
    NAMESPACED_NAME,
    POSITIVE_DAYS,
    cluster_options,
    connected,
    own_namespace_option,
    qualified_name,
)
from webhook.cluster.certificates.rotation_request import rotate
from webhook.cluster.certificates.status import read_full_status, read_status
from webhook.cluster.certificates.tls_secret import TlsSecret
from webhook.cluster.transport import ApiError, Transport
from webhook.core.cluster_state import DEFAULT_NAMESPACE
from webhook.core.formatting import failure_text, plain
from webhook.pki.generate_files import generate_files
from webhook.pki.san import service_names
from webhook.pki.tls_probe import ProbeError, fetch_chain

_F = TypeVar("_F", bound=Callable[..., Any])
_PROBLEM = "  <-- problem"


def _secret_options(command: _F) -> _F:
    """Add the options that select cluster and Secret."""
    secret = click.option(
        "--tls-secret", envvar="TOKENGUARD_TLS_SECRET", show_envvar=True, type=NAMESPACED_NAME,
        default="tokenguard-tls", help="Secret with the certificates.",
    )  # fmt: skip
    return secret(own_namespace_option(cluster_options(command)))


@click.group("certs")
def command() -> None:
    """Check, rotate or create certificates."""


@command.command("status")
@_secret_options
@click.option("--connect", metavar="HOST:PORT", help="Also check the certificate that this server presents.")
def print_status(
    tls_secret: str, own_namespace: str, kubeconfig: Path | None, context: str | None, connect: str | None
) -> int:
    """Show the certificates, and whether webhooks trust them.

    Shows issuer, names and validity, whether the webhook configurations trust the certificate, and how many pods serve
    it.

    Exit status: 0 no problem; 1 a problem, or no pod is ready to serve the certificate; 2 the API server or the server
    of --connect cannot be reached.
    """
    secret = TlsSecret(qualified_name(tls_secret, own_namespace))
    try:
        chain = fetch_chain(connect) if connect else ()
    except ProbeError as error:
        raise click.ClickException(f"--connect {connect}: {error}") from error
    with connected(kubeconfig, context) as transport:
        status = read_full_status(transport, secret)
        now = transport.now()
    lines = list(status.lines(now))
    if connect:
        lines += status.lines_about(connect, chain, now)
    for line in lines:
        click.echo(f"{line.text}{_PROBLEM if line.is_problem else ''}")
    return int(any(line.is_problem for line in lines))


@command.command("rotate")
@_secret_options
@click.option("--ca", is_flag=True, help="Replace the CA, too. Reviews go on.")
@click.option("--timeout", type=click.IntRange(min=0), default=900, metavar="SECONDS",
              help="Seconds to wait until the rotation is complete; 0: don't wait.")  # fmt: skip
def start_rotation(
    tls_secret: str, own_namespace: str, kubeconfig: Path | None, context: str | None, *, ca: bool, timeout: int
) -> None:
    """Renew the certificate or the CA now.

    A CA that cannot sign, because it has expired or its key is lost, is always replaced.

    With --ca, waits until the old CA is removed from the webhook configurations: the replicas sign a new certificate 20
    seconds after the configurations contain the new CA, and remove the old CA 45 seconds later. Checks that it is gone.
    """
    secret = TlsSecret(qualified_name(tls_secret, own_namespace))
    with connected(kubeconfig, context) as transport:
        started = rotate(transport, secret, ca=ca)
        click.echo(started.text)
        if timeout:
            _wait(transport, secret, timeout, started.revoked)


def _wait(transport: Transport, secret: TlsSecret, timeout: int, revoked: frozenset[str]) -> None:
    deadline = time.monotonic() + timeout
    shown = ""
    while True:
        try:
            status = read_status(transport, secret)
            pending = status.pending_step
        except ApiError as error:  # it may be unavailable for a moment
            pending = str(error)
        if not pending:
            if revoked & status.trusted_cas:
                raise click.ClickException(
                    f"an old CA is still trusted: {secret} was replaced during the rotation; run "
                    "'tokenguard certs rotate --ca' again"
                )
            click.echo(f"done: {status.rollout}")
            return
        if pending != shown:
            click.echo(f"in progress: {pending}")
            shown = pending
        if time.monotonic() >= deadline:
            raise click.ClickException(
                f"not complete after {timeout} seconds ({pending}); the replicas go on, see 'tokenguard certs status'"
            )
        time.sleep(1)


@command.command("generate")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(),
              metavar="FOLDER", help="Folder for the files; created if missing.")  # fmt: skip
@click.option("--namespace", type=NAMESPACE, default=DEFAULT_NAMESPACE,
              help="Namespace of the Service.")  # fmt: skip
@click.option("--tls-san", "names", multiple=True, metavar="NAME",
              help="Additional DNS name or IP address. May be repeated.")  # fmt: skip
@click.option("--days", type=POSITIVE_DAYS, default=365, metavar="DAYS",
              help="Validity of the certificate in days.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite an existing certificate and key.")
def generate(out: Path, namespace: str, names: tuple[str, ...], days: int, *, force: bool) -> None:
    """Create certificate files for the Service.

    Writes tls.crt and tls.key, ca.crt and ca.key (keep ca.key offline), and ca-bundle.yaml, a patch with the CA for
    both webhook configurations. If the folder already contains a CA, that CA signs the new certificate, and the webhook
    configurations need no change.
    """
    try:
        existing = {name: (out / name).read_bytes() for name in ("ca.crt", "ca.key") if (out / name).exists()}
        present = [name for name in ("tls.crt", "tls.key") if (out / name).exists()]
        if present and not force:
            raise click.ClickException(f"{out / present[0]} already exists; use --force to overwrite it")
        now = dt.datetime.now(dt.UTC)
        contents = generate_files(existing, (*service_names(namespace), *names), now, days)
        files = {
            out / name: FileContent([content], OWNER_ONLY if name.endswith(".key") else WORLD_READABLE)
            for name, content in contents.items()
        }
        out.mkdir(parents=True, exist_ok=True)
        replace_files(files)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename2 or error.filename or out}: {failure_text(error)}") from error
    for path in files:
        click.echo(f"wrote {plain(str(path))}")
