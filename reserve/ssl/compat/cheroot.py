"""Adapters that were not made for reserve: cheroot's, and every other with a ``wrap(socket)``.

Of cheroot's own two only parts are used: our sessions use their context, because their ``wrap()`` would wait for the
client, and their ``get_environ()`` gives variables for applications. They are recognized by the name of their module,
so cheroot itself is not imported here.

All others do the handshake in their ``wrap()``: see :mod:`reserve.ssl.compat.wrap`.
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
from reserve.ssl.compat.wrap import ExternalAdapter, WrappingAdapter, text_variables
from reserve.ssl.session import TLSSession

__all__ = ["as_adapter"]

_LOGGER = logging.getLogger("reserve")
_CHEROOT = {
    ("cheroot.ssl.builtin", "BuiltinSSLAdapter"): "builtin",
    ("cheroot.ssl.pyopenssl", "pyOpenSSLAdapter"): "pyopenssl",
}


def as_adapter(adapter: Any) -> SSLAdapter:
    """The adapter itself if it was made for reserve, else one around it. Raises UsageError for any other object."""
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


class _CherootAdapter(ExternalAdapter):
    """The base for cheroot's own two. The server owns it, and any thread may call it."""

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        self._fixed_variables: dict[str, str] | None = None
        """What ``get_environ()`` has returned, if it is the same for all sessions."""
        self._reported = False

    def prepare(self, protocols: Sequence[str]) -> None:
        try:
            self.take_context()
        except StartupError:
            raise
        except Exception as error:
            raise StartupError(f"{self!r} has no context that can be used: {error!r}") from error
        if not _requires_argument(self.adapter.get_environ):
            # It reads files, which the thread that has the lead must not do.
            self._fixed_variables = self._call_get_environ(self.adapter.get_environ)

    def take_context(self) -> None:
        """Take the context of the other adapter, and make it as safe as our own."""
        raise NotImplementedError

    def session_variables(self, session: Any) -> dict[str, str]:
        """The variables that reserve gives for a session."""
        raise NotImplementedError

    def environ(self, session: Any) -> dict[str, str]:
        """Our variables, replaced by those of the other adapter, if they are not empty."""
        variables = self._fixed_variables
        if variables is None:
            variables = self._call_get_environ(lambda: self.adapter.get_environ(session.details))
        return self.session_variables(session) | variables

    def _call_get_environ(self, get_environ: Callable[[], Any]) -> dict[str, str]:
        try:
            return text_variables(get_environ())
        except Exception as error:  # not our code; a request is served without these variables
            if not self._reported:
                self._reported = True
                _LOGGER.warning(
                    "get_environ() of %r failed, and applications get only the variables of reserve: %r", self, error
                )
            return {}


class CherootBuiltinAdapter(_CherootAdapter):
    """``cheroot.ssl.builtin.BuiltinSSLAdapter``. Its context keeps its ciphers and what it requires of clients."""

    def take_context(self) -> None:
        context = self.adapter.context
        if not isinstance(context, ssl.SSLContext):
            raise StartupError(f"{self!r} has no ssl.SSLContext but {context!r}")
        harden(context)

    def session(self, sock: socket.socket) -> TLSSession:
        context = self.adapter.context
        return BuiltinSession(lambda _: context, sock)

    def session_variables(self, session: BuiltinSession) -> dict[str, str]:
        return builtin_environ(session)


class CherootPyOpenSSLAdapter(_CherootAdapter):
    """``cheroot.ssl.pyopenssl.pyOpenSSLAdapter``. A context that a program has set stays as it is; each session gets
    the options that make it safe.
    """

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        self._pyopenssl: Any = None
        self._has_own_context = False
        """A program has set the context."""

    def take_context(self) -> None:
        # StartupError without pyOpenSSL; the adapter would not exist without it, either.
        self._pyopenssl = import_module("reserve.ssl.pyopenssl")
        self._has_own_context = self.adapter.context is not None
        if self._has_own_context:
            self._pyopenssl.adapt_context(self.adapter.context)
        else:
            context = self.adapter.get_context()
            self._pyopenssl.harden_context(context)
            self.adapter.context = context

    def session(self, sock: socket.socket) -> TLSSession:
        session: TLSSession = self._pyopenssl.PyOpenSSLSession.begin(self.adapter.context, sock)
        if self._has_own_context:
            self._pyopenssl.harden_session(session.details)
        return session

    def session_variables(self, session: Any) -> dict[str, str]:
        variables: dict[str, str] = self._pyopenssl.pyopenssl_environ(session)
        return variables


def _requires_argument(get_environ: Callable[..., Any]) -> bool:
    parameters = inspect.signature(get_environ).parameters.values()
    return any(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )
