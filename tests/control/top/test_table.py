"""Lines with an exact width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reserve.control.top.cells import printable, width_of
from reserve.control.top.table import Column, Look, Style, Table, flow, text_of, wrapped

_COLUMNS = (Column("PID", 1, 5, right=True), Column("STATE", 2), Column("REQUEST", 3, 6, 0))
_TABLE = Table(_COLUMNS, [("7", "running", "GET /a/long/path"), ("12345", "idle", "")], [Style.PLAIN, Style.DIM])


def test_the_column_that_may_grow_gets_what_the_others_leave() -> None:
    lines, left_out = _TABLE.lines(Look(24))
    assert [text_of(line) for line in lines] == [
        "  PID STATE   REQUEST   ",
        "    7 running GET /a/lo\u2026",
        "12345 idle              ",
    ]
    assert [line[0][1] for line in lines] == [Style.HEADING, Style.PLAIN, Style.DIM]
    assert left_out == []


def test_the_least_important_columns_go_first() -> None:
    lines, left_out = _TABLE.lines(Look(16), selected=1)
    assert text_of(lines[1]) == "running GET /a/\u2026"
    assert left_out == ["pid"]
    assert lines[2][0][1] is Style.SELECTED
    assert text_of(_TABLE.lines(Look(10, unicode=False))[0][1]) == "GET /a/lo~"


def test_parts_stand_beside_each_other_as_far_as_they_fit() -> None:
    parts = [[("one", Style.BOLD)], [("a long one", Style.PLAIN)], [("two", Style.PLAIN)]]
    line, left_out = flow(parts, Look(12))
    assert (text_of(line), left_out) == ("one  two \u2026  ", 1)
    assert text_of(flow(parts, Look(2))[0]) == "o\u2026"
    assert text_of(flow(parts, Look(25))[0]) == "one  a long one  two     "


@given(st.lists(st.text(max_size=12), max_size=6), st.integers(1, 40), st.booleans())
def test_every_line_has_its_width(texts: list[str], columns: int, unicode: bool) -> None:
    look = Look(columns, unicode=unicode)
    cells = [printable(text, unicode=unicode) for text in texts]
    line, _ = flow([[(cell, Style.PLAIN)] for cell in cells], look)
    assert width_of(text_of(line)) == columns
    table = Table(_COLUMNS, [(cell, cell, cell) for cell in cells], [Style.PLAIN] * len(cells))
    assert all(width_of(text_of(line)) == columns for line in table.lines(look)[0])


@given(st.text(max_size=50), st.integers(2, 20))
def test_a_wrapped_text_is_complete(text: str, columns: int) -> None:
    shown = printable(text)
    pieces = list(wrapped(shown, columns))
    assert "".join(pieces) == shown
    assert all(width_of(piece) <= columns for piece in pieces)
