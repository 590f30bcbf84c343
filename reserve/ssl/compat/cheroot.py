"""Adapters that were not made for reserve: cheroot's, and everything that can ``wrap()`` a socket.

cheroot's own two are taken to pieces: their context is driven by our sessions, because their ``wrap()`` would wait for
the client, and their ``get_environ()`` says what an application is told. They are known by the name of their module,
so cheroot itself is not imported here.

All others shake hands in their ``wrap()``: see :mod:`reserve.ssl.compat.wrap`.
"""

from __future__ import annotations

import inspect
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from reserve.errors import StartupError, UsageError
from reserve.ssl.adapter import SSLAdapter
from reserve.ssl.builtin import builtin_environ, harden
from reserve.ssl.builtinsession import BuiltinSession
from reserve.ssl.compat.wrap import ForeignAdapter, WrappingAdapter, strings
from reserve.ssl.session import TLSSession

__all__ = ["as_adapter"]

_LOGGER = logging.getLogger("reserve")
_CHEROOT = {
    ("cheroot.ssl.builtin", "BuiltinSSLAdapter"): "builtin",
    ("cheroot.ssl.pyopenssl", "pyOpenSSLAdapter"): "pyopenssl",
}


def as_adapter(adapter: Any) -> SSLAdapter:
    """Ours as it is, a foreign one in a dress that the engine knows. Raises UsageError for what is no adapter."""
    if isinstance(adapter, SSLAdapter):
        return adapter
    wrap = getattr(adapter, "wrap", None)
    if isinstance(adapter, type) or not callable(wrap):
        raise UsageError(
            f"{adapter!r} is no TLS adapter: that is an object derived from reserve.ssl.SSLAdapter, one of cheroot's "
            "adapters, or one with a method wrap(socket) that returns (TLS socket, environ)"
        )
    for base in type(adapter).__mro__:
        kind = _CHEROOT.get((base.__module__, base.__name__))
        if kind == "pyopenssl":  # its wrap() does nothing
            return CherootPyOpenSSLAdapter(adapter)
        if kind == "builtin" and getattr(wrap, "__func__", None) is base.__dict__.get("wrap"):
            return CherootBuiltinAdapter(adapter)
    return WrappingAdapter(adapter)


class _Cheroot(ForeignAdapter):
    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        self._told: dict[str, str] | None = None
        self._reported = False

    def prepare(self, protocols: Sequence[str]) -> None:
        try:
            self.take_context()
        except StartupError:
            raise
        except Exception as error:
            raise StartupError(f"{self!r} has no context that can be used: {error!r}") from error
        if not _wants_socket(self.adapter.get_environ):
            # The same for all sessions. It reads files, which whoever leads must not do.
            self._told = self._ask(self.adapter.get_environ)

    def take_context(self) -> None:
        """Find the context and make it as safe as our own are."""
        raise NotImplementedError

    def own_environ(self, session: Any) -> dict[str, str]:
        """What we say of a session."""
        raise NotImplementedError

    def environ(self, session: Any) -> dict[str, str]:
        """Ours, and over it what the foreign adapter says, unless it says nothing."""
        told = self._told
        if told is None:
            told = self._ask(lambda: self.adapter.get_environ(session.details))
        return self.own_environ(session) | told

    def _ask(self, get_environ: Callable[[], Any]) -> dict[str, str]:
        try:
            return strings(get_environ())
        except Exception as error:  # somebody else's code; a request is served without what it would have said
            if not self._reported:
                self._reported = True
                _LOGGER.warning(
                    "get_environ() of %r failed, and applications are told only what reserve knows: %r", self, error
                )
            return {}


class CherootBuiltinAdapter(_Cheroot):
    """``cheroot.ssl.builtin.BuiltinSSLAdapter``. Its context keeps its ciphers and what it wants of clients."""

    def take_context(self) -> None:
        context = self.adapter.context
        if not isinstance(context, ssl.SSLContext):
            raise StartupError(f"{self!r} has no ssl.SSLContext but {context!r}")
        harden(context)

    def session(self, sock: socket.socket) -> TLSSession:
        context = self.adapter.context
        return BuiltinSession(lambda _: context, sock)

    def own_environ(self, session: BuiltinSession) -> dict[str, str]:
        return builtin_environ(session)


class CherootPyOpenSSLAdapter(_Cheroot):
    """``cheroot.ssl.pyopenssl.pyOpenSSLAdapter``. A context that was given to it stays as it is, and what is not safe
    in it is made so for each session.
    """

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        self._pyopenssl: Any = None
        self._is_given = False

    def take_context(self) -> None:
        # StartupError without pyOpenSSL, which the adapter would not have without it, either.
        self._pyopenssl = import_module("reserve.ssl.pyopenssl")
        self._is_given = self.adapter.context is not None
        if self._is_given:
            self._pyopenssl.adopt(self.adapter.context)
        else:
            context = self.adapter.get_context()
            self._pyopenssl.harden_context(context)
            self.adapter.context = context

    def session(self, sock: socket.socket) -> TLSSession:
        session: TLSSession = self._pyopenssl.PyOpenSSLSession.begin(self.adapter.context, sock)
        if self._is_given:
            self._pyopenssl.harden_session(session.details)
        return session

    def own_environ(self, session: Any) -> dict[str, str]:
        found: dict[str, str] = self._pyopenssl.pyopenssl_environ(session)
        return found


def _wants_socket(get_environ: Callable[..., Any]) -> bool:
    parameters = inspect.signature(get_environ).parameters.values()
    return any(
        one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters
    )
