"""Lines of styled text with an exact width: what the screens of ``reserve top`` are made of. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reserve.control.top.cells import fit, width_of

__all__ = ["Column", "Line", "Look", "Span", "Style", "Table", "flow", "text_of", "wrapped"]


class Style(enum.Enum):
    """How a piece of text looks."""

    PLAIN = enum.auto()
    BOLD = enum.auto()
    DIM = enum.auto()
    GOOD = enum.auto()
    WARNING = enum.auto()
    BAD = enum.auto()
    HEADING = enum.auto()
    SELECTED = enum.auto()
    SELECTED_WARNING = enum.auto()
    SELECTED_BAD = enum.auto()

    @property
    def selected(self) -> Style:
        """How a row of this style looks while it is selected."""
        return _SELECTED.get(self, Style.SELECTED)


_SELECTED = {Style.WARNING: Style.SELECTED_WARNING, Style.BAD: Style.SELECTED_BAD}


Span = tuple[str, Style]
Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What the terminal can show."""

    columns: int
    unicode: bool = True
    """False: ASCII only."""

    @property
    def ellipsis(self) -> str:
        """The sign of a text that was cut."""
        return "\u2026" if self.unicode else "~"


def text_of(line: Line) -> str:
    """The text of a line without its styles."""
    return "".join(text for text, _ in line)


def flow(parts: Iterable[Sequence[Span]], look: Look, rest: Style = Style.PLAIN) -> tuple[Line, int]:
    """Put parts beside each other, two columns apart, as far as they fit; the first one is cut if it is too long.

    An ellipsis says that there are more, if there is room for it.

    :param rest: the style of the padding.
    :returns: the line, and how many parts do not fit.
    """
    spans: list[Span] = []
    used = left_out = 0
    for part in parts:
        width = sum(width_of(text) for text, _ in part)
        gap = 2 if spans else 0
        if used + gap + width > look.columns and spans:
            left_out += 1
            continue
        if gap:
            spans.append(("  ", rest))
        spans.extend(part)
        used += gap + width
    if used > look.columns:
        spans = list(_cut(spans, look))
        used = look.columns
    padding = " " * (look.columns - used)
    if left_out and len(padding) > 1:
        padding = f" {fit(look.ellipsis, len(padding) - 1)}"
    return (*spans, (padding, rest)), left_out


def wrapped(text: str, columns: int) -> Iterator[str]:
    """A text from ``printable``, in pieces that each take at most ``columns``."""
    piece, used = "", 0
    for character in text:
        width = width_of(character)
        if used + width > columns and piece:
            yield piece
            piece, used = "", 0
        if width <= columns:
            piece += character
            used += width
    yield piece


def _cut(spans: Iterable[Span], look: Look) -> Iterator[Span]:
    left = look.columns
    for text, style in spans:
        width = width_of(text)
        if width > left:
            yield fit(text, left, ellipsis=look.ellipsis), style
            return
        yield text, style
        left -= width


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    keep: int
    """The columns with the lowest numbers are left out first, where the terminal is narrow."""
    least: int = 0
    """The least width."""
    most: int = 24
    """The greatest width of its cells; 0: it gets what the others leave."""
    right: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a heading. The texts come from ``printable``."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    styles: Sequence[Style]
    """Of the rows."""

    def lines(self, look: Look, selected: int = -1) -> tuple[list[Line], list[str]]:
        """The heading and the rows, and the titles of the columns that are left out.

        :param selected: the index of the row that is marked.
        """
        widths = self._widths()
        kept = list(range(len(self.columns)))
        left_out: list[str] = []
        while len(kept) > 1 and self._needed(kept, widths) > look.columns:
            first = min(kept, key=lambda index: self.columns[index].keep)
            kept.remove(first)
            left_out.append(self.columns[first].title.lower())
        left = look.columns - sum(widths[index] + 1 for index in kept if self.columns[index].most) + 1
        for index in kept:
            if not self.columns[index].most:
                widths[index] = left - 1
        lines = [self._line(kept, widths, [column.title for column in self.columns], Style.HEADING, look)]
        for index, (row, style) in enumerate(zip(self.rows, self.styles, strict=True)):
            lines.append(self._line(kept, widths, row, style.selected if index == selected else style, look))
        return lines, left_out

    def _widths(self) -> list[int]:
        widths = []
        for index, column in enumerate(self.columns):
            widest = max((width_of(row[index]) for row in self.rows), default=0)
            widths.append(max(min(widest, column.most), width_of(column.title), column.least))
        return widths

    def _needed(self, kept: Sequence[int], widths: Sequence[int]) -> int:
        return sum((widths[index] if self.columns[index].most else self.columns[index].least) + 1 for index in kept) - 1

    def _line(self, kept: Sequence[int], widths: Sequence[int], row: Sequence[str], style: Style, look: Look) -> Line:
        cells = (
            fit(row[index], widths[index], right=self.columns[index].right, ellipsis=look.ellipsis) for index in kept
        )
        return ((fit(" ".join(cells), look.columns, ellipsis=look.ellipsis), style),)
