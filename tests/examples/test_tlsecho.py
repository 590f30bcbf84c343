"""The TLS echo: who is served, and what a client is told about its certificate."""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Iterator, Sequence
from functools import cache

import pytest

from reserve.errors import StartupError
from reserve.examples.tlsecho import TLSEcho, launch, names
from reserve.loader.arguments import Arguments
from reserve.loader.find import find
from reserve.testing import RunningServer, running
from tests import tls
from tests.clients import receive, receive_all, until_closed
from tests.extras import library


@cache
def client_with(common_name: str) -> ssl.SSLContext:
    """A client whose certificate has this common name, and an e-mail address; empty: it has none."""
    context = tls.client_context()
    if common_name:
        files = tls.authority().issue(f"tlsecho-{common_name}", "ann@a.test", common_name=common_name)
        context.load_cert_chain(files.both)
    return context


@contextlib.contextmanager
def serving(verify: str = "required", allowed: Sequence[str] = ()) -> Iterator[RunningServer]:
    adapter = tls.adapter(client_cert=verify, client_ca=tls.authority().pem)
    with running(TLSEcho(allowed), wsgi=False, threads=1, ssl_adapter=adapter) as served:
        yield served


def head_of(client: ssl.SSLSocket) -> list[str]:
    """The lines about the certificate."""
    head = b""
    while not head.endswith(b"\n\n"):
        head += receive(client, 1)
    return head.decode().splitlines()[:-1]


def test_a_client_with_a_certificate_is_told_its_names_and_gets_an_echo() -> None:
    with serving() as served, served.connect() as sock, tls.wrap_client(sock, context=client_with("änn")) as client:
        lines = head_of(client)
        assert lines[0] == "protocol: TLSv1.3"
        assert "Email: ann@a.test" in lines
        (subject,) = (line for line in lines if line.startswith("subject: "))
        assert "CN=änn" in subject
        assert any(line.startswith("issuer: ") for line in lines)
        for data in b"hello", b"x" * 16384:
            client.sendall(data)
            assert receive(client, len(data)) == data


def test_without_a_certificate_there_is_no_connection() -> None:
    def handshake_and_receive(served: RunningServer) -> None:
        with served.connect() as sock, tls.wrap_client(sock, context=client_with("")) as client:
            client.recv(1)

    with serving() as served, pytest.raises(ssl.SSLError, match=r"(?i)certificate.required|handshake failure"):
        handshake_and_receive(served)


def test_a_client_that_is_not_checked_is_refused() -> None:
    with serving("optional") as served, served.connect() as sock:
        client = tls.wrap_client(sock, context=client_with(""))
        with client:
            assert receive_all(client) == (
                b"refused: there is no client certificate; start the server with --tls-client-cert required\n"
            )


def test_only_the_names_that_are_allowed_are_served() -> None:
    with serving(allowed=["ann", "änn"]) as served:
        for name in "ann", "änn":
            with served.connect() as sock, tls.wrap_client(sock, context=client_with(name)) as client:
                assert head_of(client)
        with served.connect() as sock, tls.wrap_client(sock, context=client_with("bob")) as client:
            received, _ = until_closed(client)
            assert received == b"refused: bob is not among those that --allow names\n"


def test_without_tls_the_client_is_told_so() -> None:
    with running(TLSEcho(), wsgi=False, threads=1) as served:
        assert served.exchange(b"") == (b"refused: this connection has no TLS; start the server with --tls-cert\n")


def test_idle_clients_need_no_thread() -> None:
    with serving() as served, contextlib.ExitStack() as stack:
        clients = []
        for _ in range(20):
            sock = stack.enter_context(served.connect())
            clients.append(stack.enter_context(tls.wrap_client(sock, context=client_with("ann"))))
        for client in clients:
            head_of(client)
            client.sendall(b"a")
        for client in clients:
            assert receive(client, 1) == b"a"


def test_what_a_certificate_does_not_have_is_not_shown() -> None:
    assert names({"SSL_PROTOCOL": "TLSv1.3", "SSL_CLIENT_SAN_DNS_0": "a", "SSL_CLIENT_SAN_DNS_1": "b"}) == [
        ("protocol", "TLSv1.3"), ("DNS", "a"), ("DNS", "b"),
    ]  # fmt: skip


def test_names_that_cannot_be_read_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(StartupError, match=r"--allow needs .* pip install 'reserve\[tls\]'"):
        launch(["reserve tlsecho", "--allow", "ann"])
    launch(["reserve tlsecho"])


def test_the_arguments() -> None:
    library("cryptography")
    application = find("tlsecho")
    handle = application.launch(Arguments(["reserve tlsecho", "--allow", "ann,bob"]))
    assert isinstance(handle, TLSEcho)
    assert handle._allowed == {"ann", "bob"}
    with pytest.raises(SystemExit):
        launch(["reserve tlsecho", "loud"])
