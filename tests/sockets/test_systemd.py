"""Sockets that another program has opened: what is accepted, and how the rest is described."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reserve.errors import UsageError
from reserve.sockets.listeners import describe, listen, release
from reserve.sockets.systemd import adopt, inherited_sockets
from tests.waiting import PATIENCE


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "unix:PATH", "unix:@reserve-adopt-PID"])
def test_a_descriptor_becomes_a_socket_of_its_own_family(address: str, short_path: Path) -> None:
    [original] = listen(address.replace("PATH", f"{short_path}/x").replace("PID", str(os.getpid())))
    address_text, family = describe(original), original.family
    fd = original.detach()
    os.set_blocking(fd, True)
    os.set_inheritable(fd, True)
    sock = adopt(fd)
    assert (sock.fileno(), sock.family, sock.type, describe(sock)) == (fd, family, socket.SOCK_STREAM, address_text)
    assert not sock.getblocking()
    assert not os.get_blocking(fd)
    assert not sock.get_inheritable()
    sock.close()


def test_a_socket_object_is_returned_itself(stack: ExitStack) -> None:
    sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    assert adopt(sock) is sock
    assert not sock.getblocking()


def test_a_socket_object_of_a_wrong_family_is_refused(stack: ExitStack) -> None:
    sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    mislabelled = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=sock.fileno())
    with pytest.raises(UsageError, match="really of family AF_INET; give its descriptor number"):
        adopt(mislabelled)
    mislabelled.detach()


def _file(stack: ExitStack) -> int:
    return stack.enter_context(tempfile.TemporaryFile()).fileno()


def _directory(stack: ExitStack) -> int:
    fd = os.open("/", os.O_RDONLY)
    stack.callback(os.close, fd)
    return fd


def _pipe(stack: ExitStack) -> int:
    read, write = os.pipe()
    stack.callback(os.close, read)
    stack.callback(os.close, write)
    return read


def _null(stack: ExitStack) -> int:
    fd = os.open(os.devnull, os.O_RDONLY)
    stack.callback(os.close, fd)
    return fd


def _datagram(stack: ExitStack) -> int:
    return stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).fileno()


def _unix_datagram(stack: ExitStack) -> int:
    return stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).fileno()


def _seqpacket(stack: ExitStack) -> int:
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    sock.bind(b"")
    sock.listen()
    return sock.fileno()


def _not_listening(stack: ExitStack) -> int:
    sock = stack.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    return sock.fileno()


def _connected(stack: ExitStack) -> int:
    left, right = socket.socketpair()
    stack.enter_context(left)
    stack.enter_context(right)
    return left.fileno()


def _netlink(stack: ExitStack) -> int:
    return stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)).fileno()


WRONG = [
    (_file, "a regular file"),
    (_directory, "a directory"),
    (_pipe, "a pipe"),
    (_null, "a character device or terminal"),
    (_datagram, "a datagram socket"),
    (_unix_datagram, "a datagram socket"),
    (_seqpacket, "a socket of type SOCK_SEQPACKET"),
    (_not_listening, "a stream socket that does not listen (call its listen() first)"),
    (_connected, "a connected stream socket, not a listening one"),
    (_netlink, "a socket of family AF_NETLINK"),
]


@pytest.mark.parametrize(("make", "what"), WRONG)
def test_a_wrong_descriptor_is_described_and_left_unchanged(stack: ExitStack, make: Any, what: str) -> None:
    fd = make(stack)
    blocking = os.get_blocking(fd)
    with pytest.raises(UsageError) as caught:
        adopt(fd)
    assert str(caught.value) == f"descriptor {fd} is {what}; a server needs listening stream sockets"
    assert _is_open(fd)
    assert os.get_blocking(fd) == blocking


def test_a_closed_descriptor_is_refused(stack: ExitStack) -> None:
    fd = _file(stack)
    stack.close()
    with pytest.raises(UsageError, match=f"descriptor {fd} is not an open socket"):
        adopt(fd)


@pytest.mark.parametrize("value", [-1, True, "3", None, 1.0, 2**100])
def test_a_value_that_is_not_a_descriptor_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=r"a descriptor number|not an open socket"):
        adopt(value)


def test_a_closed_datagram_or_tls_socket_is_refused(stack: ExitStack) -> None:
    closed = socket.socket()
    closed.close()
    with pytest.raises(UsageError, match="is closed"):
        adopt(closed)
    with pytest.raises(UsageError, match="a datagram socket"):
        adopt(stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    plain = socket.create_server(("127.0.0.1", 0))
    wrapped = stack.enter_context(context.wrap_socket(plain, server_side=True))
    with pytest.raises(UsageError, match="already wrapped in TLS"):
        adopt(wrapped)
    assert wrapped.fileno() >= 0


CHECK = """
import os, sys
from reserve.sockets.listeners import describe, inherited_sockets, release
from reserve.errors import UsageError
if os.environ.get("LISTEN_PID") == "self":
    os.environ["LISTEN_PID"] = str(os.getpid())
try:
    for name, sock in inherited_sockets():
        print(name, describe(sock), sock.get_inheritable(), sock.getblocking())
        sock.close()
