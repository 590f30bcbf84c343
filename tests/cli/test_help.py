"""What the command prints for ``-h`` and ``--version``."""

from __future__ import annotations

from pathlib import Path

import pytest

import reserve
from reserve.cli.command import main
from tests.cli.fakes import FakeServer


def test_help_is_about_the_application_of_the_command_line(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    assert capsys.readouterr().out.startswith("usage: reserve [server options] app NAME")
    assert main(["app", "http", "wsgi", "blog", "--threads", "-x", "--help"]) == 0
    out = capsys.readouterr().out
    assert "reserve app http wsgi blog -- -h" in out
    assert "--mount /PREFIX=NAME" in out
    assert main(["app", "cli_plain", "-h"]) == 0
    assert "reserve app cli_plain -- -h" in capsys.readouterr().out
    assert FakeServer.made == []


def test_version_is_printed(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"reserve {reserve.__version__}\n"
