"""The file with the process ID: what is replaced, what is refused, and what is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from reserve.daemon.pidfile import PidFile, write
from reserve.engine.logs.logfile import rights_for
from reserve.errors import StartupError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pid"


@pytest.mark.parametrize("content", ["", "x", "0", "-1", "99999999999999999999", "own", "parent"])
def test_a_file_that_names_no_other_server_is_replaced(path: Path, content: str) -> None:
    path.write_text({"own": f"{os.getpid()}\n", "parent": f"{os.getppid()}"}.get(content, content))
    file = PidFile(str(path))
    file.create()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()
    file.remove()
    assert not path.exists()


@pytest.mark.parametrize(("program", "is_refused"), [("reserve", True), ("other", False)])
def test_a_process_that_runs_reserve_is_not_replaced(path: Path, program: str, is_refused: bool) -> None:
    line = [sys.executable, "-S", "-c", "import sys; print(flush=True); sys.stdin.read()", program]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has executed its program
        path.write_text(f"{process.pid}\n")
        if is_refused:
            with pytest.raises(StartupError, match=f"names process {process.pid}, which runs reserve; stop it"):
                PidFile(str(path)).create()
        else:
            PidFile(str(path)).create()
        process.communicate()


def test_the_working_directory_may_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    file = PidFile("pid")
    file.create()
    monkeypatch.chdir("/")
    file.remove()
    assert not path.exists()


def test_what_a_killed_process_has_left_is_no_obstacle(path: Path) -> None:
    Path(f"{path}.{os.getpid()}").write_text("1")
    write(str(path), os.getpid(), "-p")
    assert path.read_text() == f"{os.getpid()}\n"
    assert os.listdir(path.parent) == ["pid"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_does_not_remove_the_file(path: Path) -> None:
    file = PidFile(str(path))
    file.create()
    child = os.fork()
    if child == 0:
        file.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert path.exists()


def test_a_link_is_replaced_and_a_named_pipe_is_not_waited_for(path: Path) -> None:
    other = path.parent / "other"
    other.write_text(f"{os.getppid()}\n")
    path.symlink_to(other)
    file = PidFile(str(path))
    file.create()
    assert not path.is_symlink()
    assert other.read_text() == f"{os.getppid()}\n"
    path.unlink()
    other.write_text(f"{os.getpid()}\n")
    path.symlink_to(other)
    file.remove()
    assert path.is_symlink()
    path.unlink()
    os.mkfifo(path)
    file.remove()  # nothing writes to it
    assert path.exists()
    file.create()
    assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives up rights")
def test_root_is_not_led_into_its_own_directories_by_the_user_of_the_server(short_path: Path) -> None:
    short_path.chmod(0o755)
    site, secret = short_path / "site", short_path / "secret"
    for folder in (site, secret):
        folder.mkdir(0o755)
    (secret / "pid").write_text(f"{os.getpid()}\n")
    os.chown(site, 12345, 12346)
    rights = partial(rights_for, owner=(12345, 12346))
    file = PidFile(str(site / "run" / "pid"), rights=rights)
    (site / "run").mkdir()
    os.chown(site / "run", 12345, 12346)
    file.create()
    assert (site / "run" / "pid").stat().st_uid == 12345
    (site / "run").rename(site / "before")
    (site / "run").symlink_to(secret)
    os.lchown(site / "run", 12345, 12346)
    file.remove()
    assert (secret / "pid").exists()
    with pytest.raises(StartupError, match="Permission denied"):
        file.create()
    assert os.listdir(secret) == ["pid"]
    assert os.geteuid() == 0
    safe = PidFile(str(secret / "other"), rights=rights)
    safe.create()
    assert (secret / "other").stat().st_uid == 0
    safe.remove()
    assert os.listdir(secret) == ["pid"]
