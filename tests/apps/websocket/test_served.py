"""WebSocket handlers of each form on a real server: messages, closes, threads, limits, deadlines and the stop."""

from __future__ import annotations

import contextlib
import resource
import selectors
import threading
import zlib
from collections.abc import Generator, Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, cast

import pytest

import reserve
from reserve.apps._accesslog.log import AccessLog, Record
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Hooks
from reserve.errors import ReserveError
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import FakeClock, RunningServer, running
from tests import tls
from tests.apps.http.responses import receive, request
from tests.apps.websocket.client import ACCEPT, KEY, Client, client, opening
from tests.clients import receive_all
from tests.extras import library
from tests.protocol.websocket.autobahn import CASES
from tests.protocol.websocket.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, close, codes, frame
from tests.waiting import PATIENCE, eventually

library("websockets")
sync_client = library("websockets.sync.client")

from reserve.apps.websocket.routes import EVERY_PATH, WebSocketRoutes  # noqa: E402
from reserve.apps.websocket.websocket import ConnectionClosed, WebSocket  # noqa: E402


def echo_on_its_thread(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def echo_at_yield(ws: WebSocket) -> Generator[None, Any, None]:
    while True:
        ws.send((yield))


class EchoEvents:
    def on_message(self, ws: WebSocket, message: Any) -> None:
        ws.send(message)


FORMS: dict[str, Any] = {
    "thread": echo_on_its_thread,
    "generator": echo_at_yield,
    "class": EchoEvents,
    "object": EchoEvents(),
}
each_form = pytest.mark.parametrize("handler", FORMS.values(), ids=FORMS)
each_transport = pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])


def respond(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"page {environ['PATH_INFO']}".encode()]


@contextlib.contextmanager
def serving(
    routes: Any, log: list[str] | None = None, *, secure: bool = False, http: Any = None, **options: Any
) -> Iterator[RunningServer]:
    """A server of WebSocket handlers: one for every path, or several by path.

    :param http: settings of the HTTP application, by name.
    """
    lines = log if log is not None else []
    app = HTTPApp(WSGIGateway(respond), HTTPSettings(**{"access_log": False, **(http or {})}))
    app.upgrades = WebSocketRoutes(routes if isinstance(routes, dict) else {EVERY_PATH: routes})
    hooks = Hooks(error_log=lambda level, text: lines.append(text))
    adapter = tls.adapter() if secure else None
    with running(app, hooks=hooks, ssl_adapter=adapter, **{"threads": 2, **options}) as server:
        yield server
    if log is None:
        assert lines == []


# ---- messages ----


@each_form
def test_the_cases_of_autobahn(handler: Any) -> None:
    with serving(handler, http={"ws_max_message": 1048576}, max_output=4194304) as server:
        for case in CASES:
            with client(server) as ws:
                ws.open()
                sender = threading.Thread(target=_send_all, args=(ws, case.sent))
                sender.start()
                received = []
                with contextlib.suppress(EOFError, ConnectionResetError):
                    while True:
                        received.append(ws.frame())
                sender.join()
                assert codes(received) == case.received, case.name
        eventually(lambda: server.server.stats().connections == 0)


