"""``reserve top`` in a terminal (tmux), looking at a real server while one of its threads is stuck.

With ``RESERVE_SCREENSHOTS=reserve/docs`` in the environment a test writes the picture of ``top.md`` there.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.processes import run
from tests.real.serving import ServerProcess
from tests.real.tmux import Terminal
from tests.real.webdriver import Browser
from tests.waiting import eventually

pytestmark = pytest.mark.peer

FOLDER = os.environ.get("RESERVE_SCREENSHOTS")
SITE = """\
import itertools
import threading
import time

PAYMENTS = threading.Lock()
DELAYS = itertools.cycle([0.002, 0.004, 0.004, 0.007, 0.004, 0.012, 0.004, 0.03, 0.007, 0.08])
NUMBERS = itertools.count(1)


def pay():
    with PAYMENTS:
        call_bank()


def call_bank():
    time.sleep(600)


def app(environ, start_response):
    status = "200 OK"
    if environ["PATH_INFO"].startswith("/pay"):
        pay()
    if environ["PATH_INFO"] == "/search":
        time.sleep(next(DELAYS))
        if next(NUMBERS) % 40 == 0:
            status = "500 Internal Server Error"
    start_response(status, [("Content-Type", "text/plain")])
    return [b"found nothing\\n" * 100]
