"""``pyOpenSSLAdapter`` with cheroot's parameters: :class:`reserve.ssl.PyOpenSSLAdapter`, and a context to change.

Needs pyOpenSSL: ``pip install 'reserve[pyopenssl]'``.
"""

from __future__ import annotations

import socket
from typing import Any

from reserve.errors import StartupError
from reserve.ssl.pyopenssl import PyOpenSSLAdapter, PyOpenSSLSession, adapt_context, harden_session
from reserve.ssl.session import TLSSession
from reserve.ssl.settings import CIPHERS, CertificateFiles

__all__ = ["pyOpenSSLAdapter"]


class pyOpenSSLAdapter(PyOpenSSLAdapter):
    """TLS by pyOpenSSL; the program makes it and sets ``server.ssl_adapter`` to it, and any thread uses it.

    The parameters are those of :class:`~reserve.compat.cheroot.ssl.builtin.BuiltinSSLAdapter`.
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
        self.context: Any = None
        """An ``OpenSSL.SSL.Context`` of the program; None: one is made. Set it before the start."""

    def get_context(self) -> Any:
        """Make a context from the files, which a program may change and set as :attr:`context`."""
        context = self.make_context(self.certificates[0], {})
        self.set_protocols(context)
        return context

    def make_context(self, files: CertificateFiles, variables: dict[str, str]) -> Any:
        context = super().make_context(files, variables)
        if self.certificate_chain:
            try:
                context.load_verify_locations(self.certificate_chain)  # OpenSSL completes the chain from these
            except Exception as error:  # pyOpenSSL's own class
                raise StartupError(f"the chain {self.certificate_chain} cannot be loaded: {error}") from None
        return context

    def session(self, sock: socket.socket) -> TLSSession:
        context = self.context
        if context is None:
            return super().session(sock)
        adapt_context(context)
        session = PyOpenSSLSession.begin(context, sock)
        harden_session(session.details)
        return session

    def reload(self) -> None:
        if self.context is not None:
            raise StartupError(f"{self!r} has a context of the program, which is not loaded again")
        super().reload()

    def changed(self) -> bool:
        return self.context is None and super().changed()
