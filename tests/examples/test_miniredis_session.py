"""miniredis on connections: pipelining, replies that wait, errors that disconnect, and its arguments."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator

import pytest

from reserve.errors import UsageError
from reserve.examples.miniredis import launch
from reserve.examples.miniredis.resp import Limits
from reserve.examples.miniredis.session import MiniRedis
from reserve.loader.arguments import Arguments
from reserve.loader.find import find
from reserve.testing import RunningServer, running
from tests import tls
from tests.clients import receive, receive_all
from tests.waiting import eventually


@contextlib.contextmanager
def serving(handle: MiniRedis | None = None, **options: int) -> Iterator[tuple[RunningServer, socket.socket]]:
    with running(handle or MiniRedis(), wsgi=False, threads=1, **options) as served, served.connect() as client:
        yield served, client


def test_commands_that_arrive_together_get_their_replies_in_order() -> None:
    with serving() as (served, client):
        count = 5000
        client.sendall(
            b"".join(b"*3\r\n$6\r\nINCRBY\r\n$1\r\na\r\n$1\r\n1\r\n" for _ in range(count)) + b"QUIT\r\nPING\r\n"
        )
        expected = b"".join(b":%d\r\n" % number for number in range(1, count + 1)) + b"+OK\r\n"
        assert receive(client, len(expected)) == expected
        assert receive_all(client) == b""
        assert served.server.stats().handled < count / 10


def test_commands_that_take_long_let_the_other_clients_have_a_turn() -> None:
    seconds = itertools.count()
    with serving(MiniRedis(clock=lambda: float(next(seconds)))) as (served, client):  # each command takes one
        client.sendall(b"".join(b"*2\r\n$4\r\nKEYS\r\n$1\r\nx\r\n" for _ in range(50)))
        assert receive(client, 200) == b"*0\r\n" * 50
        assert served.server.stats().handled >= 50


def test_connections_share_the_keys() -> None:
    with serving() as (served, client), served.connect() as other:
        client.sendall(b"SET a 1\r\n")
        assert receive(client, 5) == b"+OK\r\n"
        other.sendall(b"GET a\r\n")
        assert receive(other, 7) == b"$1\r\n1\r\n"


def test_an_error_of_the_protocol_is_the_last_reply() -> None:
    with serving(MiniRedis(Limits(value=100))) as (_, client):
        client.sendall(b"PING\r\nNOSUCH\r\n*1\r\n$200\r\n")
        assert receive_all(client) == (
            b"+PONG\r\n-ERR unknown command 'NOSUCH'\r\n"
            b"-ERR Protocol error: invalid bulk length: 200, and --max-value is 100\r\n"
        )


def test_a_reply_that_is_too_long_is_an_error() -> None:
    with serving(max_output=10_000) as (_, client):
        for _ in range(9):
            client.sendall(b"RPUSH l " + b"x" * 1000 + b"\r\n")
            assert receive(client, 4)[:1] == b":"
        client.sendall(b"LRANGE l 0 -1\r\nLLEN l\r\n")
        expected = b"-ERR the reply has 9085 bytes, and --max-output allows 5000 of them\r\n:9\r\n"
        assert receive(client, len(expected)) == expected


@pytest.mark.parametrize("with_tls", [False, True])
def test_replies_wait_for_a_client_that_does_not_read(with_tls: bool) -> None:
    """Nothing is lost, no thread waits, and little memory is used."""
    handle = MiniRedis()
    adapter = tls.adapter() if with_tls else None
    count = 3000
    with running(handle, wsgi=False, threads=1, ssl_adapter=adapter) as served, contextlib.ExitStack() as stack:
        client = stack.enter_context(served.connect())
        other = stack.enter_context(served.connect())
        if with_tls:
            client, other = (stack.enter_context(tls.wrap_client(sock)) for sock in (client, other))
        client.sendall(b"SET a " + b"x" * 5000 + b"\r\n" + b"GET a\r\n" * count)
        eventually(lambda: served.server.stats().flushing == 1)
        assert served.server.stats().buffered < 400_000
        other.sendall(b"DBSIZE\r\n")
        assert receive(other, 4) == b":1\r\n"
        assert receive(client, 5) == b"+OK\r\n"
        reply = b"$5000\r\n" + b"x" * 5000 + b"\r\n"
        for _ in range(count):
            assert receive(client, len(reply)) == reply


def test_the_arguments_are_the_limits() -> None:
    application = find("miniredis")
    arguments = Arguments(["reserve miniredis", "--max-value", "5", "--max-arguments=6", "--max-memory", "7"])
    handle = application.launch(arguments)
    assert isinstance(handle, MiniRedis)
    assert handle.limits == Limits(value=5, arguments=6)
    assert handle.database.max_memory == 7
    assert handle.client_speaks_first
    assert "--max-command" in application.arguments
    with pytest.raises(UsageError, match=r"did you mean --threads\?"):
        application.launch(Arguments(["reserve miniredis", "--thread=2"], reserved=["--threads"]))


@pytest.mark.parametrize("arguments", [["loud"], ["--max-value", "0"], ["--max-value", "x"]])
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        launch(["reserve miniredis", *arguments])
    assert caught.value.code == 2
    assert "usage: reserve miniredis" in capsys.readouterr().err
