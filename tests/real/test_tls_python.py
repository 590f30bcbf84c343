"""Python's TLS client and the installed command: any protocol over TLS, and certificates that are replaced."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.processes import run
from tests.real.serving import SITES, ServerProcess, fetch
from tests.waiting import PATIENCE, eventually

RELOADED = r".* INFO: the certificates were loaded again; new connections get them"
NOT_RELOADED = r".* ERROR: the new certificates are not taken, the old ones stay: "


def test_any_protocol_is_served_with_and_without_tls(serve: Serve, authority: Authority, cert: str) -> None:
    arguments = ["app", "echo", "--threads", "1", "--tls-cert", cert, "--plain-bind", "127.0.0.1:0"]
    sent = bytes(range(256)) * 4096
    with serve(*arguments) as server:
        assert [line.rpartition("   ")[2] for line in server.banner[1:3]] == ["(TLS)", "(without TLS)"]
        with server.connect_tls(authority.client()) as client:
            assert client.version() == "TLSv1.3"
            for start in range(0, len(sent), 65536):
                piece = sent[start : start + 65536]
                client.sendall(piece)
                received = b""
                while len(received) < len(piece):
                    received += client.recv(65536)
                assert received == piece
            client.unwrap().close()  # raises unless both sides send close_notify
        host, _, port = server.addresses[1].rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE) as plain:
            plain.sendall(b"without")
            assert plain.recv(100) == b"without"


def test_a_client_that_does_not_trust_the_server_ends_the_handshake(serve: Serve, cert: str) -> None:
    failed = r".* INFO: 127\.0\.0\.1:\d+: the TLS handshake failed: .*unknown ca"
    with (
        serve("app", "echo", "--tls-cert", cert, log=[failed]) as server,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        server.connect_tls(ssl.create_default_context()).close()


# ---- certificates that are replaced ----


def any_name(authority: Authority) -> ssl.SSLContext:
    """The context of a client that accepts a certificate for any name."""
    context = authority.client()
    context.check_hostname = False
    return context


def certificate_name(server: ServerProcess, authority: Authority) -> str:
    """The name in the certificate that a new connection gets."""
    with server.connect_tls(any_name(authority)) as client:
        certificate = client.getpeercert()
    assert certificate is not None
    ((_, name),) = certificate["subjectAltName"]
    return str(name)


@contextlib.contextmanager
def kept_open(server: ServerProcess, authority: Authority) -> Iterator[http.client.HTTPConnection]:
    """A client whose only connection has to stay open while the block runs."""
    client = http.client.HTTPSConnection(*server.address, timeout=PATIENCE, context=any_name(authority))
    with contextlib.closing(client):
        assert fetch(client, "GET", "/generated")[0] == 200
        port = client.sock.getsockname()[1]
        yield client
        assert fetch(client, "GET", "/generated")[0] == 200
        assert client.sock.getsockname()[1] == port


def test_sighup_loads_the_certificates_again(serve: Serve, authority: Authority) -> None:
    cert = authority.issue("a", "old.test").both
    arguments = ["app", "http", "wsgi", "everything", "--tls-cert", cert, "--tls-check", "0"]
    with serve(*arguments, log=None) as server:
        assert certificate_name(server, authority) == "old.test"
        authority.issue("a", "new.test")
        assert certificate_name(server, authority) == "old.test"  # --tls-check 0: new files alone change nothing
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: certificate_name(server, authority) == "new.test")
        Path(cert).write_text("an incomplete file")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_line("the new version could not start")
        assert certificate_name(server, authority) == "new.test"
        authority.issue("a", "newest.test")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: certificate_name(server, authority) == "newest.test")


def test_new_files_are_loaded_when_clients_connect(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    old = authority.issue("both", "old.test").both
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    # certbot keeps symbolic links, which it replaces with links to the newest files.
    cert.symlink_to(old)
    key.symlink_to(old)
    files = ["--tls-cert", str(cert), "--tls-key", str(key)]
    wrong = r"the private key \S+key.pem \(--tls-key\) does not belong to the certificate \S+cert.pem \(--tls-cert\)"
    log = [NOT_RELOADED + wrong, RELOADED]
    with (
        serve("app", "http", "wsgi", "everything", "--tls-check", "10ms", *files, log=log) as server,
        kept_open(server, authority),
    ):
        assert certificate_name(server, authority) == "old.test"
        new = authority.issue("new", "new.test").both
        replace_link(cert, new)  # the new key is not there yet
        # Each connection starts a check of the files, but the log has one line for all of them.
        eventually(
            lambda: certificate_name(server, authority) == "old.test" and "the old ones stay" in "".join(server.stderr)
        )
        for _ in range(20):
            assert certificate_name(server, authority) == "old.test"
        replace_link(key, new)
        eventually(lambda: certificate_name(server, authority) == "new.test")


def replace_link(path: Path, target: str) -> None:
    link = path.with_suffix(".link")
    link.symlink_to(target)
    os.replace(link, path)


def test_no_request_fails_while_certificates_are_replaced(serve: Serve, authority: Authority) -> None:
    cert = authority.issue("a", "0.test").both
    arguments = ["app", "http", "wsgi", "everything", "--threads", "2", "--tls-cert", cert, "--tls-check", "1ms"]
    stopping = threading.Event()
    names: list[str] = []
    statuses: list[int] = []
    with serve(*arguments, log=None) as server, kept_open(server, authority) as client:

        def send_requests() -> None:
            context = any_name(authority)
            while not stopping.is_set():
                connection = http.client.HTTPSConnection(*server.address, timeout=PATIENCE, context=context)
                with contextlib.closing(connection):
                    statuses.append(fetch(connection, "GET", "/generated")[0])

        with ThreadPoolExecutor(3) as pool:
            senders = [pool.submit(send_requests) for _ in range(3)]
            try:
                for number in range(1, 6):
                    authority.issue("a", f"{number}.test")
                    server.process.send_signal(signal.SIGHUP)

                    def is_replaced(number: int = number) -> bool:
                        assert fetch(client, "GET", "/generated")[0] == 200
                        names.append(certificate_name(server, authority))
                        return names[-1] == f"{number}.test"

                    eventually(is_replaced)
            finally:
                stopping.set()
        for sender in senders:
            sender.result()
        assert not [line for line in server.log if "ERROR" in line or "failed" in line]
    assert names == sorted(names)
    assert set(statuses) == {200}


# ---- Python without OpenSSL ----


def test_plain_http_works_without_openssl(installed: Installed, cert: str) -> None:
    program = (
        "import sys\n"
        "sys.modules['ssl'] = sys.modules['_ssl'] = None\n"
        "import reserve, reserve.ssl, socket\n"
        "from reserve.errors import StartupError\n"
        "app = lambda environ, start: start('200 OK', []) and None or [environ['wsgi.url_scheme'].encode()]\n"
        "with reserve.ReserveWSGIServer(reserve.listen('127.0.0.1:0'), app, threads=1) as server:\n"
        "    with socket.create_connection(server.addresses[0], 20) as client:\n"
        "        client.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
        "        print(client.makefile('rb').read().rpartition(b'\\r\\n')[2].decode())\n"
        "from reserve.cli.command import main\n"
        f"print(main(['app', 'echo', '-b', '127.0.0.1:0', '--tls-cert', {cert!r}]))\n"
    )
    result = run([installed.python, "-c", program], text=True, cwd=SITES)
    assert result.stdout == "http\n1\n"
    assert re.fullmatch(r"reserve: this Python was built without OpenSSL, and so without TLS: .*\n", result.stderr)
