"""Opening listeners from the text of their addresses, describing them, and closing them.

Runs at start and at stop, on the thread that starts the server; :func:`listen` is public as ``reserve.listen``. Every
socket it returns is bound, listening, non-blocking and closed on exec. If one of several addresses cannot be opened,
all sockets that were opened before it are closed and their files removed; descriptors that were passed in stay open.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

from reserve.errors import StartupError, UsageError
from reserve.sockets.addresses import Address, TCPAddress, UNIXAddress, parse_address
from reserve.sockets.systemd import adopt, inherited_sockets
from reserve.sockets.unix import UNIXListener, bind_path, find_owner, release

__all__ = ["BACKLOG", "adopt", "describe", "inherited_sockets", "listen", "listen_by_address", "release"]

BACKLOG = 1024
"""Connections that the kernel queues until the server accepts them, unless more or fewer are asked for."""
_SHARED_PORT_ATTEMPTS = 32
"""How often port 0 is tried for a host with several addresses, until one port is free on all of them."""
_SockName = tuple[object, ...]
"""Host, port, and for IPv6 the flow label and the scope of a link-local address."""
_UNAVAILABLE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}
"""The errors of an address that this machine does not have."""


def listen(
    *addresses: str | tuple[str, int],
    backlog: int = BACKLOG,
    unix_mode: int | None = None,
    unix_owner: str | None = None,
) -> list[socket.socket]:
    """Open a listener on each address. The server that gets the listeners owns and closes them.

    ``[::]:PORT`` accepts IPv4 too, unless an IPv4 address with the same port is among the addresses.

    :param addresses: ``HOST:PORT``, ``[IPV6]:PORT``, ``:PORT``, ``unix:PATH``, ``unix:@NAME``, ``fd:N``; port 0 means
        a free port. A host name that resolves to several addresses gives one listener for each. A pair
        ``(host, port)``, as the socket module and cheroot have it, is accepted, too.
    :param backlog: how many connections the kernel queues until they are accepted (listen(2)).
    :param unix_mode: permission bits of the files of UNIX sockets, as ``0o660``. Default: what the umask leaves.
    :param unix_owner: their owner: ``user``, ``user:group`` or ``:group``. Default: the user and group of the process.
    :raises UsageError: an address or a parameter is malformed.
    :raises StartupError: an address cannot be opened; the message says what to do.
    """
    return [
        sock for _, sock in listen_by_address(*addresses, backlog=backlog, unix_mode=unix_mode, unix_owner=unix_owner)
    ]


def listen_by_address(
    *addresses: str | tuple[str, int],
    backlog: int = BACKLOG,
    unix_mode: int | None = None,
    unix_owner: str | None = None,
) -> list[tuple[str, socket.socket]]:
    """As :func:`listen`, but each listener comes with its address, as it was given."""
    if not addresses:
        raise UsageError("listen() needs at least one address, as in listen('127.0.0.1:8080')")
    parsed = [parse_address(address) if isinstance(address, str) else _parse_pair(address) for address in addresses]
    if backlog < 1:
        raise UsageError(f"backlog is {backlog}; it has to be 1 or more")
    for position, address in enumerate(parsed):
        if address in parsed[:position] and not (isinstance(address, TCPAddress) and address.port == 0):
            raise UsageError(f"the address {address} is listed twice; list it once")
    permissions = _permissions(parsed, unix_mode, unix_owner)
    ipv4_ports = {address.port for address in parsed if isinstance(address, TCPAddress) and _is_ipv4(address)}
    passed_in: set[int] = set()
    opened: list[tuple[str, socket.socket]] = []
    try:
        for given, address in zip(addresses, parsed, strict=True):
            if isinstance(address, TCPAddress):
                new = _open_tcp(address, backlog, v6only=address.port != 0 and address.port in ipv4_ports)
            elif isinstance(address, UNIXAddress):
                new = [_open_unix(address, backlog, permissions)]
            else:
                new = [adopt(address.fd)]
                passed_in.add(address.fd)
            opened += [(given if isinstance(given, str) else str(address), sock) for sock in new]
    except BaseException:
        for _, sock in opened:
            if sock.fileno() in passed_in:
                sock.detach()
            else:
                release(sock)
        raise
    return opened


def _parse_pair(address: tuple[str, int]) -> Address:
    """A (host, port), whose host is an IPv6 address without brackets, or empty for all interfaces."""
    is_pair = isinstance(address, tuple) and len(address) == 2
    if not is_pair or not isinstance(address[0], str) or type(address[1]) is not int:
        raise UsageError(f"an address is a text, as '127.0.0.1:8080', or a pair (host, port), not {address!r:.100}")
    return parse_address(str(TCPAddress(*address)))


def describe(sock: socket.socket) -> str:
    """The address of a listener as text: ``127.0.0.1:8080``, ``[::]:80``, ``unix:/run/x.sock`` or ``unix:@name``."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        scope = f"%{name[3]}" if len(name) == 4 and name[3] and "%" not in name[0] else ""
        return str(TCPAddress(name[0] + scope, name[1]))
    if isinstance(name, bytes) and name.startswith(b"\0"):
        return f"unix:@{os.fsdecode(name[1:])}"
    return f"unix:{os.fsdecode(name)}" if name else "unix:(unnamed)"


_Permissions = tuple[int | None, tuple[int, int] | None]
"""The permission bits of a socket file, and the numbers of its user and group."""


