"""The table of what several threads use without the GIL: each row names code and tests that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.test_names import CLASS, FILE, METHOD, defined, resolves

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "reserve" / "docs" / "architecture.md").read_text("utf-8")
SECTION = PAGE.partition("## Without the GIL\n")[2].partition("\n## ")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines() if line[:3] == "| `"]
ROWS += [[cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines() if line[:6] == "| the "]


names_of_classes = cache(defined)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_each_row_names_code_and_tests_that_exist(row: list[str]) -> None:
    place, leans_on, right, tests = row
    classes = names_of_classes()
    named = re.findall(r"`([^`]+)`", place)
    assert named
    for name in named:
        method = METHOD.match(name)
        assert (
            (FILE.match(name) and (ROOT / name).exists())
            or resolves(name)
            or (method and method[2] in classes.get(method[1], set()))
            or (CLASS.match(name) and name in classes)
        ), name
    assert leans_on
    assert right
    files = re.findall(r"`([^`]+)`", tests)
    assert files
    assert all((ROOT / file).is_file() and "def test_" in (ROOT / file).read_text("utf-8") for file in files), files


def test_every_place_that_passes_a_lock_is_in_the_table() -> None:
    """A module that calls ``pass_lock`` has a class or a method in a row."""
    assert len(ROWS) > 15
    for path in (ROOT / "reserve").rglob("*.py"):
        text = path.read_text("utf-8")
        if "pass_lock(" in text and path.name != "token.py":
            names = re.findall(r"^class (\w+)", text, re.M)
            assert any(f"`{name}." in SECTION for name in names), path
