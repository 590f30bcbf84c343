"""What the kernel says of a thread: it sleeps, it does not, or nothing."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable

import pytest

from reserve.engine.polling import threadstate
from reserve.engine.polling.threadstate import run_queue_wait, sleeps
from tests.waiting import eventually

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/self/task is Linux's")


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Have every file of /proc say the same."""

    def say(content: bytes) -> None:
        monkeypatch.setattr(threadstate, "_read", lambda path, size: content[:size])

    return say


@on_linux
def test_a_thread_that_waits_for_a_lock_sleeps() -> None:
    lock = threading.Lock()
    with lock:
        thread = threading.Thread(target=lambda: lock.acquire() and lock.release())
        thread.start()
        eventually(lambda: sleeps(thread.native_id))
    thread.join()


@on_linux
def test_the_calling_thread_runs() -> None:
    assert sleeps(threading.get_native_id()) is False


@on_linux
def test_a_thread_that_waits_for_nothing_but_the_gil_does_not_sleep() -> None:
    """The caller has the GIL when it asks; the other thread computes, and gets it while the kernel is asked."""
    end = threading.Event()

    def compute() -> None:
        while not end.is_set():
            pass

    thread = threading.Thread(target=compute)
    thread.start()
    seen = [sleeps(thread.native_id) for _ in range(20)]
    end.set()
    thread.join()
    assert seen == [False] * 20


@on_linux
def test_the_time_in_the_run_queue_never_decreases() -> None:
    first = run_queue_wait()
    second = run_queue_wait()
    assert first is not None
    assert second is not None
    assert 0.0 <= first <= second


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"7 (python) R 1 2", False),
        (b"7 (python) S 1 2", True),
        (b"7 (python) D 1 2", True),
        (b"7 (a) R (b) S 1 2", True),
        (b"7 (python) Z 1 2", False),
        (b"7 (python", None),
        (b"", None),
    ],
)
def test_the_state_stands_after_the_name(files: Callable[[bytes], None], content: bytes, expected: bool | None) -> None:
    files(content)
    assert sleeps(7) is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"5 1500000000 3\n", 1.5), (b"0 0 0\n", None), (b"5 x 3\n", None), (b"5 7\n", None), (b"", None)],
)
def test_a_kernel_that_does_not_count_tells_nothing(
    files: Callable[[bytes], None], content: bytes, expected: float | None
) -> None:
    files(content)
    assert run_queue_wait() == expected


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EMFILE, errno.EACCES, errno.EPERM])
def test_a_file_that_cannot_be_opened_tells_nothing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(*args: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", fail)
    assert sleeps(threading.get_native_id()) is None
    assert run_queue_wait() is None


def test_a_thread_that_has_no_number_tells_nothing() -> None:
    assert sleeps(None) is None
