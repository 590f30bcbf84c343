"""TLS under every application: the adapters, and what it takes to write another.

``server.ssl_adapter = reserve.ssl.BuiltinSSLAdapter("cert.pem", "key.pem")``. The names are loaded when they are
asked for, because a Python without OpenSSL can serve everything that is not TLS.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reserve.ssl.adapter import SSLAdapter as SSLAdapter
    from reserve.ssl.builtin import BuiltinSSLAdapter as BuiltinSSLAdapter
    from reserve.ssl.pyopenssl import PyOpenSSLAdapter as PyOpenSSLAdapter
    from reserve.ssl.session import TLSSession as TLSSession
    from reserve.ssl.settings import CertificateFiles as CertificateFiles
    from reserve.ssl.settings import TLSSettings as TLSSettings
    from reserve.ssl.tlssocket import TLSSocket as TLSSocket

_HOMES = {
    "BuiltinSSLAdapter": "builtin",
    "CertificateFiles": "settings",
    "PyOpenSSLAdapter": "pyopenssl",
    "SSLAdapter": "adapter",
    "TLSSocket": "tlssocket",
    "TLSSession": "session",
    "TLSSettings": "settings",
}

__all__ = list(_HOMES)  # strings, all of them


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
