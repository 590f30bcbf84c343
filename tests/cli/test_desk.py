"""``reserve desk new NAME``: the program that it writes, and the names that it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reserve.cli.command import main
from tests.cli.fakes import ROOT
from tests.extras import library
from tests.waiting import PATIENCE


def test_it_writes_a_program_and_prints_the_next_two_commands(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["desk", "new", "my-diary"]) == 0
    files = sorted(str(path.relative_to(workdir)) for path in (workdir / "my-diary").rglob("*") if path.is_file())
    assert files == ["my-diary/my_diary.py", "my-diary/templates/notes.tpl", "my-diary/test_my_diary.py"]
    out, err = capsys.readouterr()
    assert out.splitlines()[1:] == ["    cd my-diary", "    python my_diary.py"]
    assert err == ""


def test_the_program_passes_its_test_and_is_served(workdir: Path) -> None:
    for name in ("python_multipart", "markupsafe", "itsdangerous"):
        library(name)
    assert main(["desk", "new", "diary"]) == 0
    environment = {**os.environ, "PYTHONPATH": ROOT, "PYTEST_ADDOPTS": ""}
    run = {"cwd": workdir / "diary", "env": environment, "text": True, "capture_output": True, "timeout": PATIENCE}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        **run,  # type: ignore[call-overload]
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    guarded = "import diary, reserve.desk; assert isinstance(diary.app, reserve.desk.TransactionGuard)"
    assert subprocess.run([sys.executable, "-c", guarded], **run).returncode == 0  # type: ignore[call-overload]
    assert "1 passed" in tested.stdout
    process = subprocess.Popen(
        [sys.executable, "-m", "reserve", "app", "desk", "diary", "-b", "127.0.0.1:0"],
        cwd=workdir / "diary", env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(3)]
    assert "on the main thread, one request at a time: diary is a program of reserve.desk" in lines[2]
    port = lines[1].rpartition(":")[2].rstrip("/\n")
    fetch = f"""
import urllib.request
url = "http://127.0.0.1:{port}"
assert "<button>Add</button>" in urllib.request.urlopen(url + "/").read().decode()
assert "a &lt; b" in urllib.request.urlopen(url + "/", b"text=a+%3C+b").read().decode()
assert b"has ended" in urllib.request.urlopen(url + "/quit", b"").read()
"""
    fetched = subprocess.run([sys.executable, "-c", fetch], **run)  # type: ignore[call-overload]
    assert fetched.returncode == 0, fetched.stderr
    assert process.stderr.read() == "reserve: the server has stopped\n"
    assert process.wait(PATIENCE) == 0
    process.stderr.close()


def test_nothing_is_overwritten(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "diary").mkdir()
    (workdir / "diary" / "mine").write_text("mine")
    (workdir / "notes").write_text("mine")
    for name in ("diary", "notes"):
        assert main(["desk", "new", name]) == 1
        assert f"{name} exists already" in capsys.readouterr().err
    assert [path.name for path in (workdir / "diary").iterdir()] == ["mine"]


def test_a_directory_that_cannot_be_written_leaves_nothing(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make = os.mkdir
    made: list[str] = []

    def mkdir(path: str) -> None:
        made.append(path)
        if len(made) == 2:
            raise OSError(28, "No space left on device")
        make(path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert main(["desk", "new", "diary"]) == 1
    assert "diary cannot be written: No space left on device" in capsys.readouterr().err
    assert not (workdir / "diary").exists()


@pytest.mark.parametrize("name", ["two words", "../up", "a/b", "class", "1st", "", ".", "json", "reserve", "t\u00e9"])
def test_a_name_that_no_module_can_have_is_refused(
    name: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(workdir.iterdir())
    assert main(["desk", "new", name]) == 2
    assert "cannot be the name of a program" in capsys.readouterr().err
    assert sorted(workdir.iterdir()) == before


@pytest.mark.parametrize("argv", [["desk"], ["desk", "new"], ["desk", "old", "x"], ["desk", "new", "a", "b"]])
def test_other_commands_are_errors(argv: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "reserve desk" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["desk", "-h"], ["desk", "new", "--help"]])
def test_the_help_describes_it(argv: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out.startswith("usage: reserve desk new NAME")
