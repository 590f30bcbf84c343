"""The loop in a pseudo-terminal, and the page for scripts."""

from __future__ import annotations

import codecs
import json
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from reserve.control.top import program
from reserve.control.top.arguments import Settings
from reserve.control.top.program import Loop, run
from reserve.control.top.source import Fetcher
from reserve.control.top.terminal import Terminal
from reserve.errors import ReserveError, UsageError
from reserve.testing import FakeClock
from tests.control.top.documents import document, process, stats, worker
from tests.waiting import PATIENCE, eventually


class Server:
    """A control socket without a socket; its counter grows by ten a second."""

    def __init__(self) -> None:
        self.number = 0
        self.is_down = False
        self.may_respond = threading.Event()
        self.may_respond.set()

    def connect(self) -> Server:
        if self.is_down:
            raise ReserveError("there is no control socket /run/x")
        return self

    def call(self, command: str, **arguments: Any) -> Any:
        if self.is_down:
            raise ReserveError("the server at /run/x has ended")
        assert self.may_respond.wait(PATIENCE)
        if command == "stacks":
            frames = [{"file": "/app/view.py", "line": 7, "function": "slow_view"}]
            return {"processes": [{"pid": 100, "threads": [{"ident": 7001, "frames": frames, "skip": 0}]}]}
        self.number += 1
        taken = stats(100.0 + self.number, handled=10 * self.number, workers=[worker(1, "GET /slow", 4.0), worker(2)])
        return document(2e6 + self.number, process(taken=taken))

    def close(self) -> None:
        pass


class Person:
    """The other side of the terminal in which the loop runs on the main thread; it reads and types on a thread.

    ``steps`` are called with this object, one after the other; the last one ends the loop.
    """

    def __init__(self, *steps: Callable[[Person], object]) -> None:
        self.fd, self.program = os.openpty()
        termios.tcsetwinsize(self.program, (24, 80))
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.error: BaseException | None = None
        self._steps = steps
        self._thread = threading.Thread(target=self._run)

    def serve(
        self, server: Server, settings: Settings | None = None, clock: Callable[[], float] = time.monotonic
    ) -> int:
        """Run the loop, and return its exit code."""
        settings = settings or Settings(interval=0.01)
        modes = termios.tcgetattr(self.program)
        try:
            with Terminal(self.program, self.program) as terminal:
                fetcher = Fetcher(server.connect, settings.interval, terminal.wake)
                fetcher.start()
                self._thread.start()
                try:
                    code = Loop(terminal, fetcher, settings, clock).run()
                finally:
                    fetcher.close(PATIENCE)
        finally:
            left = termios.tcgetattr(self.program)
            os.close(self.program)
            self._thread.join(PATIENCE)
            if self.fd >= 0:
                os.close(self.fd)
            assert left == modes
        if self.error is not None:
            raise self.error
        return code

    def wait_for(self, text: str) -> None:
        """Read until the screen has got this; what was before is forgotten."""
        while text not in self.text:
            self.text += self._decoder.decode(os.read(self.fd, 65536))
        self.text = self.text[self.text.index(text) + len(text) :]

    def sees(self, text: str) -> bool:
        """Whether the screen has got this by now."""
        while _has_output(self.fd):
            self.text += self._decoder.decode(os.read(self.fd, 65536))
        return text in self.text

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def _run(self) -> None:
        try:
            for step in self._steps:
                step(self)
        except BaseException as error:
            self.error = error
            os.close(self.fd)  # the terminal has gone, which ends the loop
            self.fd = -1
            return
        try:
            while os.read(self.fd, 65536):  # so that the last output finds room
                pass
        except OSError:
            return


def test_it_shows_documents_until_q() -> None:
    person = Person(
        lambda person: person.wait_for("GET /slow"),
        lambda person: person.wait_for("10.0/s"),
        lambda person: person.press("q"),
    )
    assert person.serve(Server()) == 0


def test_a_stack_is_asked_for_and_shown() -> None:
    person = Person(
        lambda person: person.wait_for("GET /slow"),
        lambda person: person.press("t"),
        lambda person: person.wait_for('slow_view  in "/app/view.py", line 7'),
        lambda person: person.press("qq"),
    )
    assert person.serve(Server()) == 0


