"""Request: paths, addresses, forms, and how it is made of a WSGI environ."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desk.wsgicalls import FORM, environ_of
from tests.extras import library

library("markupsafe")
library("python_multipart")

from reserve.desk.bag import Bag  # noqa: E402
from reserve.desk.formdata import FileUpload, ProtocolError  # noqa: E402
from reserve.desk.request import Request  # noqa: E402


def get(uri: str, **options: Any) -> Request:
    return Request("GET", uri, "HTTP/1.1", {}, None, **options)


# ---- paths ----


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/", [""]),
        ("/a", ["a"]),
        ("/a/", ["a", ""]),
        ("/a/b%20c/%C3%BC", ["a", "b c", "\u00fc"]),
        ("/a%2Fb/c", ["a/b", "c"]),
        ("/%2e%2e%2fx", ["../x"]),
        ("/a+b", ["a+b"]),
        ("/%FF", ["\ufffd"]),
        ("/a;b=c,d", ["a;b=c,d"]),
        ("//evil.example/x", ["", "evil.example", "x"]),
        ("http://localhost:8080/a?b", ["a"]),
        ("http://localhost:8080", [""]),
        ("", [""]),
    ],
)
def test_a_path_is_split_before_it_is_decoded(uri: str, path: list[str]) -> None:
    assert get(uri).path == path


def test_an_address_that_is_none_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="not valid"):
        get("http://[x/")


def test_the_query_is_utf_8() -> None:
    request = get("/x?a=1&b=%C3%BC+y&a=2&c=&d")
    assert list(request.GET.items()) == [("a", "1"), ("a", "2"), ("b", "\u00fc y"), ("c", ""), ("d", "")]
    assert request.url.path == "/x"
    assert request.url.query == "a=1&b=%C3%BC+y&a=2&c=&d"


def test_the_number_of_arguments_is_limited() -> None:
    with pytest.raises(ProtocolError, match="more than 2"):
        get("/?a&b&c", max_fields=2)


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        ([], None, "/"),
        ([""], None, "/"),
        (["task", "5"], None, "/task/5"),
        (["a b", "\u00fc", "x/y", "?#%"], None, "/a%20b/%C3%BC/x%2Fy/%3F%23%25"),
        (["a", ""], {"q": "x y&", "n": 5}, "/a/?q=x+y%26&n=5"),
        (["a"], [("q", "1"), ("q", "2")], "/a?q=1&q=2"),
        (["a"], Bag([("q", "1"), ("q", "2")]), "/a?q=1&q=2"),
        (["", "evil.example"], None, "/evil.example"),
        (["\\evil"], None, "/%5Cevil"),
    ],
)
def test_root_url(path: list[str], query: Any, url: str) -> None:
    assert get("/").root_url(path, query) == url


def test_addresses_below_a_mount() -> None:
    request = get("/a%2Fb/c/d", script_name="/my shop")
    request.mount_depth = 2
    assert request.app_url(["x"]) == "/my%20shop/a%2Fb/c/x"
    assert request.root_url(["x"]) == "/my%20shop/x"
    assert request.path_suffix() == ["d"]
    assert request.has_suffix()
    request.mount_depth = 3
    assert request.path_suffix() == []
    assert not request.has_suffix()


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=1))
def test_any_component_comes_back(path: list[str]) -> None:
    assert get(get("/").root_url(path)).path == path


@pytest.mark.parametrize("uri", ["/", "/a", "/a/", "/a/...", "/a/.b", "/a%2F..%2Fb"])
def test_what_is_normal_stays(uri: str) -> None:
    assert get(uri).normalize() is None


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("//a", "/a"),
        ("/a//b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/../b/", "/b/"),
        ("/../../etc", "/etc"),
        ("/%2e%2e/x", "/x"),
        ("/a//", "/a/"),
        ("/a/..", "/"),
        ("//evil.example/%2e%2e/b", "/b"),
        ("//evil.example", "/evil.example"),
        ("/.//x?a=1&a=%C3%BC", "/x?a=1&a=%C3%BC"),
    ],
)
def test_what_is_not_normal_is_redirected(uri: str, location: str) -> None:
    response = get(uri).normalize()
    assert response is not None
    assert (response.code, response.headers["location"]) == (302, location)


def test_a_form_is_sent_again_to_the_normal_path() -> None:
    response = Request("POST", "//a", "HTTP/1.1", {}, b"").normalize()
    assert response is not None
    assert response.code == 307


# ---- forms ----


def post(content_type: str | None, payload: bytes | None) -> Request:
    return Request("POST", "/", "HTTP/1.1", Bag({"Content-Type": content_type} if content_type else {}), payload)


def test_forms_go_to_post() -> None:
    request = post(FORM, b"a=1&a=2")
    assert request.POST.get_list("a") == ["1", "2"]
    assert request.payload == b"a=1&a=2"


def test_a_multipart_form_is_kept_once() -> None:
    payload = b'--x\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\nc\r\n--x--\r\n'
    request = post("multipart/form-data; boundary=x", payload)
    assert request.POST["f"] == FileUpload("n", "application/octet-stream", b"c")
    assert request.payload == b""


@pytest.mark.parametrize("content_type", [None, "application/json"])
def test_other_bodies_stay_bytes(content_type: str | None) -> None:
    request = post(content_type, b'{"a": 1}')
    assert not request.POST
    assert request.payload == b'{"a": 1}'


def test_no_body_is_an_empty_form() -> None:
    request = post(FORM, None)
    assert not request.POST
    assert request.payload == b""


def test_cookies() -> None:
    request = Request("GET", "/", "HTTP/1.1", {"Cookie": 'a=1; b="x y"; a=2;; =3; c; d=e=f'}, None)
    assert request.cookies == {"a": "1", "b": "x y", "d": "e=f"}
    assert get("/").cookies == {}


# ---- WSGI ----


def test_the_request_of_an_environ() -> None:
    environ = environ_of("POST", "/a%2Fb?c=d", b"e=f", HTTP_X_Y="z")
    request = Request.from_environ(environ)
    assert (request.command, request.uri, request.protocol) == ("POST", "/a%2Fb?c=d", "HTTP/1.1")
    assert request.path == ["a/b"]
    assert request.GET["c"] == "d"
    assert request.POST["e"] == "f"
    assert request.headers["X-Y"] == "z"
    assert request.headers["content-length"] == "3"
    assert request.environ is environ
    assert not request.debug


@pytest.mark.parametrize(
    ("script_name", "path_info", "uri", "expected"),
    [
        ("", "/a/b", "/a%2Fb", ["a/b"]),
        ("", "/a/b", None, ["a", "b"]),
        ("", "/a%2Fb", "/a%2Fb", ["a/b"]),  # reserve can keep it for other applications
        ("", "/a%252Fb", "/a%25252Fb", ["a%252Fb"]),
        ("", "/other/b", "/a%2Fb", ["other", "b"]),  # a middleware has changed it
        ("", "/\xc3\xbc", "/%C3%BC", ["\u00fc"]),
        ("", "/\xc3\xbc %", None, ["\u00fc %"]),
        ("/shop", "/a/b", "/shop/a%2Fb", ["a/b"]),
        ("/my shop", "/a/b", "/my%20shop/a%2Fb", ["a/b"]),
        ("/shop/x", "/b", "/shop%2Fx/b", ["b"]),
        ("/shop", "/a", "/a", ["a"]),  # the frontend has removed it
        ("/shop", "", "/shop", [""]),
        ("", "/a/b", "http://localhost:8080/a%2Fb?q", ["a/b"]),
        ("", "//a", "//a", ["", "a"]),
        ("", "//a", None, ["", "a"]),
        ("", "", "", [""]),
    ],
)
def test_the_path_of_an_environ(script_name: str, path_info: str, uri: str | None, expected: list[str]) -> None:
    environ = environ_of(SCRIPT_NAME=script_name, PATH_INFO=path_info, REQUEST_URI=uri)
    request = Request.from_environ(environ)
    assert request.path == expected
    assert request.script_name == script_name


def test_the_address_is_below_the_script_name() -> None:
    environ = environ_of(SCRIPT_NAME="/shop", PATH_INFO="/a", REQUEST_URI="/shop/a?b", QUERY_STRING="b")
    request = Request.from_environ(environ)
    assert request.uri == "/a?b"
    assert request.root_url(["x"]) == "/shop/x"


def test_a_body_is_read_to_its_length_and_not_further() -> None:
    environ = environ_of("POST", "/", b"abc", "text/plain")
    environ["wsgi.input"] = io.BytesIO(b"abcdef")
    assert Request.from_environ(environ).payload == b"abc"
    assert environ["wsgi.input"].read() == b"def"


def test_a_body_without_a_length_is_read_to_its_end() -> None:
    environ = environ_of("POST", "/", None, **{"wsgi.input": io.BytesIO(b"abc"), "wsgi.input_terminated": True})
    assert Request.from_environ(environ).payload == b"abc"
    environ = environ_of("POST", "/", None, HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": io.BytesIO(b"abc")})
    assert Request.from_environ(environ).payload == b"abc"
    environ = environ_of("POST", "/", None, **{"wsgi.input": io.BytesIO(b"the next request")})
    assert Request.from_environ(environ).payload == b""


def test_a_body_may_have_the_limit_and_no_byte_more() -> None:
    assert Request.from_environ(environ_of("POST", "/", b"x" * 10), max_body=10).payload == b"x" * 10
    chunked: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(b"x" * 10)}
    assert Request.from_environ(environ_of("POST", "/", None, **chunked), max_body=10).payload == b"x" * 10
    environ = environ_of("POST", "/", b"x" * 11)
    with pytest.raises(ProtocolError, match="11 bytes") as caught:
        Request.from_environ(environ, max_body=10)
    assert caught.value.code == 413
    assert environ["wsgi.input"].tell() == 0
    chunked["wsgi.input"] = io.BytesIO(b"x" * 11)
    with pytest.raises(ProtocolError, match="more than 10 bytes") as caught:
        Request.from_environ(environ_of("POST", "/", None, **chunked), max_body=10)
    assert caught.value.code == 413


def test_a_body_that_ends_early_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="ends 2 bytes before"):
        Request.from_environ(environ_of("POST", "/", b"abc", CONTENT_LENGTH="5"))


@pytest.mark.parametrize("length", ["x", "-1", "+5", "1_0", "9" * 30])
def test_a_length_that_is_none_is_an_error(length: str) -> None:
    with pytest.raises(ProtocolError, match="Content-Length"):
        Request.from_environ(environ_of("POST", "/", b"abc", CONTENT_LENGTH=length))
