"""The certificate and key of the server, and the CAs of known clients. New ones are used without a restart."""

import datetime as dt
import logging
import ssl
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from webhook.pki.certificate import describe_pair, find_pair_error, parse_certificates
from webhook.pki.issue import create_self_signed
from webhook.pki.san import service_names
from webhook.server.background import CertificateSource
from webhook.server.file_watcher import RejectedError, WatchedFiles
from webhook.server.options import ServeOptions, StartError
from webhook.server.state import State

log = logging.getLogger("tokenguard")
CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: keys of each connection's own, and AEAD. TLS 1.3 has nothing else."""
_OPTIONS = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
"""In addition to Python's own: no compression, and the server chooses the cipher.

No session is resumed: the key to all tickets would live as long as the process, and clients of a CA that is no longer
known could go on. The API server keeps its connections, and asks for none.
"""


def server_context(*, asks_clients: bool = False) -> ssl.SSLContext:
    """Return a server's context without a certificate: TLS 1.2 or newer, HTTP/1.1.

    With `asks_clients` a client may send a certificate, which has to be valid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= _OPTIONS
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    if asks_clients:
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


class ServingCertificate:
    """A context for all connections; each new connection gets the current certificate, key and client CAs."""

    def __init__(
        self,
        folder: Path,
        state: State,
        sources: Sequence[str],
        client_ca: Path | None = None,
        placeholder: bytes | None = None,
    ) -> None:
        """`folder` is private: a pair can be loaded from a file only. `sources` are one or two, for error messages.

        `placeholder` is a pair that no API server trusts, to serve while a certificate is awaited.
        """
        self._folder = folder
        self._state = state
        self._sources = sources
        self._client_ca = client_ca
        self._placeholder = placeholder
        self._pair = self._authorities = b""
        self.context = self._current = server_context(asks_clients=client_ca is not None)
        self.context.sni_callback = self._choose

    def use_pair(self, *contents: bytes) -> bytes:
        """Serve a certificate chain and its key (PEM); return both, joined. Raises `RejectedError` or `OSError`."""
        pair = b"\n".join(contents)
        try:
            self._current = self._load(pair, self._authorities)
        except (ssl.SSLError, ValueError) as error:
            raise RejectedError(self._pair_error(contents[0], contents[-1], error)) from error
        self._pair = pair
        for certificate in parse_certificates(pair)[:1]:
            self._state.awaits_certificate = pair == self._placeholder
            self._state.certificate = None if self._state.awaits_certificate else certificate
        return pair

    def use_client_ca(self, content: bytes) -> bytes:
        """Verify clients by these CAs (PEM); return the CAs that were read. Raises `RejectedError` or `OSError`."""
        authorities = b"".join(certificate.pem for certificate in parse_certificates(content))
        if not authorities:
            raise RejectedError(f"--client-ca {self._client_ca}: no certificate in PEM format")
        self._current = self._load(self._pair, authorities)
        self._authorities = authorities
        return authorities

    def _load(self, pair: bytes, authorities: bytes) -> ssl.SSLContext:
        context = server_context(asks_clients=self._client_ca is not None)
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            file.write(pair)
            file.flush()
            context.load_cert_chain(file.name, password=_no_password)
        if authorities:
            context.load_verify_locations(cadata=authorities.decode())
        return context

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Set the current context of a new connection; OpenSSL also calls this for clients without a server name.

        A pair is never loaded into a context in use: a handshake could find half of it. OpenSSL takes from the first
        context whether to ask for a client certificate, and from this one its CAs.
        """
        connection.context = self._current

    def _pair_error(self, certificate: bytes, key: bytes, error: Exception) -> str:
        """Return which of the two is wrong; OpenSSL's own reasons name neither."""
        sources = self._sources[0], self._sources[-1]
        reason = str(getattr(error, "reason", None) or "unknown reason").replace("_", " ").lower()
        return find_pair_error(certificate, key, *sources) or f"{describe_pair(*sources)} can't be used: {reason}"


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def load_certificate(
    options: ServeOptions,
    certificates: CertificateSource | None,
    state: State,
    folder: Path,
    count: Callable[[str, bool], None],
) -> tuple[ServingCertificate, list[WatchedFiles]]:
    """Load certificate, key and client CAs; return them and the files to watch.

    `certificates` is the source, unless the options name files. `folder` and `count` are as for `config_checks`. Raises
    `StartError` if there is no certificate, or no CA, to begin with.
    """
    source, placeholder = "", None
    if certificates:
        placeholder = b"".join(_self_signed(())[:2])
        source = certificates.where
        log.info("certificate: serving a placeholder until %s contains one", source)
        paths, sources = [certificates.file], [source]
        _write(paths[0], placeholder)
    else:
        paths = _files(options, folder)
        sources = [f"--tls-cert {paths[0]}", f"--tls-key {paths[1]}"]
    serving = ServingCertificate(folder, state, sources, options.client_ca, placeholder)

    def fail_start(_name: str, reason: str) -> None:
        if not all(file.is_loaded for file in files):
            raise StartError(reason)

    watch = partial(WatchedFiles, folder=folder, count=count, on_error=fail_start)
    files = [
        watch("certificate", paths, serving.use_pair, source=source, is_placeholder=lambda: state.awaits_certificate)
    ]
    if options.client_ca:
        files.append(watch("client-ca", [options.client_ca], serving.use_client_ca))
    for file in files:
        file.check()
    return serving, files


def _files(options: ServeOptions, folder: Path) -> list[Path]:
    if options.tls_cert and options.tls_key:
        return [options.tls_cert, options.tls_key]
    paths = [folder / name for name in ("tls.crt", "tls.key", "ca.crt")]
    for path, content in zip(
        paths, _self_signed((*service_names(options.own_namespace), *options.tls_san)), strict=True
    ):
        _write(path, content)
    log.info("created a self-signed certificate; clients verify it with its CA: curl --cacert %s", paths[2])
    return paths[:2]


def _self_signed(names: Sequence[str]) -> tuple[bytes, bytes, bytes]:
    made = create_self_signed(names, dt.datetime.now(dt.UTC))
    return made.certificate, made.key, made.authority


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
