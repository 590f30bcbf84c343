"""The program ``reserve`` as a process, with standard streams that are blocked and applications that do not return."""

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

from reserve.cli.early.signaltable import Reaction, name_of, reaction_to
from tests.cli.fakes import HANDLER, ROOT
from tests.clients import free_port
from tests.waiting import PATIENCE, eventually

STOPPING = "reserve: stopping; requests in flight have 3600 s, a second signal stops at once\n"
STOPPED = "reserve: the server has stopped\n"
APP = """
import os, signal, sys, threading
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/fault/"):
        signal.pthread_kill(threading.get_ident(), int(path[7:]))
    if path == "/fail":
        raise ValueError("x" * 2000)
    if path == "/print":
        print("x" * 200_000, file=sys.stderr)
    if path == "/errors":
        environ["wsgi.errors"].write("x" * 20_000 + "\\n")
    if path == "/hold":
        open(os.environ["GATE"], "rb").read()
    if path == "/limit":
        def refused(self):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = refused
    if path == "/thread":
        threading.Thread(target=lambda: open(os.environ["GATE"], "rb").read(), name="mailer", daemon=False).start()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "site_app.py").write_text(APP)
    os.mkfifo(tmp_path / "gate")
    return tmp_path


def get(port: int, path: str = "/") -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client, client.makefile("rb") as response:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return response.read()


def serves(port: int, path: str = "/") -> bool:
    try:
        return get(port, path).endswith((b"\r\n\r\nok", b"\r\n\r\nok\n"))
    except OSError:
        return False


@contextmanager
def command(
    directory: Path,
    *options: str,
    wrapper: str = "",
    prologue: str = "",
    launcher: tuple[str, ...] = (),
    bind: bool = True,
    ready: str = "/",
    **streams: object,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The program with a WSGI application: the process, once it serves or has exited, and its port.

    :param wrapper: lines that Python runs in the process before it executes the program.
    :param launcher: a command line before that of the program; ``PORT`` becomes the port.
    :param bind: whether the program opens the port itself.
    :param ready: the path whose response is ``ok``.
    :param prologue: lines that run before the program in the same interpreter.
    """
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RESERVE_")}
    environ |= {"PYTHONPATH": ROOT, "GATE": str(directory / "gate")}
    argv = ["app", "http", "wsgi", "site_app", *(("-b", f"127.0.0.1:{port}") if bind else ()), "--threads", "2"]
    argv = [*argv, "--stop-timeout", "1h", *options]
    if prologue:
        code = f"import sys\n{prologue}\nfrom reserve.__main__ import main\nsys.exit(main())"
        argv = [sys.executable, "-c", code, *argv]
    else:
        argv = [sys.executable, "-m", "reserve", *argv]
    argv = [*(part.replace("PORT", str(port)) for part in launcher), *argv]
    if wrapper:
        argv = [sys.executable, "-c", f"import os, signal, sys\n{wrapper}\nos.execvp({argv[0]!r}, {argv!r})"]
    arguments = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **streams}
    with subprocess.Popen(argv, cwd=directory, env=environ, text=True, **arguments) as process:  # type: ignore[call-overload]
        try:
            eventually(lambda: serves(port, ready) or process.poll() is not None)
            yield process, port
        finally:
            process.kill()
            process.wait()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The next line on standard error that contains ``text``."""
    assert process.stderr is not None
    while True:
        line = process.stderr.readline()
        assert line, f"the program has exited and not written {text!r}"
        if text in line:
            return line


# ---- standard streams that cannot be written to ----


@pytest.mark.parametrize(
    "wrapper", ["os.dup2(os.open('/dev/full', os.O_WRONLY), 2)", "os.close(2)", "os.closerange(0, 3)"]
)
def test_the_program_serves_without_standard_error(directory: Path, wrapper: str) -> None:
    with command(directory, wrapper=wrapper) as (process, port):
        for path in ("/fail", "/fail", "/"):
            get(port, path)
        # No connection of a client may have the number of a standard stream.
        links = {fd: os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in (0, 1, 2)}
        assert all(link.startswith("/dev/") for link in links.values()), links
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@contextmanager
def blocked_pipes(count: int) -> Iterator[tuple[int, ...]]:
    """The write ends of pipes that no process reads; each has room for one page."""
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
def test_a_blocked_output_does_not_delay_the_shutdown(directory: Path, number: signal.Signals, output: bool) -> None:
    with (
        blocked_pipes(2) as (errors, lines),
        command(directory, stderr=errors, stdout=lines if output else subprocess.DEVNULL) as (process, port),
    ):
        for _ in range(40):
            get(port, "/fail")
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=str)
def test_a_blocked_output_takes_no_worker_and_not_the_supervisor(directory: Path, options: tuple[str, ...]) -> None:
    """Neither with tracebacks, nor with ``wsgi.errors``, nor with messages about signals."""
    with blocked_pipes(1) as (errors,), command(directory, *options, stderr=errors, stdout=errors) as (process, port):
        for _ in range(8):  # more than there are threads
            assert serves(port, "/errors")
            get(port, "/fail")
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR1):
            process.send_signal(number)
            assert serves(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_a_blocked_output_does_not_delay_the_second_signal(directory: Path) -> None:
    with (
        blocked_pipes(1) as (errors,),
        command(directory, stderr=errors, stdout=errors) as (process, port),
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
    ):
        client.sendall(b"GET /print HTTP/1.1\r\nHost: x\r\n\r\n")  # the worker blocks, and holds the lock of the stream
        for _ in range(40):
            get(port, "/fail")
        process.send_signal(signal.SIGTERM)
        eventually(lambda: not serves(port))
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3


def test_the_program_starts_even_if_no_process_reads_the_banner(directory: Path) -> None:
    with blocked_pipes(1) as (errors,):
        os.write(errors, b"x" * 4096)
        with command(directory, stderr=errors) as (process, port):
            assert serves(port)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


# ---- what delays the exit of the process ----


def test_the_program_names_a_non_daemon_thread_and_waits_for_it(directory: Path) -> None:
    with command(directory) as (process, port):
        get(port, "/thread")
        gate = os.open(directory / "gate", os.O_WRONLY)
        process.send_signal(signal.SIGTERM)
        line = read_until(process, "waiting for non-daemon threads")
        assert "non-daemon threads of the application: mailer; they have " in line
        assert process.poll() is None
        os.close(gate)
        assert process.wait(PATIENCE) == 0


def test_at_the_deadline_the_program_exits_in_spite_of_such_a_thread(directory: Path) -> None:
    with command(directory, "--stop-timeout", "0.1") as (process, port):
        get(port, "/thread")
        gate = os.open(directory / "gate", os.O_WRONLY)
        process.send_signal(signal.SIGTERM)
        read_until(process, "non-daemon threads of the application still run: mailer")
        assert process.wait(PATIENCE) == 3
        os.close(gate)


def test_such_a_thread_does_not_delay_the_second_signal(directory: Path) -> None:
    with command(directory) as (process, port):
        get(port, "/thread")
        gate = os.open(directory / "gate", os.O_WRONLY)
        process.send_signal(signal.SIGTERM)
        read_until(process, "waiting for non-daemon threads")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 3
        os.close(gate)


def test_idle_threads_of_a_pool_do_not_delay_the_exit(directory: Path) -> None:
    (directory / "site_app.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(2)\npool.submit(int)\n" + APP
    )
    with command(directory) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=PATIENCE)[1].endswith(STOPPING + STOPPED)
        assert process.returncode == 0


def test_the_second_signal_ends_an_atexit_function(directory: Path) -> None:
    (directory / "site_app.py").write_text(
        APP + "import atexit\natexit.register(lambda: open(os.environ['GATE'], 'rb').read())\n"
    )
    with command(directory) as (process, _):
        process.send_signal(signal.SIGTERM)
        gate = os.open(directory / "gate", os.O_WRONLY)  # blocks until the function opens the other end
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3
        os.close(gate)


def test_what_the_application_printed_is_flushed_and_its_exit_code_is_kept(directory: Path) -> None:
    (directory / "site_app.py").write_text("import sys\nprint('printed')\nsys.exit(5)\n")
    with command(directory, stdout=subprocess.PIPE) as (process, _):
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (5, "printed\n")
    assert re.fullmatch(
        r"reserve: http wsgi site_app ended the process .*: sys.exit\(5\), in .*site_app.py, line 3\n", err
    )


# ---- signals ----


def test_after_an_aborted_request_the_exit_code_is_3(directory: Path) -> None:
    with (
        command(directory, "--stop-timeout", "0") as (process, port),
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
    ):
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        gate = os.open(directory / "gate", os.O_WRONLY)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3
        os.close(gate)


def test_idle_connections_do_not_count_as_aborted(directory: Path) -> None:
    with (
        command(directory, "--stop-timeout", "0", "--threads", "1") as (process, port),
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
        client.makefile("rb") as response,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while response.readline() != b"\r\n":
            pass
        assert response.read(2) == b"ok"
        # The response may arrive before its worker has finished. Once the worker has served another client, it has.
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as other, other.makefile("rb") as other_response:
            other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert other_response.read().endswith(b"ok")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_sigquit_aborts_the_requests_in_flight(directory: Path) -> None:
    with (
        command(directory) as (process, port),
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
    ):
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        gate = os.open(directory / "gate", os.O_WRONLY)
        process.send_signal(signal.SIGQUIT)
        read_until(process, "reserve: stopping at once")
        assert process.wait(PATIENCE) == 3
        os.close(gate)


def test_no_signal_ends_the_program_without_a_line(directory: Path) -> None:
    """Every signal that changes nothing, while a request is in flight."""
    others = (Reaction.STOP, Reaction.STOP_AT_ONCE, Reaction.FAULT, Reaction.RELOAD, Reaction.HAND_OVER)
    numbers = [number for number in signal.valid_signals() if reaction_to(number) not in others]
    numbers = [number for number in numbers if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP)]
    with (
        command(directory, start_new_session=True) as (process, port),
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
        client.makefile("rb") as response,
    ):
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        gate = os.open(directory / "gate", os.O_WRONLY)
        for number in numbers:
            process.send_signal(number)
            reaction = reaction_to(number)
            if reaction not in (Reaction.DEFAULT, Reaction.IGNORE):
                read_until(process, f"{name_of(number)}: ")
        os.close(gate)
        assert response.read().endswith(b"ok")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [n for n in signal.valid_signals() if reaction_to(n) is Reaction.FAULT])
def test_a_fault_writes_the_stacks_before_the_process_ends(directory: Path, number: int) -> None:
    """In a thread that has the GIL, as a fault of C code does: CPython can't read the stacks of threads that run."""
    wrapper = "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
    with command(directory, wrapper=wrapper) as (process, port):
        with suppress(ConnectionError):
            assert get(port, f"/fault/{number}") == b""
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == -number
    assert "(most recent call first):" in err


