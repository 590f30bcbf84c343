"""The examples of the handler guide run, section by section, and its table has the parameters of ``Park``."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve import Park

GUIDE = Path(reserve.__file__).parent / "docs" / "handlers.md"
TEXT = GUIDE.read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_example_belongs_to_a_section() -> None:
    assert len(SECTIONS) == 8
    assert TEXT.count("```python") == sum(len(BLOCK.findall(part)) for part in SECTIONS.values()) >= 15


@pytest.mark.parametrize("title", [title for title, part in SECTIONS.items() if BLOCK.search(part)])
def test_the_examples_run(title: str) -> None:
    """The blocks of one section share their global names, as if a user typed one after another."""
    part = SECTIONS[title]
    blocks = BLOCK.findall(part)
    assert any("running(handle, wsgi=False" in block and "assert" in block for block in blocks)
    names: dict[str, Any] = {"__name__": "handlers_guide"}
    for match in BLOCK.finditer(part):
        line = TEXT[: TEXT.index(part) + match.start(1)].count("\n")
        exec(compile("\n" * line + match[1], str(GUIDE), "exec"), names)


def test_the_table_has_every_parameter_of_park() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", SECTIONS["Park: waiting without a thread"], re.MULTILINE)
    assert rows == list(inspect.signature(Park).parameters)


def test_the_guide_has_every_reason_of_on_close() -> None:
    documented = set(re.findall(r'``"(\w+)"``', str(Park.__doc__))) - {"readable", "writable"}
    assert documented == {"done", "timeout", "error", "lost", "capacity", "stop"}
    for reason in documented:
        assert f'`"{reason}"`' in TEXT
