"""A listener as standard input, as web servers pass it to the FastCGI programs that they start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from reserve.sockets.listeners import describe, listen
from tests.waiting import PATIENCE

PROGRAM = """
import os, subprocess, sys
from reserve.sockets.listeners import describe
from reserve.sockets.stdin import take_stdin

listener = take_stdin()
if listener is None:
    print("none", end="")
else:
    link = "import os; print(os.readlink('/proc/self/fd/0'))"
    child = subprocess.run([sys.executable, "-c", link], stdout=-1, text=True)
    print(describe(listener), listener.fileno() > 2, listener.getblocking(), listener.get_inheritable())
    print(child.stdout, repr(sys.stdin.read()), take_stdin(), end="")
    listener.close()
    assert os.open(os.devnull, os.O_RDONLY) > 2
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def output_with(stdin: Any) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdin=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "unix:PATH"])
def test_a_listener_is_taken_and_replaced_by_the_null_device(address: str, short_path: Path) -> None:
    path = short_path / "x"
    (listener,) = listen(address.replace("PATH", str(path)))
    with closing(listener):
        assert output_with(listener) == f"{describe(listener)} True False False\n/dev/null\n '' None"
        assert path.exists() == ("unix" in address)  # the file belongs to the process that has made it


def _pipe(stack: ExitStack) -> Any:
    return subprocess.DEVNULL


def _connection(stack: ExitStack) -> socket.socket:
    first, second = socket.socketpair()
    stack.enter_context(second)
    return stack.enter_context(first)


def _datagram(stack: ExitStack) -> socket.socket:
    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    return sock


def _not_listening(stack: ExitStack) -> socket.socket:
    sock = stack.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    return sock


def _file(stack: ExitStack) -> Any:
    return stack.enter_context(open(__file__))


@pytest.mark.parametrize("make", [_pipe, _connection, _datagram, _not_listening, _file])
def test_anything_else_stays_standard_input(make: Any, stack: ExitStack) -> None:
    stdin = make(stack)
    assert output_with(stdin) == "none"
    if isinstance(stdin, socket.socket):
        assert os.get_blocking(stdin.fileno())


def test_it_may_be_closed() -> None:
    program = "import os; os.close(0)\n" + PROGRAM
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (result.returncode, result.stdout) == (0, "none"), result.stderr
