"""A real browser with reserve's own WebSocket handlers, beside a page of a WSGI application, over TLS, too."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import reserve
from tests import tls
from tests.extras import library
from tests.real.webdriver import Browser
from tests.waiting import eventually

library("websockets")
pytestmark = pytest.mark.peer

PAGE = b"""<!doctype html><meta charset="utf-8"><title>chat</title><p id="log"></p><script>
const log = document.getElementById("log");
const socket = new WebSocket(location.href.replace("http", "ws") + "chat", ["none", "chat"]);
socket.binaryType = "arraybuffer";
socket.onopen = () => { log.textContent += socket.protocol + ", " + socket.extensions + "|"; send(); };
const send = () => socket.send("gr\xc3\xbcn");
socket.onmessage = (event) => {
  if (typeof event.data === "string") { log.textContent += event.data + "|"; socket.send(new Uint8Array(70000)); }
  else { log.textContent += event.data.byteLength + "|"; socket.send("end"); }
};
socket.onclose = (event) => { log.textContent += "closed " + event.code + " " + event.reason + event.wasClean; };
</script>"""


def page(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [PAGE]


def echo(ws: Any) -> Generator[None, Any, None]:
    while (message := (yield)) != "end":
        ws.send(message)
    ws.close(4000, "bye ")


echo.subprotocols = ("chat",)  # type: ignore[attr-defined]


@pytest.mark.parametrize("secure", [False, True])
def test_a_browser(secure: bool, require_peer: Callable[[str], str], tmp_path: Path) -> None:
    drivers = require_peer("chromedriver"), require_peer("chromium")
    adapter = tls.adapter() if secure else None
    binds = reserve.listen("127.0.0.1:0")
    with reserve.ReserveWSGIServer(binds, page, threads=2, ssl_adapter=adapter, websockets={"/chat": echo}) as server:
        flags = ["--ignore-certificate-errors"] if secure else []
        with Browser(*drivers, tmp_path / "profile", flags=flags) as browser:
            browser.go(f"{'https' if secure else 'http'}://127.0.0.1:{server.addresses[0][1]}/")
            eventually(lambda: "closed" in browser.text("#log"))
            opened, *rest = browser.text("#log").split("|")
            assert opened.startswith("chat, permessage-deflate")
            assert rest == ["gr\u00fcn", "70000", "closed 4000 bye true"]
