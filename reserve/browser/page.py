"""Opens the page of a program: in the default browser, or in a window of its own (``window=True``). Any thread.

Chromium and the browsers that are made from it show a page without tabs and address bar when they are started with
``--app=URL``. Without one of them the page opens in the default browser. No shell is involved.

A program that PyInstaller has made has its own libraries in ``LD_LIBRARY_PATH``. The browser, which is not part of it,
gets the value from before.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["find_app_browser", "open_apart", "open_page", "system_environ"]

_LINUX = (
    "google-chrome",
    "google-chrome-stable",
    "chromium",
    "chromium-browser",
    "microsoft-edge",
    "microsoft-edge-stable",
    "brave-browser",
    "vivaldi",
)
_MACOS = ("Google Chrome", "Chromium", "Microsoft Edge", "Brave Browser", "Vivaldi")
_WINDOWS = (
    r"Google\Chrome\Application\chrome.exe",
    r"Chromium\Application\chrome.exe",
    r"Microsoft\Edge\Application\msedge.exe",
    r"BraveSoftware\Brave-Browser\Application\brave.exe",
    r"Vivaldi\Application\vivaldi.exe",
)
_AT_ONCE = 5.0
"""Seconds in which a browser that cannot start ends with an error."""
_LIBRARIES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LIBPATH")

_log = logging.getLogger("reserve.desk")


def find_app_browser(
    platform: str,
    environ: Mapping[str, str],
    which: Callable[[str], str | None],
    is_file: Callable[[str], bool],
) -> str | None:
    """The path of a browser that knows ``--app``; None: there is none.

    :param platform: as ``sys.platform``.
    :param environ: the environment variables.
    :param which: as ``shutil.which``.
    :param is_file: as ``os.path.isfile``.
    """
    if platform not in ("win32", "darwin"):
        return next(filter(None, map(which, _LINUX)), None)
    return next(filter(is_file, _places(platform, environ)), None)


def _places(platform: str, environ: Mapping[str, str]) -> Iterator[str]:
    if platform == "darwin":
        for name in _MACOS:
            for folder in ("/Applications", f"{environ.get('HOME', '')}/Applications"):
                yield f"{folder}/{name}.app/Contents/MacOS/{name}"
        return
    for program in _WINDOWS:
        for variable in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
            if base := environ.get(variable):
                yield f"{base}\\{program}"


def system_environ(environ: Mapping[str, str], *, frozen: bool) -> dict[str, str]:
    """The environment variables for programs of the system.

    :param frozen: this program was made by PyInstaller, which keeps the former value of NAME in NAME_ORIG.
    """
    result = dict(environ)
    for name in _LIBRARIES if frozen else ():
        former = result.pop(f"{name}_ORIG", None)
        result.pop(name, None)
        if former is not None:
            result[name] = former
    return result


def open_apart(url: str) -> str:
    """Open a page in the default browser, by a process of its own: no browser writes to the streams of this one, or
    gets its signals. Blocks as long as the browser keeps that process waiting.

    :param url: the address, which begins with ``http``.
    :return: why it is not possible, as part of a sentence; empty: the browser has it.
    """
    frozen = bool(getattr(sys, "frozen", False))
    environ = system_environ(os.environ, frozen=frozen)
    if frozen or not sys.executable:  # there is no interpreter to start
        return _open_default(url, environ)
    command = [sys.executable, "-I", os.path.join(os.path.dirname(__file__), "openpage.py"), url]
    nothing = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing, env=environ, **_apart()
        )
    except OSError as error:
        return str(error)
    with process:
        assert process.stdout is not None
        reason = process.stdout.read().decode(errors="replace").strip()
    if process.returncode and not reason:
        reason = f"the process for it has ended with exit code {process.returncode}"
    return "".join(letter if letter.isprintable() else " " for letter in reason)


def _apart() -> dict[str, Any]:
    """Arguments for a process that does not get the signals of this terminal."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def open_page(url: str, *, window: bool = False) -> threading.Event:
    """Open a page, on a thread of its own, because some browsers keep their caller waiting.

    :param url: the address, which begins with ``http``.
    :param window: in a window of its own, if possible.
    :return: is set as soon as the browser has the address; a program that ends earlier may open nothing.
    """
    opened = threading.Event()
    thread = threading.Thread(target=_open, args=(url, window, opened), name="reserve-browser", daemon=True)
    thread.start()
    return opened


def _open(url: str, window: bool, opened: threading.Event) -> None:
    try:
        environ = system_environ(os.environ, frozen=bool(getattr(sys, "frozen", False)))
        browser = find_app_browser(sys.platform, environ, shutil.which, os.path.isfile) if window else None
        if browser is not None and _open_window([browser, f"--app={url}"], environ, opened):
            return
        reason = _open_default(url, environ)
        if reason:
            _log.warning("no browser could be opened (%s): open %s yourself", reason, url)
    finally:
        opened.set()


def _open_window(command: list[str], environ: dict[str, str], opened: threading.Event) -> bool:
    """Run a browser to its end; False: it cannot start (as Chromium for root)."""
    nothing = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, env=environ, **_apart())
    except OSError:
        return False
    try:
        return process.wait(_AT_ONCE) == 0
    except subprocess.TimeoutExpired:
        opened.set()
        process.wait()
        return True


def _open_default(url: str, environ: dict[str, str]) -> str:
    """Open a page in the default browser; why that is not possible, or an empty text."""
    former = dict(os.environ)
    _replace_environ(environ)  # webbrowser passes on no other
    try:
        return "" if webbrowser.open(url) else "there is none"
    except Exception as error:  # webbrowser.Error; and what a class raises that a program has registered
        return f"{type(error).__name__}: {error}"
    finally:
        _replace_environ(former)


def _replace_environ(variables: Mapping[str, str]) -> None:
    """Set the variables with paths of libraries as they are there."""
    for name in _LIBRARIES:
        for variable in (name, f"{name}_ORIG"):
            if variable in variables:
                os.environ[variable] = variables[variable]
            else:
                os.environ.pop(variable, None)
