"""The control sockets of the options, and how they are passed on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from reserve.cli.control.sockets import ControlSocket, adopt_controls, change_controls, open_controls, pass_controls
from reserve.cli.parser import parse_command_line
from reserve.cli.processes.state import PassedListener, State, read_state, write_state
from reserve.errors import StartupError, UsageError
from reserve.options.sources import Values, collect
from reserve.sockets.listeners import release
from tests.cli.control.paths import close_all


def values_of(directory: Path, *options: str) -> Values:
    command = parse_command_line([*options, "app", "echo"])
    return collect(command.given, {}, str(directory))


def modes(controls: list[ControlSocket]) -> dict[str, int]:
    return {one.purpose: stat.S_IMODE(os.stat(one.path).st_mode) for one in controls}


def test_sockets_have_the_modes_of_the_options(short_path: Path) -> None:
    both = ("--control", str(short_path / "a"), "--control-readonly", str(short_path / "b"))
    with close_all() as opened:
        opened += open_controls(values_of(short_path, *both))
        assert modes(opened) == {"control": 0o600, "control-readonly": 0o660}
        assert [one.readonly for one in opened] == [False, True]
        same = change_controls(opened, values_of(short_path, *both, "--control-mode", "660"))
        assert same == opened
        assert modes(same) == {"control": 0o660, "control-readonly": 0o660}
    assert os.listdir(short_path) == []


def test_changed_options_keep_what_stays(short_path: Path) -> None:
    first, second = str(short_path / "first"), str(short_path / "second")
    with close_all() as opened:
        opened += open_controls(values_of(short_path, "--control", first))
        both = change_controls(opened, values_of(short_path, "--control", first, "--control-readonly", second))
        assert both[0] is opened[0]
        opened.append(both[1])
        missing = str(short_path / "none" / "x")
        values = values_of(short_path, "--control", second + "x", "--control-readonly", missing)
        with pytest.raises(StartupError, match="--control-readonly: cannot listen on"):
            change_controls([], values)
        assert sorted(os.listdir(short_path)) == ["first", "second"]  # what was opened before the mistake is closed


def test_the_message_names_where_the_path_comes_from(short_path: Path) -> None:
    """A shell that has the variable for its commands may start another server."""
    with close_all() as opened:
        opened += open_controls(values_of(short_path, "--control", str(short_path / "a")))
        values = collect((), {"RESERVE_CONTROL": str(short_path / "a")}, str(short_path))
        with pytest.raises(StartupError, match=r"environment variable RESERVE_CONTROL: cannot .*another process"):
            open_controls(values)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--control-mode", "660"), "--control-mode is for --control PATH, and there is none"),
        (("--control", "x", "--control-readonly", "x"), "are both x; each needs a file of its own"),
    ],
)
def test_options_that_contradict_each_other(options: tuple[str, ...], text: str, short_path: Path) -> None:
    with pytest.raises(UsageError, match=text):
        open_controls(values_of(short_path, *options))


def test_sockets_survive_execve_with_their_files(short_path: Path) -> None:
    path = str(short_path / "control")
    opened = open_controls(values_of(short_path, "--control", path))
    unknown = os.open(os.devnull, os.O_RDONLY)
    passed = (*pass_controls(opened), PassedListener(unknown, "control-of-another-version"))
    state = State(argv=(), directory="", listeners=(), controls=passed, counts={"uptime": 1.5})
    assert set(state.descriptors()) == {opened[0].sock.fileno(), unknown}
    read = read_state(write_state(state))
    opened[0].sock.detach()
    assert read.counts == {"uptime": 1.5}
    (adopted,) = adopt_controls(read.controls)
    assert (adopted.purpose, adopted.path, adopted.readonly) == ("control", path, False)
    assert not adopted.sock.getblocking()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(unknown)
    release(adopted.sock)
    assert not os.path.exists(path)


def test_a_socket_whose_file_was_removed_is_opened_again_at_a_reload(short_path: Path) -> None:
    path = short_path / "control"
    values = values_of(short_path, "--control", str(path))
    with close_all() as opened:
        opened += open_controls(values)
        path.unlink()
        (again,) = change_controls(opened, values)
        opened.append(again)
        assert again.sock is not opened[0].sock
        release(opened[0].sock)
        assert path.is_socket()


def test_a_reload_changes_no_file_that_a_link_leads_to(short_path: Path) -> None:
    """The directory of the socket may belong to the user of the application."""
    path, other = short_path / "control", short_path / "other"
    values = values_of(short_path, "--control", str(path))
    other.touch(0o640)
    with close_all() as opened:
        opened += open_controls(values)
        path.unlink()
        path.symlink_to(other)
        with pytest.raises(StartupError, match="not a socket"):
            change_controls(opened, values)
    assert stat.S_IMODE(other.stat().st_mode) == 0o640
