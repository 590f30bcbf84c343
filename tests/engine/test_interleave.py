"""The explorer itself: it finds every lock of the engine, and a lock that it has not replaced fails the test."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import reserve.engine
from tests.engine import interleave
from tests.engine.interleave import CoopLock, Scheduler, explore, modules_with_locks, replace_locks
from tests.waiting import eventually

NEW_MODULE = "reserve.engine.newpackage.newmodule"


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``write_module(source)`` makes a module of a new package in the engine."""
    monkeypatch.setattr(reserve.engine, "__path__", [*reserve.engine.__path__, str(tmp_path)])
    package = tmp_path / "newpackage"
    package.mkdir()
    (package / "__init__.py").write_text('"""A new package."""')
    # The import adds these; when the test is over they are removed again.
    monkeypatch.setattr(reserve.engine, "newpackage", None, raising=False)
    for name in (NEW_MODULE, NEW_MODULE.rpartition(".")[0]):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    return lambda source: (package / "newmodule.py").write_text(source) and None


def test_a_lock_of_a_new_module_is_replaced(
    write_module: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = modules_with_locks()
    write_module("import threading\n\n\ndef make():\n    return threading.Lock()\n")
    assert set(modules_with_locks()) - set(before) == {NEW_MODULE}
    replace_locks(monkeypatch, Scheduler)
    assert isinstance(importlib.import_module(NEW_MODULE).make(), CoopLock)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("from threading import Lock", "its locks could not be replaced"),
        ("import threading\nlock = threading.RLock()", "replaces Lock alone"),
        ("import threading\ncondition = threading.Condition()", "replaces Lock alone"),
    ],
)
def test_a_lock_that_cannot_be_replaced_is_refused(
    write_module: Callable[[str], None], source: str, message: str
) -> None:
    write_module(source)
    with pytest.raises(AssertionError, match=f"{NEW_MODULE}: .*{message}"):
        modules_with_locks()


def test_the_modules_with_locks_are_found() -> None:
    found = modules_with_locks()
    for name in found:
        assert hasattr(importlib.import_module(name), "threading")
    assert "reserve.engine.polling.waiter" in found


def test_the_files_and_functions_that_are_not_traced_exist() -> None:
    sources = [path.read_text("utf-8") for path in Path(interleave.ENGINE).rglob("*.py")]
    assert all(Path(name).is_file() for name in interleave.UNTRACED_FILES)
    for name in interleave.UNTRACED_FUNCTIONS:
        assert any(f"def {name}(" in source for source in sources)


def test_a_task_that_waits_for_a_lock_that_was_not_replaced_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleave, "LIMIT", 0.2)
    lock = threading.Lock()
    schedulers: list[Scheduler] = []

    def wait_in_vain() -> None:
        with lock:
            pass

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        schedulers.append(scheduler)
        scheduler.spawn("waiting task", wait_in_vain)
        return lambda blocked: None

    with lock, pytest.raises(AssertionError, match="replace_locks") as caught:
        explore(scenario, tasks=1, preemptions=0, trace="")
    assert "waiting task does not come to its next point" in str(caught.value)
    assert "in wait_in_vain" in str(caught.value), "the message has no stack"
    eventually(lambda: all(task.finished for scheduler in schedulers for task in scheduler.tasks))
