"""Adapters that have only ``wrap(socket)``, as cheroot expects of an adapter.

Their ``wrap()`` waits for the client, so it runs on a worker, within ``--handshake-timeout``. A session that never
waits uses what it returns.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from reserve.errors import StartupError, TLSError, WantRead, WantWrite, safe_str, type_name
from reserve.ssl.adapter import SSLAdapter
from reserve.ssl.builtin import harden
from reserve.ssl.builtinsession import translate_error, write_close_notify
from reserve.ssl.environ import wsgi_text
from reserve.ssl.session import TLSSession

__all__ = ["ExternalAdapter", "WrappingAdapter", "text_variables"]


class ExternalAdapter(SSLAdapter):
    """The base for adapters that were not made for reserve. The server owns it, and any thread may call it.

    :param adapter: the other one. Its certificate is loaded once: :meth:`reload` refuses.
    """

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter

    def __repr__(self) -> str:
        return f"<{type(self.adapter).__module__}.{type(self.adapter).__qualname__}>"

    def reload(self) -> None:
        raise StartupError(f"{self!r} loads its certificate only once; reserve.ssl has adapters that load it again")


def text_variables(environ: Any) -> dict[str, str]:
    """The variables of another adapter as a WSGI environ has them (PEP 3333), without ``wsgi.*``, which the server
    sets.
    """
    return {
        str(name): wsgi_text(str(value))
        for name, value in dict(environ).items()
        if value not in (None, "") and not str(name).startswith("wsgi.")
    }


class WrappingAdapter(ExternalAdapter):
    """An adapter that has only ``wrap(socket) -> (TLS socket, environ)``, as cheroot expects of one."""

    blocking = True

    def prepare(self, protocols: Sequence[str]) -> None:
        context = getattr(self.adapter, "context", None)
        if isinstance(context, ssl.SSLContext):
            harden(context)

    def session(self, sock: socket.socket) -> TLSSession:
        """Do the handshake, within the timeout that ``sock`` has. On a worker."""
        timeout = sock.gettimeout()
        # A socket of its own: some wrap() close the given one when they fail, and another connection must not get the
        # descriptor that the engine watches.
        duplicate = sock.dup()
        try:
            duplicate.settimeout(timeout)
            tls, environ = self._wrap(duplicate, timeout)
            return _session_of(tls, duplicate, sock, environ)
        except BaseException:
            duplicate.close()
            raise
        finally:
            sock.setblocking(False)

    def _wrap(self, duplicate: socket.socket, timeout: float | None) -> tuple[Any, dict[str, str]]:
        try:
            tls, environ = self.adapter.wrap(duplicate)
            if tls is None:  # older adapters refuse in this way
                raise TLSError(f"{self!r} refused the client")
            return tls, text_variables(environ)
        except TLSError:
            raise
        except TimeoutError:
            raise TLSError(f"the client did not finish within {timeout} s (--handshake-timeout)") from None
        except Exception as error:
            raise TLSError(f"{type_name(error)}: {safe_str(error)}") from error

    def environ(self, session: Any) -> dict[str, str]:
        variables: dict[str, str] = session.variables
        return {"HTTPS": "on"} | variables


def _session_of(tls: Any, duplicate: socket.socket, sock: socket.socket, variables: dict[str, str]) -> TLSSession:
    """The session that uses what ``wrap()`` has returned."""
    inner: Any
    if isinstance(tls, ssl.SSLSocket):
        harden(tls.context)
        inner = _SSLSocketSession(tls)
    elif _is_pyopenssl(tls):
        inner = import_module("reserve.ssl.pyopenssl").PyOpenSSLSession(tls, duplicate)
    else:
        inner = _SocketLikeSession(tls)
    return _WrappedSession(inner, tls, duplicate, sock, variables)


def _is_pyopenssl(tls: Any) -> bool:
    module = sys.modules.get("OpenSSL.SSL")
    return module is not None and isinstance(tls, module.Connection)


class _WrappedSession:
    """Another session over a second descriptor of the connection: the engine keeps the first one.

    :param inner: the session that does the work.
    :param tls: what ``wrap()`` has returned.
    :param duplicate: the socket that ``wrap()`` was given.
    :param sock: the engine's socket.
    :param variables: those that ``wrap()`` has returned.
    """

    def __init__(
        self, inner: Any, tls: Any, duplicate: socket.socket, sock: socket.socket, variables: dict[str, str]
    ) -> None:
        self.socket = sock
        self.details = tls
        self.variables = variables
        self.half_closes = getattr(inner, "half_closes", False)
        self.read = inner.read
        self.write = inner.write
        self.pending = inner.pending
        self.close_notify = inner.close_notify
        self.resumed = inner.resumed
        self._duplicate = duplicate

    def handshake(self) -> None:
        """It is done: :meth:`WrappingAdapter.session` has waited for it."""

    def release(self) -> None:
        for resource in (self.details, self._duplicate):
            detach = getattr(resource, "detach", None)  # close() of a TLS socket may wait for its peer
            if resource is self._duplicate or detach is None:
                resource.close()
            else:
                fd = detach()
                if isinstance(fd, int) and fd >= 0:
                    socket.close(fd)


class _SSLSocketSession:
    """A session of an ``ssl.SSLSocket``, whose handshake is done."""

    __slots__ = ("_read", "_write", "details", "pending", "socket")

    half_closes = False
    """``unwrap`` receives, too, and discards what it receives."""

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
            # The library allocates as many bytes as it is asked for, and returns one record.
            return self._read(min(size, 16384))
        except ssl.SSLWantReadError:
            raise WantRead from None
        except ssl.SSLError as error:
            if isinstance(error, ssl.SSLZeroReturnError):
                return b""
            raise translate_error(error) from None

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._write(data)
        except ssl.SSLError as error:
            raise translate_error(error) from None

    def close_notify(self) -> None:
        write_close_notify(self.details)

    def resumed(self) -> bool:
        return bool(self.details.session_reused)


class _SocketLikeSession:
    """A session of any object with ``recv`` and ``send`` that raise ``ssl.SSLWantReadError`` or BlockingIOError."""

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
            with contextlib.suppress(WantRead):  # it was sent; the peer's is not waited for
                # BlockingIOError does not say what it waits for: a wait for room that is there would never end.
                self._call(lambda _: unwrap(), None, WantRead)

    def resumed(self) -> bool:
        return bool(getattr(self._tls, "session_reused", False))

    @staticmethod
    def _call(call: Callable[[Any], Any], argument: Any, want: type[BlockingIOError]) -> Any:
        """Call with the argument, and translate the errors.

        :param want: what BlockingIOError becomes.
        """
        try:
            return call(argument)
        except BlockingIOError:
            raise want() from None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError as error:
            raise translate_error(error) from None
