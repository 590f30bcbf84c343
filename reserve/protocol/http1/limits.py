"""The sizes and counts that one HTTP/1 message may have: each with a name, a unit, a default and an option.

A field named ``max_head`` here is the option ``--max-head``. Sizes are in bytes. They are constants and frozen values,
which any thread may use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reserve.paramtypes import Count, Kind, Size

__all__ = ["LIMIT_KINDS", "Limits"]

_LINE = Size(128, 16 * 1024**2)

LIMIT_KINDS: Mapping[str, Kind] = {
    "max_request_line": _LINE,
    "max_field": _LINE,
    "max_head": _LINE,
    "max_fields": Count(1, 10000),
    "max_chunk_line": Size(16, 16 * 1024**2),
    "max_chunk_extensions": Size(0, 1024**3),
    "max_chunk_overhead": Count(1, 10**6),
    "max_trailer": Size(2, 16 * 1024**2),
    "max_trailer_fields": Count(0, 10000),
    "max_body": Size(0, 1024**4),
}
"""The values that the option of each field allows. The parsers work with any limit, however small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one message. The HTTP settings of a server have one instance, which all its parsers use.

    RFC 9112 section 3 recommends that request lines of at least 8,000 bytes are accepted.
    """

    max_request_line: int = 16384
    """The request line with its line end; more is a 414 (or a 501 while the method has not ended). Read by
    :class:`~reserve.protocol.http1.headreader.HeadReader`.
    """
    max_field: int = 16384
    """One field line with its line end; more is a 431. Read by :class:`~reserve.protocol.http1.headreader.HeadReader`.
    """
    max_head: int = 65536
    """The whole head: request line, field lines and the empty line; more is a 431. Read by
    :class:`~reserve.protocol.http1.headreader.HeadReader`.
    """
    max_fields: int = 128
    """Field lines in one head; more is a 431. Read by :class:`~reserve.protocol.http1.headreader.HeadReader` and
    :func:`~reserve.protocol.http1.head.parse_head`.
    """
    max_chunk_line: int = 4096
    """One chunk-size line with its extensions and its line end; more is a 400. Read by
    :class:`~reserve.protocol.http1.body.ChunkedDecoder`.
    """
    max_chunk_extensions: int = 65536
    """All chunk extensions of one body together; more is a 400. Read by
    :class:`~reserve.protocol.http1.body.ChunkedDecoder`.
    """
    max_chunk_overhead: int = 16
    """Bytes of framing (sizes, extensions, line ends) for each byte of content in the chunks of a body, beyond 65,536
    bytes of framing; more is a 400. Read by :class:`~reserve.protocol.http1.body.ChunkedDecoder`.
    """
    max_trailer: int = 16384
    """The whole trailer section, line ends included; more is a 431. Read by
    :class:`~reserve.protocol.http1.trailer.TrailerReader`.
    """
    max_trailer_fields: int = 64
    """Trailer field lines; more is a 431. Read by :class:`~reserve.protocol.http1.trailer.TrailerReader`."""
    max_body: int = 1073741824
    """The content of one request, whatever its framing; more is a 413. Read by
    :func:`~reserve.protocol.http1.framing.body_length` and :class:`~reserve.protocol.http1.body.ChunkedDecoder`.
    """
