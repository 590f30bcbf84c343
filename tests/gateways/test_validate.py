"""``wsgiref.validate`` of the standard library checks the calls between gateway and application."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import pytest

from tests.gateways.fakes import PLAIN, serve

Body = Callable[[Any, Any], Any]


def returned(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"hello"]


def streamed(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(PLAIN))
    return iter([b"he", b"", b"llo"])


def written(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", list(PLAIN))
    write(b"he")
    return [b"llo"]


def replaced(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(PLAIN))
    try:
        raise RuntimeError("on purpose")
    except RuntimeError:
        start_response("200 Fine After All", list(PLAIN), sys.exc_info())
    return [b"hello"]


def reading(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"].read(5)
    environ["wsgi.errors"].write("read it\n")
    environ["wsgi.errors"].writelines(["and ", "more\n"])
    environ["wsgi.errors"].flush()
    start_response("200 OK", list(PLAIN))
    return [body]


def wrapped(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(PLAIN))
    return environ["wsgi.file_wrapper"](io.BytesIO(b"hello"), 2)


@pytest.mark.parametrize("app", [returned, streamed, written, replaced, reading, wrapped])
def test_correct_applications_pass(app: Body) -> None:
    served = serve(
        validator(app), environ={"wsgi.input": io.BytesIO(b"hello"), "REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}
    )
    assert served.logged == []
    assert (served.exchange.body, served.exchange.complete) == (b"hello", True)


def test_a_response_that_fails_is_closed(capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(PLAIN))
        yield b"half"
        raise RuntimeError("on purpose")

    served = serve(validator(app))
    assert served.exchange.ends == ["abort"]
    assert capsys.readouterr().err == ""
