"""The page about configuration is right: its files are valid, its commands print what it says, its messages exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import reserve
from reserve.cli.command import main
from reserve.cli.parser import check_arguments, parse_command_line
from reserve.options.schema import file_schema
from reserve.options.sources import collect, read_file

DOCS = Path(reserve.__file__).parent / "docs"
TEXT = (DOCS / "configuration.md").read_text("utf-8")
TOML = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SHELL = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
(OUTPUT,) = re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
MESSAGES = re.findall(r"^\| `([^`]+)` \| `(reserve: [^`]+)` \|$", TEXT, re.MULTILINE)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the page, with its first file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PORT", raising=False)
    (tmp_path / "reserve.toml").write_text(TOML[0])
    return tmp_path


def test_the_files_are_valid(tmp_path: Path) -> None:
    assert len(TOML) == 3
    for number, text in enumerate(TOML):
        path = tmp_path / ("pyproject.toml" if "[tool.reserve]" in text else f"{number}.toml")
        path.write_text(text)
        assert bool(read_file(str(path))) == ("[" in text)


def test_the_commands_are_valid(shop: Path) -> None:
    assert len(SHELL) == 5
    for line in SHELL:
        words = [word for word in shlex.split(line.partition(" > ")[0]) if not word.startswith("RESERVE_")]
        command = parse_command_line(words[1:])
        assert words[0] == "reserve"
        check_arguments(command)
        collect([item for item in command.given if item[0].name != "config"], {}, str(shop))


def test_check_config_prints_what_the_page_shows(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [line for line in SHELL if "check-config" in line]
    variable, _, *words = shlex.split(line)
    monkeypatch.setenv(*variable.split("="))
    assert main(words) == 0
    printed = capsys.readouterr().out.replace(str(shop), "/srv/shop")
    pieces = [piece for piece in OUTPUT.split("...\n") if piece]
    assert len(pieces) == 5
    position = 0
    for piece in re.split(r"^\.\.\.\n", OUTPUT, flags=re.MULTILINE):
        assert piece in printed[position:], piece
        position += printed[position:].index(piece)


def test_the_messages_are_those_of_the_command(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(MESSAGES) == 4
    for line, message in MESSAGES:
        (shop / "reserve.toml").write_text(f"[server]\n{line}\n")
        assert main(["check-config"]) == 2
        assert capsys.readouterr().err.replace(str(shop), "/srv/shop") == f"{message}\n"


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config-schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(file_schema()))


def test_the_links_lead_to_pages() -> None:
    for page in ("configuration.md", "migrating.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (DOCS / page).read_text("utf-8")):
            assert target.startswith("https://") or (DOCS / target).exists(), target
