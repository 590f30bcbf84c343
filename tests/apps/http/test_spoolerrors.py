"""What the log and the client are told when a body or a response cannot be put into a file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.bufferedbody import BodyStore
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.output import Output
from reserve.testing import MemoryClient
from tests.apps.http.doubles import failing
from tests.apps.http.responses import request


def app(environ: Any, start_response: Any) -> Any:
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"x" * 10000 for _ in range(3))


CASES = [
    (errno.ENOSPC, 507, "(--spool-dir)"),
    (errno.EACCES, 500, "(--spool-dir)"),
    (errno.EMFILE, 503, "(raise the limit of open files: ulimit -n)"),
    (errno.ENFILE, 503, "(raise the limit of open files: ulimit -n)"),
]


@pytest.mark.parametrize(("number", "status", "hint"), CASES)
def test_a_body_that_cannot_be_stored(number: int, status: int, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BodyStore, "open", failing(number))
    client = MemoryClient(app)
    response = client.send(request("POST", "/upload?a=b", body=b"x"))
    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert (b"--spool-dir" in response) is ("--spool-dir" in hint)
    (line,) = client.log
    assert line.startswith("POST /upload?a=b from 127.0.0.1:50000: the body of the request cannot be stored in ")
    assert line.endswith(f"{hint}: {os.strerror(number)}")


@pytest.mark.parametrize(("number", "hint"), [(number, hint) for number, _, hint in CASES])
def test_a_response_that_cannot_be_stored(
    number: int, hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Output, "spill", failing(number))
    client = MemoryClient(app, HTTPSettings(response_memory=100, spool_dir=str(tmp_path)))
    client.read(200)
    client.send(request("GET", "/download"))
    line = client.log[0]
    assert line.startswith("GET /download from 127.0.0.1:50000: the application waits for its client, because ")
    assert line.endswith(f"{hint}: {os.strerror(number)}")


def test_a_long_target_is_truncated_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BodyStore, "open", failing(errno.ENOSPC))
    client = MemoryClient(app)
    client.send(request("POST", "/" + "a" * 5000, body=b"x"))
    assert len(client.log[0]) < 500
