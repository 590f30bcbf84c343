"""The page about static files is right: its commands and programs run, and print what it says."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.gateways.staticsite import IMMUTABLE, MOST_LISTED, is_hashed
from reserve.options.table import OPTIONS
from tests.extras import library
from tests.real.serving import ServerProcess
from tests.waiting import PATIENCE

library("flask")

ROOT = Path(reserve.__file__).parents[1]
TEXT = (ROOT / "reserve" / "docs" / "static.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^\$ (.*)\n((?:[^$].*\n)*)", re.MULTILINE)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require_peer: Callable[[str], str]) -> None:
    require_peer("curl")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "shop"}
    seen = []
    with contextlib.ExitStack() as running:
        server: ServerProcess | None = None
        for language, block in BLOCK.findall(TEXT):
            seen.append(language)
            if language == "python":
                exec(compile(block, "static.md", "exec"), names)
                if "Flask(" in block:
                    (tmp_path / "shop.py").write_text(block)
                continue
            if language == "console":
                assert server is not None
                for command, expected in EXAMPLE.findall(block):
                    words = shlex.split(command.replace("http://127.0.0.1:8080", server.url))
                    done = subprocess.run(
                        [words[0], "-s", "--noproxy", "*", *words[1:]], capture_output=True, text=True, timeout=PATIENCE
                    )
                    assert (done.returncode, done.stdout.rstrip("\n")) == (0, expected.rstrip("\n")), command
                continue
            if not block.startswith("reserve "):
                subprocess.run(["sh", "-ec", block], check=True, timeout=PATIENCE)
                continue
            running.close()
            command = [sys.executable, "-m", "reserve", "-b", "127.0.0.1:0", *shlex.split(block)[1:]]
            server = running.enter_context(ServerProcess(*command, cwd=tmp_path, environ={"PYTHONPATH": str(ROOT)}))
        names["server"].stop()
    assert seen == ["sh", "python", "sh", "console", "sh", "console", "python"]


def test_every_option_is_on_the_page() -> None:
    for option in OPTIONS:
        if option.name.startswith("static"):
            assert f"`{option.flag}" in TEXT


def test_the_rule_for_hashed_names_is_that_of_the_code() -> None:
    (line,) = [line for line in TEXT.splitlines() if "before one or two extensions" in line]
    assert all(is_hashed(name) for name in re.findall(r"`([\w.-]+)`", line.split("|")[1]))
    assert f"`{IMMUTABLE}`" in line
    assert f"most\n  {MOST_LISTED} of them" in TEXT
