"""Parse bodies of ``multipart/form-data`` (RFC 7578, RFC 2046 section 5.1).

Pure functions of bytes, for any thread. The caller has read the body and so limits its size. The work is linear in that
size, because every search starts where the last one ended, and each part's header is searched only within
:data:`MAX_HEADER` bytes. Whatever the bytes are, the only exception is :class:`MultipartError`.

Names are read as browsers write them (HTML standard, "multipart/form-data encoding algorithm"): UTF-8 in quotation
marks, in which only ``"``, CR and LF are percent-escaped, and a backslash has no special meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MAX_HEADER", "MAX_PARTS", "MultipartError", "Part", "boundary_of", "parse"]

MAX_PARTS = 32
"""The most parts in one body. The blog's longest form has four."""

MAX_HEADER = 4096
"""The most bytes of one part's header, with the blank line at its end."""

BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
PARAMETER = re.compile(r'[ \t]*;[ \t]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=(?:"([^"]*)"|([!#$%&\'*+\-.^_`|~0-9A-Za-z]+))')
FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class MultipartError(ValueError):
    """The body or its boundary breaks a rule; the text says which."""


@dataclass(frozen=True)
class Part:
    """One field of the form. ``filename`` is None for a plain field, and ``""`` for a file field without a file."""

    name: str
    filename: str | None
    content: bytes


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a ``Content-Type: multipart/form-data`` value.

    :raises MultipartError: there is no boundary, more than one, or one that RFC 2046 section 5.1.1 forbids.
    """
    media_type, parameters = _value_with_parameters(content_type)
    if media_type != "multipart/form-data":
        raise MultipartError(f"the content type is {media_type[:40]!r}, not multipart/form-data")
    boundary = parameters.get("boundary", "")
    if not BOUNDARY.fullmatch(boundary):
        raise MultipartError("the boundary must be 1 to 70 of the characters that RFC 2046 section 5.1.1 allows")
    return boundary.encode("ascii")


def parse(body: bytes, boundary: bytes) -> list[Part]:
    """Return the parts of a whole body, in their order. Text before the first and after the last delimiter is ignored.

    :raises MultipartError: the body is truncated or malformed, or has more parts or longer part headers than the
        limits.
    """
    delimiter = b"\r\n--" + boundary
    if body.startswith(delimiter[2:]):
        position = len(delimiter) - 2
    else:
        position = _find(body, delimiter, 0, "the first boundary is missing") + len(delimiter)
    parts: list[Part] = []
    while not body.startswith(b"--", position):
        if len(parts) == MAX_PARTS:
            raise MultipartError(f"more than {MAX_PARTS} parts")
        line_end = _find(body, b"\r\n", position, "a boundary line does not end", MAX_HEADER)
        if body[position:line_end].strip(b" \t"):
            raise MultipartError("a boundary is followed by something else on its line")
        start = line_end + 2
        header_end = _find(body, b"\r\n\r\n", start, f"a part's header is over {MAX_HEADER} bytes", MAX_HEADER)
        content_start = header_end + 4
        # In a part without content, the CRLF of the blank line may also be the first two bytes of the delimiter.
        content_end = _find(body, delimiter, content_start - 2, "the last boundary is missing")
        name, filename = _disposition(body[start:header_end])
        parts.append(Part(name=name, filename=filename, content=body[content_start:content_end]))
        position = content_end + len(delimiter)
    return parts


def _find(body: bytes, pattern: bytes, start: int, error: str, limit: int | None = None) -> int:
    """Return where the pattern is; raise MultipartError when it is not within ``limit`` bytes from ``start``."""
    position = body.find(pattern, start) if limit is None else body.find(pattern, start, start + limit)
    if position < 0:
        raise MultipartError(error)
    return position


def _disposition(header: bytes) -> tuple[str, str | None]:
    try:
        lines = header.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise MultipartError("a part's header is not UTF-8") from None
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not FIELD_NAME.fullmatch(name):
            raise MultipartError("a part's header has a line without a field name")
        if name.lower() in fields:
            raise MultipartError(f"a part's header has {name[:40]!r} twice")
        fields[name.lower()] = value.strip(" \t")
    # RFC 7578 section 4.7 deprecates this field. Without decoding, the blog would store encoded content.
    if fields.get("content-transfer-encoding", "binary").lower() not in ("7bit", "8bit", "binary"):
        raise MultipartError("a part has a Content-Transfer-Encoding, which forms do not use")
    kind, parameters = _value_with_parameters(fields.get("content-disposition", ""))
    if kind != "form-data" or "name" not in parameters:
        raise MultipartError("a part has no Content-Disposition: form-data with a name")
    filename = parameters.get("filename")
    return _unescaped(parameters["name"]), None if filename is None else _unescaped(filename)


def _value_with_parameters(text: str) -> tuple[str, dict[str, str]]:
    value, semicolon, _ = text.partition(";")
    position = len(value)
    parameters: dict[str, str] = {}
    while semicolon and (match := PARAMETER.match(text, position)):
        name, quoted, token = match.groups()
        if name.lower() in parameters:
            raise MultipartError(f"the parameter {name[:40]!r} appears twice")
        parameters[name.lower()] = token if quoted is None else quoted
        position = match.end()
    if text[position:].strip(" \t;"):
        raise MultipartError("a parameter of a header field is malformed")
    return value.strip(" \t").lower(), parameters


def _unescaped(name: str) -> str:
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
