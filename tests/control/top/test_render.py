"""What stands on the screen, at every size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.control.top.cells import width_of
from reserve.control.top.model import History, Sample, View, make_view
from reserve.control.top.render import page, screen
from reserve.control.top.state import Screen, Stack, State
from reserve.control.top.table import Look, Style, text_of
from tests.control.top.documents import document, histogram, process, stats, supervisor, worker

HOSTILE = "GET /\x1b[2J\x1b]0;x\x07\u4e2d\u6587\u202e" + "a" * 300
WIDE = Look(120)
STANDARD = Look(80)


def _view(*processes: dict[str, Any], **fields: Any) -> View:
    history = History()
    taken = stats(
        100.0,
        workers=[
            worker(1, HOSTILE, 45.0),
            worker(2, "GET /b", 6.0),
            worker(3, "GET /c", 0.1, state="stuck"),
            worker(4),
        ],
        responses=[["GET", 200, 50]],
        duration=histogram(0, 40, 10),
    )
    requests = {**taken["requests"], "responses": [["GET", 200, 90]], "duration": histogram(0, 80, 20)}
    later = {**taken, "uptime": 102.0, "requests": requests}
    history.add(Sample.of(document(2e6, *(processes or [process(taken=taken)]), **fields), 0.0))
    return history.add(Sample.of(document(2e6 + 2, *(processes or [process(taken=later)]), **fields), 2.0))


def _text(
    view: View | None, state: State | None = None, look: Look = STANDARD, lines: int = 24, problem: str = ""
) -> str:
    shown = screen(view, state or State(), look, lines, problem=problem)
    assert len(shown) == lines
    return "\n".join(text_of(line).rstrip() for line in shown)


def _style(view: View, words: str, look: Look = STANDARD, **options: Any) -> Style:
    """Of the piece of text with these words."""
    shown = screen(view, State(), look, 24, **options)
    return next(style for line in shown for text, style in line if words in text)


def test_everything_is_on_a_screen_of_80_by_24() -> None:
    text = _text(_view())
    assert "healthy" in text
    assert "requests 20.0/s" in text
    assert "latency 1ms \u2581\u2588\u2583" in text
    assert "p50 1.9ms" in text
    assert "refused overload 0" in text
    assert "backlog 127.0.0.1:8000 0 of 128" in text
    rows = text.split("\n")
    first = next(index for index, row in enumerate(rows) if "SINCE" in row) + 2  # the first is stuck
    assert rows[first].split()[:3] == ["45s", "running", "100"]
    assert "GET /\\x1b[2J\\x1b]0;x\\x07\u4e2d\u6587\\u202" in rows[first]
    assert rows[first].endswith("\u2026")
    assert "not shown" not in text


def test_a_run_is_marked_by_how_long_it_takes() -> None:
    view = _view()
    shown = screen(view, State(), STANDARD, 24)
    rows = [(text_of(line).split(), line[0][1]) for line in shown if "worker-" in text_of(line)]
    styles = {word: style for words, style in rows for word in words if word.startswith("worker-")}
    assert styles["worker-3"] is Style.SELECTED_BAD
    assert styles["worker-1"] is Style.BAD
    assert styles["worker-2"] is Style.WARNING
    assert styles["worker-4"] is Style.DIM


def test_a_process_that_does_not_respond_is_red() -> None:
    silent = process(11, stats(workers=[worker(1, "GET /x", 3.0)]), age=7.0, responding=False)
    view = _view(process(10), silent, supervisor=supervisor())
    assert _style(view, "not responding for 7s") is Style.BAD
    assert _style(view, "NOT HEALTHY") is Style.BAD
    assert "processes 2 of 2" in _text(view)
    assert "running?" in _text(view)


def test_with_many_processes_those_that_do_not_respond_are_shown() -> None:
    many = [process(number, responding=number != 30) for number in range(1, 33)]
    text = _text(_view(*many, supervisor=supervisor(wanted=32)))
    assert "   30   1 not responding" in text
    assert "and 27 more processes" in text


def test_processes_can_be_hidden() -> None:
    assert "MEMORY" not in _text(_view(), State(shows_processes=False))


@pytest.mark.parametrize(("columns", "lines"), [(80, 12), (40, 12), (30, 8), (12, 3)])
def test_a_small_screen_says_what_it_leaves_out(columns: int, lines: int) -> None:
    text = _text(_view(), look=Look(columns), lines=lines)
    assert "not shown:"[: columns - 1] in text.split("\n")[-1]


def test_the_threads_have_room_before_the_rest() -> None:
    text = _text(_view(), lines=8)
    assert "GET /b" in text
    assert "backlog" not in text.split("\n")[1]


def test_a_very_small_screen_says_so() -> None:
    assert _text(_view(), look=Look(11), lines=2).startswith("too small")


def test_the_selected_thread_is_always_on_the_screen() -> None:
    workers = [worker(number, "GET /", 1000.0 - number) for number in range(200)]
    view = _view(process(taken=stats(workers=workers)))
    state = State()
    _text(view, state)
    for key in ("end", "page up", "down", "home"):
        state.press(key, view)
        shown = screen(view, state, STANDARD, 24)
        assert any("SELECTED" in line[0][1].name for line in shown), key
    state.press("end", view)
    assert "worker-199" in _text(view, state)
    assert "threads" in _text(view, state).split("\n")[-1]


def test_a_lost_connection_is_shown_over_the_last_numbers() -> None:
    text = _text(_view(), problem="the server at /run/x has ended")
    assert "NO RESPONSE" in text
    assert "the last known numbers; the server at /run/x has ended" in text
    assert "GET /b" in text
    assert "cannot be reached" in _text(None, problem="cannot be reached")
    assert "waiting for the server" in _text(None)


def test_a_pause_and_a_filter_are_shown() -> None:
    assert "PAUSED" in _text(_view(), State(is_paused=True))
    assert "/ filter:abc" in _text(_view(), State(filter="abc"))
    assert "no thread passes the filter" in _text(_view(), State(filter="abc"))
    assert _text(_view(), State(typed="a\x1bb")).endswith("filter: a\\x1bb_")


def test_unknown_numbers_are_not_zero() -> None:
    one = document(2e6, process(taken=stats(rss=0, listeners=[{"address": "a", "backlog": -1, "backlog_limit": -1}])))
    text = _text(make_view(Sample.of(one, 0.0)))
    assert "requests -/s" in text
    assert "backlog a unknown" in text
    assert "p50 -" in text


def test_a_quantile_beyond_the_last_bucket_is_not_invented() -> None:
    slow = histogram(*[0] * 14, 5)
    assert "p50 >30.0s" in _text(make_view(Sample.of(document(2e6, process(taken=stats(duration=slow))), 0.0)))


def test_a_stack_is_wrapped_and_scrolled() -> None:
    view = _view()
    thread = view.threads[1]
    lines = ("f  in " + "/long" * 30, *[f"line {number}" for number in range(40)], "last\x1b[2J")
    state = State(screen=Screen.STACK, stack=Stack(thread, lines))
    text = _text(view, state)
    assert text.startswith("reserve-worker-2 of process 100: GET /b for 6s")
    assert "/long" * 30 in text.replace("\n", "")
    assert "more lines" in text
    state.scroll = 1000
    assert "last\\x1b[2J" in _text(view, state)
    assert "asking the server" in _text(view, State(screen=Screen.STACK, stack=Stack(thread)))
    refused = Stack(thread, error="process 100 does not respond")
    assert "process 100 does not respond" in _text(view, State(screen=Screen.STACK, stack=refused))


def test_the_help_fits_80_by_24() -> None:
    text = _text(None, State(screen=Screen.HELP))
    assert "\u2026" not in text
    assert "Any key goes back." in text
    assert "too small for the rest" in _text(None, State(screen=Screen.HELP), lines=10)


def test_a_page_has_everything_and_no_escapes() -> None:
    workers = [worker(number, HOSTILE, float(number)) for number in range(100)]
    text = page(_view(process(taken=stats(workers=workers))), State(), Look(80, unicode=False))
    assert text.count("worker-") == 100
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert all(line == line.rstrip() and len(line) <= 80 for line in text.split("\n"))


@given(
    st.integers(1, 150),
    st.integers(1, 50),
    st.sampled_from(list(Screen)),
    st.booleans(),
    st.text(max_size=20),
    st.booleans(),
)
def test_every_line_has_the_width_of_the_screen(
    columns: int, lines: int, which: Screen, unicode: bool, text: str, connected: bool
) -> None:
    view = _view(process(taken=stats(workers=[worker(1, text, 2.0, client=text, name=text, state=text)])))
    stack = Stack(view.threads[0], (text, "    " + text))
    state = State(screen=which, stack=stack, filter=text if text and text.casefold() in text else "")
    shown = screen(view, state, Look(columns, unicode=unicode), lines, problem="" if connected else text)
    assert len(shown) == lines
    for line in shown:
        assert width_of(text_of(line)) == columns
        assert text_of(line).isprintable()
        assert unicode or text_of(line).isascii()
