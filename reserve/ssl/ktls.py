"""kTLS: whether the kernel encrypts a TLS session (Linux, with the module ``tls``).

``SSL_OP_ENABLE_KTLS`` only allows OpenSSL to use it; whether it does, for this session's cipher and on this kernel, can
be read from the socket.
"""

from __future__ import annotations

import socket
import sys

__all__ = ["OP_ENABLE_KTLS", "kernel_encrypts"]

OP_ENABLE_KTLS = 1 << 3
"""OpenSSL 3's number; the standard library has a name for it since Python 3.12."""
_SOL_TLS = 282
_TLS_TX = 1
_HEADER = 4  # bytes of struct tls_crypto_info: version and cipher


def kernel_encrypts(sock: socket.socket) -> bool:
    """Say whether the kernel encrypts what is sent on this socket from now on."""
    if sys.platform != "linux":
        return False
    try:
        version_and_cipher = sock.getsockopt(_SOL_TLS, _TLS_TX, _HEADER)
    except OSError:
        return False
    return any(version_and_cipher)
