"""What a terminal is sent."""

from __future__ import annotations

import pytest

from reserve.control.top.ansi import frame, has_colours, has_unicode
from reserve.control.top.table import Style

_FIRST = (("one", Style.PLAIN),)
_SECOND = (("two", Style.BAD), (" ", Style.PLAIN))


def test_only_lines_that_change_are_sent() -> None:
    text = frame([_FIRST, _SECOND], [_FIRST, _FIRST])
    assert text == "\x1b[2;1H\x1b[0m\x1b[2K\x1b[1;31mtwo\x1b[0m "
    assert frame([_FIRST, _SECOND], [_FIRST, _SECOND]) == ""


@pytest.mark.parametrize("before", [None, [_FIRST]])
def test_a_screen_of_unknown_content_or_another_size_is_cleared(before: list[object] | None) -> None:
    text = frame([_FIRST, _SECOND], before)  # type: ignore[arg-type]
    assert text.startswith("\x1b[0m\x1b[2J\x1b[1;1H")
    assert "one" in text
    assert "two" in text


def test_without_colours_there_is_none() -> None:
    assert "\x1b[1mtwo" in frame([_SECOND], None, colours=False)
    lines = [((style.name, style),) for style in Style]
    text = frame(lines, None, colours=False)
    assert not any(f"{number}m" in text for number in (*range(30, 38), *range(40, 48)))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "0"}, False)],
)
def test_no_color_is_obeyed(environ: dict[str, str], expected: bool) -> None:
    assert has_colours(environ) is expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "de_DE.utf8", "TERM": "xterm"}, True),
        ({"LANG": "de_DE.UTF-8", "TERM": "linux"}, False),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8", "LC_ALL": ""}, True),
    ],
)
def test_the_locale_says_whether_there_is_unicode(environ: dict[str, str], expected: bool) -> None:
    assert has_unicode(environ) is expected