def test_a_process_of_the_application_has_the_signal_handlers_from_before_the_start(directory: Path) -> None:
    (directory / "site_app.py").write_text(
        "import os, subprocess\n"
        "def ignored():\n"
        "    return [line for line in open('/proc/self/status') if line.startswith(('SigIgn', 'SigBlk', 'SigCgt'))]\n"
        "def forked():\n"
        "    reader, writer = os.pipe()\n"
        "    if os.fork() == 0:\n"
        "        os.write(writer, ''.join(ignored()).encode())\n"
        "        os._exit(0)\n"
        "    os.close(writer)\n"
        "    os.wait()\n"
        "    with open(reader) as lines:\n"
        "        return lines.readlines()\n"
        "before = forked()\n"
        "def application(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/fork':\n"
        "        text = ''.join(forked())\n"
        "    elif environ['PATH_INFO'] == '/exec':\n"
        "        text = subprocess.check_output(['grep', 'Sig[IB]', '/proc/self/status'], text=True)\n"
        "    else:\n"
        "        text = 'ok'\n"
        "    start_response('200 OK', [('Content-Length', str(len(text)))])\n"
        "    return [text.encode()]\n"
    )
    with command(directory) as (process, port):
        body = get(port, "/exec").partition(b"\r\n\r\n")[2].split()
        assert body[:2] == [b"SigBlk:", b"0000000000000000"]
        # SIGPIPE and SIGXFSZ may be ignored (by Python), no other signal
        ignored = int(body[3], 16) & ~(1 << (signal.SIGPIPE - 1)) & ~(1 << (signal.SIGXFSZ - 1))
        with open("/proc/self/status") as status:
            ours = next(line.split()[1] for line in status if line.startswith("SigIgn"))
        assert ignored & ~int(ours, 16) == 0
        forked = get(port, "/fork").partition(b"\r\n\r\n")[2].decode()
        caught = next(line.split()[1] for line in forked.splitlines() if line.startswith("SigCgt"))
        assert not int(caught, 16) & 1 << (signal.SIGUSR1 - 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_sighup_without_a_terminal_does_not_stop_the_program(directory: Path) -> None:
    with command(directory, start_new_session=True) as (process, port):
        process.send_signal(signal.SIGHUP)
        read_until(process, "reserve: reloading")
        assert serves(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("under_nohup", [False, True])
def test_a_closed_terminal_stops_the_program_unless_it_runs_under_nohup(directory: Path, under_nohup: bool) -> None:
    master, terminal = os.openpty()
    # The process leads a new session, and the terminal becomes its controlling terminal. The tests may run under nohup.
    action = "signal.SIG_IGN" if under_nohup else "signal.SIG_DFL"
    wrapper = f"import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\nsignal.signal(signal.SIGHUP, {action})"
    with command(directory, wrapper=wrapper, start_new_session=True, stdin=terminal) as (process, port):
        os.close(terminal)
        os.close(master)
        if under_nohup:
            read_until(process, "reserve: reloading")
            assert serves(port)
            process.send_signal(signal.SIGTERM)
        lines = process.communicate(timeout=PATIENCE)[1].splitlines(keepends=True)
        assert lines[-2:] == [STOPPING, STOPPED]
        assert process.returncode == 0


def test_an_interrupt_during_the_imports_prints_one_line(directory: Path) -> None:
    """The interrupt comes from a module that replaces one of the standard library, and is imported early."""
    (directory / "logging.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(3600)\n"
    )
    environ = {**os.environ, "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}"}
    result = subprocess.run(
        [sys.executable, "-c", "from reserve.__main__ import main; main()"], env=environ, capture_output=True,
        text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (
        1,
        "",
        "reserve: interrupted before the server started\n",
    )


def test_sighup_during_any_import_does_not_end_the_program(directory: Path) -> None:
    prologue = (
        "import os, signal\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        os.kill(os.getpid(), signal.SIGHUP)\n"
        "import reserve.__main__\n"
        "install = reserve.__main__.EarlySignals.install\n"
        "def send_signals(signals):\n"
        "    install(signals)\n"
        "    sys.meta_path.insert(0, Finder())\n"
        "reserve.__main__.EarlySignals.install = send_signals\n"
    )
    with command(directory, prologue=prologue, start_new_session=True) as (process, port):
        read_until(process, "reserve: reloading")
        assert serves(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_a_signal_while_the_interpreter_destroys_its_objects_does_not_change_the_exit_code(directory: Path) -> None:
    (directory / "site_app.py").write_text(
        APP + "import signal\nclass Last:\n"
        "    def __del__(self, kill=os.kill, pid=os.getpid(), print=print):\n"
        "        for number in (1, 2, 15):\n"
        "            kill(pid, number)\n"
        "        print('destroyed', flush=True)\n"
        "last = Last()\n"
    )
    with command(directory, stdout=subprocess.PIPE) as (process, _):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, err.partition(STOPPING)[0] + STOPPING + STOPPED)
    assert out.endswith("destroyed\n")


def test_a_destructor_that_hangs_does_not_prevent_the_exit(directory: Path) -> None:
    (directory / "site_app.py").write_text(
        APP + "class Last:\n"
        "    def __del__(self, open=os.open, gate=os.environ['GATE'], mode=os.O_RDONLY):\n"
        "        open(gate, mode)\n"
        "last = Last()\n"
    )
    with command(directory, "--stop-timeout", "0.1") as (process, _):
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Timeout" in err
    assert "in __del__" in err


@contextmanager
def running_handler(directory: Path, *argv: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The program with a handler: the process, and the port in its banner."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RESERVE_")}
    environ["PYTHONPATH"] = ROOT
    process = subprocess.Popen(
        [sys.executable, "-m", "reserve", "app", *argv, "-b", "127.0.0.1:0"],
        cwd=directory, env=environ, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        lines: list[str] = []
        while not (lines and "Ctrl-C" in lines[-1]):
            lines.append(process.stderr.readline())
            assert lines[-1], f"no banner, but {lines}"
        yield process, int(lines[1].rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()


def test_a_client_is_served_and_a_signal_stops_the_program(tmp_path: Path) -> None:
    (tmp_path / "cli_plain.py").write_text(HANDLER)
    for number in (signal.SIGINT, signal.SIGTERM):
        with running_handler(tmp_path, "cli_plain") as (process, port):
            with (
                socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client,
                client.makefile("rb") as response,
            ):
                assert response.read() == b"hello"
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0
            assert err.startswith("reserve: stopping; requests in flight have 30 s")


def test_a_second_signal_does_not_wait_for_a_handler(tmp_path: Path) -> None:
    (tmp_path / "cli_stuck.py").write_text(
        "def handle(socket, client_address, server):\n    socket.sendall(b'!')\n    socket.settimeout(None)\n"
        "    socket.recv(1)\ndef launch(args):\n    return handle\n"
    )
    with running_handler(tmp_path, "cli_stuck", "--stop-timeout", "1h") as (process, port):
        assert process.stderr is not None
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            assert client.recv(1) == b"!"
            process.send_signal(signal.SIGTERM)
            assert "stopping; requests in flight have 3600 s" in process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
            assert process.returncode == 3


# ---- no threads ----


def test_the_program_exits_in_time_although_no_thread_can_be_started_any_more(directory: Path) -> None:
    with command(directory, "--stop-timeout", "0s") as (process, port):
        for path in ("/thread", "/limit"):
            assert get(port, path).endswith(b"ok")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3
        assert "non-daemon threads of the application still run: mailer" in read_until(process, "exits now")


@pytest.mark.parametrize(
    "name", ["console", "force-exit", "signals", "log", "access-log", "monitor", "worker-2", "accept"]
)
def test_a_start_without_threads_fails_with_one_sentence(directory: Path, name: str) -> None:
    prologue = f"""
import threading
start = threading.Thread.start
def refused(self):
    if self.name == "reserve-{name}":
        raise RuntimeError("can't start new thread")
    start(self)
threading.Thread.start = refused"""
    with command(directory, prologue=prologue) as (process, _):
        assert process.wait(PATIENCE) == 1
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
        (line,) = [
            line for line in lines if line.startswith(f"reserve: the thread reserve-{name} could not be started")
        ]
        assert "(can't start new thread)" in line
        assert "ulimit -u, the pids and memory limits of the container or cgroup" in line
        assert "--threads" in line
        assert line == lines[-1]
        assert not any("Traceback" in line for line in lines)
