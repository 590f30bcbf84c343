"""A desk program that PyInstaller has made, in one file and without a console."""

from __future__ import annotations

import http.client
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.extras import library
from tests.real.processes import clean_environ, run
from tests.waiting import PATIENCE, eventually

library("markupsafe")
library("python_multipart")
library("itsdangerous")
pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PROGRAM = """
import logging, multiprocessing, sys
from pathlib import Path
from reserve.desk import Response, Router, StaticFolder, TemplateFolder, serve_http

HERE = Path(__file__).parent
logging.basicConfig(level=logging.INFO)
tpl = TemplateFolder(HERE / "templates")
app = Router()
app.delegate_folder("/static/", StaticFolder(HERE / "static"))

@app.function("/")
def home():
    logging.getLogger("program").info("home")
    print("home")
    streams = [stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)]
    return tpl("page")(name="<frozen>", streams=str(streams))

@app.function("/work")
def work():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return Response.plain_text(str(pool.apply(abs, (-7,))))

@app.function("/quit")
def quit():
    return Response("bye", shut_down=True)

def note(line):
    with open(sys.argv[1], "a") as file:
        file.write(line + "\\n")

if __name__ == "__main__":
    multiprocessing.freeze_support()
    note("before")
    serve_http(app, port=0, private=True, end_with="tab")
    print("nothing happens")
    note("after")
"""


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    """The program, as PyInstaller has made it."""
    if importlib.util.find_spec("PyInstaller") is None:
        if os.environ.get("RESERVE_CI") == "1":
            pytest.fail("PyInstaller is not installed, and RESERVE_CI=1 makes that an error", pytrace=False)
        pytest.skip("PyInstaller is not installed")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.tpl").write_text("<p>{name} {streams}</p>", "utf-8")
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "style.css").write_text("p { color: red }", "utf-8")
    (tmp_path / "program.py").write_text(PROGRAM, "utf-8")
    command = [sys.executable, "-m", "PyInstaller", "--onefile", "--noconsole", "--log-level=WARN"]
    data = ["--add-data=templates:templates", "--add-data=static:static"]
    environ = clean_environ(PYTHONPATH=str(ROOT), PYINSTALLER_CONFIG_DIR=str(tmp_path / "cache"))
    made = run([*command, *data, "program.py"], cwd=tmp_path, env=environ, timeout=PATIENCE * 5)
    if b"PythonLibraryNotFoundError" in made.stderr:
        pytest.skip("PyInstaller needs a Python with a shared library")
    assert made.returncode == 0, made.stderr.decode()
    return tmp_path / "dist" / "program"


def test_a_frozen_program_without_a_console(frozen: Path, tmp_path: Path) -> None:
    opener = tmp_path / "opener"
    opener.write_text(f'#!/bin/sh\necho "$1 $LD_LIBRARY_PATH" >> {tmp_path}/opened\n', "utf-8")
    opener.chmod(0o700)
    environ = clean_environ(HOME=str(tmp_path), BROWSER=f"{opener} %s")
    environ.pop("XDG_RUNTIME_DIR", None)
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", str(frozen), str(tmp_path / "notes")]
    processes: list[subprocess.Popen[bytes]] = []
    work = tmp_path / "work"
    work.mkdir()

    def start(count: int) -> str:
        """Start the program; the address that is opened then."""
        processes.append(subprocess.Popen(command, cwd=work, env=environ, start_new_session=True))
        opened = tmp_path / "opened"
        eventually(lambda: processes[-1].poll() or (opened.exists() and len(opened.read_bytes().splitlines()) >= count))
        url, _, libraries = opened.read_text("utf-8").splitlines()[-1].partition(" ")
        assert libraries == "", "the browser has libraries of its own"
        return url

    try:
        url = start(1)
        client = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)

        def get(target: str, **headers: str) -> http.client.HTTPResponse:
            client.request("GET", target, headers=headers)
            return client.getresponse()

        response = get(f"{urlsplit(url).path}?{urlsplit(url).query}")
        cookie = response.headers["Set-Cookie"].partition(";")[0]
        assert response.read() == b""
        assert get("/", Cookie=cookie).read() == b"<p>&lt;frozen&gt; [True, True, True]</p>"
        assert get("/static/style.css", Cookie=cookie).read() == b"p { color: red }"
        assert get("/work", Cookie=cookie).read() == b"7"
        assert urlsplit(start(2)).netloc == urlsplit(url).netloc
        assert processes[1].wait(PATIENCE) == 0
        assert get("/quit", Cookie=cookie).read() == b"bye"
        assert processes[0].wait(PATIENCE) == 0
        client.close()
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert sorted((tmp_path / "notes").read_text("utf-8").splitlines()) == ["after", "after", "before", "before"]
    assert [*work.iterdir()] == [], "a process of multiprocessing has run the program again, with its own arguments"
