"""The uwsgi protocol as a codec. Any thread may use it; it has no state."""

from __future__ import annotations

from typing import Any

from reserve.errors import RemoteError
from reserve.protocol.cgi.codec import VERSION, CGICodec
from reserve.protocol.cgi.environ import OTHERS, CGIHead, most_variables, request_head, too_many_variables
from reserve.protocol.codec import Reader, Reply
from reserve.protocol.http1.limits import Limits
from reserve.protocol.uwsgi.packet import PacketReader, read_variables

__all__ = ["UwsgiCodec", "parse_uwsgi_head"]


class UwsgiCodec(CGICodec):
    """The uwsgi protocol. All applications of a process may share one.

    Its responses begin with a status line of HTTP, as those of the uWSGI server: Apache's mod_proxy_uwsgi wants one.
    """

    def __init__(self) -> None:
        super().__init__(VERSION)
        self.parse_head = parse_uwsgi_head

    def make_reader(self, limits: Limits, reply: Reply) -> Reader:
        return PacketReader(limits)

    def variables(self, block: bytes) -> list[tuple[str, str]]:
        names, values, _ = read_variables(block, OTHERS)
        return list(zip(names, values, strict=True))


def parse_uwsgi_head(
    block: bytes,
    base: dict[str, Any],
    limits: Limits,
    refuse_underscores: bool = False,
    unix_socket: bool = False,
) -> CGIHead:
    """Parse the variables of one request.

    :param block: what :meth:`~reserve.protocol.uwsgi.packet.PacketReader.feed` returned.
    :param base: the environ of the connection; it is copied.
    :raises RemoteError: 400, 411, 413, 414 or 431.

    The other parameters are those of HTTP. Without a CONTENT_LENGTH there is no body.
    """
    most = most_variables(limits)
    names, values, wrong = read_variables(block, most + 1)
    if len(names) > most:
        raise too_many_variables(limits)
    if wrong:
        raise RemoteError(400, f"{wrong} is longer than the variables of the request (uwsgi)")
    return request_head(names, values, base, limits)