def _permissions(parsed: list[Address], mode: int | None, owner: str | None) -> _Permissions:
    if mode is None and owner is None:
        return None, None
    if not any(isinstance(address, UNIXAddress) and not address.abstract for address in parsed):
        raise UsageError("unix_mode and unix_owner are for unix:PATH addresses, and there is none")
    if mode is not None and not 0 <= mode <= 0o777:
        raise UsageError(f"unix_mode is {mode:#o}; it has to be from 0 to 0o777 (did you forget the 0o?)")
    return mode, None if owner is None else find_owner(owner)


def _is_ipv4(address: TCPAddress) -> bool:
    return address.host.count(".") == 3 and address.host.replace(".", "").isdigit()


def _open_tcp(address: TCPAddress, backlog: int, *, v6only: bool) -> list[socket.socket]:
    if not address.host:
        return [_open_all_interfaces(address, backlog, v6only=v6only)]
    targets = _resolve(address)
    for attempt in range(_SHARED_PORT_ATTEMPTS):
        opened: list[socket.socket] = []
        unavailable: list[OSError] = []
        port = address.port
        try:
            for family, target in targets:
                try:
                    opened.append(_bind_tcp(family, (target[0], port, *target[2:]), backlog, v6only=v6only))
                except OSError as exc:
                    if len(targets) > 1 and exc.errno in _UNAVAILABLE:
                        unavailable.append(exc)  # localhost often includes [::1] even where IPv6 is turned off
                        continue
                    raise
                port = port or opened[0].getsockname()[1]
            if not opened:
                raise unavailable[0]
        except BaseException as exc:
            for sock in opened:
                sock.close()
            if not isinstance(exc, OSError):
                raise
            port_in_use = exc.errno == errno.EADDRINUSE and address.port == 0 and opened
            if port_in_use and attempt + 1 < _SHARED_PORT_ATTEMPTS:
                continue
            raise _startup_error(address, exc) from exc
        return opened
    raise AssertionError("unreachable: the last attempt returns or raises")


def _open_all_interfaces(address: TCPAddress, backlog: int, *, v6only: bool) -> socket.socket:
    try:
        try:
            return _bind_tcp(socket.AF_INET6, ("::", address.port), backlog, v6only=v6only)
        except OSError as exc:
            if exc.errno not in _UNAVAILABLE:
                raise
        return _bind_tcp(socket.AF_INET, ("0.0.0.0", address.port), backlog, v6only=False)
    except OSError as exc:
        raise _startup_error(address, exc) from exc


def _resolve(address: TCPAddress) -> list[tuple[int, _SockName]]:
    try:
        results = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not a valid name"
        raise StartupError(
            f"cannot listen on {address}: the host {address.host!r} does not resolve ({reason}). "
            f"Give an address of this machine, or :{address.port} for all of them."
        ) from exc
    # getaddrinfo returns an address twice if /etc/hosts lists it twice
    return list(dict.fromkeys((int(family), name) for family, _, _, _, name in results))


def _bind_tcp(family: int, name: _SockName, backlog: int, *, v6only: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":  # here SO_REUSEADDR would let another program take over the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            host = str(name[0])
            accepts_ipv4 = (host == "::" and not v6only) or host.startswith("::ffff:")
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if accepts_ipv4 else 1)
        sock.bind(name)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(address: UNIXAddress, backlog: int, permissions: _Permissions) -> socket.socket:
    if not hasattr(socket, "AF_UNIX") or (address.abstract and sys.platform != "linux"):
        kind = "abstract UNIX sockets" if address.abstract else "UNIX sockets"
        raise StartupError(f"cannot listen on {address}: {kind} are not available here. Give a HOST:PORT.")
    sock = UNIXListener(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.created = None
    try:
        if address.abstract:
            sock.bind(b"\0" + os.fsencode(address.name))
        else:
            bind_path(sock, address.name, mode=permissions[0], owner=permissions[1])
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as exc:
        release(sock)
        raise _startup_error(address, exc) from exc
    except BaseException:
        release(sock)
        raise
    return sock


def _startup_error(address: Address, exc: OSError) -> StartupError:
    """The message about an address that cannot be opened, with advice."""
    reason, advice = exc.strerror or str(exc), ""
    if isinstance(address, TCPAddress):
        if exc.errno == errno.EADDRINUSE:
            advice = f"Another program listens on port {address.port}; stop it, or choose another port."
        elif exc.errno in (errno.EACCES, errno.EPERM) and address.port > 0:
            advice = (
                f"Ports below 1024 are privileged on most systems: choose a higher port, or let systemd or sdlaunch, "
                f"started as root, open port {address.port} and pass it on."
            )
        elif exc.errno in _UNAVAILABLE:
            advice = f"This machine does not have that address; for all of its addresses write :{address.port}."
    elif isinstance(address, UNIXAddress) and not address.abstract:
        directory = os.path.dirname(address.name) or "."
        if exc.errno == errno.ENOENT:
            advice = f"Create the directory {directory} first."
        elif exc.errno == errno.ENOTDIR:
            advice = f"A part of {directory} is not a directory."
        elif exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = f"This user may not create files in {directory}."
    if isinstance(address, UNIXAddress):
        if exc.errno is None or exc.errno == errno.ENAMETOOLONG:  # CPython checks the length itself
            advice = "The kernel allows about 100 bytes for the name of a UNIX socket; choose a shorter one."
        elif exc.errno == errno.EADDRINUSE:
            advice = "Another process uses that name; stop it, or choose another one."
    advice = advice or "Choose another address."
    return StartupError(f"cannot listen on {address}: {reason}. {advice}")
