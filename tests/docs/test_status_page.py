"""The page about the status page is right: its options, the values of ``--status-allow``, its parts, its pictures."""

from __future__ import annotations

import re
from pathlib import Path

import reserve
from reserve.control.page.html import page
from reserve.control.page.view import make_view
from reserve.options.table import FLAGS
from reserve.sockets.allowedclients import is_list_of_clients
from tests.control.page.documents import document

DOCS = Path(reserve.__file__).parent / "docs"
TEXT = (DOCS / "status.md").read_text("utf-8")


def test_its_options_exist() -> None:
    of_commands = {"--json"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) - of_commands <= set(FLAGS)


def test_the_values_in_its_table_are_lists_of_clients() -> None:
    table = TEXT.split("| `--status-allow` | who |")[1].split("\n\n")[0]
    values = [value for row in table.splitlines()[2:] for value in re.findall("`([^`]+)`", row.split("|")[1])]
    assert {"loopback", "unix", "any"} <= set(values)
    assert all(is_list_of_clients(value) for value in values)


def test_the_parts_that_it_describes_are_on_the_page() -> None:
    parts = re.findall(r"^\| ([A-Z][a-z ]+) \| ", TEXT.split("## What it shows")[1], re.MULTILINE)
    assert parts[0] == "The first line"
    shown = page(make_view(document())).decode()
    for part in parts[1:]:
        assert f">{part}</h2>" in shown


def test_its_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", TEXT)
    assert len(pictures) == 3
    assert all((DOCS / picture).is_file() for picture in pictures)
