"""``--open``: which address is opened."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import reserve
from reserve.cli.banner import url_for_browser
from reserve.cli.server import open_when_ready


@pytest.fixture
def listeners(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[socket.socket]]:
    from reserve.sockets.listeners import release

    sockets = reserve.listen(*(address.format(tmp=tmp_path) for address in request.param))
    yield sockets
    for sock in sockets:
        release(sock)


@pytest.mark.parametrize(
    ("listeners", "tls", "root", "url"),
    [
        (["127.0.0.1:0"], False, "", "http://127.0.0.1:PORT/"),
        (["0.0.0.0:0"], False, "", "http://localhost:PORT/"),
        (["127.0.0.1:0", "unix:{tmp}/x"], True, "/shop/", "https://127.0.0.1:PORT/shop/"),
        (["unix:{tmp}/x", "127.0.0.1:0"], False, "", ""),
    ],
    indirect=["listeners"],
)
def test_the_first_address_for_a_browser_on_this_machine(
    listeners: list[socket.socket], tls: bool, root: str, url: str
) -> None:
    name = listeners[0].getsockname()
    port = str(name[1]) if isinstance(name, tuple) else ""
    assert url_for_browser(listeners, "http", tls=tls, root_path=root) == url.replace("PORT", port)
    assert url_for_browser(listeners, "", tls=tls, root_path=root) == "", "an application without URLs"


def test_without_one_a_line_says_so() -> None:
    texts: list[str] = []
    console = SimpleNamespace(write=texts.append)
    open_when_ready(cast("Any", None), "", cast("Any", console))
    assert texts == ["reserve: --open has no effect: the first listener has no URL\n"]
