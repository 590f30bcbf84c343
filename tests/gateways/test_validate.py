"""The standard library's own judge, ``wsgiref.validate``, between gateway and application."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import pytest

from tests.gateways.fakes import serve

Body = Callable[[Any, Any], Any]
HEAD = [("Content-Type", "text/plain")]


def whole(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*HEAD, ("Content-Length", "5")])
    return [b"hello"]


def streamed(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(HEAD))
    return iter([b"he", b"", b"llo"])


def written(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", list(HEAD))
    write(b"he")
    return [b"llo"]


def replaced(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(HEAD))
    try:
        raise RuntimeError("on purpose")
    except RuntimeError:
        start_response("200 Fine After All", list(HEAD), sys.exc_info())
    return [b"hello"]


def reading(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"].read(5)
    environ["wsgi.errors"].write("read it\n")
    environ["wsgi.errors"].writelines(["and ", "more\n"])
    environ["wsgi.errors"].flush()
    start_response("200 OK", list(HEAD))
    return [body]


def wrapped(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(HEAD))
    return environ["wsgi.file_wrapper"](io.BytesIO(b"hello"), 2)


@pytest.mark.parametrize("app", [whole, streamed, written, replaced, reading, wrapped])
def test_good_applications_pass(app: Body) -> None:
    served = serve(
        validator(app), environ={"wsgi.input": io.BytesIO(b"hello"), "REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}
    )
    assert served.logged == []
    assert (served.exchange.body, served.exchange.complete) == (b"hello", True)


def test_an_answer_that_fails_is_closed_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(HEAD))
        yield b"half"
        raise RuntimeError("on purpose")

    served = serve(validator(app))
    assert served.exchange.ends == ["abort"]
    assert capsys.readouterr().err == ""
