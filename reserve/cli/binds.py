"""The listeners of the command, by purpose: the application with or without TLS, redirects, or metrics.

Runs on the main thread at start. It opens the addresses of the options and takes over inherited sockets. If one of them
is wrong, everything that was opened is closed again, and inherited descriptors stay open.
"""

from __future__ import annotations

import errno
import os
import shlex
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from reserve.cli.privileges import socket_owner
from reserve.errors import Correction, StartupError, UsageError
from reserve.options.sources import PORT
from reserve.options.table import ADDRESSES, FLAGS, USUAL_ADDRESS
from reserve.sockets.addresses import TCPAddress, parse_address

if TYPE_CHECKING:
    from reserve.options.sources import Values

__all__ = [
    "PURPOSES",
    "Listeners",
    "_addresses_by_purpose",
    "check_addresses",
    "check_idle",
    "https_port",
    "open_changed",
    "open_listeners",
    "united",
]

_DEFAULT = USUAL_ADDRESS
_OPTIONS = {"without_tls": "plain-bind", "redirects": "redirect-http", "metrics": "metrics-bind"}
"""The names of the options by the fields of :class:`Listeners`."""
_PRIVILEGED = 1023
"""The last port that only root may open on most systems."""
_PORTS_TRIED = 20
"""How many ports are tried for a proposal."""
_PURPOSES = {"plain": "without_tls", "redirect": "redirects"}
"""The names of inherited sockets that have a meaning when there is a certificate: the field of :class:`Listeners`."""


PURPOSES = ("main", "without_tls", "redirects", "metrics")
"""The fields of :class:`Listeners` that have sockets."""


@dataclass(slots=True)
class Listeners:
    """The listening sockets of one server. The main thread fills it and gives the sockets to the server."""

    main: list[socket.socket] = field(default_factory=list)
    """Those of the application; they use TLS when there is a certificate."""
    without_tls: list[socket.socket] = field(default_factory=list)
    """Those of the application that never use TLS."""
    redirects: list[socket.socket] = field(default_factory=list)
    """Those that redirect every request to https."""
    metrics: list[socket.socket] = field(default_factory=list)
    """Those for metrics and health checks, which the server of the application has nothing to do with."""
    origins: dict[socket.socket, str] = field(default_factory=dict)
    """For listeners that no option names: where they come from, for the banner."""
    addresses: dict[socket.socket, str] = field(default_factory=dict)
    """For listeners that were opened for an address: the address, as an option has it."""

    @property
    def all(self) -> list[socket.socket]:
        return [sock for purpose in PURPOSES for sock in getattr(self, purpose)]


def open_listeners(values: Values, environ: MutableMapping[str, str]) -> Listeners:
    """Open the addresses of the options, and take over the sockets that were passed to this process.

    Without ``--bind`` and other sockets, a listener that is standard input is the address; without it, the variable
    ``PORT`` says the port on all interfaces.

    :param environ: ``LISTEN_FDS``, ``LISTEN_PID`` and ``LISTEN_FDNAMES`` are read and removed.
    :raises UsageError: options that contradict each other, or a descriptor that is not a listening socket.
    :raises StartupError: an address cannot be opened.
    """
    from reserve.sockets.listeners import inherited_sockets, release
    from reserve.sockets.stdin import take_stdin

    addresses = {name: cast("tuple[str, ...]", values[FLAGS[f"--{name}"].field]) for name in ADDRESSES}
    check_addresses(values, addresses)
    not_ours = _passed_to_another(environ)
    passed = inherited_sockets(environ)
    stdin = None if passed or addresses["bind"] else take_stdin()
    if not_ours and not passed and not addresses["bind"] and stdin is None:
        raise UsageError(not_ours)
    try:
        check_idle(values, addresses, has_sockets=bool(passed or stdin))
    except UsageError:
        for _, sock in passed:
            sock.detach()
        raise
    listeners = Listeners()
    named = {text for texts in addresses.values() for text in texts}
    unnamed = [(name, sock) for name, sock in passed if f"fd:{sock.fileno()}" not in named]
    if addresses["bind"] and unnamed:
        source, binds = values.given["bind"].source, ", ".join(addresses["bind"])
        count = "a socket was" if len(passed) == 1 else f"{len(passed)} sockets were"
        missing = " ".join(f"--bind fd:{sock.fileno()}" for _, sock in unnamed)
        for _, sock in passed:
            sock.detach()
        raise UsageError(
            f"{source} says {binds}, and {count} passed to this process as well; leave {source} out to "
            f"serve what was passed, or name it too: {missing}"
        )
    for name, sock in passed:
        if (name, sock) not in unnamed:
            sock.detach()  # listen() makes the one socket object that owns this descriptor
    for name, sock in unnamed:
        getattr(listeners, _PURPOSES.get(name, "main") if values["tls_cert"] else "main").append(sock)
        listeners.origins[sock] = "inherited" if name in ("", "unknown") else f"inherited as {name}"
    if stdin is not None:
        listeners.main.append(stdin)
        listeners.origins[stdin] = "standard input"
    is_default = not listeners.main and not passed and not addresses["bind"]
    try:
        for purpose, texts in _addresses_by_purpose(values, has_others=not is_default).items():
            opened = _listen(texts, values, purpose)
            getattr(listeners, purpose).extend(sock for _, sock in opened)
            listeners.addresses.update((sock, text) for text, sock in opened)
        if is_default:
            origin = PORT if values.port_address() else "the default"
            listeners.origins.update(dict.fromkeys(listeners.main, f"{origin}; --bind changes it"))
    except BaseException:
        for sock in listeners.all:
            release(sock)
        raise
    return listeners


