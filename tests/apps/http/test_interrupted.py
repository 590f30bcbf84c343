"""An application that is interrupted while it waits for a streamed body: its client learns why it got no answer."""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import Any

import pytest

from reserve.apps.http import inputstream
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.polling.wakeup import Wakeup
from reserve.errors import RequestTimeout
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload.site import PATIENCE, silent, site
from tests.waiting import eventually

STREAM = HTTPSettings(access_log=False, stream_bodies=True)


class Reader:
    """Reads its body; tells when it has read the first octets, and what the rest of it raised."""

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
def test_what_the_client_still_sends_does_not_reset_its_refusal(
    stubborn: bool, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if portable:
        monkeypatch.delattr(select, "poll")
        monkeypatch.setattr(inputstream, "Wakeup", lambda: Wakeup(portable=True))
    app = Reader(stubborn=stubborn)
    with site(app, request_timeout=5.0, http=STREAM) as one:
        raw = request("POST", "/wait", body=b"x" * 30_000)
        client = one.connect(raw[:-20_000])
        assert app.entered.acquire(timeout=PATIENCE)
        one.clock.advance(4)
        assert silent(client)
        one.clock.advance(1)
        answer = receive(client)
        assert (answer.status, answer.whole) == (503, True)
        # Our side is shut, and what comes now has to be taken, not answered with a reset.
        for _ in range(4):
            client.sendall(b"x" * 5_000)
            assert one.ask(request("GET", "/")).body == b"read"  # it has seen them by now
        client.shutdown(socket.SHUT_WR)
        assert until_closed(client) == (b"", False)
        assert app.caught == [RequestTimeout] * (3 if stubborn else 1)
        assert one.stats().stuck == 0


def test_waiting_holds_one_descriptor_and_gives_it_back() -> None:
    app = Reader()
    with site(app, request_timeout=5.0, http=STREAM) as one:
        one.ask(request("GET", "/"))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            raw = request("POST", "/wait", body=b"x" * 10)
            client = one.connect(raw[:-5])
            assert app.entered.acquire(timeout=PATIENCE)
            client.sendall(b"x" * 5)
            assert receive(client).body == b"read"
            client.close()
        one.gives_everything_back()
        eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert app.caught == []


def test_without_a_descriptor_left_it_waits_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(inputstream, "Wakeup", none_left)
    app = Reader()
    with site(app, request_timeout=5.0, http=STREAM) as one:
        client = one.connect(request("POST", "/wait", body=b"x" * 10)[:-5])
        assert app.entered.acquire(timeout=PATIENCE)
        client.sendall(b"x" * 5)
        assert receive(client).body == b"read"
