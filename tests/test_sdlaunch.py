"""The real command in real processes; what it starts checks the descriptors that it got."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reserve import __version__
from reserve.sockets.listeners import listen, release

SHOW = """
import os, sys
print(os.environ["LISTEN_FDNAMES"], os.environ["LISTEN_FDS"], int(os.environ["LISTEN_PID"]) == os.getpid())
from reserve.sockets.listeners import describe, inherited_sockets
for name, sock in inherited_sockets():
    with sock:
        print(sock.fileno(), sock.family.name, describe(sock))
print(sys.argv[1:])
"""
WAIT = """
import os, sys
from reserve.sockets.listeners import inherited_sockets
[(name, sock)] = inherited_sockets()
sock.setblocking(True)
streams = {os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)}
with sock, sock.accept()[0] as connection:
    connection.sendall(f"{os.getpid()} {os.getsid(0)} {os.getppid()} {streams} {os.getcwd()}".encode())
    connection.recv(1)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="r") as name:
        yield Path(name)


def run(*words: str, fds: tuple[int, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reserve.sdlaunch", *words],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **variables},
        pass_fds=fds,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_one_socket_and_the_words_of_the_command() -> None:
    done = run("-b", "127.0.0.1:0", "--", sys.executable, "-c", SHOW, "-b", "x", "--", "-d")
    first, second, third = done.stdout.splitlines()
    assert done.stderr == ""
    assert done.returncode == 0
    address = second.removeprefix("3 AF_INET ")
    assert address.startswith("127.0.0.1:")
    assert first == f"{address.replace(':', '-port-')} 1 True"
    assert third == "['-b', 'x', '--', '-d']"


def test_several_kinds_at_once(folder: Path) -> None:
    abstract = f"@reserve-sdlaunch-{os.getpid()}"
    binds = ["-b[::]:0", f"--bind=unix:{folder}/x", "--bind", f"{folder}/y", "-b", f"unix:{abstract}"]
    done = run(*binds, "--unix-mode", "660", sys.executable, "-c", SHOW)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    port = lines[1].removeprefix("3 AF_INET6 [::]:")
    assert lines[0] == f"port-{port}:unix-{folder}/x:unix-{folder}/y:unix-{abstract} 4 True"
    assert lines[2:5] == [f"4 AF_UNIX unix:{folder}/x", f"5 AF_UNIX unix:{folder}/y", f"6 AF_UNIX unix:{abstract}"]
    assert [os.stat(folder / name).st_mode & 0o777 for name in "xy"] == [0o660, 0o660]


def test_many_sockets_keep_their_order() -> None:
    names = [f"unix:@reserve-many-{os.getpid()}-{number}" for number in range(40)]
    done = run(*[f"-b{name}" for name in names], "--", sys.executable, "-c", SHOW)
    assert [line.split()[::2] for line in done.stdout.splitlines()[1:-1]] == [
        [str(number), name] for number, name in enumerate(names, 3)
    ]


def test_a_descriptor_is_passed_on_and_foreign_variables_are_replaced() -> None:
    [sock] = listen("127.0.0.1:0")
    fd = sock.fileno()
    stale = {"LISTEN_FDS": "7", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b"}
    done = run("-b", f"fd:{fd}", sys.executable, "-c", SHOW, fds=(fd,), **stale)
    release(sock)
    port = done.stdout.splitlines()[1].removeprefix("3 AF_INET 127.0.0.1:")
    assert done.stdout.splitlines()[0] == f"127.0.0.1-port-{port} 1 True"


def test_names_that_would_not_be_safe_are_unknown() -> None:
    done = run("-b", f"unix:@reserve-é-{os.getpid()}", sys.executable, "-c", SHOW)
    assert done.stdout.startswith("unknown 1 True\n")


def test_the_exit_code_is_the_commands() -> None:
    assert run("-b", "127.0.0.1:0", sys.executable, "-c", "raise SystemExit(42)").returncode == 42


def test_pid_file_holds_the_number_of_the_command(folder: Path) -> None:
    pid_file = folder / "pid"
    pid_file.write_text("an old number")
    program = f"import os; print(open({str(pid_file)!r}).read() == f'{{os.getpid()}}\\n')"
    done = run("-b", "127.0.0.1:0", "-p", str(pid_file), sys.executable, "-c", program)
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert os.listdir(folder) == ["pid"]


def test_daemon_runs_in_a_session_of_its_own(folder: Path) -> None:
    done = run("-dp", str(folder / "pid"), "-b", f"{folder}/x", "--", sys.executable, "-c", WAIT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    number = int((folder / "pid").read_text())
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(f"{folder}/x")
        pid, session, parent, streams, cwd = client.recv(1000).decode().split()
    assert int(pid) == number
    assert session not in (pid, str(os.getsid(0)))
    assert int(parent) != os.getpid()
    assert streams == "{'/dev/null'}"
    assert cwd == str(Path(__file__).parent.parent)
    assert sorted(os.listdir(folder)) == ["pid", "x"]


def test_daemon_that_cannot_start_its_command_tells_and_leaves_nothing(folder: Path) -> None:
    done = run("-d", "-p", str(folder / "pid"), "-b", f"{folder}/x", "--", "no-such-command-at-all")
    assert done.returncode == 127
    assert done.stderr.startswith("sdlaunch: the command 'no-such-command-at-all' was not found; it is in no directory")
    assert done.stderr.count("\n") == 1
    assert os.listdir(folder) == []


def test_daemon_that_cannot_write_its_pid_file(folder: Path) -> None:
    done = run("-d", "-p", str(folder / "none" / "pid"), "-b", f"{folder}/x", "--", "true")
    assert done.returncode == 1
    assert "cannot write the pid file" in done.stderr
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("kind", "code", "hint"),
    [
        ("missing", 127, "was not found; check the name"),
        ("script", 127, "was not found; the interpreter in its first line may be missing"),
        ("data", 126, "cannot be executed: Permission denied"),
        ("folder", 126, "cannot be executed: Permission denied"),
        ("binary", 126, "cannot be executed: Exec format error"),
    ],
)
def test_a_command_that_does_not_run_leaves_nothing(folder: Path, kind: str, code: int, hint: str) -> None:
    command = folder / "command"
    if kind == "folder":
        command.mkdir()
    elif kind != "missing":
        command.write_text("#!/no/such/interpreter\n" if kind == "script" else "\0")
        command.chmod(0o644 if kind == "data" else 0o755)
    done = run("-b", f"{folder}/x", "-p", str(folder / "pid"), "--", str(command))
    assert done.returncode == code
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1
    assert [name for name in os.listdir(folder) if name != "command"] == []


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ([], "no address to open"),
        (["true"], "no address to open"),
        (["-b", ":0"], "no command to run"),
        (["-b", ":0", "--"], "no command to run"),
        (["-b"], "the option --bind needs a value"),
        (["-b", "--", "true"], "the option --bind needs a value"),
        (["--bind=", "true"], "the option --bind has an empty value"),
        (["-x", "true"], "there is no option -x; put -- before"),
        (["--bin", ":0", "true"], "there is no option --bin"),
        (["--daemonize=yes", "-b:0", "true"], "the option --daemonize takes no value, but got 'yes'"),
        (["-dx", "-b:0", "true"], "there is no option -x"),
        (["-b", "localhost", "true"], "cannot listen on 'localhost': the port is missing"),
        (["-b", "http://localhost/", "true"], "that is a URL"),
        (["-b", ":0", "--unix-mode", "888", "true"], "--unix-mode '888' is not a number of up to four octal digits"),
        (["-b", ":0", "--unix-mode", "660", "true"], "for unix:PATH addresses, and there is none"),
        (["-b", "/nowhere/x", "--unix-owner", "no-such-user", "true"], "this system has no user 'no-such-user'"),
        (["-b", "fd:99", "true"], "descriptor 99 is not an open socket"),
        (["-b", "fd:0", "true"], "descriptor 0 is a"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(words: list[str], hint: str) -> None:
    done = run(*words)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith("sdlaunch: ")
    assert hint in done.stderr
    assert done.stderr.endswith("(sdlaunch -h shows how)\n")
    assert done.stderr.count("\n") == 1


def test_an_address_in_use_is_code_1(folder: Path) -> None:
    [sock] = listen("127.0.0.1:0")
    port = sock.getsockname()[1]
    done = run("-b", f"{folder}/x", "-b", f"127.0.0.1:{port}", "-d", "true")
    release(sock)
    assert done.returncode == 1
    assert done.stderr == (
        f"sdlaunch: cannot listen on 127.0.0.1:{port}: Address already in use. "
        f"Another program listens on port {port}; stop it, or choose another port.\n"
    )
    assert os.listdir(folder) == []


def test_help_and_version() -> None:
    helped = run("-h")
    assert helped.returncode == 0
    assert helped.stdout.startswith("usage: sdlaunch -b ADDRESS")
    assert all(len(line) <= 120 for line in helped.stdout.splitlines())
    assert run("--version").stdout == f"sdlaunch of reserve {__version__}\n"


def test_start_up_stays_light() -> None:
    program = "import sys, reserve.sdlaunch; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"argparse", "dataclasses", "inspect", "threading", "logging", "ssl", "subprocess", "asyncio", "json"}
    loaded = set(done.stdout.split())
    assert heavy & loaded == set()
    assert {name for name in loaded if name.startswith("reserve.")} == {
        "reserve.errors",
        "reserve.sdlaunch",
        "reserve.sockets",
        "reserve.sockets.addresses",
        "reserve.sockets.listeners",
        "reserve.sockets.systemd",
        "reserve.sockets.unix",
    }


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc to see the ignored signals in")
def test_no_signal_is_ignored_that_was_not_before() -> None:
    # Not a Python program: those ignore SIGPIPE for themselves.
    command = ["grep", "SigIgn", "/proc/self/status"]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert run("-b", "127.0.0.1:0", *command).stdout == expected


def test_signals_reach_the_command_because_it_is_the_same_process() -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    assert run("-b", "127.0.0.1:0", sys.executable, "-c", program).returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    "streams", ["os.closerange(0, 3)", "[os.dup2(os.open('/dev/full', os.O_RDWR), fd) for fd in (1, 2)]"]
)
def test_streams_that_take_nothing_change_no_exit_code(streams: str) -> None:
    for words, code in (
        (["-b", ":0"], 2),
        (["-b", "127.0.0.1:0", "--", sys.executable, "-c", "raise SystemExit(7)"], 7),
    ):
        line = [sys.executable, "-m", "reserve.sdlaunch", *words]
        program = f"import os\n{streams}\nos.execv({sys.executable!r}, {line!r})"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=Path(__file__).parent.parent, timeout=60, check=False
        )
        assert done.returncode == code
