"""The programs of the guide to desk run, section by section; its links, commands and pictures exist."""

from __future__ import annotations

import contextlib
import re
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.cli.parser import app_arguments, parse_command_line
from reserve.loader.find import application_names
from reserve.options.sources import collect
from tests.extras import library

for name in ("itsdangerous", "markupsafe", "python_multipart"):
    library(name)

GUIDE = Path(reserve.__file__).parent / "docs" / "desk.md"
TEXT = GUIDE.read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_program_belongs_to_a_section() -> None:
    assert TEXT.count("```python") == sum(len(BLOCK.findall(part)) for part in SECTIONS.values()) >= 20


@pytest.mark.parametrize("title", [title for title, part in SECTIONS.items() if BLOCK.search(part)])
def test_the_programs_run(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of one section share their global names, as if a user typed one after another."""
    from reserve.desk import Template

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Template, "REGISTRY", dict(Template.REGISTRY))  # a program adds to it
    part = SECTIONS[title]
    assert any("assert" in block for block in BLOCK.findall(part))
    names: dict[str, Any] = {"__name__": "desk_guide"}
    connect = sqlite3.connect
    with contextlib.ExitStack() as stack:
        monkeypatch.setattr(sqlite3, "connect", lambda path: stack.enter_context(contextlib.closing(connect(path))))
        for match in BLOCK.finditer(part):
            line = TEXT[: TEXT.index(part) + match.start(1)].count("\n")
            exec(compile("\n" * line + match[1], str(GUIDE), "exec"), names)


def test_the_first_program_serves_its_router(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[object] = []
    monkeypatch.setattr("reserve.desk.serve_http", served.append)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(BLOCK.findall(SECTIONS["The first page"])[0], names)
    assert served == [names["app"]]


def test_the_table_of_contents_has_every_section() -> None:
    links = re.findall(r"\]\(#([^)]+)\)", TEXT.partition("\n## ")[0])
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in SECTIONS]
    assert links == anchors


def test_its_pages_and_pictures_exist() -> None:
    names = re.findall(r"\]\(([\w-]+\.(?:md|png|webp))\)", TEXT)
    assert "desk-api.md" in names
    for name in names:
        assert GUIDE.with_name(name).is_file(), name
    pictures = [GUIDE.with_name(name) for name in names if not name.endswith(".md")]
    assert len(pictures) >= 3
    assert {path.name for path in pictures if path.stat().st_size > 150 * 1024} == set()


def test_the_commands_of_the_guide_are_valid() -> None:
    lines = re.findall(r"`(reserve app [^`]+)`", TEXT)
    lines += re.findall(r"^    (reserve app .*)", TEXT, re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        command = parse_command_line(shlex.split(line)[1:])
        name, _ = app_arguments(command)
        assert name in application_names()
        collect(command.given, {}, "/")