def test_a_server_that_goes_away_is_shown_and_comes_back() -> None:
    server = Server()
    person = Person(
        lambda person: person.wait_for("GET /slow"),
        lambda person: setattr(server, "is_down", True),
        lambda person: person.wait_for("NO RESPONSE"),
        lambda person: setattr(server, "is_down", False),
        lambda person: person.wait_for("healthy"),
        lambda person: person.press("q"),
    )
    assert person.serve(server) == 0


def test_a_server_that_hangs_is_shown() -> None:
    server = Server()
    clock = FakeClock()

    def hang(person: Person) -> None:
        def is_shown() -> bool:  # what was under way may come still, and the time counts from then on
            clock.advance(3600.0)
            person.press("x")
            return person.sees("the last known numbers; the server has not responded for")

        server.may_respond.clear()
        eventually(is_shown)
        person.text = ""

    person = Person(
        lambda person: person.wait_for("GET /slow"),
        hang,
        lambda person: server.may_respond.set(),
        lambda person: person.wait_for("healthy"),
        lambda person: person.press("q"),
    )
    try:
        assert person.serve(server, clock=clock.now) == 0
    finally:
        server.may_respond.set()


def test_a_new_size_draws_a_new_screen() -> None:
    def resize(person: Person) -> None:
        termios.tcsetwinsize(person.program, (12, 40))
        os.kill(os.getpid(), signal.SIGWINCH)

    person = Person(
        lambda person: person.wait_for("\x1b[24;1H"),
        resize,
        lambda person: person.wait_for("\x1b[2J"),
        lambda person: person.wait_for("\x1b[12;1H"),
        lambda person: person.press("q"),
    )
    assert person.serve(Server()) == 0


def test_while_paused_the_numbers_stay() -> None:
    server = Server()
    later: list[int] = []

    def wait_for_documents(person: Person) -> None:
        later.append(server.number + 5)
        while server.number < later[0]:
            os.read(person.fd, 65536) if _has_output(person.fd) else None

    person = Person(
        lambda person: person.wait_for("GET /slow"),
        lambda person: person.press("p"),
        lambda person: person.wait_for("PAUSED"),
        wait_for_documents,
        lambda person: person.press("p"),
        lambda person: person.wait_for("up "),
        lambda person: person.press("q"),
    )
    assert person.serve(server) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_exit_code(number: signal.Signals) -> None:
    person = Person(
        lambda person: person.wait_for("GET /slow"),
        lambda person: os.kill(os.getpid(), number),
    )
    assert person.serve(Server()) == 128 + number


def test_a_fault_leaves_the_terminal_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(program, "screen", fail)
    with pytest.raises(ZeroDivisionError):
        Person().serve(Server())


# ---- for scripts ----


def test_once_prints_a_page_with_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    printed: list[str] = []
    assert run(Server().connect, Settings(once=True, interval=0.01), printed.append) == 0
    (page,) = printed
    assert "requests 10.0/s" in page
    assert "GET /slow" in page
    assert "\x1b" not in page
    assert max(map(len, page.split("\n"))) <= 100


def test_once_with_json_prints_the_document() -> None:
    server = Server()
    printed: list[str] = []
    assert run(server.connect, Settings(once=True, json=True), printed.append) == 0
    assert json.loads(printed[0])["processes"][0]["pid"] == 100
    assert server.number == 1


def test_a_server_that_is_not_there_is_an_error_at_the_start() -> None:
    server = Server()
    server.is_down = True
    for settings in Settings(), Settings(once=True):
        with pytest.raises(ReserveError, match="no control socket"):
            run(server.connect, settings, print)


def test_without_a_terminal_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(UsageError, match="--once"):
        run(Server().connect, Settings(), print)


def test_an_interrupted_page_has_the_exit_code_of_the_signal() -> None:
    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    assert run(Server().connect, Settings(once=True, json=True), interrupt) == 130


def _has_output(fd: int) -> bool:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(1))
