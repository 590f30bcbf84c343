"""The straight line: what it serves and what it declines, and that nobody can tell its responses from the others."""

from __future__ import annotations

import contextlib
import contextvars
import io
import os
import socket
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.apps.http import basedriver
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.apps.http.straightline import RECEIVE_SIZE
from reserve.engine.connections.driver import LINGER
from reserve.engine.connections.straightline import DECLINED, MORE, RAN
from reserve.engine.polling.poller import PortablePoller
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.http1.head import parse_head
from reserve.protocol.http1.host import check_host
from reserve.protocol.http1.limits import Limits
from tests.apps.http.doubles import QUIET, Gate, hello
from tests.apps.http.responses import Response, receive, request, take
from tests.apps.http.straightclient import COMPILED, StraightClient
from tests.engine.conftest import needs_fork
from tests.overload.site import Site, serving
from tests.waiting import PATIENCE, eventually

SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("SEEN", default="nothing")


@pytest.fixture(autouse=True)
def _host_is_known() -> None:
    """The form in C leaves the first request with a host to Python, which checks it."""
    check_host("test")


class Program:
    """An application that does what a list of steps says, one list for each request, and notes what happens to it."""

    def __init__(self, programs: list[list[tuple[Any, ...]]]) -> None:
        self._programs = programs
        self.calls = 0
        self.notes: list[str] = []
        self._late: list[tuple[Any, Any]] = []
        self._inputs: list[Any] = []
        self._views: list[memoryview] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        steps = self._programs[self.calls % len(self._programs)]
        self.calls += 1
        self.notes.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {SEEN.get()} {sorted(environ)}")
        self.notes.append(f"{environ.get('CONTENT_LENGTH')} {environ.get('CONTENT_TYPE')}")
        content = environ["wsgi.input"]
        if steps[0][0] != "body":
            self.notes.append(repr(content.read()))
        SEEN.set(f"request {self.calls}")
        environ["HTTP_USER_AGENT"] = "changed"
        write: Any = None
        for kind, *arguments in steps[:-1]:
            if kind == "start":
                write = self._try(self._start, start_response, *arguments) or write
            elif kind == "write" and write is not None:
                self._try(write, arguments[0])
            elif kind == "hints":
                self._try(environ["wsgi.early_hints"], [("Link", "</style.css>; rel=preload")])
            elif kind == "after":
                self._try(environ["reserve.after_response"], self._after_response)
            elif kind == "errors":
                environ["wsgi.errors"].write(arguments[0])
            elif kind == "body":
                self._use_body(content, arguments[0])
            elif kind == "late":
                for late_start, late_write in self._late:
                    self._try(late_start, "200 OK", [])
                    self._try(late_write or len, b"late")
                for late_content in self._inputs:
                    self._try(self._note_content, late_content)
            elif kind == "raise":
                raise arguments[0]("the application fails")
        self._late.append((start_response, write))
        self._inputs.append(content)
        return self._result(*steps[-1][1:], start_response)

    def _use_body(self, content: Any, how: str) -> None:
        if how == "close":
            content.close()
        elif how == "view" and type(content) is io.BytesIO:  # in a file the body is none
            self._views.append(content.getbuffer())  # nothing can close it as long as there is this
        elif how == "write" and type(content) is io.BytesIO:
            content.write(b"of the application's own, and longer than the body was")
        else:
            self.notes.append(repr((content.readline(3), content.tell(), list(content))))

    def release_views(self) -> None:
        """Nothing can close a file with a view; from CPython 3.13 on the collector of cycles says so, in any test."""
        while self._views:
            self._views.pop().release()

    def _note_content(self, content: Any) -> None:
        self.notes.append(f"{type(content).__name__} is closed: {content.closed}")
        self.notes.append(repr(content.read()))

    def _after_response(self) -> None:
        self.notes.append(f"after {SEEN.get()}")

    def _start(self, start_response: Any, status: Any, headers: Any, with_error: bool) -> Any:
        headers = list(headers)
        if not with_error:
            return start_response(status, headers)
        try:
            raise KeyError("an error page")
        except KeyError:
            return start_response(status, headers, sys.exc_info())

    def _try(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            self.notes.append(f"{type(error).__name__}: {error}")
            return None

    def _result(self, kind: str, pieces: list[Any], start_response: Any) -> Any:
        if kind == "list":
            return list(pieces)
        if kind == "tuple":
            return tuple(pieces)
        if kind == "bytes":
            return pieces[0] if pieces else b""
        if kind == "none":
            return None
        if kind.startswith("iterable"):
            make = Lying if "lying" in kind else Sized if "sized" in kind else Items
            return make(self, kind, pieces, start_response, self._late[-1][1])
        return self._generate(kind, pieces, start_response)

    def _generate(self, kind: str, pieces: list[Any], start_response: Any) -> Iterator[Any]:
        self.notes.append(f"generator {SEEN.get()}")
        if kind == "late start":
            self._try(start_response, "202 Accepted", [])
        yield from pieces
        if kind == "failing":
            raise ValueError("the generator fails")


class Items:
    """A result that is an iterable of a class of its own, with a ``close()``, as frameworks return it."""

    def __init__(self, program: Program, kind: str, pieces: list[Any], start_response: Any, write: Any) -> None:
        self._program = program
        self._kind = kind
        self._pieces = iter(pieces)
        self._start_response = start_response
        self._write = write

    def __iter__(self) -> Any:
        self._note("iter")
        if "not" in self._kind:
            raise KeyError("no iterator")
        return self

    def __next__(self) -> Any:
        self._note("next")
        try:
            return next(self._pieces)
        except StopIteration:
            if "writes" in self._kind:
                self._program._try(self._write or len, b"more")
            elif "starts" in self._kind:
                self._program._try(self._start_response, "200 OK", [])
            elif "fails" in self._kind:
                raise ValueError("the iterator fails") from None
            raise

    @property
    def close(self) -> Any:
        if "no close" in self._kind:
            raise AttributeError("close")
        return self._close

    def _close(self) -> None:
        self._note("close")
        self._program._try(self._write or len, b"closed")
        if "close fails" in self._kind:
            raise SystemExit("the close fails")

    def _note(self, what: str) -> None:
        self._program.notes.append(f"{what} {SEEN.get()}")


class Lying(Items):
    """Says that it is of another class."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        return str


class Sized(Items):
    def __len__(self) -> int:
        return 1


statuses = st.sampled_from(
    ["200 OK", "404 Not Found", "200 OK", "204 No Content", "205 Reset", "304 Not Modified", "200", "20 OK",
     "200 \r\nX: y", "599 Odd", "100 Continue", 200]
)  # fmt: skip
names = st.sampled_from(
    ["Content-Type", "X-Name", "Set-Cookie", "Content-Length", "content-length", "Date", "Server", "Connection",
     "Transfer-Encoding", "Bad Name", "Upgrade", "Keep-Alive", ""]
)  # fmt: skip
values = st.sampled_from(
    ["text/plain", "5", "3", "0", "05", "close", "chunked", "a\r\nb", "\x7f", " padded ", "\xe9", "\u20ac", ""]
)
headers = st.lists(
    st.one_of(st.tuples(names, values), st.just(("Content-Length", "5")), st.just(["X", "y"])), max_size=4
)
pieces = st.lists(
    st.sampled_from([b"hello", b"", b"abc", b"12", "text", None, bytearray(b"12345"), b"x" * 70_000, b"x" * 300_000]),
    max_size=3,
)
good_start = st.tuples(
    st.just("start"), st.just("200 OK"), st.sampled_from([[], [("Content-Type", "text/plain")]]), st.just(False)
)
steps = st.one_of(
    st.tuples(st.just("start"), statuses, headers, st.booleans()),
    good_start,
    good_start,
    st.tuples(st.just("write"), st.sampled_from([b"written", b"", "text", b"x" * 70_000])),
    st.just(("hints",)),
    st.just(("after",)),
    st.just(("late",)),
    st.tuples(st.just("body"), st.sampled_from(["close", "view", "write", "lines"])),
    st.tuples(st.just("errors"), st.sampled_from(["a line\n", "partial", "two\nparts"])),
    st.tuples(st.just("raise"), st.sampled_from([ValueError, SystemExit, MemoryError])),
)
returned = st.tuples(
    st.just("return"),
    st.sampled_from(
        ["list", "list", "list", "tuple", "bytes", "none", "generator", "failing", "late start", "iterable"]
    ),
    pieces,
)
ordinary = st.tuples(
    good_start, st.tuples(st.just("return"), st.just("list"), st.lists(st.sampled_from([b"hello", b""]), max_size=2))
).map(list)
iterables = st.tuples(
    st.tuples(
        st.just("start"), st.just("200 OK"), st.sampled_from([[("Content-Length", "5")], [("content-length", "5")]]),
        st.just(False),
    ),
    st.tuples(
        st.just("return"),
        st.sampled_from(
            ["iterable", "iterable writes", "iterable starts", "iterable fails", "iterable not", "iterable lying",
             "iterable sized", "iterable no close", "iterable close fails", "generator", "failing", "late start"]
        ),
        st.one_of(st.just([b"hello"]), st.lists(st.sampled_from([b"hello", b"", b"abc", "text", None]), max_size=3)),
    ),
).map(list)  # fmt: skip
program = st.one_of(
    ordinary, iterables, st.tuples(st.lists(steps, max_size=4), returned).map(lambda parts: [*parts[0], parts[1]])
)
of_body = st.tuples(
    st.tuples(st.just("body"), st.sampled_from(["close", "view", "write", "lines", "late"])),
    st.sampled_from([("late",), ("errors", "a line\n"), ("hints",)]),
    good_start,
    st.tuples(st.just("return"), st.sampled_from(["list", "generator", "failing"]), st.just([b"hello", b"there"])),
).map(list)
program = st.one_of(program, of_body)
bodies = st.one_of(
    st.sampled_from([b"", b"body", b"\r\n\r\n", b"ends like a head\r\n\r\n", b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"]),
    # Up to and beyond what the line receives, and what the driver does.
    st.sampled_from([1, 100, 1024, 3900, 4090, 4096, 8000, 8090, 8100, 8192, 9000]).map(lambda size: b"x" * size),
)
requests = st.builds(
    request,
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "POST", "DELETE", "OPTIONS", "NONE"]),
    st.sampled_from(["/", "/a?b=c", "/%E9", "http://test/", "*", "/x y"]),
    st.sampled_from(["User-Agent: me", "Referer: http://there/", "X-Other: 1"]),
    st.sampled_from(
        ["Accept: */*", "Connection: close", "Upgrade: other", "Bad Field: x", "Expect: 100-continue", "X_Y: z",
         "Content-Type: text/plain", "Content-Type: a/b", "Content-Length: 4", "content-length: 04",
         "Content-Length: +4", "Transfer-Encoding: chunked"]
    ),
    body=st.one_of(st.none(), bodies),
    minor=st.sampled_from([1, 1, 1, 0]),
)  # fmt: skip


ordinary_requests = st.builds(
    request,
    st.sampled_from(["GET", "POST", "POST", "PUT", "OPTIONS"]),
    st.sampled_from(["/", "/a?b=c"]),
    st.sampled_from(["User-Agent: me", "Content-Type: text/plain"]),
    body=st.one_of(st.none(), bodies, bodies),
)


small_requests = st.builds(
    request,
    st.sampled_from(["GET", "POST", "OPTIONS"]),
    st.sampled_from(["/", "/a?b=c"]),
    st.sampled_from(["User-Agent: me", "Accept: */*", "Accept: */*", "Connection: close"]),
    body=st.sampled_from([None, None, b"", b"body", b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"]),
)
"""Of which several fit into what is received at once."""


@st.composite
def conversations(draw: Any, largest: int = 100_000) -> list[list[bytes]]:
    """What the client sends: requests, alone or pipelined, whole or in pieces of at most ``largest`` bytes."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        raw = b"".join(
            draw(
                st.one_of(
                    st.tuples(ordinary_requests),
                    st.lists(requests, min_size=1, max_size=2),
                    st.lists(st.one_of(small_requests, small_requests, requests), min_size=2, max_size=9),
                )
            )
        )
        if draw(st.integers(0, 5)) == 0:
            raw = b"\r\n" + raw
        cuts = []
        if draw(st.booleans()):
            cuts = draw(st.lists(st.integers(1, len(raw) - 1), max_size=4))
        if draw(st.booleans()):  # as many clients send it
            cuts.append(raw.find(b"\r\n\r\n") + 4)
        cuts = sorted({*cuts} - {len(raw)})
        cuts = sorted({*cuts, *range(largest, len(raw), largest)})
        found.append([raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)])
    return found


