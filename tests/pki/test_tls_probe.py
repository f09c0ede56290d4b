"""The chain that a server sends, and the errors if it sends none."""

import contextlib
import socket
import ssl
import threading

import pytest
from click.testing import CliRunner

from tests.pki.foreign import cases
from webhook.cli import main
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


def test_the_whole_chain_is_returned_the_servers_own_certificate_first(tmp_path) -> None:
    case = cases()["intermediate that is sent"]
    (tmp_path / "pair").write_bytes(case.served + case.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair")
    with answering(lambda connection: context.wrap_socket(connection, server_side=True).close()) as address:
        assert [one.pem for one in fetch_chain(address)] == [one.pem for one in parse_certificates(case.served)]


def test_a_server_that_speaks_no_tls_is_told() -> None:
    with (
        answering(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address,
        pytest.raises(ProbeError, match="TLS handshake failed: "),
    ):
        fetch_chain(address)


@pytest.mark.parametrize(("address", "why"), [
    ("foo", "write HOST:PORT, as 127.0.0.1:8443 or "),
    ("foo:https", "write HOST:PORT"),
    ("foo:70000", "write HOST:PORT"),
    ("127.0.0.1:1", "Connection refused"),
    (f"{'x' * 70}.example.com:1", "idna"),
])  # fmt: skip
def test_what_is_no_address_of_a_server_is_told(address, why) -> None:
    with pytest.raises(ProbeError) as caught:
        fetch_chain(address)
    assert why in str(caught.value)


def test_certs_status_says_so_before_it_asks_a_cluster() -> None:
    done = CliRunner().invoke(main, ["certs", "status", "--connect", "foo", "--kubeconfig", "/no/such/file"])
    assert (done.exit_code, done.output) == (
        2, "Error: --connect foo: write HOST:PORT, as 127.0.0.1:8443 or [::1]:8443\n",
    )  # fmt: skip
