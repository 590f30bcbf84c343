"""The lock of a waiter: the one in C is a :class:`threading.Lock` that is released without the GIL."""

from __future__ import annotations

import gc
import importlib.util
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.engine.polling import waiter
from reserve.engine.polling.waiter import Lock, Waiter, lock_type
from tests.apps.http import straightbuild
from tests.waiting import PATIENCE, eventually

SOURCE = Path(waiter.__file__).with_name("_lock.c")
COMPILED = importlib.util.find_spec("reserve.engine.polling._lock") is not None
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
compiled = pytest.mark.skipif(not COMPILED, reason="the lock in C is not compiled")


@pytest.fixture(params=["C", "Python"])
def make(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """Each class of locks."""
    if request.param == "Python":
        return threading.Lock
    if not COMPILED:
        pytest.skip("the lock in C is not compiled")
    from reserve.engine.polling._lock import Lock

    return Lock


@pytest.fixture
def long_switch_interval() -> Iterator[None]:
    """No thread has to give up the GIL because another one waits for it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    yield
    sys.setswitchinterval(before)


# ---- which lock ----


@compiled
@pytest.mark.skipif(not HAS_GIL or os.environ.get("RESERVE_PURE") == "1", reason="the lock in C is not used")
def test_a_waiter_uses_the_lock_in_c() -> None:
    from reserve.engine.polling import _lock

    assert lock_type() is _lock.Lock
    assert type(Waiter().wake_once.__self__) is _lock.Lock  # type: ignore[attr-defined]


def test_reserve_pure_chooses_the_lock_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESERVE_PURE", "1")
    assert lock_type() is threading.Lock


def test_without_a_gil_there_is_none_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESERVE_PURE", raising=False)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert lock_type() is threading.Lock


def test_without_the_compiled_module_the_lock_is_that_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESERVE_PURE", raising=False)
    monkeypatch.setitem(sys.modules, "reserve.engine.polling._lock", None)
    monkeypatch.delattr("reserve.engine.polling._lock", raising=False)
    assert lock_type() is threading.Lock


# ---- what only the lock in C does ----


@compiled
@pytest.mark.skipif(not HAS_GIL, reason="there is no GIL")
@pytest.mark.usefixtures("long_switch_interval")
def test_a_wake_up_gives_up_the_gil() -> None:
    """A thread that waits for nothing but the GIL gets it while another one is woken again and again."""
    from reserve.engine.polling._lock import Lock

    lock, began, ended = Lock(), threading.Event(), []

    def run() -> None:
        began.set()
        for _ in range(200):
            select.select((), (), (), 0)  # gives the GIL up, and waits for it
        ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    assert began.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while not ended and time.monotonic() < deadline:
        assert lock.acquire()
        lock.release()
    assert ended
    thread.join(PATIENCE)


# ---- what both do ----


def test_a_free_lock_is_taken_and_a_held_one_is_not(make: Callable[[], Lock]) -> None:
    lock = make()
    assert lock.acquire()
    assert not lock.acquire(timeout=0)
    assert not lock.acquire(timeout=0.001)
    assert not lock.acquire(False)
    assert not lock.acquire(blocking=False)
    with pytest.raises(ValueError, match="non-blocking"):
        lock.acquire(False, 1.0)
    lock.release()
    assert lock.acquire(timeout=0)


def test_the_release_of_a_free_lock_is_an_error(make: Callable[[], Lock]) -> None:
    lock = make()
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        lock.release()
    lock.acquire()
    lock.release()
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        lock.release()


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(-2.0, ValueError), (float("nan"), ValueError), (1e300, OverflowError), (float("inf"), OverflowError),
     ("1", TypeError), (None, TypeError)],
)  # fmt: skip
@pytest.mark.parametrize("held", [False, True])
def test_a_timeout_that_is_none_is_refused(
    make: Callable[[], Lock], held: bool, timeout: Any, error: type[Exception]
) -> None:
    lock = make()
    if held:
        lock.acquire()
    with pytest.raises(error):
        lock.acquire(timeout=timeout)


@pytest.mark.parametrize("timeout", [-1.0, PATIENCE])
def test_each_release_lets_one_of_the_threads_that_wait_go_on(make: Callable[[], Lock], timeout: float) -> None:
    lock, got = make(), []
    lock.acquire()
    threads = [threading.Thread(target=lambda: got.append(lock.acquire(timeout=timeout))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 5):
        lock.release()
        eventually(lambda number=number: len(got) == number)  # type: ignore[misc]
    for thread in threads:
        thread.join(PATIENCE)
    assert got == [True] * 4
    assert not lock.acquire(timeout=0)


def test_two_threads_that_wake_each_other_never_miss_a_wake_up(make: Callable[[], Lock]) -> None:
    locks = make(), make()
    for lock in locks:
        lock.acquire()

    def run(own: Lock, other: Lock) -> None:
        for _ in range(5000):
            own.acquire()
            other.release()

    threads = [threading.Thread(target=run, args=pair) for pair in (locks, locks[::-1])]
    for thread in threads:
        thread.start()
    locks[0].release()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_lock_that_is_held_is_freed_with_its_owner(make: Callable[[], Any]) -> None:
    for _ in range(100):
        lock = make()
        lock.acquire()
        del lock


@compiled
def test_the_lock_in_c_is_an_ordinary_object() -> None:
    from reserve.engine.polling import _lock

    with pytest.raises(TypeError):
        _lock.Lock(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        _lock.Lock.acquire = None  # type: ignore[method-assign, assignment]
    assert "GIL" in (_lock.Lock.release.__doc__ or "")
    before = sys.getrefcount(_lock.Lock)
    for _ in range(100):
        _lock.Lock().acquire()
    gc.collect()
    # On a free-threaded build each thread counts the references to a class for itself.
    assert sys.getrefcount(_lock.Lock) <= before + 1 or straightbuild.WITHOUT_GIL


_INTERRUPTED = """\
import signal, sys, threading
sys.path.insert(0, sys.argv[1])
from reserve.engine.polling.waiter import Waiter

calls = []

def handler(number, frame):
    calls.append(number)
    if number == signal.SIGUSR2 and calls.count(number) == 1:
        raise KeyboardInterrupt

def send():
    main = threading.main_thread().ident
    while len(calls) < 3:
        signal.pthread_kill(main, signal.SIGUSR1)
    # Again and again: no lock notices a signal that comes between its last look for one and its sleep.
    while signal.SIGUSR2 not in calls:
        signal.pthread_kill(main, signal.SIGUSR2)

signal.signal(signal.SIGUSR1, handler)
signal.signal(signal.SIGUSR2, handler)
waiter = Waiter()
thread = threading.Thread(target=send)
try:
    thread.start()
    waiter.wait({timeout})
except KeyboardInterrupt:
    thread.join()
    waiter.wake_once()
    print(len(calls) > 3, waiter.wait(0))
"""


@pytest.mark.parametrize("timeout", ["None", "60"])
@pytest.mark.parametrize("pure", ["0", "1"])
def test_a_signal_ends_the_wait_of_the_main_thread_if_its_handler_raises(timeout: str, pure: str) -> None:
    script = _INTERRUPTED.replace("{timeout}", timeout)
    done = subprocess.run(
        [sys.executable, "-c", script, os.getcwd()],
        env=os.environ | {"RESERVE_PURE": pure},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


def test_a_wait_with_a_limit_goes_on_after_a_signal_and_ends_in_time(make: Callable[[], Lock]) -> None:
    lock, seen = make(), []
    lock.acquire()
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while not seen:
            assert not lock.acquire(timeout=0.02)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_UNDER_SANITIZERS = """\
import importlib.util, sys, threading
spec = importlib.util.spec_from_file_location("_lock", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
Lock = module.Lock
for timeout in (-2.0, float("nan"), 1e300, "1"):
    for lock in (Lock(), Lock()):
        try:
            lock.acquire(timeout=timeout)
        except (ValueError, OverflowError, TypeError):
            pass
        try:
            lock.release()
        except RuntimeError:
            pass
one, two = Lock(), Lock()
one.acquire(), two.acquire()

def run(own, other):
    for number in range(2000):
        while not own.acquire(timeout=(0.0, 0.00001, 100.0, -1.0)[number % 4]):
            pass
        other.release()

threads = [threading.Thread(target=run, args=pair) for pair in ((one, two), (two, one))]
for thread in threads:
    thread.start()
one.release()
for thread in threads:
    thread.join()
held = Lock()
held.acquire()
del one, two, held, threads
print("done")
"""


def test_the_lock_in_c_has_no_fault_that_sanitizers_see(tmp_path: Path) -> None:
    libraries = straightbuild.sanitizers()
    if libraries is None:
        pytest.skip("there is no compiler with AddressSanitizer and UndefinedBehaviorSanitizer")
    module = straightbuild.build(tmp_path, *straightbuild.SANITIZERS, source=SOURCE, name="_lock")
    done = subprocess.run(
        [sys.executable, "-c", _UNDER_SANITIZERS, str(module)],
        env={**os.environ, "LD_PRELOAD": libraries, **straightbuild.UNDER_SANITIZERS},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