def _send_all(ws: Client, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the server has closed meanwhile
        ws.sock.sendall(data)


@each_transport
@each_form
@pytest.mark.parametrize("compression", ["deflate", None])
def test_a_library_as_the_client(handler: Any, secure: bool, compression: str | None) -> None:
    with serving(handler, secure=secure) as server:
        url = f"{'wss' if secure else 'ws'}://localhost:{server.address[1]}/"
        context = tls.client_context() if secure else None
        sock = server.connect(PATIENCE)
        with sync_client.connect(url, sock=sock, ssl=context, compression=compression) as ws:
            for message in "hello", "gr\u00fcn" * 50000, b"\0\1\2" * 50000, "", b"":
                ws.send(message)
                assert ws.recv(timeout=PATIENCE) == message
            ws.send(["frag", "ment", "ed"])
            assert ws.recv(timeout=PATIENCE) == "fragmented"
            assert ws.ping().wait(PATIENCE)
            assert bool(ws.protocol.extensions) == (compression is not None)
        assert ws.close_code == 1000


@each_form
def test_messages_right_after_the_request(handler: Any) -> None:
    with serving(handler) as server, client(server) as ws:
        ws.open(then=frame(TEXT, b"early", fin=False))
        ws.sock.sendall(frame(CONT, b" and late"))
        assert ws.recv() == "early and late"


@each_form
def test_many_messages_at_once_keep_their_order(handler: Any) -> None:
    with serving(handler) as server, client(server) as ws:
        ws.open()
        ws.sock.sendall(b"".join(frame(TEXT, b"%d" % number) for number in range(1000)))
        assert [ws.recv() for _ in range(1000)] == [str(number) for number in range(1000)]


def test_what_a_handler_sees() -> None:
    seen: SimpleQueue[Any] = SimpleQueue()

    class Events:
        subprotocols = ("two", "one")

        def on_open(self, ws: WebSocket) -> None:
            seen.put((ws.path, ws.subprotocol, ws.environ["QUERY_STRING"], ws.is_open, ws.close_code))
            ws.send("welcome")

        def on_message(self, ws: WebSocket, message: Any) -> None:
            seen.put(message)

        def on_close(self, ws: WebSocket) -> None:
            seen.put((ws.is_open, ws.close_code, ws.close_reason))

    with serving({"/gr\u00fcn": Events}) as server, client(server) as ws:
        ws.open("/gr%C3%BCn?a=b", "Sec-WebSocket-Protocol: one, two")
        assert b"\r\nSec-WebSocket-Protocol: two\r\n" in ws.head
        assert ws.recv() == "welcome"
        ws.sock.sendall(frame(BINARY, b"data") + frame(TEXT, b"text") + close(3001, b"enough"))
        assert ws.closed() == 3001
        assert ws.at_end()
        assert [seen.get(timeout=PATIENCE) for _ in range(4)] == [
            ("/gr\u00fcn", "two", "a=b", True, None),
            b"data",
            "text",
            (False, 3001, "enough"),
        ]
    assert seen.empty()


def ends_at_once(ws: WebSocket) -> None:
    ws.send("bye")


def ends_after_one(ws: WebSocket) -> Generator[None, Any, None]:
    ws.send("hello")
    yield
    ws.send("bye")


def closes(ws: WebSocket) -> None:
    ws.send("bye")
    ws.close(4321, "of my own")
    ws.close(1000)
    with pytest.raises(ConnectionClosed):
        ws.send("late")


@pytest.mark.parametrize(
    ("handler", "texts", "code"),
    [(ends_at_once, ["bye"], 1000), (ends_after_one, ["hello", "bye"], 1000), (closes, ["bye"], 4321)],
)
def test_the_handler_closes(handler: Any, texts: list[str], code: int) -> None:
    with serving(handler) as server, client(server) as ws:
        ws.open()
        ws.send("anything")
        assert [ws.recv() for _ in texts] == texts
        assert ws.closed() == code
        ws.sock.sendall(close(code))
        assert ws.at_end()


@pytest.mark.parametrize("form", ["thread", "generator", "class"])
def test_an_exception_of_the_handler_closes_with_1011_and_is_logged(form: str) -> None:
    def fail(ws: WebSocket, message: Any = None) -> None:
        raise LookupError("a fault of the handler")

    def generator(ws: WebSocket) -> Generator[None, Any, None]:
        yield
        fail(ws)

    handlers = {
        "thread": lambda ws: fail(ws, ws.recv()),
        "generator": generator,
        "class": SimpleNamespace(on_message=fail),
    }
    log: list[str] = []
    with serving(handlers[form], log) as server:
        for _ in range(3):
            with client(server) as ws:
                ws.open()
                ws.send("anything")
                assert ws.closed() == 1011
                assert ws.at_end()
        assert server.exchange(request("GET", "/page", "Connection: close")).endswith(b"page /page")
    assert any("LookupError: a fault of the handler" in line for line in log)


def test_a_class_that_cannot_be_instantiated_is_one_traceback() -> None:
    class Broken(EchoEvents):
        def __init__(self) -> None:
            raise LookupError("a fault of the handler")

        def on_close(self, ws: WebSocket) -> None:
            raise AssertionError("there is no handler")

    log: list[str] = []
    with serving(Broken, log) as server, client(server) as ws:
        ws.open()
        assert ws.closed() == 1011
        assert ws.at_end()
    assert "LookupError: a fault of the handler" in log[0]
    assert [text for text in log if "Traceback" in text] == log[:1]


def test_a_handler_that_parks_cannot_wait_for_a_message() -> None:
    log: list[str] = []
    with serving(SimpleNamespace(on_message=lambda ws, message: ws.recv()), log) as server, client(server) as ws:
        ws.open()
        ws.send("anything")
        assert ws.closed() == 1011
    assert any("on_message(ws, message) or from yield" in line for line in log)


def test_recv_with_a_timeout() -> None:
    def handle(ws: WebSocket) -> None:
        with pytest.raises(TimeoutError):
            ws.recv(0)
        ws.send("none")
        ws.send(ws.recv(PATIENCE))
        with pytest.raises(ConnectionClosed):
            ws.recv()
        ended.set()

    ended = threading.Event()
    with serving(handle) as server, client(server) as ws:
        ws.open()
        assert ws.recv() == "none"
        ws.send("one")
        assert ws.recv() == "one"
        ws.sock.sendall(close(1000))
        assert ended.wait(PATIENCE)


@each_form
def test_any_thread_may_send(handler: Any) -> None:
    everyone: list[WebSocket] = []
    opened = threading.Semaphore(0)

    class Room:
        def on_open(self, ws: WebSocket) -> None:
            everyone.append(ws)
            opened.release()

        def on_message(self, ws: WebSocket, message: Any) -> None:
            for other in everyone:
                other.send(message)

    def on_its_thread(ws: WebSocket) -> None:
        everyone.append(ws)
        opened.release()
        for message in ws:
            for other in everyone:
                other.send(message)

    room = on_its_thread if handler is echo_on_its_thread else Room
    with serving(room) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(server)).open() for _ in range(5)]
        for _ in clients:
            assert opened.acquire(timeout=PATIENCE)
        clients[0].send("to all")
        assert [ws.recv() for ws in clients] == ["to all"] * 5
        senders = [
            threading.Thread(target=lambda ws=ws, n=n: [ws.send(f"{n} {i}") for i in range(100)], name="sender")
            for n in range(3)
            for ws in everyone
        ]
        for sender in senders:
            sender.start()
        for ws in clients:
            texts = [ws.recv() for _ in range(300)]
            for n in range(3):
                assert [text for text in texts if text.startswith(f"{n} ")] == [f"{n} {i}" for i in range(100)]
        for sender in senders:
            sender.join()


