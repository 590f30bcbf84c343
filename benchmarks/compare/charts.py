"""Charts of a run as SVG files: bars with their spread, which follow the light or dark colours of the page.

A writer of our own: bars and texts need no library, and the files are small, without scripts and fonts, and readable as
text. Each file has its own title and description for those who do not see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.compare.report import number

__all__ = ["WIDTH", "Bar", "Group", "chart", "document"]

WIDTH = 860
_LEFT = 130
_RIGHT = 120
_BAR = 18
_GAP = 6
_HEADING = 34
_TOP = 58
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 17px; font-weight: 600; }
.heading { font-weight: 600; }
.quiet { fill: #59636e; font-size: 12px; }
.page { fill: #ffffff; }
.bar { fill: #8c959f; }
.second { fill: #c8ced5; }
.subject { fill: #0969da; }
.subject.second { fill: #80b3f0; }
.spread { stroke: #1f2328; stroke-width: 1.2; }
.line { fill: none; stroke: #8c959f; stroke-width: 1.6; }
.line.subject { stroke: #0969da; fill: none; stroke-width: 2.4; }
.line.subject.second { stroke: #80b3f0; }
.limit { stroke: #1f2328; stroke-width: 1; stroke-dasharray: 2 4; }
.axis { stroke: #d1d9e0; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .quiet { fill: #9198a1; }
  .page { fill: #0d1117; }
  .bar { fill: #656c76; }
  .second { fill: #3d444d; }
  .subject { fill: #4493f8; }
  .subject.second { fill: #1f4f93; }
  .spread { stroke: #f0f6fc; }
  .line { stroke: #9198a1; }
  .line.subject { stroke: #4493f8; fill: none; }
  .line.subject.second { stroke: #1f6feb; fill: none; }
  .limit { stroke: #f0f6fc; }
  .axis { stroke: #3d444d; }
}
"""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One server."""

    label: str
    value: float
    lowest: float = 0.0
    highest: float = 0.0
    """The spread, drawn as a line; 0 and 0: none."""
    second: float = 0.0
    """A part that continues the bar in a paler colour."""
    subject: bool = False
    """Whether it is reserve."""

    @property
    def end(self) -> float:
        return max(self.value + self.second, self.highest)


@dataclass(frozen=True, kw_only=True)
class Group:
    """The bars of one workload, with a scale of their own."""

    heading: str
    bars: Sequence[Bar]


def chart(title: str, unit: str, groups: Sequence[Group]) -> str:
    """An SVG document with the groups, one below the other.

    :param unit: what the numbers are, said below the title.
    """
    parts: list[str] = []
    y = _TOP
    for group in groups:
        y += _HEADING - 12
        parts.append(f'<text class="heading" x="16" y="{y}">{escape(group.heading)}</text>')
        y += 12
        longest = max((bar.end for bar in group.bars), default=0.0)
        for bar in group.bars:
            parts.append(_drawn(bar, y, (WIDTH - _LEFT - _RIGHT) / longest if longest else 0.0))
            y += _BAR + _GAP
        y += _GAP
    height = y + 10
    described = "; ".join(
        f"{group.heading}: " + ", ".join(f"{bar.label} {number(bar.value + bar.second)}" for bar in group.bars)
        for group in groups
    )
    return document(title, unit, described, height, parts)


def document(title: str, unit: str, described: str, height: int, parts: Sequence[str]) -> str:
    """An SVG document with the title at the top, and the colours of the page on which it is.

    :param described: what the drawing says, for those who do not see it.
    :param parts: the elements below the title.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-labelledby="title description">\n'
        f'<title id="title">{escape(title)}</title>\n<desc id="description">{escape(described)}</desc>\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>\n'
        f'<text class="title" x="16" y="28">{escape(title)}</text>\n'
        f'<text class="quiet" x="16" y="48">{escape(unit)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _drawn(bar: Bar, y: int, scale: float) -> str:
    kind = "bar subject" if bar.subject else "bar"
    middle = y + _BAR / 2
    width, second = bar.value * scale, bar.second * scale
    drawn = [
        f'<text x="{_LEFT - 8}" y="{middle + 4.5:.1f}" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}"/>',
    ]
    if bar.second:
        drawn.append(
            f'<rect class="{kind} second" x="{_LEFT + width:.1f}" y="{y}" width="{second:.1f}" height="{_BAR}"/>'
        )
    if bar.highest > bar.lowest:
        ends = [_LEFT + value * scale for value in (bar.lowest, bar.highest)]
        drawn.append(f'<line class="spread" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{middle}" y2="{middle}"/>')
    text = number(bar.value + bar.second)
    if bar.second:
        text = f"{number(bar.value)} + {number(bar.second)}"
    end = _LEFT + bar.end * scale
    return "".join([*drawn, f'<text class="quiet" x="{end + 8:.1f}" y="{middle + 4:.1f}">{escape(text)}</text>'])
