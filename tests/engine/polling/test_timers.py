"""The table of timers: which entries are due, and what it costs to find them."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from reserve.engine.polling.timers import NEVER, Timers


class Entry:
    def __init__(self) -> None:
        self.timer_at = NEVER


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "due"]), st.integers(0, 4), st.integers(0, 400))))
def test_timers_behave_like_a_dictionary_that_is_searched(steps: list[tuple[str, int, int]]) -> None:
    table, model, now = Timers(), dict[int, float](), 0.0
    entries: list[Any] = [Entry() for _ in range(5)]
    for step, number, amount in steps:
        if step == "add":
            at = now + amount / 7
            earliest, before = table.next_at, entries[number].timer_at
            first = table.schedule(entries[number], at)
            model[number] = entries[number].timer_at
            if entries[number].timer_at == before:  # scheduled early enough already: a later deadline changes nothing
                assert before < at + 0.0625
                assert not first
            else:
                assert at <= entries[number].timer_at < at + 0.0625
                assert entries[number].timer_at < before
                assert first == (entries[number].timer_at < earliest)
        elif step == "discard":
            table.discard(entries[number])
            model.pop(number, None)
        else:
            now += amount / 7
            late = {entries.index(entry) for entry in table.due(now)}
            assert late == {index for index, at in model.items() if at <= now}
            for index in late:
                del model[index]
        assert table.next_at <= min(model.values(), default=NEVER)
        for index, entry in enumerate(entries):
            assert entry.timer_at == model.get(index, NEVER)
    assert {entries.index(entry) for entry in table.due(now + 1000)} == set(model)
    assert table.next_at == NEVER
    assert not table._buckets
    assert not table._keys


def test_expiry_looks_only_at_entries_that_are_due() -> None:
    table = Timers()
    entries: list[Any] = [Entry() for _ in range(1000)]
    for number, entry in enumerate(entries):
        table.schedule(entry, float(number))
    assert table.due(1.0) == entries[:2]
    assert len(table._keys) == 998


def test_an_add_with_a_later_deadline_postpones_nothing() -> None:
    """The thread that adds has an old deadline: meanwhile the owner has parked its connection for an earlier time."""
    table, entry = Timers(), cast(Any, Entry())
    assert table.schedule(entry, 10.0)
    assert not table.schedule(entry, 20.0)
    assert (entry.timer_at, table.next_at) == (10.0, 10.0)
    assert table.due(10.0) == [entry]
    assert table.due(100.0) == []


def test_empty_buckets_do_not_accumulate() -> None:
    """Connections that are closed long before their deadlines, one in each bucket."""
    table, kept = Timers(), cast(Any, Entry())
    table.schedule(kept, 5.0)
    for number in range(10_000):
        entry = cast(Any, Entry())
        table.schedule(entry, 10.0 + number)
        table.discard(entry)
        assert len(table._buckets) == 1
        assert len(table._keys) <= 100
    assert table.due(4.0) == []
    assert table.due(5.0) == [kept]
    assert table.due(50_000.0) == []
    assert (len(table._keys), table.next_at) == (0, NEVER)


def test_removing_empty_buckets_keeps_the_others() -> None:
    table = Timers()
    entries = [cast(Any, Entry()) for _ in range(400)]
    for number, entry in enumerate(entries):
        table.schedule(entry, float(number))
    for entry in entries[:390]:
        table.discard(entry)
    assert table.due(389.0) == []
    assert [table.due(float(now)) for now in range(390, 400)] == [[entry] for entry in entries[390:]]