def _addresses_by_purpose(values: Values, *, has_others: bool) -> dict[str, tuple[str, ...]]:
    """The addresses of the options, or the default, by the fields of :class:`Listeners`.

    :param has_others: there are sockets that no option names, so that nothing is opened by default.
    :raises UsageError: the variable ``PORT`` is no port.
    """
    main = cast("tuple[str, ...]", values["bind"])
    if not main and not has_others:
        main = (values.port_address() or _DEFAULT,)
    return {
        "main": main,
        "without_tls": cast("tuple[str, ...]", values["plain_bind"]),
        "redirects": cast("tuple[str, ...]", values["redirect_http"]),
        "metrics": cast("tuple[str, ...]", values["metrics_bind"]),
    }


def open_changed(listeners: Listeners, values: Values) -> Listeners:
    """The listeners for changed options: those that are open for an address that still is one, those that were passed
    to this process, and new ones. Those that are not needed any more stay open.

    :param listeners: those that are open.
    :raises UsageError: options that contradict each other.
    :raises StartupError: an address cannot be opened; nothing is changed then.
    """
    from reserve.sockets.listeners import release

    check_addresses(values, {name: cast("tuple[str, ...]", values[FLAGS[f"--{name}"].field]) for name in ADDRESSES})
    has_others = any(sock not in listeners.addresses for sock in listeners.main)
    result, opened = Listeners(), []
    try:
        for purpose, texts in _addresses_by_purpose(values, has_others=has_others).items():
            kept = [sock for sock in getattr(listeners, purpose) if listeners.addresses.get(sock, "") in ("", *texts)]
            present = {listeners.addresses.get(sock) for sock in kept}
            new = _listen(tuple(text for text in texts if text not in present), values, purpose)
            opened += [sock for _, sock in new]
            getattr(result, purpose).extend([*kept, *(sock for _, sock in new)])
            result.addresses.update((sock, text) for text, sock in new)
            result.addresses.update((sock, listeners.addresses[sock]) for sock in kept if sock in listeners.addresses)
            result.origins.update((sock, listeners.origins[sock]) for sock in kept if sock in listeners.origins)
    except BaseException:
        for sock in opened:
            release(sock)
        raise
    return result


def united(*several: Listeners) -> Listeners:
    """The listeners that are in one of these, each once."""
    result = Listeners()
    for listeners in several:
        for purpose in PURPOSES:
            mine = getattr(result, purpose)
            mine.extend(sock for sock in getattr(listeners, purpose) if sock not in mine)
        result.origins.update(listeners.origins)
        result.addresses.update(listeners.addresses)
    return result


def _passed_to_another(environ: Mapping[str, str]) -> str:
    """What to say when sockets were passed, but to another process, and no address is given; empty: none were passed.

    A child of sdlaunch, or of a shell that systemd has started, has such an environ. Whoever passed the sockets does
    not expect the server on its default address.
    """
    count, pid = environ.get("LISTEN_FDS"), environ.get("LISTEN_PID")
    if not count or count == "0":
        return ""
    whom = f"process {pid:.40}" if pid else "no process (there is no LISTEN_PID)"
    return (
        f"LISTEN_FDS={count:.40} passes sockets to {whom}, and this is process {os.getpid()}; start reserve with exec, "
        f"so that it is that process, or name the socket: --bind fd:3, or another address: --bind {_DEFAULT}"
    )


