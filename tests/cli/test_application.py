"""Launching the application: one that exits, and one that is not a handler."""

from __future__ import annotations

from pathlib import Path

import pytest

from reserve.cli.command import main
from tests.cli.fakes import FakeServer


@pytest.mark.parametrize(
    ("source", "code", "expected"),
    [
        ("import sys\nsys.exit(3)\n", 3, "sys.exit(3), in {file}, line 2"),
        ("raise SystemExit\n", None, "sys.exit(), in {file}, line 1"),
        ("import _sitebuiltins\n_sitebuiltins.Quitter('', '')(4)\n", 4, "sys.exit(4), in {file}, line 2"),
        ("def launch(args):\n    raise SystemExit(0)\n", 0, "sys.exit(0), in {file}, line 2"),
    ],
)
def test_an_application_that_exits_is_named_and_the_listeners_are_closed(
    workdir: Path, capsys: pytest.CaptureFixture[str], source: str, code: object, expected: str
) -> None:
    (workdir / "cli_exit.py").write_text(source)
    path = workdir / "s.sock"
    with pytest.raises(SystemExit) as caught:
        main(["app", "cli_exit", "-b", f"unix:{path}"])
    assert caught.value.code == code
    assert not path.exists()
    expected = expected.format(file=workdir / "cli_exit.py")
    assert capsys.readouterr().err == f"reserve: cli_exit ended the process before the server started: {expected}\n"


def test_an_application_that_exits_with_a_message_gets_no_second_message(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "cli_exit.py").write_text("import sys\nsys.exit('no database')\n")
    with pytest.raises(SystemExit) as caught:
        main(["app", "cli_exit", "-b", "127.0.0.1:0"])
    assert caught.value.code == "no database"
    assert capsys.readouterr().err == ""


def test_an_application_that_exits_after_its_help_gets_no_message(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "cli_help.py").write_text(
        "import argparse\ndef launch(args):\n    argparse.ArgumentParser().parse_args(args[1:])\n"
    )
    with pytest.raises(SystemExit) as caught:
        main(["app", "cli_help", "-b", "127.0.0.1:0", "--", "-h"])
    assert caught.value.code == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["cli_wsgi:app", "cli_wsgi"])
def test_a_wsgi_application_is_refused_as_a_handler(
    workdir: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (workdir / "cli_wsgi.py").write_text("def app(environ, start_response): ...\ndef launch(args):\n    return app\n")
    assert main(["app", name, "-b", "127.0.0.1:0"]) == 1
    assert capsys.readouterr().err == (
        f"reserve: {name} cannot be called as a handler(socket, client_address, server): too many positional "
        f"arguments; write: reserve app http wsgi {name} -b 127.0.0.1:0\n"
    )
    assert FakeServer.made == []


def test_a_handler_with_too_few_parameters_is_refused(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "cli_short.py").write_text("def handle(socket): ...\n")
    assert main(["app", "cli_short:handle", "-b", "127.0.0.1:0"]) == 1
    assert capsys.readouterr().err.endswith("(socket, client_address, server): too many positional arguments\n")
