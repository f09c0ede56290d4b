"""The chain that a server presents, and the errors if it presents none."""

import contextlib
import socket
import ssl
import threading

import pytest

from tests.pki.foreign import cases
from webhook.pki.certificate import parse_certificates
from webhook.pki.tls_probe import ProbeError, fetch_chain


@contextlib.contextmanager
def answering(answer):
    """Run `answer` with the first connection, and give the address."""

    def answer_one() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_one)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_fetch_chain_returns_the_whole_chain_leaf_first(tmp_path) -> None:
    case = cases()["intermediate that is sent"]
    (tmp_path / "pair").write_bytes(case.served + case.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair")
    with answering(lambda connection: context.wrap_socket(connection, server_side=True).close()) as address:
        assert [certificate.pem for certificate in fetch_chain(address)] == [
            certificate.pem for certificate in parse_certificates(case.served)
        ]


def test_server_without_tls_raises_probe_error() -> None:
    with (
        answering(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address,
        pytest.raises(ProbeError, match="TLS handshake failed: "),
    ):
        fetch_chain(address)


@pytest.mark.parametrize(("address", "why"), [
    ("foo", "'foo' is not HOST:PORT, like 127.0.0.1:8443 or "),
    ("foo:https", "is not HOST:PORT"),
    ("foo:70000", "is not HOST:PORT"),
    ("127.0.0.1:1", "Connection refused"),
    (f"{'x' * 70}.example.com:1", "idna"),
])  # fmt: skip
def test_invalid_address_raises_probe_error(address, why) -> None:
    with pytest.raises(ProbeError) as caught:
        fetch_chain(address)
    assert why in str(caught.value)
