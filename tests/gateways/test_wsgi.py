"""What a WSGI application returns, and how its answer ends."""

from __future__ import annotations

import gc
import io
import logging
import pathlib
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from reserve.errors import ApplicationError, ClientDisconnected, UsageError
from reserve.gateways.exchange import Exchange
from reserve.gateways.response import BLOCK
from reserve.gateways.streams import ErrorStream, FileWrapper
from reserve.gateways.wsgi import WSGIGateway, log_error, request_line
from tests.gateways.fakes import Closing, FakeExchange, request, serve

PLAIN = [("Content-Type", "text/plain")]
FATAL = [
    RuntimeError("on purpose"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    MemoryError(),
    RecursionError("too deep"),
    ConnectionResetError("of the application's own database"),
]


def returning(result: Any, status: str = "200 OK", headers: Any = PLAIN) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return result

    return app


class Sized:
    def __init__(self, *pieces: bytes, size: Any = None) -> None:
        self.pieces = pieces
        self.size = len(pieces) if size is None else size

    def __len__(self) -> int:
        if isinstance(self.size, BaseException):
            raise self.size
        return int(self.size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)


class Indexed:
    """The iteration protocol that is older than ``__iter__``."""

    def __getitem__(self, index: int) -> bytes:
        return [b"a", b"b"][index]


class OddBytes(bytes):
    def __len__(self) -> int:
        return 1

    def __bytes__(self) -> bytes:
        return b"something else"


@pytest.mark.parametrize(
    ("result", "sends", "length"),
    [
        ([b"hello"], [b"hello"], 5),
        ((b"hello",), [b"hello"], 5),
        ([], [], 0),
        ((), [], 0),
        ([b""], [], 0),
        ([b"a", b"", b"bc"], [b"abc"], 3),
        ((b"a", b"b"), [b"ab"], 2),
        (iter([b"a", b"b"]), [b"a", b"b"], None),
        ((piece for piece in (b"", b"a", b"", b"b", b"")), [b"a", b"b"], None),
        ((piece for piece in [b""][:0]), [], 0),
        ((piece for piece in (b"", b"")), [], 0),
        (Sized(b"hello"), [b"hello"], 5),
        (Sized(b"a", b"b"), [b"a", b"b"], None),
        (Sized(), [], 0),
        (Sized(b"a", size=TypeError()), [b"a"], None),
        (Sized(b"a", size=NotImplementedError()), [b"a"], None),
        (Indexed(), [b"a", b"b"], None),
        ({b"only": 1}, [b"only"], 4),
        ([OddBytes(b"odd")], [b"odd"], 3),
        ([b"x" * BLOCK, b"y"], [b"x" * BLOCK, b"y"], BLOCK + 1),
        ([b"x"] * (BLOCK + 2), [b"x" * BLOCK, b"xx"], BLOCK + 2),
        ([b"a", b"x" * BLOCK, b"b", b"c"], [b"a", b"x" * BLOCK, b"bc"], BLOCK + 3),
    ],
)
def test_every_kind_of_iterable(result: Any, sends: list[bytes], length: int | None) -> None:
    served = serve(returning(result))
    assert served.exchange.sends == sends
    assert served.exchange.length == length
    assert served.exchange.complete
    assert served.logged == []


def test_a_large_piece_of_a_list_is_not_copied() -> None:
    large = b"x" * (2 * BLOCK)
    served = serve(returning([b"small", large]))
    assert served.exchange.sends[1] is large


def test_a_lone_piece_is_sent_as_it_is_and_the_head_is_fixed_once() -> None:
    piece = b"hello"
    served = serve(returning([piece]))
    assert served.exchange.sends[0] is piece
    assert len(served.exchange.begins) == 1


def test_a_head_with_content_length_is_fixed_inside_start_response() -> None:
    seen: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("content-LENGTH", "2")])
        seen.append(len(exchanges[0].begins))
        return [b"ok"]

    exchanges: list[FakeExchange] = []
    served = serve(app, wrap=exchanges.append)
    assert seen == [1]
    assert len(served.exchange.begins) == 1


