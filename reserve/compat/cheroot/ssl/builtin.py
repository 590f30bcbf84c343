"""``BuiltinSSLAdapter`` with cheroot's parameters: :class:`reserve.ssl.BuiltinSSLAdapter`, and a context to change."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from reserve.errors import StartupError
from reserve.ssl.builtin import BuiltinSSLAdapter as _BuiltinSSLAdapter
from reserve.ssl.builtin import harden
from reserve.ssl.builtinsession import BuiltinSession
from reserve.ssl.session import TLSSession
from reserve.ssl.settings import CIPHERS, CertificateFiles

__all__ = ["BuiltinSSLAdapter"]


class BuiltinSSLAdapter(_BuiltinSSLAdapter):
    """TLS by the standard library; the program makes it and sets ``server.ssl_adapter`` to it, and any thread uses it.

    :param certificate: the path of the certificate (PEM), perhaps with its chain.
    :param private_key: the path of its key (PEM).
    :param certificate_chain: the path of the authorities that have signed it (PEM), if ``certificate`` lacks them.
        Clients' certificates are checked with them, too, if the context asks for some.
    :param ciphers: those of TLS 1.2, in OpenSSL's notation. Default: reserve's.
    :param private_key_password: opens the key if it is encrypted.
    """

    def __init__(
        self,
        certificate: str,
        private_key: str | None = None,
        certificate_chain: str | None = None,
        ciphers: str | None = None,
        private_key_password: str | bytes | None = None,
    ) -> None:
        super().__init__(certificate, private_key, private_key_password, ciphers=ciphers or CIPHERS)
        self.certificate = certificate
        self.private_key = private_key
        self.certificate_chain = certificate_chain
        self.ciphers = ciphers
        self._context: ssl.SSLContext | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """The context, which a program may change, or replace by its own, before the start.

        From then on the certificate is not loaded again when its files change.
        """
        if self._context is None:
            context = self.make_context(self.certificates[0], {})
            self.set_protocols(context)
            self._context = context
        return self._context

    @context.setter
    def context(self, context: ssl.SSLContext) -> None:
        if not isinstance(context, ssl.SSLContext):
            raise TypeError(f"the context of this adapter is an ssl.SSLContext, not {context!r:.80}")
        harden(context)
        self._context = context

    takes_received = True

    def make_context(self, files: CertificateFiles, variables: dict[str, str]) -> Any:
        context = super().make_context(files, variables)
        if self.certificate_chain:
            try:
                context.load_verify_locations(self.certificate_chain)  # OpenSSL completes the chain from these
            except OSError as error:
                raise StartupError(f"the chain {self.certificate_chain} cannot be loaded: {error}") from None
        return context

    def session(self, sock: socket.socket) -> TLSSession:
        context = self._context
        return super().session(sock) if context is None else BuiltinSession(lambda _: context, sock)

    def reload(self) -> None:
        if self._context is not None:
            raise StartupError(f"{self!r} has a context of the program, which is not loaded again")
        super().reload()

    def changed(self) -> bool:
        return self._context is None and super().changed()