def played(
    form: str | None, programs: list[list[tuple[Any, ...]]], sent: list[list[bytes]], *, segments: bool = False
) -> dict[str, Any]:
    app = Program(programs)
    client = StraightClient(app, form, segments=segments)
    # What is logged of a malformed head depends on how much of it has come, so both receive as much at once.
    with mock.patch.object(basedriver, "_RECEIVE_SIZE", RECEIVE_SIZE):
        return observed(client, app, sent, segments=segments)


def observed(client: StraightClient, app: Program, sent: list[list[bytes]], *, segments: bool) -> dict[str, Any]:
    try:
        received = []
        for parts in sent:
            if client.closed:
                break
            received.append(client.send_segments(*parts) if segments else client.send(*parts))
            client.server.clock.advance(1.0)  # type: ignore[attr-defined]
        return {"sent back": received, "notes": app.notes, "calls": app.calls, **client.observed()}
    finally:
        client.close()
        app.release_views()


@pytest.mark.filterwarnings("ignore")
@given(st.lists(program, min_size=1, max_size=3), conversations())
def test_all_that_can_be_seen_of_a_request_is_the_same(
    programs: list[list[tuple[Any, ...]]], sent: list[list[bytes]]
) -> None:
    general = played(None, programs, sent)
    for form in COMPILED[1:]:
        straight = played(form, programs, sent)
        for key, value in general.items():
            assert straight[key] == value, f"{form}: {key}"


