"""``reserve.desk.browser.start``: the start of a program, without a server and with one."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import reserve
from reserve.desk.browser import start as module
from reserve.desk.browser.start import Start
from reserve.errors import StartupError, UsageError


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"inside"]


class Browser:
    """What was opened."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, bool]] = []

    def open(self, url: str, *, window: bool = False) -> threading.Event:
        self.opened.append((url, window))
        done = threading.Event()
        done.set()
        return done


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Browser:
    """Replaces the real browser. The user has a folder of its own, and the program is a file."""
    browser = Browser()
    monkeypatch.setattr(module, "open_page", browser.open)
    monkeypatch.setattr(module, "state_folder", lambda platform, environ: tmp_path / "state")
    monkeypatch.setattr("sys.argv", ["tasks.py", "a.db"])
    monkeypatch.setattr(module, "main_file", lambda main, executable, *, frozen: "/home/u/tasks.py")
    return browser


def make(**options: Any) -> Start:
    defaults = {"address": "127.0.0.1", "port": 0, "start": "", "end_with": None, "private": False, "window": False}
    return Start(**{**defaults, **options})


class Running:
    """A program that has begun, while a ``with`` block runs."""

    def __init__(self, **options: Any) -> None:
        self.start = make(**options)

    def __enter__(self) -> Running:
        self.start.__enter__()
        assert not self.start.open_running()
        listeners = self.start.listen()
        self.port = listeners[0].getsockname()[1]
        wrapped = self.start.surround(app, lambda: None)
        self.start.begin()
        self._server = reserve.ReserveWSGIServer(listeners, wrapped, threads=1)
        self._server.serve_in_background()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop()
        self.start.__exit__(None, None, None)

    def get(self, target: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self.port)
        client.request("GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = client.getresponse()
        try:
            return response, response.read()
        finally:
            client.close()


def target_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def test_the_first_start_opens_its_page(browser: Browser) -> None:
    with Running(start="tasks?x=1", window=True) as program:
        assert browser.opened == [(f"http://127.0.0.1:{program.port}/tasks?x=1", True)]
        assert program.get("/")[1] == b"inside"


def test_the_second_start_opens_its_page_of_the_first(browser: Browser) -> None:
    with Running() as program:
        with make(start="/other", window=True) as second:
            assert second.open_running()
            assert (second.url, second.pid) == (program.start.url, os.getpid())
        assert browser.opened[1:] == [(f"http://127.0.0.1:{program.port}/other", True)]
    with make() as third:
        assert not third.open_running()


def test_another_program_is_not_the_first(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    with Running():
        monkeypatch.setattr("sys.argv", ["tasks.py", "b.db"])
        with make() as other:
            assert not other.open_running()


def test_an_interactive_session_is_never_the_second(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "main_file", lambda main, executable, *, frozen: None)
    with Running(), make() as other:
        assert not other.open_running()


def test_without_a_page_each_start_is_an_instance_of_its_own(browser: Browser) -> None:
    with Running(start=None), Running(start=None), Running(), make(start=None) as last:
        assert not last.open_running()
    assert len(browser.opened) == 1


def test_both_starts_of_a_private_program_get_in(browser: Browser) -> None:
    with Running(private=True, start="/tasks") as program:
        with make(private=True, start="/tasks") as second:
            assert second.open_running()
        assert program.get("/")[0].status == 403
        for url, _ in browser.opened:
            response, _ = program.get(target_of(url))
            assert (response.status, response.headers["Location"]) == (303, "/tasks")
            cookie = response.headers["Set-Cookie"].partition(";")[0]
            assert cookie.startswith(f"desk-{program.port}=")
            assert program.get("/", Cookie=cookie)[1] == b"inside"
    assert len(browser.opened) == 2


def test_a_busy_private_program_gets_no_token(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    with Running(private=True) as program, make(private=True) as second:
        second._claim.proved = False
        assert second.open_running()
    assert browser.opened[1] == (f"http://127.0.0.1:{program.port}/", False)


def test_a_private_program_has_an_entrance_that_is_printed(browser: Browser) -> None:
    with Running(private=True, start=None) as program:
        assert program.start.url == f"http://127.0.0.1:{program.port}/"
        assert program.get(f"/{program.start.entrance}")[0].status == 303
    with Running(start="tasks") as program:
        assert program.start.entrance == ""


def test_a_question_is_time_to_open_a_page(browser: Browser) -> None:
    with Running(end_with="tab") as program:
        assert b"/.desk/tab.js" in program.get("/", Sec_Fetch_Dest="document")[1]
        watch = program.start._watch
        assert watch is not None
        assert watch._expected == 0.0
        with make(end_with="tab") as second:
            assert second.open_running()
        assert watch._expected > 0.0


def test_without_end_with_there_is_no_script(browser: Browser) -> None:
    with Running() as program:
        assert program.get("/", Sec_Fetch_Dest="document")[1] == b"inside"


@pytest.mark.parametrize("value", ["window", True, ""])
def test_end_with_is_checked(value: object) -> None:
    with pytest.raises(UsageError, match='end_with is None or "tab"'):
        make(end_with=value)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("user", ["other.py (process 12)", None])
def test_a_port_in_use_is_an_error_that_helps(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, taken: int, user: str | None
) -> None:
    monkeypatch.setattr(module, "describe_port_user", lambda port: user)
    with make(port=taken) as start, pytest.raises(StartupError) as caught:
        start.listen()
    message = str(caught.value)
    assert message.startswith(f"port {taken} is in use by {user or 'another program'}")
    assert ("the command" in message) is (user is None)
    assert "Choose another port, or 0" in message
    assert "serve_http" not in message  # its user may not be its programmer


def test_other_errors_of_the_address_are_left(browser: Browser) -> None:
    with make(address="192.0.2.1") as start, pytest.raises(StartupError, match=r"192\.0\.2\.1"):
        start.listen()


@pytest.mark.parametrize(("address", "host"), [("", "localhost"), ("0.0.0.0", "localhost"), ("127.0.0.1", "127.0.0.1")])
def test_a_page_is_at_an_address_where_a_browser_can_go(browser: Browser, address: str, host: str) -> None:
    with Running(address=address) as program:
        assert browser.opened == [(f"http://{host}:{program.port}/", False)]
