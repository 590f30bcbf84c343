"""Lenses: text to values and back; what stands for no value is a ValidationError, whatever the browser sent."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extras import library

for name in ("itsdangerous", "markupsafe", "python_multipart"):
    library(name)

from reserve.desk import forms  # noqa: E402

ENUM = forms.EnumLens(["High", "Medium", "Low"], base=1)
LIST = forms.ListLens(["FOO", "BAR"])
POSITIVE = forms.Test(lambda s: int(s) > 0, error="must be positive.")


@pytest.mark.parametrize(
    ("lens", "value", "expected"),
    [
        (forms.BLANKABLE, None, ""),
        (forms.BLANKABLE, 5, "5"),
        (forms.TYPICAL, " x ", " x "),
        (forms.NULLABLE, None, ""),
        (forms.NULLABLE, "x", "x"),
        (forms.Nullable(ENUM), None, ""),
        (forms.Nullable(ENUM), 2, "1"),
        (forms.DATE, None, ""),
        (forms.DATE, datetime.date(2026, 12, 31), "2026-12-31"),
        (forms.DATE, datetime.datetime(2026, 12, 31, 23, 59), "2026-12-31"),
        (forms.DATE, "2026-12-31", "2026-12-31"),
        (ENUM, None, ""),
        (ENUM, 1, "0"),
        (ENUM, "3", "2"),
        (ENUM, "text", ""),
        (ENUM, float("inf"), ""),
        (forms.EnumLens(["No", "Yes"]), True, "1"),
        (LIST, None, ""),
        (LIST, "FOO", "FOO"),
        (LIST, 5, "5"),
    ],
)
def test_values_become_text(lens: forms.Lens, value: Any, expected: str) -> None:
    assert lens.string_for_browser(value) == expected


@pytest.mark.parametrize(
    ("lens", "typed", "expected"),
    [
        (forms.BLANKABLE, "  ", ""),
        (forms.BLANKABLE, " x y ", "x y"),
        (forms.TYPICAL, " x ", "x"),
        (forms.NULLABLE, " ", None),
        (forms.NULLABLE, " x", "x"),
        (forms.Nullable(forms.DATE), "", None),
        (forms.DATE, "", None),
        (forms.DATE, " \t", None),
        (forms.DATE, " 2024-02-29 ", datetime.date(2024, 2, 29)),
        (ENUM, "", None),
        (ENUM, "0", 1),
        (ENUM, "2", 3),
        (LIST, "", None),
        (LIST, "BAR", "BAR"),
        (POSITIVE, "5", "5"),
        (forms.Test(r"[a-z]*", error="e", flags=re.I), "ABC", "ABC"),
        (forms.Test(re.compile("a+"), error="e"), "aa", "aa"),
        (forms.Test(r"\d*", child=forms.NULLABLE, error="e"), "", None),
        (forms.Test(r"2026-.*", child=forms.DATE, error="e"), "2026-01-02", datetime.date(2026, 1, 2)),
    ],
)
def test_text_becomes_values(lens: forms.Lens, typed: str, expected: Any) -> None:
    assert lens.native_from_string(typed) == expected


@pytest.mark.parametrize(
    ("lens", "typed", "message"),
    [
        (forms.TYPICAL, " ", "may not be blank."),
        (forms.DATE, "abc", "is not a date as in 2026-12-31."),
        (forms.DATE, "2026-2-3", "is not a date as in 2026-12-31."),
        (forms.DATE, "20260203", "is not a date as in 2026-12-31."),
        (forms.DATE, "\u0662\u0660\u0662\u0666-01-01", "is not a date as in 2026-12-31."),
        (forms.DATE, "2026-02-30", "is not a date: the calendar has no such day."),
        (forms.DATE, "0000-01-01", "is not a date: the calendar has no such day."),
        (ENUM, "3", "is none of the choices."),
        (ENUM, "-1", "is none of the choices."),
        (ENUM, "abc", "is none of the choices."),
        (ENUM, "\u00b2", "is none of the choices."),
        (ENUM, "9" * 5000, "is none of the choices."),
        (LIST, "foo", "is none of the choices."),
        (POSITIVE, "0", "must be positive."),
        (POSITIVE, "many", "must be positive."),
        (forms.Test("a", error="e"), "aa", "e"),
        (forms.Test(r"\d+", child=forms.NULLABLE, error="e"), "", "e"),
        (forms.Nullable(forms.TYPICAL), "", "may not be blank."),
    ],
)
def test_text_that_stands_for_no_value_is_refused(lens: forms.Lens, typed: str, message: str) -> None:
    with pytest.raises(forms.ValidationError) as caught:
        lens.native_from_string(typed)
    assert caught.value.args == (message,)


@given(st.text())
def test_any_text_is_a_value_or_refused(typed: str) -> None:
    for lens in (forms.BLANKABLE, forms.TYPICAL, forms.NULLABLE, forms.DATE, ENUM, LIST, POSITIVE):
        try:
            value = lens.native_from_string(typed)
        except forms.ValidationError:
            continue
        assert lens.native_from_string(lens.string_for_browser(value)) == value


@given(st.dates())
def test_dates_come_back(date: datetime.date) -> None:
    assert forms.DATE.native_from_string(forms.DATE.string_for_browser(date)) == date


def test_choices() -> None:
    assert list(ENUM.string_pairs()) == [("0", "High"), ("1", "Medium"), ("2", "Low")]
    assert list(forms.EnumLens(["No", "Yes"], reverse=True).string_pairs()) == [("1", "Yes"), ("0", "No")]
    assert list(LIST.string_pairs()) == [("FOO", "FOO"), ("BAR", "BAR")]
    assert (ENUM.options, ENUM.base, LIST.options) == (["High", "Medium", "Low"], 1, ["FOO", "BAR"])


def test_an_error_of_the_program_in_a_predicate_is_no_mistake_of_the_user() -> None:
    with pytest.raises(TypeError):
        forms.Test(lambda s: s + 1, error="e").native_from_string("x")


def test_wrong_arguments_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="regular expression or a function"):
        forms.Test(5, error="e")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got 5"):
        forms.ListLens(["a", 5])  # type: ignore[list-item]


@pytest.mark.parametrize("call", ["string_for_browser", "native_from_string"])
def test_the_base_class_says_which_method_is_missing(call: str) -> None:
    with pytest.raises(NotImplementedError, match=call):
        getattr(forms.Lens(), call)("")
    with pytest.raises(NotImplementedError, match="string_pairs"):
        forms.ChoiceLens().string_pairs()


def test_a_pattern_looks_at_the_value_if_that_is_text() -> None:
    class Phone(forms.StringLens):
        def string_for_browser(self, n: Any) -> str:
            return "" if n is None else f"{n[:3]}-{n[3:]}"

        def native_from_string(self, s: str) -> str:
            return s.replace("-", "")

    assert forms.Test(r"\d{7}", child=Phone(), error="e").native_from_string("555-1234") == "5551234"
