"""The page itself: the view as HTML, complete without its script, with the style and the script inside it.

Any thread may call :func:`page`. Each text of the view is escaped here. The policy of the response allows exactly this
style and this script, by their hashes, and to fetch from the same server; nothing else runs, even if it got into the
page.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import time
from collections.abc import Sequence
from functools import cache
from html import escape
from string import Template
from typing import NamedTuple

from reserve.control.page.figures import NONE
from reserve.control.page.view import Row, Table, View

__all__ = ["headers", "page"]


class _Column(NamedTuple):
    """One column of a table; its cells get the class ``kind``."""

    title: str
    kind: str = ""


_COLUMNS: dict[str, tuple[_Column, ...]] = {
    "threads": (
        _Column("Process"),
        _Column("Thread", "whole"),
        _Column("State", "state tell"),
        _Column("Request", "mono"),
        _Column("Client", "mono muted client"),
        _Column("For", "number tell"),
    ),
    "processes": (
        _Column("Process"),
        _Column("State", "state tell"),
        _Column("Up for", "number"),
        _Column("Threads", "number"),
        _Column("Queue", "number"),
        _Column("Connections", "number"),
        _Column("Requests", "number"),
        _Column("Memory", "number"),
    ),
    "limits": (_Column("What"), _Column("Now", "number tell"), _Column("Limit", "number muted"), _Column("Share")),
    "totals": (_Column("What"), _Column("Count", "number tell"), _Column("Last minute", "number recent")),
}
_EMPTY = {"threads": "No thread has anything to do.", "processes": "No process serves."}
"""What a table says that has no rows."""


class _Assets(NamedTuple):
    """The files of this folder, and the policy that allows them."""

    template: Template
    style: str
    script: str
    policy: str


@cache
def _assets() -> _Assets:
    folder = importlib.resources.files("reserve.control.page")
    html, style, script = (folder.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return _Assets(Template(html), style, script, policy)


def _hash(text: str) -> str:
    """The source expression that allows this inline text (CSP level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def headers(content_type: str) -> list[tuple[str, str]]:
    """The header fields of the page and of its data: neither is kept, framed, or read by a page of another site."""
    return [
        ("Content-Type", content_type),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", _assets().policy),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
    ]


def page(view: View) -> bytes:
    """The whole page, in UTF-8."""
    assets, moment = _assets(), time.gmtime(view.time)
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in view.facts)
    text = assets.template.substitute(
        title=escape(f"{view.headline} {NONE} reserve"),
        style=assets.style,
        script=assets.script,
        level=escape(view.level),
        headline=escape(view.headline),
        no_reasons="" if view.reasons else " hidden",
        no_main="" if view.processes.rows else " hidden",
        reasons="".join(f"<li>{escape(reason)}</li>" for reason in view.reasons),
        facts=facts,
        time=time.strftime("%Y-%m-%d %H:%M:%S UTC", moment),
        datetime=time.strftime("%Y-%m-%dT%H:%M:%SZ", moment),
        threads=_table("threads", view.threads),
        processes=_table("processes", view.processes),
        limits=_table("limits", view.limits),
        totals=_table("totals", view.totals),
    )
    return text.encode("utf-8", "backslashreplace")


def _table(name: str, table: Table) -> str:
    columns = _COLUMNS[name]
    heads = "".join(
        f'<th role="columnheader" scope="col" class="{_head_class(column)}" data-cell="{column.kind}">'
        f"{column.title}</th>"
        for column in columns
    )
    empty = escape(_EMPTY.get(name, ""))
    body = "".join(_row(columns, row) for row in table.rows) or (
        f'<tr role="row" class="empty-row"><td role="cell" class="empty" colspan="{len(columns)}">{empty}</td></tr>'
    )
    has_note = name in _EMPTY
    note = f'\n<p id="{name}-note" class="note">{escape(table.note)}</p>' if has_note else ""
    described = f' aria-describedby="{name}-note"' if has_note else ""
    return (
        f'<table id="{name}" role="table" aria-labelledby="{name}-title"{described} data-empty="{empty}">\n'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>\n'
        f'<tbody role="rowgroup">{body}</tbody>\n</table>{note}'
    )


def _head_class(column: _Column) -> str:
    return " ".join(word for word in column.kind.split() if word in ("number", "recent"))


def _row(columns: Sequence[_Column], row: Row) -> str:
    cells = [escape(text) for text in row.cells]
    if len(cells) < len(columns):  # the script fills the column of the last minute; the other one is the bar
        cells.append(_bar(row.share) if row.number is None else NONE)
    made = []
    for at, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        tag = "td" if at else "th"
        role = 'role="cell"' if at else 'role="rowheader" scope="row"'
        made.append(f'<{tag} {role} class="{column.kind}" data-label="{column.title}">{cell}</{tag}>')
    return f'<tr role="row" class="{escape(row.level)}">{"".join(made)}</tr>\n'


def _bar(share: float | None) -> str:
    """A bar for a share of a limit, without an attribute ``style``, which the policy forbids."""
    if share is None:
        return ""
    return (
        '<svg class="bar" aria-hidden="true"><rect width="100%" height="100%" rx="3"/>'
        f'<rect width="{share * 100:.1f}%" height="100%" rx="3"/></svg>'
    )
