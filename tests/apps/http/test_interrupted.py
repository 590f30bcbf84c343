"""An application that is interrupted while it waits for a streamed body: its client receives a refusal."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from typing import Any

import pytest

from reserve.apps.http import streamedbody
from reserve.engine.polling.wakeup import Wakeup
from reserve.errors import RequestTimeout
from tests.apps.http.doubles import STREAM, failing
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload.site import received_nothing, serving
from tests.waiting import PATIENCE, eventually


class Reader:
    """Reads the body of requests to /wait.

    ``entered`` counts those of which it has read the first bytes; ``caught`` has what reading the rest raised. If it is
    ``stubborn``, it goes on reading after an exception.
    """

    def __init__(self, *, stubborn: bool = False) -> None:
        self.entered = threading.Semaphore(0)
        self.caught: list[type[BaseException]] = []
        self.stubborn = stubborn

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        if environ["PATH_INFO"] == "/wait":
            assert stream.read(5) == b"xxxxx"
            self.entered.release()
            for _ in range(3 if self.stubborn else 1):
                try:
                    stream.read()
                except BaseException as error:
                    self.caught.append(type(error))
                    if not self.stubborn:
                        raise
        start_response("200 OK", [])
        return [b"read"]


@pytest.mark.parametrize(("stubborn", "portable"), [(False, False), (True, False), (False, True)])
def test_a_client_that_goes_on_sending_receives_its_refusal(
    stubborn: bool, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if portable:
        monkeypatch.delattr(select, "poll")
        monkeypatch.setattr(streamedbody, "Wakeup", lambda: Wakeup(portable=True))
    app = Reader(stubborn=stubborn)
    with serving(app, request_timeout=5.0, http=STREAM) as site:
        raw = request("POST", "/wait", body=b"x" * 30_000)
        client = site.connect(raw[:-20_000])
        assert app.entered.acquire(timeout=PATIENCE)
        site.clock.advance(4)
        assert received_nothing(client)
        site.clock.advance(1)
        response = receive(client)
        assert (response.status, response.whole) == (503, True)
        # The server has shut its side down. It must receive what comes now: otherwise the kernel sends a reset.
        for _ in range(4):
            client.sendall(b"x" * 5_000)
            assert site.fetch(request("GET", "/")).body == b"read"  # the server has received it by now
        client.shutdown(socket.SHUT_WR)
        assert until_closed(client) == (b"", False)
        assert app.caught == [RequestTimeout] * (3 if stubborn else 1)
        assert site.stats().stuck == 0


def test_waiting_needs_one_descriptor_and_closes_it() -> None:
    app = Reader()
    with serving(app, request_timeout=5.0, http=STREAM) as site:
        site.fetch(request("GET", "/"))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            raw = request("POST", "/wait", body=b"x" * 10)
            client = site.connect(raw[:-5])
            assert app.entered.acquire(timeout=PATIENCE)
            client.sendall(b"x" * 5)
            assert receive(client).body == b"read"
            client.close()
        site.wait_released()
        eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert app.caught == []


def test_without_a_descriptor_the_application_can_still_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamedbody, "Wakeup", failing(errno.EMFILE))
    app = Reader()
    with serving(app, request_timeout=5.0, http=STREAM) as site:
        client = site.connect(request("POST", "/wait", body=b"x" * 10)[:-5])
        assert app.entered.acquire(timeout=PATIENCE)
        client.sendall(b"x" * 5)
        assert receive(client).body == b"read"
