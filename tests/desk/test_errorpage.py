"""What the page of an exception shows."""

from __future__ import annotations

import os
from typing import Any

from tests.extras import library

library("markupsafe")

from reserve.desk.content import flatten  # noqa: E402
from reserve.desk.errorpage import describe_trace  # noqa: E402
from reserve.desk.templates import Template  # noqa: E402


def caught(function: Any) -> dict[str, Any]:
    try:
        function()
    except Exception as error:
        return describe_trace(error, "program.page")
    raise AssertionError("nothing was raised")


def text(content: Any) -> str:
    return b"".join(flatten(content)).decode()


def test_the_lines_of_the_program_are_shown_and_marked() -> None:
    def fail() -> None:
        value = "<b>"
        raise ValueError(value)  # here

    shown = caught(fail)
    assert shown["error"] == "ValueError: <b>"
    assert "program.page" in shown["handler"]
    assert "Traceback (most recent call last)" in shown["trace"]
    frames = text(shown["frames"])
    assert "in <code>fail</code>" in frames
    assert frames.index("in <code>fail</code>") < frames.index("in <code>caught</code>")
    marked = frames[frames.index("<mark>") : frames.index("</mark>")]
    assert marked.endswith("raise ValueError(value)  # here")
    assert "value = &#34;&lt;b&gt;&#34;" in frames


def test_the_lines_of_desk_are_left_out() -> None:
    name = os.sep + "templates.py"
    shown = caught(lambda: Template("{x}")())
    assert name not in text(shown["frames"])
    assert name in shown["trace"]


def test_an_exception_that_cannot_be_shown() -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def fail() -> None:
        raise Bad

    assert caught(fail)["error"] == "Bad: (its text cannot be shown)"


def test_endless_recursion_is_cut() -> None:
    def one() -> None:
        two()

    def two() -> None:
        one()

    shown = caught(one)
    assert shown["error"].startswith("RecursionError")
    assert len(shown["trace"]) < 110_000
    assert text(shown["frames"]).count("<mark>") == 20


def test_a_long_message_is_cut() -> None:
    def fail() -> None:
        raise ValueError("<" * 1_000_000)

    shown = caught(fail)
    assert shown["error"].startswith("ValueError: <<<")
    assert len(shown["error"]) < 2100
    assert len(shown["trace"]) < 110_000