def test_pieces_leave_one_by_one_while_the_generator_runs() -> None:
    exchanges: list[FakeExchange] = []
    counts: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        for piece in (b"a", b"", b"b"):
            yield piece
            counts.append(len(exchanges[0].sends))

    assert serve(app, wrap=exchanges.append).exchange.body == b"ab"
    assert counts == [1, 1, 2]


def test_start_response_may_come_as_late_as_the_first_piece() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        yield b""
        start_response("201 Created", PLAIN)
        yield b"made"

    served = serve(app)
    assert (served.exchange.status, served.exchange.body) == ("201 Created", b"made")
    assert served.exchange.complete


def test_start_response_at_the_very_end_of_an_empty_generator() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        yield b""
        start_response("200 OK", PLAIN)

    served = serve(app)
    assert (served.exchange.length, served.exchange.complete) == (0, True)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "returned None"),
        ("text", "return [body]"),
        (b"octets", "return [body]"),
        (42, "not an iterable of bytes"),
        (["text"], "encode it first"),
        (("text",), "encode it first"),
        ([b"a", "text"], "encode it first"),
        (iter(["text"]), "encode it first"),
        ({"text": 1}, "encode it first"),
        ([bytearray(b"a")], "bytearray"),
        ([memoryview(b"a")], "memoryview"),
        ([None], "None"),
        (iter([b"", 7]), "int 7"),
    ],
)
def test_wrong_results_are_a_clean_500_with_clear_words(result: Any, words: str) -> None:
    served = serve(returning(result))
    assert served.exchange.ends == ["500"]
    assert isinstance(served.error, ApplicationError)
    assert words in str(served.error)


@pytest.mark.parametrize(
    "result", [[b"a"], (b"a",), [], [b"a", b"b"], iter([b"a"]), iter([]), FileWrapper(io.BytesIO(b"a"))]
)
def test_no_start_response_is_a_500(result: Any) -> None:
    served = serve(lambda environ, start_response: result)
    assert served.exchange.ends == ["500"]
    assert isinstance(served.error, ApplicationError)
    assert "without a successful start_response()" in str(served.error)


def test_start_response_after_the_first_piece_is_too_late() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        yield b"early"
        start_response("200 OK", PLAIN)

    served = serve(app)
    assert served.exchange.ends == ["500"]
    assert isinstance(served.error, ApplicationError)


def test_a_coroutine_function_is_refused_and_closed() -> None:
    async def app(environ: Any, start_response: Any) -> Any:
        raise AssertionError("never runs")

    served = serve(app)  # type: ignore[arg-type]
    assert served.exchange.ends == ["500"]
    assert "coroutine" in str(served.error)


@pytest.mark.parametrize("error", FATAL, ids=lambda error: type(error).__name__)
def test_whatever_the_application_raises_is_a_500(error: BaseException) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise error

    served = serve(app)
    assert served.exchange.ends == ["500"]
    assert served.error is error
    assert served.logged[0][0] == f"GET /page: the application failed: {type(error).__name__}"


@pytest.mark.parametrize("error", FATAL, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("before", "end"), [((), "500"), ((b"",), "500"), ((b"half",), "abort")])
def test_whatever_the_iterable_raises_never_looks_complete(
    error: BaseException, before: tuple[bytes, ...], end: str
) -> None:
    result = Closing(*before, error)
    served = serve(returning(result))
    assert served.exchange.ends == [end]
    assert served.error is error
    assert result.closed == 1


def test_an_error_after_start_response_is_still_a_500() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "10")])
        raise RuntimeError("late")

    assert serve(app).exchange.ends == ["500"]


@pytest.mark.parametrize(
    ("declared", "pieces", "end"), [("5", (b"abc",), "abort"), ("2", (b"abc",), "abort"), ("5", (), "abort")]
)
def test_content_length_that_is_not_kept(declared: str, pieces: tuple[bytes, ...], end: str) -> None:
    result = Closing(*pieces)
    served = serve(returning(result, headers=[("Content-Length", declared)]))
    assert served.exchange.ends == [end]
    assert isinstance(served.error, ApplicationError)
    assert result.closed == 1