def check_idle(values: Values, addresses: Mapping[str, tuple[str, ...]], *, has_sockets: bool) -> None:
    """Refuse ``--exit-idle`` for an address that the server opens itself.

    :param addresses: of each option in ``ADDRESSES``.
    :param has_sockets: sockets are passed to the process.
    :raises UsageError: it is refused.
    """
    given = values.given.get("exit_idle")
    ours = any(not text.startswith("fd:") for texts in addresses.values() for text in texts)
    if given is not None and values["exit_idle"] and (ours or not (has_sockets or addresses["bind"])):
        raise UsageError(
            f"{given.source} is for sockets that systemd has opened (LISTEN_FDS, or --bind fd:N): nobody starts "
            "the server again for an address of its own"
        )


def check_addresses(values: Values, addresses: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse an address with two purposes, and options for the files of sockets when there are none.

    :param addresses: the addresses by the names of their options (:data:`~reserve.options.table.ADDRESSES`).
    """
    parsed = [(name, parse_address(text)) for name, texts in addresses.items() for text in texts]
    for field_name in ("unix_mode", "unix_owner"):
        if values[field_name] is not None and not any(_is_file(text) for texts in addresses.values() for text in texts):
            raise UsageError(f"{values.given[field_name].source} is for --bind unix:PATH, and there is no such bind")
    for position, (name, address) in enumerate(parsed):
        for other_name, other in parsed[:position]:
            if other_name != name and other == address and getattr(address, "port", 1) != 0:
                text = next(one for one in addresses[name] if parse_address(one) == address)
                raise UsageError(
                    f"{address} is given as --{other_name} and as --{name}; it can be only one of them",
                    correction=_another_port(f"--{name}", text),
                )


def _is_file(address: str) -> bool:
    return address.startswith("unix:") and not address.startswith("unix:@")


def _listen(addresses: tuple[str, ...], values: Values, purpose: str) -> list[tuple[str, socket.socket]]:
    """Open the addresses of one purpose.

    :param purpose: a field of :class:`Listeners`. An error names its option, because the address does not tell which
        one of several it is; that of the application is the one that everybody has.
    """
    from reserve.sockets.listeners import listen_by_address

    if not addresses:
        return []
    has_files = any(map(_is_file, addresses))
    try:
        return listen_by_address(
            *addresses,
            backlog=cast("int", values["backlog"]),
            unix_mode=cast("int | None", values["unix_mode"]) if has_files else None,
            unix_owner=(cast("str | None", values["unix_owner"]) or socket_owner(values)) if has_files else None,
        )
    except (StartupError, UsageError) as error:
        if purpose == "main":
            raise
        given = values.given[_OPTIONS[purpose].replace("-", "_")]
        correction = _opened_otherwise(given.option.flag, addresses, error)
        raise type(error)(f"{given.source}: {error}".removesuffix("."), correction=correction) from error.__cause__


def _opened_otherwise(flag: str, addresses: tuple[str, ...], error: Exception) -> Correction | None:
    """What to write in place of the address that could not be opened; None: that is not known."""
    code = getattr(error.__cause__, "errno", None)
    if code is None:  # it is listed twice
        twice = next((text for text in addresses if addresses.count(text) > 1), None)
        return None if twice is None else Correction(option=flag, wrong=(twice,))
    text = next((text for text in addresses if f"cannot listen on {parse_address(text)}:" in str(error)), "")
    if code == errno.ENOENT and _is_file(text):
        directory = os.path.dirname(text.removeprefix("unix:"))
        return Correction(before=f"mkdir -p {shlex.quote(directory)}")
    if code == errno.EADDRNOTAVAIL:  # the message has an address that works
        return None
    return _another_port(flag, text)


def _another_port(flag: str, text: str) -> Correction | None:
    """The address with a port that can be opened now; None: none was found, or the address has no port."""
    from reserve.sockets.listeners import listen_by_address, release

    address = parse_address(text) if text else None
    if not isinstance(address, TCPAddress):
        return None
    first = max(address.port, _PRIVILEGED) + 1
    for port in range(first, min(first + _PORTS_TRIED, 65536)):
        other = str(address._replace(port=port))
        with suppress(StartupError):
            for _, sock in listen_by_address(other):
                release(sock)
            return Correction(option=flag, wrong=(text,), right=(other,))
    return None


def https_port(listeners: list[socket.socket]) -> int:
    """The port to which clients of plain HTTP are redirected: that of the first listener with a TCP port, or 443."""
    names = [sock.getsockname() for sock in listeners]
    return next((name[1] for name in names if isinstance(name, tuple)), 443)
