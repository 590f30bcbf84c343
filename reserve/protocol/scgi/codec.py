"""SCGI as a codec. Any thread may use it; it has no state."""

from __future__ import annotations

from typing import Any

from reserve.errors import RemoteError
from reserve.protocol.cgi.codec import CGICodec
from reserve.protocol.cgi.environ import OTHERS, CGIHead, most_variables, request_head, too_many_variables
from reserve.protocol.codec import Reader, Reply
from reserve.protocol.http1.limits import Limits
from reserve.protocol.scgi.netstring import NetstringReader

__all__ = ["SCGICodec", "parse_scgi_head"]


class SCGICodec(CGICodec):
    """SCGI. All applications of a process may share one."""

    def __init__(self) -> None:
        super().__init__()
        self.parse_head = parse_scgi_head

    def make_reader(self, limits: Limits, reply: Reply) -> Reader:
        return NetstringReader(limits)

    def variables(self, block: bytes) -> list[tuple[str, str]]:
        parts = block.decode("latin-1").split("\0", 2 * OTHERS)[:-1]
        return list(zip(parts[::2], parts[1::2], strict=False))


def parse_scgi_head(
    block: bytes,
    base: dict[str, Any],
    limits: Limits,
    refuse_underscores: bool = False,
    unix_socket: bool = False,
) -> CGIHead:
    """Parse the variables of one request: names and values, with a NUL after each.

    :param block: what :meth:`~reserve.protocol.scgi.netstring.NetstringReader.feed` returned.
    :param base: the environ of the connection; it is copied.
    :raises RemoteError: 400, 413, 414 or 431.

    The other parameters are those of HTTP. The specification wants CONTENT_LENGTH first, always, and SCGI with the
    value 1; it allows no name twice, but web servers do send the header fields of a client twice.
    """
    if block.count(b"\0") > 2 * most_variables(limits):
        raise too_many_variables(limits)
    parts = block.decode("latin-1").split("\0")
    if parts.pop():
        raise RemoteError(400, "the head does not end with a NUL (SCGI)")
    if len(parts) % 2:
        raise RemoteError(400, f"the variable {parts[-1][:60]!r} has no value (SCGI)")
    if not parts or parts[0] != "CONTENT_LENGTH" or not parts[1]:
        first = repr(parts[0][:60]) if parts else "nothing"
        raise RemoteError(400, f"the head begins with {first} and not with CONTENT_LENGTH and its value (SCGI)")
    names, values = parts[::2], parts[1::2]
    if names.count("SCGI") != 1 or values[names.index("SCGI")] != "1":
        version = [value for name, value in zip(names, values, strict=True) if name == "SCGI"]
        shown = "repeated" if len(version) > 1 else repr(version[0][:30]) if version else "missing"
        raise RemoteError(400, f"the variable SCGI is {shown}; it has to be '1' (SCGI)")
    return request_head(names, values, base, limits)