@pytest.mark.parametrize("rest", [[b"three"], [b"th", b"ree"], Sized(b"three"), [b"", b"three"]])
def test_write_then_the_iterable(rest: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", PLAIN)
        write(b"")
        write(b"one ")
        write(b"two ")
        return rest

    served = serve(app)
    assert served.exchange.sends == [b"one ", b"two ", b"three"]
    assert served.exchange.begins == [("200 OK", PLAIN, None)]
    assert served.exchange.complete


def test_write_takes_bytes_only() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)("text")
        return []

    served = serve(app)
    assert served.exchange.ends == ["500"]
    assert "write() got str 'text'" in str(served.error)


def test_calls_after_the_end_are_refused() -> None:
    kept: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        kept.extend((start_response, start_response("200 OK", PLAIN)))
        return [b"done"]

    served = serve(app)
    with pytest.raises(ApplicationError, match="ended"):
        kept[0]("200 OK", PLAIN)
    with pytest.raises(ApplicationError, match="ended"):
        kept[1](b"more")
    assert served.exchange.body == b"done"


@pytest.mark.parametrize("failing", [False, True])
def test_close_exactly_once_after_a_whole_answer(failing: bool) -> None:
    result = Closing(b"a", b"b", on_close=RuntimeError("in close") if failing else None)
    served = serve(returning(result))
    assert (served.exchange.complete, served.exchange.body, result.closed) == (True, b"ab", 1)
    assert [text for text, _ in served.logged] == (
        ["GET /page: close() of the response failed: RuntimeError"] if failing else []
    )


def test_close_comes_after_finish() -> None:
    exchanges: list[FakeExchange] = []

    class Result(Closing):
        def close(self) -> None:
            exchanges[0].events.append("close")

    assert serve(returning(Result(b"a")), wrap=exchanges.append).exchange.events == ["send", "finish", "close"]


@pytest.mark.parametrize("error", FATAL, ids=lambda error: type(error).__name__)
def test_errors_in_iteration_and_in_close_are_both_logged(error: BaseException) -> None:
    result = Closing(b"a", RuntimeError("first"), on_close=error)
    served = serve(returning(result))
    assert [type(logged) for _, logged in served.logged] == [RuntimeError, type(error)]
    assert (served.exchange.ends, result.closed) == (["abort"], 1)


def test_close_without_start_response_and_with_a_wrong_piece() -> None:
    first, second = Closing(b"a"), Closing("text")
    serve(lambda environ, start_response: first)
    serve(returning(second))
    assert (first.closed, second.closed) == (1, 1)


def test_close_is_called_on_something_that_cannot_be_iterated() -> None:
    class Odd:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    result = Odd()
    assert serve(returning(result)).exchange.ends == ["500"]
    assert result.closed == 1


def test_a_list_subclass_is_closed_too() -> None:
    class Closable(list[bytes]):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    result = Closable([b"a", b"b"])
    assert serve(returning(result)).exchange.body == b"ab"
    assert result.closed == 1


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_a_client_that_went_away_stops_the_iteration(sent: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "reserve.error")
    result = Closing(b"a", b"b", b"c", b"d")
    served = serve(returning(result), disconnect_after=sent)
    assert served.exchange.ends == ["abort"]
    assert (result.closed, result.taken) == (1, sent + 1)
    assert served.logged == []
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("DEBUG", None)]
    assert "GET /page: the client closed the connection" in caplog.text


def test_a_client_that_went_away_during_write_and_close() -> None:
    closed = Closing(on_close=ClientDisconnected("gone"))

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)(b"data")
        raise AssertionError("not reached")

    served = serve(app, disconnect_after=0)
    assert (served.exchange.ends, served.logged) == (["abort"], [])
    served = serve(returning(closed))
    assert (served.exchange.complete, served.logged, closed.closed) == (True, [], 1)


def test_a_client_that_goes_away_does_not_hide_the_applications_own_error() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        try:
            start_response("200 OK", PLAIN)(b"data")
        except ClientDisconnected:
            raise RuntimeError("while cleaning up") from None

    served = serve(app, disconnect_after=0)
    assert isinstance(served.error, RuntimeError)