@pytest.mark.filterwarnings("ignore")
@given(st.lists(st.one_of(ordinary, of_body), min_size=1, max_size=3), conversations(4096))
def test_all_that_can_be_seen_is_the_same_where_a_request_comes_in_pieces_at_once(
    programs: list[list[tuple[Any, ...]]], sent: list[list[bytes]]
) -> None:
    general = played(None, programs, sent, segments=True)
    for form in COMPILED[1:]:
        straight = played(form, programs, sent, segments=True)
        for key, value in general.items():
            assert straight[key] == value, f"{form}: {key}"


# ---- what it serves and what it declines ----


def outcomes(form: str, app: Any, *sent: bytes, settings: HTTPSettings | None = None) -> list[Any]:
    """What the line does with what is sent: ``served``, DECLINED or RAN."""
    client = StraightClient(app, form, settings)
    try:
        client.send(*sent)
        return ["served" if type(outcome) is float or outcome == MORE else outcome for outcome in client.outcomes]
    finally:
        client.close()


@pytest.mark.parametrize("value", ["close", "Close"])
@pytest.mark.parametrize("body", [None, b"body"])
def test_the_last_request_of_a_connection_is_served(straight_line_form: str, value: str, body: bytes | None) -> None:
    client = StraightClient(hello, straight_line_form)
    assert b"\r\nConnection: close\r\n\r\nhello " in client.send(
        request("POST", "/", f"Connection: {value}", body=body)
    )
    assert (client.straight, client.closed) == (1, True)
    client.close()


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_a_request_without_a_body_is_served(straight_line_form: str, method: str) -> None:
    assert outcomes(straight_line_form, hello, request(method), request(method)) == ["served", "served"]


@pytest.mark.parametrize("own_parser", [False, True])
def test_every_request_of_a_pipeline_is_served_in_order(straight_line_form: str, own_parser: bool) -> None:
    client = reading(straight_line_form, own_parser=own_parser)
    bodies = [b"first", b"", b"third", b"GET / HTTP/1.1\r\n\r\n", b"last"]
    received = client.send(b"".join(request("POST", body=body) if body else request() for body in bodies))
    assert [texts.partition(b"\r\n\r\n")[2] for texts in received.split(b"HTTP/1.1 200 OK\r\n")[1:]] == bodies
    assert client.outcomes[:-1] == [MORE] * 4
    assert type(client.outcomes[-1]) is float
    client.close()


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (request("HEAD") + request() * 3, DECLINED),
        (request()[:-1], DECLINED),
        (request("POST", body=b"body")[:-1], DECLINED),
        (b"x", DECLINED),
        (b"\r\n" + request() * 3, DECLINED),
        (request("GET", "/", "Bad Field: x") + request() * 3, DECLINED),
        (request("GET", "/failing") + request() * 3, RAN),
    ],
    ids=["HEAD", "a part", "a part of a body", "a byte", "an empty line", "invalid", "an application that fails"],
)
def test_a_request_of_a_pipeline_leaves_the_line_with_all_that_follows(
    straight_line_form: str, second: bytes, outcome: int
) -> None:
    seen = []
    for form in (None, straight_line_form):
        client = StraightClient(failing_at_a_path, form)
        received = client.send(request() + second)
        seen.append((received, client.observed()))
        if form is not None:
            assert client.outcomes[:2] == [MORE, outcome]
        client.close()
    assert seen[0] == seen[1]