# ---- the handshake ----


@pytest.mark.parametrize(
    ("raw", "status", "text"),
    [
        (opening(method="POST"), 405, b"\r\nAllow: GET\r\n"),
        (opening("/", "Content-Length: 1") + b"x", 400, b"no body"),
        (opening().replace(b"Version: 13", b"Version: 8"), 426, b"\r\nSec-WebSocket-Version: 13\r\n"),
        (opening().replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426, b"\r\nSec-WebSocket-Version: 13\r\n"),
        (opening().replace(KEY.encode() + b"\r\n", b""), 400, b"Sec-WebSocket-Key"),
        (opening().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl"), 400, b"Sec-WebSocket-Key"),
        (opening().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25j!Q=="), 400, b"Sec-WebSocket-Key"),
        (opening("/", "Origin: https://evil.test"), 403, b"--ws-origins"),
        (opening("/", "Origin: null"), 403, b"--ws-origins"),
        (opening().replace(b"Upgrade: websocket", b"Upgrade: h2c"), 200, b"page /"),
        (opening().replace(b"keep-alive, Upgrade", b"keep-alive"), 200, b"page /"),
    ],
)
def test_a_handshake_that_is_refused(raw: bytes, status: int, text: bytes) -> None:
    log: list[str] = []
    with serving(echo_at_yield, log) as server, client(server) as ws:
        ws.sock.sendall(raw)
        ws.sock.sendall(request("GET", "/page", "Connection: close"))
        received = receive_all(ws.sock)
        assert received.startswith(b"HTTP/1.1 %d " % status)
        assert text in received
        assert b"Sec-WebSocket-Accept" not in received
        assert received.endswith(b"page /page") or b"\r\nConnection: close\r\n" in received


def test_its_head_has_the_limits_of_http() -> None:
    log: list[str] = []
    clock = FakeClock()
    with serving(echo_at_yield, log, clock=clock) as server, client(server) as slow:
        slow.sock.sendall(opening()[:50])
        eventually(lambda: server.server.stats().parked == 1)
        with client(server) as malformed:
            malformed.sock.sendall(opening().replace(b"Upgrade: websocket\r\n", b"Upgrade : websocket\r\n"))
            assert receive_all(malformed.sock).startswith(b"HTTP/1.1 400 ")
        clock.advance(11)
        assert receive_all(slow.sock).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ("same", None, True),
        ("same", "http://a.test", True),
        ("same", "https://A.test:443", True),
        ("same", "http://a.test:8000", False),
        ("same", "http://b.test", False),
        ("any", "http://b.test", True),
        ("https://b.test, https://c.test", "https://c.test", True),
        ("https://b.test, https://c.test", "http://c.test", False),
        ("https://b.test", "http://a.test", False),
    ],
)
def test_origins(origins: str, origin: str | None, allowed: bool) -> None:
    lines = [] if origin is None else [f"Origin: {origin}"]
    raw = opening("/", *lines)
    host = next(line for line in raw.split(b"\r\n") if line.lower().startswith(b"host:"))
    raw = raw.replace(host, b"Host: a.test")
    with serving(echo_at_yield, http={"ws_origins": origins}) as server, client(server) as ws:
        ws.sock.sendall(raw)
        assert ws.sock.recv(100).startswith(b"HTTP/1.1 101 " if allowed else b"HTTP/1.1 403 ")


