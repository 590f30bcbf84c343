"""Messages to the service manager: their text, which variables they come from, and that none of them blocks."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reserve.sockets.notify import Notifier


@pytest.fixture
def manager(short_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(short_path / "notify"))
        sock.setblocking(False)
        yield sock


@pytest.fixture
def notifier(manager: socket.socket) -> Notifier:
    return Notifier.from_environ({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "3000000"})


def received(manager: socket.socket) -> str:
    return manager.recv(4096).decode()


def test_each_message_is_one_datagram(notifier: Notifier, manager: socket.socket) -> None:
    notifier.status("imports the\napplication", 300)
    assert received(manager) == "STATUS=imports the application\nEXTEND_TIMEOUT_USEC=300000000"
    notifier.ready("serves")
    assert received(manager) == "READY=1\nSTATUS=serves"
    notifier.ready("serves", main_pid=17)
    assert received(manager) == "READY=1\nSTATUS=serves\nMAINPID=17"
    notifier.resume("2 processes serve")
    assert received(manager) == "STATUS=2 processes serve"
    assert notifier.status_text == "2 processes serve"
    notifier.watchdog()
    assert received(manager) == "WATCHDOG=1"
    notifier.extend_timeout(0.5)
    assert received(manager) == "EXTEND_TIMEOUT_USEC=500000"
    notifier.stopping("stops", 40)
    assert received(manager) == "STOPPING=1\nSTATUS=stops\nEXTEND_TIMEOUT_USEC=40000000"
    notifier.failed("no memory", 12)
    assert received(manager) == "STATUS=no memory\nERRNO=12"


def test_a_reload_has_its_time_and_ends_also_when_it_fails(notifier: Notifier, manager: socket.socket) -> None:
    notifier.ready("serves")
    received(manager)
    before = time.monotonic_ns() // 1000
    with pytest.raises(ZeroDivisionError), notifier.reload("loads"):
        raise ZeroDivisionError
    match = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=([0-9]+)\nSTATUS=loads", received(manager))
    assert match is not None
    assert before <= int(match[1]) <= time.monotonic_ns() // 1000
    assert received(manager) == "READY=1\nSTATUS=serves"


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # the kernel chooses a name
        name = manager.getsockname().decode()
        Notifier(f"@{name[1:]}").ready()
        assert received(manager) == "READY=1"


def test_the_variables_are_for_this_process_only(manager: socket.socket) -> None:
    path = manager.getsockname()
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "17", "OTHER": "x"}
    notifier = Notifier.from_environ(environ, pid=17)
    assert environ == {"OTHER": "x"}
    assert notifier.watchdog_interval == 1.5
    # What takes the place of this program in this process gets them again.
    pid = str(os.getpid())
    assert notifier.environ() == {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": pid}
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "18"}, pid=17)
    assert notifier.watchdog_interval == 0
    notifier.watchdog()
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


def test_without_a_service_manager_nothing_happens() -> None:
    notifier = Notifier.from_environ({"WATCHDOG_USEC": "3000000"})
    assert not notifier.is_active
    assert notifier.watchdog_interval == 0
    assert notifier.environ() == {}
    with notifier.reload():
        notifier.watchdog()


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, "a vsock address is for the init process of a virtual machine"),
        ({"NOTIFY_SOCKET": "run/x"}, "it has to be an absolute path, or @ and a name"),
        ({"NOTIFY_SOCKET": "@"}, "it has to be an absolute path, or @ and a name"),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3s"}, "WATCHDOG_USEC is '3s' and no number"),
    ],
)
def test_what_cannot_be_used_is_reported(environ: dict[str, str], reason: str) -> None:
    reports: list[str] = []
    notifier = Notifier.from_environ(environ, report=reports.append)
    assert not notifier.watchdog_interval
    assert len(reports) == 1
    assert reason in reports[0]


def test_a_message_that_cannot_be_sent_is_lost_and_reported_once(manager: socket.socket) -> None:
    reports: list[str] = []
    notifier = Notifier(manager.getsockname(), report=reports.append)
    while not reports:  # the manager reads none of them
        notifier.status("x" * 900)
    assert reports == [
        f"the service manager gets no messages: NOTIFY_SOCKET={manager.getsockname()}: Resource temporarily unavailable"
    ]
    notifier.ready()
    assert len(reports) == 1


def test_a_long_status_fits_into_a_datagram(notifier: Notifier, manager: socket.socket) -> None:
    notifier.ready("\u20ac" * 5000)
    assert len(manager.recv(8192)) < 4096
