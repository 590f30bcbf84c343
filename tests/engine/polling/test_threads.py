"""Starting threads: what is said when the system starts no more, and that a server that cannot start leaves nothing."""

from __future__ import annotations

import gc
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Any

import pytest

from reserve import ReserveWSGIServer, listen
from reserve.engine.polling.threads import asynchronous_signals, frame_of, signal_mask, start_service, start_thread
from reserve.errors import StartupError
from tests.waiting import PATIENCE


def app(environ: object, start_response: object) -> list[bytes]:
    return []


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_the_message_names_the_thread_and_the_limits(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(thread: threading.Thread) -> None:
        raise error

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(StartupError) as caught:
        start_thread(threading.Thread(name="mine"))
    text = str(caught.value)
    assert text.startswith(f"the thread mine could not be started ({str(error) or 'out of memory'}); ")
    for part in ("threads run in this process", "ulimit -u", "pids", "ulimit -v", "--threads"):
        assert part in text


@pytest.mark.parametrize("count", range(6))
def test_a_server_whose_threads_cannot_all_be_started_leaves_nothing(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its logs, its monitor, its workers and its accept thread; the test fails if a thread or a descriptor is left."""
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def refused(thread: threading.Thread) -> None:
        if len(started) == count:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    server = ReserveWSGIServer(listen("127.0.0.1:0"), app, threads=2, access_log=True)
    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(StartupError, match="could not be started"):
        server.serve_in_background()
    assert len(started) == count
    for thread in started:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    server.stop()


@pytest.mark.parametrize("enabled", [True, False])
def test_no_collection_begins_while_the_frame_of_a_thread_is_looked_up(
    enabled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, during = sys._current_frames, []

    def current_frames() -> dict[int, FrameType]:
        during.append(gc.isenabled())
        return real()

    monkeypatch.setattr(sys, "_current_frames", current_frames)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)  # without it no frame is looked up
    if not enabled:
        gc.disable()
    try:
        frame = frame_of(threading.current_thread())
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
    assert frame is not None
    assert during == [False]
    assert frame_of(threading.Thread()) is None


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this platform has no signal masks")
def test_a_service_thread_takes_no_signal_and_leaves_its_starter_alone() -> None:
    before, masks = signal_mask(), []
    thread = threading.Thread(target=lambda: masks.append(signal_mask()))
    start_service(thread)
    thread.join(PATIENCE)
    assert signal_mask() == before
    (mask,) = masks
    assert asynchronous_signals() - {signal.SIGKILL, signal.SIGSTOP} <= mask
    assert signal.SIGHUP in mask
    assert not {signal.SIGSEGV, signal.SIGABRT} & mask


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this platform has no signal masks")
def test_a_worker_that_a_service_thread_starts_blocks_what_all_workers_block() -> None:
    # A process that the application starts would otherwise never see a SIGTERM.
    before, masks, met = signal_mask(), [], threading.Barrier(2, timeout=PATIENCE)

    def application(environ: object, start_response: Any) -> list[bytes]:
        met.wait()
        masks.append(signal_mask())
        start_response("200 OK", [])
        return [b"x"]

    def get(address: tuple[str, int]) -> None:
        with socket.create_connection(address, PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while client.recv(4096):
                pass

    server = ReserveWSGIServer(listen("127.0.0.1:0"), application, threads=1)
    server.serve_in_background()
    try:
        resizing = threading.Thread(target=server.set_threads, args=(2, 2))
        start_service(resizing)
        resizing.join(PATIENCE)
        clients = [threading.Thread(target=get, args=server.addresses) for _ in range(2)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(PATIENCE)
    finally:
        server.stop()
    assert masks == [before, before]
