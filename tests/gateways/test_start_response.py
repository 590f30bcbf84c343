"""The rules of ``start_response``: types, form, how often, ``exc_info``."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from reserve.errors import ApplicationError
from tests.gateways.fakes import PLAIN, FakeExchange, serve


class Text(str):
    __slots__ = ()


OK = "200 OK"


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (b"200 OK", [], "status as a str"),
        (200, [], "status as a str"),
        (None, [], "status as a str"),
        ([], [], "status as a str"),
        (Text(OK), [], "status as a str"),
        ("200", [], "three digits"),
        ("200OK", [], "three digits"),
        ("20 OK", [], "three digits"),
        ("2000 OK", [], "three digits"),
        ("", [], "three digits"),
        ("OK 200", [], "three digits"),
        ("+20 OK", [], "three digits"),
        ("\u0662\u0660\u0660 OK", [], "three digits"),
        (OK, (), "a list of headers"),
        (OK, None, "a list of headers"),
        (OK, {}, "a list of headers"),
        (OK, iter([]), "a list of headers"),
        (OK, type("Headers", (list,), {})(), "a list of headers"),
        (OK, [["A", "b"]], "a tuple (name, value)"),
        (OK, ["Ab"], "a tuple (name, value)"),
        (OK, [("A",)], "a tuple (name, value)"),
        (OK, [("A", "b", "c")], "a tuple (name, value)"),
        (OK, [None], "a tuple (name, value)"),
        (OK, [(b"A", "b")], "to be str"),
        (OK, [("A", b"b")], "to be str"),
        (OK, [("Content-Length", 3)], "to be str"),
        (OK, [("A", None)], "to be str"),
        (OK, [(Text("A"), "b")], "to be str"),
        (OK, [("A", Text("b"))], "to be str"),
        (OK, [("A", "b"), ("A", "c\r\nX: y")], "control characters"),
        (OK, [("Content-Length", "0"), ("A", "c\nX: y")], "control characters"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_misuse_is_a_500_with_a_clear_message(status: Any, headers: Any, message: str, late: bool) -> None:
    def plain(environ: Any, start_response: Any) -> Any:
        start_response(status, headers)
        return [b"body"]

    def generator(environ: Any, start_response: Any) -> Any:
        start_response(status, headers)
        yield b"body"

    served = serve(generator if late else plain)
    assert served.exchange.ends == ["500"]
    assert served.exchange.sends == []
    assert isinstance(served.error, ApplicationError)
    assert message in str(served.error)


def test_a_refused_replacement_does_not_restore_the_first_head() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(OK, PLAIN)
        with pytest.raises(ApplicationError):
            start_response("503 Later", "no list", (RuntimeError, RuntimeError(), None))
        return [b"a page about the error"]

    served = serve(app)
    assert (served.exchange.begins, served.exchange.ends) == ([], ["500"])


@pytest.mark.parametrize("arguments", [{}, {"exc_info": None}])
def test_exc_info_may_be_a_keyword_argument(arguments: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(OK, PLAIN, **arguments)
        return [b"body"]

    assert serve(app).exchange.complete


@pytest.mark.parametrize("status", [OK, "200 ", "299 My own reason", "404 Nicht gefunden \xfc", "999 Far out"])
def test_valid_statuses_are_accepted(status: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, [])
        return []

    assert serve(app).exchange.status == status


def test_a_refused_head_may_be_replaced_but_not_ignored() -> None:
    def app(environ: Any, start_response: Any, *, again: bool) -> Any:
        with pytest.raises(ApplicationError):
            start_response(OK, [("Content-Length", "4"), ("X", "a\rb")])
        if again:
            start_response("500 Sorry", [])
        return [b"body"]

    assert serve(lambda *args: app(*args, again=True)).exchange.status == "500 Sorry"
    served = serve(lambda *args: app(*args, again=False))
    assert served.exchange.ends == ["500"]
    assert "without a successful start_response()" in str(served.error)


def test_the_head_is_what_it_was_when_start_response_was_called() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        headers = list(PLAIN)
        start_response(OK, headers)
        headers.append(("X-Late", "yes"))
        headers.append(("X-Wrong", 7))  # type: ignore[arg-type]
        return [b"body"]

    served = serve(app)
    assert served.exchange.begins == [(OK, PLAIN, 4)]
    assert served.exchange.complete


@pytest.mark.parametrize("exc_info", [None, (), False])
def test_a_second_call_without_exc_info_is_an_error(exc_info: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(OK, PLAIN)
        start_response("404 Not Found", PLAIN, exc_info)
        return [b"body"]

    served = serve(app)
    assert served.exchange.ends == ["500"]
    assert "'200 OK' and '404 Not Found'" in str(served.error)


@pytest.mark.parametrize("headers", [PLAIN, [("Content-Length", "6")]])
@pytest.mark.parametrize("first", [PLAIN, [("Content-Length", "1000")], None])
def test_exc_info_replaces_a_head_that_has_not_been_sent(first: Any, headers: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if first is not None:
            start_response(OK, first)
        try:
            raise RuntimeError("on purpose")
        except RuntimeError:
            start_response("503 Later", headers, sys.exc_info())
        return [b"second"]

    served = serve(app)
    assert (served.exchange.status, served.exchange.body) == ("503 Later", b"second")
    assert served.exchange.begins[-1][1] == headers
    assert served.exchange.expected_length == 6
    assert (served.exchange.complete, served.logged) == (True, [])


def test_exc_info_in_a_generator_before_the_first_item() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(OK, PLAIN)
        yield b""
        try:
            raise RuntimeError("on purpose")
        except RuntimeError:
            start_response("500 Sorry", PLAIN, sys.exc_info())
        yield b"sorry"

    served = serve(app)
    assert (served.exchange.status, served.exchange.body) == ("500 Sorry", b"sorry")


@pytest.mark.parametrize("use_write", [False, True])
def test_exc_info_is_raised_again_when_the_head_has_been_sent(use_write: bool) -> None:
    error = RuntimeError("on purpose")

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response(OK, PLAIN)
        if use_write:
            write(b"first")
        else:
            yield b"first"
        try:
            raise error
        except RuntimeError:
            start_response("500 Sorry", PLAIN, sys.exc_info())
        raise AssertionError("not reached")

    served = serve(app)
    assert served.error is error
    assert (served.exchange.status, served.exchange.body, served.exchange.ends) == (OK, b"first", ["abort"])


def test_exc_info_replaces_what_the_exchange_has_not_sent() -> None:
    """``started`` decides, not whether the application has written."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response(OK, PLAIN)(b"not yet sent by the exchange")
        exchanges[0].sends.clear()
        start_response("500 Sorry", PLAIN, (RuntimeError, RuntimeError(), None))
        return [b"sorry"]

    exchanges: list[FakeExchange] = []
    served = serve(app, wrap=exchanges.append, eager=False)
    assert served.exchange.begins == [(OK, PLAIN, None), ("500 Sorry", PLAIN, 5)]


def test_exc_info_without_an_exception_after_the_head_is_an_error() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(OK, PLAIN)(b"first")
        start_response("500 Sorry", PLAIN, sys.exc_info())
        return []

    served = serve(app)
    assert isinstance(served.error, ApplicationError)
    assert served.exchange.ends == ["abort"]
