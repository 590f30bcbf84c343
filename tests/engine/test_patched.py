"""A server in a process whose threads and sockets gevent or eventlet has replaced: refused, or served to its end."""

from __future__ import annotations

import http.client
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reserve
from reserve.engine.polling.patching import green_library, refuse_green_threads
from reserve.errors import StartupError
from tests.greenthreads import KINDS, PATCHES, prepare, run, started
from tests.waiting import PATIENCE

EMBEDDED = """
import sys
{before}
import reserve
def app(environ, start_response):
    if environ["PATH_INFO"] == "/patch":
        {later}
    start_response("200 OK", [])
    return [b"served"]
try:
    server = reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), app, threads=(2, 8))
    {between}
    with server:
        print(server.addresses[0][1], flush=True)
        sys.stdin.readline()
except reserve.errors.StartupError as error:
    print(error)
    sys.exit(1)
print("stopped", server.aborted)
"""
PARTS = "_thread", "threading", "socket", "select"


def program(**places: str) -> str:
    return EMBEDDED.format(**{"before": "", "between": "", "later": "pass", **places})


def app(environ: Any, start_response: Any) -> list[bytes]:
    return []


def serve(folder: Path, source: str, *paths: str) -> tuple[int, str, str]:
    """Run a program that serves, request each path on a new connection, and let it stop."""
    with started(folder, "-c", source) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        for path in paths:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            client.request("GET", path)
            assert client.getresponse().read() == b"served"
            client.close()
        out, err = process.communicate("\n", timeout=PATIENCE)
        return process.returncode, out, err


def is_refusal(text: str, library: str) -> bool:
    """One sentence that names the library and ends in a line of Python."""
    (line,) = text.splitlines()
    compile(line.rpartition(f"serve with {library}: ")[2], "line", "exec")
    return line.startswith(f"{library} has replaced threads or sockets of this process (")


@pytest.mark.parametrize("place", ["before", "between"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_before_the_start_is_refused_with_a_line_that_serves(tmp_path: Path, kind: str, place: str) -> None:
    library = prepare(tmp_path, kind)
    code, out, err = run(tmp_path, "-c", program(**{place: PATCHES[library]}))
    assert (code, err) == (1, "")
    assert is_refusal(out, library)


@pytest.mark.parametrize("part", ["patch_socket", "patch_thread"])
@pytest.mark.parametrize("kind", ["fake gevent", "gevent"])
def test_a_patch_of_threads_or_sockets_alone_is_refused(tmp_path: Path, kind: str, part: str) -> None:
    library = prepare(tmp_path, kind)
    code, out, err = run(tmp_path, "-c", program(before=f"from gevent import monkey; monkey.{part}()"))
    assert (code, err) == (1, "")
    assert is_refusal(out, library)


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        *((kind, PATCHES[kind.rpartition(" ")[2]]) for kind in KINDS),
        ("gevent", "from gevent import monkey; monkey.patch_thread()"),
        ("gevent", "from gevent import monkey; monkey.patch_socket()"),
    ],
)
def test_a_patch_in_a_request_is_logged_and_the_server_serves_and_stops(tmp_path: Path, kind: str, patch: str) -> None:
    library = prepare(tmp_path, kind)
    code, out, err = serve(tmp_path, program(later=patch), "/", "/patch", "/", "/", "/")
    assert (code, out) == (0, "stopped 0\n")
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if "has replaced threads or sockets" in line]
    assert line.startswith(f"{library} has replaced ")
    assert "starts no more threads" in line


@pytest.mark.parametrize(
    "before",
    [
        "from gevent import monkey; monkey.patch_time()",
        # As debuggers do: each thread begins in a function of theirs.
        "import _thread, threading\n"
        "real = _thread.start_new_thread\n"
        "def begin(function, args, kwargs={}):\n    return real(lambda: function(*args, **kwargs), ())\n"
        "_thread.start_new_thread = threading._start_new_thread = begin",
        # As a profiler does.
        "import threading\nclass Thread(threading.Thread):\n    pass\nthreading.Thread = Thread",
        # As a library for SOCKS does.
        "import socket\nclass Socket(socket.socket):\n    pass\nsocket.socket = Socket",
    ],
    ids=["another part", "start of threads", "class of threads", "class of sockets"],
)
def test_a_program_that_leaves_threads_and_sockets_what_they_are_is_served(tmp_path: Path, before: str) -> None:
    prepare(tmp_path, "fake gevent")
    assert serve(tmp_path, program(before=before), "/") == (0, "stopped 0\n", "")


@pytest.mark.parametrize("part", PARTS)
def test_each_part_that_the_engine_uses_counts(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    assert green_library() == ""
    refuse_green_threads()
    fake = SimpleNamespace(is_module_patched=lambda name: name == part)
    monkeypatch.setitem(sys.modules, "gevent.monkey", fake)  # type: ignore[arg-type]
    assert green_library() == "gevent"
    (listener,) = reserve.listen("127.0.0.1:0")
    with listener, pytest.raises(StartupError, match=r"^gevent has replaced threads or sockets"):
        reserve.ReserveWSGIServer(listener, app)
    monkeypatch.delitem(sys.modules, "gevent.monkey")
    server = reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), app)
    monkeypatch.setitem(sys.modules, "gevent.monkey", fake)  # type: ignore[arg-type]
    with pytest.raises(StartupError, match=r"^gevent has replaced threads or sockets"):
        server.start()
    server.stop()  # closes the listeners


def test_the_pool_does_not_grow_when_threads_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    server = reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), app, threads=(1, 4))
    with server:
        fake = SimpleNamespace(is_module_patched=lambda name: True)
        monkeypatch.setitem(sys.modules, "gevent.monkey", fake)  # type: ignore[arg-type]
        assert not server._runtime.pool.grow()
        monkeypatch.delitem(sys.modules, "gevent.monkey")
        assert server._runtime.pool.grow()
