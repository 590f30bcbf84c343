"""The help and the reference page, made from the table of options."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import reserve
from reserve.apps.desk import ARGUMENTS as DESK
from reserve.apps.http import ARGUMENTS
from reserve.cli.parser import app_arguments, parse_command_line
from reserve.loader.find import application_names
from reserve.loader.importer import parse_target
from reserve.options.help import help_text, reference_page, short_help
from reserve.options.sources import collect
from reserve.options.table import FLAGS, OPTIONS
from reserve.paramtypes import Choice
from tests.waiting import PATIENCE

Help = Callable[[str, tuple[str, ...], str, int], str]
NAMES = tuple(application_names())
PAGE = Path(reserve.__file__).parent / "docs" / "options.md"


def test_the_committed_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == reference_page(), "run: python -m reserve.options > reserve/docs/options.md"


def test_the_module_prints_the_page() -> None:
    root = str(Path(reserve.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "reserve.options"], cwd=root, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == reference_page()


APPLICATIONS = [
    ("", ""),
    ("http wsgi blog", ARGUMENTS),
    ("http", ARGUMENTS),
    ("mymodule", ""),
    ("echo", ""),
    ("desk", DESK),
]


@pytest.mark.parametrize("width", [1, 40, 60, 80, 100, 120, 500])
@pytest.mark.parametrize(("program", "arguments"), APPLICATIONS)
@pytest.mark.parametrize("make", [short_help, help_text])
def test_the_help_is_as_wide_as_the_terminal(make: Help, program: str, arguments: str, width: int) -> None:
    text = make(program, NAMES, arguments, width)
    allowed = min(max(width, 40), 120)
    too_long = [line for line in text.splitlines() if len(line) > allowed]
    assert [line for line in too_long if " " in line.strip()] == []  # a word is not broken
    if width >= 60:
        assert too_long == []
    if width >= 120 and make is help_text:
        assert max(map(len, text.splitlines())) > 100


@pytest.mark.parametrize(("program", "arguments"), APPLICATIONS)
def test_the_short_help_fits_a_screen(program: str, arguments: str) -> None:
    lines = short_help(program, NAMES, arguments, 80).splitlines()
    assert len(lines) <= 23  # and the prompt
    assert max(map(len, lines)) <= 80
    assert "HOST:PORT, [V6]:PORT, :PORT, unix:PATH, unix:@NAME or fd:N" in lines[-1]
    assert any("--help-all" in line for line in lines)


def test_the_examples_of_the_short_help_are_valid() -> None:
    text = short_help("", NAMES, "", 80)
    examples = [line.partition("  ")[0] for line in text.replace("\n  reserve", "\nreserve").splitlines()]
    examples = [line for line in examples if line.startswith("reserve app")]
    assert len(examples) == 4
    for line in examples:
        command = parse_command_line(shlex.split(line)[1:])
        name, arguments = app_arguments(command)
        assert name in NAMES
        collect(command.given, {}, "/")
        if arguments:
            parse_target(arguments[1])


def test_the_short_help_tells_what_to_do_when_a_server_hangs() -> None:
    words = " ".join(short_help("", NAMES, "", 80).split())
    assert "reserve stacks --control PATH where a server with --control PATH hangs; likewise status and top" in words


def test_the_whole_help_has_every_option_the_values_of_choices_and_the_forms_of_values() -> None:
    text = help_text()
    assert all(flag in text for flag in FLAGS)
    words = " ".join(text.split())
    for option in OPTIONS:
        if isinstance(option.kind, Choice):
            assert f"One of {option.kind.allowed}." in words
    forms = text.partition("\nValues:\n")[2].partition("\n\n")[0]
    metavars = {option.kind.metavar for option in OPTIONS}
    plain = {"", "TEXT", "N", "WORD", "FILE", "DIR", "GROUP", "PORT", "LIST", "PATH", "NAME=VALUE"}
    assert metavars - plain == set(re.findall(r"^  (\S+)", forms, re.M))


def test_the_page_has_a_table_of_contents_whose_links_are_headings() -> None:
    page = reference_page()
    contents = page.partition("## Contents\n")[2].partition("\n## ")[0]
    links = re.findall(r"\]\(#([^)]+)\)", contents)
    headings = [re.sub(r"^#+ ", "", line) for line in page.splitlines() if line.startswith(("## ", "### "))]
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert links == [anchor for anchor in [*anchors[1:]]]
    assert len(set(anchors)) == len(anchors)
    assert "-b---bind-addr" in links
    assert "addresses" in links
