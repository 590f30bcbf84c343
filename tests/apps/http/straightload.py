"""Requests of every kind on the straight line in C, again and again, on one interpreter without pytest.

``python -m tests.apps.http.straightload MODULE ROUNDS [count]`` serves ROUNDS times each of :data:`KINDS`, with the
compiled module at MODULE (``-``: the one of this clone): under AddressSanitizer, which ends the process at an error;
or, with ``count``, on a debug build of CPython, to see that the references of all objects stay as many. The last line
is ``passed``, with how many requests there were.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import importlib.machinery
import importlib.util
import io
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

Start = Callable[..., Any]


def load(path: str) -> Any:
    """Load this compiled module in place of the one of this clone, before anything else imports that."""
    importlib.import_module("reserve.apps.http")
    name = "reserve.apps.http._straightline"
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


class Text(str):
    __slots__ = ()


# ---- applications: what is ordinary, what is not, and what none should do ----


def ordinary(environ: Any, start: Start) -> Any:
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def stated(environ: Any, start: Start) -> Any:
    start("404 Not Found", [("Content-Length", "6"), ("Set-Cookie", "\xe9")], None)
    return b"not", b"", b"fnd"


def returning(result: Callable[[], Any], status: Any = "200 OK", *fields: Any) -> Any:
    def app(environ: Any, start: Start) -> Any:
        start(status, list(fields))
        return result()

    return app


def failing(before: bool) -> Any:
    def app(environ: Any, start: Start) -> Any:
        if not before:
            start("200 OK", [])
        raise ValueError("the application fails")

    return app


def generating(environ: Any, start: Start) -> Any:
    start("200 OK", [])
    yield b"one"
    yield b"two"


def late(environ: Any, start: Start) -> Any:
    yield b""
    start("200 OK", [])
    yield b"late"


def writing(environ: Any, start: Start) -> Any:
    write = start("200 OK", [])
    write(b"written")
    write(b"again")
    return [b"end"]


def starting_again(environ: Any, start: Start) -> Any:
    start("200 OK", [("A", "b")])
    with contextlib.suppress(Exception):
        start("200 OK", [])
    try:
        raise KeyError("an error page")
    except KeyError:
        start("500 Error", [("B", "c")], sys.exc_info())
    return [b"error"]


def by_keywords(environ: Any, start: Start) -> Any:
    start(status="200 OK", headers=[])
    return [b"x"]


def wrongly(environ: Any, start: Start) -> Any:
    for arguments in (
        (),
        ("200 OK",),
        (1, 2, 3, 4),
        ("200 OK", ()),
        (None, None),
        ("200 OK", [("a",)]),
        ("200 OK", [1]),
    ):
        with contextlib.suppress(Exception):
            start(*arguments)
    return [b"x"]


def in_another_thread(environ: Any, start: Start) -> Any:
    thread = threading.Thread(target=start, args=("200 OK", [("X", "thread")]))
    thread.start()
    thread.join()
    return [b"x"]


def writing_in_another_thread(environ: Any, start: Start) -> Any:
    thread = threading.Thread(target=start("200 OK", []), args=(b"thread",))
    thread.start()
    thread.join()
    return []


def keeping(environ: Any, start: Start) -> Any:
    kept.append((environ, start, start("200 OK", [])))
    environ["kept"] = start, environ
    return [b"kept"]


def using_what_was_kept(environ: Any, start: Start) -> Any:
    from reserve.errors import ApplicationError

    while kept:
        old_environ, old_start, old_write = kept.pop()
        for call in (lambda: old_start("200 OK", []), lambda: old_write(b"x"), lambda: old_start.write(b"x")):  # noqa: B023
            try:
                call()
            except ApplicationError:
                continue
            raise AssertionError("it has not ended")
        assert old_start.connection is None
        assert old_start.head is None
        old_environ.clear()
    return ordinary(environ, start)


def looking_at_everything(environ: Any, start: Start) -> Any:
    before = start.head.environ, start.lines, start.variables, start.status, start.referer  # type: ignore[attr-defined]
    start("200 OK", [])
    start.lines = []  # type: ignore[attr-defined]
    start("201 Again", [("X", "y")])
    return [b"x", repr((before[1], start.code, start.begun)).encode()]  # type: ignore[attr-defined]


def spoiling(name: str, value: Any) -> Any:
    """Set or delete an attribute of its response."""

    def app(environ: Any, start: Any) -> Any:
        start("200 OK", [])
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            delattr(start, name) if value is Ellipsis else setattr(start, name, value)
        return [b"x"]

    return app


def spoiling_the_connection(name: str) -> Any:
    def app(environ: Any, start: Any) -> Any:
        connection = start.connection
        value = getattr(connection, name)
        environ["reserve.after_response"](lambda: setattr(connection, name, value))
        delattr(connection, name)
        start("200 OK", [])
        return [b"x"]

    return app


class Ending:
    """What calls start_response when it is collected."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.cycle = self

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.start("500 Garbage", [("From", "garbage")])


