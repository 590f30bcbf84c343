"""``--max-connections-per-client``: one client cannot take the connections of the others, however its own end.

The clients connect from 127.0.0.1, .2, .3 and so on, which are different ones.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.engine.connections.application import Application
from reserve.engine.drivers.handler import Park
from reserve.engine.server import Hooks
from reserve.testing import FakeClock, RunningServer, running
from tests import tls
from tests.apps.http.doubles import hello
from tests.apps.http.responses import receive, request
from tests.clients import close_with_reset, until_closed
from tests.protocol.proxy.headers import LOCAL, UNSPEC, addresses, v2
from tests.waiting import PATIENCE, eventually

NOTHING = ({}, 0)


class Site:
    """A server whose clients may have two connections each."""

    def __init__(self, served: RunningServer, log: list[str], clock: FakeClock, stack: contextlib.ExitStack) -> None:
        self.server, self.log, self.clock = served.server, log, clock
        self._address, self._stack = served.address, stack

    def connect(self, host: str = "127.0.0.1", sent: bytes = b"") -> socket.socket:
        if isinstance(self._address, str):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE)
            client.connect(self._address)
        else:
            client = socket.create_connection(self._address, PATIENCE, source_address=(host, 0))
        self._stack.enter_context(client)
        if sent:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is closed already
                client.sendall(sent)
        return client

    def serves(self, client: socket.socket, raw: bytes = b"") -> bool:
        """The server responds with 200; False: it has closed the connection, without a byte."""
        try:
            client.sendall(raw or request())
            if not isinstance(client, ssl.SSLSocket) and client.recv(1, socket.MSG_PEEK) == b"":
                return False
        except (BrokenPipeError, ConnectionResetError):
            return False
        return receive(client).status == 200

    def refuses(self, client: socket.socket) -> bool:
        """The server has closed the connection, without a byte."""
        return until_closed(client)[0] == b""

    def holding(self) -> Any:
        limit = self.server._runtime.clients.connections
        assert limit is not None
        return limit.holding()

    def wait_empty(self) -> None:
        eventually(lambda: self.server.stats().connections == 0 and self.holding() == NOTHING)


@contextlib.contextmanager
def serving(app: Any = hello, **options: Any) -> Iterator[Site]:
    log: list[str] = []
    hooks = Hooks(error_log=lambda level, text: log.append(text))
    options = {"max_connections_per_client": 2, "threads": 2, "hooks": hooks, **options}
    clock = FakeClock()
    with running(app, clock=clock, **options) as served, contextlib.ExitStack() as stack:
        yield Site(served, log, clock, stack)


def test_a_client_with_too_many_is_closed_at_once_and_others_are_served() -> None:
    with serving() as site:
        mine = [site.connect() for _ in range(2)]
        assert all(site.serves(client) for client in mine)
        assert all(site.refuses(site.connect()) for _ in range(20))
        assert site.serves(site.connect("127.0.0.2"))
        assert all(site.serves(client) for client in mine)
        assert site.server.stats().client_connections_refused == 20
        assert site.holding() == ({"127.0.0.1": 2, "127.0.0.2": 1}, 0)
        eventually(lambda: site.log)
        assert len(site.log) == 1
        assert "--max-connections-per-client" in site.log[0]
        assert "127.0.0.1" in site.log[0]


def close(site: Site, client: socket.socket) -> None:
    client.close()


def reset(site: Site, client: socket.socket) -> None:
    close_with_reset(client)


def refused(site: Site, client: socket.socket) -> None:
    client.sendall(b"nonsense\r\n\r\n")
    until_closed(client)
    client.close()


def last_response(site: Site, client: socket.socket) -> None:
    client.sendall(request("GET", "/", "Connection: close"))
    until_closed(client)
    client.close()


def head_timeout(site: Site, client: socket.socket) -> None:
    client.sendall(b"GET / HT")
    eventually(lambda: site.server.stats().parked)
    site.clock.advance(11)
    until_closed(client)
    client.close()


def keep_alive(site: Site, client: socket.socket) -> None:
    assert site.serves(client)
    eventually(lambda: site.server.stats().parked)
    site.clock.advance(16)
    until_closed(client)


@pytest.mark.parametrize("end", [close, reset, refused, last_response, head_timeout, keep_alive])
def test_however_a_connection_ends_its_place_is_free_again(end: Any) -> None:
    with serving(max_connections_per_client=1) as site:
        for _ in range(3):
            client = site.connect()
            eventually(lambda: site.server.stats().connections == 1)
            end(site, client)
            site.wait_empty()
        assert site.serves(site.connect())


def test_a_client_that_has_seen_the_end_of_one_may_have_the_next() -> None:
    with serving(max_connections_per_client=1) as site:
        for _ in range(100):
            client = site.connect(sent=request("GET", "/", "Connection: close"))
            assert until_closed(client)[0].startswith(b"HTTP/1.1 200 ")
        assert site.server.stats().client_connections_refused == 0


def test_handlers_count_while_they_run_and_while_they_are_parked_and_not_what_they_detach() -> None:
    detached: list[socket.socket] = []

    def handle(sock: Any, address: Any, server: Any) -> Any:
        data = sock.recv(10)
        if data == b"take":
            detached.append(server.detach(sock))
            return None
        if not data or data == b"fail":
            raise ValueError
        sock.sendall(data)
        return Park(handle)

    with serving(handle, wsgi=False, max_connections_per_client=1) as site:
        client = site.connect(sent=b"hello")
        assert client.recv(10) == b"hello"
        eventually(lambda: site.server.stats().parked)
        assert site.refuses(site.connect())
        client.sendall(b"fail")
        until_closed(client)
        site.wait_empty()
        other = site.connect(sent=b"take")
        eventually(lambda: detached)
        site.wait_empty()
        third = site.connect(sent=b"hello")
        assert third.recv(10) == b"hello"
        detached[0].close()
        assert until_closed(other) == (b"", False)
        assert site.holding()[0] == {"127.0.0.1": 1}


def test_with_tls_it_is_closed_before_the_handshake() -> None:
    with serving(ssl_adapter=tls.adapter(), max_connections_per_client=1) as site:
        client = tls.wrap_client(site.connect())
        with client:
            assert site.serves(client)
            assert site.refuses(site.connect())
            assert site.serves(client)


def test_unlimited_clients_and_trusted_proxies_are_not_counted() -> None:
    options = {"unlimited_clients": "127.0.0.2,127.0.1.0/24", "trusted_proxies": "127.0.0.3"}
    with serving(max_connections_per_client=1, **options) as site:
        for host in ("127.0.0.2", "127.0.1.9", "127.0.0.3"):
            assert all(site.serves(client) for client in [site.connect(host) for _ in range(4)])
        assert site.holding() == NOTHING
        assert site.serves(site.connect())
        assert site.refuses(site.connect())


@pytest.mark.parametrize("option", ["", "unlimited_clients", "trusted_proxies"])
def test_peers_on_a_unix_socket_are_one_client_unless_they_are_named(short_path: Path, option: str) -> None:
    more = {option: "unix"} if option else {}
    with serving(address=f"unix:{short_path}/s", max_connections_per_client=1, **more) as site:
        first = site.connect()
        assert site.serves(first)
        assert site.serves(site.connect()) is bool(option)


def test_after_a_header_of_the_proxy_protocol_the_client_counts() -> None:
    def client(number: int) -> bytes:
        return b"PROXY TCP4 192.0.2.%d 127.0.0.1 50000 80\r\n" % number

    six = [v2(addresses(f"2001:db8::{number}", "2001:db8::ffff"), family=0x21) for number in range(1, 4)]
    with serving(proxy_protocol="any", trusted_proxies="127.0.0.1,192.0.2.77") as site:
        for number in (1, 1, 2, 77, 77, 77):
            assert site.serves(site.connect(sent=client(number)))
        assert site.refuses(site.connect(sent=client(1)))
        assert all(site.serves(site.connect(sent=v2(command=LOCAL))) for _ in range(4))  # health checks
        assert [site.serves(site.connect(sent=header)) for header in six] == [True, True, False]
        hidden = v2(b"", family=UNSPEC)
        assert [site.serves(site.connect(sent=hidden)) for _ in range(3)] == [True, True, False]
        assert site.holding()[0] == {"192.0.2.1": 2, "192.0.2.2": 1, "2001:db8::/64": 2, "127.0.0.1": 2}


def test_a_driver_that_cannot_be_made_holds_no_place() -> None:
    class Failing(Application):
        def make_driver(self, connection: Any) -> Any:
            raise ValueError

    with serving(Failing(), max_connections_per_client=1) as site:
        for _ in range(3):
            assert site.refuses(site.connect())
        eventually(lambda: site.holding() == NOTHING)
        assert site.server.stats().client_connections_refused == 0


def test_a_stop_returns_every_place() -> None:
    with serving() as site:
        clients = [site.connect(f"127.0.0.{number}") for number in range(1, 9)]
        assert all(site.serves(client) for client in clients)
        site.server.stop()
        assert site.holding() == NOTHING
