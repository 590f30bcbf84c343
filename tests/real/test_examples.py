"""The examples of handlers, as the installed command serves them, with the clients that they are made for."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.clients import receive
from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.processes import run
from tests.real.serving import ServerProcess
from tests.waiting import PATIENCE

RequirePeer = Callable[[str], str]
Redis = Callable[..., str]


# ---- miniredis ----


@pytest.fixture
def redis(serve: Serve, require_peer: RequirePeer) -> Redis:
    """``redis(server, *arguments)``: what redis-cli prints; ``input`` is what it reads."""
    program = require_peer("redis-cli")

    def redis(server: ServerProcess, *arguments: str, input: str | None = None) -> str:
        host, port = server.address
        done = run([program, "-h", host, "-p", str(port), *arguments], input=input, text=True, check=True)
        return str(done.stdout)

    return redis


@pytest.mark.peer
def test_redis_cli_reads_and_writes(serve: Serve, redis: Redis) -> None:
    with serve("app", "miniredis", "--max-value", "1000") as server:
        assert redis(server, "SET", "a", "two words\r\n") == "OK\n"
        assert redis(server, "--no-raw", "GET", "a") == '"two words\\r\\n"\n'
        assert redis(server, "--no-raw", "GET", "none") == "(nil)\n"
        assert redis(server, "--no-raw", "INCR", "n") == "(integer) 1\n"
        assert redis(server, "RPUSH", "l", "a", "b", "c") == "3\n"
        assert redis(server, "LRANGE", "l", "0", "-1") == "a\nb\nc\n"
        assert redis(server, "SET", "b", "x", "EX", "100") == "OK\n"
        assert redis(server, "TTL", "b") in {f"{seconds}\n" for seconds in range(1, 101)}
        assert "WRONGTYPE" in redis(server, "GET", "l")
        assert redis(server, "-x", "SET", "c", input="x" * 900) == "OK\n"
        assert redis(server, "STRLEN", "c") == "900\n"
        assert sorted(redis(server, "--scan").split()) == ["a", "b", "c", "l", "n"]
        assert redis(server, "CONFIG", "GET", "appendonly") == "appendonly\nno\n"
        assert "redis_version:" in redis(server, "INFO")
        # As a person types: commands are read from standard input on one connection.
        assert redis(server, input="PING\nHELLO 2\nDBSIZE\nFLUSHALL\nDBSIZE\n").split()[-3:] == ["5", "OK", "0"]


@pytest.mark.peer
def test_redis_cli_pipes_commands_in(serve: Serve, redis: Redis) -> None:
    commands = "".join(f"*3\r\n$3\r\nSET\r\n${len(str(n)) + 1}\r\nk{n}\r\n$1\r\nx\r\n" for n in range(20_000))
    with serve("app", "miniredis") as server:
        assert "errors: 0, replies: 20000" in redis(server, "--pipe", input=commands)
        assert redis(server, "DBSIZE") == "20000\n"
        assert len(set(redis(server, "--scan", "--pattern", "k1*").split())) == 11_111


@pytest.mark.peer
@pytest.mark.parametrize("pipeline", [1, 16])
def test_redis_benchmark_runs_its_default_tests(serve: Serve, require_peer: RequirePeer, pipeline: int) -> None:
    with serve("app", "miniredis", "--threads", "2") as server:
        host, port = server.address
        command = [require_peer("redis-benchmark"), "-h", host, "-p", str(port), "-c", "50", "-n", "2000", "--csv"]
        done = run([*command, "-P", str(pipeline)], text=True, check=True, timeout=300)
    assert done.stderr == ""
    rows = dict(re.findall(r'^"([A-Z_0-9]+)[^"]*","([0-9.]+)"', done.stdout, re.M))
    assert rows.keys() >= {
        "PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP", "RPOP", "SADD", "HSET", "SPOP",
        "ZADD", "ZPOPMIN", "LRANGE_100", "LRANGE_300", "LRANGE_500", "LRANGE_600", "MSET",
    }  # fmt: skip
    assert all(float(rate) > 0 for rate in rows.values())
    assert "error" not in done.stdout.lower()


# ---- chat ----


def test_people_talk_with_plain_sockets(serve: Serve) -> None:
    with (
        serve("app", "chat", "--max-line", "50", "--threads", "1") as server,
        server.connect() as ann,
        server.connect() as bob,
    ):
        welcome = b"Welcome. What is your name?\r\n"
        assert receive(ann, len(welcome)) == receive(bob, len(welcome)) == welcome
        for person, name, number in (ann, b"ann", 1), (bob, b"bob", 2):
            person.sendall(name + b"\r\n")
            reply = b"You are %b; %d here. /help lists the commands.\r\n" % (name, number)
            assert receive(person, len(reply)) == reply
        ann.sendall("hé\n".encode())
        ann.sendall(b"x" * 51 + b"\n")
        expected = b"* bob is here\r\nThat line was too long: 50 bytes are the most.\r\n"
        assert receive(ann, len(expected)) == expected
        line = "<ann> hé\r\n".encode()
        assert receive(bob, len(line)) == line
        ann.shutdown(socket.SHUT_WR)
        assert receive(bob, 16) == b"* ann has left\r\n"


def test_the_help_has_the_arguments_of_the_example(installed: Installed) -> None:
    done = run([installed.reserve, "app", "chat", "-h"], text=True, check=True)
    assert "--name-timeout" in done.stdout


# ---- tlsecho ----


@pytest.mark.peer
def test_openssl_shows_a_certificate_and_gets_an_echo(
    serve: Serve, authority: Authority, cert: str, require_peer: RequirePeer, tmp_path: Path
) -> None:
    program = require_peer("openssl")
    ann = authority.issue("ann", "ann@a.test", common_name="ann").both
    bob = authority.issue("bob", "bob@a.test", common_name="bob").both
    options = ["--tls-cert", cert, "--tls-client-cert", "required", "--tls-client-ca", authority.pem]
    failed = r".* INFO: 127\.0\.0\.1:\d+: the TLS handshake failed: .*"
    refused = r".* WARNING: tlsecho: 127\.0\.0\.1: refused: bob is not among those that --allow names"
    with serve("app", "tlsecho", *options, "--allow", "ann", log=[refused, failed]) as server:
        host, port = server.address
        command = [program, "s_client", "-connect", f"{host}:{port}", "-quiet", "-CAfile", authority.pem]
        own = [*command, "-no_ign_eof", "-cert", ann, "-key", ann]
        with subprocess.Popen(own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write("hello\n")
            client.stdin.flush()
            lines = []
            for line in client.stdout:
                lines.append(line.rstrip("\n"))
                if line == "hello\n":
                    break
            client.stdin.close()
            client.wait(PATIENCE)
        assert lines[0] == "protocol: TLSv1.3"
        assert any(line.startswith("subject: ") and "CN=ann" in line for line in lines)
        assert "Email: ann@a.test" in lines
        assert lines[-2:] == ["", "hello"]
        done = run([*command, "-cert", bob, "-key", bob], input=b"hello\n")
        assert done.stdout == b"refused: bob is not among those that --allow names\n"
        done = run(command, input=b"hello\n")
        assert b"hello" not in done.stdout
