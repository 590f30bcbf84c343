"""The reload of a server with one process: its successor, and how it becomes the supervisor of that."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.steadyload import SteadyLoad, write_application
from reserve.cli.command import main
from tests.authority import Authority
from tests.cli.fakes import ROOT, FakeServer
from tests.clients import free_port
from tests.waiting import PATIENCE, eventually

APP = """
import atexit, os, signal, threading
VERSION = "1"
os.environ.setdefault("OF_VERSION", VERSION)
if os.path.exists("wait"):
    open("waits", "w").close()
    open("gate", "rb").read()
atexit.register(lambda: open("exits", "a").write(VERSION))
def application(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        open("held", "w").close()
        open("gate", "rb").read()
    if environ["PATH_INFO"] == "/thread":
        threading.Thread(target=lambda: open("gate", "rb").read(), name="mailer", daemon=False).start()
    text = f"{os.environ['OF_VERSION']} {os.getpid()}".encode()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]
"""


class Site:
    """The command in a directory of its own; what it writes goes to the file ``log``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.bind = f"127.0.0.1:{self.port}"
        os.mkfifo(directory / "gate")
        self.write("1")

    def write(self, version: str, more: str = "") -> None:
        """Write a version of the application."""
        (self.directory / "site_app.py").write_text(APP.replace('"1"', f'"{version}"') + more)

    @contextmanager
    def running(self, *options: str, timeout: str = "1h", bind: bool = True) -> Iterator[subprocess.Popen[bytes]]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RESERVE_")}
        environ |= {"PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": "1"}
        argv = [
            sys.executable,
            "-m",
            "reserve",
            "app",
            "http",
            "wsgi",
            "site_app",
            *(("-b", self.bind) if bind else ()),
        ]
        argv += ["--threads", "2", "--stop-timeout", timeout, "--keep-alive", "1", *options]
        with open(self.directory / "log", "wb") as log:
            process = subprocess.Popen(
                argv, cwd=self.directory, env=environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.pid = process.pid
        try:
            eventually(lambda: self.answer() != "")
            yield process
        finally:
            for pid in [process.pid, *self.children()]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()

    def open(self, path: str = "/") -> socket.socket:
        if self.bind.startswith("unix:"):
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(str(self.directory / self.bind.removeprefix("unix:")))
            except OSError:
                client.close()
                raise
        else:
            client = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        client.settimeout(PATIENCE)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return client

    def answer(self, path: str = "/") -> str:
        """The version and the process that respond; empty: none does."""
        try:
            with self.open(path) as client:
                return read(client)
        except OSError:
            return ""

    def version(self) -> str:
        return self.answer().partition(" ")[0]

    def server(self) -> int:
        """The process that responds."""
        return int(self.answer().partition(" ")[2])

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def says(self, text: str, times: int = 1) -> None:
        eventually(lambda: self.log().count(text) >= times)

    def exists(self, name: str) -> None:
        eventually((self.directory / name).exists)

    def children(self) -> list[int]:
        """The processes that one of its threads has started."""
        found = []
        for path in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with suppress(OSError):  # the thread has ended
                found += [int(word) for word in path.read_text().split()]
        return found

    def supervises(self) -> bool:
        """Whether the process has become the supervisor."""
        try:
            return b"RESERVE_SUPERVISOR_FD" in Path(f"/proc/{self.pid}/environ").read_bytes()
        except OSError:  # at this moment
            return False

    def open_gate(self) -> None:
        """Let go who waits."""
        with open(self.directory / "gate", "wb"):
            pass


def read(client: socket.socket) -> str:
    with client.makefile("rb") as response:
        return response.read().rpartition(b"\r\n\r\n")[2].decode()


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_the_process_becomes_the_supervisor_of_the_new_version(site: Site, number: int) -> None:
    with site.running() as process:
        assert site.answer() == f"1 {process.pid}"
        site.write("2")
        process.send_signal(number)
        eventually(lambda: site.version() == "2")  # also the variable that the first version has set is gone
        eventually(site.supervises)
        assert site.children() == [site.server()]
        assert (site.directory / "exits").read_text() == "1"
        site.write("3")
        process.send_signal(number)
        eventually(lambda: site.version() == "3")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert site.log().splitlines()[-1] == "reserve: the server has stopped"
    assert site.log().count("reserve: the server has stopped") == 1


def test_a_version_that_does_not_start_leaves_the_process_as_it_is(site: Site) -> None:
    with site.running() as process:
        site.write("2", "raise RuntimeError('it is broken')")
        process.send_signal(signal.SIGHUP)
        site.says("reserve: the new version could not start (exit code 1), so this process serves on")
        assert "it is broken" in site.log()
        assert site.answer() == f"1 {process.pid}"
        (site.directory / "reserve.toml").write_text("treads = 3\n")
        process.send_signal(signal.SIGHUP)
        site.says("reserve: the new version could not start", 2)
        (site.directory / "reserve.toml").unlink()
        site.write("3")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: site.version() == "3")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_the_successor_serves_the_addresses_of_the_new_configuration(site: Site) -> None:
    config, first = site.directory / "served.toml", f'"{site.bind}"'

    def bind(*addresses: str) -> None:
        config.write_text(f"[server]\nbind = [{', '.join(addresses)}]\n")

    bind(first)
    with socket.create_server(("127.0.0.1", 0)) as taken, site.running("--config", str(config), bind=False) as process:
        bind(first, f'"127.0.0.1:{taken.getsockname()[1]}"')
        process.send_signal(signal.SIGHUP)
        site.says("reserve: the new version cannot be started, so this process serves on: cannot listen")
        assert site.answer() == f"1 {process.pid}"
        other = free_port()
        bind(f'"127.0.0.1:{other}"')
        process.send_signal(signal.SIGHUP)
        eventually(site.supervises)
        assert site.answer() == ""
        site.port = other
        assert site.version() == "1"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_a_stop_ends_a_successor_that_is_starting(site: Site) -> None:
    with site.running() as process:
        (site.directory / "wait").touch()
        process.send_signal(signal.SIGHUP)
        site.exists("waits")
        (successor,) = site.children()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert has_ended(successor)
    assert "could not start" not in site.log()


