"""Files of logs: opened for append, and again without a moment in which a line is lost."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reserve.engine.logs import logfile
from reserve.engine.logs.logfile import close_log_file, keep_log_files, open_log_file, reopen_log_files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be renamed")


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    yield
    assert logfile._files == {}


def test_logs_with_one_path_share_a_file(tmp_path: Path) -> None:
    one, two = open_log_file(str(tmp_path / "a")), open_log_file(str(tmp_path / "x" / ".." / "a"))
    assert one is two
    close_log_file(one)
    assert os.fstat(two.fileno())
    close_log_file(two)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(two.fileno())


def test_a_file_that_is_kept_stays_open_until_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    kept = open_log_file(str(tmp_path / "a"), for_log=False)
    close_log_file(open_log_file(str(tmp_path / "a")))
    keep_log_files([kept.path])
    assert [result.path for result in reopen_log_files()] == [kept.path]
    log = open_log_file(str(tmp_path / "a"))
    keep_log_files([])
    assert log is kept
    kept.write("line\n")
    close_log_file(log)


def test_each_line_is_in_one_of_the_files_while_they_are_renamed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = open_log_file(str(path))
    done = threading.Event()
    written: list[int] = []

    def write() -> None:
        while not done.is_set():
            file.write(f"{len(written)}\n")
            written.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    for number in range(50):
        path.rename(tmp_path / f"log.{number}")
        assert [result.error for result in reopen_log_files()] == [None]
    done.set()
    thread.join()
    close_log_file(file)
    lines = sorted(int(line) for each in tmp_path.iterdir() for line in each.read_text().splitlines())
    assert lines == list(range(len(written)))


def test_the_number_of_the_descriptor_stays_and_is_not_inherited(tmp_path: Path) -> None:
    file = open_log_file(str(tmp_path / "log"))
    fd = file.fileno()
    reopen_log_files()
    assert file.fileno() == fd
    assert not os.get_inheritable(fd)
    close_log_file(file)


def test_a_file_that_cannot_be_opened_again_stays_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = open_log_file(str(folder / "log"))
    folder.rename(tmp_path / "moved")
    (result,) = reopen_log_files()
    assert result.error is not None
    assert result.error.errno == errno.ENOENT
    file.write("after\n")
    assert (tmp_path / "moved" / "log").read_text() == "after\n"
    close_log_file(file)


def test_a_number_that_belongs_to_another_file_now_is_left_alone(tmp_path: Path) -> None:
    file = open_log_file(str(tmp_path / "log"))
    one, two = socket.socketpair()
    with one, two:
        fd = file.fileno()
        os.dup2(one.fileno(), fd)  # as after os.closerange() and an accept()
        reopen_log_files()
        assert file.fileno() != fd
        file.write("line\n")
        os.write(fd, b"x")
        assert two.recv(10) == b"x"
        close_log_file(file)
        os.close(fd)
    assert (tmp_path / "log").read_text() == "line\n"


def test_a_file_may_be_a_standard_stream_as_well(tmp_path: Path) -> None:
    stream = os.open(os.devnull, os.O_WRONLY)
    file = open_log_file(str(tmp_path / "log"))
    file.replace_stream(stream)
    os.write(stream, b"one\n")
    (tmp_path / "log").rename(tmp_path / "old")
    reopen_log_files()
    os.write(stream, b"two\n")
    file.write("three\n")
    os.close(stream)
    close_log_file(file)
    assert (tmp_path / "old").read_text() == "one\n"
    assert (tmp_path / "log").read_text() == "two\nthree\n"


def test_a_pipe_that_no_process_reads_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        open_log_file(str(tmp_path / "pipe"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_is_created_belongs_to_the_user_of_the_server_and_another_keeps_its_owner(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    for name, owner in (("new", 12345), ("there", 0)):
        file = open_log_file(str(tmp_path / name), (12345, 12346))
        assert (tmp_path / name).stat().st_uid == owner
        (tmp_path / name).unlink()
        reopen_log_files()
        assert ((tmp_path / name).stat().st_uid, (tmp_path / name).stat().st_gid) == (12345, 12346)
        close_log_file(file)


def test_a_file_that_is_kept_is_that_of_a_log_which_begins_in_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application may change the working directory while it is imported."""
    monkeypatch.chdir(tmp_path)
    kept = open_log_file("access.log", for_log=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    log = open_log_file("access.log")
    assert log is kept
    keep_log_files([])
    close_log_file(log)
    assert not (tmp_path / "elsewhere" / "access.log").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives up rights")
@pytest.mark.parametrize("link", ["log", "logs"])
def test_root_follows_no_link_of_the_user_of_the_server(short_path: Path, link: str) -> None:
    """Neither to a file of root nor into a directory of root, where it would create one that belongs to the user."""
    short_path.chmod(0o755)
    site, secret = short_path / "site", short_path / "secret"
    for folder in (site, secret):
        folder.mkdir(0o755)
    (secret / "log").touch(0o600)
    os.chown(site, 12345, 12346)
    if link == "log":
        (site / "logs").mkdir()
        os.chown(site / "logs", 12345, 12346)
        (site / "logs" / "log").symlink_to(secret / "log")
    else:
        (site / "logs").symlink_to(secret)
    os.lchown(site / "logs", 12345, 12346)
    for name in ("log", "new") if link == "logs" else ("log",):
        with pytest.raises(PermissionError):
            open_log_file(str(site / "logs" / name), (12345, 12346))
    assert os.listdir(secret) == ["log"]
    assert (os.geteuid(), os.getegid(), os.access(secret / "log", os.W_OK)) == (0, os.getgid(), True)
    file = open_log_file(str(site / "own"), (12345, 12346))
    assert (site / "own").stat().st_uid == 12345
    close_log_file(file)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives up rights")
def test_a_directory_of_another_group_is_opened_with_the_rights_of_root(short_path: Path) -> None:
    """As /var/log of Debian, which the group of syslog may change."""
    short_path.chmod(0o775)
    os.chown(short_path, 0, 23456)
    file = open_log_file(str(short_path / "log"), (12345, 12346))
    assert (short_path / "log").stat().st_uid == 12345
    close_log_file(file)
    os.chown(short_path, 0, 12346)
    (short_path / "log").unlink()
    (short_path / "secret").touch(0o600)
    (short_path / "log").symlink_to(short_path / "secret")
    with pytest.raises(PermissionError):
        open_log_file(str(short_path / "log"), (12345, 12346))
