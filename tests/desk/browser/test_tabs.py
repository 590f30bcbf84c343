"""``reserve.desk.browser.tabs``: when the last tab is closed, by a fake clock."""

from __future__ import annotations

import threading

import pytest

from reserve.desk.browser.tabs import ASLEEP, GRACE, OPENING, RETURN, SILENCE, TabEnd, TabWatch
from reserve.testing import FakeClock
from tests.waiting import PATIENCE

DAY = 1_800_000_000.0


class Room:
    """A watch, its clock, and its ticks."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.watch = TabWatch(self.clock.now, lambda: DAY + self.clock.now())
        self.words = 0

    def ends_within(self, seconds: float) -> bool:
        """Let time pass, with a tick in each second, to the end of the program or of the time."""
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            if self.watch.tick():
                return True
        return False

    def open(self, page: str, tab: str = "t", *, visible: bool = True) -> None:
        self.words += 1
        said_at = DAY + self.clock.now()
        self.watch.page_opened(page, tab, visible=visible, number=self.words, said_at=said_at)

    def gone(self, page: str, *, cached: bool = False) -> None:
        self.words += 1
        self.watch.page_gone(page, cached=cached, left_at=DAY + self.clock.now(), number=self.words)

    def send_page(self) -> None:
        self.watch.request_started()
        self.watch.page_sent()
        self.watch.request_ended(is_page=True)


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_program_without_a_tab_does_not_end(room: Room) -> None:
    room.send_page()
    assert not room.ends_within(2 * ASLEEP)


def test_the_last_tab_ends_the_program(room: Room) -> None:
    room.send_page()
    room.open("a")
    assert not room.ends_within(SILENCE)
    room.gone("a")
    assert not room.ends_within(GRACE - 1)
    assert room.ends_within(2)


def test_a_second_window_keeps_it(room: Room) -> None:
    room.open("a", "t1")
    room.open("b", "t2")
    room.gone("a")
    assert not room.ends_within(100)
    room.gone("b")
    assert room.ends_within(GRACE + 1)


@pytest.mark.parametrize("new_page_first", [False, True])
def test_a_reload_and_a_link_keep_it(room: Room, new_page_first: bool) -> None:
    room.open("a")
    for old, new in [("a", "b"), ("b", "c"), ("c", "d")]:
        room.send_page()
        if new_page_first:  # the requests come by two connections
            room.open(new)
            room.gone(old)
        else:
            room.gone(old)
            assert not room.ends_within(30)
            room.open(new)
        assert not room.ends_within(100)
        room.open(new)
    room.gone("d")
    assert room.ends_within(GRACE + 1)


def test_a_page_of_the_cache_appears_without_a_request(room: Room) -> None:
    room.open("a")
    room.send_page()
    room.gone("a", cached=True)
    room.open("b")
    room.gone("b", cached=False)
    assert not room.ends_within(GRACE - 1)
    room.open("a")
    assert not room.ends_within(100)
    room.gone("a")
    assert room.ends_within(GRACE + 1)


def test_a_visit_to_another_site_can_come_back(room: Room) -> None:
    room.open("a")
    room.gone("a", cached=True)
    assert not room.ends_within(RETURN - 1)
    room.open("a")
    room.gone("a", cached=True)
    assert room.ends_within(RETURN + GRACE + 2)


def test_a_page_without_the_script_keeps_it(room: Room) -> None:
    room.open("a")
    room.send_page()  # a picture, or a page whose policy forbids scripts
    room.gone("a")
    assert not room.ends_within(ASLEEP - 1)
    room.open("b")  # the visitor comes back, and closes the tab
    room.gone("b")
    assert room.ends_within(GRACE + 1)


@pytest.mark.parametrize("new_page_first", [False, True])
def test_the_cache_of_a_tab_is_closed_with_it(room: Room, new_page_first: bool) -> None:
    room.open("a")
    room.send_page()
    room.gone("a", cached=True)
    room.open("b")
    if new_page_first:  # with the Back button
        room.open("a")
        room.gone("b", cached=True)
    else:
        room.gone("b", cached=True)
        room.open("a")
    room.gone("a")
    assert room.ends_within(GRACE + 1)


def test_links_that_the_visitor_has_not_waited_for_keep_nothing(room: Room) -> None:
    room.open("a")
    for _ in range(5):
        room.send_page()
    room.gone("a")
    room.open("b")
    room.gone("b")
    assert room.ends_within(GRACE + 1)


def test_a_word_that_is_slower_than_the_next_link_does_not_hide_it(room: Room) -> None:
    room.open("a")
    said_at = DAY + room.clock.now()
    room.clock.advance(1.0)
    room.send_page()  # a picture
    room.watch.page_opened("b", "t", visible=True, number=1, said_at=said_at)
    room.watch.page_gone("b", number=2, left_at=DAY + room.clock.now())
    assert not room.ends_within(100)


def test_a_link_into_a_new_tab_lets_the_old_one_close(room: Room) -> None:
    room.open("a", "t1")
    room.send_page()
    room.open("b", "t2")
    room.gone("a")
    room.gone("b")
    assert room.ends_within(GRACE + 1)


def test_a_tab_that_was_closed_while_its_next_page_was_made_is_closed(room: Room) -> None:
    room.open("a")
    room.watch.request_started()
    left_at = DAY + room.clock.now()
    assert not room.ends_within(500)  # the handler is slow, and the word of the page waits
    room.open("a")
    room.watch.page_sent()
    room.watch.request_ended(is_page=True)
    room.watch.page_gone("a", left_at=left_at, number=9)
    assert room.ends_within(GRACE + 1)


def test_a_request_that_runs_keeps_it(room: Room) -> None:
    room.open("a")
    room.watch.request_started()
    room.gone("a")
    assert not room.ends_within(2 * ASLEEP)
    room.watch.request_ended()
    assert room.ends_within(GRACE + 1)


def test_a_browser_that_crashes_ends_it(room: Room) -> None:
    room.open("a")
    assert not room.ends_within(SILENCE)
    assert room.ends_within(GRACE + 2)


@pytest.mark.parametrize("between", [60, 75, 170])
def test_throttled_timers_keep_it(room: Room, between: int) -> None:
    for _ in range(20):
        room.open("a")
        assert not room.ends_within(between)


def test_a_browser_that_hides_its_pages_at_its_end_ends_it(room: Room) -> None:
    room.open("a")
    room.open("a", visible=False)
    assert not room.ends_within(SILENCE)
    assert room.ends_within(GRACE + 2)


def test_a_frozen_tab_keeps_it(room: Room) -> None:
    room.open("a")
    room.open("a", visible=False)
    for _ in range(5):
        assert not room.ends_within(60)
        room.open("a", visible=False)
    assert not room.ends_within(ASLEEP)
    room.open("a")
    room.gone("a")
    assert room.ends_within(GRACE + 1)


def test_a_clock_that_jumps_over_the_sleep_of_the_machine_ends_nothing(room: Room) -> None:
    room.open("a")
    for _ in range(10):
        assert not room.ends_within(60)
        room.clock.advance(8 * 3600)
        assert not room.watch.tick()
        assert not room.ends_within(100)
        room.open("a")
    room.gone("a")
    assert room.ends_within(GRACE + 1)


def test_a_clock_that_stands_still_ends_nothing(room: Room) -> None:
    room.open("a")
    room.gone("a")
    assert not any(room.watch.tick() for _ in range(1000))


def test_a_second_start_has_time_to_open_its_page(room: Room) -> None:
    room.open("a")
    room.gone("a")
    room.watch.expect_page()
    assert not room.ends_within(OPENING - 1)
    room.send_page()
    room.open("b")
    assert not room.ends_within(100)


def test_a_word_that_comes_late_or_twice_changes_nothing(room: Room) -> None:
    room.open("a")
    room.gone("b")
    room.gone("a")
    room.gone("a")
    assert room.ends_within(GRACE + 1)


def test_the_word_before_the_last_can_be_slower(room: Room) -> None:
    room.open("a")
    room.watch.page_gone("a", number=9)
    room.watch.page_opened("a", "t", visible=False, number=8, said_at=DAY)
    assert room.ends_within(GRACE + 1)
    room.watch.page_opened("a", "t", visible=True, number=10, said_at=DAY)  # it comes back from the cache
    assert not room.ends_within(GRACE + 1)


def test_the_thread_calls_once() -> None:
    class Watch(TabWatch):
        def tick(self) -> bool:
            return True

    called: list[str] = []
    done = threading.Event()

    def end() -> None:
        called.append(threading.current_thread().name)
        tab_end.stop()
        done.set()

    tab_end = TabEnd(Watch(), end)
    tab_end.start()
    assert done.wait(PATIENCE)
    tab_end.stop()
    assert called == ["reserve-desk-tabs"]


def test_the_thread_stops_before_the_last_tab() -> None:
    tab_end = TabEnd(TabWatch(), lambda: pytest.fail("there was no tab"))
    tab_end.start()
    tab_end.stop()
    TabEnd(TabWatch(), lambda: None).stop()  # it has not been started
