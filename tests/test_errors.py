"""The helpers for the texts of errors."""

from __future__ import annotations

from reserve.errors import counted, short_repr


def test_a_long_value_is_cut() -> None:
    assert short_repr([1]) == "[1]"
    assert short_repr("x" * 78) == repr("x" * 78)
    assert short_repr("x" * 79) == "'" + "x" * 76 + "..."


def test_a_noun_is_in_the_plural_unless_its_number_is_one() -> None:
    assert [counted(number, "byte") for number in (0, 1, 2)] == ["0 bytes", "1 byte", "2 bytes"]
