"""reserve: a thread-pooled server for WSGI applications over HTTP, and for any other protocol.

The public names are imported on first use (PEP 562), so that ``import reserve`` imports nothing else, not even
:mod:`typing`: the program imports it before it can handle signals.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from reserve import ssl as ssl
    from reserve.apps.http.server import ReserveWSGIServer
    from reserve.engine.drivers.handler import Park
    from reserve.engine.server import Hooks, RequestEnd, Server
    from reserve.gateways.dispatch import PathInfoDispatcher
    from reserve.sockets.listeners import listen

__version__ = "0.4.0"

__all__ = ["Hooks", "Park", "PathInfoDispatcher", "RequestEnd", "ReserveWSGIServer", "Server", "__version__", "listen"]

_MODULES = {
    "Hooks": "reserve.engine.server",
    "Park": "reserve.engine.drivers.handler",
    "PathInfoDispatcher": "reserve.gateways.dispatch",
    "RequestEnd": "reserve.engine.server",
    "ReserveWSGIServer": "reserve.apps.http.server",
    "Server": "reserve.engine.server",
    "listen": "reserve.sockets.listeners",
}


def __getattr__(name: str) -> Any:
    if name == "ssl":  # not in __all__, because a star import must not hide the module ssl of the standard library
        return import_module("reserve.ssl")
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'reserve' has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "ssl"])
