"""The diagrams of the architecture page agree with the tables in the code."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "reserve" / "docs" / "architecture.md").read_text("utf-8")
DIAGRAM = re.compile(r"<!-- \w+: (\S+) -->\n```mermaid\nstateDiagram-v2\n(.*?)```", re.DOTALL)
ARROW = re.compile(r"^    (\w+) --> (\w+)$", re.MULTILINE)


def test_both_diagrams_are_there() -> None:
    assert [module for module, _ in DIAGRAM.findall(PAGE)] == [
        "reserve.engine.connections.states",
        "reserve.apps.http.phases",
    ]
    assert PAGE.count("```mermaid") == 2


@pytest.mark.parametrize(("module", "diagram"), DIAGRAM.findall(PAGE))
def test_a_diagram_has_the_transitions_of_the_table(module: str, diagram: str) -> None:
    drawn = ARROW.findall(diagram)
    assert len(drawn) == len(diagram.splitlines())
    table = import_module(module).TRANSITIONS
    assert drawn == [(state.name, then.name) for state in table for then in sorted(table[state])]
