"""The end of a TLS connection: close_notify both ways, and a cut never passes for the end of anything."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests import tls
from tests.adversity.holding import Watched, honest, watched
from tests.apps.http.responses import receive, request, split
from tests.clients import close_with_reset
from tests.waiting import eventually

SETTINGS = {
    "buffered": HTTPSettings(access_log=False),
    "in a file": HTTPSettings(access_log=False, body_memory=10),
    "streamed": HTTPSettings(access_log=False, stream_bodies=True),
}
each_way = pytest.mark.parametrize("how", SETTINGS)
each_framing = pytest.mark.parametrize("chunks", [0, 20], ids=["length", "chunks"])
each_version = pytest.mark.parametrize("version", ["1.2", "1.3"])
KEEP_ALIVE = 15.0


@contextlib.contextmanager
def talking(site: Watched, version: str = "1.3", *, window: int = 0) -> Iterator[tuple[socket.socket, tls.HandMade]]:
    with site.connect_plain(window=window) as client:
        hand = tls.HandMade(tls.context(version))
        hand.shake(client)
        yield client, hand


def close_notify(hand: tls.HandMade) -> bytes:
    """The client's: what a half-closed connection needs."""
    with contextlib.suppress(ssl.SSLWantReadError):
        hand.tls.unwrap()
    return hand.says()


def ends_orderly(client: socket.socket, hand: tls.HandMade) -> bool:
    """What comes has an end that TLS has said; whatever content precedes it."""
    try:
        while hand.hears(client):
            pass
    except (ssl.SSLError, ConnectionResetError):  # a cut, or an alert
        return False
    assert client.recv(1) == b"", "something follows close_notify"
    return True


# ---- what clients send ----


@each_version
@each_way
@each_framing
@pytest.mark.parametrize("end", ["fin", "rst", "close_notify"])
@pytest.mark.parametrize("missing", [1, 5, 30])
def test_a_short_upload_never_looks_complete(how: str, chunks: int, end: str, missing: int, version: str) -> None:
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "POST":
            seen.append("called")
            try:
                seen.append(repr(environ["wsgi.input"].read()))
            except OSError:
                seen.append("raised")
                raise
        return honest(environ, start_response)

    raw = request("POST", body=b"x" * 100, chunks=chunks)[:-missing]
    with watched(app, http=SETTINGS[how], secure=True) as site:
        for number in range(5):
            with talking(site, version) as (client, hand):
                client.sendall(hand.wraps(raw))
                if how == "streamed":
                    eventually(lambda wanted=number + 1: seen.count("called") == wanted)  # type: ignore[misc]
                else:
                    eventually(lambda: site.server.stats().parked == 1)
                if end == "rst":
                    close_with_reset(client)
                elif end == "fin":
                    client.shutdown(socket.SHUT_WR)
                    assert b"200" not in raw_rest(client)
                else:
                    client.sendall(close_notify(hand))
                    client.shutdown(socket.SHUT_WR)
                    assert b"200" not in raw_rest(client)
        site.assert_nothing_left()
        site.assert_serves()
    times = 5 if how == "streamed" else 0  # what is received before the application runs never gets so far
    assert sorted(seen) == ["called"] * times + ["raised"] * times


