"""Documents about the processes of another server, from its control socket: for ``reserve app http status SOCKET``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reserve.control.client import ControlClient

__all__ = ["RemoteCollector"]


class RemoteCollector:
    """A :class:`~reserve.control.collector.Collector`; any thread may call it.

    :param path: of the control socket.
    """

    def __init__(self, path: str, *, connect: Callable[[str, float], ControlClient] = ControlClient) -> None:
        self.path = path
        self._connect = connect

    def collect(self, timeout: float = 2.0) -> dict[str, Any]:
        """The document of this moment.

        :param timeout: seconds that the other server may take.
        :raises ControlError: it cannot be asked.
        """
        with self._connect(self.path, timeout) as control:
            document: dict[str, Any] = control.call("status")
        return document
