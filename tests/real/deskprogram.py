"""A desk program as a process of its own, whose browser is a script that writes down what it is to open."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.real.processes import clean_environ
from tests.waiting import PATIENCE, eventually

PROGRAM = """
from reserve.desk import Response, serve_http
from reserve.desk.browser import tabs

tabs.GRACE = 1.0  # five seconds take a test long
PAGE = '''<!doctype html><html><head><title>%s</title></head><body><h1>%s</h1>
<a id="two" href="/two">two</a> <a id="new" href="/two" target="_blank">new</a> <a id="text" href="/text">text</a>
<a id="file" href="/file">file</a> <p id="referer">%s</p></body></html>'''

def app(request):
    match request.path:
        case [""] | ["two"]:
            title = request.path[0] or "one"
            return PAGE % (title, title, request.headers.get("referer", "-"))
        case ["text"]:
            return Response.plain_text("only text")
        case ["file"]:
            return Response("content", headers={"content-disposition": "attachment; filename=x.txt"})
        case ["quit"]:
            return Response("bye", shut_down=True)
    return Response.generic(code=404)

print("before", flush=True)
serve_http(app, port=0, OPTIONS)
print("after", flush=True)
"""


class DeskProgram:
    """A program in a folder, which is started once or several times; each process ends with the ``with`` block.

    :param python: the interpreter, in whose environment reserve is installed.
    :param folder: for the program, and as the home of its user.
    :param options: more arguments of ``serve_http``, as source text.
    :param path: folders that come first in PATH.
    """

    def __init__(self, python: str, folder: Path, options: str = "", path: str = "") -> None:
        self._command = [python, str(folder / "program.py")]
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        opener = folder / "opener"
        opener.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> {folder}/opened\n', "utf-8")
        opener.chmod(0o700)
        (folder / "opened").touch()
        (folder / "program.py").write_text(PROGRAM.replace("OPTIONS", options), "utf-8")
        self._environ = clean_environ(HOME=str(folder), BROWSER=f"{opener} %s")
        self._environ.pop("XDG_RUNTIME_DIR", None)
        if path:
            self._environ["PATH"] = f"{path}:{self._environ['PATH']}"

    def __enter__(self) -> DeskProgram:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def start(self) -> subprocess.Popen[str]:
        """Start the program."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=self._environ
        )
        self._processes.append(process)
        return process

    def wait_opened(self, count: int = 1) -> str:
        """Wait until that many pages were opened; the address of the last one."""

        def opened() -> list[str]:
            process = self._processes[-1]
            assert not process.poll(), process.communicate()
            return (self._folder / "opened").read_text("utf-8").splitlines()

        eventually(lambda: len(opened()) >= count)
        lines = opened()
        assert len(lines) == count
        return lines[-1]


def ends(process: subprocess.Popen[str]) -> None:
    """The program ends by itself, after the code behind ``serve_http``, and without a word on standard error."""
    output, errors = process.communicate(timeout=PATIENCE)
    lines = [line for line in output.splitlines() if not line.startswith("http://")]
    assert (process.returncode, lines, errors) == (0, ["before", "after"], "")
