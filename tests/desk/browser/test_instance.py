"""``reserve.desk.browser.instance``: the first and the second start of a program."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.desk.browser import instance
from reserve.desk.browser.instance import (
    INSTANCE_PATH,
    Answer,
    Claim,
    InstancePath,
    State,
    ask,
    describe_port_user,
    main_file,
    program_name,
    state_folder,
)
from reserve.testing import MemoryClient
from tests.waiting import PATIENCE

KEY = bytes(range(32))
_POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the page"]


@contextlib.contextmanager
def serving(key: bytes, asked: Callable[[], object] = lambda: None) -> Iterator[State]:
    """A program that runs; its state."""
    server = reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), InstancePath(app, key, asked), threads=1)
    with server:
        yield State(os.getpid(), "127.0.0.1", server.addresses[0][1], key, False)


def closed_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# ---- names and places ----


def test_the_same_start_has_the_same_name() -> None:
    name = program_name("/home/u/my tasks.py", ["a.db"], "127.0.0.1", 0)
    assert name == program_name("/home/u/my tasks.py", ["a.db"], "127.0.0.1", 0)
    assert name.startswith("my_tasks-")
    others = {
        program_name("/home/v/my tasks.py", ["a.db"], "127.0.0.1", 0),
        program_name("/home/u/my tasks.py", ["b.db"], "127.0.0.1", 0),
        program_name("/home/u/my tasks.py", [], "127.0.0.1", 0),
        program_name("/home/u/my tasks.py", ["a.db"], "127.0.0.1", 8080),
        program_name("/home/u/my tasks.py", ["a.db\udcff"], "127.0.0.1", 0),
    }
    assert len(others | {name}) == 6


def test_the_file_of_a_program_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main = types.ModuleType("__main__")
    assert main_file(main, "/usr/bin/python3", frozen=False) is None  # an interactive session
    assert main_file(None, "/usr/bin/python3", frozen=False) is None
    main.__file__ = "tasks.py"
    assert main_file(main, "/usr/bin/python3", frozen=False) == str(tmp_path.resolve() / "tasks.py")
    assert main_file(main, str(tmp_path / "tasks"), frozen=True) == str(tmp_path.resolve() / "tasks")


def test_state_files_are_where_the_platform_has_them(tmp_path: Path) -> None:
    home, runtime = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    runtime.mkdir()
    both = {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
    assert state_folder("linux", both) == runtime / "reserve-desk"
    assert state_folder("linux", {**both, "XDG_RUNTIME_DIR": str(tmp_path / "none")}) == home / ".cache/reserve-desk"
    assert state_folder("darwin", {"HOME": str(home)}) == home / "Library/Caches/reserve-desk"
    assert state_folder("win32", {"LOCALAPPDATA": str(home)}) == home / "reserve-desk"
    assert state_folder("win32", {}) is None
    assert state_folder("linux", {"HOME": str(tmp_path / "none")}) is None
    assert state_folder("linux", {}) is None


@_POSIX
def test_the_folder_of_another_user_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert state_folder("linux", environ) is None


# ---- the question ----


def test_a_server_proves_that_it_is_the_program() -> None:
    asked: list[None] = []
    with serving(KEY, lambda: asked.append(None)) as state:
        assert ask(state) is Answer.PROVED
        assert ask(state._replace(key=b"x" * 32)) is Answer.OTHER
    assert asked == [None, None]
    assert ask(state) is Answer.OTHER


def test_a_server_that_is_something_else_proves_nothing() -> None:
    with reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), app, threads=1) as server:
        assert ask(State(1, "127.0.0.1", server.addresses[0][1], KEY, False)) is Answer.OTHER


def test_a_server_whose_handler_runs_is_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert ask(State(1, "127.0.0.1", listener.getsockname()[1], KEY, False), patience=0.01) is Answer.BUSY


def test_only_the_reserved_path_is_taken_from_the_application() -> None:
    client = MemoryClient(InstancePath(app, KEY, lambda: None))
    assert client.request("GET", "/").body == b"the page"
    assert client.request("GET", INSTANCE_PATH).status == 400
    assert client.request("GET", f"{INSTANCE_PATH}?nonce=token:{'0' * 26}").status == 400
    client.close()


# ---- starts ----


def test_the_second_start_finds_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with serving(KEY) as state:
        with Claim(folder, "tasks") as first:
            assert first.running is None
            first.publish(state)
            with Claim(folder, "tasks") as second:
                assert second.running == state
                assert second.proved
                assert second._lock is None  # it may wait for a browser in the terminal for long
            with Claim(folder, "other") as other:
                assert other.running is None
        with Claim(folder, "tasks") as third:  # the first one has ended in good order
            assert third.running is None


@_POSIX
def test_only_the_user_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    with Claim(folder, "tasks") as claim:
        claim.publish(State(1, "127.0.0.1", 80, KEY, True))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert {path.name for path in folder.iterdir()} == {"tasks.json", "lock"}


@_POSIX
@pytest.mark.parametrize("kind", ["link", "file", "user"])
def test_a_folder_that_is_not_private_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    folder = tmp_path / "state"
    if kind == "link":
        (tmp_path / "other").mkdir()
        folder.symlink_to(tmp_path / "other")
    elif kind == "file":
        folder.write_text("", "utf-8")
    else:
        folder.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with Claim(folder, "tasks") as claim:
        assert claim.running is None
        claim.publish(State(1, "127.0.0.1", 80, KEY, True))
    assert list(tmp_path.rglob("*.json")) == []


def test_a_file_that_a_killed_program_left_is_replaced(tmp_path: Path) -> None:
    with Claim(tmp_path, "tasks") as killed:
        killed.publish(State(os.getpid(), "127.0.0.1", closed_port(), KEY, False))
        with Claim(tmp_path, "tasks") as claim:
            assert claim.running is None
            with serving(b"n" * 32) as state:
                claim.publish(state)
                with Claim(tmp_path, "tasks") as second:
                    assert second.running == state
    assert not (tmp_path / "tasks.json").exists()


def test_a_file_of_a_port_that_another_program_has_now_is_replaced(tmp_path: Path) -> None:
    with serving(b"n" * 32) as other, Claim(tmp_path, "tasks") as killed:
        killed.publish(other._replace(key=KEY))
        with Claim(tmp_path, "tasks") as claim:
            assert claim.running is None


@_POSIX
@pytest.mark.parametrize("alive", [True, False])
def test_a_busy_server_is_the_first_if_its_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    monkeypatch.setattr(instance, "ask", lambda state: Answer.BUSY)
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait(PATIENCE)
    state = State(os.getpid() if alive else process.pid, "127.0.0.1", 1, KEY, True)
    with Claim(tmp_path, "tasks") as first:
        first.publish(state)
        with Claim(tmp_path, "tasks") as second:
            assert second.running == (state if alive else None)
            assert not second.proved


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"pid": 1, "host": "127.0.0.1", "port": 0, "key": "' + b"00" * 32 + b'", "private": false}',
        b'{"pid": "1", "host": "127.0.0.1", "port": 1, "key": "' + b"00" * 32 + b'", "private": false}',
        b'{"pid": 1, "host": "127.0.0.1", "port": 1, "key": "", "private": false}',
        b'{"pid": 1, "host": "127.0.0.1", "port": 1, "key": 3, "private": false, "more": 1}',
    ],
)
def test_a_file_with_something_else_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tasks.json").write_bytes(content)
    with Claim(tmp_path, "tasks") as claim:
        assert claim.running is None
        claim.publish(State(1, "127.0.0.1", 80, KEY, True))
        assert instance._read(tmp_path / "tasks.json") == State(1, "127.0.0.1", 80, KEY, True)


def test_the_file_of_a_later_start_is_left(tmp_path: Path) -> None:
    with Claim(tmp_path, "tasks") as first:
        first.publish(State(1, "127.0.0.1", 80, KEY, True))
        instance._write(tmp_path / "tasks.json", State(1, "127.0.0.1", 81, KEY, True))
    assert (tmp_path / "tasks.json").exists()


def test_of_two_starts_at_the_same_moment_one_is_the_second(tmp_path: Path) -> None:
    found: list[State | None] = []

    def start_again() -> None:
        with Claim(tmp_path, "tasks") as second:
            found.append(second.running)

    with serving(KEY) as state, Claim(tmp_path, "tasks") as first:
        thread = threading.Thread(target=start_again)
        thread.start()
        first.publish(state)  # the other thread has no lock until now
        thread.join(PATIENCE)
    assert found == [state]


def test_a_start_that_fails_lets_the_next_one_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no"), Claim(tmp_path, "tasks"):
        raise ValueError("no")
    monkeypatch.setattr(instance, "_LOCK_PATIENCE", 0.0)
    with Claim(tmp_path, "tasks") as claim:
        assert claim._lock is not None


def test_a_start_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "_LOCK_PATIENCE", 0.0)
    with Claim(tmp_path, "tasks"), Claim(tmp_path, "tasks") as second:
        assert second.running is None


def test_without_a_folder_each_start_is_the_first() -> None:
    with Claim(None, "tasks") as claim:
        claim.publish(State(1, "127.0.0.1", 80, KEY, True))
        assert claim.running is None


def test_a_full_disk_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*paths: object) -> None:
        raise OSError("no space left on device")

    with Claim(tmp_path, "tasks") as claim:
        monkeypatch.setattr(os, "replace", fail)
        claim.publish(State(1, "127.0.0.1", 80, KEY, True))
    assert {path.name for path in tmp_path.iterdir()} == {"lock"}


def test_the_address_of_a_state() -> None:
    assert State(1, "127.0.0.1", 80, KEY, True).url == "http://127.0.0.1"
    assert State(1, "::1", 8080, KEY, True).url == "http://[::1]:8080"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc of Linux")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_linux_names_the_program_on_a_port(host: str) -> None:
    code = (
        "import socket, sys; s = socket.create_server((sys.argv[1], 0), family=socket.AF_INET6 if ':' in sys.argv[1] "
        "else socket.AF_INET); print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, host, "the-name"], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline() or b"0")
        if not port:
            pytest.skip("no IPv6 here")
        description = describe_port_user(port) or ""
        assert "the-name" not in description  # it is cut
        assert sys.executable in description
        assert f"(process {process.pid})" in description
    assert describe_port_user(port) is None


def test_other_systems_do_not_name_it(tmp_path: Path) -> None:
    assert describe_port_user(80, tmp_path / "none") is None
