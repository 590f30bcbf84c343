"""``reserve app websocket NAME``, and ``--websocket`` of ``reserve app http wsgi``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reserve.apps.http import launch as launch_http
from reserve.apps.websocket import launch
from reserve.errors import StartupError, UsageError
from reserve.loader.arguments import Arguments
from reserve.testing import running
from tests.apps.http.responses import request
from tests.apps.websocket.client import client
from tests.extras import library

library("websockets")

SOURCE = """
def launch(args):
    assert args[1:] == ["--loud"], args
    return handle
def handle(ws):
    for message in ws:
        ws.send(message)
class Events:
    def on_message(self, ws, message):
        ws.send(message)
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"page"]
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import sys

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "ws_launched.py").write_text(SOURCE)
    (tmp_path / "ws_plain.py").write_text(SOURCE.replace("def launch", "def other"))
    (tmp_path / "ws_events.py").write_text("def on_message(ws, message):\n    ws.send(message)\n")
    (tmp_path / "ws_empty.py").write_text("")
    yield
    for name in "ws_launched", "ws_plain", "ws_events", "ws_empty":
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "words", [["ws_launched", "--loud"], ["ws_plain"], ["ws_plain:handle"], ["ws_plain:Events"], ["ws_events"]]
)
def test_a_handler_at_every_path(words: list[str]) -> None:
    with running(launch(Arguments(["reserve websocket", *words])), threads=1) as server:
        with client(server) as ws:
            ws.open("/any/path")
            ws.send("hello")
            assert ws.recv() == "hello"
        response = server.exchange(request("GET", "/", "Connection: close"))
        assert response.startswith(b"HTTP/1.1 426 ")
        assert response.endswith(b"WebSocket only.\n")


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        ([], UsageError, "name is missing"),
        (["--loud"], UsageError, "name is missing"),
        (["ws_empty"], StartupError, "neither launch"),
        (["ws_none"], StartupError, "no module named ws_none"),
        (["ws_plain:handle", "--loud"], UsageError, "--loud"),
    ],
)
def test_what_cannot_be_served(words: list[str], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        launch(Arguments(["reserve websocket", *words]))


def test_handlers_beside_wsgi_applications() -> None:
    words = [
        "wsgi",
        "ws_plain",
        "--websocket",
        "/chat=ws_plain:handle",
        "--mount",
        "/x=ws_plain",
        "--websocket=/y=ws_events",
    ]
    served: list[str] = []
    application = launch_http(Arguments(["reserve http", *words], served=served))
    with running(application, threads=1) as server:
        for path in "/chat", "/y":
            with client(server) as ws:
                ws.open(path)
                ws.send(path)
                assert ws.recv() == path
        assert server.exchange(request("GET", "/chat", "Connection: close")).endswith(b"page")
    assert [line.partition(" -> ")[0] for line in served] == ["/", "/x", "/chat", "/y"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--websocket"], "--websocket needs a value"),
        (["--websocket", "chat=ws_plain"], "--websocket wants /PATH=NAME"),
        (["--websocket", "/a=ws_plain:handle", "--websocket=/a=ws_events"], "--websocket /a is given twice"),
        (["--websocket", "/a=ws_plain:SOURCE"], "has no 'SOURCE'"),
    ],
)
def test_a_malformed_websocket_option(words: list[str], text: str) -> None:
    with pytest.raises((UsageError, StartupError), match=text):
        launch_http(Arguments(["reserve http", "wsgi", "ws_plain", *words]))
