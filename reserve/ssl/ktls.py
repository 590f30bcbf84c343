"""Asking the kernel whether it encrypts a TLS session (kTLS): Linux, with the module ``tls``.

OpenSSL is only told that it may (``SSL_OP_ENABLE_KTLS``); whether it did, for this session's cipher and on this
kernel, the socket itself has to be asked.
"""

from __future__ import annotations

import socket
import sys

__all__ = ["OP_ENABLE_KTLS", "sends"]

OP_ENABLE_KTLS = 1 << 3
"""OpenSSL 3's number; the standard library has a name for it since Python 3.12."""
_SOL_TLS = 282
_TLS_TX = 1
_HEADER = 4  # octets of struct tls_crypto_info: version and cipher


def sends(sock: socket.socket) -> bool:
    """Say whether the kernel encrypts what is sent on this socket from now on."""
    if sys.platform != "linux":
        return False
    try:
        found = sock.getsockopt(_SOL_TLS, _TLS_TX, _HEADER)
    except OSError:
        return False
    return any(found)
