"""Messages to the service manager, as sd_notify(3) describes them: ready, reloading, stopping, status, watchdog.

systemd, and what speaks its protocol (podman, s6-notify-socket-from-fd), names a datagram socket in ``NOTIFY_SOCKET``.
Any thread may send, also a poll loop that must not block: a message is one ``sendto`` that does not wait, and one that
cannot be sent is lost, which is reported once. Nothing stays open between two messages: the application could close it,
and its number could then belong to the connection of a client.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager

__all__ = ["Notifier"]

_MICROSECONDS = 1_000_000
_SOCKET, _WATCHDOG_USEC, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_MAX_STATUS = 1000
"""Characters of a status; a datagram of the service manager has at most 4096 bytes (``NOTIFY_BUFFER_MAX``)."""


class Notifier:
    """The service manager of one process, or none: then each method returns at once.

    The command makes one at start, with :meth:`from_environ`, and the supervisor another one; no lock is needed,
    because it changes nothing but :attr:`status_text` and whether an error was reported.

    :param address: ``NOTIFY_SOCKET``: a path, or ``@NAME`` for an abstract socket. Empty: there is no service manager.
    :param watchdog: ``WatchdogSec=`` of the unit, in seconds: without a message of :meth:`watchdog` for so long the
        service manager ends the process. 0: it does not.
    :param report: called with one sentence, for an address or a variable that cannot be used, and for the first message
        that cannot be sent. Default: nothing is said.
    """

    def __init__(self, address: str = "", watchdog: float = 0, report: Callable[[str], object] | None = None) -> None:
        self.report = report
        self._reported = False
        self._address = self._usable(address)
        self._watchdog = watchdog if self._address else 0.0
        self.status_text = ""
        """The last status of :meth:`ready` or :meth:`resume`, which the end of a reload sends again."""

    @classmethod
    def from_environ(
        cls,
        environ: MutableMapping[str, str] = os.environ,
        *,
        pid: int | None = None,
        report: Callable[[str], object] | None = None,
    ) -> Notifier:
        """The one that the environment names. The variables are removed, so that no child process uses them.

        :param environ: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read and removed.
        :param pid: the process that ``WATCHDOG_PID`` has to name, as in sd_watchdog_enabled(3). Default: this one.
        """
        address, usec, watched = (environ.pop(name, "") for name in (_SOCKET, _WATCHDOG_USEC, _WATCHDOG_PID))
        is_number = usec.isascii() and usec.isdigit() and len(usec) < 20
        is_ours = watched in ("", str(os.getpid() if pid is None else pid))
        notifier = cls(address, int(usec) / _MICROSECONDS if is_number and is_ours else 0, report)
        if usec and not is_number:
            notifier._complain(f"{_WATCHDOG_USEC} is {usec[:40]!r} and no number; there are no messages for a watchdog")
        return notifier

    def environ(self) -> dict[str, str]:
        """The variables for a program that takes this one's place in the same process, by exec."""
        variables = {_SOCKET: self._address} if self._address else {}
        if self._watchdog:
            variables |= {_WATCHDOG_USEC: str(round(self._watchdog * _MICROSECONDS)), _WATCHDOG_PID: str(os.getpid())}
        return variables

    @property
    def is_active(self) -> bool:
        """Whether there is a service manager."""
        return bool(self._address)

    @property
    def watchdog_interval(self) -> float:
        """Seconds from one :meth:`watchdog` to the next: half of what the unit allows. 0: none is wanted."""
        return self._watchdog / 2

    def ready(self, status: str = "", *, main_pid: int | None = None) -> None:
        """The service takes requests, or has ended a reload.

        :param main_pid: the process that the service manager watches from now on, if it did not start it itself.
        """
        self.status_text = status
        self._send("READY=1", _status(status), "" if main_pid is None else f"MAINPID={main_pid}")

    def resume(self, status: str) -> None:
        """The service manager knows that the service is ready, maybe from the program that this process was before:
        only the status has changed.
        """
        self.status_text = status
        self._send(_status(status))

    def reloading(self, status: str = "") -> None:
        """A reload begins; :meth:`ready` has to follow, also when it fails. ``Type=notify-reload`` needs the time."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={_monotonic_usec()}", _status(status))

    @contextmanager
    def reload(self, status: str = "") -> Iterator[None]:
        """A ``with`` block that reloads: :meth:`reloading` before it, and after it :meth:`ready` with the status from
        before, whether it fails or not.
        """
        before = self.status_text
        self.reloading(status)
        try:
            yield
        finally:
            self.ready(before)

    def stopping(self, status: str = "", seconds: float = 0) -> None:
        """The service begins to stop.

        :param seconds: how long that may take; see :meth:`extend_timeout`. 0: what the service manager allows.
        """
        self._send("STOPPING=1", _status(status), _extension(seconds))

    def status(self, text: str, seconds: float = 0) -> None:
        """What ``systemctl status`` shows.

        :param seconds: how long the next step of a start or a stop may take; see :meth:`extend_timeout`.
        """
        self._send(_status(text), _extension(seconds))

    def extend_timeout(self, seconds: float) -> None:
        """The start or the stop goes on, and may take so many seconds from now on, even if its timeout is shorter."""
        self._send(_extension(seconds))

    def watchdog(self) -> None:
        """The service is alive. To be called each :attr:`watchdog_interval`, as long as that is true."""
        if self._watchdog:
            self._send("WATCHDOG=1")

    def failed(self, status: str, errno: int = 0) -> None:
        """Why the service ends.

        :param errno: the number of the system's error; 0: it was none.
        """
        self._send(_status(status), f"ERRNO={errno}" if errno else "")

    def _send(self, *assignments: str) -> None:
        """Send one message; empty assignments are left out."""
        message = "\n".join(filter(None, assignments))
        if not self._address or not message:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(message.encode(errors="replace"), os.fsencode(address))
        except OSError as error:
            reason = error.strerror or error
            self._complain(f"the service manager gets no messages: {_SOCKET}={self._address}: {reason}")

    def _usable(self, address: str) -> str:
        """The address, or empty if there is none that can be used."""
        if not address:
            return ""
        reason = ""
        if address.startswith("vsock"):
            reason = "a vsock address is for the init process of a virtual machine"
        elif address[0] not in "/@" or len(address) < 2:
            reason = "it has to be an absolute path, or @ and a name"
        elif not hasattr(socket, "AF_UNIX") or not hasattr(socket, "SOCK_CLOEXEC"):
            reason = "this system does not have such sockets"
        if reason:
            self._complain(f"{_SOCKET} is {address[:80]!r}, which is ignored: {reason}")
        return "" if reason else address

    def _complain(self, text: str) -> None:
        if self.report is not None and not self._reported:
            self._reported = True
            self.report(text)


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:_MAX_STATUS]}" if text else ""


def _extension(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={round(seconds * _MICROSECONDS)}" if seconds > 0 else ""


def _monotonic_usec() -> int:
    """CLOCK_MONOTONIC in microseconds, which systemd compares with the time of its own signal."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
