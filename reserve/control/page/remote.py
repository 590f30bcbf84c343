"""Documents about the processes of another server, from its control socket: for ``reserve app http status SOCKET``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from reserve.control.client import ControlClient
from reserve.control.collector import Recent

__all__ = ["RemoteCollector"]


class RemoteCollector:
    """A :class:`~reserve.control.collector.Collector`; any thread may call it.

    :param path: of the control socket.
    :param now: seconds of a monotonic clock.
    """

    def __init__(
        self,
        path: str,
        *,
        connect: Callable[[str, float], ControlClient] = ControlClient,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._connect = connect
        self._recent = Recent(self._ask, now)

    def collect(self, timeout: float = 2.0) -> dict[str, Any]:
        """The document of this moment, or of a moment ago.

        :param timeout: seconds that the other server may take.
        :raises ControlError: it cannot be asked.
        """
        return self._recent.get(timeout)

    def _ask(self, timeout: float) -> dict[str, Any]:
        with self._connect(self.path, timeout) as control:
            document: dict[str, Any] = control.call("status")
        return document
