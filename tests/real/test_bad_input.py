"""What the installed command does when it cannot start: one sentence, the documented exit code, and no file remains."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests import clients
from tests.real.installing import Installed
from tests.real.serving import PATIENCE, clean_environ

MODULES = {
    "bad_syntax.py": "def launch(args:\n",
    "bad_import.py": "import no_such_library\ndef launch(args): ...\n",
    "bad_error.py": "def deeper():\n    raise ValueError('the database is away')\ndeeper()\n",
    "bad_launch.py": "def launch(args):\n    return {}['colour']\n",
    "bad_nothing.py": "def lunch(args): ...\ndef dinner(args): ...\n",
    "bad_none.py": "def launch(args): ...\n",
    "bad_signature.py": "def create_app(): return lambda environ, start_response: []\n",
    "bad_words.py": "def launch(args):\n    raise SystemExit('colours: ' + args[1])\n",
    "good.py": "def launch(args):\n    return lambda *given: None\n",
}

Fail = Callable[..., str]


@pytest.fixture
def directory(short_path: Path) -> Path:
    for name, text in MODULES.items():
        (short_path / name).write_text(text)
    return short_path


@pytest.fixture
def fail(installed: Installed, directory: Path) -> Fail:
    """``fail(code, argv)``: the command exits with this code and prints nothing; returns its standard error."""

    def run(code: int, argv: Sequence[str], *, before: Sequence[str] = (), **options: object) -> str:
        result = subprocess.run(
            [*before, installed.reserve, *argv],
            cwd=directory,
            env=clean_environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            **options,  # type: ignore[call-overload]
        )
        assert (result.returncode, result.stdout) == (code, ""), result.stderr
        return result.stderr  # type: ignore[no-any-return]

    return run


@pytest.fixture
def free_port() -> int:
    return clients.free_port()


# ---- options ----


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", r"the application's name is missing \(reserve -h prints the help\); write: .*reserve app http wsgi blog"),
        ("http wsgi blog", "the word 'app' is missing; write: .*reserve app http wsgi blog"),
        ("app", r"the application's name is missing \(.+\); write: .*reserve app http wsgi blog"),
        ("--thread 4 app good", "there is no server option --thread; write: .*reserve --threads 4 app good"),
        (
            "app good -b 127.0.0.1:0 --thread 4",
            r"there is no option --thread; did you mean --threads\? put it after -- to pass it on",
        ),
        ("app good --threads", "--threads needs a value: .+"),
        ("app good --threads many", "--threads is 'many'; allowed is a whole number .+"),
        ("app good --threads 0", "--threads is '?0'?; allowed is .+"),
        ("app good --threads 9:2", "--threads is '?9:2'?; .+"),
        ("app good -b 127.0.0.1:0 --keep-alive 5", "--keep-alive is for HTTP applications .+"),
        ("app http -b 127.0.0.1:0", "app http: the kind of application is missing .+"),
        (
            "app http wsgi -b 127.0.0.1:0",
            "app http wsgi: the application's name is missing; write: .*reserve app http wsgi blog -b 127.0.0.1:0",
        ),
        ("app http wsgi good --keep-alive soon", "--keep-alive is 'soon'; allowed is .+"),
        ("app http wsgi good --max-body -1", "--max-body is '-1'; allowed is .+"),
        (
            "app http wsgi -b 127.0.0.1:0 --mount good",
            "--mount wants /PREFIX=NAME, as /blog=blog; it got 'good'; write: .*",
        ),
        (
            "app http wsgi blog -b 127.0.0.1:0 -- --colour red",
            "blog: unknown argument '--colour'; after -- it takes only --data DIR",
        ),
        ("app good -b 8080", "--bind: cannot listen on '8080'.+"),
        ("app good -b 127.0.0.1:99999", "--bind: cannot listen on '127.0.0.1:99999'.+"),
        ("app good -b ::1:80", "--bind: cannot listen on '::1:80'.+"),
        (
            "app good.py -b 127.0.0.1:0",
            "'good.py' looks like a file; give the name of the module; write: .*reserve app good -b 127.0.0.1:0",
        ),
    ],
)
def test_a_mistake_in_the_command_line_gets_one_sentence(fail: Fail, line: str, sentence: str) -> None:
    message = fail(2, line.split())
    assert message.count("\n") == 1
    assert re.fullmatch(f"reserve: {sentence}\n", message), message


def test_a_mistake_in_the_file_or_the_environment_gets_one_sentence(fail: Fail, directory: Path) -> None:
    (directory / "reserve.toml").write_text("[server]\nthreads = 'x'\n")
    message = fail(2, ["app", "good"])
    assert re.fullmatch(r"reserve: threads in .*reserve\.toml:2 \[server\] is 'x'; allowed is .*\n", message), message
    (directory / "reserve.toml").unlink()
    message = fail(2, ["app", "good"], before=["env", "RESERVE_THREADS=x"])
    assert re.fullmatch(r"reserve: the environment variable RESERVE_THREADS is 'x'; .*\n", message), message


# ---- applications ----


@pytest.mark.parametrize("kind", [("app",), ("app", "http", "wsgi")], ids=" ".join)
@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("bad_syntax", "importing bad_syntax failed:", r"SyntaxError: .*"),
        ("bad_import", "importing bad_import failed:", r"ModuleNotFoundError: No module named 'no_such_library'"),
        ("bad_error", "importing bad_error failed:", r"ValueError: the database is away"),
        ("bad_launch", r"launch\(args\) of bad_launch failed:", r"KeyError: 'colour'"),
    ],
)
def test_an_error_in_the_application_shows_only_its_own_frames(
    fail: Fail, directory: Path, free_port: int, kind: tuple[str, ...], name: str, first: str, last: str
) -> None:
    path = directory / "web"
    message = fail(1, [*kind, name, "-b", f"127.0.0.1:{free_port}", "-b", f"unix:{path}"]).splitlines()
    assert re.fullmatch(f"reserve: {first}", message[0]), message
    assert re.fullmatch(last, message[-1]), message
    files = [line for line in message if line.startswith("  File ")]
    assert files
    assert all(str(directory) in line for line in files), message
    assert_nothing_is_left(free_port, path)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("app nowhere_at_all", "there is no module named nowhere_at_all; looked in .+"),
        ("app ecko.echo", "there is no module named ecko.echo; looked in .+"),
        ("app http wsgi nowhere_at_all", "there is no module named nowhere_at_all; looked in .+, then in .+"),
        (
            "app bad_nothing",
            r"bad_nothing \(.+\) has no launch\(args\); the callables of bad_nothing are: dinner, lunch",
        ),
        (
            "app http wsgi bad_nothing",
            r"bad_nothing \(.+\) has neither launch\(args\) nor application nor app; the callables of .+ dinner, lunch",
        ),
        ("app http wsgi bad_nothing:breakfast", "bad_nothing has no 'breakfast'; the callables of bad_nothing are: .+"),
        ("app bad_none", r"bad_none gave None, .+; did its launch\(args\) forget to return it\?"),
        (
            "app http wsgi bad_none",
            r"bad_none gave None, .+; did its launch\(args\) forget to return the application\?",
        ),
        (
            "app http wsgi bad_signature:create_app",
            r"bad_signature:create_app cannot .+; write: .* app http wsgi 'bad_signature:create_app\(\)' -b .+",
        ),
    ],
)
def test_a_module_without_an_application_gets_one_sentence(
    fail: Fail, directory: Path, free_port: int, line: str, sentence: str
) -> None:
    path = directory / "web"
    message = fail(1, [*line.split(), "-b", f"127.0.0.1:{free_port}", "-b", f"unix:{path}"])
    assert message.count("\n") == 1
    assert re.fullmatch(f"reserve: {sentence}\n", message), message
    assert_nothing_is_left(free_port, path)


def test_an_application_can_exit_with_a_message_of_its_own(fail: Fail, directory: Path, free_port: int) -> None:
    path = directory / "web"
    binds = ["-b", f"127.0.0.1:{free_port}", "-b", f"unix:{path}"]
    assert fail(1, ["app", "bad_words", "red", *binds]) == "colours: red\n"
    assert_nothing_is_left(free_port, path)


# ---- addresses ----


def test_an_address_in_use_gets_one_sentence(fail: Fail, directory: Path) -> None:
    path = directory / "web"
    with closing(socket.create_server(("127.0.0.1", 0))) as busy:
        port = busy.getsockname()[1]
        message = fail(1, ["app", "good", "-b", f"unix:{path}", "-b", f"127.0.0.1:{port}"])
    assert message.count("\n") == 1
    assert re.fullmatch(rf"reserve: cannot listen on 127\.0\.0\.1:{port}: .*in use.*\n", message), message
    assert not path.exists()


def test_a_unix_socket_in_use_is_not_replaced(fail: Fail, directory: Path) -> None:
    path = directory / "web"
    with closing(socket.socket(socket.AF_UNIX)) as busy:
        busy.bind(str(path))
        busy.listen()
        message = fail(1, ["app", "good", "-b", f"unix:{path}"])
        assert re.fullmatch(rf"reserve: cannot listen on unix:{re.escape(str(path))}: .+\n", message), message
        assert path.is_socket()


def test_a_file_that_is_not_a_socket_is_not_replaced(fail: Fail, directory: Path) -> None:
    path = directory / "web"
    path.write_text("precious")
    message = fail(1, ["app", "good", "-b", f"unix:{path}"])
    assert re.fullmatch(rf"reserve: cannot listen on unix:{re.escape(str(path))}: .+\n", message), message
    assert path.read_text() == "precious"


@pytest.mark.peer
def test_a_privileged_port_gets_one_sentence(fail: Fail, require_peer: Callable[[str], str], directory: Path) -> None:
    first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first_free <= 1:
        pytest.skip("on this system every user may open every port (net.ipv4.ip_unprivileged_port_start)")
    # Root without the capability for such ports. Another user might not be able to read the files of this environment.
    prefix = [require_peer("setpriv"), "--bounding-set=-net_bind_service"] if os.geteuid() == 0 else []
    path = directory / "web"
    port = min(first_free - 1, 80)
    message = fail(1, ["app", "good", "-b", f"unix:{path}", "-b", f"127.0.0.1:{port}"], before=prefix)
    assert message.count("\n") == 1
    assert re.fullmatch(rf"reserve: cannot listen on 127\.0\.0\.1:{port}: .+\n", message), message
    assert "sdlaunch" in message or "privilege" in message or "1024" in message, message
    assert not path.exists()


# ---- descriptors ----


@pytest.fixture(params=["closed", "a regular file", "a pipe", "a datagram socket", "does not listen", "connected"])
def wrong(request: pytest.FixtureRequest, directory: Path) -> Iterator[tuple[int, str]]:
    """A descriptor that is not a listener, and its description."""
    kind = request.param
    if kind == "closed":
        yield 99, "descriptor 99 is not an open socket"
    elif kind == "a regular file":
        with open(directory / "file", "w") as file:
            yield file.fileno(), f"descriptor {file.fileno()} is a regular file"
    elif kind == "a pipe":
        reader, writer = os.pipe()
        try:
            yield writer, f"descriptor {writer} is a pipe"
        finally:
            os.close(reader)
            os.close(writer)
    elif kind == "connected":
        one, other = socket.socketpair()
        with one, other:
            yield one.fileno(), f"descriptor {one.fileno()} is a connected stream socket, not a listening one"
    else:
        with closing(socket.socket(type=socket.SOCK_DGRAM if "datagram" in kind else socket.SOCK_STREAM)) as sock:
            sock.bind(("127.0.0.1", 0))
            yield (
                sock.fileno(),
                f"descriptor {sock.fileno()} is a "
                + ("datagram socket" if "datagram" in kind else "stream socket that does not listen"),
            )


def test_a_wrong_descriptor_of_an_option_is_described(
    fail: Fail, directory: Path, free_port: int, wrong: tuple[int, str]
) -> None:
    fd, sentence = wrong
    path = directory / "web"
    binds = ["-b", f"127.0.0.1:{free_port}", "-b", f"unix:{path}", "-b", f"fd:{fd}"]
    message = fail(2, ["app", "good", *binds], pass_fds=[] if fd == 99 else [fd])
    assert message.count("\n") == 1
    assert sentence in message, message
    assert_nothing_is_left(free_port, path)


def test_a_wrong_descriptor_that_was_passed_is_described(fail: Fail, directory: Path, wrong: tuple[int, str]) -> None:
    fd, sentence = wrong
    message = fail(2, ["app", "good"], before=passing(fd), pass_fds=[] if fd == 99 else [fd])
    assert message.count("\n") == 1
    if fd == 99:
        assert "LISTEN_FDS says 1 socket from 3 on, but descriptor 3 is not open" in message, message
    else:
        assert (
            "LISTEN_FDS passed a wrong descriptor: " + sentence.replace(f"descriptor {fd}", "descriptor 3") in message
        )


def test_a_bind_in_addition_to_passed_sockets_is_an_error(fail: Fail, free_port: int) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        fd = sock.fileno()
        message = fail(2, ["app", "good", "-b", f"127.0.0.1:{free_port}"], before=passing(fd), pass_fds=[fd])
    assert message.count("\n") == 1
    assert "or name it too: --bind fd:3" in message


def passing(fd: int) -> list[str]:
    """A command that passes ``fd`` to the command after it, as systemd does; 99 is a descriptor that is not open.

    LISTEN_PID has to be the ID of the process, which no other process knows beforehand.
    """
    duplicate = "" if fd == 99 else f"os.dup2({fd}, 3); "
    variables = "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); "
    return [sys.executable, "-c", f"import os, sys; {duplicate}{variables}os.execv(sys.argv[1], sys.argv[1:])"]


def assert_nothing_is_left(port: int, path: Path) -> None:
    assert not path.exists()
    socket.create_server(("127.0.0.1", port)).close()
