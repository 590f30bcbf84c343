"""``--reload`` and ``--open`` through the installed command: a developer changes files, with and without mistakes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.fakes import ROOT
from tests.clients import free_port
from tests.waiting import PATIENCE, eventually

APP = """
import os
VERSION = "{version}"
def app(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        open(os.environ["GATE"], "rb").read()
    start_response("200 OK", [("Content-Length", str(len(VERSION)))])
    return [VERSION.encode()]
"""
BROKEN = "def app(environ, start_response)\n"
BROWSER = '#!/bin/sh\necho noise; echo noise >&2\necho "$1" >>"$0.opened"\n'


class Development:
    """The command, and the directory in which it was started.

    :ivar port: where it listens.
    """

    def __init__(self, process: subprocess.Popen[str], directory: Path, port: int) -> None:
        self.process = process
        self.directory = directory
        self.port = port
        self.lines: list[str] = []
        """What it has written to standard error."""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def write(self, text: str, name: str = "site_app.py") -> None:
        path = self.directory / name
        (self.directory / "new").write_text(text)
        os.replace(self.directory / "new", path)

    def get(self, path: str = "/") -> str:
        """The body of a response; empty: there is none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as client:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                with client.makefile("rb") as response:
                    return response.read().partition(b"\r\n\r\n")[2].decode()
        except OSError:
            return ""

    def wait_for(self, text: str, count: int = 1) -> None:
        """Until so many lines contain the text."""
        eventually(lambda: sum(text in line for line in self.lines) >= count or self.process.poll() is not None)
        assert sum(text in line for line in self.lines) >= count, self.lines

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()


@contextmanager
def developing(
    directory: Path, *options: str, app: str = APP.format(version="one"), **environ: str
) -> Iterator[Development]:
    port = free_port()
    (directory / "site_app.py").write_text(app)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RESERVE_")}
    variables |= {"PYTHONPATH": ROOT, "GATE": str(directory / "gate"), **environ}
    argv = [sys.executable, "-m", "reserve", "app", "http", "wsgi", "site_app", "-b", f"127.0.0.1:{port}", *options]
    with subprocess.Popen(
        [*argv, "--no-access-log"],
        cwd=directory,
        env=variables,
        text=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        development = Development(process, directory, port)
        try:
            yield development
        finally:
            development.end()


def test_a_change_is_served_and_named(tmp_path: Path) -> None:
    with developing(tmp_path, "--reload") as site:
        site.wait_for("    with ")
        assert site.get() == "one"
        for number, version in enumerate(("two", "six"), 1):  # of the same size
            site.write(APP.format(version=version))
            site.wait_for("reserve: site_app.py changed: reloading", number)
            site.wait_for("reserve: the new version serves", number)
            eventually(lambda version=version: site.get() == version)
        site.process.send_signal(signal.SIGINT)
        assert site.process.wait(PATIENCE) == 0
        assert sum(line.startswith("reserve 0") for line in site.lines) == 1, "one banner"


def test_a_mistake_at_the_first_start_waits_for_the_next_change(tmp_path: Path) -> None:
    with developing(tmp_path, "--reload", app=BROKEN) as site:
        site.wait_for("the application could not start; the next change starts it again, Ctrl-C ends this")
        assert any("SyntaxError" in line for line in site.lines)
        site.write(BROKEN + "\n")
        site.wait_for("could not start", 2)
        site.write(APP.format(version="two"))
        site.wait_for("    with ")
        assert site.get() == "two"


def test_ctrl_c_ends_the_wait_for_a_change(tmp_path: Path) -> None:
    with developing(tmp_path, "--reload", app=BROKEN) as site:
        site.wait_for("could not start")
        site.process.send_signal(signal.SIGINT)
        assert site.process.wait(PATIENCE) == 0


def test_a_wrong_command_line_ends_the_start(tmp_path: Path) -> None:
    with developing(tmp_path, "--reload", "--workers", "4") as site:
        assert site.process.wait(PATIENCE) == 2
        assert any("there is no server option --workers; write: " in line for line in site.lines)


def test_without_reload_a_mistake_ends_the_start(tmp_path: Path) -> None:
    with developing(tmp_path, "--processes", "2", app=BROKEN) as site:
        assert site.process.wait(PATIENCE) == 1


def test_a_mistake_later_leaves_the_previous_version(tmp_path: Path) -> None:
    with developing(tmp_path, "--reload") as site:
        site.wait_for("    with ")
        site.write(BROKEN)
        site.wait_for("the new version could not start, so the previous one serves on")
        assert site.get() == "one"
        site.write(APP.format(version="two"))
        site.wait_for("the new version serves")
        eventually(lambda: site.get() == "two")


def test_a_request_in_flight_is_finished_by_the_previous_version(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with developing(tmp_path, "--reload") as site:
        site.wait_for("    with ")
        bodies: list[str] = []
        client = threading.Thread(target=lambda: bodies.append(site.get("/hold")))
        client.start()
        with open(tmp_path / "gate", "wb"):  # the request runs
            site.write(APP.format(version="two"))
            eventually(lambda: site.get() == "two")
        client.join()
        assert bodies == ["one"]


def test_templates_and_the_configuration_are_watched_as_well(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "page.html").write_text("")
    (tmp_path / "reserve.toml").write_text('[server]\nreload = true\nreload-include = ["templates"]\n')
    with developing(tmp_path) as site:
        site.wait_for("    with ")
        site.write("x", "templates/page.html")
        site.wait_for("reserve: templates/page.html changed: reloading")
        site.wait_for("the new version serves")
        site.write('[server]\nreload = true\nreload-include = ["*.html"]\n', "reserve.toml")
        site.wait_for("reserve: reserve.toml changed: reloading")
        site.wait_for("the new version serves", 2)

        def noticed() -> bool:
            site.write("x", "page.html")  # the new process that watches needs a moment for its first look
            return any(line == "reserve: page.html changed: reloading" for line in site.lines)

        eventually(noticed)


def test_the_process_that_watches_ends_with_the_supervisor(tmp_path: Path) -> None:
    with developing(tmp_path, "--reload") as site:
        site.wait_for("    with ")
        (watcher,) = _watchers(site.process.pid)
        site.process.kill()
        eventually(lambda: not Path(f"/proc/{watcher}").exists())


def test_when_what_watches_ends_the_server_says_so_and_serves_on(tmp_path: Path) -> None:
    with developing(tmp_path, "--reload") as site:
        site.wait_for("    with ")
        (watcher,) = _watchers(site.process.pid)
        os.kill(watcher, signal.SIGKILL)
        site.wait_for("what watches files has ended, so no change is noticed any more (--reload)")
        assert site.get() == "one"


def _watchers(parent: int) -> list[int]:
    """The children of a process that run ``watch.py``."""
    if not os.path.exists("/proc/self/task"):
        pytest.skip("there is no /proc")
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"watch.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


# ---- the browser ----


@pytest.fixture
def browser(tmp_path: Path) -> Path:
    """A browser that notes what it is to open, and writes to its standard streams."""
    path = tmp_path / "browser"
    path.write_text(BROWSER)
    path.chmod(0o755)
    return path


def opened(browser: Path) -> list[str]:
    file = browser.with_name("browser.opened")
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("options", [(), ("--processes", "2"), ("--preload",)])
def test_the_browser_opens_the_first_address(tmp_path: Path, browser: Path, options: tuple[str, ...]) -> None:
    with developing(tmp_path, "--open", *options, BROWSER=str(browser)) as site:
        eventually(lambda: opened(browser))
        assert site.get() == "one"
        site.process.send_signal(signal.SIGINT)
        assert site.process.wait(PATIENCE) == 0
        assert opened(browser) == [f"http://127.0.0.1:{site.port}/"]
        assert not any("noise" in line or line.startswith("reserve: no browser") for line in site.lines)


def test_a_reload_opens_no_browser(tmp_path: Path, browser: Path) -> None:
    with developing(tmp_path, "--open", "--reload", "--root-path", "/shop", BROWSER=str(browser)) as site:
        eventually(lambda: opened(browser))
        site.write(APP.format(version="two"))
        site.wait_for("the new version serves")
        site.process.send_signal(signal.SIGINT)
        assert site.process.wait(PATIENCE) == 0
        assert opened(browser) == [f"http://127.0.0.1:{site.port}/shop/"]


def test_without_a_browser_one_line_says_so(tmp_path: Path) -> None:
    with developing(tmp_path, "--open", PATH=str(tmp_path), BROWSER="", DISPLAY="", TERM="xterm") as site:
        site.wait_for("reserve: no browser could be opened (there is none): open http://127.0.0.1:")
        assert site.get() == "one"


def test_a_browser_that_keeps_its_caller_waiting_delays_nothing(tmp_path: Path, browser: Path) -> None:
    os.mkfifo(tmp_path / "never")
    browser.write_text(f'{BROWSER}exec cat "{tmp_path}/never"\n')
    with developing(tmp_path, "--open", BROWSER=f"{browser} %s") as site:
        eventually(lambda: opened(browser))
        assert site.get() == "one"
        site.process.send_signal(signal.SIGINT)
        assert site.process.wait(PATIENCE) == 0
    with open(tmp_path / "never", "wb"):
        pass  # the browser ends
