"""Makes the page ``strictness.md`` of the rows: ``python -m tests.strictness``."""

from __future__ import annotations

from tests.strictness.accepted import ACCEPTED
from tests.strictness.chunkedbodies import CHUNKED_BODIES
from tests.strictness.circumstances import CIRCUMSTANCES
from tests.strictness.headerfields import HEADER_FIELDS
from tests.strictness.lengths import LENGTHS
from tests.strictness.requestlines import REQUEST_LINES
from tests.strictness.rows import Acceptance
from tests.strictness.unfinished import UNFINISHED

__all__ = ["REFUSED", "page"]

REFUSED = {**REQUEST_LINES, **HEADER_FIELDS, **LENGTHS, **CHUNKED_BODIES, **UNFINISHED, **CIRCUMSTANCES}
"""Every row of what is refused, by the title of its group."""

_LONGEST = 60
_ESCAPES = {octet: f"\\x{octet:02x}" for octet in range(256) if not 32 <= octet < 127}
_ESCAPES |= {9: r"\t", 10: r"\n", 13: r"\r"}


def show(data: bytes) -> str:
    """Octets for a table cell: controls as escapes, long ones cut."""
    text = "".join(_ESCAPES.get(octet) or chr(octet) for octet in data[:_LONGEST])
    quoted = f"`` {text} ``" if "`" in text else f"`{text}`"
    return quoted.replace("|", r"\|") + (f" … ({len(data):,} octets)" if len(data) > _LONGEST else "")


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", r"\<")


def _gets(acceptance: Acceptance) -> str:
    told = []
    for one in acceptance.gets:
        parts = []
        for name, value in one.items():
            key = show(name.encode("ascii"))
            if value is None:
                parts.append(f"no {key}")
            elif isinstance(value, str) and len(value) > _LONGEST:
                parts.append(f"{key} of {len(value):,} octets")
            else:
                parts.append(f"{key} {show(repr(value).encode('latin-1'))}")
        told.append(", ".join(parts))
    text = "; then ".join(told)
    return text + ("; the connection closes" if acceptance.closes else "")


def page() -> str:
    """The documentation page, in Markdown."""
    parts = [_INTRODUCTION]
    for title, group in REFUSED.items():
        parts.append(f"### {title}\n\n{group.why}\n\n| what | for example | answer | reason |\n|---|---|---|---|\n")
        for row in group.rows:
            example = show(row.octets.shown) if row.octets is not None else "-"
            given = "".join(f" (with `--{name} {value}`)" for name, value in row.settings.items())
            parts[-1] += f"| {_cell(row.name)}{given} | {example} | {row.status} | {_cell(row.reason)} |\n"
    parts.append(_ACCEPTED)
    for title, accepted in ACCEPTED.items():
        parts.append(f"### {title}\n\n| what | for example | the application gets | rule |\n|---|---|---|---|\n")
        for taken in accepted:
            example = show(taken.octets.shown)
            parts[-1] += f"| {_cell(taken.name)} | {example} | {_gets(taken)} | {taken.rule} |\n"
    parts.append(_BEHIND)
    return "\n".join(parts)


_INTRODUCTION = """\
# What is refused, and what is not

<!-- Made by `python -m tests.strictness > reserve/docs/strictness.md`; a test keeps it in step. -->

Two readers that disagree about where a request ends, or whom it is for, are what request smuggling is made of. So
whatever two readers could read differently is refused, the connection is closed, and nothing behind the refused
request is looked at. Where the RFCs leave a choice, the strict one is taken; the few places where it is not are in
[decision 14](decisions/0014-lenient.md).

Each row below is also a test: its octets go to the parser whole, octet by octet, cut in two at every place, and with
other octets behind them, and to a running server. The reason is what the client reads and what the error log says;
it names the rule, or the limit with the [option](options.md) that changes it. A refusal comes at the first octet that
nothing legal can follow, and shows what had arrived up to there; what the fields of a head mean is looked at when the
head is whole. What ends each body is decided in one place, `reserve/protocol/http1/framing.py`, by RFC 9112 section
6.3.

## Refused
"""

_ACCEPTED = """\
## Taken, because it is legal

Strict is not the same as narrow. These are legal and get forgotten; they are served, and the connection goes on
unless the row says otherwise.
"""

_BEHIND = """\
## What the application gets of it

- Names become environ keys as PEP 3333 says. A name with an underscore would become the same key as the name with a
  hyphen, so its field is dropped before anything is stored, whatever the order, or with `--underscores refuse` its
  request is refused.
- Values, paths and trailers are latin-1: each letter is one octet as it came (PEP 3333).
- A chunked body that was received before the application runs has `CONTENT_LENGTH` and no `HTTP_TRANSFER_ENCODING`.
  With `--stream-bodies` it is the other way round, and `wsgi.input` ends where the body ends
  (`wsgi.input_terminated`).
- `wsgi.trailers` is there for each request with a chunked body: a list of `(name, value)`, both `str`, in the order in
  which they came, names as they were sent. A body that was received before has all of them at once; with
  `--stream-bodies` the list is empty until `wsgi.input` has been read to its end, and is then filled. Trailer fields
  are never merged into the environ (RFC 9110 section 6.5.1), and their names are not changed, so none masks another.

      def application(environ, start_response):
          body = environ["wsgi.input"].read()
          sent = dict(environ.get("wsgi.trailers", ())).get("X-Checksum")
"""
