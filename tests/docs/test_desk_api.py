"""The reference page of desk is what its docstrings say."""

from __future__ import annotations

import re
from pathlib import Path

import reserve
from tests.extras import library

for name in ("itsdangerous", "markupsafe", "python_multipart"):
    library(name)

from tests.deskapi import GROUPS, page  # noqa: E402

PAGE = Path(reserve.__file__).parent / "docs" / "desk-api.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python -m tests.deskapi > reserve/docs/desk-api.md"


def test_every_public_name_is_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    missing = [
        name
        for names in GROUPS.values()
        for name, _ in names
        if f"### {name}\n" not in text and f"`{name}`" not in text
    ]
    assert [name for name in missing if name not in ("forms", "implementation")] == []


def test_every_link_leads_to_a_heading() -> None:
    text = PAGE.read_text("utf-8")
    anchors = {heading.lower() for heading in re.findall(r"^### (\w+)$", text, re.M)}
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= anchors
