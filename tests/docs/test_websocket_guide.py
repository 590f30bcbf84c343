"""The examples of the WebSocket guide run, section by section; its tables have every option and every method."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.options.table import OPTIONS
from tests.apps.websocket.client import client
from tests.apps.websocket.test_served import serving
from tests.extras import library
from tests.waiting import eventually

library("websockets")
library("flask_sock")

from reserve.apps.websocket.websocket import WebSocket  # noqa: E402

GUIDE = Path(reserve.__file__).parent / "docs" / "websocket.md"
TEXT = GUIDE.read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(names: dict[str, Any], title: str) -> int:
    """Run the blocks of one section, as if a user typed one after another; returns how many there are."""
    part = SECTIONS[title]
    count = 0
    for count, match in enumerate(BLOCK.finditer(part), 1):  # noqa: B007
        line = TEXT[: TEXT.index(part) + match.start(1)].count("\n")
        exec(compile("\n" * line + match[1], str(GUIDE), "exec"), names)
    return count


def test_the_examples_run() -> None:
    """Later sections use names of the first one."""
    names: dict[str, Any] = {"__name__": "websocket_guide"}
    assert sum(run(names, title) for title in SECTIONS) == TEXT.count("```python") == 9


def test_a_client_that_does_not_read_closes_nobody_else_in_the_example() -> None:
    """One sender fills what may wait for it; the sender is not the one who pays."""
    names: dict[str, Any] = {"__name__": "websocket_guide"}
    match = BLOCK.search(TEXT)
    assert match is not None
    exec(compile(match[1], str(GUIDE), "exec"), names)
    chat = names["Chat"]

    class Sender(chat):  # type: ignore[misc]
        def on_message(self, ws: Any, message: str) -> None:
            super().on_message(ws, message * 100000)

    with serving(Sender, max_output=300000) as server, client(server) as silent, client(server) as ann:
        silent.open()
        ann.open()
        eventually(lambda: len(chat.everyone) == 2)
        for _ in range(200):
            ann.send("*")
            assert ann.recv() == "*" * 100000
        eventually(lambda: len([ws for ws in chat.everyone if ws.is_open]) == 1)


def test_every_option_of_websocket_is_in_the_guide() -> None:
    for option in OPTIONS:
        if option.name.startswith("ws-"):
            assert option.flag in TEXT or f"--no-{option.name}" in TEXT


@pytest.mark.parametrize("name", [name for name in vars(WebSocket) if not name.startswith("_")])
def test_every_public_name_is_in_the_table(name: str) -> None:
    if name != "server":
        assert re.search(rf"`ws\.{name}\b", SECTIONS["What a handler can do"])
