"""Makes the page ``strictness.md`` from the rows: ``python -m tests.strictness``."""

from __future__ import annotations

from tests.strictness.accepted import ACCEPTED
from tests.strictness.chunkedbodies import CHUNKED_BODIES
from tests.strictness.circumstances import CIRCUMSTANCES
from tests.strictness.headerfields import HEADER_FIELDS
from tests.strictness.lengths import LENGTHS
from tests.strictness.requestlines import REQUEST_LINES
from tests.strictness.rows import Acceptance
from tests.strictness.unfinished import UNFINISHED

__all__ = ["REFUSED", "cell", "page", "show"]

REFUSED = {**REQUEST_LINES, **HEADER_FIELDS, **LENGTHS, **CHUNKED_BODIES, **UNFINISHED, **CIRCUMSTANCES}
"""Every row of what is refused, by the title of its table."""

_LONGEST = 60
_ESCAPES = {byte: f"\\x{byte:02x}" for byte in range(256) if not 32 <= byte < 127}
_ESCAPES |= {9: r"\t", 10: r"\n", 13: r"\r"}


def show(data: bytes, longest: int = _LONGEST) -> str:
    """Bytes for a table cell: controls as escapes, and an example of more than ``longest`` bytes cut."""
    text = "".join(_ESCAPES.get(byte) or chr(byte) for byte in data[:longest])
    quoted = f"`` {text} ``" if "`" in text else f"`{text}`"
    return quoted.replace("|", r"\|") + (f" … ({len(data):,} bytes)" if len(data) > longest else "")


def cell(text: str) -> str:
    """Text for a table cell."""
    return text.replace("|", r"\|").replace("<", r"\<")


def _gets(acceptance: Acceptance) -> str:
    requests = []
    for request in acceptance.gets:
        parts = []
        for name, value in request.items():
            key = show(name.encode("ascii"))
            if value is None:
                parts.append(f"no {key}")
            elif isinstance(value, str) and len(value) > _LONGEST:
                parts.append(f"{key} of {len(value):,} bytes")
            else:
                parts.append(f"{key} {show(repr(value).encode('latin-1'))}")
        requests.append(", ".join(parts))
    text = "; then ".join(requests)
    return text + ("; the connection is closed" if acceptance.closes else "")


def page() -> str:
    """The documentation page, in Markdown."""
    parts = [_INTRODUCTION]
    for title, group in REFUSED.items():
        parts.append(f"### {title}\n\n{group.why}\n\n| what | for example | status | reason |\n|---|---|---|---|\n")
        for row in group.rows:
            example = show(row.example.shown) if row.example is not None else "-"
            options = "".join(f" (with `--{name} {value}`)" for name, value in row.settings.items())
            parts[-1] += f"| {cell(row.name)}{options} | {example} | {row.status} | {cell(row.reason)} |\n"
    parts.append(_ACCEPTED)
    for title, rows in ACCEPTED.items():
        parts.append(f"### {title}\n\n| what | for example | the application gets | rule |\n|---|---|---|---|\n")
        for accepted in rows:
            example = show(accepted.example.shown)
            parts[-1] += f"| {cell(accepted.name)} | {example} | {_gets(accepted)} | {accepted.rule} |\n"
    parts.append(_ENVIRON)
    return "\n".join(parts)


_INTRODUCTION = """\
# What is refused, and what is accepted

<!-- Made by `python -m tests.strictness > reserve/docs/strictness.md`; a test compares the two. -->

Request smuggling needs two programs that disagree about where a request ends, or about the server that it is for. So
the server refuses whatever two programs could read differently, closes the connection, and does not read what follows
the refused request. Where the RFCs allow a choice, the strict one is made; the few exceptions are in
[decision 14](decisions/0014-lenient.md).

Each row below is also a test: its example goes to the parser as a whole, byte by byte, cut in two at every place, and
with another request after it, and to a running server. The client gets the reason as the body of the response, and the
error log has it, too; it names the rule, or the limit with the [option](options.md) that changes it. The server refuses
a line at the first byte that is not allowed where it stands, and the reason quotes the line up to that byte; it checks
the meaning of the fields when the head is complete. Where each body ends is decided in one place,
`reserve/protocol/http1/framing.py`, by RFC 9112 section 6.3.

## Refused
"""

_ACCEPTED = """\
## Accepted, because it is legal

Strict does not mean incomplete. These requests are legal and often forgotten; the server serves them, and the
connection stays open unless the row says otherwise.
"""

_ENVIRON = """\
## What the application gets

- On a UNIX socket, `Host` may be the absolute path of a socket, as clients send it that know no host: `/run/a.sock`,
  `%2Frun%2Fa.sock`, `unix:/run/a.sock`. `HTTP_HOST` is `localhost` then, as `SERVER_NAME` is on a UNIX socket
  (`SERVER_PORT` is `80`), because applications build URLs from it, or refuse what is no host name. A TCP port refuses
  these paths with a 400; `%2Frun%2Fa.sock` is a legal host name there (RFC 3986 section 3.2.2), and passed on.
- Field names become environ keys as PEP 3333 says. A name with an underscore would have the same key as the name with a
  hyphen. So its field is dropped before anything is stored, whatever the order; with `--underscores refuse` its request
  is refused.
- A path is percent-decoded once, so nothing tells `%2F` from a slash; with `--encoded-slashes keep` it stays `%2F`.
- Values, paths and trailers are latin-1: each character is one byte as it was received (PEP 3333).
- A chunked body that was received before the application runs has `CONTENT_LENGTH` and no `HTTP_TRANSFER_ENCODING`.
  With `--stream-bodies` the environ has `HTTP_TRANSFER_ENCODING` and no `CONTENT_LENGTH`, and `wsgi.input` ends where
  the body ends (`wsgi.input_terminated`).
- `wsgi.trailers` is set for each request with a chunked body: a list of `(name, value)`, both `str`, in the order in
  which they were received, names as they were sent. If the body was received before the application runs, the list is
  complete. With `--stream-bodies` it is empty until the application has read `wsgi.input` to its end, and is then
  filled. Trailer fields are never merged into the environ (RFC 9110 section 6.5.1), and their names are not changed, so
  none replaces another.

      def application(environ, start_response):
          body = environ["wsgi.input"].read()
          sent = dict(environ.get("wsgi.trailers", ())).get("X-Checksum")
"""
