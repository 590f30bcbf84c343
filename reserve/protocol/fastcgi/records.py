"""The records of FastCGI: their header, the bodies that have a fixed form, and names with values.

Pure functions; any thread may call them. A record is a header of 8 bytes, content and padding (FastCGI 1.0 section
3.3). Those that are sent are padded to 8 bytes, as that section recommends.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from reserve.errors import RemoteError

__all__ = [
    "ABORT_REQUEST",
    "BEGIN_REQUEST",
    "CANT_MPX_CONN",
    "DATA",
    "END_REQUEST",
    "GET_VALUES",
    "GET_VALUES_RESULT",
    "HEADER",
    "HEADER_SIZE",
    "KEEP_CONN",
    "NAMES",
    "PARAMS",
    "REQUEST_COMPLETE",
    "RESPONDER",
    "STDERR",
    "STDIN",
    "STDOUT",
    "UNKNOWN_ROLE",
    "UNKNOWN_TYPE",
    "VERSION",
    "complete_pairs",
    "encode_pair",
    "end_request",
    "find_abort",
    "find_pairs",
    "pair_end",
    "read_pairs",
    "record",
    "stream",
    "unknown_type",
    "values_result",
]

VERSION = 1
HEADER = struct.Struct(">BBHHBx")
"""Version, type, request id, bytes of content, bytes of padding."""
HEADER_SIZE = 8

(
    BEGIN_REQUEST,
    ABORT_REQUEST,
    END_REQUEST,
    PARAMS,
    STDIN,
    STDOUT,
    STDERR,
    DATA,
    GET_VALUES,
    GET_VALUES_RESULT,
    UNKNOWN_TYPE,
) = range(1, 12)
NAMES = (
    "", "BEGIN_REQUEST", "ABORT_REQUEST", "END_REQUEST", "PARAMS", "STDIN", "STDOUT", "STDERR", "DATA", "GET_VALUES",
    "GET_VALUES_RESULT", "UNKNOWN_TYPE",
)  # fmt: skip
"""The names of the types, for messages."""

RESPONDER = 1
"""The role of an application that responds to requests; authorizers and filters have others."""
KEEP_CONN = 1
"""The flag of BEGIN_REQUEST by which the web server keeps the connection for more requests."""
REQUEST_COMPLETE, CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE = range(4)
"""The protocol status of END_REQUEST."""

MOST_CONTENT = 65528
"""Bytes of content in a record that is sent: the most that need no padding."""
_PADDING = tuple(bytes(count) for count in range(8))
_LENGTH = struct.Struct(">I")


def record(kind: int, request_id: int, content: bytes = b"") -> bytes:
    """One complete record, with at most :data:`MOST_CONTENT` bytes of content."""
    padding = -len(content) & 7
    return HEADER.pack(VERSION, kind, request_id, len(content), padding) + content + _PADDING[padding]


def stream(kind: int, request_id: int, data: bytes) -> tuple[bytes, ...]:
    """The records of a part of a stream (STDOUT, STDERR), in pieces to be joined or sent one by one.

    Empty data gives none, because an empty record would end the stream.
    """
    size = len(data)
    if size <= MOST_CONTENT:
        padding = -size & 7
        header = HEADER.pack(VERSION, kind, request_id, size, padding)
        return (header, data, _PADDING[padding]) if size else ()
    pieces: list[bytes] = []
    for start in range(0, size, MOST_CONTENT):
        pieces += stream(kind, request_id, data[start : start + MOST_CONTENT])
    return tuple(pieces)


def end_request(request_id: int, protocol_status: int = REQUEST_COMPLETE) -> bytes:
    """END_REQUEST (section 5.5). The status of the application, which is that of a process, is 0."""
    return record(END_REQUEST, request_id, struct.pack(">IB3x", 0, protocol_status))


def unknown_type(kind: int) -> bytes:
    """UNKNOWN_TYPE (section 4.2): the response to a management record of a type that is not known."""
    return record(UNKNOWN_TYPE, 0, struct.pack(">B7x", kind))


def values_result(content: bytes, values: Mapping[bytes, bytes]) -> bytes:
    """GET_VALUES_RESULT (section 4.1): those of ``values`` that the content of a GET_VALUES asks for.

    :raises RemoteError: 400 for malformed content.
    """
    known = {name.decode("latin-1"): name for name in values}
    names = dict.fromkeys(known[name] for name in read_pairs(content)[0] if name in known)
    return record(GET_VALUES_RESULT, 0, b"".join(encode_pair(name, values[name]) for name in names))


# ---- names and values (section 3.4) ----


def encode_pair(name: bytes, value: bytes) -> bytes:
    """A name and its value, after their lengths: one byte each, or four from 128 on."""
    return b"".join((_encode_length(len(name)), _encode_length(len(value)), name, value))


def _encode_length(length: int) -> bytes:
    return bytes((length,)) if length < 128 else _LENGTH.pack(length | 0x80000000)


def pair_end(data: bytes | bytearray, at: int) -> tuple[int, int, int]:
    """Where the pair that begins at this position has its name, its value and its end; (-1, -1, -1) while the lengths
    are not complete. The end may be after that of the data.
    """
    start = at
    lengths = []
    for _ in range(2):
        if start >= len(data):
            return -1, -1, -1
        length = data[start]
        if length < 128:
            start += 1
        else:
            if start + 4 > len(data):
                return -1, -1, -1
            (length,) = _LENGTH.unpack_from(data, start)
            length &= 0x7FFFFFFF
            start += 4
        lengths.append(length)
    return start, start + lengths[0], start + lengths[0] + lengths[1]


def find_pairs(data: bytes | bytearray, at: int, most: int = 65536) -> list[tuple[int, int, int]]:
    """Where the pairs from this position on have their names, their values and their ends, up to the first pair that is
    not complete, or until there are ``most``.
    """
    found: list[tuple[int, int, int]] = []
    size = len(data)
    for _ in range(most):
        if at + 1 >= size:
            break
        name_size, value_size = data[at], data[at + 1]
        if name_size < 128 and value_size < 128:  # as of nearly every variable, and each request has dozens
            name = at + 2
            value = name + name_size
            end = value + value_size
        else:
            name, value, end = pair_end(data, at)
            if end < 0:
                break
        if end > size:
            break
        found.append((name, value, end))
        at = end
    return found


def complete_pairs(data: bytes, at: int = 0) -> list[tuple[str, str]]:
    """The pairs from this position on, as latin-1, up to the first one that is not complete."""
    text = data.decode("latin-1")
    return [(text[name:value], text[value:end]) for name, value, end in find_pairs(data, at)]


def read_pairs(
    data: bytes, at: int = 0, most: int = 65536, what: str = "name or value", *, max_head: int | None = None
) -> tuple[list[str], list[str]]:
    """The names and the values of all pairs from this position on, as latin-1, or of the first ``most`` of them.

    :param what: a pair is, for the message.
    :param max_head: bytes that all pairs may have, as their lengths say; None: no limit.
    :raises RemoteError: 400 when the last one is not complete, 431 when its lengths exceed ``max_head``.
    """
    text = data.decode("latin-1")
    names: list[str] = []
    values: list[str] = []
    end, size = at, len(data)
    for _ in range(most):
        if end + 1 >= size:
            break
        name_size, value_size = data[end], data[end + 1]
        if name_size | value_size < 128:  # as of nearly every variable, and each request has dozens
            name = end + 2
            value = name + name_size
            end = value + value_size
        else:
            name, value, end = pair_end(data, end)
            if end < 0:
                break
        names.append(text[name:value])
        values.append(text[value:end])
    if end > size or (end != size and len(names) < most):
        if max_head is not None and end - at > max_head:
            raise RemoteError(431, f"the head is longer than {max_head} bytes (--max-head)")
        raise RemoteError(400, f"the last {what} is not complete (FastCGI 1.0 section 3.4)")
    return names, values


def find_abort(data: bytes, request_id: int, at: int = 0) -> bool:
    """Whether there is an ABORT_REQUEST for this request among the records in ``data``.

    :param at: where the first record begins; it may be after the end of the data.
    """
    while at + HEADER_SIZE <= len(data):
        version, kind, number, length, padding = HEADER.unpack_from(data, at)
        if version != VERSION:
            return False
        if kind == ABORT_REQUEST and number == request_id:
            return True
        at += HEADER_SIZE + length + padding
    return False
