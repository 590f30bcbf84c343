"""The attributes of a server that the other modules of this package read."""

from __future__ import annotations

from typing import Any, Protocol

from reserve.compat.cheroot.workers.threadpool import ThreadPool
from reserve.engine.server import Server

__all__ = ["ServerAttributes"]


class ServerAttributes(Protocol):
    """A :class:`~reserve.compat.cheroot.server.HTTPServer`, which describes them. Any thread may read them."""

    interrupt: Any
    max_request_body_size: int
    max_request_header_size: int
    peercreds_enabled: bool
    protocol: str
    requests: ThreadPool
    server_name: str
    shutdown_timeout: float | None
    software: str | None
    timeout: float | None
    version: str

    @property
    def engine(self) -> Server | None:
        """What serves; None: the server does not run."""

    @property
    def bind_addr(self) -> Any:
        """Where it listens."""

    def runtime(self) -> float:
        """Seconds in which it was running."""
