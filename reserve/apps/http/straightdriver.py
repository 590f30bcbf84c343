"""Drives one HTTP connection whose ordinary requests are served on the straight line.

:class:`HTTPStraightDriver` adds to the general driver what the line (:mod:`reserve.apps.http.straightline`) uses of it:
the worker that serves a request calls it when something is not ordinary. Then the request becomes one like all others,
before the application is called or at any moment afterwards, and the general driver goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import RLock
from typing import TYPE_CHECKING, Any

from reserve.apps.http.bufferedbody import close_content
from reserve.apps.http.driver import HTTPDriver
from reserve.apps.http.exchange import HTTPExchange
from reserve.apps.http.phases import RESPONDING
from reserve.engine.connections.output import Output
from reserve.engine.connections.straightline import DECLINED, RAN
from reserve.gateways.response import PartlyIterated, WSGIResponse

if TYPE_CHECKING:
    from reserve.apps.http.context import HTTPContext
    from reserve.apps.http.straightline import StraightResponse
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.codec import Head

__all__ = ["HTTPStraightDriver"]

_LEAVING = RLock()
"""Held while a response leaves the straight line: an application may call ``start_response`` on several threads. One
for all connections, because it is held for microseconds and one for each would take memory from all. A finalizer of an
application that runs meanwhile may leave, too.
"""


class HTTPStraightDriver(HTTPDriver):
    """Drives one connection to an application that may have a straight line. The connection owns it.

    :class:`~reserve.apps.http.app.HTTPApp` makes it where the protocol has such a line. The worker that serves a
    request on the line calls the methods below, and any thread :attr:`shown_head` and :meth:`running_since`.
    """

    __slots__ = ("straight", "straight_response")

    def __init__(self, context: HTTPContext, connection: Connection) -> None:
        HTTPDriver.__init__(self, context, connection)  # fewer instructions than with super()
        # TLS and --max-running-per-client make every request of a connection unusual.
        self.straight = context if self._running is None and connection.tls is None else None
        self.straight_response: StraightResponse | None = None
        """What the straight line runs the application for; None: it does not."""

    # ---- the driver, see reserve.engine.connections.driver ----

    def running_since(self) -> float:
        straight = self.straight_response
        return super().running_since() if straight is None else straight.begun

    @property
    def shown_head(self) -> Head | None:
        straight = self.straight_response
        return self._head if straight is None else straight.head

    def send_early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        if self.straight_response is not None:
            self.leave_straight_response(self.straight_response)
        super().send_early_hints(headers)

    # ---- on the line ----

    def identify(self, environ: dict[str, Any], from_proxy: bool, begun: float) -> str:
        """Give a request its ID, if there are such: it is returned, and in its environ.

        :param begun: when it was complete, on the engine's clock.
        """
        ids = self._context.request_ids
        assert ids is not None, "the line calls it for no other application"
        self._received_at, self._details = begun, None
        self._request_id = environ["reserve.request_id"] = ids.of(environ, from_proxy=from_proxy)
        return self._request_id

    def decline(self, data: bytes) -> int:
        """Step as if this driver had received ``data``, because what it is is not ordinary."""
        self.unparsed = data
        return DECLINED

    def leave_straight_response(self, response: StraightResponse) -> WSGIResponse:
        """Make a request whose application has been called one like all others.

        By any thread of the application; several may come at the same time, and get the same response.

        :return: its response, which knows what the application has said so far.
        """
        with _LEAVING:
            return self._leave_straight_response(response) if response.wsgi is None else response.wsgi

    def _leave_straight_response(self, response: StraightResponse) -> WSGIResponse:
        head = self._head = response.head
        assert head is not None, "the response has not ended"
        self._head_size = response.received  # with the body, which has no decoder here that has counted it
        self._connection.body_memory = head.length or 0
        self._begun = self._received = response.begun
        self._phase = RESPONDING
        exchange = self._exchange = HTTPExchange(self._context, self._connection, head, None)
        if self._context.is_observed:
            self._observe(head, exchange, response.begun)
        self.straight_response = None
        wsgi = WSGIResponse(exchange, self._context.gateway.warn_once)
        try:
            if response.lines:
                wsgi.start_response(response.status, response.headers)
            if response.sent >= 0:
                exchange.is_sent(response.code, response.sent)
        finally:
            response.wsgi = wsgi  # not before: from now on other threads use it, without the lock
        response.lines = []
        return wsgi

    def leave_with(self, response: StraightResponse, result: Any, failure: BaseException | None) -> int:
        """Go on as for all requests, with what the application has returned or raised."""
        wsgi = self.leave_straight_response(response) if response.wsgi is None else response.wsgi
        response.connection = None
        head, exchange, connection = response.head, self._exchange, self._connection
        assert head is not None
        assert exchange is not None
        try:
            response.variables.run(self._context.gateway.end, exchange, wsgi, result, failure)
        finally:
            failure = None  # its traceback refers to this frame
            if response.content is not None:
                close_content(response.content)
            if connection.lent or connection.body_memory:
                self._clean_up(None, None)
        self._finish_run(head, exchange, response.referer, response.user_agent)
        return RAN

    def leave_sending(self, response: StraightResponse, message: bytes, count: int, rest: PartlyIterated | None) -> int:
        """The response is complete, and some of it does not fit into the socket: the leader sends the rest.

        :param count: bytes of ``message`` that have left.
        :param rest: of what the application has returned, to which its iteration has to come; None: there is none.
        """
        try:
            output = self._connection.output = Output()
            output.append(memoryview(message)[count:])
        except BaseException as error:  # no memory, as a rule
            if rest is None:
                raise
            return self.leave_with(response, rest, error)  # its close() has to be called
        if rest is not None:
            return self.leave_with(response, rest, None)
        self.leave_straight_response(response).detach()
        response.connection = None
        head, exchange = response.head, self._exchange
        assert head is not None
        assert exchange is not None
        if response.content is not None:
            close_content(response.content)
        self._finish_run(head, exchange, response.referer, response.user_agent)
        return RAN
