"""What keys do to the view."""

from __future__ import annotations

from reserve.control.top.model import Sample, View, make_view
from reserve.control.top.state import SORTS, Action, Screen, State
from tests.control.top.documents import document, process, stats, worker

THREADS = (
    worker(10, "GET /b", 1.0, client="192.0.2.9:1"),
    worker(9, "POST /a", 9.0, client="192.0.2.8:1"),
    worker(2),
    worker(1, state="leading"),
)


def _view(*workers: object) -> View:
    return make_view(Sample.of(document(2e6, process(5, stats(workers=workers or THREADS))), 0.0))  # type: ignore[arg-type]


def _numbers(state: State, view: View) -> list[int]:
    return [int(thread.name.rpartition("-")[2]) for thread in state.threads(view)]


def test_what_takes_longest_comes_first_and_idle_threads_last() -> None:
    assert _numbers(State(), _view()) == [9, 10, 1, 2]


def test_stuck_threads_come_before_all_others() -> None:
    workers = worker(1, "GET /a", 99.0), worker(2, "GET /b", 2.0, state="stuck"), worker(3)
    assert _numbers(State(), _view(*workers)) == [2, 1, 3]


def test_s_goes_through_the_orders() -> None:
    state, view, seen = State(), _view(), []
    for _ in SORTS:
        seen.append((state.sort, _numbers(state, view)))
        state.press("s", view)
    assert state.sort == "time"
    assert dict(seen)["thread"] == [1, 2, 9, 10]
    assert dict(seen)["request"] == [10, 9, 1, 2]
    assert dict(seen)["client"] == [9, 10, 1, 2]
    assert dict(seen)["process"] == [9, 10, 1, 2]
    assert len(seen) == 6


def test_a_filter_is_typed_and_kept_or_dropped() -> None:
    state, view = State(), _view()
    for key in ("/", "P", "o", "x", "backspace", "s", "t"):
        assert state.press(key, view) is None
    assert state.typed == "Post"
    assert _numbers(state, view) == [9]  # while it is typed
    state.press("enter", view)
    assert (state.filter, state.typed) == ("Post", None)
    for key in ("/", "clear", "q", "escape"):
        state.press(key, view)
    assert state.filter == "Post"
    state.press("escape", view)
    assert state.filter == ""


def test_every_word_of_a_filter_has_to_be_there() -> None:
    assert _numbers(State(filter="192.0.2.9 get"), _view()) == [10]
    assert _numbers(State(filter="192.0.2.9 post"), _view()) == []


def test_the_selection_stays_with_its_thread() -> None:
    state, view = State(), _view()
    state.press("j", view)
    assert state.selected(state.threads(view)) == 1
    later = _view(worker(10, "GET /b", 20.0), worker(9, "POST /a", 10.0), worker(2))
    assert state.selected(state.threads(later)) == 0
    without = _view(worker(9, "POST /a", 10.0), worker(2))
    assert state.selected(state.threads(without)) == 0
    assert state.selected([]) == -1


def test_keys_that_move_stop_at_the_ends() -> None:
    state, view = State(page=2), _view()
    for key, expected in (("up", 0), ("end", 3), ("down", 3), ("page up", 1), ("k", 0), ("G", 3), ("g", 0)):
        state.press(key, view)
        assert state.selected(state.threads(view)) == expected, key


def test_t_and_enter_ask_for_the_stack_of_the_selected_thread() -> None:
    for key in ("t", "enter"):
        state, view = State(), _view()
        state.press("down", view)
        assert state.press(key, view) is Action.STACK
        assert state.stack is not None
        assert (state.screen, state.stack.thread.name) == (Screen.STACK, "reserve-worker-10")
        state.press("down", view)
        assert state.scroll == 1
        assert state.press("r", view) is Action.STACK
        assert state.press("q", view) is None
        assert state.screen is Screen.LIVE


def test_there_is_no_stack_without_a_thread() -> None:
    state = State(filter="nothing has this")
    assert state.press("t", _view()) is None
    assert state.press("t", None) is None
    assert state.screen is Screen.LIVE


def test_other_keys() -> None:
    state, view = State(), _view()
    state.press("p", view)
    state.press("1", view)
    state.press("h", view)
    assert (state.is_paused, state.shows_processes, state.screen) == (True, False, Screen.HELP)
    state.press("x", view)
    assert state.screen is Screen.LIVE
    assert state.press("q", view) is Action.QUIT
