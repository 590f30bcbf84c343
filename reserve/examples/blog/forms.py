"""Read a form: check which site it comes from, receive its body within a limit, and return its fields as clean text.

The worker thread of the request calls these functions. They never hold more than the limit (plus one piece) of a body.
They read a chunked body, which has no Content-Length, when the server declares with ``wsgi.input_terminated`` that
``wsgi.input`` ends with the body.
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
# Characters that no XML document may contain (XML 1.0 section 2.2); without them every text can be put into the feed.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass
class Form:
    """The fields of one form by name: ``texts``, whose line ends are line feeds, and the bytes of ``files``."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a text field without blanks at its ends; ``""`` if it was not sent."""
        return self.texts.get(name, "").strip()


def check_same_origin(environ: WSGIEnvironment) -> None:
    """Refuse a form that a page of another site sent (cross-site request forgery).

    A browser sends ``Sec-Fetch-Site``, or at least ``Origin``, with every POST. A client that sends neither is not a
    browser, so no other site can use it.

    :raises Refusal: 403, the form comes from another site.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        if site in ("same-origin", "none"):
            return
        raise _other_site(f"Sec-Fetch-Site: {site[:40]}")
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return
    # The scheme is not compared, because the blog does not know it when a frontend ends TLS.
    try:
        parts = urlsplit(origin)
    except ValueError:
        parts = urlsplit("null")
    port = DEFAULT_PORTS.get(parts.scheme, "")
    host = environ.get("HTTP_HOST", "").lower()
    if not parts.netloc or parts.netloc.lower() not in (host, host.removesuffix(port)):
        raise _other_site(f"Origin: {origin[:80]}")


def read_body(environ: WSGIEnvironment, limit: int) -> bytes:
    """Return the whole body of the request.

    :param limit: the most bytes that the body may have.
    :raises Refusal: 413 above the limit; 411 when the end of the body cannot be known; 400 when the length is malformed
        or the body ended too early.
    """
    declared = environ.get("CONTENT_LENGTH") or ""
    if declared:
        if not (declared.isascii() and declared.isdigit()):
            raise Refusal(400, "The Content-Length of this request is not a number.")
        # The number of digits is checked first, because Python refuses to convert very long ones.
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
    """Return the form in the body of a request, in either of the two encodings of HTML forms.

    :param limit: the most bytes that the body may have.
    :raises Refusal: as :func:`read_body`; 415 for another encoding, 400 for a malformed form.
    """
    content_type = environ.get("CONTENT_TYPE") or ""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise Refusal(415, "This address accepts only forms: application/x-www-form-urlencoded or multipart/form-data.")
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


def _other_site(field_line: str) -> Refusal:
    return Refusal(403, f"This form was sent from another site ({field_line}). Please use the blog's own page.")


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"This form is too large: the blog accepts at most {limit:,} bytes here.")
