"""The server's side of its adapter: which one it has, when its certificates are loaded again, what is counted.

The accept thread asks :meth:`ServerTLS.look` for each new connection; a look at the files, and what follows from it,
happens on a thread of its own that lives for one look, because a disk can be slow and an idle server does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock
from reserve.errors import ReserveError, UsageError

if TYPE_CHECKING:
    from reserve.ssl.adapter import SSLAdapter
    from reserve.ssl.tlssocket import TLSSocket

__all__ = ["ServerTLS"]


class ServerTLS:
    """One for each server, with or without an adapter.

    :param interval: seconds between two looks at the files; 0: nobody looks.
    """

    def __init__(self, clock: Clock, log: ErrorLog, interval: float) -> None:
        self.adapter: SSLAdapter | None = None
        self.handshakes = 0
        """Handshakes that were completed."""
        self.resumed = 0
        """Those of them that went on with an earlier session."""
        self.failed = 0
        """Handshakes that failed, did not end in time, or were no TLS at all."""
        self.kernel = 0
        """Sessions whose output the kernel encrypts."""
        self._now = clock.now
        self._log = log
        self._interval = interval
        self._next_look = clock.now() + interval
        self._lock = threading.Lock()
        self._looking: threading.Thread | None = None
        self._busy = False
        self._again: Callable[[SSLAdapter], bool] | None = None

    def adopt(self, adapter: Any) -> None:
        """Take an adapter, ours or cheroot's. None: no TLS. Raises UsageError for what is none."""
        if adapter is not None:
            from reserve.ssl.compat.cheroot import as_adapter  # a Python without ssl can serve the rest

            adapter = as_adapter(adapter)
        self.adapter = adapter

    def prepare(self, protocols: Sequence[str]) -> None:
        """Before the server accepts. Raises StartupError when a certificate cannot be used."""
        adapter = self.adapter
        if adapter is not None:
            adapter.prepare(protocols)
            if adapter.blocking:
                self._log.warning(
                    f"{adapter!r} can only wrap() a socket and waits for its client: each TLS handshake holds a "
                    "worker for up to --handshake-timeout"
                )

    def reload(self) -> None:
        """Load the certificates again. Raises StartupError, UsageError without TLS."""
        if self.adapter is None:
            raise UsageError("this server has no TLS: there is no certificate to load again")
        self.adapter.reload()
        self._log.info("the certificates were loaded again; new connections get them")

    # ---- by the accept thread, and by whoever is told that the files are new ----

    def look(self) -> None:
        """A client comes: look at the files, if the last look is long ago. Does not wait for it."""
        if self._interval > 0 and self._now() >= self._next_look:
            self.look_now(lambda adapter: adapter.changed())

    def look_now(self, wanted: Callable[[SSLAdapter], bool] = lambda adapter: True) -> None:
        """Load the files again on a thread of its own, if ``wanted`` says so there.

        While another look is under way: once more behind it, because it may have read the old files.
        """
        adapter = self.adapter
        if adapter is None:
            return
        with self._lock:
            self._next_look = self._now() + self._interval
            if self._busy:
                self._again = wanted
                return
            self._busy = True
            self._looking = threading.Thread(
                target=self._reload_if, args=(adapter, wanted), name="reserve-tls-reload", daemon=True
            )
            try:
                self._looking.start()
            except RuntimeError as error:  # no thread to be had: there will be another look
                self._looking, self._busy = None, False
                self._log.error(f"the files of the certificates could not be looked at: {error}")

    def _reload_if(self, adapter: SSLAdapter, wanted: Callable[[SSLAdapter], bool] | None) -> None:
        while wanted is not None:
            try:
                if wanted(adapter):
                    self.reload()
            except ReserveError as error:
                self._log.error(f"the new certificates are not taken, the old ones stay: {error}")
            except Exception as error:
                self._log.failure("the new certificates are not taken, the old ones stay", error)
            with self._lock:
                wanted, self._again = self._again, None
                self._busy = wanted is not None

    def close(self) -> None:
        """At the server's end: wait for a look that is under way."""
        with self._lock:
            looking = self._looking
        if looking is not None:
            looking.join()

    # ---- by whoever has the connection ----

    def handshake_done(self, tls: TLSSocket) -> None:
        """Count a handshake that is done."""
        with self._lock:
            self.handshakes += 1
            self.resumed += tls.resumed
            self.kernel += tls.kernel

    def handshake_failed(self) -> None:
        """Count one that never will be."""
        with self._lock:
            self.failed += 1
