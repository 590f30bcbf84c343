"""What frontends say of their clients in header fields: ``Forwarded`` (RFC 7239), and ``X-Forwarded-For``, ``-Proto``,
``-Host``, ``-Port`` and ``-Prefix``, which have no standard.

Everybody can send these fields, so each is believed only if the operator says that the frontend sets it, and only from
a frontend that is trusted; otherwise it is removed. Lists are read from the right, where the nearest frontend has
written: the client is the first address there that is no trusted proxy. What is left of it is never looked at, so a
client can neither choose its address nor have the request refused with what it writes itself.

The functions work on environs (PEP 3333), so that every protocol with header fields can use them. Any thread may call
them. Cost is bounded by the limits of a head and by :data:`MAX_HOPS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from reserve.errors import RemoteError
from reserve.protocol.http1.host import check_host
from reserve.protocol.http1.requestline import decode_path

if TYPE_CHECKING:
    from reserve.protocol.codec import Head, ParseHead
    from reserve.protocol.http1.limits import Limits

__all__ = [
    "FIELD_NAMES",
    "KEYS_OF_FRONTENDS",
    "MAX_HOPS",
    "PREFIX_KEY",
    "USUAL_FIELDS",
    "ForwardedFields",
    "ForwardedParser",
    "forwarded_fields",
    "is_choice_of_fields",
]

FORWARDED = "forwarded"
FOR, PROTO, HOST, PORT, PREFIX = (f"x-forwarded-{what}" for what in ("for", "proto", "host", "port", "prefix"))
FIELD_NAMES = (FORWARDED, FOR, PROTO, HOST, PORT, PREFIX)
"""The names of all fields that are believed or removed, in lower case."""
USUAL_FIELDS = f"{FOR},{PROTO}"
"""What most frontends set."""
PREFIX_KEY = "reserve.forwarded_prefix"
"""The key of the environ with what X-Forwarded-Prefix has added to SCRIPT_NAME."""
MAX_HOPS = 32
"""So many trusted proxies may stand in a list one after another; the last of them counts as the client then."""

KEYS = {name: f"HTTP_{name.upper().replace('-', '_')}" for name in FIELD_NAMES}
KEYS_OF_FRONTENDS = frozenset(KEYS.values())
"""The keys of these fields in the environ."""
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
DEFAULT_PORTS = {"http": "80", "https": "443"}
_NODE = re.compile(r"(?:([0-9.]{7,15})|\[([0-9A-Fa-f:.]{2,45})\])(?::(?:([0-9]{1,5})|_[A-Za-z0-9._\-]+))?")
_HIDDEN = re.compile(r"(?:unknown|_[A-Za-z0-9._\-]+)(?::(?:[0-9]{1,5}|_[A-Za-z0-9._\-]+))?", re.IGNORECASE)
_PAIR = re.compile(
    r'[ \t;]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=(?:([^\s",;\\]+)|"((?:[^"\\]|\\.)*)")[ \t]*(?:;|$)', re.DOTALL
)
_PREFIX = re.compile(r"/[!\"$->@-\[\]-~]*")  # printable ASCII without ?, # and the backslash
_PORT = re.compile(r":([0-9]*)$")
_SHOWN = 60


def is_choice_of_fields(text: str) -> bool:
    """Whether ``text`` names fields of :data:`FIELD_NAMES` with commas between them, or none.

    ``forwarded`` stands alone: a frontend sets it or the others, and passes on what its client has sent of the rest.
    """
    names = text.split(",") if text else []
    return set(names) <= set(FIELD_NAMES) and len(set(names)) == len(names) and not (FORWARDED in names and names[1:])


class _Client(NamedTuple):
    """What the fields say; None: nothing."""

    node: tuple[str, str] | None
    """Address and port; both empty: the frontend does not know or does not tell the address."""
    scheme: str | None = None
    host: str | None = None
    port: str | None = None
    prefix: str | None = None


class ForwardedFields:
    """Which fields are believed, and which proxies. One for each choice; it does not change.

    :param believed: names of :data:`FIELD_NAMES` with commas between them, those that the frontend sets.
    :param trusts: whether an address is that of a trusted proxy.
    """

    def __init__(self, believed: str, trusts: Callable[[str], bool]) -> None:
        names = believed.split(",") if believed else []
        self._believed = {name: KEYS[name] for name in names}
        self._removed = tuple(key for name, key in KEYS.items() if name not in names)
        self._trusts = trusts

    def trusts(self, address: str) -> bool:
        """Whether ``address`` is that of a trusted proxy."""
        return self._trusts(address)

    def apply(self, environ: dict[str, Any], *, trusted: bool) -> None:
        """Put what the fields say into an environ, and remove the fields that are not believed.

        :param trusted: the peer is a trusted proxy.
        :raises RemoteError: 400, for a value that no frontend writes: it is wrongly configured, or passes on what its
            client has sent.

        The keys: REMOTE_ADDR and REMOTE_PORT (both empty if the frontend hides its client), wsgi.url_scheme and HTTPS,
        HTTP_HOST, SERVER_NAME and SERVER_PORT, SCRIPT_NAME.
        """
        for key in self._removed if trusted else KEYS.values():
            environ.pop(key, None)
        if not trusted:
            return
        values = {name: environ[key] for name, key in self._believed.items() if key in environ}
        if not values:
            return
        client = self._standard(values[FORWARDED]) if FORWARDED in values else self._customary(values)
        if client.node is not None:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client.node
        if client.scheme is not None:
            environ["wsgi.url_scheme"] = client.scheme
            environ.pop("HTTPS", None)
            if client.scheme == "https":
                environ["HTTPS"] = "on"
        _set_authority(environ, client)
        if client.prefix:
            environ["SCRIPT_NAME"] = client.prefix + environ["SCRIPT_NAME"]
            environ[PREFIX_KEY] = client.prefix

    def _customary(self, values: dict[str, str]) -> _Client:
        """Read the X-Forwarded fields. Of all but -For the right-most value counts, which the nearest frontend that
        sets the field has written.
        """
        node = None
        if FOR in values:
            rest, hops = values[FOR], 0
            while True:
                rest, comma, item = rest.rpartition(",")
                node = _node(item.strip(" \t"), "X-Forwarded-For")
                hops += 1
                if not comma or hops == MAX_HOPS or not (node[0] and self._trusts(node[0])):
                    break
        last = {name: value.rpartition(",")[2].strip(' \t"') for name, value in values.items() if name != FOR}
        scheme, host, port, prefix = (last.get(name) or None for name in (PROTO, HOST, PORT, PREFIX))
        return _Client(
            node,
            None if scheme is None else _scheme(scheme, "X-Forwarded-Proto"),
            None if host is None else _host(host),
            None if port is None else _port(port),
            None if prefix is None else _prefix(prefix),
        )

    def _standard(self, value: str) -> _Client:
        """Read Forwarded, element by element from the right: the client is in the last one that is read. Scheme and
        host are those that the frontend nearest to the client tells.
        """
        end = len(value)
        scheme = host = None
        for _ in range(MAX_HOPS):
            start = _element_start(value, end)
            pairs = _pairs(value[start:end])
            node = _node(pairs.get("for", ""), "Forwarded")
            scheme = _scheme(pairs["proto"], "Forwarded") if "proto" in pairs else scheme
            host = _host(pairs["host"]) if "host" in pairs else host
            if not start or not (node[0] and self._trusts(node[0])):
                break
            end = start - 1
        return _Client(node, scheme, host)


@lru_cache(maxsize=16)
def forwarded_fields(believed: str, trusts: Callable[[str], bool]) -> ForwardedFields:
    """The :class:`ForwardedFields` of these arguments: the connections of a server share one."""
    return ForwardedFields(believed, trusts)


class ForwardedParser:
    """Parses the heads of one connection, and puts what frontends say of their clients into the environs.

    It has the signature of :attr:`reserve.protocol.codec.Codec.parse_head`, in whose place the driver calls it.

    :param peer: the address of the peer; empty: a UNIX socket.
    :param trusted: the peer is a trusted proxy. A head with another address in REMOTE_ADDR than ``peer`` (that of a web
        server that speaks SCGI, for example, and names its client there) is judged by that address.
    """

    __slots__ = ("_fields", "_parse_head", "_peer", "_trusted")

    def __init__(self, parse_head: ParseHead, fields: ForwardedFields, peer: str, *, trusted: bool) -> None:
        self._parse_head = parse_head
        self._fields = fields
        self._peer = peer
        self._trusted = trusted

    def __call__(
        self,
        block: bytes,
        base: dict[str, Any],
        limits: Limits,
        refuse_underscores: bool = False,
        unix_socket: bool = False,
    ) -> Head:
        head = self._parse_head(block, base, limits, refuse_underscores=refuse_underscores, unix_socket=unix_socket)
        environ = head.environ
        address = environ["REMOTE_ADDR"]
        trusted = self._trusted if address == self._peer else self._fields.trusts(address)
        head.from_proxy = trusted
        if not trusted:
            head.untrusted_fields = not KEYS_OF_FRONTENDS.isdisjoint(environ)
        self._fields.apply(environ, trusted=trusted)
        client = environ["REMOTE_ADDR"]
        if client != address:
            head.remote_addr = client or "-"
        return head


# ---- values ----


def _node(text: str, field: str) -> tuple[str, str]:
    """(address, port) of a node (RFC 7239 section 6), also with an IPv6 address without brackets, which is usual in
    X-Forwarded-For. Both are empty for ``unknown``, for a name that hides the address (``_hidden``), for no text, and
    for ``unix:``, which nginx writes for a client on a UNIX socket.
    """
    text = text.strip('"')
    match = _NODE.fullmatch(text)
    try:
        if match is not None:
            address: IPv4Address | IPv6Address = IPv4Address(match[1]) if match[1] else IPv6Address(match[2])
            port = match[3] or ""
        elif not text or text == "unix:" or _HIDDEN.fullmatch(text):
            return "", ""
        elif "%" in text:  # a zone of another machine
            raise ValueError
        else:
            address, port = ip_address(text), ""
    except ValueError:
        raise RemoteError(
            400,
            f"{field} {text[:_SHOWN]!r}, from a trusted proxy, is no address (RFC 7239 section 6; --forwarded-fields)",
        ) from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address), port


def _scheme(text: str, field: str) -> str:
    scheme = SCHEMES.get(text.lower())
    if scheme is None:
        raise RemoteError(
            400, f"{field} {text[:_SHOWN]!r}, from a trusted proxy, is neither http nor https (--forwarded-fields)"
        )
    return scheme


def _host(text: str) -> str:
    check_host(text)
    return text


def _port(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise RemoteError(
            400, f"X-Forwarded-Port {text[:_SHOWN]!r}, from a trusted proxy, is no port (--forwarded-fields)"
        )
    return str(int(text))


def _prefix(text: str) -> str:
    """A path without a slash at its end, decoded. It may not begin with two slashes: in a redirect of the application
    the first segment would be a host.
    """
    path = decode_path(text).rstrip("/") if "%" in text else text.rstrip("/")
    if not _PREFIX.fullmatch(text) or path.startswith("//") or "\\" in path:
        raise RemoteError(
            400, f"X-Forwarded-Prefix {text[:_SHOWN]!r}, from a trusted proxy, is no path (--forwarded-fields)"
        )
    return path


def _set_authority(environ: dict[str, Any], client: _Client) -> None:
    """Set the host and the port that the client has connected to."""
    if client.scheme is None and client.host is None and client.port is None:
        return
    host = client.host if client.host is not None else environ.get("HTTP_HOST", "")
    default = DEFAULT_PORTS[environ["wsgi.url_scheme"]]
    match = _PORT.search(host)
    name = host if match is None else host[: match.start()]
    port = client.port or (match[1] if match is not None else "") or default
    environ["SERVER_PORT"] = port
    if client.host is not None:
        environ["SERVER_NAME"] = name
        environ["HTTP_HOST"] = host
    if client.port is not None and name:
        environ["HTTP_HOST"] = name if port == default else f"{name}:{port}"


# ---- Forwarded ----


def _element_start(value: str, end: int) -> int:
    """Where the list element begins that ends at ``end``: after the last comma that is in no quoted string."""
    at = end
    while True:
        comma, quote = value.rfind(",", 0, at), value.rfind('"', 0, at)
        if quote <= comma or quote < 0:
            return comma + 1
        at = quote
        while True:  # to the quote that begins the string: one before which there is no odd number of backslashes
            at = value.rfind('"', 0, at)
            if at < 0:
                raise _malformed(value[:end])
            before = at
            while before and value[before - 1] == "\\":
                before -= 1
            if (at - before) % 2 == 0:
                break


def _pairs(element: str) -> dict[str, str]:
    """The parameters of an element, by their names in lower case."""
    pairs: dict[str, str] = {}
    at, end = 0, len(element)
    while at < end:
        match = _PAIR.match(element, at)
        if match is None:
            if element[at:].strip(" \t;"):
                raise _malformed(element)
            break
        name = match[1].lower()
        if name in pairs:
            raise _malformed(element)
        pairs[name] = match[2] if match[2] is not None else re.sub(r"\\(.)", r"\1", match[3], flags=re.DOTALL)
        at = match.end()
    return pairs


def _malformed(text: str) -> RemoteError:
    return RemoteError(
        400, f"Forwarded {text.strip()[-_SHOWN:]!r}, from a trusted proxy, is malformed (RFC 7239 section 4)"
    )