def test_websockets_and_a_wsgi_application_on_one_port() -> None:
    binds = reserve.listen("127.0.0.1:0")
    routes = {"/chat": echo_at_yield, "/other": echo_on_its_thread}
    with reserve.ReserveWSGIServer(binds, respond, threads=1, websockets=routes, root_path="/site") as server:
        served = RunningServer(server)
        for path in "/chat", "/site/chat", "/site/other", "/other":
            with client(served) as ws:
                ws.open(path)
                ws.send(path)
                assert ws.recv() == path
        assert served.exchange(request("GET", "/site/chat", "Connection: close")).endswith(b"page /chat")
        for path in "/else", "/chat/", "/site":
            raw = opening(path).replace(b"keep-alive", b"close")
            assert b"\r\n\r\npage " in served.exchange(raw)


# ---- threads ----


def test_handlers_with_threads_do_not_count_as_workers_and_have_a_limit() -> None:
    log: list[str] = []
    with serving(echo_on_its_thread, log, threads=1, max_upgraded=3) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(server)).open() for _ in range(3)]
        stats = server.server.stats()
        assert (stats.threads, stats.upgraded) == (1, 3)
        address = clients[0].sock.getsockname()
        assert stats.upgraded_threads[0].startswith("reserve-upgraded-")
        assert stats.upgraded_threads[0].endswith(f" from 127.0.0.1:{address[1]}")
        refused = server.exchange(opening().replace(b"keep-alive", b"close"))
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refused
        assert server.exchange(request("GET", "/page", "Connection: close")).endswith(b"page /page")
        clients[0].sock.sendall(close(1000))
        assert clients[0].closed() == 1000
        eventually(lambda: server.server.stats().upgraded == 2)
        stack.enter_context(client(server)).open()


