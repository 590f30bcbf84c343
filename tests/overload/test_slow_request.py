"""``--slow-request``: a request that takes long is logged once, with its stack, and goes on."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.hooks import Hooks
from reserve.testing import FakeClock, running
from tests.apps.http.responses import receive, request
from tests.waiting import PATIENCE, eventually

SLOW = "(--slow-request)"


class Holder:
    """An application that waits until the test releases it."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.release = threading.Semaphore(0)
        self.ids: list[str] = []

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.ids.append(environ.get("reserve.request_id", ""))
        if environ["PATH_INFO"] == "/wait":
            with environ["reserve.waiting"]():
                self.hold_here()
        elif environ["PATH_INFO"] != "/":
            self.hold_here()
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def hold_here(self) -> None:
        self.entered.release()
        assert self.release.acquire(timeout=PATIENCE)


class Lines(list[str]):
    """The lines of the error log."""

    def hooks(self) -> Hooks:
        return Hooks(error_log=lambda level, text: self.append(text))

    @property
    def slow(self) -> list[str]:
        return [text for text in self if SLOW in text]


@pytest.mark.parametrize("request_timeout", [0.0, 100.0])
def test_a_request_that_runs_long_is_logged_once_while_it_runs(request_timeout: float) -> None:
    app, clock, lines = Holder(), FakeClock(), Lines()
    with running(
        app, clock=clock, hooks=lines.hooks(), threads=2, slow_request=5, request_timeout=request_timeout
    ) as server:
        for number in range(2):  # each run is looked at anew
            with server.connect() as client:
                client.sendall(request("GET", f"/held?{number}"))
                assert app.entered.acquire(timeout=PATIENCE)
                clock.advance(4.9)
                assert lines.slow == lines.slow[:number]
                clock.advance(0.2)
                eventually(lambda: len(lines.slow) == number + 1)  # noqa: B023
                clock.advance(60)
                app.release.release()
                assert receive(client).status == 200
        with server.connect() as client:
            client.sendall(request("GET", "/"))
            assert receive(client).status == 200
    assert len(lines.slow) == 2
    first = lines.slow[0]
    assert first.startswith("GET /held?0 from 127.0.0.1:")
    assert f"has run for 5.1 s {SLOW}, request ID {app.ids[0]}; reserve-worker-" in first
    assert "in hold_here" in first
    assert "assert self.release.acquire" in first
    assert not any("--request-timeout" in line for line in lines)


def test_a_request_that_says_it_only_waits_is_not_logged() -> None:
    app, clock, lines = Holder(), FakeClock(), Lines()
    with (
        running(app, clock=clock, hooks=lines.hooks(), threads=2, slow_request=5) as server,
        server.connect() as waiting,
        server.connect() as held,
    ):
        waiting.sendall(request("GET", "/wait"))
        assert app.entered.acquire(timeout=PATIENCE)
        held.sendall(request("GET", "/held"))
        assert app.entered.acquire(timeout=PATIENCE)
        clock.advance(6)
        eventually(lambda: lines.slow)
        app.release.release(2)
        assert receive(waiting).status == receive(held).status == 200
    (line,) = lines.slow
    assert line.startswith("GET /held")


def test_without_the_option_nothing_is_logged_and_no_id_made() -> None:
    app, clock, lines = Holder(), FakeClock(), Lines()
    with running(app, clock=clock, hooks=lines.hooks()) as server, server.connect() as client:
        client.sendall(request("GET", "/held"))
        assert app.entered.acquire(timeout=PATIENCE)
        clock.advance(3600)
        app.release.release()
        assert receive(client).status == 200
    assert lines == []
    assert app.ids == [""]


def test_the_monitor_of_an_idle_server_sleeps_and_a_busy_one_that_has_logged_all_too() -> None:
    app, lines = Holder(), Lines()
    with running(app, hooks=lines.hooks(), threads=2, slow_request=0.001) as server:
        monitor = server.server._runtime.monitor
        with server.connect() as client:
            client.sendall(request("GET", "/held"))
            assert app.entered.acquire(timeout=PATIENCE)
            eventually(lambda: lines.slow)
            eventually(lambda: monitor._alarm.asleep)
            app.release.release()
            assert receive(client).status == 200
        eventually(lambda: monitor._alarm.asleep)


def test_requests_that_are_fast_are_not_logged() -> None:
    app, lines = Holder(), Lines()
    with running(app, http=HTTPSettings(access_log=False), hooks=lines.hooks(), slow_request=60) as server:
        begun = time.monotonic()
        for _ in range(200):
            with server.connect() as client:
                client.sendall(request("GET", "/"))
                assert receive(client).status == 200
        if time.monotonic() - begun < 60:
            assert lines.slow == []
