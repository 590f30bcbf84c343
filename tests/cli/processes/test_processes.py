"""The command with several worker processes, as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reserve.cli.command import main
from tests.cli.fakes import ROOT
from tests.clients import free_port
from tests.real.processes import clean_environ, run
from tests.real.serving import ServerProcess
from tests.waiting import PATIENCE, eventually

APP = """
import os, sys
if os.path.exists("broken"):
    raise RuntimeError("it is broken")
def application(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        with open("holder.new", "w") as file:
            file.write(str(os.getpid()))
        os.rename("holder.new", "holder")
        open("gate", "rb").read()
    start_response("200 OK", [("Content-Length", str(len(str(os.getpid()))))])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with an application that responds with its process ID."""
    (tmp_path / "pids.py").write_text(APP)
    os.mkfifo(tmp_path / "gate")
    return tmp_path


class Site(ServerProcess):
    """The command with that application."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        wrapper: str = "",
        exit_code: int = 0,
        processes: int = 2,
    ) -> None:
        self.port = free_port()
        self.processes = processes
        argv = [sys.executable, "-m", "reserve", "app", "http", "wsgi", "pids", "-b", f"127.0.0.1:{self.port}"]
        argv += ["--processes", str(processes), "--threads", "2", "--stop-timeout", "30", "--no-access-log", *options]
        if wrapper:
            argv = [sys.executable, "-c", f"import os, signal, sys\n{wrapper}\nos.execvp({argv[0]!r}, {argv!r})"]
        self.command = argv
        super().__init__(*argv, log=None, cwd=directory, environ={"PYTHONPATH": ROOT}, exit_code=exit_code)

    def wait_until_complete(self, times: int = 1) -> None:
        """Wait until the supervisor has said so many times that all processes serve."""
        eventually(lambda: self.count(rf"reserve: {self.processes} process(es)? serves?") >= times)

    def count(self, pattern: str) -> int:
        return sum(bool(re.fullmatch(pattern, line)) for line in self.stderr)

    def open(self, path: str = "/") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return client

    def get(self, path: str = "/") -> int:
        """The process ID of the worker that responds."""
        with self.open(path) as client:
            return read_pid(client)

    def pids(self) -> set[int]:
        """The process IDs of the workers."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(word) for word in text.split()}


def read_pid(client: socket.socket) -> int:
    with client.makefile("rb") as response:
        return int(response.read().rpartition(b"\r\n")[2])


@contextmanager
def serving(directory: Path, *options: str, wrapper: str = "", exit_code: int = 0) -> Iterator[Site]:
    with Site(directory, *options, wrapper=wrapper, exit_code=exit_code) as server:
        server.wait_until_complete()
        yield server


def test_several_processes_serve_and_the_messages_are_written_once(site: Path) -> None:
    with serving(site) as server:
        assert (
            "    with 2 processes, each with 2 threads; Ctrl-C stops it after the requests in flight" in server.stderr
        )
        assert len(server.pids()) == 2
        assert server.get() in server.pids()
    assert server.stderr[-2:] == [
        "reserve: stopping; requests in flight have 30 s, a second signal stops at once",
        "reserve: the server has stopped",
    ]
    assert server.count("reserve: .*stop.*") == 2
    assert server.count("reserve .* serves .*") == 1


@pytest.mark.parametrize("is_holder", [True, False])
def test_a_worker_that_is_killed_is_replaced_and_only_its_requests_fail(site: Path, is_holder: bool) -> None:
    with serving(site) as server, server.open("/hold") as held:
        eventually((site / "holder").exists)
        holder = int((site / "holder").read_text())
        victim = next(pid for pid in server.pids() if (pid == holder) == is_holder)
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in server.pids() and len(server.pids()) == 2)
        assert server.get() != victim
        if is_holder:
            assert held.recv(100) == b""
        else:
            (site / "gate").write_bytes(b"")
            assert read_pid(held) == holder
    assert server.count(f"reserve: worker process {victim} was ended by SIGKILL; another one starts") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_worker_that_gets_a_signal_is_replaced_without_messages_of_its_own(site: Path, number: int) -> None:
    with serving(site) as server:
        victim = next(iter(server.pids()))
        os.kill(victim, number)
        eventually(lambda: victim not in server.pids() and len(server.pids()) == 2)
        server.get()
        how = "is replaced: SIGHUP was sent to it" if number == signal.SIGHUP else "has stopped; another one starts"
        eventually(lambda: server.count(f"reserve: worker process {victim} {how}") == 1)
        assert server.count(".*(stopping|nothing to reload).*") == 0


def test_workers_stop_when_their_supervisor_is_killed_and_free_the_port(site: Path) -> None:
    with serving(site, exit_code=-9) as server:
        pids = server.pids()
        server.process.kill()
        for pid in pids:
            eventually(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))  # type: ignore[misc]
        socket.create_server(("127.0.0.1", server.port)).close()


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_a_fault_of_the_supervisor_writes_its_stack(site: Path, number: int) -> None:
    with serving(site, exit_code=-number) as server:
        server.process.send_signal(number)
        server.process.wait(PATIENCE)
    assert server.count("Fatal Python error: .*") == 1
    assert server.count(r'  File ".*supervisor\.py", line .* in run') == 1


def test_a_rolling_reload_and_a_new_program_keep_the_port_and_the_process_id(site: Path) -> None:
    with serving(site) as server:
        for times, number in enumerate((signal.SIGHUP, signal.SIGUSR2), 2):
            before = server.pids()
            server.process.send_signal(number)
            server.wait_until_complete(times)
            eventually(lambda before=before: not before & server.pids())  # type: ignore[misc]
            assert server.get() in server.pids()


def test_a_version_that_does_not_start_is_explained_once_and_the_old_one_serves(site: Path) -> None:
    with serving(site) as server:
        before = server.pids()
        (site / "broken").touch()
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: server.count("reserve: the new version could not start, so the previous one serves on") == 1)
        assert server.count("RuntimeError: it is broken") == 1
        assert server.get() in before
        (site / "broken").unlink()
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: not before & server.pids())


def test_a_process_that_has_served_enough_is_replaced(site: Path) -> None:
    with serving(site, "--max-requests", "3", "--max-requests-jitter", "0") as server:
        before = server.pids()
        eventually(lambda: server.get() not in before)
        eventually(lambda: server.count(r"reserve: worker process \d+ is replaced: it has served \d+ requests .*") > 0)


def test_a_process_that_needs_more_memory_from_the_start_is_not_replaced(site: Path) -> None:
    with serving(site, "--max-memory", "1m") as server:
        warning = r".* WARNING: --max-memory is 1 MiB, and this process uses \d+ MiB when it begins to serve; .*"
        eventually(lambda: server.count(warning) == 2)
        assert server.get() in server.pids()
    assert server.count("reserve: worker process .* is replaced: .*") == 0


def test_one_process_has_a_supervisor_when_an_option_needs_it(site: Path) -> None:
    with Site(site, "--max-lifetime", "1h", processes=1) as server:
        server.wait_until_complete()
        assert server.get() != server.process.pid


def test_an_application_that_does_not_start_is_reported_once(site: Path) -> None:
    (site / "broken").touch()
    done = run(Site(site).command, cwd=site, env=clean_environ(PYTHONPATH=ROOT), text=True)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[:2] == ["reserve: importing pids failed:", "Traceback (most recent call last):"]
    assert lines[-1] == "RuntimeError: it is broken"
    assert done.stderr.count("\n") == 5


def test_standard_streams_that_are_closed_do_no_harm(site: Path) -> None:
    (site / "log").touch()
    closing = "for fd in 0, 1: os.close(fd)"
    with serving(site, wrapper=closing) as server:
        before = server.pids()
        assert server.get() in before
        for pid in (server.process.pid, *before):
            names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1)]
            assert names == ["/dev/null"] * 2
        server.process.send_signal(signal.SIGHUP)
        server.wait_until_complete(2)
        assert server.get() not in before


def test_the_command_in_another_program_refuses_and_writes_the_line(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "--processes", "2"]) == 2
    assert capsys.readouterr().err == (
        "reserve: --processes 2 is for the program reserve, not for a command inside another program; run: reserve app "
        "cli_plain -b 127.0.0.1:0 --processes 2\n"
    )


def test_a_platform_without_fork_says_so(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fork")
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "--processes", "2"]) == 2
    assert capsys.readouterr().err == (
        "reserve: --processes 2 needs fork and execve, which this platform does not have; leave it out\n"
    )


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["worker", "zygote"])
def test_a_signal_while_the_interpreter_of_a_process_starts_does_not_end_it(
    site: Path, options: tuple[str, ...]
) -> None:
    early = site / "early"
    early.mkdir()
    # The interpreter imports this before the program, which cannot handle a signal yet.
    (early / "sitecustomize.py").write_text(
        "import os, signal\n"
        "if {'RESERVE_WORKER_FD', 'RESERVE_ZYGOTE_FD'} & set(os.environ):\n"
        "    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    os.kill(os.getpid(), signal.SIGUSR2)\n"
    )
    wrapper = f"os.environ['PYTHONPATH'] = {str(early)!r} + os.pathsep + os.environ['PYTHONPATH']"
    with Site(site, *options, wrapper=wrapper) as server:
        server.wait_until_complete()
        assert server.count(".*was ended by SIG.*") == 0
        pid = int(server.get())
        blocked = re.search(r"^SigBlk:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.M)
        assert blocked is not None
        assert int(blocked[1], 16) == 0