@pytest.mark.parametrize(("handler", "most"), [(echo_at_yield, 5000), (EchoEvents, 500)], ids=["generator", "class"])
def test_idle_websockets_are_parked_on_no_thread(handler: Any, most: int) -> None:
    """On 4 threads, as many as the descriptors allow: two for each in this process."""
    count = max(50, min(most, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2))
    # Without pings: on a busy machine the test takes longer than their interval.
    with serving(handler, threads=4, http={"ws_ping": 0.0}) as server, contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            ws = stack.enter_context(client(server))
            ws.sock.sendall(opening())
            clients.append(ws)
        for ws in clients:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                data = ws.sock.recv(65536)
                assert data
                head += data
            assert ACCEPT in head
        eventually(lambda: server.server.stats().parked == count)
        stats = server.server.stats()
        assert (stats.threads, stats.busy, stats.upgraded) == (4, 0, 0)
        for number, ws in enumerate(clients):
            ws.send(f"message {number}")
        assert all(ws.recv() == f"message {number}" for number, ws in enumerate(clients))
        server.server.request_stop(PATIENCE)
        for ws in clients:
            assert ws.closed() == 1001
            ws.sock.sendall(close(1001))


# ---- slow and silent clients ----


def opened(server: RunningServer, stack: contextlib.ExitStack, **options: Any) -> Client:
    ws = stack.enter_context(client(server, **options)).open()
    ws.sock.sendall(frame(PING, b"ready"))
    assert ws.frame() == (PONG, b"ready")
    return ws


@each_form
def test_a_message_that_comes_too_slowly_closes_with_1008(handler: Any) -> None:
    clock = FakeClock()
    http = {"body_timeout": 20.0, "body_rate": 500, "ws_ping": 0.0}
    with serving(handler, clock=clock, http=http) as server, contextlib.ExitStack() as stack:
        slow, fragmented, fast = (opened(server, stack) for _ in range(3))
        slow.sock.sendall(frame(TEXT, b"*" * 1000)[:10])
        fragmented.sock.sendall(frame(TEXT, b"*", fin=False))
        fast.sock.sendall(frame(TEXT, b"*" * 20000)[:15000])
        # A ping of the same client cannot be sent within a frame, so the server's memory tells that all has come.
        eventually(lambda: server.server.stats().buffered >= 14990)
        eventually(lambda: server.server.stats().parked == 3)
        clock.advance(25)
        assert (slow.closed(), fragmented.closed()) == (1008, 1008)
        fast.sock.sendall(frame(TEXT, b"*" * 20000)[15000:])
        assert fast.recv() == "*" * 20000


@pytest.mark.parametrize("form", ["thread", "generator"])
def test_the_time_of_the_handler_does_not_count_against_the_client(form: str) -> None:
    begun, release = threading.Semaphore(0), threading.Semaphore(0)

    def slowly(ws: WebSocket, message: Any) -> None:
        begun.release()
        assert release.acquire(timeout=PATIENCE)
        ws.send(message)

    def on_its_thread(ws: WebSocket) -> None:
        for message in ws:
            slowly(ws, message)

    def at_yield(ws: WebSocket) -> Generator[None, Any, None]:
        while True:
            slowly(ws, (yield))

    clock = FakeClock()
    handler = on_its_thread if form == "thread" else at_yield
    with serving(handler, clock=clock) as server, client(server) as ws:
        second = frame(TEXT, b"second")
        ws.open(then=frame(TEXT, b"first") + second[:3])
        assert begun.acquire(timeout=PATIENCE)
        eventually(lambda: form == "generator" or server.server.stats().parked == 1)
        clock.advance(100)
        release.release()
        assert ws.recv() == "first"
        eventually(lambda: server.server.stats().parked == 1)
        ws.sock.sendall(second[3:])
        release.release()
        assert ws.recv() == "second"


