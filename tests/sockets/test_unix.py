"""The files of UNIX sockets: creation, permissions, replacement and removal."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reserve.errors import StartupError, UsageError
from reserve.sockets.listeners import describe, listen, release
from reserve.sockets.unix import UNIXListener, change_mode, has_file
from tests.sockets.conftest import OpenListeners
from tests.sockets.connecting import can_connect

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may change the owner of a file")


def test_the_file_of_a_unix_socket_exists_until_it_is_released(short_path: Path) -> None:
    path = short_path / "x.sock"
    [sock] = listen(f"unix:{path}")
    assert describe(sock) == f"unix:{path}"
    assert not sock.get_inheritable()
    assert not sock.getblocking()
    assert can_connect(socket.AF_UNIX, str(path))
    accepted, _ = sock.accept()
    assert type(accepted) is socket.socket
    accepted.close()
    release(sock)
    assert not path.exists()
    assert sock.fileno() == -1
    release(sock)


def test_release_removes_the_file_after_a_change_of_the_working_directory(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(short_path)
    [sock] = listen("unix:x.sock")
    monkeypatch.chdir("/")
    release(sock)
    assert list(short_path.iterdir()) == []


def test_release_removes_the_file_after_a_change_of_its_permissions(short_path: Path) -> None:
    [sock] = listen(f"unix:{short_path}/x")
    (short_path / "x").chmod(0o600)
    release(sock)
    assert list(short_path.iterdir()) == []


def test_release_keeps_the_file_of_another_listener(short_path: Path) -> None:
    [old] = listen(f"unix:{short_path}/x")
    (short_path / "x").unlink()
    [new] = listen(f"unix:{short_path}/x")
    release(old)
    assert can_connect(socket.AF_UNIX, f"{short_path}/x")
    release(new)
    assert list(short_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_release_in_a_forked_child_keeps_the_file(short_path: Path) -> None:
    [sock] = listen(f"unix:{short_path}/x")
    child = os.fork()
    if child == 0:
        try:
            release(sock)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert (short_path / "x").exists()
    release(sock)


def test_the_file_of_a_closed_socket_is_replaced(open_listeners: OpenListeners, short_path: Path) -> None:
    [closed] = listen(f"unix:{short_path}/x")
    closed.close()
    assert not can_connect(socket.AF_UNIX, f"{short_path}/x")
    open_listeners(f"unix:{short_path}/x")
    assert can_connect(socket.AF_UNIX, f"{short_path}/x")


def test_the_file_of_an_open_socket_is_not_replaced(open_listeners: OpenListeners, short_path: Path) -> None:
    open_listeners(f"unix:{short_path}/x")
    with pytest.raises(StartupError, match="another process listens there"):
        listen(f"unix:{short_path}/x")
    assert can_connect(socket.AF_UNIX, f"{short_path}/x")


def test_the_file_of_an_open_socket_with_a_full_backlog_is_not_replaced(
    open_listeners: OpenListeners, short_path: Path
) -> None:
    open_listeners(f"unix:{short_path}/x", backlog=1)
    with ExitStack() as stack:
        code = 0
        while code == 0:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            code = client.connect_ex(f"{short_path}/x")
        with pytest.raises(StartupError, match="another process listens there"):
            listen(f"unix:{short_path}/x")
    assert (short_path / "x").exists()


def test_the_file_of_a_datagram_socket_is_not_replaced(short_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"{short_path}/x")
        with pytest.raises(StartupError, match="unknown whether another process uses it"):
            listen(f"unix:{short_path}/x")
    assert (short_path / "x").exists()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_a_file_that_is_not_a_socket_is_not_replaced(short_path: Path, kind: str) -> None:
    path = short_path / "x"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(StartupError, match="there is a file that is not a socket"):
        listen(f"unix:{path}")
    assert os.path.lexists(path)


def test_a_missing_directory_has_to_be_created(short_path: Path) -> None:
    with pytest.raises(StartupError, match=f"Create the directory {short_path}/a/b first"):
        listen(f"unix:{short_path}/a/b/x")


def test_a_file_in_the_place_of_a_directory_is_reported(short_path: Path) -> None:
    (short_path / "a").write_text("")
    with pytest.raises(StartupError, match="is not a directory"):
        listen(f"unix:{short_path}/a/x")


@pytest.mark.parametrize("prefix", ["/tmp/", "@"])
def test_a_name_that_is_too_long_is_refused(prefix: str) -> None:
    with pytest.raises(StartupError, match="about 100 bytes"):
        listen(f"unix:{prefix}{'x' * 120}")


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o777, 0o000])
def test_the_mode_does_not_depend_on_the_umask(open_listeners: OpenListeners, short_path: Path, mode: int) -> None:
    [_] = open_listeners(f"unix:{short_path}/x", unix_mode=mode)
    assert stat.S_IMODE((short_path / "x").stat().st_mode) == mode


def test_the_default_mode_follows_the_umask(short_path: Path) -> None:
    # In another process, because the umask belongs to the whole process.
    program = (
        "import os, sys; os.umask(0o027)\n"
        "from reserve.sockets.listeners import listen, release\n"
        "[sock] = listen('unix:' + sys.argv[1], unix_owner=sys.argv[2] or None)\n"
        "print(oct(os.stat(sys.argv[1]).st_mode & 0o777), oct(os.umask(0)))\n"
        "release(sock)\n"
    )
    for owner in ("", str(os.getuid())):
        done = subprocess.run(
            [sys.executable, "-c", program, str(short_path / "x"), owner], capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == ("0o750 0o27\n", "")


def test_the_permissions_are_never_wider_than_the_final_ones(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, open_listeners: OpenListeners
) -> None:
    seen: list[tuple[int, bool]] = []
    real = os.chmod

    def chmod(path: str, mode: int) -> None:
        seen.append((stat.S_IMODE(os.stat(path).st_mode), can_connect(socket.AF_UNIX, path)))
        real(path, mode)

    monkeypatch.setattr(os, "chmod", chmod)
    open_listeners(f"unix:{short_path}/x", unix_mode=0o666)
    assert seen == [(0o600, False)]


@needs_root
@pytest.mark.parametrize("owner", ["nobody", "nobody:daemon", ":daemon", "65534:1", "nobody:1"])
def test_the_file_gets_the_owner_of_the_option(open_listeners: OpenListeners, short_path: Path, owner: str) -> None:
    open_listeners(f"unix:{short_path}/x", unix_owner=owner, unix_mode=0o660)
    status = (short_path / "x").stat()
    user, colon, _ = owner.partition(":")
    assert (status.st_uid, status.st_gid) == (65534 if user else os.getuid(), 1 if colon else os.getgid())
    assert stat.S_IMODE(status.st_mode) == 0o660


def test_no_file_remains_if_the_owner_cannot_be_changed(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chown(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    with pytest.raises(StartupError, match="start as root or change --unix-owner"):
        listen(f"unix:{short_path}/x", unix_owner="0:0")
    assert list(short_path.iterdir()) == []


@pytest.mark.parametrize("owner", ["", ":", "no-such-user", "0:no-such-group", "0:", "99999999999", ":no-such-group"])
def test_a_malformed_or_unknown_owner_is_refused(short_path: Path, owner: str) -> None:
    with pytest.raises(UsageError, match="unix-owner"):
        listen(f"unix:{short_path}/x", unix_owner=owner)
    assert list(short_path.iterdir()) == []


@pytest.mark.parametrize("mode", [-1, 0o1777, 660])
def test_a_mode_out_of_range_is_refused(short_path: Path, mode: int) -> None:
    with pytest.raises(UsageError, match="unix_mode is"):
        listen(f"unix:{short_path}/x", unix_mode=mode)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "unix:@reserve-test"])
@pytest.mark.parametrize("options", [{"unix_mode": 0o660}, {"unix_owner": "root"}])
def test_mode_and_owner_need_a_unix_path(address: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="for unix:PATH addresses, and there is none"):
        listen(address, **options)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names exist on Linux only")
def test_an_abstract_name_can_be_used_once(open_listeners: OpenListeners) -> None:
    name = f"reserve-test-{os.getpid()}"
    [sock] = open_listeners(f"unix:@{name}")
    assert describe(sock) == f"unix:@{name}"
    assert can_connect(socket.AF_UNIX, f"\0{name}")
    with pytest.raises(StartupError, match="Another process uses that name"):
        listen(f"unix:@{name}")


@needs_root
def test_a_directory_without_write_permission_is_reported(short_path: Path) -> None:
    program = (
        "import os, sys; from reserve.sockets.listeners import listen\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: listen('unix:' + sys.argv[1])\n"
        "except Exception as exc: print(type(exc).__name__, exc)\n"
    )
    short_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, str(short_path / "x")], capture_output=True, text=True, check=False
    )
    assert f"This user may not create files in {short_path}" in done.stdout, done


def test_permissions_are_changed_of_the_own_file_only(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, open_listeners: OpenListeners
) -> None:
    [sock] = open_listeners(f"unix:{short_path}/x")
    assert isinstance(sock, UNIXListener)
    (short_path / "other").touch(0o600)
    for has_path_descriptors in (True, False):
        if not has_path_descriptors:
            monkeypatch.delattr(os, "O_PATH", raising=False)
        change_mode(sock, 0o640)
        assert stat.S_IMODE((short_path / "x").stat().st_mode) == 0o640
        (short_path / "x").rename(short_path / "moved")
        (short_path / "x").symlink_to(short_path / "other")
        assert not has_file(sock)
        with pytest.raises(FileNotFoundError):
            change_mode(sock, 0o666)
        assert stat.S_IMODE((short_path / "other").stat().st_mode) == 0o600
        (short_path / "x").unlink()
        (short_path / "moved").rename(short_path / "x")
        assert has_file(sock)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_that_takes_the_place_of_the_socket_at_that_moment_is_left_alone(
    kind: str, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory of the user of the server, while root binds."""
    other = short_path / "other"
    other.touch(0o600)
    bind = UNIXListener.bind

    def bind_and_lose(self: UNIXListener, path: str) -> None:
        bind(self, path)
        os.unlink(path)
        if kind == "link":
            os.symlink(other, path)
        else:
            os.link(other, path)

    monkeypatch.setattr(UNIXListener, "bind", bind_and_lose)
    before = other.stat()
    with pytest.raises(StartupError, match="another process has replaced the socket"):
        listen(f"unix:{short_path}/x", unix_mode=0o666, unix_owner=f"{os.getuid()}:{os.getgid()}")
    status = other.stat()
    assert (status.st_mode, status.st_uid, status.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert sorted(os.listdir(short_path)) == ["other", "x"]