"""


@pytest.fixture
def tmux(require_peer: Callable[[str], str]) -> str:
    return require_peer("tmux")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The FIFO for which requests for ``/wait`` wait."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


class Site:
    """The site ``gate`` with a control socket, and clients that wait for it."""

    def __init__(self, serve: Serve, gate: Path, folder: Path) -> None:
        self.control = str(folder / "c")
        self._serve = serve
        self._gate = gate
        self._clients: list[socket.socket] = []

    @contextlib.contextmanager
    def serving(self) -> Iterator[ServerProcess]:
        options = ("--threads", "4", "--control", self.control)
        with self._serve("app", "http", "wsgi", "gate:launch", str(self._gate), *options, log=None) as server:
            try:
                yield server
            finally:
                self.open_gate()

    def wait(self, server: ServerProcess, target: bytes) -> None:
        """Have a request wait in the application."""
        client = server.connect()
        client.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
        self._clients.append(client)

    def open_gate(self) -> None:
        """Let the requests that wait go on."""
        clients, self._clients = self._clients, []
        for client in clients:
            with contextlib.suppress(OSError):  # no request waits: the test has failed, or this was the second one
                os.close(os.open(self._gate, os.O_WRONLY | os.O_NONBLOCK))
                client.recv(65536)
            client.close()


@pytest.fixture
def site(serve: Serve, gate: Path, short_path: Path) -> Site:
    return Site(serve, gate, short_path)


def test_a_stuck_thread_is_found_with_its_stack(tmux: str, site: Site, installed: Installed, short_path: Path) -> None:
    with site.serving() as server, Terminal(tmux, short_path) as terminal:
        site.wait(server, b"/wait")
        terminal.type(
            f"stty -g >before; {installed.reserve} top --control {site.control}; echo $? >code; stty -g >after"
        )
        terminal.wait_for("healthy", "requests 0/s", "running", "GET /wait", "127.0.0.1:", "q quit")
        terminal.press("t")
        terminal.wait_for("GET /wait for", "application  in", 'with open(gate, "rb") as file:')
        terminal.press("q")
        terminal.wait_for("SINCE")
        terminal.press("/")
        terminal.type("no such request")
        terminal.wait_for("no thread passes the filter")
        terminal.press("Escape")
        terminal.wait_for("GET /wait")
        terminal.press("h")
        terminal.wait_for("Any key goes back.")
        terminal.press("q", "q")
        eventually((short_path / "after").exists)
        terminal.wait_for("stty -g >before")  # the screen of the shell is back
        eventually(lambda: (short_path / "after").read_text())
        assert (short_path / "before").read_text() == (short_path / "after").read_text()
        assert (short_path / "code").read_text() == "0\n"


def test_every_size_of_the_window(tmux: str, site: Site, installed: Installed, short_path: Path) -> None:
    with site.serving() as server, Terminal(tmux, short_path) as terminal:
        site.wait(server, b"/wait")
        terminal.type(f"{installed.reserve} top --control {site.control} --interval 0.2")
        terminal.wait_for("GET /wait")
        for columns, lines in ((120, 40), (40, 12), (30, 6), (80, 24)):
            terminal.resize(columns, lines)
            missing = "not shown" if columns < 80 else "q quit"
            text = terminal.wait_for("reserve ", "GET /wait"[: 9 if columns > 30 else 4], missing)
            assert max(map(len, text.split("\n"))) <= columns
            # The first and the last line are at their places: nothing has scrolled or wrapped.
            eventually(lambda: terminal.screen().split("\n")[0].startswith("reserve "))
            eventually(lambda line=lines - 1, text=missing: text in terminal.screen().split("\n")[line])
        terminal.resize(10, 2)
        terminal.wait_for("too small")
        terminal.press("q")


def test_a_client_cannot_write_to_the_terminal(tmux: str, site: Site, installed: Installed, short_path: Path) -> None:
    with site.serving() as server, Terminal(tmux, short_path) as terminal:
        site.wait(server, b"/wait?%1b[2J%9b" + b"x" * 3000)
        terminal.type(f"{installed.reserve} top --control {site.control} --interval 0.2")
        text = terminal.wait_for("GET /wait?%1b[2J%9b", "q quit")
        assert text.startswith("reserve ")
        assert all(character.isprintable() for character in text.replace("\n", ""))
        terminal.press("q")


def test_stopped_and_continued_it_leaves_the_terminal_to_the_shell(
    tmux: str, site: Site, installed: Installed, short_path: Path
) -> None:
    with site.serving(), Terminal(tmux, short_path) as terminal:
        terminal.type("stty -g >before")
        terminal.type(f"{installed.reserve} top --control {site.control}")
        terminal.wait_for("SINCE", "q quit")
        terminal.press("C-z")
        terminal.wait_for("stty -g >before")
        terminal.type("stty -g >stopped; fg")
        terminal.wait_for("SINCE", "q quit")
        terminal.press("C-c")
        terminal.wait_for("stty -g >before")
        terminal.type("echo code=$?; stty -g >after")
        terminal.wait_for("code=130")
        eventually(lambda: (short_path / "after").exists() and (short_path / "after").read_text())
        texts = {(short_path / name).read_text() for name in ("before", "stopped", "after")}
        assert len(texts) == 1


def test_a_server_that_restarts_is_shown(tmux: str, site: Site, installed: Installed, short_path: Path) -> None:
    with Terminal(tmux, short_path) as terminal:
        with site.serving():
            terminal.type(f"{installed.reserve} top --control {site.control} --interval 0.2")
            terminal.wait_for("healthy", "SINCE")
        terminal.wait_for("NO RESPONSE", "the last known numbers; ")
        with site.serving() as server:
            site.wait(server, b"/wait")
            text = terminal.wait_for("healthy", "GET /wait")
            assert "NO RESPONSE" not in text
            terminal.press("q")


def test_a_terminal_without_utf_8_and_colours(tmux: str, site: Site, installed: Installed, short_path: Path) -> None:
    with site.serving() as server, Terminal(tmux, short_path, LC_ALL="C", NO_COLOR="1") as terminal:
        site.wait(server, b"/wait")
        terminal.type(f"{installed.reserve} top --control {site.control} --interval 0.2")
        assert terminal.wait_for("GET /wait", "latency 1ms _", "q quit").isascii()
        assert not re.search(r"\x1b\[[0-9;]*[34][0-7]m", terminal.styled())
        terminal.press("q")


def test_once_is_for_scripts(site: Site, installed: Installed) -> None:
    with site.serving() as server:
        site.wait(server, b"/wait")
        command = [installed.reserve, "top", "--control", site.control, "--once"]
        eventually(lambda: "GET /wait" in run([*command, "--interval", "0.2"], text=True).stdout)
        result = run([*command, "--json"], text=True)
        assert json.loads(result.stdout)["processes"][0]["pid"] == server.process.pid
        refused = run(command[:-1], text=True, stdin=subprocess.DEVNULL)
        assert refused.returncode == 2
        assert "--once" in refused.stderr


def test_without_a_server_it_says_what_to_do(installed: Installed, short_path: Path) -> None:
    result = run([installed.reserve, "top", "--control", str(short_path / "none"), "--once"], text=True)
    assert result.returncode == 1
    assert "there is no control socket" in result.stderr
    assert "reserve --control" in result.stderr


# ---- the picture of the page ----

_COLOURS = {"31": "#c4261d", "32": "#1a7f37", "33": "#9a6700"}
_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #fff }}
pre {{ margin: 0; padding: 14px 18px; display: inline-block; color: #1f2328;
  font: 15px/19px "DejaVu Sans Mono", monospace }}
</style><pre>{}</pre>"""


