"""``reserve.browser.page``: which browser is found, and what it is given."""

from __future__ import annotations

import logging
import os
import stat
import webbrowser
from collections.abc import Mapping
from pathlib import Path

import pytest

from reserve.browser import page as window
from reserve.browser.page import find_app_browser, open_page, system_environ
from tests.waiting import PATIENCE, eventually

URL = "http://127.0.0.1:8080/?a=1&b=$(touch x);'\""


def never(name: str) -> None:
    raise AssertionError("PATH is not searched here")


@pytest.mark.parametrize(
    ("programs", "expected"),
    [
        ({"chromium", "microsoft-edge"}, "/usr/bin/chromium"),
        ({"microsoft-edge", "firefox"}, "/usr/bin/microsoft-edge"),
        ({"google-chrome-stable", "chromium"}, "/usr/bin/google-chrome-stable"),
        ({"firefox"}, None),
        (set(), None),
    ],
)
@pytest.mark.parametrize("platform", ["linux", "freebsd14"])
def test_linux_and_bsd_search_the_path(platform: str, programs: set[str], expected: str | None) -> None:
    def which(name: str) -> str | None:
        return f"/usr/bin/{name}" if name in programs else None

    assert find_app_browser(platform, {}, which, lambda path: False) == expected


CHROME = r"Google\Chrome\Application\chrome.exe"
EDGE = r"Microsoft\Edge\Application\msedge.exe"
FOLDERS = {
    "PROGRAMFILES": r"C:\Program Files",
    "PROGRAMFILES(X86)": r"C:\Program Files (x86)",
    "LOCALAPPDATA": r"C:\Users\u\AppData\Local",
}


@pytest.mark.parametrize(
    ("platform", "environ", "files", "expected"),
    [
        ("win32", FOLDERS, [rf"C:\Program Files (x86)\{EDGE}"], rf"C:\Program Files (x86)\{EDGE}"),
        (
            "win32",
            FOLDERS,
            [rf"C:\Program Files (x86)\{EDGE}", rf"C:\Users\u\AppData\Local\{CHROME}"],
            rf"C:\Users\u\AppData\Local\{CHROME}",
        ),
        ("win32", {}, [rf"C:\Program Files\{EDGE}"], None),
        (
            "darwin",
            {"HOME": "/Users/u"},
            ["/Users/u/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge"],
            "/Users/u/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
        ),
        ("darwin", {}, ["/Applications/Safari.app/Contents/MacOS/Safari"], None),
    ],
)
def test_windows_and_macos_look_where_programs_are_installed(
    platform: str, environ: Mapping[str, str], files: list[str], expected: str | None
) -> None:
    assert find_app_browser(platform, environ, never, files.__contains__) == expected


def test_a_browser_gets_the_libraries_of_the_system() -> None:
    frozen = {"LD_LIBRARY_PATH": "/tmp/_MEI1", "LD_LIBRARY_PATH_ORIG": "/opt/lib", "HOME": "/root"}
    assert system_environ(frozen, frozen=True) == {"LD_LIBRARY_PATH": "/opt/lib", "HOME": "/root"}
    assert system_environ(frozen, frozen=False) == frozen
    assert system_environ({"LD_LIBRARY_PATH": "/tmp/_MEI1"}, frozen=True) == {}
    assert system_environ({"LD_LIBRARY_PATH": "/opt/lib"}, frozen=False) == {"LD_LIBRARY_PATH": "/opt/lib"}


class Opened:
    """What the default browser was asked to open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.urls: list[str] = []
        self.libraries: list[str | None] = []
        self.result = True
        monkeypatch.setattr(webbrowser, "open", self.open)

    def open(self, url: str) -> bool:
        self.urls.append(url)
        self.libraries.append(os.environ.get("LD_LIBRARY_PATH"))
        return self.result


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only folder of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("sys.platform", "linux")
    return folder


def write_browser(folder: Path, script: str) -> None:
    program = folder / "chromium"
    program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_a_window_gets_the_address_as_one_argument(opened: Opened, programs: Path, tmp_path: Path) -> None:
    write_browser(programs, f"printf '%s|' \"$@\" > {tmp_path}/got")
    assert open_page(URL, window=True).wait(PATIENCE)
    assert (tmp_path / "got").read_text("utf-8") == f"--app={URL}|"
    assert opened.urls == []


def test_a_browser_that_cannot_start_is_replaced_by_the_default_one(opened: Opened, programs: Path) -> None:
    write_browser(programs, "exit 1")  # as Chromium does for root
    assert open_page(URL, window=True).wait(PATIENCE)
    assert opened.urls == [URL]


def test_a_program_that_is_none_is_replaced_by_the_default_one(opened: Opened, programs: Path) -> None:
    (programs / "chromium").write_bytes(b"\0")
    (programs / "chromium").chmod(0o700)
    assert open_page(URL, window=True).wait(PATIENCE)
    assert opened.urls == [URL]


def test_a_window_that_stays_open_is_open(
    opened: Opened, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "_AT_ONCE", 0.01)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    write_browser(programs, f"read line < {fifo}; exit 1")
    assert open_page(URL, window=True).wait(PATIENCE)
    fifo.write_text("\n", "utf-8")
    assert opened.urls == []


def test_without_such_a_browser_the_default_one_opens_the_page(opened: Opened, programs: Path) -> None:
    assert open_page(URL, window=True).wait(PATIENCE)
    assert opened.urls == [URL]


def test_without_window_the_default_browser_opens_the_page(opened: Opened, programs: Path) -> None:
    write_browser(programs, "exit 1")
    assert open_page(URL).wait(PATIENCE)
    assert opened.urls == [URL]


def test_the_default_browser_gets_the_libraries_of_the_system(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.frozen", True, raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/tmp/_MEI1")
    monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", "/opt/lib")
    assert open_page(URL).wait(PATIENCE)
    assert opened.libraries == ["/opt/lib"]
    assert os.environ["LD_LIBRARY_PATH"] == "/tmp/_MEI1"


def test_without_a_browser_the_address_is_in_the_log(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    opened.result = False
    with caplog.at_level(logging.WARNING, "reserve"):
        assert open_page(URL).wait(PATIENCE)
        eventually(lambda: URL in caplog.text)
