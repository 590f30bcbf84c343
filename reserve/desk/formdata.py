"""The bodies of forms: urlencoded, and multipart/form-data (RFC 7578) by the library ``python-multipart``.

What a browser can make this module do is bounded three times. The size of the body is limited before it comes here.
The number of fields is limited by ``max_fields``. And processor time is linear in the size: delimiters are counted by
``bytes.count`` before the parser, which steps through the bytes of each in Python, sees any of them; a part has at most
:data:`MAX_PART_HEADERS` headers of together :data:`MAX_PART_HEADER_BYTES`.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Callable
from typing import Any, NamedTuple

try:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header
except ImportError as error:
    raise ImportError(
        f"desk needs the library python-multipart, which cannot be imported ({error}): pip install 'reserve[desk]'",
        name=error.name,
    ) from error

__all__ = ["MAX_FIELDS", "MAX_PART_HEADERS", "MAX_PART_HEADER_BYTES", "FileUpload", "ProtocolError", "parse_form",
           "parse_query"]  # fmt: skip

MAX_FIELDS = 10_000
"""How many fields a form or a query may have by default. A page of 1,000 rows with ten fields each has as many."""
MAX_PART_HEADERS = 16
"""Headers of one part. Browsers send one or two."""
MAX_PART_HEADER_BYTES = 16 * 1024
"""Bytes of all headers of one part together. A file name has up to 255 characters."""

_URLENCODED = b"application/x-www-form-urlencoded"
_MULTIPART = b"multipart/form-data"
_MAX_BOUNDARY = 70  # RFC 2046 section 5.1.1
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPE = re.compile(b"%[0-9A-Fa-f]{2}")
_NO_ESCAPE = re.compile(b"%(?![0-9A-Fa-f]{2})")
_PIECE = 64 * 1024
"""Bytes that are decoded at once, so that a long value needs little memory beside its own."""


class ProtocolError(Exception):
    """A request breaks a rule or a limit. Its page says how, with the status ``code``.

    :param message: a sentence about what is wrong, for the page and the log.
    :param code: the status of the response: 400, or 413 for what is too large.
    """

    def __init__(self, message: object = "The browser sent a request that is not valid.", *, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


class FileUpload(NamedTuple):
    """A file that came with a form. One without a name and without content says that the user chose none.

    :ivar filename: the name on the user's computer. It has no folder: what stands before the last slash or backslash
        is removed, and so are control characters. ``..`` and ``.`` become empty. It may still be a name that your
        file system or your program has a meaning for.
    :ivar content_type: what the browser says about it; it guesses, and a user can change it.
    :ivar content: all bytes of the file.
    """

    filename: str
    content_type: str
    content: bytes


def parse_query(text: str, *, max_fields: int = MAX_FIELDS) -> list[tuple[str, str]]:
    """Decode a query string or an urlencoded form: UTF-8, and empty values count.

    :param text: the part of the address after ``?``, or the body of the form.
    :raises ProtocolError: 413 for more than ``max_fields`` fields.
    """
    return _parse_urlencoded(text.encode("utf-8", "replace"), max_fields)


def _parse_urlencoded(data: bytes, max_fields: int) -> list[tuple[str, str]]:
    if data.count(b"&") >= max_fields:
        raise ProtocolError(f"The form has more than {max_fields} fields.", code=413)
    pairs = []
    for field in data.split(b"&"):
        if field:
            name, _, value = field.partition(b"=")
            pairs.append((_unquoted(name), _unquoted(value)))
    return pairs


def _unquoted(data: bytes) -> str:
    """``+`` is a space and ``%C3`` the byte; what is no escape stays as it is.

    ``urllib.parse.unquote`` does the same with some hundred bytes of memory and a step in Python for each ``%``.
    """
    data = data.replace(b"+", b" ")
    if b"%" not in data:
        return data.decode("utf-8", "replace")
    pieces = []
    start = 0
    while start < len(data):
        end = start + _PIECE
        if _ESCAPE.match(data, end - 1):  # not in the middle of an escape
            end += 2
        elif _ESCAPE.match(data, end - 2):
            end += 1
        # Escapes of quoted-printable are the same, but for their "=", and the library decodes them in C.
        quoted = _NO_ESCAPE.sub(b"=25", data[start:end].replace(b"=", b"=3D")).replace(b"%", b"=")
        pieces.append(a2b_qp(quoted))
        start = end
    return b"".join(pieces).decode("utf-8", "replace")


def parse_form(
    content_type: str | None, payload: bytes, *, max_fields: int = MAX_FIELDS
) -> list[tuple[str, str | FileUpload]] | None:
    """Decode the body of a form: pairs of name and value in the order of the form; None if it is no form.

    Text is UTF-8. Bytes that are not become U+FFFD.

    :param content_type: the header of the request.
    :param payload: the whole body.
    :raises ProtocolError: for a malformed multipart body; the message names the part by its number and name.
    """
    kind, options = parse_options_header(content_type)
    if kind == _URLENCODED:
        return [*_parse_urlencoded(payload, max_fields)]
    if kind != _MULTIPART:
        return None
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise ProtocolError("The Content-Type multipart/form-data has no valid boundary (RFC 2046 section 5.1.1).")
    return _Multipart(boundary, max_fields).parse(payload)


class _Multipart:
    """One body of multipart/form-data, while it is parsed."""

    def __init__(self, boundary: bytes, max_fields: int) -> None:
        self._delimiter = b"--" + boundary
        self._boundary = boundary
        self._max_fields = max_fields
        self._pairs: list[tuple[str, str | FileUpload]] = []
        self._number = 0
        self._complete = False
        self._begin_part()

    def _begin_part(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._header_bytes = 0
        self._name: str | None = None
        self._filename: str | None = None
        self._content: list[bytes] = []

    def parse(self, payload: bytes) -> list[tuple[str, str | FileUpload]]:
        if not payload:
            raise ProtocolError("The body is empty, but its Content-Type is multipart/form-data.")
        start = 0 if payload.startswith(self._delimiter) else payload.find(b"\r\n" + self._delimiter) + 2
        if start == 1:
            raise ProtocolError("The body has no part: the boundary that its Content-Type names is not in it.")
        if payload.count(b"\r\n" + self._delimiter, max(start - 2, 0)) > self._max_fields + 1:
            raise ProtocolError(f"The form has more than {self._max_fields} parts.", code=413)
        callbacks: dict[str, Callable[..., Any]] = {
            "on_part_begin": self._on_part_begin,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_end": self._on_end,
        }
        try:
            # What precedes the first delimiter is no part (RFC 2046 section 5.1.1), and would be slow to step through.
            parser = MultipartParser(self._boundary, callbacks)  # type: ignore[arg-type]
            parser.write(payload[start:] if start else payload)
        except FormParserError as error:
            raise self._error(f"{error}.") from error
        if not self._complete:
            raise self._error("the body ends within it; the delimiter of its end did not come.")
        return self._pairs

    def _error(self, what: str, code: int = 400) -> ProtocolError:
        name = "" if self._name is None else f" ({self._name[:80]!r})"
        return ProtocolError(f"Part {max(self._number, 1)}{name} of the form is malformed: {what}", code=code)

    def _on_part_begin(self) -> None:
        self._begin_part()
        self._number += 1
        if self._number > self._max_fields:
            raise ProtocolError(f"The form has more than {self._max_fields} parts.", code=413)

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header_bytes(end - start)
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header_bytes(end - start)
        self._value += data[start:end]

    def _count_header_bytes(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > MAX_PART_HEADER_BYTES:
            raise self._error(f"its headers have more than {MAX_PART_HEADER_BYTES} bytes.")

    def _on_header_end(self) -> None:
        name = self._field.lower()
        if name in self._headers:
            raise self._error(f"it has the header {name.decode('latin-1'):.80} twice.")
        self._headers[name] = self._value
        self._field = self._value = b""
        if len(self._headers) > MAX_PART_HEADERS:
            raise self._error(f"it has more than {MAX_PART_HEADERS} headers.")

    def _on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise self._error('it has no header Content-Disposition: form-data; name="..." (RFC 7578 section 4.2).')
        self._name = _text(options[b"name"])
        filename = options.get(b"filename")
        self._filename = None if filename is None else _last_component(_text(filename))
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").strip().lower()
        if encoding not in (b"7bit", b"8bit", b"binary"):
            raise self._error("forms have no Content-Transfer-Encoding (RFC 7578 section 4.7).")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _on_part_end(self) -> None:
        if self._name is None:  # a part of nothing but a delimiter
            raise self._error("it has no headers.")
        content = b"".join(self._content)
        if self._filename is None:
            self._pairs.append((self._name, content.decode("utf-8", "replace")))
        else:
            content_type = self._headers.get(b"content-type", b"application/octet-stream").decode("latin-1").strip()
            self._pairs.append((self._name, FileUpload(self._filename, _CONTROLS.sub("", content_type), content)))

    def _on_end(self) -> None:
        self._complete = True


def _text(parameter: bytes) -> str:
    """The value of a parameter of Content-Disposition. Browsers write a double quote as %22."""
    return parameter.replace(b"%22", b'"').decode("utf-8", "replace")


def _last_component(filename: str) -> str:
    name = _CONTROLS.sub("", filename.replace("\\", "/").rpartition("/")[2])
    return "" if name in (".", "..") else name
