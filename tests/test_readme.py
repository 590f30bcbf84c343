"""The commands, programs and links of README.md work."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

import pytest

from reserve import sdlaunch
from reserve.cli.parser import app_arguments, parse_command_line
from reserve.examples.blog import launch
from reserve.loader.find import application_names
from reserve.loader.importer import parse_target
from reserve.options.sources import collect
from reserve.testing import running

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


SHELL = [
    line
    for block in blocks("sh")
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
COMPLETE = [line for line in SHELL if line.startswith("python3 -m venv ")]
COMMANDS = [step.strip() for line in SHELL for step in line.split(" && ")]


def test_the_two_commands_for_a_fresh_clone() -> None:
    # Each is one line and uses a virtual environment: a distribution's Python may refuse to install into itself.
    run, test = COMPLETE
    assert run.split(" && ") == [
        "python3 -m venv .venv",
        ".venv/bin/pip install .",
        ".venv/bin/reserve app http wsgi blog --threads 16",
    ]
    assert test.split(" && ") == [
        "python3 -m venv .venv",
        ".venv/bin/pip install '.[test]'",
        ".venv/bin/python -m pytest",
    ]


def test_ci_runs_the_same_test_command() -> None:
    steps = (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.search(r"^\.venv/bin/python -m pytest\b", steps, re.M)


def test_this_module_checks_every_shell_line() -> None:
    assert [line for line in SHELL if line not in COMPLETE and not line.startswith(("reserve ", "sdlaunch "))] == []


def check(argv: list[str]) -> None:
    """The arguments of ``reserve`` are valid, as far as that can be said without importing the application."""
    command = parse_command_line(argv)
    name, arguments = app_arguments(command)
    collect(command.given, {}, "/")
    mounts = [argument for argument in arguments if argument.startswith("/")]
    targets = [mount.partition("=")[2] for mount in mounts]
    if name == "http":
        assert arguments[0] == "wsgi"
        targets += arguments[1:2] if arguments[1] != "--mount" else []
        assert targets
        assert set(arguments) - {"wsgi", "--mount"} <= {*targets, *mounts}
    elif name not in application_names():
        targets.append(name)
    for target in targets:
        parse_target(target)


@pytest.mark.parametrize(
    "line",
    [
        *(line for line in COMMANDS if re.match(r"(\.venv/bin/)?reserve ", line)),
        *re.findall(r"`(reserve app [^`]+)`", README),
    ],
)
def test_reserve_lines_are_valid(line: str) -> None:
    check(shlex.split(line)[1:])


def test_the_blog_keeps_its_data_where_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [line for line in re.findall(r"`(reserve app [^`]+)`", README) if "--data" in line]
    (default,) = re.findall(r"`(reserve-blog-[^`]+)`", README)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    command = parse_command_line(shlex.split(line)[1:])
    launch(["blog"])
    launch(["blog", *command.after])
    default = default.replace("UID", str(os.getuid()))
    assert (tmp_path / "temporary" / default / "blog.sqlite3").exists()
    assert (tmp_path / command.after[-1] / "blog.sqlite3").exists()
    first, second = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "temporary" / default) in first
    assert "--data DIR" in first
    assert str(tmp_path / command.after[-1]) in second


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("sdlaunch ")])
def test_sdlaunch_lines_are_valid(line: str) -> None:
    job = sdlaunch._parse(shlex.split(line)[1:])
    assert not isinstance(job, str)
    assert job.command[0] == "reserve"
    check(job.command[1:])


def test_the_embedding_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (source,) = [block for block in blocks("python") if "ReserveWSGIServer" in block]
    exec(compile(source, "README.md", "exec"), {"__name__": "__main__"})
    assert re.fullmatch(r"serving on \[\('127\.0\.0\.1', \d+\)\]\n", capsys.readouterr().out)


def test_the_program_for_one_person_is_that_of_the_tutorial() -> None:
    (source,) = [block for block in blocks("python") if "reserve.desk" in block]
    assert f"```python\n{source}```\n" in (ROOT / "reserve" / "docs" / "desk.md").read_text("utf-8")


def test_the_example_protocol_serves() -> None:
    (source,) = [block for block in blocks("python") if "def launch(args)" in block]
    names: dict[str, Any] = {"__name__": "mymodule"}
    exec(compile(source, "README.md", "exec"), names)
    with running(names["launch"](["reserve mymodule"]), wsgi=False, threads=1) as server:
        assert server.exchange(b"Ann\n") == b"What is your name?\nHello, Ann\n"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_target_exists(target: str) -> None:
    assert (ROOT / target).exists()
