"""The forced exit: its messages and its exit codes. No test depends on how long something takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from reserve.cli.console import Console
from reserve.cli.forceexit import ABORTED, ForceExit
from tests.waiting import PATIENCE, eventually


class Output:
    """Everything that was written to standard error so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def __call__(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Output:
    return Output(capsys)


@pytest.fixture
def console() -> Iterator[Console]:
    with Console() as console:
        yield console


class RecordedExit(ForceExit):
    """Records the exit code instead of ending the process."""

    GRACE = 0.0

    def __init__(self, console: Console) -> None:
        self.codes: list[int] = []
        self.exited = threading.Event()
        super().__init__(console, self._record)
        self.start()

    def _record(self, code: int) -> None:
        self.codes.append(code)
        self.exited.set()


def test_the_earliest_deadline_counts(console: Console, output: Output) -> None:
    force_exit = RecordedExit(console)
    force_exit.exit_within(3600)
    force_exit.exit_within(0)
    force_exit.exit_within(7200)
    assert force_exit.exited.wait(PATIENCE)
    assert force_exit.codes == [ABORTED]
    assert output() == "reserve: the process exits now; the server has not stopped in time\n"


@pytest.mark.parametrize(("code", "expected"), [(0, ABORTED), (1, 1), (2, 2), (ABORTED, ABORTED)])
def test_the_exit_code_of_a_failed_start_is_kept(console: Console, code: int, expected: int) -> None:
    force_exit = RecordedExit(console)
    force_exit.begin_exit(code, 0)
    assert force_exit.exited.wait(PATIENCE)
    assert force_exit.codes == [expected]


def test_non_daemon_threads_are_named(console: Console, output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ForceExit, "REPORT_AFTER", 0.0)
    gate = threading.Event()
    threads = [
        threading.Thread(target=gate.wait, name=name, daemon=name == "unseen") for name in ("mail", "unseen", "index")
    ]
    for thread in threads:
        thread.start()
    try:
        force_exit = RecordedExit(console)
        force_exit.begin_exit(0, 3600)
        eventually(lambda: "waiting" in output())
        assert force_exit.codes == []
        force_exit.exit_within(0)
        assert force_exit.exited.wait(PATIENCE)
    finally:
        gate.set()
        for thread in threads:
            thread.join()
    waiting, exiting = output().splitlines()
    assert "non-daemon threads of the application: index, mail; they have 3600 s more, another signal" in waiting
    assert exiting.endswith("non-daemon threads of the application still run: index, mail")


def test_without_such_threads_another_reason_is_given(console: Console, output: Output) -> None:
    force_exit = RecordedExit(console)
    force_exit.begin_exit(0, 0)
    assert force_exit.exited.wait(PATIENCE)
    assert "an atexit function has not returned, or an output is blocked because no process reads it" in output()


def test_a_supervisor_gets_the_lines_as_long_as_there_is_one(console: Console, output: Output) -> None:
    reported: list[tuple[str, str]] = []
    for is_there in (True, False):

        def report(text: str, about: str, is_there: bool = is_there) -> bool:
            reported.append((text, about))
            return is_there

        force_exit = RecordedExit(console)
        force_exit.report_by(report)
        force_exit.exit_within(0)
        assert force_exit.exited.wait(PATIENCE)
        assert output() == ("" if is_there else "reserve: the process exits now; the server has not stopped in time\n")
    assert (
        reported
        == [("the process exits now; the server has not stopped in time", "the server has not stopped in time")] * 2
    )
