"""A body that the application reads from the connection as it comes (``--stream-bodies``, ``--expect app``).

The other kind is received before the application runs: :mod:`reserve.apps.http.bufferedbody`. This one is made and
released off the time in which its worker may be interrupted, because it may have a descriptor.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from reserve.apps.http.inputstream import ConnectionInput, InputStream, new_alarm
from reserve.protocol.http1.response import CONTINUE

if TYPE_CHECKING:
    from reserve.apps.http.settings import HTTPSettings
    from reserve.engine.connections.connection import Connection
    from reserve.engine.polling.wakeup import Wakeup
    from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder

__all__ = ["StreamedBody"]

_BUFFER = 65536


class StreamedBody:
    """One body.

    :param decoder: knows where it ends.
    :param rest: what was received behind the head.
    :param expected: the client waits for a 100 (Continue) before it sends any of it.
    """

    __slots__ = ("_alarm", "source")

    def __init__(
        self,
        connection: Connection,
        decoder: LengthDecoder | ChunkedDecoder,
        rest: bytes,
        settings: HTTPSettings,
        *,
        expected: bool,
    ) -> None:
        server = connection.server
        self._alarm: Wakeup | None = new_alarm() if server.settings.request_timeout > 0 else None
        """Ends the wait for more when the application is interrupted; only where it may be."""
        self.source = ConnectionInput(
            connection,
            decoder,
            rest,
            partial(connection.write, CONTINUE) if expected and not rest else None,
            settings.body_allowance,
            server.clock.now,
            self._alarm,
        )
        """What the worker receives from."""

    def open(self) -> InputStream:
        """By the worker: ``wsgi.input``."""
        return InputStream(self.source, _BUFFER)

    def release(self) -> None:
        """Nobody waits for more any longer. May be called again."""
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.close()
