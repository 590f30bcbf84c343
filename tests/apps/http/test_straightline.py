"""The straight line: what it serves and what it declines, and that nobody can tell its responses from the others."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.straightline import DECLINED, RAN
from reserve.protocol.http1.limits import Limits
from tests.apps.http.doubles import hello
from tests.apps.http.responses import request
from tests.apps.http.straightclient import COMPILED, StraightClient

SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("SEEN", default="nothing")


class Program:
    """An application that does what a list of steps says, one list for each request, and notes what happens to it."""

    def __init__(self, programs: list[list[tuple[Any, ...]]]) -> None:
        self._programs = programs
        self.calls = 0
        self.notes: list[str] = []
        self._late: list[tuple[Any, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        steps = self._programs[self.calls % len(self._programs)]
        self.calls += 1
        self.notes.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {SEEN.get()} {sorted(environ)}")
        self.notes.append(repr(environ["wsgi.input"].read()))
        SEEN.set(f"request {self.calls}")
        environ["HTTP_USER_AGENT"] = "changed"
        write: Any = None
        result: Any = []
        for step in steps:
            kind, *arguments = step
            if kind == "start":
                status, headers, with_error = arguments
                write = self._try(lambda: self._start(start_response, status, list(headers), with_error)) or write
            elif kind == "write":
                if write is not None:
                    self._try(lambda: write(arguments[0]))
            elif kind == "hints":
                self._try(lambda: environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")]))
            elif kind == "after":
                self._try(lambda: environ["reserve.after_response"](lambda: self.notes.append(f"after {SEEN.get()}")))
            elif kind == "errors":
                environ["wsgi.errors"].write(arguments[0])
            elif kind == "late":
                for late_start, late_write in self._late:
                    self._try(lambda late_start=late_start: late_start("200 OK", []))
                    if late_write is not None:
                        self._try(lambda late_write=late_write: late_write(b"late"))
            elif kind == "raise":
                raise arguments[0]("the application fails")
            elif kind == "return":
                result = self._result(*arguments, start_response)
        self._late.append((start_response, write))
        return result

    def _start(self, start_response: Any, status: Any, headers: Any, with_error: bool) -> Any:
        if not with_error:
            return start_response(status, headers)
        try:
            raise KeyError("an error page")
        except KeyError:
            return start_response(status, headers, sys.exc_info())

    def _try(self, function: Any) -> Any:
        try:
            return function()
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
        return self._generate(kind, pieces, start_response)

    def _generate(self, kind: str, pieces: list[Any], start_response: Any) -> Iterator[Any]:
        self.notes.append(f"generator {SEEN.get()}")
        if kind == "late start":
            self._try(lambda: start_response("202 Accepted", []))
        yield from pieces
        if kind == "failing":
            raise ValueError("the generator fails")


statuses = st.sampled_from(
    ["200 OK", "404 Not Found", "200 OK", "204 No Content", "205 Reset", "304 Not Modified", "200", "20 OK", "200 \r\nX: y",
     "599 Odd", "100 Continue", 200]
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
    st.tuples(st.just("errors"), st.sampled_from(["a line\n", "partial", "two\nparts"])),
    st.tuples(st.just("raise"), st.sampled_from([ValueError, SystemExit, MemoryError])),
)
returned = st.tuples(
    st.just("return"),
    st.sampled_from(["list", "list", "list", "tuple", "bytes", "none", "generator", "failing", "late start"]),
    pieces,
)
ordinary = st.tuples(
    good_start, st.tuples(st.just("return"), st.just("list"), st.lists(st.sampled_from([b"hello", b""]), max_size=2))
).map(list)
program = st.one_of(ordinary, st.tuples(st.lists(steps, max_size=4), returned).map(lambda parts: [*parts[0], parts[1]]))
requests = st.builds(
    request,
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS", "NONE"]),
    st.sampled_from(["/", "/a?b=c", "/%E9", "http://test/", "*", "/x y"]),
    st.sampled_from(["User-Agent: me", "Referer: http://there/", "X-Other: 1"]),
    st.sampled_from(["Accept: */*", "Connection: close", "Upgrade: other", "Bad Field: x", "Expect: 100-continue", "X_Y: z"]),
    body=st.sampled_from([None, None, None, b"", b"body"]),
    minor=st.sampled_from([1, 1, 1, 0]),
)  # fmt: skip


@st.composite
def conversations(draw: Any) -> list[list[bytes]]:
    """What the client sends: requests, alone or pipelined, whole or in pieces."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        raw = b"".join(draw(st.lists(requests, min_size=1, max_size=2)))
        if draw(st.integers(0, 5)) == 0:
            raw = b"\r\n" + raw
        cuts = sorted(draw(st.lists(st.integers(1, len(raw) - 1), max_size=2)))
        found.append([raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)])
    return found


def played(form: str | None, programs: list[list[tuple[Any, ...]]], sent: list[list[bytes]]) -> dict[str, Any]:
    app = Program(programs)
    client = StraightClient(app, form)
    try:
        received = []
        for parts in sent:
            received.append(client.send(*parts))
            client.server.clock.advance(1.0)  # type: ignore[attr-defined]
        return {"received": received, "notes": app.notes, "calls": app.calls, **client.observed()}
    finally:
        client.close()


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


# ---- what it serves and what it declines ----


def outcomes(form: str, app: Any, *sent: bytes, settings: HTTPSettings | None = None) -> list[Any]:
    """What the line does with what is sent: ``served``, DECLINED or RAN."""
    client = StraightClient(app, form, settings)
    try:
        client.send(*sent)
        return ["served" if type(outcome) is float else outcome for outcome in client.outcomes]
    finally:
        client.close()


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_a_request_without_a_body_is_served(straight_line_form: str, method: str) -> None:
    assert outcomes(straight_line_form, hello, request(method), request(method)) == ["served", "served"]


@pytest.mark.parametrize(
    "raw",
    [
        request("HEAD"),
        request("POST", body=b"body"),
        request(minor=0),
        request("GET", "/", "Connection: close"),
        request("GET", "/", "Connection: Upgrade", "Upgrade: other"),
        request("GET", "/", "Bad Field: x"),
        request("GET", "/", "X: " + "x" * 5000),
        b"\r\n" + request(),
        request() + request(),
        request()[:-1],
        b"\x16\x03\x01\x00\x05hello",
    ],
    ids=[
        "HEAD", "a body", "HTTP/1.0", "Connection", "Upgrade", "invalid", "large", "an empty line", "pipelined",
        "a part", "no HTTP",
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
        "iterator", "not bytes", "large", "wrong length", "204", "304", "status", "Connection", "Date", "write", "twice",
        "hints", "no start_response", "exception",
    ],
)  # fmt: skip
def test_a_response_that_is_not_ordinary_leaves_the_line(straight_line_form: str, app: Any, status: int) -> None:
    client = StraightClient(app, straight_line_form)
    received = client.send(request())
    assert client.outcomes == [RAN]
    assert received.startswith(b"HTTP/1.1 %d " % status)
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


# ---- what is shown while the application runs ----


def test_the_request_and_its_begin_are_shown_while_the_application_runs(straight_line_form: str) -> None:
    shown: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        driver = client.driver
        shown.append((driver.describe(), driver.running_since(), driver.client(), driver.request_id()))
        return hello(environ, start_response)

    client = StraightClient(app, straight_line_form)
    client.send(request("GET", "/shown?x"))
    assert client.straight == 1
    assert shown == [("GET /shown?x", client.server.clock.now(), "", "")]
    assert client.driver.running_since() == 0.0
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
