"""What the command writes and returns when it cannot start: one sentence, and 1 or 2."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from reserve.cli.command import main
from tests.cli.fakes import HANDLER, ROOT, FakeServer
from tests.waiting import PATIENCE


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        ([], 2, " name is missing (reserve -h prints the help); write: reserve app http wsgi blog\n"),
        (["http", "wsgi", "blog"], 2, "write: reserve app http wsgi blog\n"),
        (["app"], 2, "reserve: the application's name is missing"),
        (["app", "cli_plain", "--threads", "x"], 2, "reserve: --threads is 'x'; allowed is a whole number"),
        (["app", "cli_plain", "--threads"], 2, "reserve: --threads needs a value"),
        (["app", "cli_plain", "--thread", "4"], 2, "did you mean --threads? put it after -- to pass it on\n"),
        (["app", "cli_plain", "--keep-alive", "4"], 2, "reserve: --keep-alive is for HTTP applications"),
        (["app", "cli_plain", "-b", "8080"], 2, "reserve: --bind: cannot listen on '8080'"),
        (
            ["app", "cli_plain", "--unix-mode", "600"],
            2,
            "reserve: --unix-mode is for --bind unix:PATH, and there is no",
        ),
        (["app", "cli_plain", "-b", "192.0.2.1:0"], 1, "reserve: cannot listen on 192.0.2.1:0: "),
        (["app", "cli_plain", "--chdir", "nowhere"], 1, "reserve: --chdir: cannot change to nowhere: No such file"),
        (["app", "cli_configured", "--spool-dir", "nowhere"], 1, "reserve: --spool-dir: nowhere is not a directory"),
        (["app", "cli_plain", "--config", "nowhere"], 1, "(named by --config): No such file"),
        (["app", "cli_nowhere"], 1, "reserve: there is no module named cli_nowhere; looked in "),
        (["app", "cli_none"], 1, "reserve: cli_none gave None, which is not a handler"),
        (["app", "cli_plain.py"], 2, "looks like a file"),
    ],
)
def test_a_mistake_gets_one_sentence_and_its_exit_code(
    workdir: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, message: str
) -> None:
    (workdir / "cli_none.py").write_text("def launch(args): ...\n")
    if len(argv) > 1 and argv[0] == "app" and "-b" not in argv:
        argv = [*argv[:2], "-b", "127.0.0.1:0", *argv[2:]]
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert FakeServer.made == []


def test_an_address_in_use_fails_before_the_import(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "cli_loud.py").write_text("print('imported')\n" + HANDLER)
    with closing(socket.create_server(("127.0.0.1", 0))) as busy:
        port = busy.getsockname()[1]
        assert main(["app", "cli_loud", "-b", f"127.0.0.1:{port}"]) == 1
    out, err = capsys.readouterr()
    assert f"reserve: cannot listen on 127.0.0.1:{port}: " in err
    assert out == ""  # the module was not imported


def test_after_a_failed_import_the_listeners_are_closed(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "cli_bad.py").write_text("1 / 0\n")
    path = workdir / "s.sock"
    assert main(["app", "cli_bad", "-b", f"unix:{path}", "-b", "127.0.0.1:0"]) == 1
    assert not path.exists()
    assert capsys.readouterr().err.splitlines() == [
        "reserve: importing cli_bad failed:",
        "Traceback (most recent call last):",
        f'  File "{workdir / "cli_bad.py"}", line 1, in <module>',
        "    1 / 0",
        "    ~~^~~",
        "ZeroDivisionError: division by zero",
    ]


def test_a_local_file_that_a_bundled_application_hides_is_mentioned(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "http.py").write_text("")
    main(["app", "http", "-b", "127.0.0.1:0"])
    assert capsys.readouterr().err.startswith(
        f"reserve: http is reserve's own application and hides {workdir / 'http.py'}"
    )


@pytest.mark.parametrize("module", ["http", "ssl"])
def test_a_local_file_that_hides_a_module_of_python_is_named(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("def app(environ, start_response): ...\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RESERVE_")}
    argv = ["app", "http", "wsgi", f"{module}:app", "-b", "127.0.0.1:0"]
    program = f"import sys; sys.path[:1] = []; sys.argv[1:] = {argv}; from reserve.__main__ import main; exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env={**environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.endswith(f"; ./{module}.py hides Python's own module {module}: rename it")
    assert "Traceback" not in done.stderr


def test_unknown_environment_variables_are_listed_in_one_message(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESERVE_API_KEY", "secret")
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0
    err = capsys.readouterr().err
    assert err.startswith(
        "reserve: the environment variable RESERVE_API_KEY is not an option of reserve, and is ignored\n"
    )
    assert "secret" not in err
    for number in range(6):
        monkeypatch.setenv(f"RESERVE_X{number}", "")
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0
    assert capsys.readouterr().err.startswith(
        "reserve: the environment variables RESERVE_API_KEY, RESERVE_X0, RESERVE_X1, RESERVE_X2, RESERVE_X3 and 2 more "
        "are not options of reserve, and are ignored\n"
    )


def test_an_unknown_environment_variable_is_listed_with_the_one_that_was_probably_meant(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESERVE_WORKERS", "4")
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0
    assert capsys.readouterr().err.startswith(
        "reserve: the environment variable RESERVE_WORKERS (did you mean RESERVE_PROCESSES?) is not an option of "
        "reserve, and is ignored\n"
    )


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_start_without_a_free_descriptor_fails_with_one_sentence(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def refused(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("reserve.cli.start.make_server", refused)
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"reserve: the server cannot start: {os.strerror(number)}")
    assert ("ulimit -n" in line) == (number == errno.EMFILE)
