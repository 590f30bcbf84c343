"""``Adapter``: the base of adapters that a program has written for cheroot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

__all__ = ["Adapter"]


class Adapter(ABC):
    """An adapter with ``wrap(socket)``; the program makes it and sets ``server.ssl_adapter`` to it.

    ``wrap`` waits for the client's handshake, so it runs on a worker, within ``--handshake-timeout``:
    :mod:`reserve.ssl.compat.wrap` uses it. An adapter that holds no worker derives from
    :class:`reserve.ssl.adapter.SSLAdapter` instead.

    :param certificate: the path of the certificate (PEM), perhaps with its chain; kept as an attribute, as the others.
    :param private_key: the path of its key (PEM).
    :param certificate_chain: the path of the authorities that have signed it (PEM).
    :param ciphers: in OpenSSL's notation.
    :param private_key_password: opens the key if it is encrypted.
    """

    def __init__(
        self,
        certificate: str,
        private_key: str,
        certificate_chain: str | None = None,
        ciphers: str | None = None,
        *,
        private_key_password: str | bytes | None = None,
    ) -> None:
        self.certificate = certificate
        self.private_key = private_key
        self.certificate_chain = certificate_chain
        self.ciphers = ciphers
        self.private_key_password = private_key_password
        self.context: Any = None

    @abstractmethod
    def wrap(self, sock: Any) -> tuple[Any, dict[str, Any]]:
        """Do the handshake; return the TLS socket, and variables for the environ of its requests."""

    def bind(self, sock: Any) -> Any:
        """Not called: the server wraps no listening sockets."""
        return sock

    def get_environ(self) -> dict[str, Any]:
        """Not called: the variables are those that :meth:`wrap` returns."""
        return {}

    def makefile(self, sock: Any, mode: str = "r", bufsize: int = -1) -> Any:
        """Not called: the server reads and writes the socket itself."""
        raise NotImplementedError