@pytest.mark.skipif(not FOLDER, reason="it writes a picture into the folder that RESERVE_SCREENSHOTS names")
def test_the_picture(
    tmux: str, serve: Serve, installed: Installed, require_peer: Callable[[str], str], tmp_path: Path, short_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SITE)
    options = ("--processes", "2", "--threads", "4:8", "--control", "c", "--stop-timeout", "0")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            serve("app", "http", "wsgi", "shop:app", *options, log=None, cwd=tmp_path, exit_code=3)
        )
        for number in (1734, 1736):
            client = stack.enter_context(server.connect())
            client.sendall(b"GET /pay?order=%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        load = [require_peer("wrk"), "-t1", "-c5", "-d60", f"{server.url}/search"]
        process = stack.enter_context(subprocess.Popen(load, stdout=subprocess.DEVNULL))
        stack.callback(process.terminate)
        terminal = stack.enter_context(Terminal(tmux, short_path, 92, 24))
        terminal.type(f"{installed.reserve} top --control {tmp_path}/c")
        terminal.wait_for("GET /pay?order=1734", "10s")
        picture = _html(terminal.styled())
        terminal.press("q")
    page = tmp_path / "top.html"
    page.write_text(_PAGE.format(picture), "utf-8")
    with Browser(require_peer("chromedriver"), require_peer("chromium"), tmp_path / "profile") as browser:
        browser.go(page.as_uri())
        script = "const r = document.querySelector('pre').getBoundingClientRect();"
        script += "return [Math.ceil(r.width), Math.ceil(r.height)]"
        width, height = browser.run(script)
        browser.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        assert FOLDER is not None
        browser.screenshot(Path(FOLDER) / "top.png")


def _html(text: str) -> str:
    """A screen that tmux has captured, as HTML."""
    codes: set[str] = set()
    pieces = []
    for text_piece, sequence in re.findall(r"([^\x1b]*)(?:\x1b\[([0-9;]*)m|$)", text.rstrip("\n")):
        style = []
        for code in codes:
            if code == "1":
                style.append("font-weight: bold")
            elif code == "2":
                style.append("color: #6e7781")
            elif code in _COLOURS:
                style.append(f"color: {_COLOURS[code]}")
            elif code == "46":
                style.append("background: #b6e3ff")
            elif code == "7":
                background = next((_COLOURS[code] for code in codes if code in _COLOURS), "#1f2328")
                style.append(f"background: {background}; color: #fff !important")
        escaped = html.escape(text_piece)
        pieces.append(f'<span style="{"; ".join(style)}">{escaped}</span>' if style else escaped)
        for code in (sequence or "0").split(";"):
            if code in ("0", ""):
                codes.clear()
            elif code in ("39", "49"):
                codes -= {other for other in codes if other.startswith("3" if code == "39" else "4")}
            else:
                codes.add(code)
    return "".join(pieces)
