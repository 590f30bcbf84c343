"""The environ that is made of a web server's variables: the two parts of the path, the header fields, the limits."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.cgi import environ as cgi_environ
from reserve.protocol.cgi.environ import CGIHead, request_head, split_path
from reserve.protocol.http1.limits import Limits

BASE: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "REMOTE_ADDR": "",
    "wsgi.url_scheme": "http",
    "wsgi.errors": None,
}
HEAD = ("method", "target", "environ", "length", "remote_addr", "version")
UTF8 = "\xc3\xbc"  # a u with two dots in UTF-8, as latin-1


def head(*more: tuple[str, str], limits: Limits | None = None, framed: bool = False, **variables: str) -> CGIHead:
    given = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/", **variables}
    names, values = zip(*given.items(), *more, strict=True)
    first, again = (
        request_head(list(names), list(values), BASE, limits or Limits(), framed=framed) for _ in range(2)
    )  # the second time the function has seen the names before
    assert [getattr(first, name) for name in HEAD] == [getattr(again, name) for name in HEAD]
    return first


def environ(*more: tuple[str, str], **variables: str) -> dict[str, Any]:
    return head(*more, **variables).environ


def refused(*more: tuple[str, str], limits: Limits | None = None, **variables: str) -> tuple[int, str]:
    with pytest.raises(RemoteError) as caught:
        head(*more, limits=limits, **variables)
    error = caught.value
    with pytest.raises(RemoteError, match=re.escape(error.message)):
        head(*more, limits=limits, **variables)
    return error.status, error.message


@pytest.fixture(autouse=True)
def no_cached_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.protocol.cgi.environ.CACHED_KINDS", {})


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        # nginx with its scgi_params, uwsgi_params and fastcgi_params; the path may have been rewritten
        ({"REQUEST_URI": "/a%2Fb?x", "DOCUMENT_URI": "/a/b"}, ("", "/a/b")),
        ({"REQUEST_URI": f"/{UTF8}", "DOCUMENT_URI": f"/{UTF8}"}, ("", f"/{UTF8}")),
        ({"REQUEST_URI": "/a%2Fb?x", "PATH_INFO": "/a/b"}, ("", "/a/b")),
        ({"REQUEST_URI": "/x", "DOCUMENT_URI": "/x", "SCRIPT_NAME": "/x"}, ("", "/x")),
        ({"REQUEST_URI": "/old", "DOCUMENT_URI": "/new", "SCRIPT_NAME": "/new"}, ("", "/new")),
        # nginx with a SCRIPT_NAME of the site's own
        ({"REQUEST_URI": "/app/x", "DOCUMENT_URI": "/app/x", "SCRIPT_NAME": "/app"}, ("/app", "/x")),
        ({"REQUEST_URI": "/app/", "DOCUMENT_URI": "/app/", "SCRIPT_NAME": "/app"}, ("/app", "/")),
        ({"REQUEST_URI": "/app/x", "PATH_INFO": "/x", "SCRIPT_NAME": "/app"}, ("/app", "/x")),
        ({"REQUEST_URI": "/app", "PATH_INFO": "", "SCRIPT_NAME": "/app"}, ("/app", "")),
        ({"REQUEST_URI": "/application", "DOCUMENT_URI": "/application", "SCRIPT_NAME": "/app"}, ("", "/app")),
        # Apache: mod_proxy_scgi and mod_proxy_fcgi, which may keep %2F; mod_proxy_uwsgi
        ({"REQUEST_URI": "/a%2Fb/%C3%BC?y", "SCRIPT_NAME": f"/a%2Fb/{UTF8}"}, ("", f"/a%2Fb/{UTF8}")),
        ({"REQUEST_URI": "/u/a", "SCRIPT_NAME": "/u", "PATH_INFO": "/a"}, ("/u", "/a")),
        ({"REQUEST_URI": "/u/", "SCRIPT_NAME": "/u/", "PATH_INFO": "/"}, ("/u", "/")),
        ({"REQUEST_URI": "/", "SCRIPT_NAME": "/", "PATH_INFO": "/"}, ("", "/")),
        ({"REQUEST_URI": "/", "SCRIPT_NAME": "/"}, ("", "/")),
        # lighttpd
        ({"REQUEST_URI": "/x", "SCRIPT_NAME": "", "PATH_INFO": "/x"}, ("", "/x")),
        ({"REQUEST_URI": "/app/x", "SCRIPT_NAME": "/app", "PATH_INFO": "/x"}, ("/app", "/x")),
        ({"REQUEST_URI": "/app", "SCRIPT_NAME": "/app"}, ("", "/app")),
        # a slash at the end of SCRIPT_NAME
        ({"SCRIPT_NAME": "/", "PATH_INFO": "/x"}, ("", "/x")),
        ({"SCRIPT_NAME": "/", "PATH_INFO": ""}, ("", "/")),
        ({"SCRIPT_NAME": "//", "PATH_INFO": "/x"}, ("", "/x")),
        ({"REQUEST_URI": "/app/x", "SCRIPT_NAME": "/app//"}, ("", "/app//")),
        ({"SCRIPT_NAME": "/app/", "PATH_INFO": "x"}, ("/app", "/x")),
        ({"REQUEST_URI": "/app/x", "SCRIPT_NAME": "/app/"}, ("/app", "/x")),
        # neither
        ({"REQUEST_URI": "/a%20b/%C3%BC?%20"}, ("", f"/a b/{UTF8}")),
        ({"REQUEST_URI": "/a%2Fb%zz"}, ("", "/a/b%zz")),
        ({"REQUEST_URI": "/x", "SCRIPT_NAME": "", "PATH_INFO": ""}, ("", "/x")),
        ({"REQUEST_URI": "http://a.test/x%20?y"}, ("", "/x ")),
        ({"REQUEST_URI": "http://a.test"}, ("", "/")),
        ({"REQUEST_URI": "*"}, ("", "*")),
        ({}, ("", "")),
    ],
)
def test_the_two_parts_of_the_path(variables: dict[str, str], expected: tuple[str, str]) -> None:
    assert split_path(variables) == expected


@given(
    st.dictionaries(
        st.sampled_from(["SCRIPT_NAME", "PATH_INFO", "REQUEST_URI", "DOCUMENT_URI"]),
        st.text("/ab%2F?", max_size=8),
    )
)
def test_the_two_parts_together_are_what_the_web_server_has_sent(variables: dict[str, str]) -> None:
    script, path = split_path(variables)
    sent = variables.get("SCRIPT_NAME", "") + variables.get("PATH_INFO", "")
    if "PATH_INFO" in variables and sent:
        assert re.sub("/+", "/", script + path) == re.sub("/+", "/", sent)


def test_variables_of_the_web_server_replace_those_of_the_connection() -> None:
    result = environ(SERVER_NAME="a.test", SERVER_PORT="8080", REMOTE_ADDR="192.0.2.7", SERVER_SOFTWARE="nginx", X="y")
    assert (result["SERVER_NAME"], result["SERVER_PORT"]) == ("a.test", "8080")
    assert (result["REMOTE_ADDR"], result["SERVER_SOFTWARE"], result["X"]) == ("192.0.2.7", "nginx", "y")
    assert BASE["REMOTE_ADDR"] == ""


def test_a_variable_without_a_value_counts_as_not_given() -> None:
    result = environ(SERVER_NAME="", SERVER_PORT="", REMOTE_USER="", CONTENT_TYPE="", CONTENT_LENGTH="", HTTPS="")
    assert (result["SERVER_NAME"], result["SERVER_PORT"]) == ("localhost", "80")
    assert not {"REMOTE_USER", "CONTENT_TYPE", "CONTENT_LENGTH", "HTTPS"} & set(result)
    assert (result["QUERY_STRING"], result["SCRIPT_NAME"]) == ("", "")
    assert environ(HTTP_X="")["HTTP_X"] == ""


def test_the_last_of_several_values_counts() -> None:
    assert environ(("X", "1"), ("X", "2"))["X"] == "2"
    assert "X" not in environ(("X", "1"), ("X", ""))
    assert environ(("SCRIPT_NAME", ""), SCRIPT_NAME="/x", DOCUMENT_URI="/x")["PATH_INFO"] == "/x"


def test_header_fields_that_are_repeated_are_joined_or_refused() -> None:
    assert environ(("HTTP_X", " a\t"), ("HTTP_X", "b"))["HTTP_X"] == "a, b"
    assert environ(("HTTP_COOKIE", "a=1"), ("HTTP_COOKIE", "b=2"))["HTTP_COOKIE"] == "a=1; b=2"
    for name in ("HTTP_HOST", "HTTP_AUTHORIZATION", "HTTP_RANGE"):
        assert refused((name, "a"), (name, "a"))[0] == 400
    assert refused(("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "1"))[0] == 400
    assert refused(("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", ""))[0] == 400


def test_a_client_cannot_set_what_the_server_sets() -> None:
    result = environ(("wsgi.url_scheme", "https"), ("wsgi.errors", "x"), ("reserve.stopping", "x"), HTTP_PROXY="evil")
    assert result["wsgi.url_scheme"] == "http"
    assert result["wsgi.errors"] is None
    assert not {"HTTP_PROXY", "reserve.stopping"} & set(result)


@pytest.mark.parametrize("name", ["HTTP_X.Y", "HTTP_", "HTTP_X-Y", "SSL_CLIENT_S_DN", "proxy-nokeepalive", "shop.name"])
def test_odd_names_of_variables_are_kept(name: str) -> None:
    assert environ((name, "v"))[name] == "v"


@pytest.mark.parametrize("name", ["", "A B", "A=B", "A\n", "\xe9", "A\x00"])
def test_what_is_no_name_is_refused(name: str) -> None:
    assert refused((name, "v"))[0] == 400


@pytest.mark.parametrize("name", ["HTTP_X", "REQUEST_URI", "QUERY_STRING", "CONTENT_TYPE", "SERVER_PROTOCOL"])
@pytest.mark.parametrize("character", ["\r", "\n", "\0"])
def test_a_line_end_in_a_value_is_refused(name: str, character: str) -> None:
    assert refused((name, f"a{character}b"))[0] == 400


def test_a_decoded_path_may_have_a_line_end() -> None:
    assert environ(PATH_INFO="/a\nb")["PATH_INFO"] == "/a\nb"


@pytest.mark.parametrize(
    ("variables", "scheme", "https", "port"),
    [
        ({}, "http", None, "80"),
        ({"HTTPS": "on"}, "https", "on", "443"),
        ({"HTTPS": "ON", "SERVER_PORT": "8443"}, "https", "on", "8443"),
        ({"HTTPS": "1"}, "https", "on", "443"),
        ({"HTTPS": "off"}, "http", "off", "80"),
        ({"HTTPS": "off", "REQUEST_SCHEME": "https"}, "http", "off", "80"),
        ({"REQUEST_SCHEME": "https"}, "https", "on", "443"),
        ({"REQUEST_SCHEME": "http"}, "http", None, "80"),
    ],
)
def test_the_scheme_is_that_of_the_web_servers_client(
    variables: dict[str, str], scheme: str, https: str | None, port: str
) -> None:
    result = environ(**variables)
    assert (result["wsgi.url_scheme"], result.get("HTTPS"), result["SERVER_PORT"]) == (scheme, https, port)


def test_the_length_of_the_body() -> None:
    assert head().length == 0
    assert head(CONTENT_LENGTH="").length == 0
    assert head(CONTENT_LENGTH="0").length == 0
    assert head(CONTENT_LENGTH="007").length == 7
    assert environ(CONTENT_LENGTH="007")["CONTENT_LENGTH"] == "7"
    assert head(CONTENT_LENGTH="7", framed=True).length is None
    assert head(framed=True).length is None
    for wrong in ("-1", "+1", "1.0", "0x1", "1 ", "\xb2", "9" * 30):
        assert refused(CONTENT_LENGTH=wrong)[0] == 400
    assert refused(CONTENT_LENGTH="11", limits=Limits(max_body=10))[0] == 413


def test_a_body_whose_coding_the_web_server_has_removed() -> None:
    result = head(CONTENT_LENGTH="5", HTTP_TRANSFER_ENCODING="chunked")
    assert result.length == 5
    assert "HTTP_TRANSFER_ENCODING" not in result.environ
    assert "HTTP_TRANSFER_ENCODING" not in head(HTTP_TRANSFER_ENCODING="chunked", framed=True).environ
    assert refused(HTTP_TRANSFER_ENCODING="chunked")[0] == 411


def test_the_fields_of_the_body_have_two_names_with_some_web_servers() -> None:
    result = environ(CONTENT_LENGTH="5", HTTP_CONTENT_LENGTH="6", CONTENT_TYPE="a/b", HTTP_CONTENT_TYPE="c/d")
    assert (result["CONTENT_LENGTH"], result["CONTENT_TYPE"]) == ("5", "a/b")
    assert not {"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"} & set(result)
    alone = head(HTTP_CONTENT_LENGTH="6", HTTP_CONTENT_TYPE="c/d")
    assert (alone.length, alone.environ["CONTENT_LENGTH"], alone.environ["CONTENT_TYPE"]) == (6, "6", "c/d")
    assert refused(("HTTP_CONTENT_LENGTH", "6"), ("HTTP_CONTENT_LENGTH", "6"))[0] == 400


def test_the_limits_of_a_head() -> None:
    assert refused(REQUEST_URI="/" + "x" * 200, limits=Limits(max_request_line=128))[0] == 414
    assert refused(HTTP_X="x" * 200, limits=Limits(max_field=128))[0] == 431
    fields = [(f"HTTP_X{number}", "") for number in range(4)]
    assert head(*fields, limits=Limits(max_fields=4)).environ["HTTP_X3"] == ""
    assert refused(*fields, limits=Limits(max_fields=3))[0] == 431


@pytest.mark.parametrize("method", ["", "G T", "GET\r", "(", "\xe9"])
def test_a_method_is_a_token(method: str) -> None:
    assert refused(REQUEST_METHOD=method)[0] == 400


def test_what_the_access_log_shows() -> None:
    result = head(REMOTE_ADDR="192.0.2.7", SERVER_PROTOCOL="HTTP/2.0", REQUEST_URI="/a?b")
    assert (result.method, result.target, result.version, result.remote_addr) == (
        "GET",
        "/a?b",
        "HTTP/2.0",
        "192.0.2.7",
    )
    assert head().version == "HTTP/1.0"
    assert head(REQUEST_URI="", PATH_INFO=f"/{UTF8} ", QUERY_STRING="q").target == "/%C3%BC%20?q"
    assert head(REQUEST_URI=f"/{UTF8}").target == "/%C3%BC"


# ---- the cache of names ----


def test_the_cache_of_the_kinds_of_names_is_bounded() -> None:
    """The names of header fields are those that any client sends."""
    most = cgi_environ.MOST_CACHED
    for number in range(most * 2):
        assert cgi_environ._kind(f"HTTP_X_{number}") == cgi_environ.FIELD
        assert len(cgi_environ.CACHED_KINDS) <= most
    long = "HTTP_" + "X" * cgi_environ.LONGEST_CACHED
    assert head((long, "y")).environ[long] == "y"
    assert long not in cgi_environ.CACHED_KINDS
    assert refused(("HTTP_=", "y"))[0] == 400
    assert "HTTP_=" not in cgi_environ.CACHED_KINDS
