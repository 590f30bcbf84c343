"""The helpers for the texts of errors."""

from __future__ import annotations

import traceback
from typing import Any, cast

import pytest

from reserve.errors import (
    RequestTimeout,
    counted,
    describe_exception,
    format_exception,
    print_exception,
    safe_str,
    short_repr,
    type_name,
)


def test_a_long_value_is_cut() -> None:
    assert short_repr([1]) == "[1]"
    assert short_repr("x" * 78) == repr("x" * 78)
    assert short_repr("x" * 79) == "'" + "x" * 76 + "..."


def test_a_noun_is_in_the_plural_unless_its_number_is_one() -> None:
    assert [counted(number, "byte") for number in (0, 1, 2)] == ["0 bytes", "1 byte", "2 bytes"]


ANYTHING: list[type[BaseException]] = [ValueError, SystemExit, KeyboardInterrupt, MemoryError, RecursionError]


def hostile(kind: type[BaseException]) -> type[BaseException]:
    """A class of exceptions whose description raises ``kind``, as SystemExit."""

    def fail(*args: Any) -> Any:
        raise kind("no description")

    class Metaclass(type):
        __name__ = property(fail)  # type: ignore[assignment]

    def set_metaclass(name: str) -> Any:
        return Metaclass(name, (ModuleNotFoundError,), {
            "__notes__": property(fail), "__str__": fail, "__repr__": fail, "__dir__": fail,
            "__traceback__": property(fail), "__class__": property(fail), "name": property(fail), "obj": property(fail),
        })  # fmt: skip

    return cast("type[BaseException]", set_metaclass("Hostile"))


@pytest.mark.parametrize("kind", [*ANYTHING, RequestTimeout])
def test_an_exception_that_cannot_be_formatted_is_described_by_its_frames_and_its_type(
    kind: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        raise hostile(kind)()
    error = caught.value
    assert format_exception(error) is None
    frame, line, text = describe_exception(error).splitlines()
    assert frame == "Traceback (most recent call last):"
    assert __file__ in line
    assert text == "Hostile: (its text cannot be shown)"
    print_exception(error)
    assert __file__ in capsys.readouterr().err


def test_an_exception_that_can_be_formatted_looks_as_in_python() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 // 0
    assert describe_exception(caught.value) == "".join(traceback.format_exception(caught.value)).rstrip()


@pytest.mark.parametrize("kind", ANYTHING)
def test_a_value_that_cannot_be_shown_is_shown_by_its_type(kind: type[BaseException]) -> None:
    error = hostile(kind)()
    assert short_repr(error) == "<Hostile object>"
    assert safe_str(error) == "(its text cannot be shown)"
    assert type_name(error) == "Hostile"


def test_the_interrupt_of_a_run_is_not_swallowed() -> None:
    error = hostile(RequestTimeout)()
    with pytest.raises(RequestTimeout):
        short_repr(error)
    with pytest.raises(RequestTimeout):
        safe_str(error)
