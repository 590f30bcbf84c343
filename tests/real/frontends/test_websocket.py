"""WebSocket behind nginx, with the configuration and the examples of ``reserve/docs/websocket.md``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve import ReserveWSGIServer, listen
from tests.docs.test_websocket_guide import BLOCK, GUIDE, SECTIONS, TEXT
from tests.extras import library
from tests.real.frontends.clients import get
from tests.real.frontends.proxies import Haproxy, Nginx
from tests.waiting import PATIENCE, eventually

library("flask_sock")
websockets = library("websockets")
client = library("websockets.sync.client")


class WebSocketNginx(Nginx):
    page = TEXT


def examples(title: str) -> dict[str, Any]:
    """What the first example of a section defines."""
    names: dict[str, Any] = {"__name__": "websocket_guide"}
    match = BLOCK.search(SECTIONS[title])
    assert match is not None
    exec(compile(match[1], str(GUIDE), "exec"), names)
    return names


@contextlib.contextmanager
def deployed(path: str, folder: Path, kind: type[Nginx | Haproxy]) -> Iterator[tuple[Any, ReserveWSGIServer]]:
    """A frontend, and reserve behind it with the handler ``Chat`` and the Flask application of the page."""
    upstream = f"unix:{folder}/reserve"
    app, handler = examples("WebSocket under WSGI")["app"], examples("A handler")["Chat"]
    with (
        ReserveWSGIServer(
            listen(upstream), app, threads=2, websockets={"/chat": handler}, keep_alive=75, trusted_proxies="unix"
        ) as server,
    ):
        frontend = kind(path, folder, upstream)
        with frontend.running():
            yield frontend, server


def connect(frontend: Any, path: str, **options: Any) -> Any:
    return client.connect(
        f"ws://blog.example{path}", sock=frontend.connect(), open_timeout=PATIENCE, proxy=None, **options
    )


@pytest.mark.peer
@pytest.mark.parametrize("kind", [WebSocketNginx, Haproxy])
def test_handlers_and_flask_sock(
    require_peer: Callable[[str], str], short_path: Path, kind: type[Nginx | Haproxy]
) -> None:
    with deployed(require_peer(kind.program), short_path, kind) as (frontend, server):
        with connect(frontend, "/chat") as ann, connect(frontend, "/chat", origin="http://blog.example") as bob:
            for ws in (ann, bob):
                assert ws.ping().wait(PATIENCE)
            bob.send("hello" * 50000)
            assert ann.recv(PATIENCE) == bob.recv(PATIENCE) == "hello" * 50000
            assert server.stats().upgraded == 0
        with connect(frontend, "/echo") as ws:
            ws.send("hello")
            assert ws.recv(PATIENCE) == "hello"
            assert server.stats().upgraded == 1
        eventually(lambda: server.stats().upgraded == 0)
        assert b" 404 NOT FOUND\r\n" in get(frontend, "/none").upper()


@pytest.mark.peer
def test_pages_of_other_sites_are_refused(require_peer: Callable[[str], str], short_path: Path) -> None:
    with deployed(require_peer("nginx"), short_path, WebSocketNginx) as (frontend, _):
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            connect(frontend, "/chat", origin="http://other.example")
        assert refused.value.response.status_code == 403
