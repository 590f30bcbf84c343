"""A real browser walks through the datebook, which runs as a program of its own, until its button ends it.

With ``RESERVE_SCREENSHOTS=reserve/docs`` in the environment the test writes the pictures of the tutorial there.
"""

from __future__ import annotations

import datetime
import os
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.extras import library
from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.processes import clean_environ
from tests.real.test_browser import png
from tests.real.webdriver import Browser
from tests.waiting import PATIENCE, eventually

for name in ("itsdangerous", "markupsafe", "python_multipart"):
    library(name)

pytestmark = pytest.mark.peer

FOLDER = os.environ.get("RESERVE_SCREENSHOTS")
TOMORROW = datetime.date.today() + datetime.timedelta(1)


@pytest.fixture
def browser(require_peer: Callable[[str], str], tmp_path: Path) -> Iterator[Browser]:
    with Browser(require_peer("chromedriver"), require_peer("chromium"), tmp_path / "profile") as browser:
        browser.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "downloads"))
        yield browser


class Program:
    """The datebook as a process, which serves while the ``with`` block runs and has to have ended by its end."""

    def __init__(self, installed: Installed, data: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [
            installed.python, "-m", "reserve.examples.datebook", "--data", str(data), "--port", str(self.port),
            "--no-browser", *options,
        ]  # fmt: skip

    def __enter__(self) -> Program:
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environ()
        )
        eventually(self._is_up)
        return self

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()[0]
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def wait(self) -> str:
        """Wait for the end; return the output."""
        output, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, output
        return output

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.communicate()


def picture(browser: Browser, name: str, width: int = 1100, height: int = 760) -> None:
    """Write a picture of the page for the tutorial, if that is asked for."""
    if FOLDER:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.devtools("Emulation.setDeviceMetricsOverride", **size)
        browser.devtools("Emulation.setScrollbarsHidden", hidden=True)
        browser.screenshot(Path(FOLDER) / f"desk-{name}.png")
        browser.devtools("Emulation.setScrollbarsHidden", hidden=False)
        browser.devtools("Emulation.clearDeviceMetricsOverride")


def fill(browser: Browser, **fields: str) -> None:
    """Set fields of the form, as a user does who replaces what is in them."""
    for name, value in fields.items():
        browser.run(f"document.getElementById({name!r}).value = {value!r}")


def value(browser: Browser, name: str) -> str:
    return str(browser.run(f"return document.getElementById({name!r}).value"))


def follow(browser: Browser, selector: str) -> None:
    """Click something that leads to another page, and wait for that: both may have an element that a test looks at."""
    browser.run("document.documentElement.dataset.left = true")
    browser.click(selector)
    wait_for_page(browser)


def wait_for_page(browser: Browser) -> None:
    def is_there() -> bool:
        try:
            return bool(
                browser.run("return document.readyState == 'complete' && !document.documentElement.dataset.left")
            )
        except AssertionError:  # the page is being replaced at this moment
            return False

    eventually(is_there)


