"""The rules of ``start_response``: types, form, how often, ``exc_info``."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum
from http import HTTPStatus
from typing import Any, NamedTuple

import pytest

from reserve.errors import ApplicationError
from reserve.gateways.wsgi import WSGIGateway
from tests.gateways.fakes import PLAIN, FakeExchange, request, serve


class Text(str):
    """A ``str`` whose methods say something else than its characters, as markupsafe's and Django's do in part."""

    __slots__ = ()

    def __str__(self) -> str:
        return "wrong\r\n"

    def lower(self) -> str:
        return "content-length"

    def __getitem__(self, key: Any) -> str:
        return "\n"

    def encode(self, *args: Any) -> bytes:
        return b"wrong\r\n"

    def __len__(self) -> int:
        return 14

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Name(str, Enum):  # noqa: UP042 - unlike that of a StrEnum, its str() is not its value
    """As a StrEnum."""

    KIND = "X-Kind"


class Pair(NamedTuple):
    name: Any
    value: Any


class Headers:
    """An iterable of pairs, as of several frameworks."""

    def __init__(self, *pairs: Any) -> None:
        self.pairs = pairs

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pairs)


OK = "200 OK"


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (b"200 OK", [], "status as a str"),
        (200, [], "status as a str"),
        (None, [], "status as a str"),
        ([], [], "status as a str"),
        (Text("OK"), [], "three digits"),
        (HTTPStatus.OK, [], "status as a str"),
        ("200OK", [], "three digits"),
        ("20 OK", [], "three digits"),
        ("2000 OK", [], "three digits"),
        ("", [], "three digits"),
        ("OK 200", [], "three digits"),
        ("+20 OK", [], "three digits"),
        ("\u0662\u0660\u0660 OK", [], "three digits"),
        (OK, None, "a list of headers"),
        (OK, {}, "a list of headers"),
        (OK, {"A": "b"}, "list(headers.items())"),
        (OK, OrderedDict(A="b"), "list(headers.items())"),
        (OK, "A: b", "a list of headers"),
        (OK, b"A: b", "a list of headers"),
        (OK, 7, "a list of headers"),
        (OK, (("A", "b"), "Ab"), "a tuple (name, value)"),
        (OK, {"Ab"}, "a tuple (name, value)"),
        (OK, range(7, 9), "a tuple (name, value)"),
        (OK, [["A", "b", "c"]], "a tuple (name, value)"),
        (OK, [{"A", "b"}], "a tuple (name, value)"),
        (OK, ["Ab"], "a tuple (name, value)"),
        (OK, [("A",)], "a tuple (name, value)"),
        (OK, [("A", "b", "c")], "a tuple (name, value)"),
        (OK, [None], "a tuple (name, value)"),
        (OK, [(b"A", "b")], "to be str"),
        (OK, [("A", b"b")], "to be str"),
        (OK, [("Content-Length", 3)], "to be str"),
        (OK, [("A", None)], "to be str"),
        (OK, [(Text("A"), b"b")], "to be str"),
        (OK, [Pair("A", 7)], "to be str"),
        (OK, [("A", Text("c\r\nX: y"))], "control characters"),
        (OK, (("A", "c\r\nX: y"),), "control characters"),
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


@pytest.mark.parametrize("status", [OK, "200 ", "204", "299 My own reason", "404 Nicht gefunden \xfc", "999 Far out"])
def test_valid_statuses_are_accepted(status: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, [])
        return []

    assert serve(app).exchange.status == status


@pytest.mark.parametrize("length", [None, "4"])
def test_subclasses_of_str_are_sent_as_their_characters(length: str | None) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        headers = [(Text("X-A"), Text("b")), (Name.KIND, Name.KIND), ("X-C", Text("d"))]
        if length is not None:
            headers.append((Text("Content-Length"), Text(length)))
        start_response(Text(OK), headers)
        return [b"body"]

    served = serve(app)
    status, headers, _ = served.exchange.begins[-1]
    expected = [("X-A", "b"), ("X-Kind", "X-Kind"), ("X-C", "d")]
    assert (status, headers) == (OK, expected if length is None else [*expected, ("Content-Length", length)])
    assert {type(text) for text in (status, *(text for header in headers for text in header))} == {str}
    assert (served.exchange.complete, served.logged, served.warnings) == (True, [], [])


@pytest.mark.parametrize(
    "headers",
    [
        (("X-A", "b"), ("Content-Length", "4")),
        {"X-A": "b", "Content-Length": "4"}.items(),
        Headers(("X-A", "b"), ("Content-Length", "4")),
        type("List", (list,), {})([("X-A", "b"), ("Content-Length", "4")]),
        [["X-A", "b"], ["Content-Length", "4"]],
        [("X-A", "b"), Pair("Content-Length", "4")],
        (["X-A", Text("b")], Pair("Content-Length", Text("4"))),
    ],
)
def test_other_iterables_of_pairs_are_accepted_and_logged_once(headers: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(OK, headers)
        return [b"body"]

    warnings: list[str] = []
    gateway = WSGIGateway(app, log_warning=warnings.append)
    for _ in range(2):
        exchange = FakeExchange(request(gateway))
        gateway.respond(exchange)
        assert exchange.begins == [(OK, [("X-A", "b"), ("Content-Length", "4")], None)]
        assert (exchange.complete, exchange.violations) == (True, [])
    assert len(warnings) == (2 if isinstance(headers, tuple) and type(headers[0]) is list else 1)
    for warning in warnings:
        assert warning.startswith("GET /page: start_response() was given ")
        assert "PEP 3333" in warning


def test_a_generator_of_headers_is_taken_once() -> None:
    served = serve(lambda environ, start_response: (start_response(OK, (pair for pair in PLAIN)), [b"body"])[1])  # type: ignore[func-returns-value,arg-type]
    assert served.exchange.begins == [(OK, PLAIN, 4)]
    assert len(served.warnings) == 1


def test_an_exception_of_the_headers_is_one_of_the_application() -> None:
    def pairs() -> Iterator[tuple[str, str]]:
        yield ("A", "b")
        raise RuntimeError("on purpose")

    def app(environ: Any, start_response: Any) -> Any:
        start_response(OK, pairs())
        return [b"body"]

    served = serve(app)
    assert (str(served.error), served.exchange.ends) == ("on purpose", ["500"])


def test_a_hook_for_warnings_that_fails_does_not_change_the_response() -> None:
    def fail(message: str) -> None:
        raise RuntimeError(message)

    def app(environ: Any, start_response: Any) -> Any:
        start_response(OK, tuple(PLAIN))
        return [b"body"]

    gateway = WSGIGateway(app, log_warning=fail)
    exchange = FakeExchange(request(gateway))
    gateway.respond(exchange)
    assert (exchange.body, exchange.complete) == (b"body", True)


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
