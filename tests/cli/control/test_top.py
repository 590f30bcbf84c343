"""``reserve top`` on the command line: which server, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reserve.cli.control import top
from reserve.cli.control.top import run_top
from reserve.cli.parser import check_arguments, parse_command_line
from reserve.control.client import ControlError
from reserve.control.top.arguments import Settings
from reserve.errors import UsageError


def _run(*words: str) -> int:
    command = parse_command_line(["top", *words])
    check_arguments(command)
    assert command.task == "top"
    return run_top(command)


@pytest.fixture(autouse=True)
def _without_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESERVE_CONTROL", raising=False)


def test_the_words_and_the_socket_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def run(*arguments: Any) -> int:
        calls.append(arguments)
        return 7

    monkeypatch.setattr(top, "run", run)
    assert _run("--control", "/run/a", "--sort", "client", "--interval=2") == 7
    monkeypatch.setenv("RESERVE_CONTROL", "/run/b")
    assert _run("--once") == 7
    (connect, settings, _), (other, once, _) = calls
    assert (connect.args, other.args) == (("/run/a",), ("/run/b",))
    assert settings == Settings(sort="client", interval=2.0)
    assert once == Settings(once=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--threads", "4"], "--threads has no effect"),
        (["--control", "c", "--", "x"], "takes nothing after --, but it was given x"),
        (["--control", "c", "--sort", "cpu"], "allowed are time"),
        ([], "needs the control socket of the server"),
    ],
)
def test_wrong_words_are_refused(words: list[str], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        _run(*words)
    assert expected in str(caught.value)


def test_a_server_that_is_not_there_is_an_error(short_path: Path) -> None:
    with pytest.raises(ControlError, match="there is no control socket"):
        _run("--control", str(short_path / "c"), "--once")