@each_form
def test_a_silent_client_is_pinged_and_then_closed_with_1011(handler: Any) -> None:
    clock = FakeClock()
    http = {"ws_ping": 20.0, "ws_pong_timeout": 10.0}
    with serving(handler, clock=clock, http=http) as server, contextlib.ExitStack() as stack:
        ws = opened(server, stack)
        for _ in range(3):
            eventually(lambda: server.server.stats().parked == 1)
            clock.advance(20)
            assert ws.frame() == (PING, b"")
            ws.sock.sendall(frame(PONG) + frame(PING, b"and"))
            assert ws.frame() == (PONG, b"and")
        eventually(lambda: server.server.stats().parked == 1)
        clock.advance(20)
        assert ws.frame() == (PING, b"")
        eventually(lambda: server.server.stats().parked == 1)
        clock.advance(10)
        assert ws.closed() == 1011
        assert ws.at_end()


def test_a_client_that_does_not_close_is_closed() -> None:
    clock = FakeClock()
    with serving(ends_at_once, clock=clock) as server, client(server) as ws:
        ws.open()
        assert ws.recv() == "bye"
        assert ws.closed() == 1000
        eventually(lambda: server.server.stats().parked == 1)
        clock.advance(10)
        assert ws.at_end()


def test_a_client_that_sends_without_end_in_place_of_its_close_is_closed() -> None:
    """Its connection is never empty, so that the server never waits for it."""
    clock = FakeClock()
    with serving(ends_at_once, clock=clock) as server, client(server) as ws:
        ws.open()
        assert ws.recv() == "bye"
        assert ws.closed() == 1000
        ended = threading.Event()

        def send() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    ws.sock.sendall(frame(PONG) * 20000)
            ended.set()

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        try:
            eventually(lambda: clock.advance(1) or ended.is_set())
        finally:
            ws.sock.close()
            sender.join(PATIENCE)


@each_form
def test_a_client_that_goes_away_without_a_close_frame(handler: Any) -> None:
    ended: SimpleQueue[int | None] = SimpleQueue()

    class Events(EchoEvents):
        def on_close(self, ws: WebSocket) -> None:
            ended.put(ws.close_code)

    def on_its_thread(ws: WebSocket) -> None:
        echo_on_its_thread(ws)
        ended.put(ws.close_code)

    def at_yield(ws: WebSocket) -> Generator[None, Any, None]:
        try:
            yield from echo_at_yield(ws)
        finally:
            ended.put(ws.close_code)

    chosen = {echo_on_its_thread: on_its_thread, echo_at_yield: at_yield}.get(handler, Events)
    with serving(chosen) as server:
        with client(server) as ws:
            ws.open()
            ws.send("x")
            assert ws.recv() == "x"
        assert ended.get(timeout=PATIENCE) == 1006
        eventually(lambda: server.server.stats().connections == 0)


def test_a_client_that_does_not_read_is_not_waited_for_by_a_handler_that_parks() -> None:
    raised: SimpleQueue[BaseException] = SimpleQueue()

    def on_message(ws: WebSocket, message: Any) -> None:
        try:
            for _ in range(100000):
                ws.send(b"*" * 65536)
        except ReserveError as error:
            raised.put(error)

    log: list[str] = []
    clock = FakeClock()
    handler = SimpleNamespace(on_message=on_message)
    with serving(handler, log, clock=clock, threads=1) as server, client(server, window=4096) as ws:
        ws.open()
        ws.send("go")
        assert "--max-output" in str(raised.get(timeout=PATIENCE))
        assert server.exchange(request("GET", "/page", "Connection: close")).endswith(b"page /page")
        eventually(lambda: server.server.stats().flushing == 1)
        clock.advance(31)  # --write-timeout
        eventually(lambda: server.server.stats().connections == 0)


