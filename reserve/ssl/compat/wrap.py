"""Adapters that can only ``wrap()`` a socket, as cheroot asks of an adapter.

Their ``wrap()`` waits for the client, so it runs on a worker, within ``--handshake-timeout``. What it returns is driven
afterwards by a session that never waits.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from reserve.errors import StartupError, TLSError, WantRead, WantWrite
from reserve.ssl.adapter import SSLAdapter
from reserve.ssl.builtin import harden
from reserve.ssl.builtinsession import translated
from reserve.ssl.session import TLSSession

__all__ = ["ForeignAdapter", "WrappingAdapter", "strings"]


class ForeignAdapter(SSLAdapter):
    """What all adapters have in common that were not made for reserve.

    :param adapter: the foreign one. Its certificate is loaded once: :meth:`reload` refuses.
    """

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter

    def __repr__(self) -> str:
        return f"<{type(self.adapter).__module__}.{type(self.adapter).__qualname__}>"

    def reload(self) -> None:
        raise StartupError(f"{self!r} loads its certificate only once; reserve.ssl has adapters that load it again")


def strings(environ: Any) -> dict[str, str]:
    """What may stand in a WSGI environ (PEP 3333). ``wsgi.*`` is the server's to say."""
    return {
        str(name): str(value).encode("utf-8", "backslashreplace").decode("latin-1")
        for name, value in dict(environ).items()
        if value not in (None, "") and not str(name).startswith("wsgi.")
    }


class WrappingAdapter(ForeignAdapter):
    """One that has only ``wrap(socket) -> (TLS socket, environ)``, as cheroot asks of an adapter."""

    blocking = True

    def prepare(self, protocols: Sequence[str]) -> None:
        self._harden()

    def _harden(self) -> None:
        context = getattr(self.adapter, "context", None)
        if isinstance(context, ssl.SSLContext):
            harden(context)

    def session(self, sock: socket.socket) -> TLSSession:
        """Shake hands, within the timeout that ``sock`` has. On a worker."""
        timeout = sock.gettimeout()
        # A socket of its own: some wrap() close what they were given when they fail, and the descriptor that the
        # engine watches must not become another connection's.
        own = sock.dup()
        try:
            own.settimeout(timeout)
            tls, environ = self._wrap(own, timeout)
            return _session_of(tls, own, sock, environ)
        except BaseException:
            own.close()
            raise
        finally:
            sock.setblocking(False)

    def _wrap(self, own: socket.socket, timeout: float | None) -> tuple[Any, dict[str, str]]:
        try:
            tls, environ = self.adapter.wrap(own)
            if tls is None:  # an older way of saying no
                raise TLSError(f"{self!r} refused the client")
            return tls, strings(environ)
        except TLSError:
            raise
        except TimeoutError:
            raise TLSError(f"the client did not finish within {timeout} s (--handshake-timeout)") from None
        except Exception as error:
            raise TLSError(f"{type(error).__name__}: {error}") from error

    def environ(self, session: Any) -> dict[str, str]:
        told: dict[str, str] = session.told
        return {"HTTPS": "on"} | told


def _session_of(tls: Any, own: socket.socket, sock: socket.socket, environ: dict[str, str]) -> TLSSession:
    """The session that drives what ``wrap()`` has returned."""
    inner: Any
    if isinstance(tls, ssl.SSLSocket):
        harden(tls.context)
        inner = _SocketSession(tls)
    elif _is_pyopenssl(tls):
        inner = import_module("reserve.ssl.pyopenssl").PyOpenSSLSession(tls, own)
    else:
        inner = _PlainCalls(tls)
    return _WrappedSession(inner, tls, own, sock, environ)


def _is_pyopenssl(tls: Any) -> bool:
    module = sys.modules.get("OpenSSL.SSL")
    return module is not None and isinstance(tls, module.Connection)


class _WrappedSession:
    """Another session over a second descriptor of the connection: the first one stays the engine's."""

    def __init__(self, inner: Any, tls: Any, own: socket.socket, sock: socket.socket, environ: dict[str, str]) -> None:
        self.socket = sock
        self.details = tls
        self.told = environ
        self.half_closes = getattr(inner, "half_closes", False)
        self.read = inner.read
        self.write = inner.write
        self.pending = inner.pending
        self.close_notify = inner.close_notify
        self.resumed = inner.resumed
        self._own = own

    def handshake(self) -> None:
        """It is done: :meth:`WrappingAdapter.session` has waited for it."""

    def release(self) -> None:
        for one in (self.details, self._own):
            detach = getattr(one, "detach", None)  # close() of a TLS socket may wait for its peer
            if one is self._own or detach is None:
                one.close()
            else:
                fd = detach()
                if isinstance(fd, int) and fd >= 0:
                    socket.close(fd)


class _SocketSession:
    """What drives an ``ssl.SSLSocket``."""

    __slots__ = ("_read", "_write", "details", "pending", "socket")

    half_closes = False
    """``unwrap`` receives, too, and throws away what it receives."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        tls.setblocking(False)
        tls.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        self.socket: socket.socket = tls
        self.details = tls
        self._read = tls.read
        self._write = tls.write
        self.pending = tls.pending

    def read(self, size: int) -> bytes:
        try:
            # The library makes room for all that it is asked for, and gives one record.
            return self._read(min(size, 16384))
        except ssl.SSLWantReadError:
            raise WantRead from None
        except ssl.SSLError as error:
            if isinstance(error, ssl.SSLZeroReturnError):
                return b""
            raise translated(error) from None

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._write(data)
        except ssl.SSLError as error:
            raise translated(error) from None

    def close_notify(self) -> None:
        try:
            self.details.unwrap()
        except ssl.SSLWantReadError:
            pass  # it has been said; the peer's is not waited for
        except ssl.SSLError as error:
            raise translated(error) from None

    def resumed(self) -> bool:
        return bool(self.details.session_reused)


class _PlainCalls:
    """Whatever has ``recv`` and ``send`` that raise ``ssl.SSLWantReadError`` or BlockingIOError."""

    def __init__(self, tls: Any) -> None:
        tls.setblocking(False)
        self._tls = tls

    def read(self, size: int) -> bytes:
        return bytes(self._call(self._tls.recv, size, WantRead))

    def write(self, data: bytes | memoryview) -> int:
        return int(self._call(self._tls.send, data, WantWrite))

    def pending(self) -> int:
        pending = getattr(self._tls, "pending", None)
        return 0 if pending is None else int(pending())

    def close_notify(self) -> None:
        unwrap = getattr(self._tls, "unwrap", None)
        if unwrap is not None:
            with contextlib.suppress(WantRead):  # it has been said; the peer's is not waited for
                # One that does not say what it waits for: to wait for room that is there would never end.
                self._call(lambda _: unwrap(), None, WantRead)

    def resumed(self) -> bool:
        return bool(getattr(self._tls, "session_reused", False))

    @staticmethod
    def _call(call: Callable[[Any], Any], argument: Any, usually: type[BlockingIOError]) -> Any:
        try:
            return call(argument)
        except ssl.SSLWantReadError:
            raise WantRead from None
        except ssl.SSLWantWriteError:
            raise WantWrite from None
        except BlockingIOError:
            raise usually() from None
        except ssl.SSLEOFError:
            raise ConnectionAbortedError("the connection ended without the close_notify of TLS") from None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError as error:
            raise TLSError(str(error.reason or error)) from None
