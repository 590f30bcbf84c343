"""What the command listens on, and what each listener is for: TLS or not, the application or redirects to https.

Runs on the main thread at start. Opens sockets or takes those that were passed on; when one of them is wrong,
everything opened so far is released again and what was passed on stays open.
"""

from __future__ import annotations

import socket
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from reserve.errors import UsageError
from reserve.options.table import ADDRESSES, FLAGS
from reserve.sockets.addresses import parse_address

if TYPE_CHECKING:
    from reserve.options.sources import Values

__all__ = ["Bound", "https_port", "open_sockets"]

_DEFAULT = "127.0.0.1:8080"
_NAMED = {"plain": "plain", "redirect": "redirects"}
"""What the name of an inherited socket says of it."""


@dataclass(slots=True)
class Bound:
    """The listeners of one server, by what they are for."""

    main: list[socket.socket] = field(default_factory=list)
    """The application's; they speak TLS when there is a certificate."""
    plain: list[socket.socket] = field(default_factory=list)
    """The application's that do not."""
    redirects: list[socket.socket] = field(default_factory=list)
    """Those that answer with a redirect to https."""
    origins: dict[socket.socket, str] = field(default_factory=dict)
    """Why those that nobody asked for by name."""

    @property
    def all(self) -> list[socket.socket]:
        return [*self.main, *self.plain, *self.redirects]


def open_sockets(values: Values, environ: MutableMapping[str, str]) -> Bound:
    """Open what the options say, or take what was passed on.

    :param environ: ``LISTEN_FDS`` and its like are removed from it.
    :raises UsageError: options that do not fit together, or a descriptor that is no listening socket.
    :raises StartupError: an address that cannot be opened.
    """
    from reserve.sockets.listeners import inherited, release

    asked = {name: cast("tuple[str, ...]", values[FLAGS[f"--{name}"].field]) for name in ADDRESSES}
    _check(values, asked)
    passed = inherited(environ)
    bound = Bound()
    named = {address for binds in asked.values() for address in binds}
    unnamed = [(name, sock) for name, sock in passed if f"fd:{sock.fileno()}" not in named]
    if asked["bind"] and unnamed:
        source, binds = values.given["bind"].source, ", ".join(asked["bind"])
        count = "a socket was" if len(passed) == 1 else f"{len(passed)} sockets were"
        also = " ".join(f"--bind fd:{sock.fileno()}" for _, sock in unnamed)
        for _, sock in passed:
            sock.detach()
        raise UsageError(
            f"{source} says {binds}, and {count} passed to this process as well; leave {source} out to "
            f"serve what was passed, or name it too: {also}"
        )
    for name, sock in passed:
        if (name, sock) not in unnamed:
            sock.detach()  # only its number counts: listen() makes the one socket object that owns it
    for name, sock in unnamed:
        getattr(bound, _NAMED.get(name, "main") if values["tls_cert"] else "main").append(sock)
        bound.origins[sock] = "inherited" if name in ("", "unknown") else f"inherited as {name}"
    by_default = not passed and not asked["bind"]
    try:
        bound.main += _listen((_DEFAULT,) if by_default else asked["bind"], values)
        if by_default:
            bound.origins.update(dict.fromkeys(bound.main, "the default; --bind changes it"))
        bound.plain += _listen(asked["plain-bind"], values)
        bound.redirects += _listen(asked["redirect-http"], values)
    except BaseException:
        for sock in bound.all:
            release(sock)
        raise
    return bound


def _check(values: Values, asked: dict[str, tuple[str, ...]]) -> None:
    binds = [(name, parse_address(text)) for name, texts in asked.items() for text in texts]
    for field_name in ("unix_mode", "unix_owner"):
        if values[field_name] is not None and not any(_is_file(text) for texts in asked.values() for text in texts):
            raise UsageError(f"{values.given[field_name].source} is for --bind unix:PATH, and there is no such bind")
    for position, (name, address) in enumerate(binds):
        for other, same in binds[:position]:
            if other != name and same == address and getattr(address, "port", 1) != 0:
                raise UsageError(f"{address} is given as --{other} and as --{name}; it can be only one of them")


def _is_file(address: str) -> bool:
    return address.startswith("unix:") and not address.startswith("unix:@")


def _listen(addresses: tuple[str, ...], values: Values) -> list[socket.socket]:
    from reserve.sockets.listeners import listen

    if not addresses:
        return []
    files = any(map(_is_file, addresses))
    return listen(
        *addresses,
        backlog=cast("int", values["backlog"]),
        unix_mode=cast("int | None", values["unix_mode"]) if files else None,
        unix_owner=cast("str | None", values["unix_owner"]) if files else None,
    )


def https_port(listeners: list[socket.socket]) -> int:
    """Where a client that came to another port finds TLS: the port of the first of these that has one, or 443."""
    names = [sock.getsockname() for sock in listeners]
    return next((name[1] for name in names if isinstance(name, tuple)), 443)
