"""SessionCookie: what a browser keeps comes back, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.desk.wsgicalls import ask
from tests.extras import library

library("markupsafe")
library("python_multipart")
itsdangerous = library("itsdangerous")

from reserve.desk.request import Request  # noqa: E402
from reserve.desk.response import Response  # noqa: E402
from reserve.desk.session import SessionCookie  # noqa: E402
from reserve.desk.wsgi import Application  # noqa: E402

SECRET = "not secret at all"


def request(cookie: str | None) -> Request:
    return Request("GET", "/", "HTTP/1.1", {} if cookie is None else {"Cookie": cookie}, None)


def saved(session: SessionCookie, data: dict[str, Any]) -> str:
    """The Set-Cookie of a session."""
    response = Response("")
    session.save(response, data)
    [cookie] = [value for name, value in response.header_list() if name == "set-cookie"]
    return cookie


def pair(set_cookie: str) -> str:
    return set_cookie.partition(";")[0]


def test_what_is_saved_is_loaded() -> None:
    session = SessionCookie(SECRET)
    data = {"user": "J\u00fcrgen", "count": 5, "list": [1, None]}
    cookie = saved(session, data)
    assert session.load(request(f"other=1; {pair(cookie)}")) == data
    assert SessionCookie(SECRET).load(request(pair(cookie))) == data
    attributes = cookie.split("; ")[1:]
    assert attributes == ["Path=/", "SameSite=Lax", "Max-Age=2592000", "HttpOnly"]


@pytest.mark.parametrize("cookie", [None, "", "session=", "session=x", "session=a.b.c", "session=" + "x" * 9000])
def test_no_session_is_an_empty_one(cookie: str | None) -> None:
    assert SessionCookie(SECRET).load(request(cookie)) == {}


def test_a_changed_cookie_is_an_empty_session() -> None:
    session = SessionCookie(SECRET)
    cookie = pair(saved(session, {"a": 1}))
    for at in range(len("session="), len(cookie) - 1):  # the last character has bits that do not count
        changed = cookie[:at] + ("A" if cookie[at] != "A" else "B") + cookie[at + 1 :]
        assert session.load(request(changed)) == {}, at


def test_the_cookie_of_another_secret_or_name_is_an_empty_session() -> None:
    cookie = pair(saved(SessionCookie(SECRET), {"a": 1}))
    assert SessionCookie("another secret!!").load(request(cookie)) == {}
    assert SessionCookie().load(request(cookie)) == {}
    assert SessionCookie(SECRET, name="s2").load(request("s2=" + cookie.partition("=")[2])) == {}


def test_an_old_cookie_is_an_empty_session(monkeypatch: pytest.MonkeyPatch) -> None:
    session = SessionCookie(SECRET, max_age=60)
    now = 2_000_000_000
    monkeypatch.setattr(itsdangerous.TimestampSigner, "get_timestamp", lambda self: now)
    cookie = pair(saved(session, {"a": 1}))
    now += 60
    assert session.load(request(cookie)) == {"a": 1}
    now += 1
    assert session.load(request(cookie)) == {}


def test_an_empty_session_deletes_the_cookie() -> None:
    cookie = saved(SessionCookie(SECRET, name="s", path="/x"), {})
    assert cookie.startswith("s=; Path=/x; SameSite=Lax; Max-Age=0; Expires=Thu, 01 Jan 1970")


def test_a_session_that_is_too_large_is_an_error() -> None:
    with pytest.raises(ValueError, match="too large"):
        saved(SessionCookie(SECRET), {"a": [str(number**7) for number in range(2000)]})


def test_what_json_cannot_hold_is_an_error() -> None:
    with pytest.raises(TypeError):
        saved(SessionCookie(SECRET), {"a": object()})


@pytest.mark.parametrize("options", [{"secret": ""}, {"secret": "short"}, {"secret": SECRET, "name": "a b"}])
def test_options_that_are_not_allowed(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"secret|cookie"):
        SessionCookie(**options)


def test_under_https_the_cookie_is_secure() -> None:
    session = SessionCookie()

    def handle(request: Request) -> Response:
        response = Response("")
        session.save(response, {"count": session.load(request).get("count", 0) + 1})
        return response

    app = Application(handle)
    plain = ask(app).header("set-cookie")
    secure = ask(app, **{"wsgi.url_scheme": "https"}).header("set-cookie")
    assert plain is not None
    assert secure is not None
    assert "Secure" not in plain
    assert secure.endswith("; Secure")
    again = ask(app, HTTP_COOKIE=pair(plain)).header("set-cookie")
    assert again is not None
    assert session.load(request(pair(again))) == {"count": 2}
