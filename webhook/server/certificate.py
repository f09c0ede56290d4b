"""Which certificate is served (from the user's files, from a Secret, or made for this run), and who is known by his."""

import datetime as dt
import logging
from functools import partial
from pathlib import Path
from typing import Any

from webhook.pki.make import self_signed
from webhook.pki.read import certificates
from webhook.server.follow import Followed
from webhook.server.options import ServeOptions, StartError
from webhook.server.source import CertificateSource
from webhook.server.state import State
from webhook.server.tls import ServedPair

log = logging.getLogger("tokenguard")


def served_certificate(
    options: ServeOptions, state: State, counted: Any, folder: Path
) -> tuple[ServedPair, tuple[Followed, ...]]:
    """Load the certificate that is served, and return it together with the files it comes from.

    Those of the certificate come first, then those of the clients' CAs, if any are asked for. `counted` is told
    what was read and whether it was accepted; `folder` is private to the server. Raises `StartError` where there is no
    certificate, or no CA, to begin with.
    """
    if options.certificates:
        paths: tuple[Path, ...] = (_from_secret(options.certificates, state, folder),)
        names: tuple[str, ...] = (options.certificates.where,)
    else:
        paths = _files(options, folder)
        names = f"--tls-cert {paths[0]}", f"--tls-key {paths[1]}"
    client_ca = f"--client-ca {options.client_ca}" if options.client_ca else None
    pair = ServedPair(folder, *names, serves=state.serves, client_ca=client_ca)

    def refuse_to_start(why: str) -> None:
        if not all(one.loaded for one in followed):
            raise StartError(why)

    certificate = Followed(
        "certificate", paths, folder, pair.use, pair.restore, refuse_to_start, partial(counted, "certificate"),
        where=options.certificates.where if options.certificates else "",
        stands_in=lambda: state.waits_for_certificate,
    )  # fmt: skip
    followed = [certificate]
    if options.client_ca:
        followed.append(Followed(
            "client-ca", (options.client_ca,), folder, pair.trust, pair.restore_trust, refuse_to_start,
            partial(counted, "client-ca"),
        ))  # fmt: skip
    for one in followed:
        one.look()
    return pair, tuple(followed)


def _files(options: ServeOptions, folder: Path) -> tuple[Path, Path]:
    if options.tls_cert and options.tls_key:
        return options.tls_cert, options.tls_key
    made = self_signed(options.tls_san, dt.datetime.now(dt.UTC))
    files = {"tls.crt": made.certificate, "tls.key": made.key, "ca.crt": made.authority}
    for name, content in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    log.info("made a certificate for this run; clients trust it by its CA: curl --cacert %s", folder / "ca.crt")
    return folder / "tls.crt", folder / "tls.key"


def _from_secret(source: CertificateSource, state: State, folder: Path) -> Path:
    """Return the file that the source writes; until it does, it holds a certificate that nobody trusts.

    So the server can be asked what it waits for. No API server sends a review to it.
    """
    file = source.attach(folder, lambda: state.certificate.fingerprint if state.certificate else "")
    placeholder = self_signed((), dt.datetime.now(dt.UTC))
    file.touch(mode=0o600)
    file.write_bytes(placeholder.certificate + placeholder.key)
    log.info("certificate: a placeholder is served until %s has one", source.where)
    state.placeholder = certificates(placeholder.certificate)[0].fingerprint
    return file
