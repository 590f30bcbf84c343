"""A real browser with the blog that the README's first command serves."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.conftest import Serve
from tests.real.webdriver import Browser

pytestmark = pytest.mark.peer


@pytest.fixture
def browser(require_peer: Callable[[str], str], tmp_path: Path) -> Iterator[Browser]:
    with Browser(require_peer("chromedriver"), require_peer("chromium"), tmp_path / "profile") as browser:
        yield browser


def png(width: int, height: int) -> bytes:
    """A picture with a colour gradient."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack("!I", len(content)) + kind + content + struct.pack("!I", zlib.crc32(kind + content))

    rows = b"".join(
        b"\0" + b"".join(bytes((x * 255 // width, y * 255 // height, 128)) for x in range(width)) for y in range(height)
    )
    head = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_browser_writes_a_post_with_a_picture_and_a_comment(serve: Serve, browser: Browser, tmp_path: Path) -> None:
    picture = tmp_path / "sunset.png"
    picture.write_bytes(png(320, 200))
    with serve("app", "http", "wsgi", "blog", "--threads", "16", "--", "--data", str(tmp_path / "data")) as server:
        browser.go(server.url)
        browser.click("nav a[href='/write']")
        browser.type("form[action='/write'] input[name=title]", "Sunset over the Grünsee")
        browser.type("input[name=author]", "Ann <Ärmel>")
        browser.type("textarea[name=text]", "First paragraph & more.\n\nSecond paragraph.")
        browser.type("input[name=picture]", str(picture))
        browser.click("main form button")
        assert browser.text("article.post h1") == "Sunset over the Grünsee"
        assert browser.url.startswith(server.url + "/post/sunset-over-the-gr")
        assert browser.title.startswith("Sunset over the Grünsee")
        assert "Ann <Ärmel>" in browser.text("article header")
        assert "First paragraph & more." in browser.text("article")
        image = browser.run(
            "const image = document.querySelector('article img');"
            "return image.decode().then("
            "() => [image.naturalWidth, image.naturalHeight, image.getBoundingClientRect().width > 0])"
        )
        assert image == [320, 200, True]
        browser.screenshot(tmp_path / "post.png")
        assert browser.run("return document.styleSheets[0].cssRules.length") > 0

        browser.type("input[name=author]", "Bob")
        browser.type("textarea[name=text]", "Well said.")
        browser.click(".comments form button")
        assert "Well said." in browser.text(".comments li")
        assert browser.text("#comments") == "1 comment"

        browser.go(f"{server.url}/stream")
        browser.screenshot(tmp_path / "stream.png")
        assert browser.text("article.piece h2") == "Sunset over the Grünsee"
        assert "End of the archive" in browser.text("main")
        server.stop()  # while the browser's idle connections are still open
    assert any('"POST /write HTTP/1.1" 303' in line for line in server.stdout)
