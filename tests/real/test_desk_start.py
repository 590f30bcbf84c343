"""A desk program with a real browser: its last tab, a private start, a second start, a window, idle connections."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.extras import library
from tests.real.conftest import Curl
from tests.real.deskprogram import DeskProgram, ends
from tests.real.installing import Installed
from tests.real.webdriver import Browser
from tests.waiting import PATIENCE, eventually

library("markupsafe")
library("python_multipart")
pytestmark = pytest.mark.peer

Make = Callable[..., DeskProgram]


@pytest.fixture
def make(installed: Installed, tmp_path: Path) -> Make:
    """``make(options)``: a program."""

    def make(options: str = "", path: str = "") -> DeskProgram:
        return DeskProgram(installed.python, tmp_path, options, path)

    return make


@pytest.fixture
def browser(require_peer: Callable[[str], str], tmp_path: Path) -> Iterator[Browser]:
    with Browser(require_peer("chromedriver"), require_peer("chromium"), tmp_path / "profile") as browser:
        yield browser


def get(url: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    client = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    try:
        client.request("GET", f"{parts.path}?{parts.query}")
        response = client.getresponse()
        return response.status, response.read()
    finally:
        client.close()


def close_last(browser: Browser) -> None:
    """Close the program's last tab; the browser goes on, and delivers the last word of the page."""
    empty = browser.open_tab()
    browser.close_window()
    browser.switch(empty)


def goes_on(process: subprocess.Popen[str]) -> None:
    """The program has not ended after three times the second that it waits here after its last tab."""
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3.0)


def test_the_last_tab_ends_the_program(make: Make, browser: Browser) -> None:
    with make('end_with="tab"') as program:
        process = program.start()
        url = program.wait_opened()
        assert get(url)[0] == 200  # a client without scripts opens no tab
        goes_on(process)
        browser.go(url)
        browser.run("location.reload()")
        browser.click("#two")
        assert browser.text("h1") == "two"
        browser.run("history.back()")
        eventually(lambda: browser.text("h1") == "one")
        browser.click("#file")  # a download
        browser.click("#text")  # a page that gets no script
        eventually(lambda: browser.url.endswith("/text"))
        goes_on(process)
        browser.run("history.back()")
        browser.click("#new")
        eventually(lambda: len(browser.windows) == 2)
        browser.close_window()
        browser.switch(browser.windows[0])
        assert browser.text("h1") == "two"
        goes_on(process)
        browser.go("data:text/html,<h1>elsewhere")
        browser.run("history.back()")
        eventually(lambda: browser.text("h1") == "two")
        goes_on(process)
        close_last(browser)
        ends(process)


def test_a_private_program_is_open_in_its_browser_only(make: Make, browser: Browser, curl: Curl) -> None:
    with make('private=True, end_with="tab"') as program:
        process = program.start()
        start = program.wait_opened()
        base = "http://" + urlsplit(start).netloc
        browser.go(start)
        assert browser.url == f"{base}/"
        assert browser.text("#referer") == "-"
        assert browser.run("return document.cookie") == ""
        browser.click("#two")
        assert browser.text("h1") == "two"
        assert browser.text("#referer") == f"{base}/"
        for url in (base, start, f"{base}/.desk/tab.js", f"{base}/quit"):
            response = curl("--write-out", "%{http_code}", url).stdout
            assert response.endswith(b"403")
            assert b"private" in response
        close_last(browser)
        ends(process)


def test_a_second_start_opens_the_page_of_the_first(make: Make) -> None:
    with make("private=True") as program:
        first = program.start()
        url = program.wait_opened()
        second = program.start()
        ends(second)
        again = program.wait_opened(2)
        assert urlsplit(again).netloc == urlsplit(url).netloc
        assert get(url)[0] == 303
        assert get(again)[0] == 303
        first.kill()
        first.communicate()
        third = program.start()
        url = program.wait_opened(3)
        assert get(url)[0] == 303
        assert third.poll() is None


def test_connections_that_send_nothing_do_not_delay_a_request(make: Make, browser: Browser) -> None:
    with make() as program:
        process = program.start()
        url = program.wait_opened()
        address = ("127.0.0.1", urlsplit(url).port or 0)
        silent = [socket.create_connection(address) for _ in range(20)]  # as a browser opens them in advance
        try:
            browser.go(url)
            browser.click("#two")
            assert browser.text("h1") == "two"
            assert get(url)[0] == 200  # beside those of the browser, which it keeps open
            for sock in silent:
                sock.setblocking(False)
                with pytest.raises(BlockingIOError):  # the server still waits for it
                    sock.recv(1)
            assert get(url + "quit")[1] == b"bye"
            ends(process)
        finally:
            for sock in silent:
                sock.close()


def test_a_window_of_chromium_shows_the_page(make: Make, require_peer: Callable[[str], str], tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    wrapper = folder / "google-chrome"
    flags = f"--headless --no-sandbox --disable-gpu --no-first-run --user-data-dir={tmp_path}/profile"
    wrapper.write_text(
        f'#!/bin/sh\necho $$ > {tmp_path}/pid\nprintf "%s\\n" "$@" > {tmp_path}/arguments\n'
        f'exec {require_peer("chromium")} {flags} --remote-debugging-port=0 "$@"\n',
        "utf-8",
    )
    wrapper.chmod(0o700)
    with make('window=True, end_with="tab"', str(folder)) as program:
        process = program.start()
        try:
            eventually(lambda: process.poll() is not None or (tmp_path / "arguments").exists())
            eventually(lambda: (tmp_path / "arguments").read_text("utf-8").endswith("/\n"))
            option, _, url = (tmp_path / "arguments").read_text("utf-8").strip().partition("=")
            assert option == "--app"
            assert (tmp_path / "opened").read_text("utf-8") == ""
            eventually(lambda: url.encode() in _targets(tmp_path))
            assert get(url + "quit")[1] == b"bye"
            ends(process)
        finally:
            os.kill(int((tmp_path / "pid").read_text("utf-8")), signal.SIGKILL)
            shutil.rmtree(tmp_path / "profile", ignore_errors=True)


def _targets(folder: Path) -> bytes:
    """What the browser shows, by its own words."""
    try:
        port = int((folder / "profile" / "DevToolsActivePort").read_text("utf-8").split()[0])
        return get(f"http://127.0.0.1:{port}/json/list")[1]
    except (OSError, IndexError):
        return b""