except UsageError as exc:
    print(exc)
print([name for name in os.environ if name.startswith("LISTEN_")])
"""


def _start(fds: list[int], **variables: str) -> str:
    """Run a program with these descriptors as 3, 4, ...; a shell duplicates them."""
    moves = " ".join(f"{number}<&{fd}" for number, fd in enumerate(fds, 3))
    script = f'exec "$0" -c "$1" {moves}' if moves else 'exec "$0" -c "$1"'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, CHECK],
        env={**os.environ, **variables},
        pass_fds=fds,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def pair(stack: ExitStack) -> list[socket.socket]:
    """Two listeners on descriptors from 100 on."""
    sockets = []
    for sock in listen("127.0.0.1:0", f"unix:@reserve-inherit-{os.getpid()}"):
        import fcntl

        sockets.append(stack.enter_context(socket.socket(fileno=fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 100))))
        release(sock)
    return sockets


def test_a_process_takes_the_sockets_that_were_passed_to_it(pair: list[socket.socket]) -> None:
    out = _start([s.fileno() for s in pair], LISTEN_PID="self", LISTEN_FDS="2", LISTEN_FDNAMES="web:admin")
    assert out == f"web {describe(pair[0])} False False\nadmin {describe(pair[1])} False False\n[]\n"


def test_without_names_each_name_is_unknown(pair: list[socket.socket]) -> None:
    out = _start([s.fileno() for s in pair], LISTEN_PID="self", LISTEN_FDS="2")
    assert out.splitlines()[0].startswith("unknown 127.0.0.1:")


def test_a_wrong_descriptor_among_them_is_described(pair: list[socket.socket], stack: ExitStack) -> None:
    out = _start([pair[0].fileno(), _file(stack)], LISTEN_PID="self", LISTEN_FDS="2")
    assert out == (
        "LISTEN_FDS passed a wrong descriptor: descriptor 4 is a regular file; "
        "a server needs listening stream sockets\n[]\n"
    )


def test_a_missing_descriptor_is_reported(pair: list[socket.socket]) -> None:
    out = _start([pair[0].fileno()], LISTEN_PID="self", LISTEN_FDS="90")
    assert out == "LISTEN_FDS says 90 sockets from 3 on, but descriptor 4 is not open\n[]\n"


def _take(**variables: str) -> tuple[list[str], dict[str, str]]:
    environ = {f"LISTEN_{name}": value for name, value in variables.items()}
    environ["OTHER"] = "stays"
    return [name for name, _ in inherited_sockets(environ, pid=77)], environ


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PID": "77"},
        {"FDS": "2"},
        {"FDS": "2", "PID": "78", "FDNAMES": "a:b"},
        {"FDS": "0", "PID": "77"},
        {"FDS": "0", "PID": "77", "FDNAMES": ""},
    ],
)
def test_variables_for_another_process_are_removed(variables: dict[str, str]) -> None:
    assert _take(**variables) == ([], {"OTHER": "stays"})


@pytest.mark.parametrize(
    ("variables", "hint"),
    [
        ({"FDS": "two", "PID": "77"}, "LISTEN_FDS is 'two'; it has to be a number"),
        ({"FDS": "-1", "PID": "77"}, "LISTEN_FDS is '-1'"),
        ({"FDS": "", "PID": "77"}, "LISTEN_FDS is ''"),
        ({"FDS": "1", "PID": "x"}, "LISTEN_PID is 'x'"),
        ({"FDS": "2", "PID": "77", "FDNAMES": "one"}, "LISTEN_FDNAMES has 1 name but LISTEN_FDS says 2 sockets"),
    ],
)
def test_malformed_variables_are_refused_and_removed(variables: dict[str, str], hint: str) -> None:
    environ = {f"LISTEN_{name}": value for name, value in variables.items()}
    with pytest.raises(UsageError) as caught:
        inherited_sockets(environ, pid=77)
    assert hint in str(caught.value)
    assert environ == {}


def _free_port() -> int:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.peer
def test_systemd_socket_activate_passes_three_kinds_at_once(require_peer: Any, short_path: Path) -> None:
    program = require_peer("systemd-socket-activate")
    abstract = f"reserve-systemd-{os.getpid()}"
    for _ in range(20):  # it does not accept port 0, and another process may take a port that was free
        port = _free_port()
        binds = [f"--listen=[::1]:{port}", f"--listen={short_path}/x", f"--listen=@{abstract}"]
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            [program, *binds, f"--setenv=PYTHONPATH={root}", sys.executable, "-c", CHECK],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if f"Listening on @{abstract}" in line:
                    break
            if any("Address already in use" in line for line in lines):
                continue
            # The program is started by the first connection to any of them.
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{short_path}/x")
                out, rest = process.communicate(timeout=PATIENCE)
        break
    passed = [line.split()[1:] for line in out.splitlines()[:-1]]
    assert passed == [
        [name, "False", "False"] for name in (f"[::1]:{port}", f"unix:{short_path}/x", f"unix:@{abstract}")
    ], out + rest
    assert out.splitlines()[-1] == "[]"
