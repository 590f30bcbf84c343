"""The hooks of a program: in which order and on which thread they are called, and what happens when one fails."""

from __future__ import annotations

import threading
from typing import Any

from reserve.engine.server import Hooks, Server
from reserve.sockets.listeners import listen
from tests.clients import connect
from tests.engine.conftest import Serve, echo
from tests.waiting import PATIENCE, eventually


def test_the_hooks_are_called_in_order_and_their_failures_are_logged(serve: Serve) -> None:
    calls: list[tuple[str, str]] = []
    lines: list[str] = []

    def hook(name: str) -> Any:
        def run() -> None:
            calls.append((name, threading.current_thread().name.rstrip("0123456789")))
            raise (SystemExit if "thread" in name else ValueError)(name)

        return run

    names = ["on_worker_start", "on_thread_start", "on_thread_stop", "on_worker_stop"]
    hooks = Hooks(**{name: hook(name) for name in names}, error_log=lambda level, text: lines.append(text))
    server = serve(echo, threads=1, hooks=hooks).server
    server.stop()
    here = threading.current_thread().name
    assert calls == [
        ("on_worker_start", here), ("on_thread_start", "reserve-worker-"), ("on_thread_stop", "reserve-worker-"),
        ("on_worker_stop", "reserve-stop"),
    ]  # fmt: skip
    assert [line.split("\n")[0] for line in lines] == [f"the hook {name} failed" for name in names]


def test_the_hook_for_ready_is_called_once_the_server_accepts_and_cannot_end_it() -> None:
    answers: list[bytes] = []
    lines: list[str] = []

    def ready() -> None:
        with connect(addresses[0]) as client:
            client.sendall(b"once")
            answers.append(client.recv(4))
        raise SystemExit("ready")

    [listener] = listen("127.0.0.1:0")
    addresses = [listener.getsockname()]
    server = Server(listener, echo, hooks=Hooks(on_ready=ready, error_log=lambda level, text: lines.append(text)))
    thread = threading.Thread(target=server.start)
    thread.start()
    assert server.wait_ready(PATIENCE)
    eventually(lambda: bool(lines))
    with connect(addresses[0]) as client:
        client.sendall(b"more")
        answers.append(client.recv(4))
    server.stop()
    thread.join(PATIENCE)
    assert answers == [b"once", b"more"]
    assert lines[0].startswith("the hook on_ready failed\nTraceback")
    assert lines[0].endswith("SystemExit: ready")
