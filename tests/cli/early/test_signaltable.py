"""Every signal of the system is on the page ``signals.md``, with the reaction that the code has."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

import reserve
from reserve.cli.early.signaltable import Reaction, is_handled, name_of, reaction_to

PAGE = Path(reserve.__file__).parent / "docs" / "signals.md"


def page_reactions() -> list[tuple[int, str]]:
    """The rows of the table: a number of a signal, and its reaction."""
    rows = re.findall(r"^\| (`SIG[^|]*) \| ([^|]*) \|", PAGE.read_text("utf-8"), re.M)
    found = []
    for names, reaction in rows:
        for first, last in re.findall(r"`(SIG\w+)`(?: to `(SIG\w+)`)?", names):
            low = getattr(signal, first)
            found += [(number, reaction) for number in range(low, getattr(signal, last or first) + 1)]
    return found


def test_the_page_has_every_signal_once_with_the_reaction_of_the_code() -> None:
    expected = [(int(number), reaction_to(number).value) for number in signal.valid_signals()]
    assert sorted(page_reactions()) == sorted(expected)


@pytest.mark.parametrize(
    ("number", "current", "has_terminal", "handled"),
    [
        (signal.SIGTERM, signal.SIG_IGN, True, True),
        (signal.SIGQUIT, signal.SIG_IGN, True, True),
        (signal.SIGUSR1, signal.SIG_DFL, True, True),
        (signal.SIGUSR1, signal.SIG_IGN, True, False),
        (signal.SIGUSR2, print, True, False),
        (signal.SIGUSR2, None, True, False),
        (signal.SIGWINCH, signal.SIG_DFL, False, True),
        (signal.SIGWINCH, signal.SIG_DFL, True, False),
        (signal.SIGSEGV, signal.SIG_DFL, False, False),
        (signal.SIGPIPE, signal.SIG_IGN, False, False),
        (signal.SIGKILL, signal.SIG_DFL, False, False),
    ],
)
def test_a_signal_is_handled_if_its_default_action_would_end_the_server(
    number: int, current: object, has_terminal: bool, handled: bool
) -> None:
    assert is_handled(number, current, has_terminal=has_terminal) is handled


def test_each_signal_has_a_name_for_messages() -> None:
    names = [name_of(number) for number in signal.valid_signals()]
    assert len(set(names)) == len(names)
    assert name_of(signal.SIGUSR1) == "SIGUSR1"
    assert name_of(signal.SIGRTMIN + 3) == "SIGRTMIN+3"


def test_each_reaction_is_one_of_a_signal() -> None:
    assert {reaction_to(number) for number in signal.valid_signals()} == set(Reaction)
