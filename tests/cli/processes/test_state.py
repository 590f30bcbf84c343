"""What a process passes on to the one that it becomes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reserve.cli.binds import Listeners
from reserve.cli.processes.state import (
    PassedProcess,
    State,
    adopt_listeners,
    pass_listeners,
    read_state,
    write_state,
)
from reserve.sockets.listeners import listen_by_address, release


@pytest.mark.parametrize("has_memfd", [True, False])
def test_a_state_is_read_as_it_was_written(monkeypatch: pytest.MonkeyPatch, has_memfd: bool, tmp_path: Path) -> None:
    if not has_memfd:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    path = tmp_path / "s"
    listeners = Listeners()
    for address, sock in listen_by_address("127.0.0.1:0", f"unix:{path}"):
        listeners.main.append(sock)
        listeners.addresses[sock] = address
    listeners.origins[listeners.main[0]] = "the default"
    reader, writer = os.pipe()
    state = State(
        argv=("app", "echo"),
        directory=str(tmp_path),
        listeners=pass_listeners(listeners, with_files=True),
        processes=(PassedProcess(5, writer, 2, 1, "serving"),),
        generation=2,
        wanted=3,
        stop_timeout=1.5,
        signals=(1, 2),
    )
    fd = write_state(state)
    assert all(map(os.get_inheritable, (fd, *state.descriptors())))
    assert read_state(fd) == state
    assert not any(map(os.get_inheritable, state.descriptors()))
    again = adopt_listeners(state.listeners)
    assert list(again.addresses.values()) == ["127.0.0.1:0", f"unix:{path}"]
    assert list(again.origins.values()) == ["the default"]
    for sock in listeners.main:
        sock.detach()
    for sock in again.main:
        release(sock)
    assert not path.exists()
    os.close(reader)
    os.close(writer)


def test_what_another_version_has_added_is_left_out_and_what_it_does_not_have_is_the_default() -> None:
    listener, other = os.pipe()
    data = {
        "argv": ["app", "echo"],
        "directory": "/",
        "listeners": [{"fd": listener, "purpose": "main", "colour": "red"}],
        "processes": [{"pid": 1, "channel": other, "generation": 1, "slot": 0, "phase": "serving", "mood": "good"}],
        "colour": "red",
    }
    reader, writer = os.pipe()
    os.write(writer, json.dumps(data).encode())
    os.close(writer)
    state = read_state(reader)
    assert (state.wanted, state.argv, state.listeners[0].fd, state.processes[0].pid) == (
        0,
        ("app", "echo"),
        listener,
        1,
    )
    os.close(listener)
    os.close(other)