def test_a_second_reload_starts_the_successor_again(site: Site) -> None:
    with site.running() as process:
        (site.directory / "wait").touch()
        site.write("2")
        process.send_signal(signal.SIGHUP)
        site.exists("waits")
        (site.directory / "wait").unlink()
        site.write("3")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: site.version() == "3")
        eventually(site.supervises)
        assert site.children() == [site.server()]
    assert "could not start" not in site.log()


def test_a_reload_during_the_hand_over_is_made_by_the_supervisor(site: Site) -> None:
    with site.running() as process, site.open("/hold") as held:
        site.exists("held")
        site.write("2")
        process.send_signal(signal.SIGHUP)
        site.says("serves from now on")
        site.write("3")
        process.send_signal(signal.SIGHUP)
        site.says("it reloads again when it is the supervisor")
        assert not site.supervises()
        site.open_gate()
        assert read(held) == f"1 {process.pid}"
        eventually(lambda: site.version() == "3")


@pytest.mark.parametrize("aborts", [False, True])
def test_a_stop_during_the_hand_over_stops_both(site: Site, aborts: bool) -> None:
    with site.running() as process, site.open("/hold") as held:
        site.exists("held")
        process.send_signal(signal.SIGHUP)
        site.says("serves from now on")
        (successor,) = site.children()
        process.send_signal(signal.SIGTERM)
        eventually(lambda: has_ended(successor))  # at once, although a request of the other one still runs
        if aborts:
            process.send_signal(signal.SIGTERM)
        else:
            site.open_gate()
            assert read(held) == f"1 {process.pid}"
        assert process.wait(PATIENCE) == (3 if aborts else 0)
    assert site.log().count("reserve: stopping; ") == 1
    assert site.log().count("reserve: stopping at once") == aborts
    assert site.log().splitlines()[-1] == "reserve: the server has stopped"


