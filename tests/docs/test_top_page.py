"""The page about ``reserve top`` names every key, option and order that there is, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reserve
from reserve.control.top.arguments import parse
from reserve.control.top.model import Sample, make_view
from reserve.control.top.render import screen
from reserve.control.top.state import SORTS, Screen, State
from reserve.control.top.table import Look, text_of
from reserve.errors import UsageError
from tests.control.top.documents import document, process, stats, worker

TEXT = (Path(reserve.__file__).parent / "docs" / "top.md").read_text("utf-8")
OPTIONS = TEXT.partition("## Options")[2].partition("## ")[0]
KEYS = TEXT.partition("## Keys")[2].partition("## ")[0]


def test_every_option_is_on_the_page() -> None:
    with pytest.raises(UsageError) as caught:
        parse(["nonsense"])
    flags = set(re.findall(r"--[a-z]+", str(caught.value)))
    assert flags == {"--interval", "--sort", "--filter", "--once", "--json", "--control"}
    assert flags == set(re.findall(r"`(--[a-z]+)", OPTIONS)) | {"--json"}


def test_every_order_is_on_the_page_and_in_the_help() -> None:
    listed = re.search(r"the order to begin with: (.*) \|", OPTIONS)
    assert listed is not None
    assert re.findall(r"`(\w+)`", listed[1]) == list(SORTS)
    shown = "\n".join(text_of(line) for line in screen(None, State(screen=Screen.HELP), Look(80), 24))
    assert f"sort by the next of {', '.join(SORTS)}" in re.sub(r"\s+", " ", shown)


@pytest.mark.parametrize("key", re.findall(r"`([^`])`", KEYS))
def test_every_key_on_the_page_does_something(key: str) -> None:
    view = make_view(Sample.of(document(2e6, process(taken=stats(workers=[worker(1, "GET /"), worker(2)]))), 0.0))

    def effects(state: State) -> tuple[object, ...]:
        return state.press(key, view), state, state.selected(state.threads(view))

    changed = False
    for prepare in ((), ("j",), ("t",)):
        states = State(), State()
        for name in prepare:
            for state in states:
                state.press(name, view)
        action, after, selected = effects(states[0])
        before = states[1]
        changed |= action is not None or after != before or selected != before.selected(before.threads(view))
    assert changed
