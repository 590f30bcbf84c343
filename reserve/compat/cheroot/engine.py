"""What connects a server of this package to the engine: its settings, its environ, and interrupts of applications."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from reserve.apps.http.settings import HTTPSettings
from reserve.compat.cheroot.request import user_and_group
from reserve.engine.settings import ENGINE_KINDS
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.http1.limits import LIMIT_KINDS, Limits

if TYPE_CHECKING:
    from reserve.compat.cheroot.attributes import ServerAttributes
    from reserve.gateways.exchange import Environ, StartResponse, WSGIApplication

__all__ = ["CherootGateway", "engine_options", "http_settings", "with_users"]

_WEEK = 604800.0
"""Seconds: the longest time that an option may have. It stands for no limit."""
_PEER = ("X_REMOTE_PID", "X_REMOTE_UID", "X_REMOTE_GID")


class CherootGateway(WSGIGateway):
    """The gateway of one server, with the environ that cheroot's applications expect.

    An interrupt of an application ends the server, as in cheroot: see
    :attr:`~reserve.compat.cheroot.server.HTTPServer.interrupt`.
    """

    has_constant_environ = False

    def __init__(self, server: ServerAttributes, app: WSGIApplication) -> None:
        super().__init__(app, on_interrupt=self._end_server)
        self._server = server

    def _end_server(self, error: BaseException) -> None:
        self._server.interrupt = error

    def base_environ(self, *, server_name: str, software: str, extra: Mapping[str, Any], **others: str) -> Environ:
        server = self._server
        if server.server_name and server.server_name != server.version:
            server_name = server.server_name
        environ = super().base_environ(
            server_name=server_name, software=server.software or software, extra=extra, **others
        )
        environ["ACTUAL_SERVER_PROTOCOL"] = server.protocol
        if not server.peercreds_enabled:
            for name in _PEER:
                environ.pop(name, None)
        return environ


def with_users(app: WSGIApplication) -> WSGIApplication:
    """An application whose environ has the names of the client's user and group, if it came over a UNIX socket.

    Looked up on the worker, because a directory service may have to be asked.
    """

    def resolving(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "X_REMOTE_UID" in environ:
            try:
                user, group = user_and_group(int(environ["X_REMOTE_UID"]), int(environ["X_REMOTE_GID"]))
            except RuntimeError:  # a user without a name
                pass
            else:
                environ["X_REMOTE_USER"] = environ["REMOTE_USER"] = user
                environ["X_REMOTE_GROUP"] = group
        return app(environ, start_response)

    return resolving


def _seconds(value: float | None) -> float:
    return _WEEK if value is None or value < 0 else min(max(float(value), 0.001), _WEEK)


def http_settings(server: ServerAttributes) -> HTTPSettings:
    """The settings of HTTP that the attributes of a server mean now."""
    usual = HTTPSettings()
    timeout = _seconds(server.timeout)
    line = LIMIT_KINDS["max_head"]
    head = server.max_request_header_size
    limits: dict[str, int] = {}
    if head and head > 0:
        # cheroot has one limit for the head, and none for its parts.
        size = min(max(int(head), line.low), line.high)  # type: ignore[attr-defined]
        limits = {"max_head": size, "max_field": size, "max_request_line": size}
    body = server.max_request_body_size
    limits["max_body"] = int(body) if body and body > 0 else LIMIT_KINDS["max_body"].high  # type: ignore[attr-defined]
    return HTTPSettings(
        limits=Limits(**limits),
        head_timeout=timeout,
        keep_alive=timeout if server.protocol != "HTTP/1.0" else 0.0,
        body_timeout=max(timeout, usual.body_timeout),
        encoded_slashes="keep",
        access_log=False,
        server_header=_header(server.server_name),
    )


def _header(name: str | None) -> str:
    """A server name as a Server field may have it."""
    return "".join(letter for letter in name or "" if 32 <= ord(letter) < 127).strip()


def engine_options(server: ServerAttributes) -> dict[str, Any]:
    """The settings of the engine that the attributes of a server mean when it starts."""
    pool = server.requests
    options: dict[str, Any] = {
        "threads": pool.threads,
        "write_timeout": _seconds(server.timeout),
        "stop_timeout": 0.0 if server.shutdown_timeout == 0 else _seconds(server.shutdown_timeout),
    }
    if pool.accepted_queue_size > 0:
        options["max_queued"] = min(pool.accepted_queue_size, ENGINE_KINDS["max_queued"].high)  # type: ignore[attr-defined]
    return options
