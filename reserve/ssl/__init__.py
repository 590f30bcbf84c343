"""TLS for every application: the adapters, and the classes that another adapter is made of.

``server.ssl_adapter = reserve.ssl.BuiltinSSLAdapter("cert.pem", "key.pem")``. Each name is loaded at its first use,
because a Python without OpenSSL can serve everything that is not TLS.
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

_MODULES = {
    "BuiltinSSLAdapter": "builtin",
    "CertificateFiles": "settings",
    "PyOpenSSLAdapter": "pyopenssl",
    "SSLAdapter": "adapter",
    "TLSSocket": "tlssocket",
    "TLSSession": "session",
    "TLSSettings": "settings",
}

__all__ = list(_MODULES)  # strings, all of them


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
