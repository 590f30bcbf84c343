"""What the installed command tells the service manager, the parent of a daemon, and readers of the pid file."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import tls
from tests.cli.fakes import ROOT
from tests.clients import free_port
from tests.waiting import PATIENCE, eventually

APP = """
import os, sys, threading
if os.environ.get("FAILING"):
    raise RuntimeError(os.environ["FAILING"])
if os.environ.get("HELD"):
    open(os.environ["HELD"], "rb").read()
STATE = [sorted(name for name in os.environ if name.startswith(("NOTIFY", "WATCHDOG", "_RESERVE")))]
STATE += [os.getuid(), os.getgid(), sorted(os.getgroups()), os.environ.get("HOME"), os.environ.get("USER")]
def application(environ, start_response):
    start_response("200 OK", [])
    os.umask(mask := os.umask(0))
    return [repr([*STATE, f"{mask:03o}", os.getpid()]).encode()]
"""


@pytest.fixture
def directory(short_path: Path) -> Path:
    (short_path / "site_app.py").write_text(APP)
    os.mkfifo(short_path / "gate")
    return short_path


@pytest.fixture
def manager(directory: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(directory / "notify"))
        sock.settimeout(PATIENCE)
        yield sock


def message(manager: socket.socket) -> dict[str, str]:
    """The assignments of the next message."""
    return dict(line.partition("=")[::2] for line in manager.recv(4096).decode().splitlines())


def next_of(manager: socket.socket, name: str) -> dict[str, str]:
    """The next message with an assignment of this name."""
    while name not in (found := message(manager)):
        pass
    return found


def environ(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RESERVE_", "NOTIFY_"))}
    return {**kept, "PYTHONPATH": ROOT, **variables}


def argv(*options: str, python: str = sys.executable) -> list[str]:
    return [python, "-m", "reserve", "app", "http", "wsgi", "site_app", "--threads", "2", *options]


@contextmanager
def command(
    directory: Path, *options: str, python: str = sys.executable, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in the foreground, with a pipe as standard error, and its socket."""
    line = argv("-b", f"unix:{directory}/sock", *options, python=python)
    with subprocess.Popen(
        line,
        cwd=directory,
        env=environ(**variables),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process, f"{directory}/sock"
        finally:
            process.kill()
            process.wait()


def get(path: str) -> list[object]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(path)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with client.makefile("rb") as response:
            return list(ast.literal_eval(response.read().partition(b"\r\n\r\n")[2].decode()))


def run(directory: Path, *options: str, python: str = sys.executable, **variables: str) -> tuple[int, str]:
    """The exit code and standard error of a command that returns."""
    done = subprocess.run(
        argv(*options, python=python),
        cwd=directory,
        env=environ(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stderr


# ---- the service manager ----


def test_the_service_manager_hears_of_the_whole_life(directory: Path, manager: socket.socket) -> None:
    variables = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000000"}
    with command(directory, "--stop-timeout", "100", "--drain-delay", "0.1", **variables) as (process, path):
        assert message(manager) == {"STATUS": "imports http wsgi site_app", "EXTEND_TIMEOUT_USEC": "300000000"}
        ready = message(manager)
        assert ready.pop("READY") == "1"
        assert ready.pop("STATUS").endswith(f" on unix:{path}")
        assert ready == {}
        assert get(path)[0] == []  # no variable is left for the application and its children
        assert message(manager) == {"WATCHDOG": "1"}
        process.send_signal(signal.SIGHUP)
        assert set(message(manager)) == {"RELOADING", "MONOTONIC_USEC", "STATUS"}
        assert message(manager)["READY"] == "1"
        process.send_signal(signal.SIGTERM)
        assert message(manager) == {
            "STOPPING": "1",
            "STATUS": "stops in 0.1 s; then requests in flight have 100 s",
            "EXTEND_TIMEOUT_USEC": "135100000",
        }
        assert process.wait(PATIENCE) == 0


def test_the_service_manager_hears_of_several_processes(directory: Path, manager: socket.socket) -> None:
    variables = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000000"}
    with command(directory, "--processes", "2", "--stop-timeout", "100", **variables) as (process, path):
        starting = {"STATUS": "starts the first process", "EXTEND_TIMEOUT_USEC": "300000000"}
        assert message(manager) == starting
        assert message(manager) == {"READY": "1", "STATUS": "1 of 2 processes serve"}
        assert get(path)[0] == []
        assert message(manager) == {"WATCHDOG": "1"}
        assert message(manager) == {"STATUS": "2 of 2 processes serve"}
        assert message(manager) == {"WATCHDOG": "1"}
        process.send_signal(signal.SIGHUP)
        assert set(next_of(manager, "RELOADING")) == {"RELOADING", "MONOTONIC_USEC", "STATUS"}
        assert next_of(manager, "READY") == {"READY": "1", "STATUS": "2 of 2 processes serve"}
        (directory / "site_app.py").write_text("x = ")
        process.send_signal(signal.SIGHUP)
        next_of(manager, "RELOADING")
        assert next_of(manager, "READY") == {"READY": "1", "STATUS": "2 of 2 processes serve"}
        (directory / "site_app.py").write_text(APP)
        process.send_signal(signal.SIGUSR2)  # the program that is executed next has the service manager, too
        while "RELOADING" not in (told := message(manager)):
            assert "READY" not in told
        next_of(manager, "READY")
        assert get(path)[0] == []
        process.send_signal(signal.SIGTERM)
        while "STOPPING" not in (told := message(manager)):
            assert "READY" not in told
        assert told == {
            "STOPPING": "1",
            "STATUS": "stops; requests in flight have 100 s",
            "EXTEND_TIMEOUT_USEC": "110000000",
        }
        assert process.wait(PATIENCE) == 0


def test_the_service_manager_is_told_of_a_reload_whether_it_fails_or_not(
    directory: Path, manager: socket.socket
) -> None:
    shutil.copy(tls.authority().issue("localhost", "localhost").both, cert := directory / "cert.pem")
    with command(directory, "--tls-cert", str(cert), NOTIFY_SOCKET=manager.getsockname()) as (process, _):
        status = next_of(manager, "READY")["STATUS"]
        good = cert.read_text()
        for content, after in (("no certificate", status), (good, "the new version serves")):
            cert.write_text(content)
            process.send_signal(signal.SIGHUP)
            reloading = message(manager)
            assert reloading.keys() == {"RELOADING", "MONOTONIC_USEC", "STATUS"}
            assert reloading["STATUS"] == "starts the new version"
            ready = message(manager)
            assert ready["READY"] == "1"
            assert ready["STATUS"].startswith(after)
        # It is the supervisor then, with the same process ID, which the service manager knows to be ready.
        assert message(manager) == {"STATUS": "1 of 1 process serves"}
        process.send_signal(signal.SIGHUP)  # and hears of its reloads, too
        assert message(manager).keys() == {"RELOADING", "MONOTONIC_USEC", "STATUS"}
        assert message(manager)["READY"] == "1"
        process.send_signal(signal.SIGTERM)
        assert next_of(manager, "STOPPING")


def test_a_server_that_is_not_healthy_sends_no_watchdog_message(directory: Path, manager: socket.socket) -> None:
    variables = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000"}
    looks, ill = directory / "looks", directory / "ill"
    (directory / "unhealthy.py").write_text(
        "import os\nfrom reserve.engine.runtime import Runtime\n"
        "def look(runtime):\n    healthy = not os.path.exists('ill')\n"
        "    open('looks', 'a').write('yes ' if healthy else 'no ')\n    return healthy\n"
        "def launch(args):\n    Runtime.healthy = property(look)\n    return lambda sock, address, server: None\n"
    )
    line = [sys.executable, "-m", "reserve", "app", "unhealthy", "-b", f"unix:{directory}/sock"]
    with subprocess.Popen(line, cwd=directory, env=environ(**variables), stderr=subprocess.DEVNULL) as process:
        try:
            next_of(manager, "WATCHDOG")
            ill.touch()
            eventually(lambda: looks.read_text().count("no") > 3)
            manager.setblocking(False)
            received = 1
            with suppress(BlockingIOError):
                while True:
                    received += message(manager) == {"WATCHDOG": "1"}
            assert received == looks.read_text().count("yes")
            manager.settimeout(PATIENCE)
            ill.unlink()
            next_of(manager, "WATCHDOG")
        finally:
            process.kill()


def test_a_service_manager_that_is_not_there_costs_a_line(directory: Path) -> None:
    with command(directory, NOTIFY_SOCKET=f"{directory}/none") as (process, path):
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith(f"reserve: the service manager gets no messages: NOTIFY_SOCKET={directory}/none: ")
        eventually(lambda: os.path.exists(path))
        process.send_signal(signal.SIGTERM)
        assert "gets no messages" not in process.stderr.read()
        process.wait(PATIENCE)


# ---- the pid file ----


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_pid_file_is_there_until_the_end(directory: Path, processes: str) -> None:
    file = directory / "pid"
    file.write_text(f"{2**22 + 1}\n")  # more than any process has
    with command(directory, "--pid-file", "pid", "--processes", processes, HELD="gate") as (process, _):
        eventually(lambda: file.read_text() == f"{process.pid}\n")
        for _ in processes:
            (directory / "gate").write_bytes(b"")
        assert process.stderr is not None
        assert "serves" in process.stderr.readline()
        code, errors = run(directory, "--pid-file", "pid", "-b", "127.0.0.1:0")
        assert code == 1
        assert errors == (
            f"reserve: the pid file {file} (--pid-file) names process {process.pid}, which runs reserve; stop it, or "
            "choose another file\n"
        )
        assert file.read_text() == f"{process.pid}\n"
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    assert not file.exists()


@pytest.mark.parametrize("options", [(), ("--daemon",), ("--processes", "2"), ("--processes", "2", "--daemon")])
def test_a_start_that_fails_leaves_no_pid_file(directory: Path, options: tuple[str, ...]) -> None:
    code, errors = run(directory, "--pid-file", "pid", *options, "-b", "127.0.0.1:0", FAILING="no database")
    assert code == 1
    assert "RuntimeError: no database" in errors
    assert not (directory / "pid").exists()


def test_a_pid_file_of_another_process_is_not_removed(directory: Path) -> None:
    with command(directory, "--pid-file", "pid") as (process, path):
        eventually(lambda: os.path.exists(path) and (directory / "pid").exists())
        (directory / "pid").write_text("1\n")
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    assert (directory / "pid").read_text() == "1\n"


def test_a_pid_file_that_cannot_be_written(directory: Path) -> None:
    code, errors = run(directory, "--pid-file", "none/pid", "-b", "127.0.0.1:0")
    assert code == 1
    assert errors == (
        f"reserve: cannot write the pid file '{directory}/none/pid': No such file or directory; choose another one "
        "with --pid-file\n"
    )


# ---- in the background ----


@pytest.fixture
def ending(directory: Path) -> Iterator[None]:
    """Ends the daemon that the pid file names."""
    yield
    with suppress(OSError, ValueError):
        os.kill(int((directory / "pid").read_text()), signal.SIGKILL)


@pytest.mark.usefixtures("ending")
@pytest.mark.parametrize("more", [(), ("--processes", "2"), ("--preload",)])
def test_a_daemon_serves_when_the_command_has_returned(
    directory: Path, manager: socket.socket, more: tuple[str, ...]
) -> None:
    options = ("--daemon", "--pid-file", "pid", "-b", f"unix:{directory}/sock", *more)
    code, errors = run(directory, *options, NOTIFY_SOCKET=manager.getsockname())
    assert code == 0, errors
    pid = int((directory / "pid").read_text())
    assert errors.startswith("reserve: systemd needs no --daemon; reserve systemd-unit prints a unit\n")
    assert f"kill {pid} stops it" in errors
    assert errors.endswith(f"reserve: process {pid} serves in the background\n")
    assert next_of(manager, "READY")["MAINPID"] == str(pid)
    server = get(f"{directory}/sock")[-1]
    assert (server == pid) == (not more)
    # A session of its own, which it does not lead, so that it cannot get a terminal; and no stream of the caller.
    assert os.getsid(pid) not in (pid, os.getsid(0))
    for process in (pid, server):
        assert [os.readlink(f"/proc/{process}/fd/{fd}") for fd in (0, 1, 2)] == ["/dev/null"] * 3
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not (directory / "pid").exists())
    assert not (directory / "sock").exists()


@pytest.mark.usefixtures("ending")
def test_a_daemon_goes_on_writing_into_files(directory: Path) -> None:
    with (directory / "log").open("w") as log:
        done = subprocess.run(
            argv("--daemon", "--pid-file", "pid", "-b", f"unix:{directory}/sock"),
            cwd=directory,
            env=environ(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0
    get(f"{directory}/sock")
    os.kill(int((directory / "pid").read_text()), signal.SIGTERM)
    eventually(lambda: "the server has stopped" in (directory / "log").read_text())
    assert "GET / HTTP/1.0" in (directory / "log").read_text()


def test_a_daemon_that_cannot_start_says_why_and_gives_its_exit_code(directory: Path) -> None:
    assert run(directory, "--daemon", "-b", "127.0.0.1:1:2")[0] == 2
    code, errors = run(directory, "--daemon", "-b", "127.0.0.1:0", "--max-queued", "10", "--redirect-port", "1")
    assert (code, "--redirect-port" in errors) == (2, True)
    (directory / "site_app.py").write_text("import os\nos._exit(7)\n")
    assert run(directory, "--daemon", "-b", "127.0.0.1:0")[0] == 1


def test_a_signal_while_the_daemon_starts_stops_it(directory: Path) -> None:
    line = ("--daemon", "--pid-file", "pid")
    with command(directory, *line, HELD="gate") as (process, _):
        eventually(lambda: (directory / "pid").exists())
        pid = int((directory / "pid").read_text())
        assert pid != process.pid
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 1
        eventually(lambda: not (directory / "pid").exists())


def test_a_daemon_gets_the_sockets_that_were_passed(directory: Path) -> None:
    port = free_port()
    program = [sys.executable, "-m", "reserve.sdlaunch", "-b", f"127.0.0.1:{port}", "--"]
    done = subprocess.run(
        [*program, *argv("--daemon", "--pid-file", "pid")],
        cwd=directory,
        env=environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with socket.create_connection(("127.0.0.1", port), PATIENCE):
        os.kill(int((directory / "pid").read_text()), signal.SIGTERM)
    eventually(lambda: not (directory / "pid").exists())


# ---- user, group and umask ----

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its user")


@pytest.fixture
def python() -> str:
    """A Python that another user can read; that of the tests may be below /root."""
    for path in (sys.executable, "/usr/bin/python3"):
        check = "import sys, os, socket, tempfile; sys.exit(sys.version_info < (3, 11))"
        with suppress(OSError):
            done = subprocess.run([path, "-c", check], user=65534, capture_output=True, check=False, cwd="/")
            if done.returncode == 0 and os.access(ROOT, os.R_OK):
                return path
    pytest.skip("no Python that another user can read")


def nobody() -> tuple[int, int]:
    import pwd

    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def opened(directory: Path) -> None:
    """Every user may read the directory."""
    for path in (directory, *directory.parents):
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)


@needs_root
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--user", "nobody"), None),
        (("--user", "nobody", "--processes", "2"), None),
        (("--user", "nobody", "--preload"), None),
        (("--user", "nobody:0", "--env", "HOME=/x"), "/x"),
        (("--user", "54321:54322"), None),
        (("--group", "54322"), None),
    ],
)
def test_the_application_has_another_user(
    directory: Path, python: str, options: tuple[str, ...], expected: str | None
) -> None:
    import pwd

    opened(directory)
    with command(directory, *options, "--umask", "027", python=python, HOME="/root", USER="root") as (process, path):
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "serves" in line, line
        _, uid, gid, groups, home, user, umask, pid = get(path)
        status = os.stat(path)
        text = Path(f"/proc/{pid}/status").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert (status.st_uid, status.st_gid) == (uid, gid)  # the file of the socket, as with gunicorn
    assert status.st_mode & 0o777 == 0o750
    assert umask == "027"
    if options[0] == "--user" and options[1].startswith("nobody"):
        entry = pwd.getpwnam("nobody")
        assert (uid, gid) == (entry.pw_uid, entry.pw_gid if options[1] == "nobody" else 0)
        assert (home, user) == (expected or entry.pw_dir, "nobody")
    else:
        assert (uid, gid) == ((54321 if options[0] == "--user" else 0), 54322)
        assert groups == [54322]
        assert (home, user) == ("/root", "root")
    # Of all threads, and in each of the four ways that a process has a user.
    (users,) = re.findall(r"^Uid:(.*)$", text, re.MULTILINE)
    assert users.split() == [str(uid)] * 4
    assert re.search(r"^CapEff:\s+0+$", text, re.MULTILINE) or uid == 0


@needs_root
def test_the_application_has_no_right_to_control_the_server(directory: Path, python: str) -> None:
    opened(directory)
    control = directory / "control"
    with command(directory, "--user", "nobody", "--control", str(control), python=python) as (process, _):
        assert process.stderr is not None
        assert "serves" in process.stderr.readline()
        status = control.stat()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)
    assert not control.exists()


@needs_root
@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_a_key_that_only_root_may_read_is_enough(directory: Path, python: str, options: tuple[str, ...]) -> None:
    opened(directory)
    secret = directory / "secret"
    secret.mkdir(0o700)
    shutil.copy(tls.authority().issue("localhost", "localhost").both, secret / "site.pem")
    line = ("--user", "nobody", *options, "--tls-cert", str(secret / "site.pem"))
    context = tls.client_context()
    context.set_alpn_protocols(["http/1.1"])

    def worker() -> object:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(path)
            with context.wrap_socket(client, server_hostname="localhost") as secured:
                assert secured.selected_alpn_protocol() == "http/1.1"
                secured.sendall(b"GET / HTTP/1.0\r\n\r\n")
                with secured.makefile("rb") as response:
                    answer = ast.literal_eval(response.read().partition(b"\r\n\r\n")[2].decode())
        assert answer[1] == nobody()[0]
        return answer[-1]

    with command(directory, *line, python=python) as (process, path):
        assert process.stderr is not None
        while "serves" not in (text := process.stderr.readline()):
            assert text
        old = worker()
        process.send_signal(signal.SIGHUP)
        eventually(lambda: worker() != old)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "cannot be read" not in errors


@needs_root
def test_what_the_user_may_not_read_is_said(directory: Path, python: str) -> None:
    directory.chmod(0o700)
    code, errors = run(directory, "--user", "nobody", "-b", "127.0.0.1:0", python=python)
    assert code == 1
    assert errors.startswith("reserve: user nobody may not read ")


@needs_root
def test_a_spool_directory_has_to_be_writable_for_the_user(directory: Path, python: str) -> None:
    opened(directory)
    (directory / "spool").mkdir(0o700)
    line = ("--user", "nobody", "-b", "127.0.0.1:0", "--spool-dir", "spool")
    code, errors = run(directory, *line, python=python)
    assert code == 1
    assert errors == "reserve: --spool-dir: spool is not a directory that user nobody may write to\n"


def test_a_user_that_does_not_exist_is_refused_with_the_line_that_works(directory: Path) -> None:
    code, errors = run(directory, "--user", "nobdy", "-b", "127.0.0.1:0")
    assert code == 2
    assert errors.startswith("reserve: --user: this system has no user 'nobdy'; write: ")
    assert "--user nobody" in errors
    code, errors = run(directory, "--user", "nobody:nogrop", "-b", "127.0.0.1:0")
    assert (code, "this system has no group 'nogrop'; write: " in errors) == (2, True)
    code, errors = run(directory, "--user", "54321", "-b", "127.0.0.1:0")
    assert errors.startswith("reserve: --user: user 54321 has no entry with a group; write: ")
    assert "--user 54321:54321" in errors
    code, errors = run(directory, "--user", "99999999999:1", "-b", "127.0.0.1:0")
    assert "99999999999 is too large for the number of a user or group" in errors
    code, errors = run(directory, "--user", "nobody:root", "--group", "0", "-b", "127.0.0.1:0")
    assert errors == "reserve: --user names the group root, and --group 0\n"


def test_only_root_may_change_its_user(directory: Path, python: str) -> None:
    if os.geteuid() == 0:
        opened(directory)
    prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
    if prefix and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    for options, code, expected in (
        (("--user", "root"), 1, "only root may change to another user, and this process runs as user "),
        (("--version",), 0, ""),
    ):
        done = subprocess.run(
            [*prefix, *argv("-b", "127.0.0.1:0", *options, python=python)],
            cwd=directory,
            env=environ(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code
        assert expected in done.stderr
        if code:
            assert re.search(r"; write: sudo /\S+ -m reserve app http wsgi .* --user root\n$", done.stderr)
