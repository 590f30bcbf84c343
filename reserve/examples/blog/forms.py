"""What a form sent: where it came from, its body within a limit, and its fields as clean text.

Runs on the worker thread of the request. It never holds more than the given limit (plus one piece) of a body, and it
reads a chunked body, which has no Content-Length, when the server says by ``wsgi.input_terminated`` that it ends it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from reserve.examples.blog import multipart
from reserve.examples.blog.web import Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Form", "check_same_origin", "read_body", "read_form"]

PIECE = 65536
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
# What no XML document may contain (XML 1.0 section 2.2), so that every text fits into the feed.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass
class Form:
    """The fields of one form by name: ``texts`` with plain line feeds, and ``files`` as their bytes."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a text field without blanks around it, ``""`` if it was not sent."""
        return self.texts.get(name, "").strip()


def check_same_origin(environ: WSGIEnvironment) -> None:
    """Refuse a form that a page of another site sent (cross-site request forgery).

    Browsers say it in ``Sec-Fetch-Site``, or at least send ``Origin`` with every POST; a client that sends neither is
    no browser, and holds nobody's rights but its own.

    :raises Refusal: 403, it came from somewhere else.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        if site in ("same-origin", "none"):
            return
        raise _from_elsewhere(f"Sec-Fetch-Site: {site[:40]}")
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return
    # The scheme is left out: behind a frontend that ends TLS, this side does not know it.
    try:
        parts = urlsplit(origin)
    except ValueError:
        parts = urlsplit("null")
    port = DEFAULT_PORTS.get(parts.scheme, "")
    host = environ.get("HTTP_HOST", "").lower()
    if not parts.netloc or parts.netloc.lower() not in (host, host.removesuffix(port)):
        raise _from_elsewhere(f"Origin: {origin[:80]}")


def read_body(environ: WSGIEnvironment, limit: int) -> bytes:
    """Return the whole body of the request.

    :param limit: the most bytes that are taken.
    :raises Refusal: 413 over the limit, 411 without a readable length, 400 when it is malformed or ended too soon.
    """
    declared = environ.get("CONTENT_LENGTH") or ""
    if declared:
        if not (declared.isascii() and declared.isdigit()):
            raise Refusal(400, "The Content-Length of this request is not a number.")
        # Compared by length first: turning very long digits into a number is slow, and refused by Python.
        if len(declared.lstrip("0")) > 18 or int(declared) > limit:
            raise _too_large(limit)
        wanted = int(declared)
    elif environ.get("wsgi.input_terminated"):
        wanted = limit + 1
    elif "HTTP_TRANSFER_ENCODING" in environ:
        raise Refusal(411, "This server cannot tell where a chunked body ends. Please send a Content-Length.")
    else:
        return b""
    pieces: list[bytes] = []
    missing = wanted
    while missing and (piece := environ["wsgi.input"].read(min(PIECE, missing))):
        pieces.append(piece)
        missing -= len(piece)
    if declared and missing:
        raise Refusal(400, f"The request ended {missing} bytes before its Content-Length.")
    if not declared and not missing:
        raise _too_large(limit)
    return b"".join(pieces)


def read_form(environ: WSGIEnvironment, limit: int) -> Form:
    """Return the form that the request brings, in either of the two encodings of HTML forms.

    :raises Refusal: as :func:`read_body`, 415 for another encoding, 400 for a malformed one.
    """
    content_type = environ.get("CONTENT_TYPE") or ""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise Refusal(415, "This address takes only forms: application/x-www-form-urlencoded or multipart/form-data.")
    body = read_body(environ, limit)
    form = Form()
    try:
        if media_type == "multipart/form-data":
            for part in multipart.parse(body, multipart.boundary_of(content_type)):
                _add(form, part.name, part.content, is_file=part.filename is not None)
        else:
            fields = body.decode("latin-1")
            for name, value in parse_qsl(fields, True, encoding="latin-1", max_num_fields=multipart.MAX_PARTS):
                _add(form, name, value.encode("latin-1"), is_file=False)
    except ValueError as error:
        raise Refusal(400, f"This form cannot be read: {error}.") from error
    return form


def _add(form: Form, name: str, content: bytes, *, is_file: bool) -> None:
    if name in form.texts or name in form.files:
        raise ValueError(f"the field {name[:40]!r} was sent twice")
    if is_file:
        form.files[name] = content
        return
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"the field {name[:40]!r} is not UTF-8") from None
    form.texts[name] = FORBIDDEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _from_elsewhere(said: str) -> Refusal:
    return Refusal(403, f"This form was sent from another site ({said}). Please use the blog's own page.")


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"This is too large: the blog takes at most {limit:,} bytes here.")
