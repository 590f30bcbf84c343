"""Python's own client against the installed command: any protocol under TLS, and certificates that are replaced."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.serving import PATIENCE, SITES, Served, clean_environ, fetch
from tests.waiting import eventually

AGAIN = r".* INFO: the certificates were loaded again; new connections get them"
KEPT = r".* ERROR: the new certificates are not taken, the old ones stay: "


def test_any_protocol(serve: Serve, authority: Authority) -> None:
    cert = authority.issue("a", "a.test").both
    words = ["app", "echo", "--threads", "1", "--tls-cert", cert, "--plain-bind", "127.0.0.1:0"]
    sent = bytes(range(256)) * 4096
    with serve(*words) as server:
        assert [line.rpartition("   ")[2] for line in server.banner[1:3]] == ["(TLS)", "(without TLS)"]
        with server.shake_hands(authority.client()) as client:
            assert client.version() == "TLSv1.3"
            for start in range(0, len(sent), 65536):
                piece = sent[start : start + 65536]
                client.sendall(piece)
                received = b""
                while len(received) < len(piece):
                    received += client.recv(65536)
                assert received == piece
            client.unwrap().close()  # both sides say close_notify, or this raises
        host, _, port = server.places[1].rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE) as plain:
            plain.sendall(b"without")
            assert plain.recv(100) == b"without"


def test_a_strange_client_is_not_trusted(serve: Serve, authority: Authority) -> None:
    cert = authority.issue("a", "a.test").both
    failed = r".* INFO: 127\.0\.0\.1:\d+: the TLS handshake failed: .*unknown ca"
    with (
        serve("app", "echo", "--tls-cert", cert, says=[failed]) as server,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        server.shake_hands(ssl.create_default_context()).close()


# ---- certificates that are replaced ----


def shown(server: Served, authority: Authority) -> str:
    """The name that new connections see."""
    context = authority.client()
    context.check_hostname = False
    with server.shake_hands(context) as client:
        certificate = client.getpeercert()
    assert certificate is not None
    ((_, name),) = certificate["subjectAltName"]
    return str(name)


@contextlib.contextmanager
def kept_open(server: Served, authority: Authority) -> Iterator[http.client.HTTPConnection]:
    """A client whose one connection goes on all the time."""
    client = http.client.HTTPSConnection(*server.address, timeout=PATIENCE, context=_any_name(authority))
    with contextlib.closing(client):
        assert fetch(client, "GET", "/generated")[0] == 200
        port = client.sock.getsockname()[1]
        yield client
        assert fetch(client, "GET", "/generated")[0] == 200
        assert client.sock.getsockname()[1] == port


def _any_name(authority: Authority) -> ssl.SSLContext:
    context = authority.client()
    context.check_hostname = False
    return context


def test_a_hang_up_loads_them_again(serve: Serve, authority: Authority) -> None:
    cert = authority.issue("a", "old.test").both
    words = ["app", "http", "wsgi", "everything", "--tls-cert", cert, "--tls-check", "0"]
    says = [AGAIN, KEPT + ".*a.pem.*", AGAIN]
    with serve(*words, says=says) as server, kept_open(server, authority):
        assert shown(server, authority) == "old.test"
        authority.issue("a", "new.test")
        assert shown(server, authority) == "old.test"  # nobody looks (--tls-check 0)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_line("loaded again")
        assert shown(server, authority) == "new.test"
        Path(cert).write_text("a file that is being written")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_line("the old ones stay")
        assert shown(server, authority) == "new.test"
        authority.issue("a", "newest.test")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: shown(server, authority) == "newest.test")


def test_new_files_are_found(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    both = authority.issue("both", "old.test").both
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    # As certbot keeps them: links that are moved on to the newest files.
    cert.symlink_to(both)
    key.symlink_to(both)
    words = ["app", "http", "wsgi", "everything", "--tls-check", "10ms", "--tls-cert", str(cert), "--tls-key", str(key)]
    wrong = r"the private key \S+key.pem \(--tls-key\) does not belong to the certificate \S+cert.pem \(--tls-cert\)"
    said = [KEPT + wrong, AGAIN]
    with serve(*words, says=said) as server, kept_open(server, authority):
        assert shown(server, authority) == "old.test"
        fresh = authority.issue("fresh", "new.test").both
        _link(cert, fresh)  # and its key is not there yet
        # Each connection has the files looked at; one line, however many connections there are.
        eventually(lambda: shown(server, authority) == "old.test" and "the old ones stay" in "".join(server.lines))
        for _ in range(20):
            assert shown(server, authority) == "old.test"
        _link(key, fresh)
        eventually(lambda: shown(server, authority) == "new.test")


def _link(path: Path, target: str) -> None:
    fresh = path.with_suffix(".link")
    fresh.symlink_to(target)
    os.replace(fresh, path)


def test_no_request_fails_while_they_are_replaced(serve: Serve, authority: Authority) -> None:
    cert = authority.issue("a", "0.test").both
    words = ["app", "http", "wsgi", "everything", "--threads", "2", "--tls-cert", cert, "--tls-check", "1ms"]
    done = threading.Event()
    seen: list[str] = []
    answered: list[int] = []
    with serve(*words, says=None) as server, kept_open(server, authority) as client:

        def keep_coming() -> None:
            context = _any_name(authority)
            while not done.is_set():
                another = http.client.HTTPSConnection(*server.address, timeout=PATIENCE, context=context)
                with contextlib.closing(another):
                    answered.append(fetch(another, "GET", "/generated")[0])

        with ThreadPoolExecutor(3) as pool:
            crowd = [pool.submit(keep_coming) for _ in range(3)]
            try:
                for number in range(1, 6):
                    authority.issue("a", f"{number}.test")
                    server.process.send_signal(signal.SIGHUP)

                    def goes_on(number: int = number) -> bool:
                        assert fetch(client, "GET", "/generated")[0] == 200
                        seen.append(shown(server, authority))
                        return seen[-1] == f"{number}.test"

                    eventually(goes_on)
            finally:
                done.set()
        for one in crowd:
            one.result()
        assert not [line for line in server.said if "ERROR" in line or "failed" in line]
    assert seen == sorted(seen)
    assert set(answered) == {200}


# ---- how it starts ----


def test_without_openssl_everything_else_works(installed: Installed, authority: Authority) -> None:
    """A Python that was built without it: neither the import nor plain HTTP asks for it."""
    cert = authority.issue("a", "a.test").both
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
    done = subprocess.run(
        [installed.python, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        cwd=SITES,
        env=clean_environ(),
    )
    assert done.stdout == "http\n1\n"
    assert re.fullmatch(r"reserve: this Python was built without OpenSSL, and so without TLS: .*\n", done.stderr)