def collected(environ: Any, start: Start) -> Any:
    environ["ending"] = Ending(start)
    del environ["ending"]
    for _ in range(30):  # one of these collects the garbage
        [[] for _ in range(30)]
        start.lines = []  # type: ignore[attr-defined]
        with contextlib.suppress(Exception):
            start("200 OK", [("X", "y")])
    return [b"x"]


def reporting(environ: Any, start: Start) -> Any:
    environ["wsgi.errors"].write("a line\nand a part")
    environ["reserve.after_response"](lambda: None)
    environ["wsgi.early_hints"]([("Link", "</a>")])
    return ordinary(environ, start)


def partial(environ: Any, start: Start) -> Any:
    environ["wsgi.errors"].write("a part")
    return ordinary(environ, start)


class Closing:
    """An iterable that is closed."""

    def __init__(self, *items: Any, at_end: Callable[[], Any] = int, at_close: Callable[[], Any] = int) -> None:
        self.items = iter(items)
        self.at_end, self.at_close = at_end, at_close

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        for item in self.items:
            return item
        self.at_end()
        raise StopIteration

    def close(self) -> None:
        self.at_close()


def iterating(*items: Any, **keywords: Any) -> Any:
    """Five bytes, the first item of an iterable perhaps."""
    return returning(lambda: Closing(*items, **keywords), "200 OK", ("Content-Length", "5"))


def fail() -> None:
    raise ValueError("it fails")


def writing_at_the_end(environ: Any, start: Start) -> Any:
    write = start("200 OK", [("Content-Length", "5")])

    def more() -> None:
        with contextlib.suppress(Exception):
            write(b"more")
        with contextlib.suppress(Exception):
            start("200 OK", [])

    return Closing(b"hello", at_end=more, at_close=more)


def reading(environ: Any, start: Start) -> Any:
    start("200 OK", [])
    return [environ["wsgi.input"].read()]


def keeping_input(environ: Any, start: Start) -> Any:
    content = environ["wsgi.input"]
    kept_inputs.append((content, content.getbuffer() if type(content) is io.BytesIO else None))
    environ["cycle"] = content.__dict__["environ"] = environ  # collected with all that it refers to
    return reading(environ, start)


def using_the_kept_input(environ: Any, start: Start) -> Any:
    while kept_inputs:
        content, view = kept_inputs.pop()
        assert view is None or len(view) == 4
        del view
        content.close()
    environ["wsgi.input"].close()
    return ordinary(environ, start)


def taking_the_input_away(environ: Any, start: Start) -> Any:
    del environ["wsgi.input"]
    environ["CONTENT_LENGTH"] = None
    start.content.write(b"x" * 10_000)  # type: ignore[attr-defined]
    return ordinary(environ, start)


kept_inputs: list[Any] = []
kept: list[Any] = []
pieces = [b"p"] * 14

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
LONG = b"GET /%41%zz%?q=%20 HTTP/1.1\r\nHost: test\r\nReferer: x\r\nUser-Agent: y\r\nX-\xe9: z\r\n\r\n".replace(
    b"\xe9", b"E"
)

POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody"


def post(size: int, stated: str = "") -> bytes:
    length = (stated or str(size)).encode()
    return b"PUT /%41 HTTP/1.1\r\nHost: test\r\ncontent-length: " + length + b"\r\n\r\n" + b"x" * size


