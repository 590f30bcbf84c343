"""A server with nothing to do makes no system call: none of its threads wakes up, with or without open connections."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.adversity.holding import connect, serving
from tests.apps.http.responses import receive, request

pytestmark = [pytest.mark.peer, pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")]

PROGRAM = """
import sys, time
from reserve.apps.http.settings import HTTPSettings
from reserve.testing import running

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]

http = HTTPSettings(access_log=False, keep_alive=600.0, head_timeout=600.0)
with running(app, http=http, threads=4) as served:
    print(served.address[1], flush=True)
    sys.stdin.readline()
    while not served.server._runtime.monitor._alarm.asleep:
        time.sleep(0.001)
    print("quiet", flush=True)
    sys.stdin.read()
"""
SECONDS = float(os.environ.get("RESERVE_IDLE_SECONDS", "3"))
"""Seconds in which no thread may wake up; ``RESERVE_IDLE_SECONDS=60`` is the long form."""


def test_an_idle_server_makes_no_system_calls(require_peer: Callable[[str], str], tmp_path: Path) -> None:
    strace = require_peer("strace")
    trace = tmp_path / "trace"
    with serving(PROGRAM) as server, ExitStack() as stack:
        port = server.line()
        kept, silent = (stack.enter_context(connect(port)) for _ in range(2))
        for _ in range(20):
            kept.sendall(request())
            assert receive(kept).body == b"served"
        silent.sendall(b"GET / HTTP")
        server.tell("wait until the monitor sleeps")
        assert server.line() == "quiet"
        command = [strace, "-f", "-qq", "-o", str(trace), "-p", str(server.process.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracing:
            try:
                _, errors = tracing.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                tracing.terminate()
                _, errors = tracing.communicate()
        if "ptrace" in errors:
            if os.environ.get("RESERVE_CI") == "1" and os.getuid() == 0:
                pytest.fail(errors)
            pytest.skip(f"this system does not let strace look: {errors.strip()}")
        kept.sendall(request())
        assert receive(kept).body == b"served"
    calls = trace.read_text().splitlines()
    threads = {line.split()[0] for line in calls}
    assert len(threads) >= 7, calls  # main, accept, monitor, log, and four workers: each is in one wait
    assert all("unfinished" in line or "detached" in line or "resuming" in line for line in calls), calls
    assert len(calls) <= 2 * len(threads), calls