def test_the_handshake_is_complete_before_the_handler_sends() -> None:
    release = threading.Event()
    handler = SimpleNamespace(
        on_open=lambda ws: release.wait(PATIENCE), on_message=lambda ws, message: ws.send(message)
    )
    with serving(handler) as server, client(server) as ws:
        ws.open()
        ws.send("early")
        release.set()
        assert ws.recv() == "early"


def test_a_handler_with_a_thread_waits_for_its_client() -> None:
    def handle(ws: WebSocket) -> None:
        for number in range(100):
            ws.send(number.to_bytes(2, "big") * 50000)

    with serving(handle, max_output=200000) as server, client(server, window=4096) as ws:
        ws.open()
        for number in range(100):
            assert ws.frame() == (BINARY, number.to_bytes(2, "big") * 50000)
        assert ws.closed() == 1000


def test_a_handler_with_a_thread_receives_no_more_than_it_takes() -> None:
    taken = threading.Semaphore(0)

    def handle(ws: WebSocket) -> None:
        ws.send("ready")
        taken.acquire(timeout=PATIENCE)
        for message in ws:
            ws.send(str(len(message)))

    with serving(handle) as server, client(server) as ws:
        ws.open()
        assert ws.recv() == "ready"
        sender = threading.Thread(target=_send_all, args=(ws, frame(BINARY, b"*" * 100000) * 200), name="sender")
        sender.start()
        eventually(lambda: 100000 <= server.server.stats().buffered < 400000 and server.server.stats().parked == 1)
        taken.release()
        assert [ws.recv() for _ in range(200)] == ["100000"] * 200
        sender.join()


