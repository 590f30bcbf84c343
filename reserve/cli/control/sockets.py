"""The control sockets of the options ``--control`` and ``--control-readonly``: opening them, and passing them on.

Runs on the main thread at start and at a reload. The sockets belong to the process to which signals go: they stay open,
with the clients that wait in their backlogs, when it becomes the supervisor or another version of the program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from reserve.cli.processes.state import PassedListener
from reserve.control.listener import open_control
from reserve.errors import UsageError
from reserve.options.table import FLAGS
from reserve.sockets.listeners import adopt, release
from reserve.sockets.unix import UNIXListener, change_mode, has_file

if TYPE_CHECKING:
    from reserve.options.sources import Values

__all__ = [
    "ControlSocket",
    "adopt_controls",
    "change_controls",
    "check_controls",
    "open_controls",
    "pass_controls",
    "refuse_mode_alone",
]

_READONLY_MODE = 0o660
_PURPOSES = {"control": False, "control-readonly": True}
"""The names of the options, which are the purposes of passed sockets, and whether a socket is for looking only."""


@dataclass(frozen=True, slots=True)
class ControlSocket:
    """A control socket of this process."""

    sock: UNIXListener
    purpose: str
    """The option."""
    path: str
    """As the option has it."""

    @property
    def readonly(self) -> bool:
        """It is for looking at the server only."""
        return _PURPOSES[self.purpose]


def open_controls(values: Values) -> list[ControlSocket]:
    """Open the sockets of the options, in the working directory of the server.

    The files belong to the user of this process also with ``--user``: then it becomes a supervisor that keeps its
    rights, and the applications, which have another user, must not control it.

    :raises UsageError: both options name one file, or there is a mode without a socket.
    :raises StartupError: one cannot be opened.
    """
    return change_controls([], values)


def check_controls(values: Values) -> None:
    """Refuse options that contradict each other.

    :raises UsageError: both name one file, or there is a mode, other than the default, without a socket.
    """
    wanted = _wanted(values)
    if wanted["control"] is None:
        refuse_mode_alone(values)
    if wanted["control"] is not None and wanted["control"] == wanted["control-readonly"]:
        sources = " and ".join(values.given[name].source for name in ("control", "control_readonly"))
        raise UsageError(f"{sources} are both {wanted['control']}; each needs a file of its own")


def refuse_mode_alone(values: Values) -> None:
    """Refuse a mode without a socket, unless it is the default, which a file with all options may have.

    :raises UsageError: there is one.
    """
    given = values.given.get("control_mode")
    if given is not None and given.value != FLAGS["--control-mode"].default:
        raise UsageError(f"{given.source} is for --control PATH, and there is none")


def _wanted(values: Values) -> dict[str, object]:
    """The path of each option; None: it is not given."""
    return {purpose: values[purpose.replace("-", "_")] for purpose in _PURPOSES}


def change_controls(present: Sequence[ControlSocket], values: Values) -> list[ControlSocket]:
    """The sockets for changed options: those that are open for a path that still is one, unless their file was removed,
    and new ones.

    Those that are not needed any more stay open. Errors are those of :func:`open_controls`; then nothing is changed.
    """
    check_controls(values)
    wanted = _wanted(values)
    result: list[ControlSocket] = []
    opened: list[ControlSocket] = []
    try:
        for purpose, path in wanted.items():
            if path is None:
                continue
            mode = _READONLY_MODE if _PURPOSES[purpose] else cast("int", values["control_mode"])
            same = (one for one in present if (one.purpose, one.path) == (purpose, path) and has_file(one.sock))
            kept = next(same, None)
            if kept is None:
                sock = open_control(str(path), mode, values.given[purpose.replace("-", "_")].source)
                kept = ControlSocket(sock, purpose, str(path))
                opened.append(kept)
            else:
                change_mode(kept.sock, mode)
            result.append(kept)
    except BaseException:
        for one in opened:
            release(one.sock)
        raise
    return result


def pass_controls(controls: Iterable[ControlSocket]) -> tuple[PassedListener, ...]:
    """Describe the sockets for the program that this process becomes, which removes their files at the end."""
    return tuple(
        PassedListener(one.sock.fileno(), one.purpose, address=one.path, created=one.sock.created) for one in controls
    )


def adopt_controls(passed: Iterable[PassedListener]) -> list[ControlSocket]:
    """Take the sockets over that this process has passed to itself."""
    controls = []
    for item in passed:
        if item.purpose not in _PURPOSES:  # another version has more
            os.close(item.fd)
            continue
        plain = adopt(item.fd)
        sock = UNIXListener(plain.family, plain.type, plain.proto, fileno=plain.detach())
        sock.setblocking(False)
        sock.created = item.created
        controls.append(ControlSocket(sock, item.purpose, item.address))
    return controls
