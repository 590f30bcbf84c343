"""The program ``sdlaunch`` in processes; the command that it executes checks its descriptors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from reserve import __version__
from reserve.sockets.listeners import listen, release
from tests.waiting import PATIENCE

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


def run(*argv: str, fds: tuple[int, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reserve.sdlaunch", *argv],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **variables},
        pass_fds=fds,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_the_command_gets_its_socket_and_its_arguments() -> None:
    done = run("-b", "127.0.0.1:0", "--", sys.executable, "-c", SHOW, "-b", "x", "--", "-d")
    first, second, third = done.stdout.splitlines()
    assert done.stderr == ""
    assert done.returncode == 0
    address = second.removeprefix("3 AF_INET ")
    assert address.startswith("127.0.0.1:")
    assert first == f"{address.replace(':', '-port-')} 1 True"
    assert third == "['-b', 'x', '--', '-d']"


def test_sockets_of_several_kinds_are_passed_at_once(short_path: Path) -> None:
    abstract = f"@reserve-sdlaunch-{os.getpid()}"
    binds = ["-b[::]:0", f"--bind=unix:{short_path}/x", "--bind", f"{short_path}/y", "-b", f"unix:{abstract}"]
    done = run(*binds, "--unix-mode", "660", sys.executable, "-c", SHOW)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    port = lines[1].removeprefix("3 AF_INET6 [::]:")
    assert lines[0] == f"port-{port}:unix-{short_path}/x:unix-{short_path}/y:unix-{abstract} 4 True"
    assert lines[2:5] == [
        f"4 AF_UNIX unix:{short_path}/x",
        f"5 AF_UNIX unix:{short_path}/y",
        f"6 AF_UNIX unix:{abstract}",
    ]
    assert [os.stat(short_path / name).st_mode & 0o777 for name in "xy"] == [0o660, 0o660]


def test_many_sockets_keep_their_order() -> None:
    names = [f"unix:@reserve-many-{os.getpid()}-{number}" for number in range(40)]
    done = run(*[f"-b{name}" for name in names], "--", sys.executable, "-c", SHOW)
    assert [line.split()[::2] for line in done.stdout.splitlines()[1:-1]] == [
        [str(number), name] for number, name in enumerate(names, 3)
    ]


def test_a_descriptor_is_passed_on_and_old_variables_are_replaced() -> None:
    [sock] = listen("127.0.0.1:0")
    fd = sock.fileno()
    stale = {"LISTEN_FDS": "7", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b"}
    done = run("-b", f"fd:{fd}", sys.executable, "-c", SHOW, fds=(fd,), **stale)
    release(sock)
    port = done.stdout.splitlines()[1].removeprefix("3 AF_INET 127.0.0.1:")
    assert done.stdout.splitlines()[0] == f"127.0.0.1-port-{port} 1 True"


def test_a_name_that_is_not_allowed_becomes_unknown() -> None:
    done = run("-b", f"unix:@reserve-é-{os.getpid()}", sys.executable, "-c", SHOW)
    assert done.stdout.startswith("unknown 1 True\n")


def test_the_exit_code_is_that_of_the_command() -> None:
    assert run("-b", "127.0.0.1:0", sys.executable, "-c", "raise SystemExit(42)").returncode == 42


def test_the_pid_file_has_the_process_id_of_the_command(short_path: Path) -> None:
    pid_file = short_path / "pid"
    pid_file.write_text("an old number")
    program = f"import os; print(open({str(pid_file)!r}).read() == f'{{os.getpid()}}\\n')"
    done = run("-b", "127.0.0.1:0", "-p", str(pid_file), sys.executable, "-c", program)
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert os.listdir(short_path) == ["pid"]


def test_a_daemon_runs_in_a_new_session(short_path: Path) -> None:
    done = run("-dp", str(short_path / "pid"), "-b", f"{short_path}/x", "--", sys.executable, "-c", WAIT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    number = int((short_path / "pid").read_text())
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(f"{short_path}/x")
        pid, session, parent, streams, cwd = client.recv(1000).decode().split()
    assert int(pid) == number
    assert session not in (pid, str(os.getsid(0)))
    assert int(parent) != os.getpid()
    assert streams == "{'/dev/null'}"
    assert cwd == str(Path(__file__).parent.parent)
    assert sorted(os.listdir(short_path)) == ["pid", "x"]


def test_a_daemon_that_cannot_execute_its_command_reports_it_and_cleans_up(short_path: Path) -> None:
    done = run("-d", "-p", str(short_path / "pid"), "-b", f"{short_path}/x", "--", "no-such-command-at-all")
    assert done.returncode == 127
    assert done.stderr.startswith("sdlaunch: the command 'no-such-command-at-all' was not found; it is in no directory")
    assert done.stderr.count("\n") == 1
    assert os.listdir(short_path) == []


def test_a_daemon_that_cannot_write_its_pid_file_reports_it(short_path: Path) -> None:
    done = run("-d", "-p", str(short_path / "none" / "pid"), "-b", f"{short_path}/x", "--", "true")
    assert done.returncode == 1
    assert "cannot write the pid file" in done.stderr
    assert os.listdir(short_path) == []


@pytest.mark.parametrize(
    ("kind", "code", "hint"),
    [
        ("missing", 127, "was not found; check the name"),
        ("script", 127, "was not found; the interpreter in its first line may be missing"),
        ("data", 126, "cannot be executed: Permission denied"),
        ("directory", 126, "cannot be executed: Permission denied"),
        ("binary", 126, "cannot be executed: Exec format error"),
    ],
)
def test_after_a_command_that_cannot_be_executed_no_file_remains(
    short_path: Path, kind: str, code: int, hint: str
) -> None:
    command = short_path / "command"
    if kind == "directory":
        command.mkdir()
    elif kind != "missing":
        command.write_text("#!/no/such/interpreter\n" if kind == "script" else "\0")
        command.chmod(0o644 if kind == "data" else 0o755)
    done = run("-b", f"{short_path}/x", "-p", str(short_path / "pid"), "--", str(command))
    assert done.returncode == code
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1
    assert [name for name in os.listdir(short_path) if name != "command"] == []


@pytest.mark.parametrize(
    ("argv", "hint"),
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
def test_wrong_usage_gets_one_sentence_and_exit_code_2(argv: list[str], hint: str) -> None:
    done = run(*argv)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith("sdlaunch: ")
    assert hint in done.stderr
    assert done.stderr.endswith("(sdlaunch -h shows how)\n")
    assert done.stderr.count("\n") == 1


def test_an_address_in_use_gets_exit_code_1(short_path: Path) -> None:
    [sock] = listen("127.0.0.1:0")
    port = sock.getsockname()[1]
    done = run("-b", f"{short_path}/x", "-b", f"127.0.0.1:{port}", "-d", "true")
    release(sock)
    assert done.returncode == 1
    assert done.stderr == (
        f"sdlaunch: cannot listen on 127.0.0.1:{port}: Address already in use. "
        f"Another program listens on port {port}; stop it, or choose another port.\n"
    )
    assert os.listdir(short_path) == []


def test_help_and_version_are_printed() -> None:
    helped = run("-h")
    assert helped.returncode == 0
    assert helped.stdout.startswith("usage: sdlaunch -b ADDRESS")
    assert all(len(line) <= 120 for line in helped.stdout.splitlines())
    assert run("--version").stdout == f"sdlaunch of reserve {__version__}\n"


def test_the_program_imports_only_what_it_needs() -> None:
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
        "reserve.daemon",
        "reserve.daemon.detach",
        "reserve.daemon.pidfile",
        "reserve.errors",
        "reserve.sdlaunch",
        "reserve.sockets",
        "reserve.sockets.addresses",
        "reserve.sockets.listeners",
        "reserve.sockets.systemd",
        "reserve.sockets.unix",
    }


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc to see the ignored signals in")
def test_the_command_ignores_no_signal_that_was_not_ignored_before() -> None:
    # not a Python program, because those ignore SIGPIPE
    command = ["grep", "SigIgn", "/proc/self/status"]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert run("-b", "127.0.0.1:0", *command).stdout == expected


def test_signals_reach_the_command_in_the_same_process() -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    assert run("-b", "127.0.0.1:0", sys.executable, "-c", program).returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    "streams", ["os.closerange(0, 3)", "[os.dup2(os.open('/dev/full', os.O_RDWR), fd) for fd in (1, 2)]"]
)
def test_standard_streams_that_cannot_be_written_to_change_no_exit_code(streams: str) -> None:
    for argv, code in (
        (["-b", ":0"], 2),
        (["-b", "127.0.0.1:0", "--", sys.executable, "-c", "raise SystemExit(7)"], 7),
    ):
        line = [sys.executable, "-m", "reserve.sdlaunch", *argv]
        program = f"import os\n{streams}\nos.execv({sys.executable!r}, {line!r})"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=Path(__file__).parent.parent, timeout=PATIENCE, check=False
        )
        assert done.returncode == code