#: What is sent, and the application that serves it.
KINDS: list[tuple[bytes, Any]] = [
    (GET, ordinary),
    (GET, stated),
    (LONG, ordinary),
    (b"GET /?" + b"x" * 4000 + b" HTTP/1.1\r\nHost: test\r\n\r\n", ordinary),
    (b"OPTIONS /a HTTP/1.1\r\nHost: test\r\nConnection: keep-alive\r\nX: \xe9\t\x80\r\n\r\n", ordinary),
    (GET, iterating(b"hello")),
    (GET, returning(lambda: iter([b"hello"]), "200 OK", ("Content-Length", "5"))),
    # ---- with a body
    (POST, reading),
    (POST, ordinary),
    (post(0), reading),
    (post(1), reading),
    (post(4000), reading),
    (post(8100), reading),
    (POST, keeping_input),
    (POST, using_the_kept_input),
    (POST, taking_the_input_away),
    (POST, generating),
    (POST, writing),
    (POST, failing(before=True)),
    (POST, reporting),
    (POST, returning(lambda: [b"x" * 30_000] * 2)),
    # ---- declined
    (b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n", ordinary),
    (post(4, "04"), reading),
    (post(4, "+4"), reading),
    (post(8192), reading),
    (post(4, "4\r\nContent-Length: 4"), reading),
    (post(4, "4\r\nTransfer-Encoding: chunked"), reading),
    (post(4, "4\r\nExpect: 100-continue"), reading),
    (post(4, "3"), reading),
    (POST + GET, ordinary),
    (POST[:-1], ordinary),
    (b"GET / HTTP/1.1\r\nHost: test\r\nX: 1\r\nX: 2\r\n\r\n", ordinary),
    (b"GET / HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n", ordinary),
    (b"GET / HTTP/1.1\r\nhOST: test\r\n\r\n", ordinary),
    (b"GET / HTTP/1.1\r\n\r\n", ordinary),
    (b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: x\r\n\r\n", ordinary),
    (b"GET / HTTP/1.0\r\n\r\n", ordinary),
    (b"GET / HTTP/1.1\r\nHost: test\r\nX_Y: 1\r\n\r\n", ordinary),
    (b"NONE / HTTP/1.1\r\nHost: test\r\n\r\n", ordinary),
    (b"GET / HTTP/1.1\r\nHost: test\r\nBad Name: 1\r\n\r\n", ordinary),
    (b"GET / HTTP/1.1\r\nHost: test\r\nX: \x00\r\n\r\n", ordinary),
    (b"\x80" + GET, ordinary),
    (GET + GET, ordinary),
    (b"\r\n" + GET + b"\r\n", ordinary),
    (b"GET /special HTTP/1.1\r\nHost: test\r\n\r\n", ordinary),
    # ---- left
    (GET, generating),
    (GET, late),
    (GET, writing),
    (GET, failing(before=True)),
    (GET, failing(before=False)),
    (GET, starting_again),
    (GET, by_keywords),
    (GET, wrongly),
    (GET, lambda environ, start: []),
    (GET, returning(lambda: None)),
    (GET, returning(lambda: pieces)),
    (GET, returning(lambda: [*pieces, b"more"])),
    (GET, returning(lambda: [b"x" * 30_000] * 3)),
    (GET, returning(lambda: [b"x" * 65_536])),
    (GET, returning(lambda: [b"x", None])),
    (GET, returning(lambda: [], "204 No Content")),
    (GET, returning(lambda: [b"x"], "200")),
    (GET, returning(lambda: [b"x"], "200 \r\n")),
    (GET, returning(lambda: [b"x"], Text("200 OK"))),
    (GET, returning(lambda: [b"x"], "200 \u20ac")),
    (GET, returning(lambda: [b"x"], "200 \udc80\U0001f600")),
    (GET, returning(lambda: [b"x"], "200 OK", ("Content-Length", "2"))),
    (GET, returning(lambda: [b"x"], "200 OK", ("Content-Length", "9" * 18))),
    (GET, returning(lambda: [b"x"], "200 OK", ("Content-Length", "1"), ("content-length", "1"))),
    (GET, returning(lambda: [b"x"], "200 OK", ("Connection", "close"))),
    (GET, returning(lambda: [b"x"], "200 OK", ("Date", "now"), ("", "x"))),
    (GET, returning(lambda: [b"x"], "200 OK", (Text("X"), Text("y")))),
    (GET, returning(lambda: [b"x"], "200 OK", ("X\U0001f600", "\u20ac"))),
    (GET, returning(lambda: [b"x"], "200 OK", ("X", "\ud800"))),
    (GET, returning(lambda: [b"x"], "200 OK", ["X", "y"], None, ("X",), ("X", "y", "z"))),
    (GET, returning(lambda: [b"x"], "200 OK", *[("X", "y" * 900)] * 5)),
    (GET, returning(lambda: [b"x"], "200 OK", *[("X", "y")] * 5000)),
    (GET, iterating()),
    (GET, iterating("hello")),
    (GET, iterating(b"hell")),
    (GET, iterating(b"hello", b"")),
    (GET, iterating(b"hello", b"more")),
    (GET, iterating(b"hello", at_end=fail)),
    (GET, iterating(b"hello", at_close=fail)),
    (GET, iterating(b"hell", b"o", at_end=fail, at_close=fail)),
    (GET, writing_at_the_end),
    (GET, returning(lambda: Closing(b"x" * 60_000), "200 OK", ("Content-Length", "60000"))),
    (GET, returning(lambda: Closing(b"x" * 60_000, b"y"), "200 OK", ("Content-Length", "60000"))),
    (GET, returning(lambda: 5, "200 OK", ("Content-Length", "5"))),
    (GET, returning(lambda: "hello", "200 OK", ("Content-Length", "5"))),
    # ---- what none should do
    (GET, in_another_thread),
    (GET, writing_in_another_thread),
    (GET, keeping),
    (GET, using_what_was_kept),
    (GET, looking_at_everything),
    (GET, collected),
    (GET, reporting),
    (GET, partial),
    *[
        (GET, spoiling(name, value))
        for name in ("connection", "wsgi", "lines", "head", "status", "code", "other")
        for value in (None, 5, Ellipsis)
    ],
    *[(GET, spoiling_the_connection(name)) for name in ("fd", "driver", "deadline", "server")],
]


def pieces_of(raw: bytes) -> list[bytes]:
    """A head and what follows it, in pieces that one receive gets, whatever it asks for."""
    end = raw.find(b"\r\n\r\n") + 4
    return [part[at : at + 4096] for part in (raw[:end], raw[end:]) for at in range(0, len(part), 4096)]


class Load:
    """Serves each kind, on connections with a log and without, whose parser is that of the line or another, and whose
    bodies come with their heads or at once after them.
    """

    def __init__(self) -> None:
        from reserve.apps.http.settings import HTTPSettings
        from tests.apps.http.straightclient import StraightClient

        self._make = StraightClient
        self._settings = [
            HTTPSettings(),
            HTTPSettings(underscores="refuse", server_header="x" * 600),
            HTTPSettings(access_log_skip=("/no*",), health_path="/special", request_id="response"),
        ]
        self.requests = 0
        self.straight = 0
        self._app: Any = None

    def run(self, variant: int, kinds: list[tuple[bytes, Any]] = KINDS) -> None:
        """Each kind once."""
        client = None
        for raw, self._app in kinds:
            if client is None:
                client = self._open(variant)
            if variant % 5 == 3:
                client.send_segments(*pieces_of(raw))
            else:
                client.send(raw)
            self.requests += raw.count(b" HTTP/1.")
            self.straight += client.straight
            client.outcomes.clear()
            client._records.clear()
            client.server.log.lines.clear()
            if client.closed or client.driver._wait.kind != "keep-alive":
                client.close()
                client = None
        if client is not None:
            client.close()
        kept.clear()

    def _open(self, variant: int) -> Any:
        client = self._make(
            lambda environ, start: self._app(environ, start),
            "C",
            self._settings[variant % 3],
            log=variant % 2 == 0,
            segments=variant % 5 == 3,
        )
        if variant % 5 == 1:
            from reserve.protocol.http1.head import parse_head

            client.driver.parse_head = lambda *args, **keywords: parse_head(*args, **keywords)
        if variant % 5 == 2:
            client.use_small_buffer()
        return client


def main(arguments: list[str]) -> None:
    path, rounds, *how = arguments
    if path != "-":
        load(path)
    warnings.simplefilter("ignore")
    cycle = Load()
    if not how:
        for variant in range(int(rounds)):
            cycle.run(variant)
            if variant == 29:
                gc.collect()
    else:
        check_references(cycle, int(rounds))
    assert cycle.straight > cycle.requests // 5, (cycle.straight, cycle.requests)
    print(f"passed {cycle.requests} requests", flush=True)


def check_references(cycle: Load, rounds: int) -> None:
    """Serve each kind ``rounds`` times, and fail if there is a reference more for each time."""
    per_round = 12  # variants
    for variant in range(per_round):
        cycle.run(variant)
    before = _count()
    counts = array.array("q")  # a list would have references itself
    for _ in range(max(3, rounds // per_round)):
        for variant in range(per_round):
            cycle.run(variant)
        counts.append(_count() - before)
    print("references:", *counts, flush=True)
    grown = counts[-1] - counts[0]
    assert grown < len(counts), f"{grown} references more after {len(counts) - 1} rounds: {counts}"


def _count() -> int:
    from reserve.protocol.http1.responsefields import CACHED_LINES

    CACHED_LINES.clear()  # it has the ID of each response
    for _ in range(3):
        gc.collect()
    return sys.gettotalrefcount()  # type: ignore[attr-defined, no-any-return]


if __name__ == "__main__":
    main(sys.argv[1:])
