"""The gateway: how exceptions, ``close()`` and disconnects end a request, and the environ that it makes."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from typing import Any, cast

import pytest

from reserve.errors import ApplicationError, ClientDisconnected, UsageError
from reserve.gateways.exchange import Exchange
from reserve.gateways.streams import ErrorStream, FileWrapper
from reserve.gateways.wsgi import WSGIGateway, log_error, request_line
from tests.gateways.fakes import PLAIN, Closable, FakeExchange, request, returning, serve
from tests.test_errors import ANYTHING, hostile
from tests.waiting import PATIENCE

FATAL = [
    RuntimeError("on purpose"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    MemoryError(),
    RecursionError("too deep"),
    ConnectionResetError("of the application's own database"),
]


@pytest.mark.parametrize("error", FATAL, ids=lambda error: type(error).__name__)
def test_any_exception_of_the_application_is_a_500(error: BaseException) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise error

    served = serve(app)
    assert served.exchange.ends == ["500"]
    assert served.error is error
    assert served.logged[0][0] == f"GET /page: the application failed: {type(error).__name__}"


@pytest.mark.parametrize("error", FATAL, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("before", "end"), [((), "500"), ((b"",), "500"), ((b"half",), "abort")])
def test_a_response_whose_iterable_raises_never_looks_complete(
    error: BaseException, before: tuple[bytes, ...], end: str
) -> None:
    result = Closable(*before, error)
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
    ("content_length", "items", "end"),
    [("5", (b"abc",), "abort"), ("2", (b"abc",), "500"), ("2", (b"a", b"bc"), "abort"), ("5", (), "abort")],
)
def test_a_body_of_another_length_than_content_length_is_not_complete(
    content_length: str, items: tuple[bytes, ...], end: str
) -> None:
    result = Closable(*items)
    served = serve(returning(result, headers=[("Content-Length", content_length)]))
    assert served.exchange.ends == [end]
    assert isinstance(served.error, ApplicationError)
    assert result.closed == 1


@pytest.mark.parametrize("failing", [False, True])
def test_close_is_called_exactly_once_after_a_complete_response(failing: bool) -> None:
    result = Closable(b"a", b"b", on_close=RuntimeError("in close") if failing else None)
    served = serve(returning(result))
    assert (served.exchange.complete, served.exchange.body, result.closed) == (True, b"ab", 1)
    assert [text for text, _ in served.logged] == (
        ["GET /page: close() of the response failed: RuntimeError"] if failing else []
    )


def test_close_is_called_after_finish() -> None:
    exchanges: list[FakeExchange] = []

    class Result(Closable):
        def close(self) -> None:
            exchanges[0].events.append("close")

    assert serve(returning(Result(b"a")), wrap=exchanges.append).exchange.events == ["send", "finish", "close"]


@pytest.mark.parametrize("error", FATAL, ids=lambda error: type(error).__name__)
def test_errors_in_iteration_and_in_close_are_both_logged(error: BaseException) -> None:
    result = Closable(b"a", RuntimeError("first"), on_close=error)
    served = serve(returning(result))
    assert [type(logged) for _, logged in served.logged] == [RuntimeError, type(error)]
    assert (served.exchange.ends, result.closed) == (["abort"], 1)


def test_close_is_called_without_start_response_and_after_an_invalid_item() -> None:
    first, second = Closable(b"a"), Closable("text")
    serve(lambda environ, start_response: first)
    serve(returning(second))
    assert (first.closed, second.closed) == (1, 1)


def test_close_is_called_on_a_result_that_is_not_iterable() -> None:
    class NotIterable:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    result = NotIterable()
    assert serve(returning(result)).exchange.ends == ["500"]
    assert result.closed == 1


def test_a_subclass_of_list_is_closed() -> None:
    class ClosableList(list[bytes]):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    result = ClosableList([b"a", b"b"])
    assert serve(returning(result)).exchange.body == b"ab"
    assert result.closed == 1


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_a_disconnect_stops_the_iteration(sent: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "reserve.error")
    result = Closable(b"a", b"b", b"c", b"d")
    served = serve(returning(result), disconnect_after=sent)
    assert served.exchange.ends == ["abort"]
    assert (result.closed, result.taken) == (1, sent + 1)
    assert served.logged == []
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("DEBUG", None)]
    assert "GET /page: the client closed the connection" in caplog.text


def test_a_disconnect_during_write_or_close_is_not_logged() -> None:
    closed = Closable(on_close=ClientDisconnected("gone"))

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)(b"data")
        raise AssertionError("not reached")

    served = serve(app, disconnect_after=0)
    assert (served.exchange.ends, served.logged) == (["abort"], [])
    served = serve(returning(closed))
    assert (served.exchange.complete, served.logged, closed.closed) == (True, [], 1)


def test_a_disconnect_does_not_hide_an_error_of_the_application() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        try:
            start_response("200 OK", PLAIN)(b"data")
        except ClientDisconnected:
            raise RuntimeError("while cleaning up") from None

    served = serve(app, disconnect_after=0)
    assert isinstance(served.error, RuntimeError)


def test_an_incomplete_line_of_wsgi_errors_is_written_at_the_end_of_the_request() -> None:
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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("where", ["call", "body", "close"])
def test_a_hook_for_interrupts_gets_them_and_the_client_gets_no_more(error: BaseException, where: str) -> None:
    body = Closable(b"body", *([error] if where == "body" else []), on_close=error if where == "close" else None)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        if where == "call":
            raise error
        return body

    logged: list[tuple[str, BaseException]] = []
    interrupts: list[BaseException] = []
    gateway = WSGIGateway(app, log=lambda text, failure: logged.append((text, failure)), on_interrupt=interrupts.append)
    exchange = FakeExchange(request(gateway))
    gateway.respond(exchange)
    assert exchange.violations == []
    assert interrupts == [error]
    assert logged == []
    assert exchange.ends == ["finish" if where == "close" else "abort"]
    assert body.closed == (where != "call")


def test_a_hook_for_interrupts_that_fails_is_reported() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise SystemExit

    def hook(error: BaseException) -> None:
        raise LookupError("hook")

    logged: list[str] = []
    gateway = WSGIGateway(app, log=lambda text, failure: logged.append(text), on_interrupt=hook)
    exchange = FakeExchange(request(gateway))
    gateway.respond(exchange)
    assert logged == ["GET /page: the hook for an interrupt failed: LookupError"]
    assert exchange.ends == ["abort"]


def test_a_log_hook_that_fails_is_reported_and_changes_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    def hook(message: str, error: BaseException) -> None:
        raise SystemExit("hook")

    result = Closable(RuntimeError("first"))
    gateway = WSGIGateway(returning(result), log=hook)
    exchange = FakeExchange(request(gateway))
    gateway.respond(exchange)
    assert (exchange.ends, result.closed) == (["500"], 1)
    assert "the error-log hook failed" in caplog.text


def test_the_default_hook_logs_the_request_line_and_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
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


@pytest.mark.parametrize("kind", ANYTHING)
@pytest.mark.parametrize("hook_fails", [False, True])
def test_an_exception_that_cannot_be_described_is_a_500_with_its_frames_in_the_log(
    kind: type[BaseException], hook_fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise hostile(kind)

    def hook(message: str, error: BaseException) -> None:
        raise hostile(kind)

    gateway = WSGIGateway(app, log=hook) if hook_fails else WSGIGateway(app)
    exchange = FakeExchange(request(gateway))
    gateway.respond(exchange)
    assert exchange.ends == ["500"]
    assert "the application failed: Hostile" in caplog.text
    assert f'File "{__file__}"' in caplog.text
    assert "Hostile: (its text cannot be shown)" in caplog.text


@pytest.mark.parametrize("kind", ANYTHING)
@pytest.mark.parametrize("where", ["result", "item", "status"])
def test_a_value_that_cannot_be_described_is_a_500_that_names_its_type(
    kind: type[BaseException], where: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Unspeakable:
        def __repr__(self) -> str:
            raise kind

    value = cast("Any", Unspeakable())
    if where in ("result", "item"):
        app = returning(value if where == "result" else [value])
    else:

        def app(environ: Any, start_response: Any) -> Any:
            start_response(value, [])
            return []

    gateway = WSGIGateway(app)
    exchange = FakeExchange(request(gateway))
    gateway.respond(exchange)
    assert exchange.ends == ["500"]
    assert "Unspeakable" in caplog.text
    assert "ApplicationError: " in caplog.text


def test_request_line_is_bounded() -> None:
    assert len(request_line({"REQUEST_METHOD": "GET", "REQUEST_URI": "/" * 10_000})) < 600
    assert request_line({}) == "- "


def test_log_error_takes_an_exception_that_was_never_raised(caplog: pytest.LogCaptureFixture) -> None:
    log_error("message", ValueError("value"))
    assert "message" in caplog.text
    assert "ValueError: value" in caplog.text


def test_the_base_environ() -> None:
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
def test_a_root_path_is_moved_to_script_name(path: str, expected: str) -> None:
    received: dict[str, Any] = {}

    def app(environ: Any, start_response: Any) -> Any:
        received.update(environ)
        start_response("200 OK", [])
        return []

    gateway = WSGIGateway(app, root_path="/caf\xe9/")
    list(gateway.app({"SCRIPT_NAME": "", "PATH_INFO": path}, lambda status, headers, exc_info=None: print))
    assert (received["SCRIPT_NAME"], received["PATH_INFO"]) == ("/caf\xc3\xa9", expected)


@pytest.mark.parametrize("root_path", ["shop", "shop/", "http://a/"])
def test_a_root_path_must_begin_with_a_slash(root_path: str) -> None:
    with pytest.raises(UsageError, match="--root-path"):
        WSGIGateway(returning([]), root_path=root_path)


def test_an_application_must_be_callable() -> None:
    with pytest.raises(UsageError, match="callable"):
        WSGIGateway("blog")  # type: ignore[arg-type]


def test_a_request_leaves_no_reference_cycle() -> None:
    """The objects of an application are freed when the request ends, also after errors."""

    class Tracked:
        pass

    references: list[weakref.ref[Tracked]] = []

    def app(environ: Any, start_response: Any) -> Any:
        environ["object"] = item = Tracked()
        references.append(weakref.ref(item))
        write = start_response("200 OK", PLAIN)
        environ["write"] = write
        if len(references) == 2:
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
        assert [reference() for reference in references] == [None] * 3
    finally:
        gc.enable()


def test_many_threads_may_use_one_gateway() -> None:
    barrier = threading.Barrier(4)
    bodies: dict[int, list[bytes]] = {}

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        barrier.wait(PATIENCE)
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
        thread.join(PATIENCE)
    assert bodies == {number: [b"/%d!" % number] * 5 for number in range(4)}


def test_the_fake_implements_the_protocol_of_an_exchange() -> None:
    exchange: Exchange = FakeExchange({})
    assert exchange.started is False