@pytest.mark.parametrize("form", ["thread", "class"])
def test_messages_that_wait_for_a_handler_count_as_memory(form: str) -> None:
    release = threading.Event()

    def wait(ws: WebSocket) -> None:
        release.wait(PATIENCE)
        for message in ws:
            ws.send(message)

    def on_message(ws: WebSocket, message: Any) -> None:
        release.wait(PATIENCE)
        ws.send(str(len(message)))

    handler = wait if form == "thread" else SimpleNamespace(on_message=on_message)
    limit = 1048576
    deflate = zlib.compressobj(wbits=-15)
    message = deflate.compress(bytes(400000)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    with (
        serving(handler, [], threads=1, buffer_memory=limit) as server,
        contextlib.ExitStack() as stack,
        selectors.DefaultSelector() as refused,
    ):
        clients = [
            stack.enter_context(client(server)).open("/", "Sec-WebSocket-Extensions: permessage-deflate")
            for _ in range(5)
        ]
        for ws in clients:
            ws.sock.sendall(frame(BINARY, message[:-4], rsv=4))
        for ws in clients:
            refused.register(ws.sock, selectors.EVENT_READ, ws)
        seen = set()
        while len(seen) < 2:
            ready = refused.select(PATIENCE)
            assert ready
            for key, _ in ready:
                assert key.data.closed() == 1013
                refused.unregister(key.fileobj)
                seen.add(key.data)
        assert server.server.stats().buffered <= limit
        release.set()
        eventually(lambda: server.server.stats().buffered == 0)


def test_idle_websockets_make_room_for_new_clients() -> None:
    log: list[str] = []
    with serving(echo_at_yield, log, max_connections=3) as server, contextlib.ExitStack() as stack:
        clients = [opened(server, stack) for _ in range(3)]
        eventually(lambda: server.server.stats().parked == 3)
        late = stack.enter_context(client(server))
        late.sock.sendall(opening())
        assert clients[0].closed() == 1001
        clients[0].sock.close()
        assert late.sock.recv(65536).startswith(b"HTTP/1.1 101 ")


# ---- the stop, and the log ----


@each_transport
@each_form
def test_a_stop_closes_with_1001(handler: Any, secure: bool) -> None:
    with serving(handler, secure=secure) as server, client(server, secure=secure) as ws:
        ws.open()
        ws.send("x")
        assert ws.recv() == "x"
        server.server.request_stop(PATIENCE)
        assert ws.closed() == 1001
        ws.sock.sendall(close(1001))
        assert ws.at_end()
        server.server.stop()
    assert server.server.aborted == 0


@each_form
def test_at_the_deadline_of_a_stop_every_handler_ends(handler: Any) -> None:
    with serving(handler) as server, contextlib.ExitStack() as stack:
        for _ in range(10):
            opened(server, stack)
        server.server.stop(0)
        assert server.server.aborted == 0
        assert server.server.stats().upgraded == 0


def test_the_access_log_has_one_line_at_the_end_with_status_101() -> None:
    records: SimpleQueue[Record] = SimpleQueue()
    app = HTTPApp(WSGIGateway(respond), HTTPSettings(access_log=False))
    app.access_log = cast(AccessLog, SimpleNamespace(put=records.put, records=[], limit=0, stop=lambda: None))
    app.upgrades = WebSocketRoutes({"/": echo_at_yield})
    with running(app, threads=1) as server, client(server) as ws:
        ws.open("/", "User-Agent: me")
        ws.send("12345")
        assert ws.recv() == "12345"
        assert records.empty()
        ws.sock.sendall(close(1000))
        record = records.get(timeout=PATIENCE)
        assert (*record[2:7], record[8]) == ("GET", "/", "HTTP/1.1", 101, 7 + 4, "me")
        server.exchange(opening("/").replace(b"Version: 13", b"Version: 1").replace(b"keep-alive", b"close"))
        assert records.get(timeout=PATIENCE)[5] == 426


def test_a_close_frame_is_never_followed_by_a_message() -> None:
    """Another thread sends while the connection closes."""
    stop = threading.Event()

    def handle(ws: WebSocket) -> None:
        def send() -> None:
            with contextlib.suppress(ConnectionClosed):
                while not stop.is_set():
                    ws.send("x")

        sender = threading.Thread(target=send, name="sender")
        sender.start()
        ws.recv()
        ws.close(4000)
        sender.join()

    with serving(handle) as server, client(server) as ws:
        ws.open()
        ws.send("now")
        while (received := ws.frame())[0] == TEXT:
            pass
        assert codes([received]) == [(CLOSE, 4000)]
        ws.sock.sendall(close(4000))
        assert ws.at_end()
        stop.set()


def test_behind_a_trusted_proxy_each_websocket_is_a_connection_of_its_client() -> None:
    log: list[str] = []

    def held(server: RunningServer) -> Any:
        limit = server.server._runtime.clients.connections
        assert limit is not None
        return limit.holding()[0]

    options: Any = {"max_connections_per_client": 2, "trusted_proxies": "127.0.0.1"}
    first, second = "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"
    with serving(echo_at_yield, log, **options) as server, contextlib.ExitStack() as stack:
        mine = [stack.enter_context(client(server)).open("/", first) for _ in range(2)]
        refused = stack.enter_context(client(server))
        refused.sock.sendall(opening("/", first))
        assert receive(refused.sock).status == 429
        stack.enter_context(client(server)).open("/", second)
        page = stack.enter_context(client(server))
        page.sock.sendall(request("GET", "/", first))  # a request of any client: the connection is the proxy's
        assert receive(page.sock).status == 200
        page.sock.sendall(opening("/", first, "Sec-WebSocket-Version: 1", method="POST"))
        assert receive(page.sock).status >= 400
        assert held(server) == {"192.0.2.1": 2, "192.0.2.2": 1}
        mine[0].sock.close()
        eventually(lambda: held(server) == {"192.0.2.1": 1, "192.0.2.2": 1})
        late = stack.enter_context(client(server))
        late.sock.sendall(opening("/", first, method="POST"))  # one that is refused for another reason holds no place
        assert receive(late.sock).status >= 400
        assert held(server) == {"192.0.2.1": 1, "192.0.2.2": 1}
        stack.enter_context(client(server)).open("/", first)
        server.server.stop(0)
        assert held(server) == {}
    assert "--max-connections-per-client" in log[0]
