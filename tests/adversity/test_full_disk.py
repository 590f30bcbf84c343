"""A body that does not fit on the disk: 507, no file is left, and the next request is served."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.adversity.holding import ask, serving
from tests.apps.http.responses import request

pytest.importorskip("resource", reason="the limit of a file's size stands in for a full disk")

PROGRAM = """
import os, resource, signal, sys
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Hooks
from reserve.testing import running

def app(environ, start_response):
    start_response("200 OK", [])
    return [str(len(environ["wsgi.input"].read())).encode()]

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
log = []
hooks = Hooks(error_log=lambda level, text: log.append(text))
with running(app, http=HTTPSettings(access_log=False, spool_dir=sys.argv[1]), threads=2, hooks=hooks) as served:
    before = len(os.listdir("/dev/fd"))
    print(served.address[1], flush=True)
    sys.stdin.readline()
    stats = served.server.stats()
    # A connection is uncounted a moment before its descriptor is closed. If this takes too long, the test fails.
    while stats.connections or len(os.listdir("/dev/fd")) != before:
        stats = served.server.stats()
    print(stats.threads, stats.buffered, stats.spooled, flush=True)
    sys.stdin.read()
reason = "the body of the request cannot be stored in"
refusals = [line for line in log if " from 127.0.0.1:" in line and reason in line]
counts = [int(line.split()[1]) for line in log if line.endswith(": request bodies that cannot be stored")]
assert len(refusals) + len(counts) == len(log) and all("--spool-dir" in line for line in refusals), log
print(len(refusals) + sum(counts))
"""


@pytest.mark.parametrize("chunks", [0, 100_000], ids=["a length", "chunks"])
def test_a_body_that_does_not_fit_is_refused_and_leaves_no_file(chunks: int, tmp_path: Path) -> None:
    large = request("POST", "/", "Connection: close", body=b"x" * 2_000_000, chunks=chunks)
    fits = request("POST", "/", "Connection: close", body=b"x" * 290_000, chunks=chunks)
    small = request("POST", "/", "Connection: close", body=b"x" * 1000, chunks=chunks)
    with serving(PROGRAM, str(tmp_path)) as server:
        port = server.line()
        for _ in range(5):
            refused = ask(port, large)
            assert (refused.status, refused.whole, refused.fields["connection"]) == (507, True, "close")
            assert os.listdir(tmp_path) == []
            assert [ask(port, raw).text for raw in (small, fits)] == ["1000", "290000"]
        server.tell("?")
        assert server.line() == "2 0 0"
        server.end()
        assert server.out == "5\n"
    assert os.listdir(tmp_path) == []