def raw_rest(client: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            got += data
    return got


@each_version
def test_a_truncated_request_is_not_one_although_its_octets_would_do(version: str) -> None:
    """An attacker cuts a chunked upload, or a pipeline, at the end of a record: what came before is whole, what did not
    come is not there.
    """
    bodies: list[bytes] = []

    def app(environ: Any, start_response: Any) -> Any:
        bodies.append(environ["wsgi.input"].read())
        return honest(environ, start_response)

    raw = request("POST", body=b"first, second", chunks=5)
    records = [raw[:-18], raw[-18:-5], raw[-5:]]
    with watched(app, http=SETTINGS["buffered"], secure=True) as site:
        for count in (1, 2):
            with talking(site, version) as (client, hand):
                for record in records[:count]:
                    client.sendall(hand.wraps(record))
                client.shutdown(socket.SHUT_WR)
                assert not ends_orderly(client, hand)  # nor does the server make believe that all is well
            site.assert_nothing_left()
        assert bodies == []
        with talking(site, version) as (client, hand):
            client.sendall(b"".join(map(hand.wraps, records)))
            assert split(hand.hears(client))[0].body == b"honest"
        assert bodies == [b"first, second"]


@each_version
@pytest.mark.parametrize("end", ["fin", "rst", "close_notify", "close_notify and rst"])
@pytest.mark.parametrize("asked", [False, True], ids=["before the first request", "between two"])
def test_an_end_between_requests_is_quiet(version: str, end: str, asked: bool) -> None:
    with watched(honest, http=SETTINGS["buffered"], secure=True) as site:
        for _ in range(10):
            with talking(site, version) as (client, hand):
                if asked:
                    client.sendall(hand.wraps(request()))
                    assert split(hand.hears(client))[0].body == b"honest"
                if end.startswith("close_notify"):
                    client.sendall(close_notify(hand))
                    if end == "close_notify":
                        assert ends_orderly(client, hand)
                if end.endswith("rst"):
                    close_with_reset(client)
                else:
                    client.shutdown(socket.SHUT_WR)
                    raw_rest(client)
        site.assert_nothing_left()
        site.assert_serves()
        assert site.server.stats().tls_failed == 0
    assert site.log == []


@each_version
def test_close_notify_behind_a_request_does_not_take_its_answer(version: str) -> None:
    """A client that has said all it has to say still listens (RFC 8446 section 6.1), as after a TCP half-close."""
    with watched(honest, http=SETTINGS["buffered"], secure=True) as site:
        with talking(site, "1.3") as (client, hand):
            client.sendall(hand.wraps(request()) + close_notify(hand))
            client.shutdown(socket.SHUT_WR)
            rest = raw_rest(client)
            assert len(rest) > 100  # the client's library reads nothing after its own close_notify: records have come
        site.assert_nothing_left()
        eventually(lambda: site.server.stats().handled == 1)
    assert site.log == []


@each_version
@pytest.mark.parametrize("end", ["fin", "rst", "close_notify"])
def test_an_application_can_ask_whether_its_client_is_still_there(end: str, version: str) -> None:
    """Also behind a close_notify, which nobody has read yet."""
    if end == "close_notify" and not hasattr(select, "POLLRDHUP"):
        pytest.skip("only Linux tells of an end behind octets")
    answers: list[bool] = []
    entered, gone = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/wait":
            answers.append(environ["reserve.client_disconnected"]())
            entered.set()
            assert gone.wait(60)
            eventually(environ["reserve.client_disconnected"])
        return honest(environ, start_response)

    with watched(app, http=SETTINGS["buffered"], secure=True) as site:
        with talking(site, version) as (client, hand):
            client.sendall(hand.wraps(request("GET", "/wait")))
            assert entered.wait(60)
            if end == "rst":
                close_with_reset(client)
            else:
                if end == "close_notify":
                    client.sendall(close_notify(hand))
                client.shutdown(socket.SHUT_WR)
            gone.set()
        site.assert_nothing_left()
    assert answers == [False]
    assert site.log == []


# ---- what the server sends ----


@each_version
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(request("GET", "/", "Connection: close"), id="asked to close"),
        pytest.param(request("GET", "/", minor=0), id="HTTP/1.0"),
        pytest.param(request("GET", "/open", minor=0), id="HTTP/1.0 without a length"),
        pytest.param(request("GET", "/closes"), id="the application closes"),
        pytest.param(b"nonsense\r\n\r\n", id="refused"),
        pytest.param(request("GET", "/fails", "Connection: close"), id="the application fails"),
        pytest.param(request() * 3 + request("GET", "/", "Connection: close") + request(), id="more than is answered"),
    ],
)
def test_every_orderly_close_has_its_close_notify(raw: bytes, version: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/open":
            start_response("200 OK", [])
            return iter([b"hon", b"est"])
        if path == "/closes":
            start_response("200 OK", [("Connection", "close")])
            return [b"honest"]
        if path == "/fails":
            raise ValueError("before it begins")
        return honest(environ, start_response)

    with watched(app, http=SETTINGS["buffered"], secure=True) as site:
        for _ in range(5):
            with talking(site, version) as (client, hand):
                client.sendall(hand.wraps(raw))
                got = b"".join(iter(lambda: hand.hears(client), b""))
                assert client.recv(1) == b""
                answers = split(got)
                assert all(answer.whole for answer in answers)
                assert answers[-1].body == b"honest" or answers[-1].status in (400, 500)
        site.clock.advance(3)  # the lingering ends
        site.assert_nothing_left()


@each_version
@pytest.mark.parametrize("asked", [False, True], ids=["before the first request", "between two"])
def test_the_time_of_an_idle_one_ends_with_close_notify(asked: bool, version: str) -> None:
    with watched(honest, http=SETTINGS["buffered"], secure=True) as site, talking(site, version) as (client, hand):
        if asked:
            client.sendall(hand.wraps(request()))
            assert split(hand.hears(client))[0].body == b"honest"
        eventually(lambda: site.server.stats().tls_handshakes == 1)
        eventually(lambda: site.server.stats().parked == 1)  # and not in its handshake
        site.clock.advance(KEEP_ALIVE + 1)
        assert ends_orderly(client, hand)


@each_version
def test_a_stop_says_close_notify_to_the_idle_and_to_the_answered(version: str) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/wait":
            entered.set()
            assert go_on.wait(60)
        return honest(environ, start_response)

    with (
        watched(app, http=SETTINGS["buffered"], secure=True) as site,
        talking(site, version) as (idle, idle_hand),
        talking(site, version) as (busy, busy_hand),
    ):
        idle.sendall(idle_hand.wraps(request()))
        assert split(idle_hand.hears(idle))[0].body == b"honest"
        busy.sendall(busy_hand.wraps(request("GET", "/wait")))
        assert entered.wait(60)
        site.server.request_stop()
        assert ends_orderly(idle, idle_hand)
        go_on.set()
        answer = split(busy_hand.hears(busy))[0]
        assert (answer.body, answer.fields["connection"]) == (b"honest", "close")
        assert ends_orderly(busy, busy_hand)


class Half:
    """Two pieces, and then it fails."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"12345"
        yield b"67890"
        raise ValueError("the other half")


@each_version
@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("headers", [[], [("Content-Length", "20")]], ids=["no length", "length"])
def test_an_answer_that_failed_half_way_has_no_close_notify(
    headers: list[tuple[str, str]], minor: int, version: str
) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return honest(environ, start_response)
        start_response("200 OK", headers)
        return Half()

    with watched(app, http=SETTINGS["buffered"], secure=True) as site:
        for _ in range(5):
            with talking(site, version) as (client, hand):
                client.sendall(hand.wraps(request("GET", "/half", "Connection: keep-alive", minor=minor)))
                got = b""
                with contextlib.suppress(ssl.SSLEOFError, ConnectionResetError):
                    while data := hand.hears(client):
                        got += data
                    assert headers or minor, "an answer without a length seemed to be complete"
                assert b"1234567890" not in got or not headers or not split(got)[0].whole
                assert all(not answer.whole for answer in split(got)) or (not headers and not minor)
        site.assert_serves()
        site.assert_nothing_left()


@each_version
def test_a_client_that_is_cut_while_it_does_not_read_gets_no_close_notify(version: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"x" * 100_000] * 40

    with watched(app, http=SETTINGS["buffered"], secure=True) as site:
        for listener in site.server._endpoints.listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with talking(site, version, window=2048) as (client, hand):
            client.sendall(hand.wraps(request("GET", "/", minor=0)))
            eventually(lambda: site.server.stats().flushing == 1)
            site.clock.advance(31)
            eventually(lambda: site.server.stats().connections == 0)
            assert not ends_orderly(client, hand)


def test_python_clients_see_the_end() -> None:
    """The same with the standard library's own client, and without its tolerance for a missing close_notify."""
    with watched(honest, http=SETTINGS["buffered"], secure=True) as site, site.connect() as client:
        client.sendall(request("GET", "/", "Connection: close"))
        assert receive(client).body == b"honest"
        assert client.recv(1) == b""
