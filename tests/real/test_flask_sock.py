"""flask-sock and simple-websocket, unchanged, with reserve: with their own client, with ``websockets``' and with a real
browser, over TLS, too.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.gateways.upgradedsocket import SOCKET_KEYS
from reserve.testing import RunningServer, running
from tests import tls
from tests.extras import library
from tests.real.webdriver import Browser
from tests.waiting import PATIENCE, eventually

flask = library("flask")
flask_sock = library("flask_sock")
simple_websocket = library("simple_websocket")
client = library("websockets.sync.client")

PAGE = """<!doctype html><title>sock</title><p id="log"></p><script>
const log = document.getElementById("log");
const socket = new WebSocket(location.href.replace("http", "ws") + "echo");
socket.binaryType = "arraybuffer";
socket.onopen = () => socket.send("grün");
socket.onmessage = (event) => {
  if (typeof event.data === "string") { log.textContent += event.data + ";"; socket.send(new Uint8Array(70000)); }
  else { log.textContent += event.data.byteLength + ";"; socket.close(1000, "bye"); }
};
socket.onclose = (event) => { log.textContent += "closed " + event.code; };
</script>"""


def site(ping_interval: float | None = None, keys: tuple[str, ...] = SOCKET_KEYS) -> Any:
    """A Flask application; its sockets see only these keys of the environ."""
    app = flask.Flask("site")
    app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": ping_interval}
    sock = flask_sock.Sock(app)

    @app.route("/")
    def index() -> str:
        return PAGE

    @sock.route("/echo")
    def echo(ws: Any) -> None:
        while True:
            ws.send(ws.receive())

    @sock.route("/leave")
    def leave(ws: Any) -> None:
        ws.send(ws.receive())

    def reduced(environ: Any, start_response: Any) -> Any:
        for key in set(SOCKET_KEYS) - set(keys):
            environ.pop(key, None)
        return app(environ, start_response)

    return reduced


@contextlib.contextmanager
def serving(app: Any, secure: bool = False) -> Iterator[tuple[RunningServer, Callable[[str], Any]]]:
    """A server, and a function that connects a client to one of its paths."""
    with running(app, threads=2, ssl_adapter=tls.adapter() if secure else None) as server:

        def connect(path: str) -> Any:
            url = f"{'wss' if secure else 'ws'}://localhost:{server.address[1]}{path}"
            sock = server.connect(PATIENCE)
            context: ssl.SSLContext | None = tls.client_context() if secure else None
            return client.connect(url, sock=sock, ssl=context, open_timeout=PATIENCE, close_timeout=PATIENCE)

        yield server, connect


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("ping_interval", [None, 25.0])
@pytest.mark.parametrize("key", ["werkzeug.socket", "gunicorn.socket"])
def test_each_name_of_the_socket_works(key: str, ping_interval: float | None, secure: bool) -> None:
    with serving(site(ping_interval, (key,)), secure) as (server, connect):
        with connect("/echo") as ws:
            for message in "hello", b"\0" * 70000, "g\u00fcn" * 1000:
                ws.send(message)
                assert ws.recv(timeout=PATIENCE) == message
        assert ws.close_code == 1000
        eventually(lambda: server.server.stats().upgraded == 0)


@pytest.mark.parametrize("secure", [False, True])
def test_the_application_closes(secure: bool) -> None:
    with serving(site(), secure) as (_, connect), connect("/leave") as ws:
        ws.send("last")
        assert ws.recv(timeout=PATIENCE) == "last"
        with pytest.raises(library("websockets.exceptions").ConnectionClosedOK):
            ws.recv(timeout=PATIENCE)
        assert ws.close_code == 1000


def test_simple_websocket_alone_with_its_own_client() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        ws = simple_websocket.Server(environ, subprotocols=["two"])
        ws.send(ws.receive())
        ws.close(3000, "enough")
        return []

    with running(app, threads=1) as server:
        ws = simple_websocket.Client(server.url.replace("http", "ws") + "/", subprotocols=["one", "two"])
        assert ws.subprotocol == "two"
        ws.send("hello")
        assert ws.receive(timeout=PATIENCE) == "hello"
        with pytest.raises(simple_websocket.ConnectionClosed) as closed:
            ws.receive(timeout=PATIENCE)
        assert (closed.value.reason, closed.value.message) == (3000, "enough")
        ws.thread.join(PATIENCE)


def test_many_clients_of_few_threads() -> None:
    with serving(site()) as (server, connect), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect("/echo")) for _ in range(20)]
        for number, ws in enumerate(clients):
            ws.send(f"message {number}")
        assert [ws.recv(timeout=PATIENCE) for ws in clients] == [f"message {number}" for number in range(20)]
        assert server.server.stats().upgraded == 20


def test_a_stop_ends_every_socket() -> None:
    with serving(site()) as (server, connect):
        ws = connect("/echo").__enter__()
        ws.send("hello")
        assert ws.recv(timeout=PATIENCE) == "hello"
        server.server.stop(0)
        assert server.server.aborted == 0
        with pytest.raises(library("websockets.exceptions").ConnectionClosed):
            ws.recv(timeout=PATIENCE)
        ws.close()
    eventually(lambda: not any("simple_websocket" in thread.name for thread in threading.enumerate()))


@pytest.mark.peer
@pytest.mark.parametrize("secure", [False, True])
def test_a_browser(secure: bool, require_peer: Callable[[str], str], tmp_path: Path) -> None:
    drivers = require_peer("chromedriver"), require_peer("chromium")
    with serving(site(25.0), secure) as (server, _):
        flags = ["--ignore-certificate-errors"] if secure else []
        with Browser(*drivers, tmp_path / "profile", flags=flags) as browser:
            browser.go(server.url + "/")
            eventually(lambda: "closed" in browser.text("#log"))
            assert browser.text("#log") == "grün;70000;closed 1000"