def test_a_browser_walks_through_the_datebook(installed: Installed, browser: Browser, tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    photo.write_bytes(png(64, 64))
    data = tmp_path / "data" / "book.sqlite3"
    with Program(installed, data) as program, ExitStack() as silent:
        for _ in range(8):  # connections without a request hold nothing up
            silent.enter_context(socket.create_connection(("127.0.0.1", program.port)))
        browser.go(program.url)
        assert "An empty book" in browser.text(".welcome")
        assert browser.run("return document.styleSheets[0].cssRules.length") > 20

        # create, with errors that keep the typing
        browser.go(f"{program.url}/contact/new")
        browser.type("#phone", "call me")
        browser.type("#email", "dora@nowhere")
        browser.type("#memo", "Gr\u00fc\u00dfe & <b>\nsecond line")
        follow(browser, "button[name=save]")
        assert "Please fill this in." in browser.text(".error")
        assert browser.run("return document.querySelectorAll('.error').length") == 3
        assert (value(browser, "phone"), value(browser, "email")) == ("call me", "dora@nowhere")
        assert value(browser, "memo") == "Gr\u00fc\u00dfe & <b>\nsecond line"
        picture(browser, "form")
        browser.type("#name", "Dora Engel")
        fill(browser, phone="+43 1 5550 14", email="dora@engel.example")
        follow(browser, "button[name=save]")
        assert browser.text(".notice") == "Contact saved."
        assert browser.text("h1") == "Dora Engel"
        page = browser.url

        # upload and download
        browser.type("#file", str(photo))
        follow(browser, ".upload button")
        assert browser.text(".notice") == "me.png is kept with this contact."
        shown = "return document.querySelector('.filelist img').decode().then(() => true)"
        assert browser.run(shown) is True
        browser.click(".filelist a")
        eventually(lambda: (tmp_path / "downloads" / "me.png").is_file())
        eventually(lambda: (tmp_path / "downloads" / "me.png").read_bytes() == photo.read_bytes())

        # edit, in two tabs
        first = browser.tab
        second = browser.new_tab()
        browser.go(page)
        fill(browser, phone="+43 1 5550 99")
        browser.switch(first)
        fill(browser, phone="+43 1 5550 15")
        follow(browser, "button[name=save]")
        assert browser.text(".notice") == "Contact saved."
        browser.switch(second)
        follow(browser, "button[name=save]")
        assert "Another tab has saved" in browser.text(".conflict")
        assert browser.text(".conflict dd") == "+43 1 5550 15"
        assert value(browser, "phone") == "+43 1 5550 99"
        picture(browser, "conflict", height=620)
        browser.run("document.documentElement.dataset.left = true")
        browser.type("#name", "\n")  # Enter is not that button
        wait_for_page(browser)
        assert "Another tab has saved" in browser.text(".conflict")
        follow(browser, "button[name=overwrite]")
        assert browser.text(".notice") == "Contact saved."
        assert value(browser, "phone") == "+43 1 5550 99"

        # an appointment from the page of the contact, and the search
        follow(browser, ".meetings .button")
        browser.type("#title", "Rehearsal")
        fill(browser, day=f"{TOMORROW}", starts="18:30", ends="17:30")
        follow(browser, "button[name=save]")
        assert browser.text(".error") == "It ends before it begins."
        assert value(browser, "starts") == "18:30"
        fill(browser, ends="20:00")
        follow(browser, "button[name=save]")
        assert "18:30 to 20:00" in browser.text(".agenda .card")
        assert "Dora Engel" in browser.text(".agenda .who")
        browser.go(f"{program.url}/contact/?q=GR%C3%9C%C3%9FE")
        assert browser.text(".count") == "1 contact"
        browser.type("input[name=q]", "\ue009a\ue009engel")  # Ctrl-A
        follow(browser, ".search button")
        assert "q=engel" in browser.url
        assert browser.text(".people b") == "Dora Engel"

        # a task, and the guard
        browser.go(f"{program.url}/task/new")
        browser.type("#title", "Copy the score")
        follow(browser, "button[name=save]")
        follow(browser, ".tick")
        assert "Copy the score" in browser.text(".checklist .done b")
        follow(browser, "nav a[href=guard]")
        assert browser.text("#count") == "1"
        follow(browser, "button[value=forget]")
        assert browser.text("h1") == "Nothing was saved"
        browser.go(f"{program.url}/guard")
        assert browser.text("#count") == "1"
        follow(browser, "button[value=commit]")
        assert browser.text(".notice") == "The task is saved."
        assert browser.text("#count") == "2"

        # the end
        follow(browser, ".quit button")
        assert browser.text("h1") == "The datebook is closed"
        assert "datebook: the data is in" in program.wait()
    with closing(sqlite3.connect(data)) as database:
        assert database.execute("select name, phone, version from contact").fetchall() == [
            ("Dora Engel", "+43 1 5550 99", 3)
        ]
        assert database.execute("select count(*) from task").fetchone() == (2,)


def test_the_program_ends_with_its_last_tab_when_asked(installed: Installed, browser: Browser, tmp_path: Path) -> None:
    """So the policy of its pages allows the script that says so."""
    with Program(installed, tmp_path / "book.sqlite3", "--end-with-tab") as program:
        browser.go(program.url)
        follow(browser, "nav a[href='task/']")
        first = browser.tab
        other = browser.new_tab()  # a browser without a tab would end
        browser.switch(first)
        browser.close_window()
        browser.switch(other)
        program.wait()


def test_the_full_server_serves_it_on_one_thread_without_its_button(
    serve: Serve, browser: Browser, tmp_path: Path
) -> None:
    data = {"DATEBOOK_DATA": str(tmp_path / "b.sqlite3")}
    with serve("app", "desk", "reserve.examples.datebook", environ=data, log=None) as server:
        browser.go(server.url)
        follow(browser, ".welcome button")
        assert "A few examples" in browser.text(".notice")
        assert browser.run("return document.querySelector('.quit')") is None
        browser.go(server.url)
        picture(browser, "today")
        sizes = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert sizes[0] <= sizes[1]
        browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        size = {"width": 390, "height": 780, "deviceScaleFactor": 1, "mobile": True}
        browser.devtools("Emulation.setDeviceMetricsOverride", **size)
        browser.go(server.url)
        colour, width, inner = browser.run(
            "return [getComputedStyle(document.body).backgroundColor, document.documentElement.scrollWidth, innerWidth]"
        )
        assert width <= inner == 390
        assert sum(map(int, colour[4:-1].split(","))) < 200  # dark
        picture(browser, "phone", 390, 780)
        for page in ("contact/", "contact/1", "appointment/", "appointment/new", "task/", "guard", "delete/task/1"):
            browser.go(f"{server.url}/{page}")
            assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), page


@pytest.mark.parametrize("name", ["datebook", "reserve.examples.datebook"])
def test_it_is_a_wsgi_application_of_the_full_server(
    serve: Serve, curl: Callable[..., object], tmp_path: Path, name: str
) -> None:
    data = str(tmp_path / "b.sqlite3")
    with serve("app", "http", "wsgi", name, "--", "--data", data, log=None) as server:
        assert b"An empty book" in curl(f"{server.url}/").stdout  # type: ignore[attr-defined]
