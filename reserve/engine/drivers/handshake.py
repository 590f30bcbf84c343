"""The driver of a connection until its TLS handshake is complete; then the application's own driver takes its place.

The handshake is not done on a worker but by the thread that leads. A client that stalls its handshake occupies only a
socket and a session, and its connection is closed after ``--handshake-timeout``. A worker does the handshake only if
the adapter can do nothing but block (``SSLAdapter.blocking``).
"""

from __future__ import annotations

import contextlib
import socket

from reserve.engine.connections.application import Application
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import CLOSE, LINGER, RUN, Action, Driver, Wait
from reserve.engine.connections.peers import address_of, name_of
from reserve.engine.polling.poller import READ, WRITE
from reserve.errors import TLSError, WantRead, WantWrite
from reserve.ssl.adapter import SSLAdapter
from reserve.ssl.tlssocket import TLSSocket

__all__ = ["HandshakeDriver", "step_handshake"]

_LOOK = 5  # bytes: enough of a client's first bytes to tell TLS from plain text, and HEAD from other methods
_FIRST = 4096
"""Bytes that the first receive takes: today's ClientHellos have 2,000, and the session receives what is left."""

_SMALL = 4096
"""Bytes that a handshake may keep while the server's memory budget is used up: today's ClientHellos have 2,000."""


def step_handshake(connection: Connection, tls: TLSSocket, wait: Wait) -> bool:
    """Go on with a handshake as far as the socket allows; never blocks.

    True: it is complete. False: it waits for the event that ``wait.events`` now names. Raises OSError when it failed,
    and when it keeps much while the server's memory budget is used up.
    """
    try:
        tls.handshake_now()
    except WantRead:
        wait.events = READ
    except WantWrite:
        wait.events = WRITE
    else:
        return True
    held = tls.held
    if held > _SMALL and not connection.server.budget.memory_for(held - connection.counted[0]):
        raise TLSError("no room for large messages of handshakes for now (--buffer-memory)")
    return False


class HandshakeDriver(Driver):
    """Drives one connection that was accepted on a listener with TLS, until its handshake is complete.

    :param adapter: the server's.
    :param application: the listener's; it makes the driver that replaces this one.
    """

    __slots__ = ("_adapter", "_application", "_connection", "_failure", "_tls", "_wait")

    def __init__(self, connection: Connection, adapter: SSLAdapter, application: Application) -> None:
        self._connection = connection
        self._adapter = adapter
        self._application = application
        self._tls: TLSSocket | None = None
        self._failure: OSError | None = None
        server = connection.server
        self._wait = Wait("handshake", READ, server.clock.now() + server.settings.handshake_timeout)

    def step(self, events: int, now: float) -> Action:
        if self._failure is not None:
            return self._fail(self._failure)
        if self._tls is None:
            action = self._begin()
            if action is not None:
                return action
        assert self._tls is not None
        try:
            complete = step_handshake(self._connection, self._tls, self._wait)
        except OSError as error:
            return self._fail(error)
        if complete:
            return self._hand_over(now)
        return CLOSE if self._connection.server.stopping else self._wait

    def run(self) -> None:
        """Do the handshake on a worker, for an adapter that blocks."""
        connection = self._connection
        connection.sock.settimeout(connection.server.settings.handshake_timeout)
        try:
            self._open_session()
        except OSError as error:
            self._failure = error
            with contextlib.suppress(OSError):  # it may be closed
                connection.sock.setblocking(False)

    def _begin(self) -> Action | None:
        """Look at the client's first bytes and open the session; None: the handshake can begin."""
        connection = self._connection
        adapter = self._adapter
        received = b""
        try:
            if adapter.takes_received and not adapter.blocking:
                first = received = connection.recv(_FIRST)
            else:
                first = connection.sock.recv(_LOOK, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return CLOSE if connection.server.stopping else self._wait
        if not first:
            return CLOSE  # a health check, or a client that closed without sending
        if first[:1].isalpha():  # like an HTTP method; no TLS record begins with a letter
            return self._refuse_plain(first[:_LOOK])
        if adapter.blocking:
            return RUN
        try:
            self._open_session(received)
        except OSError as error:
            self._report(error)
            return CLOSE  # the adapter may or may not have taken the socket over, so it is not used any more
        return None

    def _open_session(self, received: bytes = b"") -> None:
        connection = self._connection
        try:
            adapter = self._adapter
            tls = adapter.secure(connection.sock, received) if received else adapter.secure(connection.sock)
        except OSError:
            raise
        except Exception:
            connection.server.tls.handshake_failed()
            raise
        self._tls = tls
        connection.enter_tls(tls)

    def _hand_over(self, now: float) -> Action:
        """Replace this driver by the application's, and step it: the client may have sent data already."""
        connection = self._connection
        assert self._tls is not None
        connection.server.tls.handshake_done(self._tls)
        connection.trust_tls()
        connection.driver = self._application.make_driver(connection)
        return connection.driver.step(0, now)

    def _fail(self, error: OSError) -> Action:
        self._report(error)
        # Linger, because an alert with the reason is being sent, and a reset would destroy it.
        return LINGER

    def _report(self, error: OSError) -> None:
        self._connection.server.tls.handshake_failed()
        text = error if isinstance(error, TLSError) else error.strerror or error
        self._log(f"the TLS handshake failed: {text}", "TLS handshakes that failed")

    def _refuse_plain(self, first: bytes) -> Action:
        connection = self._connection
        self._log(f"no TLS on a port of TLS; it began with {first!r}", "clients without TLS on a port of TLS")
        connection.server.tls.handshake_failed()
        response = self._application.refuse_plain(first)
        if response is None:
            return CLOSE
        connection.write(response)
        return LINGER

    def _log(self, text: str, kind: str) -> None:
        self._connection.server.log.info(f"{name_of(address_of(self._connection.peer))}: {text}", kind)

    def expired(self, kind: str, now: float) -> Action:
        if self._tls is not None:
            server = self._connection.server
            server.tls.handshake_failed()
            limit = server.settings.handshake_timeout
            text = f"the TLS handshake was not done within {limit:g} s (--handshake-timeout)"
            self._log(text, "TLS handshakes that took too long")
        return CLOSE
