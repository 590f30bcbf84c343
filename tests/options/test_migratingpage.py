"""The page about other servers is made from the table, and knows the options of the servers that are installed here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cheroot.cli
import pytest

import reserve
from reserve.cli.config.migrate import migrate
from reserve.options.migratingpage import SERVERS, migrating_page

PAGE = Path(reserve.__file__).parent / "docs" / "migrating.md"


def test_the_committed_page_is_up_to_date() -> None:
    run = "run: python -m reserve.options migrating > reserve/docs/migrating.md"
    assert PAGE.read_text("utf-8") == migrating_page(), run


def test_every_option_is_listed_once_and_every_row_says_something() -> None:
    for names in SERVERS.values():
        assert len(names.split()) == len(set(names.split()))
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", migrating_page(), re.MULTILINE)
    assert len(rows) == sum(len(names.split()) for names in SERVERS.values())
    assert all(text.strip() for _, text in rows)


def test_the_options_of_cheroot_are_complete() -> None:
    flags = {name.removeprefix("--") for name in cheroot.cli._arg_spec if name.startswith("--")}
    assert set(SERVERS["cheroot"].split()) == flags


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi", "waitress", "cheroot", "granian"])
def test_migrate_knows_every_option_of_the_page(server: str) -> None:
    program = "waitress-serve" if server == "waitress" else server
    for name in SERVERS[server].split():
        if server == "gunicorn" and name.startswith("wsgi_app"):
            continue
        text = migrate([program, "--" + name.replace("_", "-"), "1"], "/nonexistent")
        assert "does not know it" not in text or "_" in name, name


def test_the_commands_of_the_page_are_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("threads = 4\n")
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nthreads = 4\n")
    (block,) = re.findall(r"^```sh\n(.*?)^```$", migrating_page(), re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line.partition(" > ")[0]) for line in block.splitlines()]
    assert [words[:2] for words in lines] == [["reserve", "migrate"]] * 3 + [["reserve", "check-config"]]
    for words in lines[:3]:
        assert "[server]" in migrate(words[2:], str(tmp_path))
