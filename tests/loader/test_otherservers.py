"""The table of the options of other servers, and the lines that are proposed in their place."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from reserve.apps.http.launch import ARGUMENTS as HTTP_ARGUMENTS
from reserve.cli.command import main
from reserve.cli.parser import app_arguments, parse_command_line
from reserve.loader.otherservers import BY_NAME, FOREIGN, ForeignOption
from reserve.options.sources import collect
from reserve.options.table import FLAGS, usual_value
from reserve.paramtypes import Flag

LINE = "app http wsgi others:app"
OF_SDLAUNCH = {"-d"}
OF_HTTP = set(re.findall(r"^--[a-z]+", HTTP_ARGUMENTS, re.MULTILINE))
TRIED = """--user --pid --umask --preload-app --forwarded-allow-ips --trusted-proxy --url-scheme
--workers --ws --ws-max-size --ws-ping-interval --ws-ping-timeout
--log-file --access-logformat --check-config --harakiri --unix-socket -c -k -t -w"""
SAMPLES = {
    "--env": "A=b",
    "--bind": "127.0.0.1:8081",
    "--root-path": "/shop",
    "--unix-owner": "root",
}


def test_every_option_that_an_entry_names_is_one_of_ours() -> None:
    for entry in FOREIGN:
        named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", f"{entry.ours} {entry.why}"))
        assert named - OF_SDLAUNCH - OF_HTTP <= set(FLAGS), entry
        assert not entry.ours or entry.flag in FLAGS
        assert entry.ours or entry.why


def test_no_entry_is_one_of_ours_and_none_is_listed_twice() -> None:
    names = [name for entry in FOREIGN for name in entry.names.split()]
    assert len(names) == len(set(names)) == len(BY_NAME)
    assert not set(names) & set(FLAGS)


def test_the_options_that_users_have_tried_are_listed_or_ours() -> None:
    assert [name for name in TRIED.split() if name not in BY_NAME and name not in FLAGS] == []


def value_for(entry: ForeignOption) -> list[str]:
    """A value for the option of the other server, as a word of the command line."""
    if entry.is_flag:
        return []
    option = FLAGS.get(entry.flag)
    if entry.value == "name":
        return ["others.py"]
    if option is None or isinstance(option.kind, Flag):
        return ["x"]
    if entry.value != "{}":
        return ["127.0.0.1" if entry.value == "{}:8080" else "3"]
    return [SAMPLES.get(option.flag) or usual_value(option) or "x"]


@pytest.mark.parametrize("name", sorted(BY_NAME))
@pytest.mark.parametrize("place", ["before", "after"])
def test_the_proposed_line_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "others.py").write_text("def app(environ, start_response): ...\n")
    entry = BY_NAME[name]
    if entry.value == "name":
        wrong = [name, *value_for(entry)]
    elif place == "before":
        wrong = [name, *value_for(entry), *LINE.split()]
    else:
        wrong = [*LINE.split(), name, *value_for(entry)]
    wrong += ["--bind", "127.0.0.1:0"]
    assert main(wrong) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert entry.why in message
    assert entry.flag in message
    line = message.rstrip("\n").rpartition("; write: ")[2]
    program, *right = shlex.split(line)
    assert program == "reserve"
    command = parse_command_line(right)
    if command.version:
        return
    application, arguments = app_arguments(command)
    collect(command.given, {}, str(tmp_path))
    called = "others:app()" if entry.value == "call" else "others" if entry.value == "name" else "others:app"
    assert (application, arguments) == ("http", ("wsgi", called))
    if entry.flag and entry.value:
        assert entry.flag in right


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (f"--workers 4 {LINE}", f"--processes 4 {LINE}"),
        (f"-w4 -k gthread {LINE} -t 30", f"--processes 4 {LINE} --request-timeout 30"),
        (
            f"{LINE} --workers=4 --no-orphans --log-file - --threads 3",
            f"{LINE} --processes 4 --error-log-file - --threads 3",
        ),
        ("--host 0.0.0.0 --port 8000 others:app", "app http wsgi others:app --bind 0.0.0.0:8000"),
        (f"{LINE} --host ::1", f"{LINE} --bind '[::1]:8080'"),
        (f"{LINE} -p 8000", f"{LINE} --bind localhost:8000"),
        (f"{LINE} --listen *:80", f"{LINE} --bind :80"),
        (f"{LINE} --unix-socket /run/x", f"{LINE} --bind unix:/run/x"),
        ("--http :9090 --wsgi-file others.py --master -w 4", "--bind :9090 app http wsgi others --processes 4"),
        ("app http wsgi others:create --factory --keepalive 4", "app http wsgi 'others:create()' --keep-alive 4"),
        ("-v", "--version"),
        (
            "others:create --factory --host 127.0.0.1 --port 8000 -w 2 --log-file -",
            "app http wsgi 'others:create()' --processes 2 --error-log-file - --bind 127.0.0.1:8000",
        ),
        ("others.py 8000 --workers 4", "app http wsgi others --bind localhost:8000 --processes 4"),
        ("app http wsgi blog --workers 4", "app http wsgi blog --processes 4"),
    ],
)
def test_a_line_for_another_server_becomes_one_for_this(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str, right: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "others.py").write_text("def app(environ, start_response): ...\ndef create(): return app\n")
    monkeypatch.setattr("reserve.cli.binds._DEFAULT", "127.0.0.1:0")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(shlex.split(wrong)) == 2
    assert capsys.readouterr().err.rstrip("\n").rpartition("; write: ")[2] == f"reserve {right}"


def test_an_option_of_nobody_gets_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--xyzzy", *LINE.split()]) == 2
    assert capsys.readouterr().err == "reserve: there is no server option --xyzzy; reserve --help-all lists them\n"


@pytest.mark.parametrize("option", ["--pid", "--pidfile", "--pidfile2", "--safe-pidfile"])
def test_the_pid_file_of_another_server_is_only_given_the_name_of_ours(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "others.py").write_text("def app(environ, start_response): ...\n")
    assert main([option, "run/pid", *LINE.split()]) == 2
    assert capsys.readouterr().err == (
        f"reserve: there is no server option {option}; write: reserve --pid-file run/pid {LINE}\n"
    )
