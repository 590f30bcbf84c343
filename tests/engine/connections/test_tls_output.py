"""Output through a session that blocks, and reads that have to send first, with the engine and HTTP on top."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import pytest

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.output import FilePart, Output
from reserve.errors import WantRead, WantWrite
from reserve.gateways.wsgi import WSGIGateway
from reserve.ssl.tlssocket import TLSSocket
from reserve.testing import FakeClock, MemorySocket
from tests.apps.http.responses import receive, request
from tests.engine.conftest import Serve
from tests.engine.sessions import ClearAdapter, ClearSession
from tests.waiting import PATIENCE

# ---- a piece that could not be sent is sent again, unchanged and before everything else ----


class Wire(MemorySocket):
    """A socket with unlimited room: only the session limits what is sent."""


def secured(decide: Callable[[str, int], int | None]) -> tuple[TLSSocket, ClearSession, Wire]:
    wire = Wire()
    session = ClearSession(wire, decide)
    return TLSSocket(session, lambda _: {}), session, wire


SIZES = (1, 16383, 16384, 16385, 32767, 32768, 32769, 262143, 262145)


def flushed(output: Output, secure: TLSSocket) -> int:
    """Flush until everything has been sent; the number of flushes."""
    sink = secure.sink()
    for turn in range(1, 1000):
        if output.flush(sink)[0]:
            return turn
    raise AssertionError("the output is never sent completely")


def parts_of(kind: str, size: int) -> tuple[Output, bytes]:
    data = bytes(number * 7 % 251 for number in range(size))
    output = Output()
    if kind == "bytes":
        output.append(data)
    elif kind == "several parts":
        step = max(1, size // 5)
        for at in range(0, size, step):
            output.append(memoryview(data)[at : at + step])
    else:
        with tempfile.TemporaryFile() as file:
            file.write(b"before" + data + b"after")
            file.flush()
            if size >= 3:
                output.append(data[: size // 3])
            output.append_file(FilePart(file.fileno(), 6 + size // 3, size - size // 3))
    return output, data


@pytest.mark.parametrize("kind", ["bytes", "several parts", "a file"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("want", [WantRead, WantWrite])
def test_a_write_that_blocks_at_each_call_in_turn(kind: str, size: int, want: type[OSError]) -> None:
    """Repeated until no call is the one that fails."""
    k = 1
    while True:
        met = False

        def decide(name: str, number: int, k: int = k) -> None:
            nonlocal met
            if name == "write" and number == k:
                met = True
                raise want

        output, data = parts_of(kind, size)
        secure, _, wire = secured(decide)
        turns = flushed(output, secure)
        assert bytes(wire.outgoing) == data
        assert turns <= 1 + met  # one flush, when some bytes had been sent before the call that blocks
        if not met:
            break
        k += 1
    assert k > 1


@pytest.mark.parametrize("kind", ["bytes", "several parts", "a file"])
@pytest.mark.parametrize("size", SIZES[:-2])
@pytest.mark.parametrize("taken", [1, 100, 16383])
def test_a_write_that_sends_a_part_at_each_call_in_turn(kind: str, size: int, taken: int) -> None:
    """Sessions of some adapters do that; OpenSSL sends a whole record or nothing."""
    k = 1
    while True:
        met = False

        def decide(name: str, number: int, k: int = k) -> int | None:
            nonlocal met
            if name == "write" and number == k:
                met = True
                return taken
            if name == "write" and number == k + 1:
                raise WantWrite
            return None

        output, data = parts_of(kind, size)
        secure, _, wire = secured(decide)
        flushed(output, secure)
        assert bytes(wire.outgoing) == data
        if not met:
            break
        k += 1


@pytest.mark.parametrize("size", SIZES)
def test_a_write_that_was_begun_may_be_spilled_before_it_continues(size: int) -> None:
    """The response is spilled to the disk while its first piece waits to be sent again."""
    for k in (1, 2, 3):

        def decide(name: str, number: int, k: int = k) -> None:
            if name == "write" and number == k:
                raise WantWrite

        output, data = parts_of("several parts", size)
        secure, _, wire = secured(decide)
        done, _ = output.flush(secure.sink())
        if not done:
            output.spill(None)
            output.append(b"after")
            flushed(output, secure)
            assert bytes(wire.outgoing) == data + b"after"
        output.close()


def test_sendfile_does_not_overtake_a_write_that_was_begun() -> None:
    """With kTLS the kernel sends a file itself, but never before bytes that OpenSSL has begun to send."""
    refusing = True

    def decide(name: str, number: int) -> None:
        if refusing:
            raise WantWrite

    ends = socket.socketpair()
    try:
        ends[0].setblocking(False)
        secure = TLSSocket(ClearSession(ends[0], decide), lambda _: {})
        secure.kernel = True
        sink = secure.sink()
        assert sink.fileno() == ends[0].fileno()
        with pytest.raises(WantWrite):
            sink.send(b"begun")
        assert sink.fileno() == -1
        refusing = False
        assert sink.send(b"begun") == 5
        assert sink.fileno() == ends[0].fileno()
    finally:
        for end in ends:
            end.close()


def test_a_retry_with_other_bytes_is_an_error_and_sends_nothing() -> None:
    def decide(name: str, number: int) -> None:
        if number == 1:
            raise WantWrite

    secure, _, wire = secured(decide)
    with pytest.raises(WantWrite):
        secure.send_now(b"begun")
    with pytest.raises(ConnectionAbortedError, match="begun"):
        secure.send_now(b"other")
    assert not wire.outgoing


# ---- a session that has to send before it can receive, and the other way round ----


def site(body: bytes) -> HTTPApp:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        received = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body) + len(received)))])
        return [body, received]

    return HTTPApp(WSGIGateway(app), HTTPSettings(access_log=False))


@pytest.mark.parametrize("times", [1, 3])
def test_reads_that_have_to_send_first_are_repeated(serve: Serve, times: int) -> None:
    """At each of the first calls in turn, ``times`` times; the connection goes on, and nothing spins."""
    for k in range(1, 6):

        def decide(name: str, number: int, k: int = k) -> None:
            if name == "read" and k <= number < k + times:
                raise WantWrite

        adapter = ClearAdapter(decide)
        running = serve(site(b"response "), ssl_adapter=adapter, clock=FakeClock())
        client = running.connect()
        client.sendall(b"\x16" + request("POST", body=b"first"))
        assert receive(client).body == b"response first"
        client.sendall(request("POST", body=b"second"))
        assert receive(client).body == b"response second"
        assert adapter.sessions[0].calls["read"] <= 8 + times
        running.server.stop(0)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_writes_that_have_to_receive_first_are_repeated(serve: Serve, k: int) -> None:
    """At the k-th call. The bytes that they receive belong to the session; the client sends them later."""
    blocked = threading.Event()
    received: list[bytes] = []
    adapter = ClearAdapter()

    def decide(name: str, number: int) -> None:
        if name != "write" or number < k or received:
            return
        try:
            received.append(adapter.sessions[0].socket.recv(1))
        except BlockingIOError:
            blocked.set()
            raise WantRead from None

    adapter.decide = decide
    body = b"x" * 3_000_000  # more than one turn may send
    running = serve(site(body), ssl_adapter=adapter, clock=FakeClock())
    client, other = running.connect(), running.connect()
    client.sendall(b"\x16" + request())
    assert blocked.wait(PATIENCE)
    for number in range(20):  # others are served, and the session is not called again for each of them
        other.sendall(b"\x16" * (not number) + request("HEAD"))
        assert receive(other, head=True).status == 200
    assert adapter.sessions[0].calls["write"] <= k + 4
    client.sendall(b"k")
    assert receive(client).body == body
    assert received == [b"k"]
    client.sendall(request("HEAD"))  # the connection goes on as before
    assert receive(client, head=True).status == 200
