"""Clients that disconnect in the head, the body or the response, with a FIN or with a reset; 200 of each."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests.adversity.holding import honest, over_both, watched
from tests.apps.http.responses import request
from tests.clients import close_with_reset
from tests.waiting import PATIENCE, eventually

COUNT = 200


@over_both
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"POST / HTTP/1.1\r\nHo", id="head"),
        pytest.param(request("POST", body=b"x" * 100)[:-1], id="body"),
        pytest.param(request("POST", body=b"x" * 200_000)[:-1], id="body in a file"),
        pytest.param(request("POST", body=b"x" * 100, chunks=60)[:-3], id="chunked body"),
    ],
)
def test_clients_that_disconnect_before_their_request_is_complete_leave_nothing(
    sent: bytes, reset: bool, secure: bool, tmp_path: Path
) -> None:
    called: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        called.append(environ["REQUEST_METHOD"])
        return honest(environ, start_response)

    http = HTTPSettings(access_log=False, spool_dir=str(tmp_path))
    with watched(app, http=http, secure=secure) as site:
        with site.crowd(COUNT, sent) as clients:
            eventually(lambda: site.server.stats().parked == COUNT)
            for client in clients:
                close_with_reset(client) if reset else client.close()
        site.assert_nothing_left()
        site.assert_serves()
        site.assert_nothing_left()
    assert set(called) == {"GET"}  # half a request never reaches the application


@over_both
@pytest.mark.parametrize("how", ["fin", "rst", "half-closed"])
def test_clients_that_disconnect_during_their_response_leave_nothing(how: str, secure: bool, tmp_path: Path) -> None:
    began, go_on = threading.Semaphore(0), threading.Semaphore(0)
    closed: list[bool] = []

    class Response:
        """A response that never ends by itself."""

        def __iter__(self) -> Iterator[bytes]:
            yield b"begin"
            began.release()
            assert go_on.acquire(timeout=PATIENCE)
            yield from itertools.repeat(b"more" * 1000)

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return honest(environ, start_response)
        start_response("200 OK", [])
        return Response()

    http = HTTPSettings(access_log=False, spool_dir=str(tmp_path))
    with watched(app, http=http, secure=secure) as site:
        for number in range(COUNT):
            client = site.connect()
            client.sendall(request("GET", "/endless"))
            assert began.acquire(timeout=PATIENCE)
            if how == "rst":
                close_with_reset(client)
            elif how == "fin":
                while not client.recv(65536).endswith(b"5\r\nbegin\r\n"):
                    pass
                client.close()  # with nothing unread: a FIN, which the next bytes show to be a disconnect
            else:
                client.shutdown(socket.SHUT_WR)
                go_on.release()
                assert client.recv(65536)
                client.close()
            if how != "half-closed":
                go_on.release()
            eventually(lambda wanted=number + 1: len(closed) == wanted)  # type: ignore[misc]
        site.assert_serves()
        site.assert_nothing_left()
    assert len(closed) == COUNT  # and not twice
    assert not list(tmp_path.iterdir())
