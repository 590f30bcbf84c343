"""The terminal: a pseudo-terminal whose modes are as before in every case, and whose signals are heard."""

from __future__ import annotations

import os
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from reserve.control.top.ansi import ENTER, LEAVE
from reserve.control.top.terminal import Event, Terminal
from tests.waiting import PATIENCE


class Pair:
    """A pseudo-terminal: the side of the program, and the side of the person."""

    def __init__(self) -> None:
        self.person, self.program = os.openpty()
        self.modes = self.current_modes()

    def current_modes(self) -> list[Any]:
        return termios.tcgetattr(self.program)

    def read(self, until: str) -> str:
        """What the screen gets, up to and with these characters."""
        data = b""
        while until.encode() not in data:
            data += os.read(self.person, 65536)
        return data.decode()

    def close(self) -> None:
        for fd in (self.person, self.program):
            with suppress(OSError):
                os.close(fd)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


@pytest.fixture
def terminal(pair: Pair) -> Iterator[Terminal]:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has the tests ignore it
    yield Terminal(pair.program, pair.program)
    signal.signal(signal.SIGHUP, before)


def test_modes_and_screen_are_as_before(pair: Pair, terminal: Terminal) -> None:
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    with terminal:
        pair.read(until=ENTER)
        flags = pair.current_modes()[3]
        assert not flags & (termios.ICANON | termios.ECHO)
        assert flags & termios.ISIG
    assert pair.read(until=LEAVE)
    assert pair.current_modes() == pair.modes
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == handlers


def test_they_are_as_before_after_an_exception(pair: Pair, terminal: Terminal) -> None:
    with pytest.raises(ZeroDivisionError), terminal:
        raise ZeroDivisionError
    assert pair.read(until=LEAVE)
    assert pair.current_modes() == pair.modes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_that_ends_the_program_is_an_event(pair: Pair, terminal: Terminal, number: signal.Signals) -> None:
    with terminal:
        os.kill(os.getpid(), number)
        assert terminal.wait(PATIENCE) == Event(exit_code=128 + number)
    assert pair.current_modes() == pair.modes


def test_a_signal_interrupts_the_waiting(pair: Pair, terminal: Terminal) -> None:
    with terminal:
        sender = _after_output(pair, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert terminal.wait(PATIENCE).exit_code == 128 + signal.SIGTERM
        sender.join()


def test_a_new_size_is_an_event(pair: Pair, terminal: Terminal) -> None:
    with terminal:
        termios.tcsetwinsize(pair.program, (40, 120))
        os.kill(os.getpid(), signal.SIGWINCH)
        assert terminal.wait(PATIENCE) == Event(is_redrawn=True)
        assert terminal.size() == (120, 40)


def test_a_terminal_without_a_size_has_80_by_24(terminal: Terminal, pair: Pair) -> None:
    termios.tcsetwinsize(pair.program, (0, 0))
    assert terminal.size() == (80, 24)


def test_after_a_stop_that_could_not_be_noticed_the_modes_are_set_again(pair: Pair, terminal: Terminal) -> None:
    with terminal:
        termios.tcsetattr(pair.program, termios.TCSANOW, pair.modes)  # as a shell does
        os.kill(os.getpid(), signal.SIGCONT)
        assert terminal.wait(PATIENCE).is_redrawn
        assert not pair.current_modes()[3] & termios.ICANON
    assert pair.current_modes() == pair.modes


def test_keys_come_one_by_one(pair: Pair, terminal: Terminal) -> None:
    with terminal:
        os.write(pair.person, b"j\x1b[A")
        assert terminal.wait(PATIENCE).keys == ("j", "up")
        os.write(pair.person, b"\x1b")
        assert terminal.wait(PATIENCE).keys == ()
        assert terminal.wait(PATIENCE).keys == ("escape",)


def test_another_thread_ends_the_waiting(terminal: Terminal) -> None:
    with terminal:
        waker = threading.Thread(target=terminal.wake)
        waker.start()
        assert terminal.wait(PATIENCE) == Event()
        waker.join()
    terminal.wake()  # after the end it changes nothing


def test_a_terminal_that_has_gone_ends_the_program(pair: Pair, terminal: Terminal) -> None:
    with terminal:
        os.close(pair.person)
        assert terminal.wait(PATIENCE).exit_code == 1
        assert not terminal.write("x" * 100)


def test_a_screen_that_takes_no_output_does_not_delay_a_signal(pair: Pair, terminal: Terminal) -> None:
    with terminal:
        sender = _after_output(pair, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert not terminal.write("x" * 10_000_000)
        assert terminal.wait(PATIENCE).exit_code == 128 + signal.SIGTERM
        sender.join()
    assert pair.current_modes() == pair.modes


def test_a_wake_during_a_write_is_not_lost(pair: Pair, terminal: Terminal) -> None:
    def wake_and_read() -> None:
        terminal.wake()
        pair.read(until="end")

    with terminal:
        reader = _after_output(pair, wake_and_read)
        assert terminal.write("x" * 1_000_000 + "end")
        assert terminal.wait(PATIENCE) == Event()
        reader.join()


def test_what_is_no_terminal_is_refused() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(termios.error), Terminal(reader, writer):
            pass
    finally:
        os.close(reader)
        os.close(writer)


def _after_output(pair: Pair, call: Callable[[], object]) -> threading.Thread:
    """A thread that calls this when the first output has come."""

    def run() -> None:
        os.read(pair.person, 1)
        call()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
