"""The program as process 1 of a container: a PID namespace, which ``unshare`` makes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.fakes import ROOT
from tests.cli.test_program import command, get, read_until, serves
from tests.waiting import PATIENCE, eventually

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
APP = """
import os, subprocess
def orphan():
    gate, opener = os.pipe()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild:
            os.write(writer, str(grandchild).encode())
            os._exit(0)
        os.close(opener)
        os.read(gate, 1)  # until its own parent has ended
        os._exit(0)
    os.waitpid(child, 0)
    number = os.read(reader, 20).decode()
    for fd in (gate, opener, reader, writer):
        os.close(fd)
    return number
VIEWS = {
    "/": lambda: "ok",
    "/ids": lambda: f"{os.getpid()} {os.getppid()}",
    "/orphan": orphan,
    "/child": lambda: str(subprocess.run(["sh", "-c", "exit 7"]).returncode),
    "/hold": lambda: open(os.environ["GATE"]).read(),
}
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/exists/"):
        text = str(os.path.exists(f"/proc/{path.removeprefix('/exists/')}"))
    else:
        text = VIEWS[path]()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text.encode()]
"""


@pytest.fixture
def directory(tmp_path: Path, require_peer: Callable[[str], str]) -> Path:
    require_peer("unshare")
    try:
        tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("unshare does not return")
    if tried.returncode != 0:
        pytest.skip(f"this user may not make a PID namespace: {tried.stderr.strip()}")
    (tmp_path / "site_app.py").write_text(APP)
    os.mkfifo(tmp_path / "gate")
    return tmp_path


def process_1(process: subprocess.Popen[str]) -> int:
    """The number, outside, of process 1 of the namespace."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def body(port: int, path: str) -> str:
    return get(port, path).partition(b"\r\n\r\n")[2].decode()


def hold(port: int) -> socket.socket:
    """A client whose request is in flight until something is written to the gate."""
    client = socket.create_connection(("127.0.0.1", port), PATIENCE)
    client.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return client


def test_process_1_reaps_orphans_and_leaves_the_children_of_the_application_alone(directory: Path) -> None:
    with command(directory, launcher=UNSHARE) as (process, port):
        own, parent = body(port, "/ids").split()
        assert (own != "1", parent) == (True, "1")
        orphan = body(port, "/orphan")
        eventually(lambda: body(port, f"/exists/{orphan}") == "False")
        assert body(port, "/child") == "7"
        os.kill(process_1(process), signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_signals_are_passed_on_and_the_exit_code_is_that_of_the_server(directory: Path) -> None:
    with command(directory, launcher=UNSHARE, start_new_session=True) as (process, port), hold(port):
        gate = os.open(directory / "gate", os.O_WRONLY)
        os.kill(process_1(process), signal.SIGUSR1)
        read_until(process, "SIGUSR1: there is no log file to open again")
        os.kill(process_1(process), signal.SIGTERM)
        read_until(process, "reserve: stopping; requests in flight have 3600 s")
        os.kill(process_1(process), signal.SIGTERM)
        read_until(process, "reserve: stopping at once")
        assert process.wait(PATIENCE) == 3
        os.close(gate)


def test_the_exit_code_names_the_signal_that_has_ended_the_server(directory: Path) -> None:
    with command(directory, launcher=UNSHARE) as (process, _):
        first = process_1(process)
        server = int(Path(f"/proc/{first}/task/{first}/children").read_text().split()[0])
        os.kill(server, signal.SIGKILL)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + signal.SIGKILL
        assert err.endswith("reserve: the process of the server has ended: SIGKILL\n")


def test_the_end_of_the_server_is_noticed_although_sigchld_was_ignored(directory: Path) -> None:
    ignoring = (
        "import os, signal, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nos.execv(sys.argv[1], sys.argv[1:])"
    )
    with command(directory, launcher=(*UNSHARE, sys.executable, "-c", ignoring)) as (process, port):
        assert body(port, "/child") == "7"
        os.kill(process_1(process), signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_process_1_keeps_no_copy_of_an_inherited_listener(directory: Path) -> None:
    launcher = (*UNSHARE, sys.executable, "-m", "reserve.sdlaunch", "-b", "127.0.0.1:PORT", "--")
    with command(directory, launcher=launcher, bind=False) as (process, port), hold(port) as client:
        gate = os.open(directory / "gate", os.O_WRONLY)
        os.kill(process_1(process), signal.SIGTERM)
        eventually(lambda: is_refused(port))
        assert process.poll() is None
        os.write(gate, b"done")
        os.close(gate)
        with client.makefile("rb") as response:
            assert response.read().endswith(b"done")
        assert process.wait(PATIENCE) == 0


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_keys_of_the_terminal_arrive_once_and_do_not_pause_the_server(directory: Path) -> None:
    master, terminal = os.openpty()
    wrapper = "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    with (
        command(directory, launcher=UNSHARE, wrapper=wrapper, start_new_session=True, stdin=terminal) as (
            process,
            port,
        ),
        hold(port) as client,
    ):
        gate = os.open(directory / "gate", os.O_WRONLY)
        os.write(master, b"\x1a")  # Ctrl-Z
        eventually(lambda: serves(port))
        os.write(master, b"\x03")  # Ctrl-C
        read_until(process, "reserve: stopping; requests in flight have 3600 s")
        os.write(gate, b"done")
        os.close(gate)
        with client.makefile("rb") as response:
            assert response.read().endswith(b"done")
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, "at once" in err) == (0, False)
    os.close(terminal)
    os.close(master)


@pytest.mark.parametrize(
    ("program", "option"),
    [
        (["reserve", "--daemon", "-b", "127.0.0.1:0", "app", "http", "wsgi", "site_app"], "--daemon"),
        (["reserve.sdlaunch", "-d", "-b", "127.0.0.1:0", "true"], "-d"),
    ],
)
def test_process_1_refuses_to_serve_in_the_background(directory: Path, program: list[str], option: str) -> None:
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", *program],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert f"{option}: this command is process 1 of a container, which ends with it" in done.stderr
    assert f"leave {option} out" in done.stderr
