"""Text in cells: nothing that a client sends moves what stands beside it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.control.top.cells import fit, printable, width_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /a b", "GET /a b"),
        ("/\x1b[2J", "/\\x1b[2J"),
        ("/\r\n\t", "/\\x0d\\x0a\\x09"),
        ("/\x7f\x9b31m", "/\\x7f\\x9b31m"),
        ("/\u202egnp.exe", "/\\u202egnp.exe"),
        ("/e\u0301", "/e\\u0301"),
        ("/\u05d0", "/\\u05d0"),
        ("/\u0661", "/\\u0661"),
        ("/\udce9", "/\\udce9"),
        ("/\u1161", "/\\u1161"),
        ("/\U0001f1e9\U0001f1ea", "/\\U0001f1e9\\U0001f1ea"),
        ("/\u2028\u200d\ufeff", "/\\u2028\\u200d\\ufeff"),
        ("/\u4e2d\u00e9", "/\u4e2d\u00e9"),
    ],
)
def test_what_could_move_other_text_is_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_without_unicode_everything_is_ascii() -> None:
    assert printable("/\u4e2d\u00e9", unicode=False) == "/\\u4e2d\\xe9"


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 5, "abc  "),
        ("abc", 3, "abc"),
        ("abcd", 3, "ab~"),
        ("\u4e2d\u6587", 4, "\u4e2d\u6587"),
        ("\u4e2d\u6587", 3, "\u4e2d~"),
        ("\u4e2d\u6587", 2, "~ "),
        ("abc", 0, ""),
        ("abc", 1, "~"),
    ],
)
def test_a_text_is_cut_and_padded_by_columns(text: str, width: int, expected: str) -> None:
    assert fit(text, width) == expected


def test_a_number_is_aligned_to_the_right() -> None:
    assert fit("12", 4, right=True) == "  12"


@given(st.text(), st.integers(0, 40), st.booleans())
def test_every_text_gets_the_columns_that_were_asked_for(text: str, width: int, unicode: bool) -> None:
    shown = printable(text, unicode=unicode)
    cell = fit(shown, width)
    assert width_of(cell) == width
    assert all(unicodedata.category(c)[0] not in "CM" for c in cell)
    assert unicode or cell.isascii()
