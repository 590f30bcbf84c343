"""``reserve.desk.browser.private``: a token that works once, a cookie, and a page for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reserve.desk.browser.private import START_PATH, PrivateGate, make_start_path
from reserve.testing import MemoryClient, Response

KEY = b"k" * 32
PORT = 8080


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"inside"]


@pytest.fixture
def client() -> Iterator[MemoryClient]:
    client = MemoryClient(PrivateGate(app, KEY, PORT, ["/open"]))
    yield client
    client.close()
    assert client.log == []


def cookie_of(response: Response) -> str:
    return (response.header("Set-Cookie") or "").partition(";")[0]


def test_the_start_address_gives_the_cookie_and_leads_on(client: MemoryClient) -> None:
    response = client.request("GET", make_start_path(KEY, "/tasks?of=\u00e4&x=1"))
    assert response.status == 303
    assert response.header("Location") == "/tasks?of=%C3%A4&x=1"
    assert response.header("Cache-Control") == "no-store"
    assert response.header("Referrer-Policy") == "no-referrer"
    name, *attributes = (response.header("Set-Cookie") or "").split("; ")
    assert name.startswith("desk-8080=")
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Strict"]
    assert client.request("GET", "/", [("Cookie", f"a=b; {name}; desk-8080=x")]).body == b"inside"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Cookie", "desk-8080=")],
        [("Cookie", "desk-8080=\xe4")],
        [("Cookie", "other=1; desk-8080")],
    ],
)
@pytest.mark.parametrize("path", ["/", START_PATH, "/.desk/tab", f"{START_PATH}?token=x&page=/"])
def test_all_others_get_a_page_that_says_so(client: MemoryClient, headers: list[tuple[str, str]], path: str) -> None:
    response = client.request("GET", path, headers)
    assert response.status == 403
    assert b"private" in response.body
    assert response.header("Cache-Control") == "no-store"
    assert response.header("Set-Cookie") is None


def test_the_cookie_of_another_start_or_port_is_refused(client: MemoryClient) -> None:
    for key, port in [(b"l" * 32, PORT), (KEY, PORT + 1)]:
        other = MemoryClient(PrivateGate(app, key, port))
        cookie = cookie_of(other.request("GET", make_start_path(key, "")))
        assert other.request("GET", "/", [("Cookie", cookie)]).status == 200
        assert client.request("GET", "/", [("Cookie", cookie)]).status == 403
        other.close()


def test_a_token_works_once(client: MemoryClient) -> None:
    path = make_start_path(KEY, "")
    cookie = cookie_of(client.request("GET", path))
    assert client.request("GET", path).status == 403
    again = client.request("GET", path, [("Cookie", cookie)])  # the same browser reloads it
    assert (again.status, again.header("Location")) == (303, "/")
    assert client.request("GET", make_start_path(KEY, "")).status == 303


def test_a_token_cannot_be_made_up(client: MemoryClient) -> None:
    path = make_start_path(KEY, "")
    for wrong in [path.replace("token=", "token=0")[:-1], make_start_path(b"l" * 32, ""), path.replace("-", "")]:
        assert client.request("GET", wrong).status == 403


@pytest.mark.parametrize(
    ("page", "location"),
    [
        ("", "/"),
        ("tasks", "/tasks"),
        ("//evil.test/", "/evil.test/"),
        ("/\\evil.test", "/evil.test"),
        ("/a\r\nb", "/a%0D%0Ab"),
    ],
)
def test_it_leads_to_pages_of_this_program_only(client: MemoryClient, page: str, location: str) -> None:
    response = client.request("GET", make_start_path(KEY, page))
    assert response.header("Location") == location


def test_open_paths_need_no_cookie(client: MemoryClient) -> None:
    assert client.request("GET", "/open").body == b"inside"
    assert client.request("GET", "/open/more").status == 403
