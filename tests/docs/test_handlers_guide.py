"""The examples of the handler guide run, section by section, and its table has the parameters of ``Park``."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve import Park
from reserve.cli.parser import app_arguments, parse_command_line
from reserve.loader.find import application_names
from reserve.options.sources import collect
from tests.waiting import PATIENCE

GUIDE = Path(reserve.__file__).parent / "docs" / "handlers.md"
TLS_GUIDE = GUIDE.with_name("tls.md")
TEXT = GUIDE.read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_example_belongs_to_a_section() -> None:
    assert len(SECTIONS) == 13
    assert TEXT.count("```python") == sum(len(BLOCK.findall(part)) for part in SECTIONS.values()) >= 27


def make_certificate(openssl: str) -> None:
    """Make ``dev.pem`` and ``dev.key`` in the working directory, with the command of the guide to TLS."""
    block = re.search(r"^openssl req -x509.*?dev\.pem$", TLS_GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    command = shlex.split(block[0].replace("\\\n", " "))
    subprocess.run([openssl, *command[1:]], check=True, capture_output=True, timeout=PATIENCE)


@pytest.mark.parametrize("title", [title for title, part in SECTIONS.items() if BLOCK.search(part)])
def test_the_examples_run(
    title: str, require_peer: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of one section share their global names, as if a user typed one after another."""
    monkeypatch.chdir(tmp_path)
    if title.startswith("TLS"):
        make_certificate(require_peer("openssl"))
    part = SECTIONS[title]
    blocks = BLOCK.findall(part)
    assert any(re.search(r"(running|MemoryClient)\(.*wsgi=False", block) and "assert" in block for block in blocks)
    names: dict[str, Any] = {"__name__": "handlers_guide"}
    for match in BLOCK.finditer(part):
        line = TEXT[: TEXT.index(part) + match.start(1)].count("\n")
        exec(compile("\n" * line + match[1], str(GUIDE), "exec"), names)


def test_the_table_of_contents_has_every_section() -> None:
    links = re.findall(r"\]\(#([^)]+)\)", TEXT.partition("\n## ")[0])
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in SECTIONS]
    assert set(links) == set(anchors) - {"keeping-the-socket-detach"}


def test_the_commands_of_the_guide_are_valid() -> None:
    lines = re.findall(r"`(reserve app [^`]+)`", TEXT)
    lines += [line.replace("\\\n", " ") for line in re.findall(r"^    (reserve app (?:.*\\\n)*.*)", TEXT, re.MULTILINE)]
    assert len(lines) >= 5
    for line in lines:
        if "NAME" in line:
            continue
        command = parse_command_line(shlex.split(line)[1:])
        name, _ = app_arguments(command)
        assert name in ("mymodule", *application_names())
        collect(command.given, {}, "/")


def test_the_table_has_every_parameter_of_park() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", SECTIONS["Park: waiting without a thread"], re.MULTILINE)
    assert rows == list(inspect.signature(Park).parameters)


def test_the_guide_has_every_reason_of_on_close() -> None:
    documented = set(re.findall(r'``"(\w+)"``', str(Park.__doc__))) - {"readable", "writable"}
    assert documented == {"done", "timeout", "error", "lost", "capacity", "stop"}
    for reason in documented:
        assert f'`"{reason}"`' in TEXT
