"""The types of option values: what each of them reads, refuses and writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.paramtypes import Count, CountOr, Flag, Octal, Pair, Seconds, Size


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("1.5", 1.5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("3s", 3), ("0", 0)]
)
def test_a_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert Seconds(0).parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "1,5", "1 s", "nan", "inf", "1e3", "\u0661", "8d", "9" * 400, ".5", "5."])
def test_a_malformed_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        Seconds(0).parse(text)


@pytest.mark.parametrize(
    ("text", "size"), [("65536", 65536), ("64k", 65536), ("1m", 1048576), ("1G", 1073741824), ("0", 0)]
)
def test_a_size_is_read_with_its_suffix(text: str, size: int) -> None:
    assert Size(0, 1024**4).parse(text) == size


@pytest.mark.parametrize("text", ["", "-1", "+5", "1_0", "1.5k", "64kb", "0x10", " 1", "1\n", "\u0661", "9" * 5000])
def test_a_malformed_size_or_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        Size(0, 1024**4).parse(text)
    with pytest.raises(ValueError, match=r"^$"):
        Count(0, 10**9).parse(text)


@given(st.integers(0, 1024**4))
def test_a_formatted_size_is_read_back(size: int) -> None:
    kind = Size(0, 1024**4)
    assert kind.parse(kind.format(size)) == size


@given(st.integers(0, 604800))
def test_a_formatted_time_is_read_back(seconds: int) -> None:
    kind = Seconds(0)
    assert kind.parse(kind.format(seconds)) == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize(("text", "mode"), [("660", 0o660), ("0o600", 0o600), ("0777", 0o777)])
def test_permissions_are_read_in_octal(text: str, mode: int) -> None:
    assert Octal().parse(text) == mode


@pytest.mark.parametrize("text", ["", "8", "66", "888", "0x1ff", "66000"])
def test_malformed_permissions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        Octal().parse(text)


def test_a_word_may_stand_for_a_number() -> None:
    kind = CountOr(2, 4, "keep")
    assert [kind.parse("2"), kind.parse("keep"), kind.from_toml(4), kind.from_toml("keep")] == [2, "keep", 4, "keep"]
    assert [kind.accepts(value) for value in (2, "keep", 5, "kept", True)] == [True, True, False, False, False]
    for text in ("1", "5", "kept", ""):
        with pytest.raises(ValueError, match=r"^$"):
            kind.parse(text)


def test_flags_and_variables_are_read() -> None:
    assert [Flag().parse(word) for word in ("1", "TRUE", "yes", "off", "No", "0")] == [True] * 3 + [False] * 3
    assert Pair().parse("A=b=c") == ("A", "b=c")
    for wrong in ("A", "=b", "A=\0"):
        with pytest.raises(ValueError, match=r"^$"):
            Pair().parse(wrong)


@pytest.mark.parametrize("kind", [Size(1 << 20, 1 << 44), Size(0, 1000000), Seconds(1.0), Seconds(0.0, 5.0)])
def test_every_example_of_a_message_is_allowed(kind: Size | Seconds) -> None:
    examples = kind.allowed.partition(", as ")[2].replace(" or ", ", ").split(", ")
    assert examples
    for example in examples:
        assert kind.accepts(kind.parse(example))