@pytest.mark.parametrize(
    ("headers", "start", "body"),
    [(PLAIN, 0, b"0123456789"), (PLAIN, 4, b"456789"), ([("Content-Length", "3")], 4, b"456")],
)
@pytest.mark.parametrize("takes_files", [True, False])
@pytest.mark.parametrize("block_size", [1, 4, 100])
def test_file_wrapper(
    tmp_path: pathlib.Path, headers: Any, start: int, body: bytes, takes_files: bool, block_size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    files: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        file = path.open("rb")
        file.seek(start)
        files.append(file)
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](file, block_size)

    served = serve(app, takes_files=takes_files)
    assert served.exchange.body == body
    assert served.exchange.complete
    assert served.exchange.files == ([body] if takes_files else [])
    assert files[0].closed


@pytest.mark.parametrize("wrap", [iter, list, lambda wrapper: (piece for piece in wrapper)])
def test_only_the_wrapper_itself_is_sent_as_a_file(tmp_path: pathlib.Path, wrap: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    class Other(FileWrapper):
        def __next__(self) -> bytes:
            return super().__next__().upper()

    with path.open("rb") as file:
        result = Other(file) if wrap is iter else wrap(FileWrapper(file))
        served = serve(returning(result))
    assert (served.exchange.body, served.exchange.files) == (b"0123456789", [])


def test_a_text_file_in_the_wrapper_is_an_error_and_closed() -> None:
    file = io.StringIO("text")
    served = serve(returning(FileWrapper(file)))  # type: ignore[arg-type]
    assert served.exchange.ends == ["500"]
    assert "the file's read() returned str" in str(served.error)
    assert file.closed


def test_file_wrapper_after_write() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)(b"head ")
        return environ["wsgi.file_wrapper"](io.BytesIO(b"rest"))

    assert serve(app).exchange.body == b"head rest"


def test_unfinished_lines_of_wsgi_errors_end_with_the_request() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        environ["wsgi.errors"].write("no line end")
        return []

    assert serve(app).errors == ["no line end\n"]


def test_wsgi_errors_that_cannot_be_written_are_reported() -> None:
    def full(text: str) -> None:
        raise OSError(28, "No space left on device")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        environ["wsgi.errors"].write("no line end")
        return [b"body"]

    logged: list[tuple[str, BaseException]] = []
    gateway = WSGIGateway(app, log=lambda text, error: logged.append((text, error)), errors=ErrorStream(full))
    exchange = FakeExchange(request(gateway))
    gateway.respond(exchange)
    assert exchange.complete
    assert [text for text, _ in logged] == ["GET /page: wsgi.errors could not be written: OSError"]


def test_a_log_hook_that_fails_is_reported_and_spoils_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def hook(message: str, error: BaseException) -> None:
        raise SystemExit("hook")

    result = Closing(RuntimeError("first"))
    gateway = WSGIGateway(returning(result), log=hook)
    exchange = FakeExchange(request(gateway))
    gateway.respond(exchange)
    assert (exchange.ends, result.closed) == (["500"], 1)
    assert "the error-log hook failed" in caplog.text


def test_the_default_hook_logs_request_line_and_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        environ.clear()
        environ.update(REQUEST_METHOD="PUT", PATH_INFO="/a\nb", QUERY_STRING="q=\xe9", SCRIPT_NAME=7)
        raise RuntimeError("on purpose")

    gateway = WSGIGateway(app)
    gateway.respond(FakeExchange(request(gateway)))
    assert [record.name for record in caplog.records] == ["reserve.error"]
    assert "PUT /a\\nb?q=\\xe9: the application failed: RuntimeError" in caplog.text
    assert "Traceback" in caplog.text
    assert 'raise RuntimeError("on purpose")' in caplog.text


def test_request_line_is_bounded() -> None:
    assert len(request_line({"REQUEST_METHOD": "GET", "REQUEST_URI": "/" * 10_000})) < 600
    assert request_line({}) == "- "


def test_log_error_takes_an_exception_that_was_never_raised(caplog: pytest.LogCaptureFixture) -> None:
    log_error("words", ValueError("value"))
    assert "words" in caplog.text
    assert "ValueError: value" in caplog.text