def failing_at_a_path(environ: Any, start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/failing":
        raise ValueError
    return hello(environ, start_response)


def test_what_follows_the_last_request_is_not_read(straight_line_form: str) -> None:
    seen = []
    for form in (None, straight_line_form):
        client = StraightClient(hello, form)
        received = client.send(request() + request("GET", "/", "Connection: close") + request() + b"more")
        seen.append((received, client.observed()))
        assert received.count(b"HTTP/1.1 200") == 2
        if form is not None:
            assert client.connection.closing is LINGER
            assert client.driver.unparsed == b""
        client.close()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("size", [8190, 8191, 8192, 8193, 12000])
def test_a_pipeline_that_fills_what_is_received_is_served(straight_line_form: str, size: int) -> None:
    """The line does not serve it, because the socket may have more: of that no event tells any more."""
    client = reading(straight_line_form)
    body = b"x" * (4000 - len(request("POST", body=b"x" * 1000)) + 1000)
    first = request("POST", body=body)
    second = request("POST", body=b"y" * (size - 2 * len(first) + len(body)))
    raw = first + second
    assert len(raw) == size
    received = client.send(raw)
    assert received.count(b"HTTP/1.1 200") == 2
    assert (client.outcomes[0] == MORE) == (size < 8192)
    assert client.send(request("POST", body=b"after")).endswith(b"\r\n\r\nafter")
    client.close()


def read_all(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


def reading(
    form: str | None, settings: HTTPSettings | None = None, *, own_parser: bool = False, segments: bool = False
) -> StraightClient:
    """A client of :func:`read_all`.

    :param own_parser: the connection has a parser of its own, as behind a frontend.
    """
    client = StraightClient(read_all, form, settings, segments=segments)
    if own_parser:
        client.driver.parse_head = lambda *args, **keywords: parse_head(*args, **keywords)
    return client


BODIES = [b"", b"b", b"x" * 4000, b"x" * 8000, b"a body\r\n\r\n", b"\r\n\r\n", request()]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
@pytest.mark.parametrize("own_parser", [False, True])
def test_a_request_with_a_small_body_is_served(straight_line_form: str, method: str, own_parser: bool) -> None:
    client = reading(straight_line_form, own_parser=own_parser)
    for body in BODIES:
        received = client.send(request(method, "/", "Content-Type: text/plain", body=body))
        assert received.endswith(b"\r\n\r\n" + body)
    assert client.straight == len(BODIES)
    client.close()


@pytest.mark.parametrize("own_parser", [False, True])
@pytest.mark.parametrize("size", [8191, 8192])
def test_a_request_that_is_as_large_as_what_is_received_is_declined(
    straight_line_form: str, size: int, own_parser: bool
) -> None:
    client = reading(straight_line_form, own_parser=own_parser)
    body = b"x" * (size - len(request("POST", body=b"x" * 1000)) + 1000)
    raw = request("POST", body=body)
    assert len(raw) == size
    assert client.send(raw).endswith(b"\r\n\r\n" + body)
    assert client.straight == (size == 8191)
    assert (client.outcomes[0] == DECLINED) == (size == 8192)
    client.close()


@pytest.mark.parametrize("own_parser", [False, True])
@pytest.mark.parametrize(
    ("pieces", "served"),
    [
        ([b"body"], True),
        ([b""], False),
        ([b"bo"], False),
        ([b"bo", b"dy"], False),
        ([b"body" + request()], False),
        ([b"body", request()], True),
    ],
    ids=["whole", "nothing", "a part", "three pieces", "pipelined", "another request"],
)
def test_a_body_that_follows_at_once_is_received_as_well(
    straight_line_form: str, pieces: list[bytes], served: bool, own_parser: bool
) -> None:
    client = reading(straight_line_form, own_parser=own_parser, segments=True)
    pieces = [piece for piece in pieces if piece]
    received = client.send_segments(request("POST", body=b"body")[:-4], *pieces)
    assert (type(client.outcomes[0]) is float) == served
    if client.outcomes[0] == DECLINED and b"".join(pieces) in (b"", b"bo"):
        received += client.send_segments(b"body"[len(b"".join(pieces)) :])
    assert b"\r\n\r\nbody" in received
    assert received.count(b"HTTP/1.1 200 ") == 1 + (b"GET" in b"".join(pieces))
    client.close()


def test_a_client_that_ends_before_its_body_is_reported_as_without_the_line(straight_line_form: str) -> None:
    seen = []
    for form in (None, straight_line_form):
        client = reading(form, segments=True)
        client.client.send(request("POST", body=b"body")[:-4])
        client.client.shutdown(socket.SHUT_WR)
        client.send_segments()
        seen.append((client.observed(), client.outcomes[:1]))
        client.close()
    assert seen[0][0] == seen[1][0]
    assert seen[1][0]["closed"]
    assert seen[1][1] == [DECLINED]


@pytest.mark.parametrize(
    ("settings", "served", "status"),
    [
        (HTTPSettings(stream_bodies=True), False, 200),
        (HTTPSettings(limits=Limits(max_body=3)), False, 413),
        (HTTPSettings(limits=Limits(max_body=4)), True, 200),
        (HTTPSettings(body_memory=0), True, 200),
        (HTTPSettings(health_path="/health"), True, 200),
    ],
    ids=["streamed", "above --max-body", "at --max-body", "--body-memory 0", "special paths"],
)
@pytest.mark.parametrize("own_parser", [False, True])
def test_settings_about_bodies_hold(
    straight_line_form: str, settings: HTTPSettings, served: bool, status: int, own_parser: bool
) -> None:
    seen = []
    for form in (None, straight_line_form):
        client = reading(form, settings, own_parser=own_parser)
        received = client.send(request("POST", body=b"body"))
        assert received.startswith(b"HTTP/1.1 %d " % status)
        seen.append((received, client.observed()))
        assert form is None or client.straight == served
        client.close()
    assert seen[0] == seen[1]


def test_a_connection_keeps_the_limit_that_it_was_opened_with(straight_line_form: str) -> None:
    client = reading(straight_line_form, HTTPSettings(limits=Limits(max_body=3)))
    client.http.use_settings(HTTPSettings(limits=Limits(max_body=5)))
    client.use_line(straight_line_form)
    assert client.send(request("POST", body=b"body")).startswith(b"HTTP/1.1 413 ")
    client.close()


def keeping_input(kind: str, kept: list[Any]) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        kept.append(environ["wsgi.input"])
        assert not kept[-1].closed
        assert kept[-1].read(2) == b"bo"
        if kind == "raise":
            raise ValueError("the application fails")
        write = start_response("200 OK", [])
        if kind == "write":
            write(b"written")
        if kind == "generator":
            return (b"%d" % kept[-1].closed for _ in range(2))
        return [b"x" * 30_000, b"y" * 30_000] if kind == "large" else [b"hello"]

    return app


@pytest.mark.parametrize("kind", ["list", "generator", "write", "raise", "large"])
def test_the_input_is_closed_after_the_application(straight_line_form: str, kind: str) -> None:
    seen = []
    for form in (None, straight_line_form):
        kept: list[Any] = []
        client = StraightClient(keeping_input(kind, kept), form)
        client.use_small_buffer()
        received = [client.send(request("POST", body=b"body"))]
        assert form is None or client.outcomes[0] != DECLINED
        with pytest.raises(ValueError, match="closed file"):
            kept[0].read()
        assert type(kept[0]) is io.BytesIO
        assert client.connection.body_memory == 0
        assert kind == "large" or client.connection.counted == (0, 0, 0)
        if not client.closed:
            received.append(client.send(request("POST", body=b"bo")))
        seen.append((received, client.observed()))
        client.close()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("kind", ["list", "generator"])
def test_a_view_of_the_body_that_the_application_keeps_does_no_harm(straight_line_form: str, kind: str) -> None:
    for form in (None, straight_line_form):
        kept: list[Any] = []
        views: list[memoryview] = []
        inner = keeping_input(kind, kept)

        def app(environ: Any, start_response: Any) -> Any:
            views.append(environ["wsgi.input"].getbuffer())  # noqa: B023
            return inner(environ, start_response)  # noqa: B023

        client = StraightClient(app, form)
        for _ in range(3):
            assert client.send(request("POST", body=b"body")).startswith(b"HTTP/1.1 200 ")
        assert not client.closed
        assert not client.connection.must_reset
        assert client.log == []
        assert [bytes(view) for view in views] == [b"body"] * 3
        client.close()
        for view in views:
            view.release()


def test_a_request_that_leaves_the_line_counts_its_body_while_the_application_runs(straight_line_form: str) -> None:
    counted = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"written")
        counted.append(client.connection.body_memory)
        return [b"hello"]

    for form in (None, straight_line_form):
        client = StraightClient(app, form)
        client.send(request("POST", body=b"body"))
        assert client.connection.body_memory == 0
        client.close()
    assert counted == [4, 4]


def test_the_head_that_is_shown_has_the_length_of_its_body(straight_line_form: str) -> None:
    heads = []

    def app(environ: Any, start_response: Any) -> Any:
        head = client.driver.shown_head
        heads.append((head.method, head.length, head.expect_continue, head.environ["CONTENT_LENGTH"]))
        return read_all(environ, start_response)

    client = StraightClient(app, straight_line_form)
    client.send(request("PUT", body=b"body"))
    assert client.straight == 1
    assert heads == [("PUT", 4, False, "4")]
    client.close()


@pytest.mark.parametrize("shown", ["environ", "response"])
@pytest.mark.parametrize("length", [[], [("Content-Length", "4")], [("Content-Length", "5")]])
def test_a_request_has_the_same_id_on_the_line_and_beside_it(shown: Any, length: list[tuple[str, str]]) -> None:
    """A wrong Content-Length makes it leave the line after the application."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ids.append(environ["reserve.request_id"])
        start_response("200 OK", [("X-Own", "1"), *length])
        return [b"body"]

    seen = []
    for form in COMPILED:
        ids: list[str] = []
        client = StraightClient(app, form, HTTPSettings(request_id=shown))
        numbers = iter(range(100))
        client.http.request_ids = SimpleNamespace(of=lambda *a, **k: f"number-{next(numbers)}")  # type: ignore[assignment] # noqa: B023
        received = client.send(request(), request())
        assert ids[0] == "number-0"
        assert (b"X-Request-ID: number-0" in received) == (shown == "response")
        assert client.driver.request_id() == ids[-1]
        if form is not None and length != [("Content-Length", "5")]:
            assert client.straight == 2
        seen.append((received, ids))
        client.close()
    assert all(other == seen[0] for other in seen)


@pytest.mark.parametrize(
    "raw",
    [
        request("HEAD"),
        request("POST", body=b"body", chunks=4),
        request("POST", "/", "Expect: 100-continue", body=b"body"),
        request("POST", body=b"x" * 8190),
        request("POST", body=b"body")[:-1],
        request("POST", body=b"body", minor=0),
        request("POST", "/", "Content-Length: 4", body=b"body"),
        request(minor=0),
        request("GET", "/", "Connection: close", minor=0),
        request("GET", "/", "Connection: Upgrade", "Upgrade: other"),
        request("GET", "/", "Bad Field: x"),
        request("GET", "/", "X: " + "x" * 5000),
        b"\r\n" + request(),
        request("POST", body=b"x" * 8000) + request() * 10,
        request()[:-1],
        b"\x16\x03\x01\x00\x05hello",
    ],
    ids=[
        "HEAD", "chunked", "Expect", "a large body", "a part of a body", "a body in HTTP/1.0",
        "two lengths", "HTTP/1.0", "Connection", "Upgrade",
        "invalid", "large", "an empty line", "more than is received", "a part", "no HTTP",
    ],
)  # fmt: skip
def test_what_is_not_ordinary_is_declined_before_the_application_is_called(straight_line_form: str, raw: bytes) -> None:
    calls: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        calls.append(len(client.outcomes))
        return hello(environ, start_response)

    client = StraightClient(app, straight_line_form)
    client.send(raw)
    assert client.outcomes[0] == DECLINED
    assert 0 not in calls, "the line has called the application, and declined afterwards"
    client.close()


def test_a_request_above_a_limit_is_declined(straight_line_form: str) -> None:
    settings = HTTPSettings(limits=Limits(max_request_line=1000))
    raw = request("GET", "/" + "x" * 1200)
    client = StraightClient(hello, straight_line_form, settings)
    assert client.send(raw).startswith(b"HTTP/1.1 414 ")
    assert client.outcomes == [DECLINED]
    client.close()


def returning(*, status: str = "200 OK", headers: Any = (), result: Any = (b"x",)) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return result

    return app


def write_first(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])(b"written")
    return [b"x"]


def start_twice(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    try:
        raise KeyError
    except KeyError:
        start_response("500 Error", [], sys.exc_info())
    return [b"x"]


def hint(environ: Any, start_response: Any) -> Any:
    environ["wsgi.early_hints"]([("Link", "</a>; rel=preload")])
    return hello(environ, start_response)


@pytest.mark.parametrize(
    ("app", "status"),
    [
        (returning(result=iter([b"x"])), 200),
        (returning(result=[b"x", bytearray(b"y")]), 500),
        (returning(result=[b"x" * 70_000]), 200),
        (returning(headers=[("Content-Length", "2")]), 500),
        (returning(status="204 No Content", result=[]), 204),
        (returning(status="304 Not Modified", result=[]), 304),
        (returning(status="nonsense"), 500),
        (returning(headers=[("Connection", "close")]), 200),
        (returning(headers=[("Date", "today")]), 200),
        (write_first, 200),
        (start_twice, 500),
        (hint, 103),
        (lambda environ, start_response: [], 500),
        (lambda environ, start_response: 1 / 0, 500),
    ],
    ids=[
        "iterator", "not bytes", "large", "wrong length", "204", "304", "status", "Connection", "Date", "write",
        "twice", "hints", "no start_response", "exception",
    ],
)  # fmt: skip
def test_a_response_that_is_not_ordinary_leaves_the_line(straight_line_form: str, app: Any, status: int) -> None:
    client = StraightClient(app, straight_line_form)
    received = client.send(request())
    assert client.outcomes == [RAN]
    assert received.startswith(b"HTTP/1.1 %d " % status)
    client.close()


class Closing:
    """An iterable that is closed, like those of Flask and Django."""

    def __init__(self, *items: Any) -> None:
        self.items = iter(items)
        self.ends = 0
        self.closed = 0
        self.started_late: list[str] = []
        self.late: Any = None
        self.writes_at_end = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        for item in self.items:
            return item
        self.ends += 1
        if self.writes_at_end:
            with contextlib.suppress(Exception):
                self.late("200 OK", [])
        raise StopIteration

    def close(self) -> None:
        self.closed += 1
        try:
            self.late("200 OK", [])
        except Exception as error:
            self.started_late.append(str(error))


@pytest.mark.parametrize(
    ("items", "length", "outcome"),
    [
        ([b"hello"], 5, "served"),
        ([b"x" * 65_536], 65_536, "served"),
        ([b"x" * 65_537], 65_537, RAN),
        ([b"hello", b""], 5, RAN),
        ([b"hello", b"more"], 5, RAN),
        ([b"hel", b"lo"], 5, RAN),
        ([b"", b"hello"], 5, RAN),
        ([b"hello"], 6, RAN),
        ([], 5, RAN),
        (["hello"], 5, RAN),
    ],
    ids=[
        "ordinary", "as much as is joined", "large", "empty at the end", "too much", "two items", "empty at the begin",
        "too little", "nothing", "no bytes",
    ],
)  # fmt: skip
def test_an_iterable_of_one_item_with_its_length_is_served_and_closed(
    straight_line_form: str, items: list[Any], length: int, outcome: Any
) -> None:
    seen = []
    for form in (None, straight_line_form):
        result = Closing(*items)

        def app(environ: Any, start_response: Any) -> Any:
            result.late = start_response  # noqa: B023
            start_response("200 OK", [("Content-Length", str(length))])
            return result  # noqa: B023

        client = StraightClient(app, form)
        received = client.send(request())
        assert result.closed == 1
        assert result.started_late == ["start_response() was called after the response had ended"]
        if form is not None:
            assert ["served" if type(one) is float else one for one in client.outcomes] == [outcome]
        seen.append((received, client.observed()))
        client.close()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("items", [[], [b"hello"], [b"hello", b""]])
@pytest.mark.parametrize("writes_at_end", [False, True])
def test_an_iterator_that_has_ended_is_not_asked_again(
    straight_line_form: str, items: list[bytes], writes_at_end: bool
) -> None:
    ends = []
    for form in (None, straight_line_form):
        result = Closing(*items)
        result.writes_at_end = writes_at_end

        def app(environ: Any, start_response: Any) -> Any:
            result.late = start_response  # noqa: B023
            start_response("200 OK", [("Content-Length", "5")])
            return result  # noqa: B023

        client = StraightClient(app, form)
        client.send(request())
        ends.append((result.ends, result.closed))
        client.close()
    assert ends[0] == ends[1]


@pytest.mark.parametrize("size", [5, 60_000])
@pytest.mark.parametrize("extra", [[], [b"more"]])
def test_an_iterable_that_does_not_fit_into_the_socket_is_closed_all_the_same(
    straight_line_form: str, size: int, extra: list[bytes]
) -> None:
    seen = []
    for form in (None, straight_line_form):
        result = Closing(b"x" * size, *extra)
        client = StraightClient(returning(headers=[("Content-Length", str(size))], result=result), form)
        client.use_small_buffer()
        seen.append((client.send(request()), result.closed, client.observed()))
        client.close()
    assert seen[0] == seen[1]
    assert seen[0][1] == 1


def test_a_result_is_closed_when_the_line_fails_behind_it(straight_line_form: str) -> None:
    """The line that ends each head is made anew, and that fails."""
    result = Closing(b"hello")
    client = StraightClient(returning(headers=[("Content-Length", "5")], result=result), straight_line_form)
    date_line = client.http.date_line
    calls: list[int] = []

    def failing() -> bytes:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError("no memory for the date")
        return date_line()

    client.http.date_line = failing  # type: ignore[method-assign]
    assert client.send(request()).startswith(b"HTTP/1.1 500 ")
    assert (result.closed, client.outcomes) == (1, [RAN])
    client.close()


def test_a_server_that_retires_leaves_the_line(straight_line_form: str) -> None:
    client = StraightClient(hello, straight_line_form)
    client.server.retiring = True
    assert b"Connection: close" in client.send(request())
    assert client.outcomes == [RAN]
    client.close()


def test_empty_lines_between_requests_on_the_line_are_not_added_up(straight_line_form: str) -> None:
    client = StraightClient(hello, straight_line_form)
    for _ in range(20):
        client.server.clock.advance(1.0)  # type: ignore[attr-defined]
        assert client.send(b"\r\n") == b""
        assert client.send(request()).endswith(b"hello ")
    assert client.straight == 20
    client.close()


def test_what_does_not_fit_into_the_socket_follows(straight_line_form: str) -> None:
    app = returning(headers=[("Content-Type", "text/plain")], result=[b"x" * 30_000, b"y" * 30_000])
    general, straight = StraightClient(app, None), StraightClient(app, straight_line_form)
    for client in (general, straight):
        client.use_small_buffer()
    assert straight.send(request(), request()) == general.send(request(), request())
    assert straight.outcomes == [RAN, RAN]
    assert straight.observed() == general.observed()
    for client in (general, straight):
        client.close()


# ---- what is shown while the application runs ----


def test_the_request_and_its_begin_are_shown_while_the_application_runs(straight_line_form: str) -> None:
    shown: list[Any] = []
    kept: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        driver = client.driver
        shown.append((driver.describe(), driver.running_since(), driver.client(), driver.request_id()))
        kept.append(driver.straight_response)
        return hello(environ, start_response)

    client = StraightClient(app, straight_line_form)
    client.send(request("GET", "/shown?x"))
    assert client.straight == 1
    assert shown == [("GET /shown?x", client.server.clock.now(), "", "")]
    assert client.driver.running_since() == 0.0
    assert kept[0].head is None  # and no error: a thread that shows the request may look at it in its last moment
    client.close()


@pytest.mark.parametrize("log", [False, True])
def test_the_deadline_is_that_of_the_last_request(straight_line_form: str, log: bool) -> None:
    client = StraightClient(hello, straight_line_form, HTTPSettings(keep_alive=15.0), log=log)
    for _ in range(3):
        client.server.clock.advance(10.0)  # type: ignore[attr-defined]
        client.send(request())
    assert client.straight == 3
    assert client.connection.deadline == client.server.clock.now() + 15.0
    assert client.driver.idle_since() == client.server.clock.now()
    client.close()


# ---- on a running server ----


class Counted:
    """A straight line that counts its calls, and how many of them have served their request to the end."""

    def __init__(self, line: Any) -> None:
        self._line = line
        self.calls = self.served = 0

    def __call__(self, connection: Any, now: float) -> Any:
        self.calls += 1
        outcome = self._line(connection, now)
        self.served += type(outcome) is float or outcome == MORE
        return outcome


@contextlib.contextmanager
def straight_site(app: Any, http: HTTPSettings = QUIET, **options: Any) -> Iterator[tuple[Site, Counted]]:
    """A running server, and its straight line."""
    application = HTTPApp(WSGIGateway(app), http)
    with serving(application, **options) as site:
        line = application.straight_line = Counted(application.straight_line)
        yield site, line


def exchange(site: Site, client: socket.socket) -> Response:
    """One request and its response; afterwards the connection waits for the next one, or is closed."""
    client.sendall(request())
    response = receive(client)
    wait_parked(site, client)
    return response


def waits(site: Site) -> list[str]:
    """What the connections wait for."""
    return [connection.wait_kind for connection in list(site.server._queue.connections.values())]


def wait_parked(site: Site, client: socket.socket) -> None:
    port = client.getsockname()[1]
    connections = site.server._queue.connections
    eventually(lambda: all(one.token for one in list(connections.values()) if one.peer[1] == port))


def test_every_request_of_a_connection_takes_it(straight_line_form: str) -> None:
    with straight_site(hello) as (site, line):
        client = site.connect()
        for _ in range(5):
            assert exchange(site, client).text == "hello "
        site.wait_for_stats(busy=0)
        eventually(lambda: line.served == 5)
        assert line.calls <= 6, "it may be called once before the client has sent anything"
        assert site.stats().handled == 5
        assert dict(((method, status), count) for method, status, count in site.stats().requests.responses) == {
            ("GET", 200): 5
        }


@pytest.mark.parametrize("first", [True, False])
def test_the_requests_of_a_pipeline_take_it(straight_line_form: str, first: bool) -> None:
    with straight_site(read_all, threads=1) as (site, line):
        client = site.connect()
        if not first:
            exchange(site, client)
        before = line.served
        # As much as one receive gets.
        client.sendall(b"".join(request("POST", body=b"%d" % number) for number in range(50)))
        data = b""
        while not data.endswith(b"\r\n\r\n49"):
            data += client.recv(65536)
        texts = []
        while data:
            response, data = take(data)
            texts.append(response.text)
        assert texts == [str(number) for number in range(50)]
        wait_parked(site, client)
        assert line.served - before == 50
        assert exchange(site, client).status == 200
        assert site.server.stats().handled == 51 + (not first)


def test_the_only_request_of_a_connection_takes_it(straight_line_form: str) -> None:
    with straight_site(hello) as (site, line):
        for number in range(1, 4):
            client = site.connect(request("GET", "/", "Connection: close"))
            response = receive(client)
            assert (response.text, response.fields["connection"]) == ("hello ", "close")
            assert client.recv(1) == b""
            eventually(lambda number=number: line.served == number)  # type: ignore[misc]
        site.wait_for_stats(connections=0, busy=0, handled=3)


def test_a_client_that_sends_more_after_its_last_request_gets_the_whole_response(straight_line_form: str) -> None:
    """A close while input is unread would be a reset."""
    more = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        assert more.wait(PATIENCE)
        return hello(environ, start_response)

    with straight_site(app) as (site, line):
        client = site.connect(request("GET", "/", "Connection: close"))
        eventually(lambda: site.stats().busy == 1)
        client.sendall(b"x" * 5000)
        more.set()
        site.wait_for_stats(busy=0, lingering=1)
        assert receive(client).text == "hello "
        assert line.served == 1
        assert client.recv(1) == b""


def test_a_function_after_the_last_response_is_called_when_the_connection_is_closed(straight_line_form: str) -> None:
    called = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        environ["reserve.after_response"](lambda: called.set() if ended.wait(PATIENCE) else None)
        return hello(environ, start_response)

    ended = threading.Event()
    with straight_site(app) as (site, line):
        client = site.connect(request("GET", "/", "Connection: close"))
        assert receive(client).text == "hello "
        assert client.recv(1) == b""
        ended.set()
        assert called.wait(PATIENCE)
        assert line.served == 1


def test_a_client_that_sends_nothing_is_closed_after_the_time_for_a_head(straight_line_form: str) -> None:
    with straight_site(hello, HTTPSettings(access_log=False, head_timeout=10.0, keep_alive=60.0)) as (site, line):
        silent, late = site.connect(), site.connect()
        site.wait_for_stats(parked=2)
        assert waits(site) == ["request", "request"]
        site.clock.advance(6)
        late.sendall(request()[:-1])
        eventually(lambda: sorted(waits(site)) == ["head", "request"])
        site.clock.advance(6)
        assert silent.recv(1) == b""
        assert receive(late).status == 408
        assert line.served == 0


def test_a_connection_is_idle_after_its_first_request(straight_line_form: str) -> None:
    """A silent one is not, and has its place until its time for a head is over."""
    with straight_site(hello, max_connections=2) as (site, line):
        silent, served = site.connect(), site.connect()
        exchange(site, served)
        site.wait_for_stats(parked=2, busy=0)
        assert line.served == 1
        assert receive(site.connect(request())).text == "hello "
        assert served.recv(1) == b""
        assert exchange(site, silent).text == "hello "


@pytest.mark.parametrize(
    "options",
    [{"request_timeout": 5.0}, {"max_running_per_client": 2}, {"poller": "portable"}, {"secure": True}],
    ids=["request timeout", "running per client", "no edges", "TLS"],
)
def test_what_makes_every_request_unusual_keeps_all_of_them_from_it(
    straight_line_form: str, options: dict[str, Any]
) -> None:
    if "poller" in options:
        options = {"poller": PortablePoller()}
    with straight_site(hello, **options) as (site, line):
        client = site.connect()
        for _ in range(3):
            assert exchange(site, client).text == "hello "
        assert line.calls == 0


@pytest.mark.parametrize("http", [{"debug": True}, {"server_timing": True}, {"keep_alive": 0.0}])
def test_settings_that_make_every_request_unusual_leave_the_application_without_one(
    straight_line_form: str, http: dict[str, Any]
) -> None:
    application = HTTPApp(WSGIGateway(hello), HTTPSettings(access_log=False, **http))
    with serving(application) as site:
        assert application.straight_line is None
        assert site.fetch().status == 200


def test_a_reload_of_the_settings_makes_another_one(straight_line_form: str) -> None:
    application = HTTPApp(WSGIGateway(hello), HTTPSettings(access_log=False, server_header="one"))
    with serving(application) as site:
        client = site.connect()
        assert [exchange(site, client).fields["server"] for _ in range(2)] == ["one", "one"]
        application.use_settings(HTTPSettings(access_log=False, server_header="two"))
        assert exchange(site, client).fields["server"] == "two"


def test_the_keep_alive_timeout_counts_from_the_last_request(straight_line_form: str) -> None:
    with straight_site(hello, HTTPSettings(access_log=False, keep_alive=15.0)) as (site, line):
        client = site.connect()
        for _ in range(4):
            exchange(site, client)
            site.wait_for_stats(busy=0, parked=1)
            site.clock.advance(10)
        eventually(lambda: line.served == 4)
        site.clock.advance(10)
        assert client.recv(1) == b""


def test_requests_with_a_body_take_it_whether_that_comes_with_the_head_or_later(straight_line_form: str) -> None:
    with straight_site(read_all) as (site, line):
        client = site.connect()
        exchange(site, client)
        whole = request("POST", body=b"x" * 1000)
        for pieces in ([whole], [whole[:-1000], whole[-1000:]], [whole[:-5], whole[-5:]]):
            calls = line.calls
            for piece in pieces:
                client.sendall(piece)
                eventually(lambda calls=calls: line.calls > calls)  # type: ignore[misc]
            assert receive(client).body == b"x" * 1000
            wait_parked(site, client)
        eventually(lambda: line.served == 2)
        assert site.stats().requests.bytes_received == len(request()) + 3 * len(whole)


def test_a_retiring_server_says_so_in_the_next_response(straight_line_form: str) -> None:
    with straight_site(hello) as (site, line):
        client = site.connect()
        assert "connection" not in [exchange(site, client).fields for _ in range(3)][-1]
        site.server.retire()
        assert exchange(site, client).fields["connection"] == "close"
        assert client.recv(1) == b""
        eventually(lambda: line.served == 3)


def test_a_stop_closes_a_connection_that_was_served_on_it(straight_line_form: str) -> None:
    with straight_site(hello) as (site, line):
        client = site.connect()
        for _ in range(3):
            exchange(site, client)
        site.wait_for_stats(busy=0, parked=1)
        eventually(lambda: line.served == 3)
        site.server.stop()
        assert client.recv(1) == b""


def test_an_idle_connection_closes_for_a_new_client_the_longest_idle_one_first(
    straight_line_form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reserve.engine.acceptor._IDLE_CLOSED_AT_ONCE", 1)
    with straight_site(hello, max_connections=2) as (site, line):
        first, second = site.connect(), site.connect()
        for client in (first, second, second, first):  # the first one was idle longer until its last request
            exchange(site, client)
            site.wait_for_stats(busy=0)
            site.clock.advance(1)
        eventually(lambda: line.served == 4)
        third = site.connect(request())
        assert receive(third).status == 200
        assert second.recv(1) == b""
        assert exchange(site, first).text == "hello "


def test_the_end_of_a_client_is_seen_after_requests_on_it(straight_line_form: str) -> None:
    with straight_site(hello) as (site, line):
        client = site.connect()
        for _ in range(3):
            exchange(site, client)
        client.close()
        site.wait_for_stats(connections=0)
        eventually(lambda: line.served == 3)


def test_stats_and_connections_show_what_runs_on_it(straight_line_form: str) -> None:
    gate = Gate()
    with straight_site(gate) as (site, line):
        client = site.connect()
        exchange(site, client)
        client.sendall(request("GET", "/wait"))
        gate.wait_entered()
        site.clock.advance(7)
        assert line.served == 1
        stats = site.stats()
        assert stats.busy == 1
        (thread,) = stats.workers
        assert ("GET /wait" in str(thread), "7.0" in str(thread)) == (True, True), thread
        gate.release()
        assert receive(client).text == "served"
        eventually(lambda: line.served == 2)


def test_functions_after_the_response_are_called_on_the_same_thread_while_the_connection_goes_on(
    straight_line_form: str,
) -> None:
    called: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        thread = threading.get_ident()
        environ["reserve.after_response"](lambda: called.append(thread == threading.get_ident()))
        return hello(environ, start_response)

    with straight_site(app) as (site, line):
        client = site.connect()
        for number in range(1, 4):
            assert exchange(site, client).text == "hello "
            eventually(lambda number=number: len(called) == number)  # type: ignore[misc]
        assert called == [True] * 3
        eventually(lambda: line.served == 3)


def test_a_worker_that_waits_has_another_one_in_its_place(straight_line_form: str) -> None:
    entered, released = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/wait":
            with environ["reserve.waiting"]():
                entered.set()
                assert released.wait(PATIENCE)
        return hello(environ, start_response)

    with straight_site(app, threads=1) as (site, _):
        waiting, other = site.connect(), site.connect()
        for client in (waiting, other):
            exchange(site, client)
        waiting.sendall(request("GET", "/wait"))
        assert entered.wait(PATIENCE)
        for _ in range(3):
            assert exchange(site, other).text == "hello "
        released.set()
        assert receive(waiting).text == "hello "


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_in_a_request_sends_nothing_and_closes_nothing_of_its_parent(
    straight_line_form: str,
) -> None:
    statuses: list[int] = []
    parent = os.getpid()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] != "/fork":
            return [b"other"]
        pid = os.fork()
        if not pid:
            return [b"child"]  # the worker's loop ends, and with it the process
        statuses.append(os.waitpid(pid, 0)[1])
        return [b"parent"]

    with straight_site(app) as (site, line):
        client = site.connect()
        exchange(site, client)
        client.sendall(request("GET", "/fork"))
        assert receive(client).text == "parent"
        assert exchange(site, client).text == "other"
        assert os.getpid() == parent
        assert line.calls >= 1
    assert statuses == [0]
