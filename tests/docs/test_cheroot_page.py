"""The page about cheroot is right: its programs run, every name is on it, and what it says is here exists."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import threading
import types
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.compat.cheroot import request, server, wsgi
from reserve.compat.cheroot.ssl import base
from reserve.compat.cheroot.workers import threadpool
from tests.waiting import PATIENCE, eventually

TEXT = (Path(reserve.__file__).parent / "docs" / "cheroot.md").read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^##+ ", TEXT, flags=re.MULTILINE)[1:]}
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| (`[^|]*) \| ([^|]*) \|$", re.MULTILINE)
CLASSES: dict[str, Any] = {
    "HTTPServer": server.HTTPServer,
    "Server": wsgi.Server,
    "ThreadPool": threadpool.ThreadPool,
    "HTTPRequest": request.HTTPRequest,
    "HTTPConnection": request.HTTPConnection,
    "Gateway": wsgi.Gateway_10,
    "Adapter": base.Adapter,
}
"""The sections of tables, and the class here."""
OLD_NAMES = {
    "Modules": [
        "CherryPyWSGIServer", "WSGIPathInfoDispatcher", "HTTPServer", "HTTPConnection", "HTTPRequest", "Gateway",
        "SSLAdapter", "ThreadPool", "WorkerThread", "_SHUTDOWNREQUEST", "ChunkedRFile", "KnownLengthRFile",
        "SizeCheckWrapper", "read_headers", "apps",
    ],
    "HTTPServer": [
        "bind_addr", "server_name", "protocol", "software", "ssl_adapter", "requests", "socket", "tick", "start",
    ],
    "ThreadPool": ["min", "get", "put", "start", "stop"],
    "HTTPRequest": [
        "parse_request", "parse_request_uri", "rfile", "inheaders", "respond", "write", "send_headers", "status",
        "outheaders", "chunked_write", "close_connection",
    ],
    "HTTPConnection": ["server", "socket", "makefile", "communicate"],
    "Gateway": ["write", "start_response"],
    "Adapter": ["wrap", "makefile"],
}  # fmt: skip
"""The public names of CherryPy's wsgiserver, from which cheroot was made, and of cheroot; by section."""


def names_of(section: str) -> set[str]:
    return {name for cell, _ in ROW.findall(SECTIONS[section]) for name in re.findall(r"`([^`]+)`", cell)} | (
        set(re.findall(r"`([^`]+)`", SECTIONS[section])) if section == "Modules" else set()
    )


@pytest.mark.parametrize("section", OLD_NAMES)
def test_the_names_of_older_programs_are_on_the_page(section: str) -> None:
    assert set(OLD_NAMES[section]) - names_of(section) == set()


def test_every_public_name_of_cheroot_is_on_the_page() -> None:
    pytest.importorskip("cheroot")
    pytest.importorskip("OpenSSL")
    modules = [
        importlib.import_module(f"cheroot.{name}")
        for name in ("server", "wsgi", "workers.threadpool", "ssl", "ssl.builtin", "ssl.pyopenssl")
    ]
    for module in modules:
        own = {
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        }
        assert own - names_of("Modules") == set()
    theirs = {
        "HTTPServer": modules[0].HTTPServer,
        "Server": modules[1].Server,
        "ThreadPool": modules[2].ThreadPool,
        "HTTPRequest": modules[0].HTTPRequest,
        "HTTPConnection": modules[0].HTTPConnection,
        "Gateway": modules[1].Gateway,
        "Adapter": modules[3].Adapter,
    }
    assert set(theirs) == set(CLASSES)
    for section, cls in theirs.items():
        own = {name for name in vars(cls) if not name.startswith("_")}
        assert own - names_of(section) == set()


@pytest.mark.parametrize("section", CLASSES)
def test_what_the_page_says_is_here_exists(section: str) -> None:
    cls = CLASSES[section]
    source = "".join(inspect.getsource(base) for base in cls.__mro__ if base.__module__.startswith("reserve."))
    for cell, meaning in ROW.findall(SECTIONS[section]):
        for name in re.findall(r"`([^`]+)`", cell):
            exists = hasattr(cls, name) or f"self.{name} = " in source or f"self.{name}: " in source
            if meaning.startswith("as in cheroot"):
                assert exists, f"{section}.{name}"
            elif meaning.startswith("no"):
                assert not exists, f"{section}.{name}"


def test_the_modules_of_the_page_can_be_imported() -> None:
    for line in re.findall(r"\| `(from reserve\.compat[^`]+)` \|$", SECTIONS["cheroot"], re.MULTILINE):
        exec(line, {})
    for cell, meaning in ROW.findall(SECTIONS["Modules"]):
        for module in (server, wsgi, base):
            if f"as in cheroot, in `{module.__name__.split('.')[3]}`" in meaning:
                missing = [name for name in re.findall(r"`([^`]+)`", cell) if not hasattr(module, name)]
                assert [name for name in missing if name != "SSLAdapter"] == []


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The servers that a program of the page makes, each at a free port; they are stopped after the test."""
    servers: list[Any] = []
    original = server.HTTPServer.__init__

    def init(self: Any, bind_addr: Any, *args: Any, **options: Any) -> None:
        original(self, ("127.0.0.1", 0), *args, **options)
        servers.append(self)

    monkeypatch.setattr(server.HTTPServer, "__init__", init)
    yield servers
    for one in servers:
        one.stop()


@pytest.mark.parametrize(
    ("number", "responses"),
    [
        (0, {"/": b"Hello, world!\n", "/blog": b"no posts yet\n"}),
        (1, {"/a%2Fb": b"You asked for /a%2Fb\n"}),
    ],
)
def test_the_programs_of_the_page_run(number: int, responses: dict[str, bytes], made: list[Any]) -> None:
    program = PYTHON.findall(SECTIONS["cheroot"])[number]
    thread = threading.Thread(target=exec, args=(program, {"__name__": "program"}))
    thread.start()
    eventually(lambda: made and made[0].ready)
    host, port = made[0].bind_addr
    for path, response in responses.items():
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=PATIENCE) as answered:
            assert answered.read() == response
    made[0].stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_entry_for_cherrypy_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = PYTHON.findall(SECTIONS["CherryPy"])
    (line,) = re.findall(r"^```ini\n(.*?)\n```$", SECTIONS["CherryPy"], re.MULTILINE | re.DOTALL)
    updated: dict[str, Any] = {}
    fake = types.SimpleNamespace(
        expose=lambda method: method,
        config=types.SimpleNamespace(update=updated.update),
        quickstart=lambda root: updated.update(root=root.index()),
    )
    monkeypatch.setitem(sys.modules, "cherrypy", fake)
    exec(program, {"__name__": "program"})
    name = updated["server.instance"]
    assert updated["root"] == "Hello, world!"
    assert line == f'server.instance = "{name}"'
    module, _, attribute = name.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), attribute), wsgi.Server)
