"""Response: content, headers, cookies, and the usual responses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest

from tests.extras import library

library("markupsafe")
library("python_multipart")

from reserve.desk import forms  # noqa: E402
from reserve.desk.bag import Bag  # noqa: E402
from reserve.desk.formdata import ProtocolError  # noqa: E402
from reserve.desk.request import Request  # noqa: E402
from reserve.desk.response import Response  # noqa: E402
from reserve.desk.templates import Template  # noqa: E402


def request(uri: str = "/a?b=<c>", **options: Any) -> Request:
    return Request("GET", uri, "HTTP/1.1", {}, None, **options)


# ---- content ----


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ("B\u00fcro", "B\u00fcro".encode()),
        (b"\xff", b"\xff"),
        (["a", [b"b", ("c", 1, 2.5)], None, iter(["d"])], b"abc12.5d"),
        ({"a": 1, "b": "c"}, b"a: 1\r\nb: c\r\n"),
        (None, b""),
        ([], b""),
        (bytearray(b"x"), b"x"),
        (Template("<b>{x}</b>")(x="<"), b"<b>&lt;</b>"),
    ],
)
def test_content_becomes_bytes(content: Any, body: bytes) -> None:
    response = Response(content)
    assert response.body == body
    assert response.code == 200
    assert response.headers == {"content-type": "text/html; charset=utf-8"}
    assert not response.shut_down


def test_a_generator_is_read_when_the_response_is_made() -> None:
    steps = []

    def rows() -> Iterator[str]:
        yield "a"
        steps.append("read")

    assert Response(rows()).body == b"a"
    assert steps == ["read"]


def test_bytes_are_not_copied() -> None:
    content = b"x" * 1000
    assert Response(content).body is content


@pytest.mark.parametrize(
    "make",
    [
        lambda part: Response(part),
        lambda part: Response(["a", (item for item in [part])]),
        lambda part: Response({"key": part}),
        lambda part: Response.generic(part),
        lambda part: Response(Template("{part}")(part=part)),
        lambda part: Response(Template("{.part}")(part=part)),
        lambda part: Response(forms.tag("p", {}, part)),
    ],
)
def test_a_response_is_no_part_of_content(make: Callable[[Response], object]) -> None:
    with pytest.raises(TypeError, match="a Response is no content"):
        make(Response("part", code=404))


@pytest.mark.parametrize("status", [status for status in HTTPStatus if 200 <= status <= 599])
def test_every_status_of_http_has_a_phrase(status: HTTPStatus) -> None:
    response = Response("", code=status)
    assert response.code == status
    assert response.reason == status.phrase


@pytest.mark.parametrize("code", [100, 101, 199, 600, 0, -1, True, "200", 299])
def test_other_codes_are_refused(code: Any) -> None:
    with pytest.raises(ValueError, match=r"code|phrase"):
        Response("", code=code)


def test_a_program_can_add_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Response.REASON, 299, b"Fine")
    assert Response("", code=299).reason == "Fine"


# ---- headers ----


def test_headers_have_lower_case_names_and_text() -> None:
    response = Response("", headers={"X-Count": 5, "Content-Type": "text/css"})
    assert response.headers == {"x-count": "5", "content-type": "text/css"}
    assert Response("", headers=Bag({"A": "b"})).headers["a"] == "b"
    assert Response("", headers=[("A", "b")]).header_list() == [
        ("a", "b"),
        ("content-type", "text/html; charset=utf-8"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a", "b\r\nc: d"),
        ("a", "b\nc"),
        ("a", "b\x00"),
        ("a", "\ud800"),
        ("a b", "c"),
        ("a:", "c"),
        ("", "c"),
        ("a\n", "c"),
    ],
)
def test_headers_that_are_not_allowed(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        Response("", headers={name: value})
    response = Response("")
    response.headers[name] = value
    with pytest.raises(ValueError, match="header"):
        response.header_list()


def test_text_in_headers_is_sent_as_utf_8() -> None:
    response = Response("", headers={"content-disposition": 'attachment; filename="\u20ac\xfc.txt"'})
    assert response.headers["content-disposition"] == 'attachment; filename="\u20ac\xfc.txt"'
    sent = dict(response.header_list())["content-disposition"].encode("latin-1")
    assert sent == 'attachment; filename="\u20ac\xfc.txt"'.encode()


def test_the_content_is_the_whole_response() -> None:
    response = Response(["<b>", 1, "</b>"], code=404, headers={"X-Name": "\xfc"})
    response.set_cookie("a", "1")
    head, _, body = response.content.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.0 404 Not Found",
        b"x-name: \xc3\xbc",
        b"content-type: text/html; charset=utf-8",
        b"set-cookie: a=1; Path=/; SameSite=Lax; HttpOnly",
    ]
    assert body == b"<b>1</b>"
    response.content = response.content.replace(b"</b>", b"\r\n\r\n2</b>").replace(b"404 Not Found", b"200 OK")
    assert (response.code, response.body) == (200, b"<b>1\r\n\r\n2</b>")
    assert (response.headers["x-name"], response.headers["set-cookie"][:3]) == ("\xfc", "a=1")
    again = response.content
    response.content = again
    assert response.content == again
    broken = b"", b"text", b"HTTP/1.0 200 OK", b"HTTP/1.0 1000\r\n\r\n", b"HTTP/1.0 200 OK\r\na b: c\r\n\r\n"
    for content in broken:
        with pytest.raises(ValueError, match="header"):
            response.content = content
    assert response.content == again


def test_cookies_are_secure_under_https() -> None:
    response = Response("")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", max_age=0, path="/x", same_site="Strict", http_only=False, secure=False)
    response.set_cookie("c", "3", same_site="None", secure=True, max_age=60)
    cookies = [value for name, value in response.header_list() if name == "set-cookie"]
    assert cookies == [
        "a=1; Path=/; SameSite=Lax; HttpOnly",
        "b=2; Path=/x; SameSite=Strict; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "c=3; Path=/; SameSite=None; Max-Age=60; HttpOnly; Secure",
    ]
    assert ("set-cookie", "a=1; Path=/; SameSite=Lax; HttpOnly; Secure") in response.header_list(https=True)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a b"},
        {"name": ""},
        {"value": "a;b"},
        {"value": "a\r\n"},
        {"value": "\u00fc"},
        {"path": "/;x"},
        {"path": "/\n"},
        {"same_site": "lax"},
        {"same_site": "None"},
    ],
)
def test_cookies_that_are_not_allowed(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cookie|same_site"):
        Response("").set_cookie(**{"name": "n", "value": "v", **options})


# ---- the usual ones ----


def test_redirect() -> None:
    response = Response.redirect("/contact/?q=a%20b&c=d#e")
    assert (response.code, response.headers["location"], response.body) == (302, "/contact/?q=a%20b&c=d#e", b"")
    assert Response.redirect('/a b/\u00fc"<>').headers["location"] == "/a%20b/%C3%BC%22%3C%3E"
    assert Response.redirect("http://[::1]:80/").headers["location"] == "http://[::1]:80/"
    assert Response.redirect("/", code=303).code == 303


@pytest.mark.parametrize("code", [200, 300, 301, 304, 404])
def test_redirect_has_few_codes(code: int) -> None:
    with pytest.raises(ValueError, match="redirect"):
        Response.redirect("/", code=code)


@pytest.mark.parametrize("url", ["/a\r\nx: y", "/a\nb", "/\x00", "/\x7f"])
def test_redirect_refuses_control_characters(url: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        Response.redirect(url)


def test_plain_text() -> None:
    response = Response.plain_text(["<", 5, ">"])
    assert response.body == b"<5>"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_generic_page() -> None:
    page = Response.generic(["<b>", "x", "</b>"], title="<T>").body.decode()
    assert "<title>&lt;T&gt;</title>" in page
    assert "<b>x</b>" in page
    page = Response.generic(code=404).body.decode()
    assert "<title>Not Found</title>" in page
    assert "no page at this address" in page
    assert Response.generic(code=418).code == 418


def test_a_program_can_replace_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Response, "TEMPLATE_GENERIC", Template("{title}|{.body}|{kali_version}{python_version}"))
    assert Response.generic("x", code=400).body.startswith(b"Bad Request|x|")


def test_swear_names_the_request_and_keeps_its_detail() -> None:
    response = Response.swear(request(), "<i>detail</i>")
    assert response.code == 500
    page = response.body.decode()
    assert '<a href="/a?b=&lt;c&gt;">' in page
    assert "<i>detail</i>" in page
    assert Response.swear(request(), "x", code=409).code == 409


def test_swear_links_to_this_program_only() -> None:
    assert b'href="/evil.example/x"' in Response.swear(request("//evil.example/x"), "").body
    assert b'href="/shop/x"' in Response.swear(request("/x", script_name="/shop"), "").body


def failed(*, debug: bool, error: Exception | None = None) -> Response:
    asked = request()
    asked.debug = debug
    try:
        raise error or ValueError("the <secret>")
    except Exception:
        return Response.from_exception(asked)


def test_an_exception_is_shown_in_debug_only() -> None:
    response = failed(debug=True)
    page = response.body.decode()
    assert response.code == 500
    assert "ValueError: the &lt;secret&gt;" in page
    assert "raise error or ValueError" in page
    assert "Traceback (most recent call last)" in page
    response = failed(debug=False)
    page = response.body.decode()
    assert response.code == 500
    for word in ("secret", "ValueError", "Traceback", __file__, "test_response", sys.version.split()[0]):
        assert word not in page


def test_the_mistake_of_a_browser_is_told_to_it() -> None:
    response = failed(debug=False, error=ProtocolError("Part 3 is <bad>.", code=413))
    assert response.code == 413
    assert b"Part 3 is &lt;bad&gt;." in response.body


def test_the_link_of_an_error_page_leads_to_no_other_host() -> None:
    for uri in ("/\\evil.example/x", "//evil.example/x", "/\\/evil.example"):
        page = Response.swear(Request("GET", uri, "HTTP/1.1", {}, None), "").body.decode()
        assert 'href="/evil.example/x"' in page or 'href="/%5C' in page, page
