"""The page about hooks is right: its example runs through the command, and prints what it says."""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.options.table import HOOKS
from tests.real.serving import ServerProcess

ROOT = Path(reserve.__file__).parents[1]
TEXT = (ROOT / "reserve" / "docs" / "hooks.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks, shop, toml, line, printed, program = [block for _, block in BLOCK.findall(TEXT)]
    for name, text in (("hooks.py", hooks), ("shop.py", shop), ("reserve.toml", toml)):
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "reserve", "-b", "127.0.0.1:0", *shlex.split(line)[1:]]
    with ServerProcess(*command, cwd=tmp_path, environ={"PYTHONPATH": str(ROOT)}, log=None) as server:
        server.wait_for_line(lambda line: line == "ready")  # a request may be served before
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert opener.open(f"{server.url}/?q=1").read() == b"42\n"
        server.wait_for_line("GET /?q=1")
    wanted = printed.splitlines()
    assert [one for one in server.stderr if one in wanted] == wanted
    assert not [one for one in server.stderr if "failed" in one]

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, Any] = {}
    try:
        exec(compile(program, "hooks.md", "exec"), names)
        names["server"].request_stop()
        names["server"].start()
    finally:
        for module in ("hooks", "shop"):
            sys.modules.pop(module, None)


def test_every_option_and_every_field_is_on_the_page() -> None:
    assert {option.flag for option in HOOKS} == set(re.findall(r"^\| `(--[a-z-]+)`", TEXT, re.MULTILINE))
    fields = {field.name for field in dataclasses.fields(reserve.Hooks)} - {"error_log"}
    assert fields == set(re.findall(r"^\| `--[a-z-]+` \| `(\w+)`", TEXT, re.MULTILINE))
    for name in reserve.RequestEnd._fields:
        assert f"`{name}`" in TEXT
