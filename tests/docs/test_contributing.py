"""CONTRIBUTING.md is true: its paths, names and links exist; its commands are those of the README and of .ci/run."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.test_names import resolves

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
TEXT = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
QUOTED = re.findall(r"`([^`\n]+)`", TEXT)
PATHS = [
    name
    for name in QUOTED
    if re.fullmatch(r"(?:reserve|tests|benchmarks|\.ci)(?:/[\w.-]+)*/?|[\w.]+\.(?:py|ini)", name)
]
NAMES = [name for name in QUOTED if re.fullmatch(r"(?:reserve|tests)(?:\.\w+)+", name)]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    step.strip()
    for line in (*(line for block in BLOCKS for line in block.splitlines()), *QUOTED)
    for step in line.split(" && ")
    if re.match(r"(python3|\.venv/bin/\w+|\.ci/run)\b", step.strip())
]
PLACEHOLDER = re.compile(r"[^/]*\b(?:NAME|NNNN|SUBJECT)\b[^/]*|[^/]*_NAME\b[^/]*")
"""The part of a path that a contributor chooses."""


def test_the_page_is_found_to_have_paths_names_and_commands() -> None:
    assert len(PATHS) >= 20
    assert len(NAMES) >= 12
    assert len(COMMANDS) >= 9


@pytest.mark.parametrize("path", sorted({name for name in PATHS}))
def test_each_path_exists(path: str) -> None:
    parts = Path(path).parts
    fixed = [part for part in parts if not PLACEHOLDER.fullmatch(part)]
    assert ROOT.joinpath(*fixed).exists(), path


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_each_dotted_name_exists(name: str) -> None:
    assert resolves(name), name


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", PAGE))))
def test_each_link_leads_to_a_file(target: str) -> None:
    assert (ROOT / target).exists()


def known_commands() -> list[str]:
    """The commands of .ci/run and of the README, one to a line."""
    steps = (ROOT / ".ci" / "run").read_text("utf-8")
    readme = "\n".join(re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S))
    lines = [line.rpartition("quietly ")[2].partition(" >")[0] for line in steps.splitlines()]
    return [step.strip() for line in (*lines, *readme.splitlines()) for step in line.split(" && ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_one_of_the_readme_or_the_checker_or_uses_what_exists(command: str) -> None:
    if command in known_commands():
        return
    command, _, output = command.partition(" > ")
    assert not output or (ROOT / output).is_file()
    program, *arguments = shlex.split(command)
    if program == ".ci/run":
        assert (ROOT / program).is_file()
        assert not arguments
    elif program.endswith("/ruff"):
        assert arguments[:3] == ["format", "--config", "tests/ruff.toml"]
        assert all((ROOT / name).exists() for name in arguments[3:])
    else:
        assert program == ".venv/bin/python"
        assert arguments[0] == "-m"
        assert find_spec(arguments[1]) is not None
        assert all((ROOT / name).exists() for name in arguments[2:] if "/" in name)


def test_the_single_steps_are_all_that_the_checker_runs() -> None:
    for step in (
        ".venv/bin/pip install '.[test,lint]'",
        ".venv/bin/python -m pytest",
        ".venv/bin/ruff check --config tests/ruff.toml reserve tests benchmarks",
        ".venv/bin/mypy --config-file tox.ini",
    ):
        assert step in COMMANDS
        assert step in known_commands()


def test_each_placeholder_is_recognized() -> None:
    for part in ("NAME", "NAME.py", "test_NAME.py", "SUBJECT.KIND.md", "NNNN-SUBJECT.md"):
        assert PLACEHOLDER.fullmatch(part)
    assert not PLACEHOLDER.fullmatch("test_names.py")
