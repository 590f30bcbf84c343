"""The TLS of a server: its adapter, when the certificates are loaded again, and the counts of handshakes.

The accept thread calls :meth:`ServerTLS.check_files` for each new connection, which starts a thread when a check is
due. That thread reads the files, because a disk can be slow, and ends after the check, because an idle server runs
nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.patching import SystemThread
from reserve.errors import ReserveError, UsageError, short_repr

if TYPE_CHECKING:
    from reserve.ssl.adapter import SSLAdapter
    from reserve.ssl.tlssocket import TLSSocket

__all__ = ["ServerTLS"]


class ServerTLS:
    """The adapter, reloads and handshake counts of one server, which owns it. A server without TLS has one, too.

    The accept thread calls :meth:`check_files`, the owner of a connection counts its handshake, and any thread may call
    :meth:`reload` and :meth:`reload_in_background`.

    :param interval: seconds between two checks of the certificates' files (``--tls-check``); 0: they are not checked.
    """

    def __init__(self, clock: Clock, log: ErrorLog, interval: float) -> None:
        self.adapter: SSLAdapter | None = None
        self.handshakes = 0
        """Handshakes completed so far."""
        self.resumed = 0
        """Handshakes among them that resumed an earlier session."""
        self.failed = 0
        """Handshakes that failed, took too long, or began with bytes that are not TLS."""
        self.kernel = 0
        """Sessions whose output the kernel encrypts."""
        self._now = clock.now
        self._log = log
        self._interval = interval
        self._check_due = clock.now() + interval
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._busy = False
        """The thread has work to do. Guarded by the lock, like the next attribute."""
        self._again: Callable[[SSLAdapter], bool] | None = None
        """The condition of the reload that the thread makes after the current one."""

    def adopt(self, adapter: Any) -> None:
        """Use an adapter of reserve's or of cheroot's; None: no TLS. Raises UsageError for any other object."""
        if adapter is not None:
            from reserve.ssl.compat.cheroot import as_adapter  # a Python without ssl can serve without TLS

            adapter = as_adapter(adapter)
        self.adapter = adapter

    def prepare(self, protocols: Sequence[str]) -> None:
        """Load the certificates; called by the thread that starts the server, before it accepts.

        :param protocols: names for ALPN, the preferred one first.

        Raises StartupError when a certificate cannot be used.
        """
        adapter = self.adapter
        if adapter is not None:
            adapter.prepare(protocols)
            if adapter.blocking:
                self._log.warning(
                    f"{short_repr(adapter)} can only wrap() a socket and waits for its client: each TLS "
                    "handshake holds a worker for up to --handshake-timeout"
                )

    def reload(self) -> None:
        """Load the certificates again, on the caller's thread.

        Raises StartupError when they cannot be used (the old ones stay), UsageError without TLS.
        """
        if self.adapter is None:
            raise UsageError("this server has no TLS: there is no certificate to load again")
        self.adapter.reload()
        self._log.info("the certificates were loaded again; new connections get them")

    # ---- by the accept thread, and by the thread that handles SIGHUP ----

    def check_files(self) -> None:
        """Called for each new client: checks the files if the last check is older than the interval.

        Another thread checks, and reloads files that have changed; this method does not wait for it.
        """
        if self._interval > 0 and self._now() >= self._check_due:
            self.reload_in_background(lambda adapter: adapter.changed())

    def reload_in_background(self, condition: Callable[[SSLAdapter], bool] = lambda adapter: True) -> None:
        """Load the certificates again on another thread, and return at once. A failure is logged.

        If that thread is at work already, it reloads once more afterwards, because it may have read the old files.

        :param condition: called on that thread; False: the certificates are not loaded.
        """
        adapter = self.adapter
        if adapter is None:
            return
        with self._lock:
            self._check_due = self._now() + self._interval
            if self._busy:
                self._again = condition
                return
            self._busy = True
            self._thread = SystemThread(
                target=self._reload_if, args=(adapter, condition), name="reserve-tls-reload", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError as error:  # the system has no thread for it: the next check tries again
                self._thread, self._busy = None, False
                self._log.error(f"the files of the certificates could not be checked: {error}")

    def _reload_if(self, adapter: SSLAdapter, condition: Callable[[SSLAdapter], bool] | None) -> None:
        while condition is not None:
            try:
                if condition(adapter):
                    self.reload()
            except ReserveError as error:
                self._log.error(f"the new certificates are not taken, the old ones stay: {error}")
            except Exception as error:
                self._log.failure("the new certificates are not taken, the old ones stay", error)
            with self._lock:
                condition, self._again = self._again, None
                self._busy = condition is not None

    def close(self, join: Callable[[threading.Thread], object] = threading.Thread.join) -> None:
        """At the server's shutdown: wait for the thread that checks the files.

        :param join: waits for a thread, as long as the shutdown may take.
        """
        with self._lock:
            thread = self._thread
        if thread is not None:
            join(thread)

    # ---- by the owner of a connection ----

    def handshake_done(self, tls: TLSSocket) -> None:
        """Count a handshake that was completed."""
        with self._lock:
            self.handshakes += 1
            self.resumed += tls.resumed
            self.kernel += tls.kernel

    def handshake_failed(self) -> None:
        """Count a failed handshake."""
        with self._lock:
            self.failed += 1
