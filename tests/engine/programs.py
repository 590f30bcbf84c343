"""Programs that need a process of their own, because of signals, limits or what the platform lacks."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.waiting import PATIENCE

SERVING = """
import os, signal, socket, sys, threading
from reserve import Server, listen, Park
reasons = []
def handle(sock, address, server):
    return Park(lambda: None, on_close=reasons.append)
server = Server(listen("127.0.0.1:0"), handle, threads=2)
"""
"""The beginning of a program: ``server`` is not started yet; ``reasons`` has why each connection was closed."""

INTERRUPTING_CLIENT = """
def visit():
    server.wait_ready()
    with socket.create_connection(server.addresses[0]) as client:
        while not server.stats().parked:
            pass
        os.kill(os.getpid(), signal.SIGINT)
        assert client.recv(10) == b""
thread = threading.Thread(target=visit)
thread.start()
"""
"""What may follow: a thread that connects, interrupts the process, and waits until its connection is closed."""


def run_program(program: str) -> str:
    """Run the source ``program`` in a process of its own; what it printed.

    It has to exit with 0 within :data:`tests.waiting.PATIENCE` and must write nothing to standard error.
    """
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONWARNINGS": "error"}
    completed = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        text=True,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stderr == "", completed.stderr
    return completed.stdout
