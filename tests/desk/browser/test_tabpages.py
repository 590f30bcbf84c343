"""``reserve.desk.browser.tabpages``: which pages get the script, and what they and it send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from reserve.desk.browser.tabpages import SCRIPT_PATH, SCRIPT_TAG, TAB_PATH, TabPages, add_script
from reserve.desk.browser.tabs import TabWatch
from reserve.testing import FakeClock, MemoryClient

NAVIGATION = [("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Mode", "navigate")]
SAME_ORIGIN = [("Sec-Fetch-Site", "same-origin")]


class Site:
    """An application whose pages are watched: what it is asked, and what it responds."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.watch = TabWatch(self.clock.now)
        self.status = "200 OK"
        self.headers = [("Content-Type", "text/html; charset=utf-8")]
        self.body: Iterable[bytes] = [b"<!doctype html><html><head><title>x</title></head><body>y</body></html>"]
        self.environ: dict[str, Any] = {}
        self.pages = 0
        self.running = 0
        self.ended: list[bool] = []
        self.client = MemoryClient(TabPages(self, self.watch))  # type: ignore[arg-type]
        self.watch.page_sent = self._page_sent  # type: ignore[method-assign]
        self.watch.request_ended = self._request_ended  # type: ignore[method-assign]

    def _page_sent(self) -> None:
        self.pages += 1

    def _request_ended(self, *, is_page: bool = False) -> None:
        self.ended.append(is_page)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.environ = environ
        start_response(self.status, self.headers)
        return self.body


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.client.close()
    assert site.client.log == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (b"<html><head><title>x</title>", b"<html><head>@<title>x</title>"),
        (b"<!doctype html><HEAD lang=de>x", b"<!doctype html><HEAD lang=de>@x"),
        (b"<header>x</header>", b"<header>x</header>@"),
        (b"", b"@"),
        (b"x" * 100_000 + b"<head>", b"x" * 100_000 + b"<head>@"),
    ],
)
def test_a_page_gets_the_script_wherever_it_is_cut(page: bytes, expected: bytes) -> None:
    expected = expected.replace(b"@", SCRIPT_TAG)
    assert b"".join(add_script([page])) == expected
    size = max(1, len(page) // 50)
    assert b"".join(add_script(page[at : at + size] for at in range(0, len(page), size))) == expected


def test_a_page_in_a_tab_has_the_script_and_its_length(site: Site) -> None:
    page = b"<head></head>"
    site.headers += [("Content-Length", str(len(page))), ("ETag", '"1"'), ("Accept-Ranges", "bytes")]
    site.body = [page]
    response = site.client.request("GET", "/", [*NAVIGATION, ("Range", "bytes=0-3")])
    assert response.body == b"<head>" + SCRIPT_TAG + b"</head>"
    assert response.header("Content-Length") == str(len(response.body))
    assert response.header("ETag") == '"1-tab"'
    assert response.header("Accept-Ranges") == "none"
    assert "HTTP_RANGE" not in site.environ
    assert (site.pages, site.ended) == (1, [True])


def test_the_page_of_a_generator_has_the_script(site: Site) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        try:
            write = start_response("200 OK", [("Content-Type", "text/html")])
            write(b"<he")
            yield b"ad>"
            yield b"end"
        finally:
            closed.append(True)

    closed: list[bool] = []
    client = MemoryClient(TabPages(app, site.watch))
    assert client.request("GET", "/", NAVIGATION).body == b"<head>" + SCRIPT_TAG + b"end"
    assert closed == [True]
    client.close()


@pytest.mark.parametrize(
    ("request_headers", "headers"),
    [
        ([("Sec-Fetch-Dest", "empty")], []),  # a fetch, which may be part of a page
        ([("Sec-Fetch-Dest", "iframe")], []),
        ([], []),
        (NAVIGATION, [("Content-Disposition", "attachment; filename=x.html")]),
        (NAVIGATION, [("Content-Encoding", "gzip")]),
        (NAVIGATION, [("Content-Type", "text/plain")]),
        (NAVIGATION, [("Content-Type", "application/xhtml+xml")]),  # the script is no XML
        (NAVIGATION, [("Content-Type", "text/html; charset=utf-16le")]),
    ],
)
def test_what_is_no_page_is_left_alone(
    site: Site, request_headers: list[tuple[str, str]], headers: list[tuple[str, str]]
) -> None:
    site.headers = [*headers, *(site.headers if not any(name == "Content-Type" for name, _ in headers) else [])]
    assert site.client.request("GET", "/", request_headers).body == b"".join(site.body)
    assert site.ended == [request_headers == NAVIGATION]


def test_a_browser_from_before_the_fetch_fields_gets_the_script(site: Site) -> None:
    assert SCRIPT_TAG in site.client.request("GET", "/", [("Accept", "text/html,*/*")]).body


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        ("200 OK", [("Content-Type", "image/png")], 1),
        ("404 Not Found", [("Content-Type", "text/html")], 1),
        ("303 See Other", [("Location", "/")], 0),
        ("204 No Content", [], 0),
        ("200 OK", [("Content-Type", "text/html"), ("Content-Disposition", "attachment")], 0),
    ],
)
def test_what_the_browser_shows_is_a_page(
    site: Site, status: str, headers: list[tuple[str, str]], expected: int
) -> None:
    site.status, site.headers, site.body = status, headers, []
    site.client.request("GET", "/", NAVIGATION)
    assert site.pages == expected


