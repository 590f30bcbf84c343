"""The command as a process, whose standard streams may be full, closed or stuck, and whose application may hang."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

import reserve
from tests.clients import free_port
from tests.waiting import eventually

ROOT = str(Path(reserve.__file__).parent.parent)
PATIENCE = 60.0
STOPPING = "reserve: stopping; requests in flight have 3600 s, a second signal stops at once\n"
APP = """
import os, sys, threading
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise ValueError("x" * 2000)
    if path == "/print":
        print("x" * 200_000, file=sys.stderr)
    if path == "/hold":
        open(os.environ["GATE"], "rb").read()
    if path == "/thread":
        threading.Thread(target=lambda: open(os.environ["GATE"], "rb").read(), name="mailer", daemon=False).start()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "site_app.py").write_text(APP)
    os.mkfifo(tmp_path / "gate")
    return tmp_path


def ask(port: int, path: str = "/") -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client, client.makefile("rb") as answer:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return answer.read()


def serves(port: int) -> bool:
    try:
        return ask(port).endswith(b"\r\n\r\nok")
    except OSError:
        return False


@contextmanager
def command(
    place: Path, *words: str, wrapper: str = "", **streams: object
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command, when it answers, and its port.

    :param wrapper: lines that Python runs in the process before it becomes the command.
    """
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RESERVE_")}
    environ |= {"PYTHONPATH": ROOT, "GATE": str(place / "gate")}
    line = ["app", "http", "wsgi", "site_app", "-b", f"127.0.0.1:{port}", "--threads", "2"]
    line = [sys.executable, "-m", "reserve", *line, "--stop-timeout", "1h", *words]
    if wrapper:
        line = [sys.executable, "-c", f"import os, signal, sys\n{wrapper}\nos.execv({sys.executable!r}, {line!r})"]
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **streams}
    with subprocess.Popen(line, cwd=place, env=environ, text=True, **given) as process:  # type: ignore[call-overload]
        try:
            eventually(lambda: serves(port) or process.poll() is not None)
            yield process, port
        finally:
            process.kill()
            process.wait()


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stderr is not None
    while True:
        line = process.stderr.readline()
        assert line, f"it has ended and not said {wanted!r}"
        if wanted in line:
            return line


# ---- standard error that takes nothing ----


@pytest.mark.parametrize(
    "wrapper", ["os.dup2(os.open('/dev/full', os.O_WRONLY), 2)", "os.close(2)", "os.closerange(0, 3)"]
)
def test_it_serves_without_a_standard_error(place: Path, wrapper: str) -> None:
    with command(place, wrapper=wrapper) as (process, port):
        for path in ("/fail", "/fail", "/"):
            ask(port, path)
        # Its words must not go where a client's connection has their number.
        links = {fd: os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in (0, 1, 2)}
        assert all(link.startswith("/dev/") for link in links.values()), links
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@contextmanager
def stuck(count: int) -> Iterator[tuple[int, ...]]:
    """Pipes that nobody reads, full but for a page."""
    with ExitStack() as cleanup:
        writers = []
        for _ in range(count):
            for end in (ends := os.pipe()):
                cleanup.callback(os.close, end)
            os.set_blocking(ends[1], False)
            with suppress(BlockingIOError):
                while True:
                    os.write(ends[1], b"x" * 4096)
            os.read(ends[0], 4096)
            os.set_blocking(ends[1], True)
            writers.append(ends[1])
        yield tuple(writers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("output", [False, True])
def test_a_stop_does_not_wait_for_a_reader_that_hangs(place: Path, number: signal.Signals, output: bool) -> None:
    with (
        stuck(2) as (errors, lines),
        command(place, stderr=errors, stdout=lines if output else subprocess.DEVNULL) as (process, port),
    ):
        for _ in range(40):
            ask(port, "/fail")
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0


def test_a_second_signal_does_not_either(place: Path) -> None:
    with (
        stuck(1) as (errors,),
        command(place, stderr=errors, stdout=errors) as (process, port),
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
    ):
        client.sendall(b"GET /print HTTP/1.1\r\nHost: x\r\n\r\n")  # it holds the lock of the stream from now on
        for _ in range(40):
            ask(port, "/fail")
        process.send_signal(signal.SIGTERM)
        eventually(lambda: not serves(port))
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3


def test_it_starts_when_nobody_reads_its_banner(place: Path) -> None:
    with stuck(1) as (errors,):
        os.write(errors, b"x" * 4096)
        with command(place, stderr=errors) as (process, port):
            assert serves(port)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


# ---- what keeps a process ----


def test_a_thread_that_is_no_daemon_is_named_and_waited_for(place: Path) -> None:
    with command(place) as (process, port):
        ask(port, "/thread")
        door = os.open(place / "gate", os.O_WRONLY)
        process.send_signal(signal.SIGTERM)
        line = read_until(process, "waiting for non-daemon threads")
        assert "non-daemon threads of the application: mailer; they have " in line
        assert process.poll() is None
        os.close(door)
        assert process.wait(PATIENCE) == 0


def test_such_a_thread_is_left_behind_at_the_end(place: Path) -> None:
    with command(place, "--stop-timeout", "0.1") as (process, port):
        ask(port, "/thread")
        door = os.open(place / "gate", os.O_WRONLY)
        process.send_signal(signal.SIGTERM)
        read_until(process, "non-daemon threads of the application still run: mailer")
        assert process.wait(PATIENCE) == 3
        os.close(door)


def test_such_a_thread_does_not_hold_up_a_second_signal(place: Path) -> None:
    with command(place) as (process, port):
        ask(port, "/thread")
        door = os.open(place / "gate", os.O_WRONLY)
        process.send_signal(signal.SIGTERM)
        read_until(process, "waiting for non-daemon threads")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 3
        os.close(door)


def test_idle_threads_of_a_pool_hold_up_nothing(place: Path) -> None:
    (place / "site_app.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(2)\npool.submit(int)\n" + APP
    )
    with command(place) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=PATIENCE)[1].endswith(STOPPING)
        assert process.returncode == 0


def test_an_atexit_function_that_hangs(place: Path) -> None:
    (place / "site_app.py").write_text(
        APP + "import atexit\natexit.register(lambda: open(os.environ['GATE'], 'rb').read())\n"
    )
    with command(place) as (process, _):
        process.send_signal(signal.SIGTERM)
        door = os.open(place / "gate", os.O_WRONLY)  # blocks until the function is there
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3
        os.close(door)


def test_what_was_printed_is_not_lost_and_a_failed_start_keeps_its_code(place: Path) -> None:
    (place / "site_app.py").write_text("import sys\nprint('printed')\nsys.exit(5)\n")
    with command(place, stdout=subprocess.PIPE) as (process, _):
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (5, "printed\n")
    assert re.fullmatch(
        r"reserve: http wsgi site_app ended the process .*: sys.exit\(5\), in .*site_app.py, line 3\n", err
    )


# ---- signals ----


def test_a_stop_that_cuts_a_request_off_has_its_code(place: Path) -> None:
    with (
        command(place, "--stop-timeout", "0") as (process, port),
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
    ):
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        door = os.open(place / "gate", os.O_WRONLY)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3
        os.close(door)


def test_idle_connections_do_not_count_as_cut_off(place: Path) -> None:
    with (
        command(place, "--stop-timeout", "0", "--threads", "1") as (process, port),
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
        client.makefile("rb") as answer,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while answer.readline() != b"\r\n":
            pass
        assert answer.read(2) == b"ok"
        # The answer is here before its worker is done with it. It is when it has served, and closed, another one.
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as other, other.makefile("rb") as rest:
            other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert rest.read().endswith(b"ok")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_a_hang_up_ends_nothing_without_a_terminal(place: Path) -> None:
    with command(place, start_new_session=True) as (process, port):
        process.send_signal(signal.SIGHUP)
        read_until(process, "SIGHUP: there is nothing to reload")
        assert serves(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("before", ["", "signal.signal(signal.SIGHUP, signal.SIG_IGN)"])
def test_the_terminal_hangs_up(place: Path, before: str) -> None:
    master, terminal = os.openpty()
    # Becomes the leader of a session whose terminal that is, as a shell's or ssh's.
    wrapper = f"import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{before}"
    with command(place, wrapper=wrapper, start_new_session=True, stdin=terminal) as (process, port):
        os.close(terminal)
        os.close(master)
        if before:  # nohup
            assert serves(port)
            process.send_signal(signal.SIGTERM)
        lines = process.communicate(timeout=PATIENCE)[1].splitlines(keepends=True)
        if before:  # the log and the console have a thread each, and their lines no order
            (logged,) = [line for line in lines if "SIGHUP: there is nothing to reload" in line]
            lines.remove(logged)
        assert lines[-1] == STOPPING
        assert process.returncode == 0


def test_an_interrupt_during_the_imports_is_quiet(place: Path) -> None:
    """A module of the standard library that is imported first of all interrupts."""
    (place / "logging.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(3600)\n"
    )
    environ = {**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", "from reserve.__main__ import main; main()"], env=environ, capture_output=True,
        text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "reserve: interrupted before the server started\n")
