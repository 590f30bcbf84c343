"""The straight line: what an application offers the engine for requests that need nothing unusual.

Most requests arrive whole on a connection that has waited for them, or is new, their application returns at once what
fits into the socket, and the connection waits again, or ends. Such a request passes one call on one worker, instead of
the steps of a driver. Whatever is not ordinary leaves the line: it is *declined*, with the bytes that were received,
before the application is called; or the driver goes on with what the application has returned. Requests that have come
together are served one after the other, by a call each.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeVar

__all__ = ["DECLINED", "MORE", "RAN", "HasStraightLine", "StraightLine"]

C = TypeVar("C", contravariant=True)

DECLINED: Final = 1
"""The driver has what was received, perhaps nothing, and has to be stepped."""
RAN: Final = 2
"""The application has run, and the driver has to be stepped."""
MORE: Final = 3
"""The request was served, and more has been received after it, which the driver has: the line is to be called again,
now or after other connections, or the driver to be stepped.
"""


class StraightLine(Protocol[C]):
    """The straight line of one application; any number of workers call it at the same time.

    The type parameter is the class of its connections (:class:`~reserve.engine.connections.connection.Connection`).
    """

    def __call__(self, connection: C, now: float, /) -> float | int:
        """Serve one request of a connection that is :attr:`between requests
        <reserve.engine.connections.connection.Connection.between_requests>`. By a worker, which owns the connection and
        does not lead.

        It is called for an arrival, which may have replaced a notification of the same connection
        (:meth:`ReadyQueue.notify <reserve.engine.scheduler.readyqueue.ReadyQueue.notify>`): what drivers are notified
        of, a stop for example, it has to look at itself, after the request and before it returns a time.

        :param now: seconds on the engine's clock.
        :return: the time at which the request was served, a float: the connection's deadline is set, and it is to be
            parked until its next request; or, if its :attr:`~reserve.engine.connections.connection.Connection.closing`
            is set, to be closed. Otherwise :data:`DECLINED`, :data:`RAN` or :data:`MORE`.
        :raises BaseException: a fault of the server, after which the connection is closed.
        """


class HasStraightLine(Protocol):
    """An application, as a driver names it: see :attr:`reserve.engine.connections.driver.Driver.straight`."""

    straight_line: StraightLine[Any] | None