def test_a_page_without_the_script_in_the_cache_is_sent_again(site: Site) -> None:
    site.client.request("GET", "/", [*NAVIGATION, ("If-None-Match", '"1", W/"2"'), ("If-Modified-Since", "x")])
    assert site.environ["HTTP_IF_NONE_MATCH"] == '""'
    assert "HTTP_IF_MODIFIED_SINCE" not in site.environ


def test_a_page_with_the_script_in_the_cache_is_not_sent_again(site: Site) -> None:
    site.status, site.headers, site.body = "304 Not Modified", [("ETag", 'W/"2"')], []
    response = site.client.request("GET", "/", [*NAVIGATION, ("If-None-Match", '"1", W/"2-tab"')])
    assert site.environ["HTTP_IF_NONE_MATCH"] == 'W/"2"'
    assert (response.status, response.header("ETag")) == (304, 'W/"2-tab"')
    assert site.pages == 1


def test_a_request_that_fails_has_ended(site: Site) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        raise ValueError("no")

    client = MemoryClient(TabPages(app, site.watch))
    assert client.request("GET", "/", NAVIGATION).status == 500
    assert site.ended == [True]
    client.close()


def test_the_script_is_cached(site: Site) -> None:
    address = SCRIPT_TAG.split(b'"')[1].decode()
    response = site.client.request("GET", address)
    assert response.status == 200
    assert b"pagehide" in response.body
    assert response.header("Content-Type") == "text/javascript; charset=utf-8"
    assert "immutable" in (response.header("Cache-Control") or "")
    assert address.startswith(SCRIPT_PATH)
    assert site.environ == {}


def test_the_words_of_pages_reach_the_watch(site: Site) -> None:
    said: list[tuple[object, ...]] = []
    site.watch.page_opened = lambda page, tab, **more: said.append((page, tab, more))  # type: ignore[method-assign]
    site.watch.page_gone = lambda page, **more: said.append((page, more))  # type: ignore[method-assign]
    for text in [
        b"open 1-a 1 t visible 500",
        b"open 1-a 2 - hidden 1000",
        b"gone 1-a 3 cached 1500",
        b"gone 1-a 4 left 2000",
    ]:
        assert site.client.request("POST", TAB_PATH, SAME_ORIGIN, text).status == 204
    assert said == [
        ("1-a", "t", {"visible": True, "number": 1, "said_at": 0.5}),
        ("1-a", "-", {"visible": False, "number": 2, "said_at": 1.0}),
        ("1-a", {"cached": True, "left_at": 1.5, "number": 3}),
        ("1-a", {"cached": False, "left_at": 2.0, "number": 4}),
    ]
    assert site.environ == {}


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("GET", SAME_ORIGIN, None, 405),
        ("POST", [("Sec-Fetch-Site", "same-site")], b"open a 1 t visible 1", 403),
        ("POST", [("Sec-Fetch-Site", "cross-site")], b"open a 1 t visible 1", 403),
        ("POST", SAME_ORIGIN, b"open a 1 t", 400),
        ("POST", SAME_ORIGIN, b"open " + b"a" * 61 + b" 1 t visible 1", 400),
        ("POST", SAME_ORIGIN, b"gone a 2 left 1\n", 400),
        ("POST", SAME_ORIGIN, b"", 400),
    ],
)
def test_other_words_are_refused(
    site: Site, method: str, headers: list[tuple[str, str]], body: bytes | None, status: int
) -> None:
    assert site.client.request(method, TAB_PATH, headers, body).status == status
    assert not site.watch._seen
