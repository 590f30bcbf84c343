"""The example with every trouble: each path makes its own, within limits."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from reserve.examples import trouble
from reserve.loader.arguments import Arguments
from reserve.loader.find import find
from reserve.testing import running
from tests.clients import connect, until_closed
from tests.waiting import eventually


def call(path: str, query: str = "", **extra: Any) -> tuple[str, Iterable[bytes]]:
    environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query, **extra}
    setup_testing_defaults(environ)
    statuses: list[str] = []
    body = trouble.application(environ, lambda status, headers, exc_info=None: statuses.append(status))  # type: ignore[arg-type, return-value]
    return statuses[0], body


def test_the_command_finds_it() -> None:
    app = find("http").launch(Arguments(["reserve http", "wsgi", "trouble"]))
    assert app.gateway.app is trouble.application  # type: ignore[attr-defined]


def test_a_path_without_trouble_and_one_that_there_is_not() -> None:
    assert call("/") == ("200 OK", [b"no trouble\n"])
    status, body = call("/other")
    assert status == "404 Not Found"
    assert b"/wait /listen /compute /hold /error" in b"".join(body)


@pytest.mark.parametrize("path", ["/wait", "/listen", "/hold"])
def test_it_takes_the_time_that_the_query_says(path: str) -> None:
    before = time.monotonic()
    assert call(path, "seconds=0.2")[0] == "200 OK"
    assert time.monotonic() - before >= 0.2


def test_it_computes() -> None:
    before = time.thread_time()
    assert call("/compute", "seconds=0.1")[0] == "200 OK"
    assert time.thread_time() - before >= 0.1


def test_the_server_knows_that_it_only_waits() -> None:
    with running(trouble.application, threads=1) as served, connect(served.address) as client:
        client.sendall(b"GET /listen?seconds=0.5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        eventually(lambda: served.server.stats().waiting == 1)
        assert b"listened" in until_closed(client)[0]


def test_it_fails() -> None:
    with pytest.raises(RuntimeError, match="the error of /error"):
        call("/error")


@pytest.mark.parametrize("megabytes", [0, 0.01, 1, 1.5])
def test_a_response_is_as_large_as_the_query_says(megabytes: float) -> None:
    _, body = call("/large", f"megabytes={megabytes}")
    assert sum(map(len, body)) == int(megabytes * (1 << 20))


def test_memory_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    leaked: list[bytes] = []
    monkeypatch.setattr(trouble, "_leaked", leaked)
    call("/leak", "megabytes=2")
    call("/leak")
    assert [len(piece) for piece in leaked] == [2 << 20, 1 << 20]


@pytest.mark.parametrize(
    ("path", "query"),
    [("/wait", "seconds=61"), ("/compute", "seconds=-1"), ("/hold", "seconds=nan"), ("/leak", "megabytes=101"),
     ("/large", "megabytes=x"), ("/listen", "seconds=inf")],
)  # fmt: skip
def test_there_is_a_limit(path: str, query: str) -> None:
    status, body = call(path, query)
    assert status == "400 Bad Request"
    assert b"is a number from 0 to" in b"".join(body)


def test_the_process_ends() -> None:
    program = "from reserve.examples.trouble import application as a; a({'PATH_INFO': '/exit'}, lambda *rest: None)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 70
