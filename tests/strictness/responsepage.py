"""Makes the page ``responses.md`` from the rows: ``python -m tests.strictness responses``."""

from __future__ import annotations

import textwrap

from tests.strictness.page import cell, show
from tests.strictness.responserows import RESPONSES
from tests.strictness.rows import FAILED, OPEN, ResponseRow

__all__ = ["page"]

_LONGEST = 200


def _gets(row: ResponseRow) -> str:
    parts = [] if row.status == "200 OK" else [row.status]
    parts += row.fields
    cells = [show(part.encode("latin-1")) for part in parts]
    cells += [f"no `{name}`" for name in row.absent]
    if row.body is None:
        cells.append("the content of the file")
    elif row.body != b"hello":
        cells.append(show(row.body) if row.body else "no body")
    if row.ends != OPEN:
        cells.append(row.ends)
    return ", ".join(cells) or "`hello`"


def page() -> str:
    """The documentation page, in Markdown."""
    parts = [_INTRODUCTION]
    for section, tables in RESPONSES.items():
        parts.append(f"## {section}\n")
        for title, group in tables.items():
            columns = {
                "what": [cell(row.name) for row in group.rows],
                "for example": [show(row.code.encode("ascii"), _LONGEST) for row in group.rows],
            }
            if any(row.status != FAILED for row in group.rows):
                columns["the client gets"] = [_gets(row) for row in group.rows]
            if any(row.log for row in group.rows):
                columns["the log says"] = [cell(row.log) for row in group.rows]
            lines = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
            table = (
                "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("| ---", "|---").replace("--- |", "---|")
            )
            parts.append(f"### {title}\n\n{textwrap.fill(group.why, 120)}\n\n{table}")
    parts.append(_END)
    return "\n".join(parts)


_INTRODUCTION = """\
# What an application may send

<!-- Made by `python -m tests.strictness responses > reserve/docs/responses.md`; a test compares the two. -->

[PEP 3333](https://peps.python.org/pep-3333/) says what a WSGI application may do, and RFC 9110 and RFC 9112 what a
client may get. This page says what the server does with the rest: it mends what has one meaning only and cannot hurt a
client, and it refuses what could be read in two ways, as it does with [requests](strictness.md).

Each row below is also a test: a server on a socket serves its example, and the client, the log and the next request on
the connection are checked. An example is the body of `def application(environ, start)`, where `start` is
`start_response`. `Text`, `Data` and `List` are subclasses of `str`, `bytes` and `list`; `FILE` is the path of a file
with `0123456789`; `failure()` is the `sys.exc_info()` of an exception; `Closing` is an iterable whose `close()` raises.
"""

_END = """\
## After the response

- `close()` of the result is called once, however the response ended: complete, a 500, aborted, its client gone.
- `start_response` and `write` raise an error when they are called after the end of their response.
- An error of the application is one entry in the error log, with its traceback; see
  [adversity.md](adversity.md#slow-clients) for what a client sees of a response that was aborted.
"""