def test_a_successor_that_is_killed_during_the_hand_over_is_replaced(site: Site) -> None:
    with site.running() as process, site.open("/hold") as held:
        site.exists("held")
        process.send_signal(signal.SIGHUP)
        site.says("serves from now on")
        (successor,) = site.children()
        os.kill(successor, signal.SIGKILL)
        site.says(f"process {successor} has ended; another one starts")
        second = site.server()
        assert second not in (process.pid, successor)
        site.open_gate()
        assert read(held) == f"1 {process.pid}"
        eventually(site.supervises)
        assert site.server() == second


def test_the_supervisor_goes_on_trying_if_no_successor_is_left(site: Site) -> None:
    with site.running() as process, site.open("/hold") as held:
        site.exists("held")
        process.send_signal(signal.SIGHUP)
        site.says("serves from now on")
        (successor,) = site.children()
        site.write("2", "x = (")
        os.kill(successor, signal.SIGKILL)
        site.says("SyntaxError", 2)  # the next attempt is in two seconds
        site.open_gate()
        assert read(held) == f"1 {process.pid}"
        eventually(site.supervises)
        site.says("SyntaxError", 3)
        site.write("3")
        eventually(lambda: site.version() == "3")
        assert process.poll() is None


def test_a_successor_stops_when_the_old_process_is_killed(site: Site) -> None:
    with site.running() as process, site.open("/hold"):
        site.exists("held")
        process.send_signal(signal.SIGHUP)
        site.says("serves from now on")
        (successor,) = site.children()
        process.kill()
        eventually(lambda: has_ended(successor))


def test_the_supervisor_takes_over_from_an_application_that_does_not_end(site: Site) -> None:
    """A thread for which the interpreter waits, and a request at its deadline."""
    with site.running(timeout="0.5") as process:
        assert site.answer("/thread") == f"1 {process.pid}"
        process.send_signal(signal.SIGHUP)
        eventually(site.supervises)
        assert "the process becomes the supervisor now; non-daemon threads of the application still run" in site.log()
        assert site.children() == [site.server()]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0  # the stop itself has aborted nothing


def test_the_file_of_a_unix_socket_stays_until_the_supervisor_ends(site: Site) -> None:
    site.bind = "unix:site.sock"
    with site.running() as process:
        process.send_signal(signal.SIGHUP)
        eventually(site.supervises)
        assert site.server() in site.children()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert not (site.directory / "site.sock").exists()


def test_a_worker_process_refers_to_its_supervisor(site: Site) -> None:
    with site.running("--log-level", "info") as process:
        process.send_signal(signal.SIGHUP)
        eventually(site.supervises)
        os.kill(site.server(), signal.SIGUSR2)
        site.says(f"SIGUSR2: this is a worker process; send the signal to its supervisor, process {process.pid}")


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_no_request_is_lost(tmp_path: Path, kind: str) -> None:
    """Clients with kept and new connections, uploads and downloads check every byte."""
    sent = 0
    authority = Authority(tmp_path)
    for number in range(5 if kind == "tcp" else 1):
        directory = tmp_path / str(number)
        directory.mkdir()
        site = Site(directory)
        application = directory / "site_app.py"
        write_application(application, "1")
        options: list[str] = []
        if kind == "unix":
            site.bind = "unix:site.sock"
        if kind == "tls":
            options += ["--tls-cert", authority.issue("a", "localhost").both]
        address = str(directory / "site.sock") if kind == "unix" else ("127.0.0.1", site.port)
        context = ssl.create_default_context(cafile=authority.pem) if kind == "tls" else None
        with site.running(*options) as process, SteadyLoad(address, tls=context, keep_alive=4, others=1) as load:
            load.pass_requests(30)
            write_application(application, "2")
            process.send_signal(signal.SIGHUP)
            eventually(site.supervises)
            load.pass_requests(30)
            assert any(name.startswith("2 ") for name in load.tally.answered_by)
            sent += load.tally.sent
        assert not load.tally.failures
        assert load.tally.told
    assert sent


def test_a_command_inside_a_program_reloads_only_certificates(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeServer, "while_serving", staticmethod(lambda server: signal.raise_signal(signal.SIGHUP)))
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0
    assert "reloading" not in capfd.readouterr().err
