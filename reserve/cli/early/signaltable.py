"""Which signal means what to the command: one table, from which the handlers and the page ``signals.md`` are checked.

Read by the main thread and by the thread ``reserve-signals``. The program imports it before it can handle signals, so
it imports only what :mod:`signal` has imported.
"""

from __future__ import annotations

import enum
import signal

TYPE_CHECKING = False  # not imported: see above
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Reaction", "is_handled", "name_of", "reaction_to", "remembered_signals"]


class Reaction(enum.Enum):
    """What the command does when a signal arrives. The values are those of the page ``signals.md``."""

    STOP = "stop"
    """Finish the requests in flight; the second time, stop at once."""
    STOP_AT_ONCE = "stop at once"
    RELOAD = "reload"
    """Replace the processes by new ones, with the code, configuration and certificates as they are now; stop if the
    terminal was closed."""
    HAND_OVER = "hand over"
    """Reload, and have a new version of reserve do it. The handler of an application stays."""
    REOPEN = "reopen"
    """Open the log files again (``--access-log-file``, ``--error-log-file``). The handler of an application stays, and
    is called as well.
    """
    REPORT = "report"
    """Log one line; the signal means nothing, but its default action would end the process."""
    TERMINAL = "terminal"
    """As REPORT without a controlling terminal. With one the default action stays: terminals send the signal."""
    FAULT = "trace"
    """Die of it, as every process, after the stacks of all threads were written to standard error."""
    IGNORE = "ignore"
    """Python ignores the signal, and reports the error to the caller instead."""
    DEFAULT = "default"
    """The default action, which does not end a process, or cannot be changed."""


_REACTIONS = {
    "SIGINT": Reaction.STOP,
    "SIGTERM": Reaction.STOP,
    "SIGQUIT": Reaction.STOP_AT_ONCE,
    "SIGHUP": Reaction.RELOAD,
    "SIGUSR2": Reaction.HAND_OVER,
    "SIGUSR1": Reaction.REOPEN,
    **dict.fromkeys(("SIGTTIN", "SIGTTOU", "SIGWINCH"), Reaction.TERMINAL),
    **dict.fromkeys(("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP"), Reaction.FAULT),
    **dict.fromkeys(("SIGPIPE", "SIGXFSZ"), Reaction.IGNORE),
    **dict.fromkeys(("SIGCHLD", "SIGCONT", "SIGKILL", "SIGSTOP", "SIGTSTP", "SIGURG"), Reaction.DEFAULT),
}
"""All other signals: REPORT."""
_BY_NUMBER = {int(getattr(signal, name)): reaction for name, reaction in _REACTIONS.items() if hasattr(signal, name)}
_ALWAYS = (Reaction.STOP, Reaction.STOP_AT_ONCE, Reaction.RELOAD)
_IF_DEFAULT = (Reaction.HAND_OVER, Reaction.REOPEN, Reaction.REPORT, Reaction.TERMINAL)


def reaction_to(number: int) -> Reaction:
    """What the command does when the signal arrives."""
    return _BY_NUMBER.get(number, Reaction.REPORT)


def is_handled(number: int, current: Any, *, has_terminal: bool) -> bool:
    """Whether the command installs a handler.

    :param current: the present handler, from :func:`signal.getsignal`. One that ignores the signal, or belongs to
        another part of the process, stays, unless the signal stops the server or reloads its certificates.
    :param has_terminal: whether the process has a controlling terminal.
    """
    reaction = reaction_to(number)
    if reaction is Reaction.TERMINAL and has_terminal:
        return False
    return reaction in _ALWAYS or (reaction in _IF_DEFAULT and current == signal.SIG_DFL)


def remembered_signals() -> list[int]:
    """The signals that a start remembers until the command can tell what they mean, if they are not ignored."""
    remembered = (Reaction.RELOAD, *_IF_DEFAULT)
    return [number for number in signal.valid_signals() if reaction_to(number) in remembered]


def name_of(number: int) -> str:
    """The name of a signal for messages, as ``SIGUSR1`` or ``SIGRTMIN+3``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        first = getattr(signal, "SIGRTMIN", number)
        return f"SIGRTMIN+{number - first}" if number > first else f"signal {number}"
