"""The driver of a connection until its TLS handshake is done; then the application's own driver takes its place.

Off the workers, like every other wait: a client that stalls its handshake holds a socket and a session, and is cut at
``--handshake-timeout``. Only an adapter that cannot do it otherwise (``blocking``) gets a worker.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from reserve.engine.connections.driver import CLOSE, LINGER, RUN, Action, DriverFactory, Wait
from reserve.engine.connections.peers import name_of
from reserve.engine.polling.poller import READ, WRITE
from reserve.errors import TLSError, WantRead, WantWrite

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.ssl.adapter import SSLAdapter
    from reserve.ssl.tlssocket import TLSSocket

__all__ = ["HandshakeDriver"]

_LOOK = 5  # octets of what a client begins with: they tell TLS from plain text, and HEAD from other methods


class HandshakeDriver:
    """One connection that has just been accepted on a listener with TLS."""

    __slots__ = ("_adapter", "_connection", "_factory", "_failure", "_tls", "_wait")

    def __init__(self, connection: Connection, adapter: SSLAdapter, factory: DriverFactory) -> None:
        self._connection = connection
        self._adapter = adapter
        self._factory = factory
        self._tls: TLSSocket | None = None
        self._failure: OSError | None = None
        server = connection.server
        self._wait = Wait("handshake", READ, server.clock.now() + server.settings.handshake_timeout)

    def step(self, events: int, now: float) -> Action:
        connection = self._connection
        server = connection.server
        wait = self._wait
        tls = self._tls
        if self._failure is not None:
            return self._fail(self._failure)
        if tls is None:
            try:
                first = connection.sock.recv(_LOOK, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return CLOSE if server.stopping else wait
            if not first:
                return CLOSE  # it looked whether somebody is here, or thought better of it
            if first[:1].isalpha():  # as all methods of HTTP are; no record of TLS begins so
                return self._refuse_plain(first)
            if self._adapter.blocking:
                return RUN
            try:
                tls = self._adapter.secure(connection.sock)
            except OSError as error:
                self._report(error)
                return CLOSE  # who has the socket now is not known: nothing is said or read through it
            except Exception:
                server.tls.handshake_failed()
                raise
            self._tls = tls
            connection.enter_tls(tls)
        try:
            tls.handshake_now()
        except WantRead:
            wait.events = READ
        except WantWrite:
            wait.events = WRITE
        except OSError as error:
            return self._fail(error)
        else:
            return self._begin(now)
        return CLOSE if server.stopping else wait

    def run(self) -> None:
        """For an adapter that blocks: the handshake, on a worker."""
        connection = self._connection
        timeout = connection.server.settings.handshake_timeout
        connection.sock.settimeout(timeout)
        try:
            tls = self._adapter.secure(connection.sock)
        except OSError as error:
            self._failure = error
            with contextlib.suppress(OSError):  # it may be closed
                connection.sock.setblocking(False)
        except Exception:
            connection.server.tls.handshake_failed()
            raise
        else:
            self._tls = tls
            connection.enter_tls(tls)

    def _begin(self, now: float) -> Action:
        """The session stands: make the driver of the application, and let it begin with what has come already."""
        connection = self._connection
        assert self._tls is not None
        connection.server.tls.handshake_done(self._tls)
        connection.trust_tls()
        connection.driver = self._factory.make_driver(connection)
        return connection.driver.step(0, now)

    def _fail(self, error: OSError) -> Action:
        self._report(error)
        # The alert that says why is on its way, and a reset would overtake it.
        return LINGER

    def _report(self, error: OSError) -> None:
        self._connection.server.tls.handshake_failed()
        text = error if isinstance(error, TLSError) else error.strerror or error
        self._say(f"the TLS handshake failed: {text}", "TLS handshakes that failed")

    def _refuse_plain(self, first: bytes) -> Action:
        connection = self._connection
        refuse = getattr(self._factory, "refuse_plain", None)
        self._say(f"no TLS on a port of TLS; it began with {first!r}", "clients without TLS on a port of TLS")
        connection.server.tls.handshake_failed()
        if refuse is None:
            return CLOSE
        connection.write(refuse(first))
        return LINGER

    def _say(self, text: str, kind: str) -> None:
        server = self._connection.server
        server.log.info(f"{name_of(server.address_of(self._connection))}: {text}", kind)

    def expired(self, kind: str, now: float) -> Action:
        if self._tls is not None:
            server = self._connection.server
            server.tls.handshake_failed()
            limit = server.settings.handshake_timeout
            text = f"the TLS handshake was not done within {limit:g} s (--handshake-timeout)"
            self._say(text, "TLS handshakes that took too long")
        return CLOSE

    def refuse(self, reason: str) -> bytes | None:
        return None  # there is no session yet to say it through

    def expire_run(self) -> bool:
        return False

    def refuse_during_run(self, reason: str) -> bytes | None:
        return None

    def describe(self) -> str:
        return ""

    def revoke(self) -> bool:
        return False

    def closed(self, reason: str) -> bool:
        return False
