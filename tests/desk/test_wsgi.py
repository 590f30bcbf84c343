"""Application: a handler as a WSGI callable."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.desk.wsgicalls import ask, environ_of
from tests.extras import library

library("markupsafe")
library("python_multipart")

from reserve.desk.formdata import ProtocolError  # noqa: E402
from reserve.desk.request import Request  # noqa: E402
from reserve.desk.response import Response  # noqa: E402
from reserve.desk.router import Router  # noqa: E402
from reserve.desk.templates import Template  # noqa: E402
from reserve.desk.wsgi import Application  # noqa: E402
from reserve.testing import MemoryClient  # noqa: E402


def page(request: Request) -> list[str]:
    return ["<p>", request.command, "</p>"]


def fail(request: Request) -> str:
    raise ValueError("the secret")


def returning(response: Any) -> Application:
    return Application(lambda request: response)


# ---- responses ----


def test_content_is_a_page() -> None:
    answer = ask(Application(page))
    assert (answer.code, answer.body) == (200, b"<p>GET</p>")
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert answer.header("content-length") == "10"
    assert answer.header("cache-control") == "no-cache"


def test_a_post_is_no_page_to_keep() -> None:
    answer = ask(Application(page), "POST", body=b"")
    assert answer.body == b"<p>POST</p>"
    assert answer.header("etag") is None
    assert answer.header("cache-control") is None


def test_head_has_the_headers_of_get() -> None:
    app = returning(Response("12345", headers={"x-a": "b"}))
    head, get = ask(app, "HEAD"), ask(app)
    assert (head.code, head.body) == (200, b"")
    assert head.headers == get.headers
    assert head.header("content-length") == "5"


@pytest.mark.parametrize("code", [204, 205, 304])
def test_responses_without_a_body(code: int) -> None:
    answer = ask(returning(Response("text", code=code)))
    assert (answer.code, answer.body) == (code, b"")


def test_what_belongs_to_the_connection_is_not_the_program_s() -> None:
    headers = {"Content-Length": "999", "Connection": "close", "Transfer-Encoding": "chunked", "X-A": "b"}
    answer = ask(returning(Response("12345", headers=headers)))
    assert [name for name, _ in answer.headers] == [
        "x-a",
        "content-type",
        "x-frame-options",
        "cache-control",
        "etag",
        "content-length",
    ]


@pytest.mark.parametrize(
    ("headers", "options", "sent"),
    [
        ({}, {}, "SAMEORIGIN"),
        ({"X-Frame-Options": "DENY"}, {}, "DENY"),
        ({"content-type": "text/plain"}, {}, None),
        ({}, {"cross_origin": True}, None),
        ({}, {"cross_origin": "https://www.example.org"}, None),
    ],
)
def test_other_sites_do_not_show_a_page_in_a_frame(
    headers: dict[str, str], options: dict[str, Any], sent: str | None
) -> None:
    for method in ("GET", "HEAD", "POST"):
        answer = ask(Application(lambda request: Response("x", headers=headers), **options), method)
        assert answer.header("x-frame-options") == sent
    refused = ask(Application(lambda request: "x", **options), HTTP_HOST="evil.example")
    assert refused.header("x-frame-options") == (None if options else "SAMEORIGIN")


def test_nothing_is_an_empty_page_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(returning(None))
    assert (answer.code, answer.body) == (200, b"")
    assert "returned None" in caplog.text


def _with(**changes: Any) -> Response:
    response = Response("x")
    for name, value in changes.items():
        setattr(response, name, value)
    return response


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"body": "text"}, "the body of a response is bytes, not str"),
        ({"body": None}, "the body of a response is bytes, not NoneType"),
        ({"code": "200"}, "the code of a response"),
        ({"code": 100}, "the code of a response"),
        ({"code": 999}, "the code of a response"),
        ({"wsgi": 5}, "the wsgi of a response"),
        ({"cookies": [("a=1\r\nb: c", None)]}, "the header set-cookie has a line break"),
        ({"headers": {"x": 5}}, ""),
    ],
)
def test_a_response_is_checked_after_the_program_has_changed_it(
    caplog: pytest.LogCaptureFixture, changes: dict[str, Any], named: str
) -> None:
    answer = ask(Application(lambda request: _with(**changes)))
    assert answer.code == 500
    assert "The program has made a mistake" in answer.text
    assert named in caplog.text


def test_names_of_headers_have_no_case_in_a_changed_response() -> None:
    def handle(request: Request) -> Response:
        response = Response("x")
        response.headers["Content-Type"] = "text/csv"
        return response

    assert ask(Application(handle)).header("content-type") == "text/csv"


def test_an_async_generator_is_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(request: Request) -> Any:
        yield "x"

    assert ask(Application(handle)).code == 500
    assert "the handler is async" in caplog.text


def test_an_async_handler_is_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(request: Request) -> str:
        return "never"

    assert ask(Application(handle)).code == 500
    assert "no event loop" in caplog.text


def test_a_response_can_be_a_wsgi_application_of_its_own() -> None:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("206 Partial Content", [("Content-Type", "text/plain"), ("Content-Length", "1")])
        return [environ["PATH_INFO"].encode()]

    response = Response("")
    response.wsgi = application
    answer = ask(returning(response))
    assert (answer.code, answer.body) == (206, b"/")


# ---- conditions ----


def test_what_the_browser_has_is_not_sent_again() -> None:
    app = Application(page)
    etag = ask(app).header("etag")
    assert etag is not None
    for method in ("GET", "HEAD"):
        same = ask(app, "GET", HTTP_IF_NONE_MATCH=etag)
        assert (same.code, same.body, same.header("etag")) == (304, b"", etag), method
    assert ask(app, HTTP_IF_NONE_MATCH='"other"').code == 200
    assert ask(app, HTTP_IF_MATCH='"other"').code == 412
    assert ask(app, HTTP_IF_MATCH=etag).code == 200
    assert ask(app, "POST", body=b"", HTTP_IF_NONE_MATCH="*").code == 200
    assert ask(app, HTTP_RANGE="bytes=0-1").body == b"<p>GET</p>"


def test_a_program_can_say_what_it_knows_of_the_page() -> None:
    headers = {"etag": '"v1"', "cache-control": "max-age=60", "last-modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
    app = returning(Response("x", headers=headers))
    answer = ask(app)
    assert (answer.header("etag"), answer.header("cache-control")) == ('"v1"', "max-age=60")
    assert ask(app, HTTP_IF_NONE_MATCH='W/"v1"').code == 304
    assert ask(app, HTTP_IF_MODIFIED_SINCE="Sun, 06 Nov 1994 08:49:37 GMT").code == 304
    assert ask(app, HTTP_IF_MODIFIED_SINCE="Sun, 06 Nov 1994 08:49:36 GMT").code == 200


def test_a_cookie_comes_with_a_304() -> None:
    response = Response("x")
    response.set_cookie("a", "1")
    etag = ask(returning(response)).header("etag")
    same = ask(returning(response), HTTP_IF_NONE_MATCH=etag)
    assert same.code == 304
    assert same.header("set-cookie") is not None


def test_an_error_is_not_compared() -> None:
    answer = ask(returning(Response("x", code=404)), HTTP_IF_NONE_MATCH="*")
    assert (answer.code, answer.header("etag")) == (404, None)


# ---- what goes wrong ----


def test_an_exception_is_a_page_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(Application(fail), uri="/a?b")
    assert answer.code == 500
    assert "secret" not in answer.text
    [record] = caplog.records
    assert (record.name, record.levelno) == ("reserve.desk", logging.ERROR)
    assert record.getMessage() == f"{__name__}.fail (GET /a?b) failed"
    assert record.exc_info is not None


def test_debug_shows_the_exception() -> None:
    answer = ask(Application(fail, debug=True))
    assert answer.code == 500
    assert "ValueError: the secret" in answer.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_program_goes_on(error: type[BaseException]) -> None:
    def end(request: Request) -> str:
        raise error

    with pytest.raises(error):
        Application(end)(environ_of(), lambda *args: None)


def test_a_header_that_is_not_allowed_is_an_error_page() -> None:
    response = Response("")
    response.headers["x"] = "a\r\nb: c"
    answer = ask(returning(response))
    assert answer.code == 500


def test_an_error_page_that_fails(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(Response, "TEMPLATE_GENERIC", Template("{unknown}"))
    answer = ask(Application(fail))
    assert answer.code == 500
    assert "the secret" in caplog.text
    assert "error page" in caplog.text


def test_the_mistake_of_a_browser_is_a_page() -> None:
    app = Application(page, max_body=10, max_fields=2)
    answer = ask(app, "POST", body=b"x" * 11)
    assert answer.code == 413
    assert "11 bytes" in answer.text
    answer = ask(app, "POST", body=b"--x\r\n", content_type="multipart/form-data; boundary=x")
    assert answer.code == 400
    assert "Part 1" in answer.text
    assert ask(app, "POST", body=b"a&b&c").code == 413
    assert ask(app, uri="/?a&b&c").code == 413


def test_a_handler_can_refuse_what_the_browser_sent() -> None:
    def handle(request: Request) -> str:
        raise ProtocolError("This is <no> number.")

    answer = ask(Application(handle))
    assert answer.code == 400
    assert "This is &lt;no&gt; number." in answer.text


def test_who_may_not_talk_to_the_program_is_not_heard() -> None:
    def handle(request: Request) -> str:
        raise AssertionError("called")

    app = Application(handle)
    answer = ask(app, HTTP_HOST="evil.example")
    assert answer.code == 421
    assert "hosts=" in answer.text
    answer = ask(app, "POST", body=b"a=1", HTTP_ORIGIN="http://evil.example")
    assert answer.code == 403
    assert "http://evil.example" in answer.text
    assert ask(app, HTTP_HOST="<b>").code == 400


def test_a_program_can_let_others_in() -> None:
    assert ask(Application(page, hosts=["desk.example"]), HTTP_HOST="desk.example").code == 200
    assert ask(Application(page, cross_origin=True), "POST", body=b"", HTTP_ORIGIN="http://a.example").code == 200


@pytest.mark.parametrize("options", [{"handle": "text"}, {"hosts": ["a b"]}, {"cross_origin": ["a"]}])
def test_options_that_are_not_allowed(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Application(**{"handle": page, **options})


# ---- the server ----


def test_options_of_the_server_itself() -> None:
    assert ask(Application(fail), "OPTIONS", "/", REQUEST_URI="*").code == 204


def test_a_mount_is_redirected_to_its_slash() -> None:
    answer = ask(Application(fail), SCRIPT_NAME="/shop", PATH_INFO="", REQUEST_URI="/shop?a=b", QUERY_STRING="a=b")
    assert (answer.code, answer.header("location")) == (302, "/shop/?a=b")


def test_shut_down_is_after_the_response() -> None:
    steps: list[str] = []
    app = Application(lambda request: Response("bye", shut_down=True), on_shut_down=lambda: steps.append("shut down"))
    result = app(environ_of(), lambda *args: None)
    assert b"".join(result) == b"bye"
    assert steps == []
    result.close()  # type: ignore[attr-defined]
    assert steps == ["shut down"]


def test_shut_down_is_after_the_last_byte_where_the_server_knows() -> None:
    later: list[Callable[[], object]] = []
    steps: list[str] = []
    app = Application(lambda request: Response("bye", shut_down=True), on_shut_down=lambda: steps.append("shut down"))
    ask(app, **{"reserve.after_response": later.append})
    assert steps == []
    [function] = later
    function()
    assert steps == ["shut down"]


def test_other_responses_shut_nothing_down() -> None:
    steps: list[str] = []
    ask(Application(page, on_shut_down=lambda: steps.append("shut down")))
    assert steps == []


def test_requests_at_the_same_time_share_nothing() -> None:
    both = threading.Barrier(2, timeout=60)
    router = Router()

    @router.servlet("/*")
    class Page:
        def __init__(self, name: str) -> None:
            self.name = name

        def do_POST(self, request: Request) -> list[Any]:
            both.wait()
            return [self.name, request.args, request.handler.rpartition(".")[2], request.POST["a"]]

    app = Application(router)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: ask(app, "POST", f"/{name}", b"a=" + name.encode()), ["x", "y"]))
    assert [answer.body for answer in answers] == [b"xxPagex", b"yyPagey"]


def test_the_server_of_this_package_serves_it() -> None:
    client = MemoryClient(Application(lambda request: [request.path, request.POST.get("a")]))
    sent = client.send(
        b"POST /x%2Fy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 3\r\n\r\na=1"
    )
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent.endswith(b"\r\n\r\nx/y1")
