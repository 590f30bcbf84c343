"""What the command prints for ``-h`` and ``--version``."""

from __future__ import annotations

from pathlib import Path

import pytest

import reserve
from reserve.cli.command import main
from reserve.options.table import FLAGS
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


def test_the_help_follows_the_width_of_the_terminal(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("-h", "--help-all"):
        longest = []
        for width in ("60", "80"):
            monkeypatch.setenv("COLUMNS", width)
            assert main([option]) == 0
            longest.append(max(map(len, capsys.readouterr().out.splitlines())))
            assert longest[-1] <= int(width)
        assert longest[0] < longest[1]


def test_help_all_has_all_options_and_the_arguments_of_the_application(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["app", "http", "wsgi", "blog", "--help-all"]) == 0
    out = capsys.readouterr().out
    assert "--mount /PREFIX=NAME" in out
    assert all(flag in out for flag in FLAGS)
    assert main(["--help-all"]) == 0
    out = capsys.readouterr().out
    assert all(flag in out for flag in FLAGS)
    assert "reserve desk new NAME" in out


@pytest.mark.parametrize(
    ("line", "proposed"), [("app http wsgi cli_shop:app", False), ("app http wsgi cli_shop:launch", True)]
)
def test_the_help_proposes_only_a_line_for_the_help_of_an_application_that_takes_arguments(
    workdir: Path, capsys: pytest.CaptureFixture[str], line: str, proposed: bool
) -> None:
    assert main([*line.split(), "-h"]) == 0
    assert (f"reserve {line} -- -h" in capsys.readouterr().out) == proposed


def test_the_line_for_the_help_of_the_blog_works(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "http", "wsgi", "blog", "-h"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.endswith(" -- -h")]
    with pytest.raises(SystemExit) as caught:
        main([*line.partition("reserve ")[2].split(), "-b", "127.0.0.1:0"][:-2])
    assert caught.value.code == 0
    assert "--data DIR" in capsys.readouterr().out


def test_version_is_printed(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"reserve {reserve.__version__}\n"
