"""A real browser with a program of desk: what its forms contain when they arrive, and whose forms do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reserve
from tests.extras import library
from tests.real.webdriver import Browser
from tests.waiting import eventually

library("markupsafe")
library("python_multipart")
library("itsdangerous")

from reserve.desk import FileUpload, Request, Response, Router, Servlet  # noqa: E402

pytestmark = pytest.mark.peer

FORM = """<!doctype html><meta charset="utf-8"><title>form</title>
<form method="post" action="/form" enctype="%s">
<input name='gr&uuml;&szlig;e &quot;&amp;' value="a &amp; &#8364;"><textarea name="text"></textarea>
<select name="pick" multiple><option selected>1</option><option selected>2</option></select>
<input type="file" name="file"><input type="file" name="none"><button>send</button></form>"""


@pytest.fixture
def browser(require_peer: Callable[[str], str], tmp_path: Path) -> Iterator[Browser]:
    flags = ["--host-resolver-rules=MAP rebound.test 127.0.0.1"]
    with Browser(require_peer("chromedriver"), require_peer("chromium"), tmp_path / "profile", flags=flags) as browser:
        yield browser


@pytest.mark.parametrize("encoding", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_arrives_as_it_was_filled_in(encoding: str, browser: Browser, tmp_path: Path) -> None:
    seen: list[Any] = []
    router = Router()

    @router.servlet("/form")
    class Page(Servlet):
        def do_GET(self, request: Request) -> str:
            return FORM % encoding

        def do_POST(self, request: Request) -> Response:
            seen.extend(request.POST.items())
            return Response.redirect("/done")

    @router.function("/done")
    def done() -> str:
        return "<title>done</title><p>done</p>"

    upload = tmp_path / "\u00fcber; 100%.bin"
    upload.write_bytes(bytes(range(256)) * 300)
    with reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), router, threads=1) as server:
        browser.go(f"http://localhost:{server.addresses[0][1]}/form")
        browser.type("textarea", "one\ntwo")
        browser.type("input[name=file]", str(upload))
        browser.click("button")
        eventually(lambda: browser.title == "done")
    assert seen[:4] == [('gr\u00fc\u00dfe "&', "a & \u20ac"), ("text", "one\r\ntwo"), ("pick", "1"), ("pick", "2")]
    if encoding == "multipart/form-data":
        assert seen[4:] == [
            ("file", FileUpload(upload.name, "application/octet-stream", upload.read_bytes())),
            ("none", FileUpload("", "application/octet-stream", b"")),
        ]
    else:
        assert seen[4:] == [("file", upload.name), ("none", "")]


def test_a_page_of_another_site_can_neither_send_a_form_nor_read_a_page(browser: Browser) -> None:
    seen: list[str] = []
    router = Router()

    @router.servlet("/form")
    class Page(Servlet):
        def do_GET(self, request: Request) -> str:
            seen.append("read")
            return "<title>secret</title>"

        def do_POST(self, request: Request) -> str:
            seen.append("changed")
            return "changed"

    def foreign(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [f"<form method=post action='http://localhost:{port}/form'><button>win</button></form>".encode()]

    with (
        reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), router, threads=1) as server,
        reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), foreign, threads=1) as other,
    ):
        port = server.addresses[0][1]
        for host in ("localhost", "127.0.0.1", "rebound.test"):
            browser.go(f"http://{host}:{other.addresses[0][1]}/")
            browser.click("button")
            eventually(lambda: browser.title == "Forbidden")
        browser.go(f"http://rebound.test:{port}/form")
        assert browser.title == "Misdirected Request"
        assert seen == []
        browser.go(f"http://localhost:{port}/form")
        assert browser.title == "secret"
