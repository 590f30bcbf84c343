"""Lenses: from a value of the program to the text in a form, and back, with a check of what came back.

A form element has one. A lens has no state of its own, so one may serve many elements. The messages of the lenses here
continue a sentence that begins with the name of the field, as in "Title may not be blank."
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = [
    "BLANKABLE",
    "DATE",
    "NULLABLE",
    "TYPICAL",
    "ChoiceLens",
    "DateLens",
    "EnumLens",
    "Lens",
    "ListLens",
    "Nullable",
    "StringLens",
    "Test",
    "ValidationError",
]


class ValidationError(Exception):
    """What was typed into one field cannot be used. The argument is the message for its user."""


class Lens:
    """Base class: both methods have to be written by the subclass. None stands for a value that is not there."""

    def string_for_browser(self, n: Any) -> str:
        """The text for the form from a value of the program (``n`` for native)."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method string_for_browser()")

    def native_from_string(self, s: str) -> Any:
        """The value for the program from the text that the browser sent, which can be anything.

        :raises ValidationError: if the text stands for no value, with a message for the user.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no method native_from_string()")


class StringLens(Lens):
    """Text, without the spaces around it; blank is an empty str. A file that was uploaded stays as it is."""

    def string_for_browser(self, n: Any) -> str:
        return "" if n is None else str(n)

    def native_from_string(self, s: str) -> Any:
        return s.strip() if isinstance(s, str) else s


BLANKABLE = StringLens()
"""Text that may be blank (an empty str)."""


class Test(Lens):
    """Another lens, and a check of its value.

    :param predicate: a regular expression (str or compiled), which has to match all of the value (of a value that is no
        str: all of its text for the browser, which is empty for None); or a function of the value, whose result is true
        for a good one. A ValueError of it counts as false, so that ``lambda s: int(s) > 0`` is enough.
    :param child: the other lens; default :data:`BLANKABLE`.
    :param error: the message for a value that does not pass.
    :param flags: of :mod:`re`, for a ``predicate`` that is a str.
    :raises TypeError: if the predicate is none of these.
    """

    __test__ = False  # no test case, whatever pytest thinks of its name

    def __init__(
        self,
        predicate: str | re.Pattern[str] | Callable[[Any], object],
        *,
        child: Lens = BLANKABLE,
        error: str,
        flags: int | None = None,
    ) -> None:
        self._child = child
        self._error = error
        if isinstance(predicate, str):
            predicate = re.compile(predicate, flags or 0)
        if isinstance(predicate, re.Pattern):
            pattern = predicate
            self._passes: Callable[[Any], object] = lambda n: pattern.fullmatch(
                n if isinstance(n, str) else child.string_for_browser(n)
            )
        elif callable(predicate):
            self._passes = predicate
        else:
            raise TypeError(f"a predicate is a regular expression or a function, got {predicate!r:.80}")

    def string_for_browser(self, n: Any) -> str:
        return self._child.string_for_browser(n)

    def native_from_string(self, s: str) -> Any:
        n = self._child.native_from_string(s)
        try:
            passed = self._passes(n)
        except ValueError:
            passed = False
        if not passed:
            raise ValidationError(self._error)
        return n


TYPICAL = Test(bool, error="may not be blank.")
"""Text that may not be blank: the lens of an Entry that is given none."""


class Nullable(Lens):
    """Another lens, whose empty str becomes None, as for a column that may be NULL.

    :param child: the other lens; it sees the text first, and may refuse a blank one.
    """

    def __init__(self, child: Lens) -> None:
        self._child = child

    def string_for_browser(self, n: Any) -> str:
        return "" if n is None else self._child.string_for_browser(n)

    def native_from_string(self, s: str) -> Any:
        n = self._child.native_from_string(s)
        return None if isinstance(n, str) and n == "" else n


NULLABLE = Nullable(BLANKABLE)
"""Text that may be blank (None)."""


class DateLens(StringLens):
    """A ``datetime.date`` as ``<input type="date">`` sends it: 2026-12-31. Blank is None.

    What is neither blank nor a date is refused: it is never taken for a blank, because the user meant something by it.
    """

    _ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")

    def string_for_browser(self, n: Any) -> str:
        return n.date().isoformat() if isinstance(n, datetime.datetime) else super().string_for_browser(n)

    def native_from_string(self, s: str) -> Any:
        text = s.strip()
        if not text:
            return None
        match = self._ISO.fullmatch(text)
        if match is None:
            raise ValidationError("is not a date as in 2026-12-31.")
        try:
            return datetime.date(*map(int, match.groups()))
        except ValueError:
            raise ValidationError("is not a date: the calendar has no such day.") from None


DATE = DateLens()
"""A date that may be blank (None)."""


class ChoiceLens(Lens):
    """Base class of lenses with a few values, each with a text for the browser and a label for the user.

    The text of every value but None has to be among the texts of :meth:`string_pairs`.
    """

    def string_pairs(self) -> Iterable[tuple[str, str]]:
        """Text and label of each value, in the order in which they are offered."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method string_pairs()")


class EnumLens(ChoiceLens):
    """An int that stands for one of a few labels. Blank is None.

    A value that is no label's number (from an old record) has the empty text or one that is not offered.

    :param options: the labels, as anything with a ``str``.
    :param base: the number of the first one; default 0.
    :param reverse: true to offer the last one first.
    """

    def __init__(self, options: Sequence[Any], *, base: int = 0, reverse: bool = False) -> None:
        self.options = options
        self.base = base
        self._labels = {str(offset): str(label) for offset, label in enumerate(options)}
        self._reverse = reverse

    def string_pairs(self) -> Iterable[tuple[str, str]]:
        pairs = list(self._labels.items())
        return iter(pairs[::-1] if self._reverse else pairs)

    def string_for_browser(self, n: Any) -> str:
        try:
            return "" if n is None else str(int(n) - self.base)
        except (TypeError, ValueError, OverflowError):
            return ""

    def native_from_string(self, s: str) -> Any:
        """The number; None for a blank. Raises ValidationError for anything that was not offered."""
        if not s:
            return None
        if s not in self._labels:
            raise ValidationError("is none of the choices.")
        return int(s) + self.base


class ListLens(ChoiceLens):
    """One of a few str, each of which is its own label. Blank is None.

    :param options: the str, in the order in which they are offered.
    :raises TypeError: if one of them is no str.
    """

    def __init__(self, options: Sequence[str]) -> None:
        for option in options:
            if not isinstance(option, str):
                raise TypeError(f"the options of a ListLens are str, got {option!r:.80}")
        self.options = options

    def string_pairs(self) -> Iterable[tuple[str, str]]:
        return ((option, option) for option in self.options)

    def string_for_browser(self, n: Any) -> str:
        return "" if n is None else str(n)

    def native_from_string(self, s: str) -> Any:
        """The str; None for a blank. Raises ValidationError for anything that was not offered."""
        if not s:
            return None
        if s not in self.options:
            raise ValidationError("is none of the choices.")
        return s