def test_base_environ() -> None:
    gateway = WSGIGateway(returning([]), root_path="/caf\xe9/", multiprocess=True)
    arguments: dict[str, Any] = {
        "remote_addr": "192.0.2.1", "remote_port": "1", "software": "reserve/1", "extra": {"SSL_PROTOCOL": "TLSv1.3"},
    }  # fmt: skip
    tls = gateway.base_environ(server_name="a.test", server_port="8443", url_scheme="https", **arguments)
    assert type(tls) is dict
    assert tls["SCRIPT_NAME"] == ""
    assert (tls["wsgi.version"], tls["wsgi.url_scheme"], tls["HTTPS"]) == ((1, 0), "https", "on")
    assert (tls["wsgi.multithread"], tls["wsgi.multiprocess"], tls["wsgi.run_once"]) == (True, True, False)
    assert (tls["wsgi.input_terminated"], tls["wsgi.file_wrapper"]) == (True, FileWrapper)
    assert (tls["SSL_PROTOCOL"], tls["SERVER_SOFTWARE"], tls["SERVER_PORT"]) == ("TLSv1.3", "reserve/1", "8443")
    plain = gateway.base_environ(server_name="", server_port="", url_scheme="http", **arguments)
    assert (plain["SERVER_NAME"], plain["SERVER_PORT"], "HTTPS" in plain) == ("localhost", "80", False)
    assert not any(key.startswith("HTTP_") for key in plain)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/caf\xc3\xa9/a", "/a"), ("/caf\xc3\xa9", ""), ("/a", "/a"), ("/caf\xc3\xa9s", "/caf\xc3\xa9s"), ("*", "*")],
)
def test_a_root_path_becomes_script_name_and_leaves_the_path(path: str, expected: str) -> None:
    seen: dict[str, Any] = {}

    def app(environ: Any, start_response: Any) -> Any:
        seen.update(environ)
        start_response("200 OK", [])
        return []

    gateway = WSGIGateway(app, root_path="/caf\xe9/")
    list(gateway.app({"SCRIPT_NAME": "", "PATH_INFO": path}, lambda status, headers, exc_info=None: print))
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/caf\xc3\xa9", expected)


@pytest.mark.parametrize("root_path", ["shop", "shop/", "http://a/"])
def test_a_root_path_needs_its_slash(root_path: str) -> None:
    with pytest.raises(UsageError, match="--root-path"):
        WSGIGateway(returning([]), root_path=root_path)


def test_an_application_must_be_callable() -> None:
    with pytest.raises(UsageError, match="callable"):
        WSGIGateway("blog")  # type: ignore[arg-type]


def test_a_request_leaves_no_cycle_behind() -> None:
    """Also after errors: what the application made is freed by its reference count alone."""

    class Thing:
        pass

    things: list[weakref.ref[Thing]] = []

    def app(environ: Any, start_response: Any) -> Any:
        environ["thing"] = thing = Thing()
        things.append(weakref.ref(thing))
        write = start_response("200 OK", PLAIN)
        environ["write"] = write
        if len(things) == 2:
            raise RuntimeError("on purpose")
        try:
            raise ValueError("on purpose")
        except ValueError as error:
            write(b"a")
            try:
                start_response("500 Oops", [], sys.exc_info())
            finally:
                del error
        return [b"a"]

    gateway = WSGIGateway(app, log=lambda text, error: None)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            exchange = FakeExchange(request(gateway))
            gateway.respond(exchange)
            del exchange
        assert [thing() for thing in things] == [None] * 3
    finally:
        gc.enable()


def test_many_threads_share_one_gateway() -> None:
    barrier = threading.Barrier(4)
    bodies: dict[int, list[bytes]] = {}

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        barrier.wait(10)
        return iter([environ["PATH_INFO"].encode(), b"!"])

    gateway = WSGIGateway(app)

    def run(number: int) -> None:
        for _ in range(5):
            exchange = FakeExchange(request(gateway, PATH_INFO=f"/{number}"))
            gateway.respond(exchange)
            bodies.setdefault(number, []).append(exchange.body)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert bodies == {number: [b"/%d!" % number] * 5 for number in range(4)}


def test_the_fake_is_an_exchange() -> None:
    exchange: Exchange = FakeExchange({})
    assert exchange.started is False
