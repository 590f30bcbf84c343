"""Did you mean: the known name that a misspelt one resembles."""

from __future__ import annotations

import pytest

from reserve.suggest import nearest, suggestion

NAMES = ("threads", "backlog", "max_body")


@pytest.mark.parametrize(
    ("name", "expected"), [("thread", "threads"), ("max-body", "max_body"), ("backup", None), ("", None)]
)
def test_nearest_finds_a_misspelt_name(name: str, expected: str | None) -> None:
    assert nearest(name, NAMES) == expected


def test_a_suggestion_needs_less_similarity() -> None:
    assert nearest("backup", NAMES, similarity=0.6) == "backlog"
    assert suggestion("backup", NAMES) == "; did you mean 'backlog'?"
    assert suggestion("colour", NAMES) == ""
