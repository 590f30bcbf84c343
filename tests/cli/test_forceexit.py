"""The last resort: what it says, and with which code it leaves. Nothing here depends on how long something takes."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator

import pytest

from reserve.cli.console import Console
from reserve.cli.forceexit import ABORTED, ForceExit
from tests.waiting import eventually


class Said:
    """Everything on standard error so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def __call__(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


@pytest.fixture
def console() -> Iterator[Console]:
    with Console() as one:
        yield one


class End(ForceExit):
    """Leaves nothing but a note."""

    GRACE = 0.0

    def __init__(self, console: Console) -> None:
        self.codes: list[int] = []
        self.left = threading.Event()
        super().__init__(console, self._note)

    def _note(self, code: int) -> None:
        self.codes.append(code)
        self.left.set()


def test_the_earliest_moment_counts(console: Console, said: Said) -> None:
    end = End(console)
    end.exit_within(3600)
    end.exit_within(0)
    end.exit_within(7200)
    assert end.left.wait(60)
    assert end.codes == [ABORTED]
    assert said() == "reserve: the process exits now; the server has not stopped in time\n"


@pytest.mark.parametrize(("code", "expected"), [(0, ABORTED), (1, 1), (2, 2), (ABORTED, ABORTED)])
def test_the_code_of_a_failed_start_is_kept(console: Console, code: int, expected: int) -> None:
    end = End(console)
    end.begin_exit(code, 0)
    assert end.left.wait(60)
    assert end.codes == [expected]


def test_threads_that_are_waited_for_are_named(console: Console, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ForceExit, "REPORT_AFTER", 0.0)
    gate = threading.Event()
    threads = [
        threading.Thread(target=gate.wait, name=name, daemon=name == "unseen") for name in ("mail", "unseen", "index")
    ]
    for thread in threads:
        thread.start()
    try:
        end = End(console)
        end.begin_exit(0, 3600)
        eventually(lambda: "waiting" in said())
        assert end.codes == []
        end.exit_within(0)
        assert end.left.wait(60)
    finally:
        gate.set()
        for thread in threads:
            thread.join()
    waiting, leaving = said().splitlines()
    assert "non-daemon threads of the application: index, mail; they have 3600 s more, another signal" in waiting
    assert leaving.endswith("non-daemon threads of the application still run: index, mail")


def test_nobody_is_named_when_something_else_hangs(console: Console, said: Said) -> None:
    end = End(console)
    end.begin_exit(0, 0)
    assert end.left.wait(60)
    assert "an atexit function has not returned, or an output is blocked because no process reads it" in said()


def test_words_behind_words_that_are_stuck_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, begun = threading.Event(), threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            begun.set()
            gate.wait()
            return super().write(text)

    stream = Stuck()
    monkeypatch.setattr(sys, "stderr", stream)
    with Console() as console:
        console.write("first\n", 0)
        assert begun.wait(60)
        console.write("second\n", 0)
        console.write("third\n", 3600)
        gate.set()
    eventually(lambda: stream.getvalue() == "first\nsecond\nthird\n")
