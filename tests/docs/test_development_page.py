"""The page about development is right: its command runs, and what it says about changes and tracebacks comes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import reserve
from reserve.options.table import OPTIONS
from reserve.supervisor.watch import MAX_FILES
from tests.real.serving import ServerProcess
from tests.waiting import PATIENCE, eventually

ROOT = Path(reserve.__file__).parents[1]
TEXT = (ROOT / "reserve" / "docs" / "development.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^\$ (.*)\n((?:[^$].*\n)*)", re.MULTILINE)


def blocks(language: str) -> list[str]:
    return [block for name, block in BLOCK.findall(TEXT) if name == language]


def test_the_examples_run(tmp_path: Path, require_peer: Callable[[str], str]) -> None:
    require_peer("curl")
    (program,), (command,), (messages,) = blocks("python"), blocks("sh"), blocks("text")
    (tmp_path / "notes.py").write_text(program)
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" >>"$0.opened"\n')
    browser.chmod(0o755)
    words = [sys.executable, "-m", "reserve", "-b", "127.0.0.1:0", *shlex.split(command)[1:]]
    environ = {"PYTHONPATH": str(ROOT), "BROWSER": str(browser)}
    with ServerProcess(*words, cwd=tmp_path, environ=environ, log=None) as server:
        for line, expected in [example for block in blocks("console") for example in EXAMPLE.findall(block)]:
            curl = shlex.split(line.replace("http://127.0.0.1:8080", server.url))
            done = subprocess.run(
                [curl[0], "-s", "--noproxy", "*", *curl[1:]], capture_output=True, text=True, timeout=PATIENCE
            )
            # CPython 3.13 and later leave out the line of carets below an expression that is the whole line.
            pattern = re.escape(expected).replace("\\.\\.\\.\\\n", "(?:.*\n)*").replace("/home/ann", ".*")
            assert re.fullmatch(pattern, done.stdout), done.stdout
        eventually(lambda: Path(f"{browser}.opened").exists())
        (tmp_path / "notes.py").write_text(program.replace("note {", "page {"))
        for line in messages.splitlines():
            server.wait_for_line(line)
        assert Path(f"{browser}.opened").read_text() == f"{server.url}/\n"


def test_every_option_is_on_the_page_and_the_limit_is_that_of_the_code() -> None:
    for option in OPTIONS:
        if option.group == "Development":
            assert f"`{option.flag}`" in TEXT
    assert f"At most {MAX_FILES:,} files" in TEXT
