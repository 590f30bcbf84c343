"""The chat of lines: what each client sees, what it costs the server, and who is disconnected."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.examples.chat import ANNOUNCED, MAX_NAME, TOO_LONG, Chat, Client, Lines, Room, launch
from reserve.loader.arguments import Arguments
from reserve.loader.find import find
from reserve.testing import FakeClock, RunningServer, running
from tests.clients import connect
from tests.waiting import PATIENCE, eventually

WELCOME = "Welcome. What is your name?"


class Person:
    """A client that sends and receives lines."""

    def __init__(self, served: RunningServer, name: str = "", *, window: int = 0) -> None:
        self.sock = connect(served.address, window=window)
        self._lines = self.sock.makefile("rb")
        if name:
            self.enter(name)

    def enter(self, name: str) -> None:
        assert self.line() == WELCOME
        self.say(name)
        assert self.line().startswith(f"You are {name}; ")

    def say(self, text: str | bytes) -> None:
        self.sock.sendall((text if isinstance(text, bytes) else text.encode()) + b"\r\n")

    def line(self) -> str:
        line = self._lines.readline()
        assert line.endswith(b"\r\n") or not line
        return line.decode().rstrip()

    def ask(self, text: str | bytes) -> str:
        self.say(text)
        return self.line()

    def close(self) -> None:
        self._lines.close()
        self.sock.close()


@contextlib.contextmanager
def chatting(chat: Chat | None = None, *names: str, **options: object) -> Iterator[list[Person]]:
    """People who have come in this order and have read who came after them; the first is ``people[0]``."""
    with running(chat or Chat(), wsgi=False, **({"threads": 1} | options)) as served, contextlib.ExitStack() as stack:  # type: ignore[arg-type]
        people: list[Person] = []
        for name in names:
            person = Person(served, name)
            stack.callback(person.close)
            for other in people:
                assert other.line() == f"* {name} is here"
            people.append(person)
        yield people


def test_a_line_goes_to_everybody_else() -> None:
    with chatting(None, "ann", "Bö", "cem") as (ann, bo, cem):
        ann.say("hello, world")
        assert bo.line() == cem.line() == "<ann> hello, world"
        bo.say("grüß dich \N{SNOWMAN}")
        assert ann.line() == cem.line() == "<Bö> grüß dich \N{SNOWMAN}"
        assert ann.ask("/who") == "3 here: ann, Bö, cem"


def test_names_change_and_belong_to_one() -> None:
    with chatting(None, "ann", "bob") as (ann, bob):
        assert bob.ask("/nick ANN") == "There is a ANN already. What is your name?"
        assert bob.ask("/nick Bob").startswith("You are Bob; 2 here")
        assert ann.line() == "* bob is now Bob"
        bob.say("/nick eve")
        assert ann.line() == "* Bob is now eve"
        assert bob.line().startswith("You are eve")
        assert ann.ask("/nick bob").startswith("You are bob")


@pytest.mark.parametrize("name", ["", "two words", "/who", "x" * (MAX_NAME + 1), "\x07", "\N{RIGHT-TO-LEFT OVERRIDE}"])
def test_a_name_is_refused(name: str) -> None:
    with running(Chat(), wsgi=False, threads=1) as served, contextlib.ExitStack() as stack:
        person = Person(served)
        stack.callback(person.close)
        assert person.line() == WELCOME
        assert person.ask(name) == "A name has 1 to 20 characters and no space. What is your name?"


def test_who_leaves_is_announced_and_the_name_is_free_again() -> None:
    chat = Chat()
    with chatting(chat, "ann", "bob", "cem") as (ann, bob, cem):
        assert bob.ask("/quit") == "Good bye."
        assert bob.line() == ""
        assert ann.line() == cem.line() == "* bob has left"
        cem.sock.shutdown(socket.SHUT_WR)
        assert ann.line() == "* cem has left"
        assert ann.ask("/nick bob").startswith("You are bob; 1 here")
    assert len(chat.room) == 0  # the stop of the server closes connections, too


def test_commands_explain_themselves() -> None:
    with chatting(None, "ann") as (ann,):
        assert "/nick NAME" in ann.ask("/help")
        assert ann.ask("/nosuch").startswith("There is no /nosuch. ")
        assert ann.ask("/nick") == "A name has 1 to 20 characters and no space. What is your name?"


def test_telnet_and_terminals_are_safe() -> None:
    with chatting(None, "ann", "bob") as (ann, bob):
        ann.say(b"\xff\xfb\x1f\xff\xf4hi\tthere \x1b[31mred\x07\x00 \xe2\x80\xae bad\xff\xfd\x06 \xfc\xfe")
        assert bob.line() == "<ann> hi there [31mred  bad ��".rstrip()


def test_a_line_that_is_too_long_is_dropped_and_the_rest_goes_on() -> None:
    with chatting(Chat(max_line=20), "ann", "bob") as (ann, bob):
        assert ann.ask("x" * 21) == "That line was too long: 20 bytes are the most."
        assert ann.ask("x" * 100_000) == "That line was too long: 20 bytes are the most."
        ann.say("y" * 20)
        assert bob.line() == f"<ann> {'y' * 20}"


def test_many_lines_at_once_arrive_in_order() -> None:
    with chatting(None, "ann", "bob") as (ann, bob):
        ann.say("\n".join(str(number) for number in range(1000)))
        assert [bob.line() for _ in range(1000)] == [f"<ann> {number}" for number in range(1000)]


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=10), st.integers(1, 40))
def test_lines_are_the_same_in_any_pieces(lines: list[bytes], size: int) -> None:
    reader = Lines(20)
    data = b"".join(line + b"\n" for line in lines)
    taken = []
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        while reader.peek():
            line = reader.take()
            assert line is not None
            taken.append(line)
    stripped = [line.removesuffix(b"\r") for line in lines]
    assert taken == [line if len(line) <= 20 else TOO_LONG for line in stripped]
    assert reader.take() is None


def test_of_an_endless_line_nothing_is_kept() -> None:
    reader = Lines(20)
    for _ in range(1000):
        reader.feed(b"x" * 15)
        assert len(reader._buffer) <= 21 + 15
    reader.feed(b"\nnext\n")
    assert (reader.take(), reader.take()) == (TOO_LONG, b"next")


def test_a_client_that_does_not_read_is_disconnected_and_the_others_go_on() -> None:
    with running(Chat(), wsgi=False, threads=2, max_output=50_000) as served, contextlib.ExitStack() as stack:
        ann, bob = (Person(served, name) for name in ("ann", "bob"))
        slow = Person(served, "slow", window=4096)
        for person in ann, bob, slow:
            stack.callback(person.close)
        assert [ann.line() for _ in range(2)] == ["* bob is here", "* slow is here"]
        assert bob.line() == "* slow is here"
        number = 0
        while True:
            ann.say(f"{number} " + "x" * 900)
            line = bob.line()
            if line == "* slow has left":
                break
            assert line == f"<ann> {number} " + "x" * 900
            number += 1
        assert number > 40
        assert ann.line() == "* slow has left"
        eventually(lambda: served.server.stats().connections == 2)


def test_a_client_without_a_name_has_some_time() -> None:
    clock = FakeClock()
    with running(Chat(name_timeout=60), wsgi=False, threads=1, clock=clock) as served, contextlib.ExitStack() as stack:
        silent, ann = Person(served), Person(served, "ann")
        stack.callback(silent.close)
        stack.callback(ann.close)
        assert silent.line() == WELCOME
        eventually(lambda: served.server.stats().parked == 2)
        clock.advance(61)
        assert silent.line() == ""
        assert ann.ask("/who") == "1 here: ann"


def test_in_a_large_room_nobody_is_told_who_comes_and_goes() -> None:
    room = Room()
    for number in range(ANNOUNCED + 1):
        client = Client(None, None, room, Lines(10), 1)  # type: ignore[arg-type]
        assert room.enter(client, f"c{number}")
    client._announce("* nobody gets this")  # it would fail: there is no server


def has_members(room: Room, count: int) -> bool:
    return len(room) == count


def descriptors() -> int:
    """How many descriptors this process may still open, after raising its limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - len(os.listdir("/proc/self/fd"))


def test_five_thousand_idle_clients_on_four_threads() -> None:
    """As many as the descriptors allow: each has one for the client and one for the server."""
    count = min(5000, (descriptors() - 200) // 2)
    chat = Chat()
    with running(chat, wsgi=False, threads=4) as served, contextlib.ExitStack() as stack:
        clients = []
        for start in range(0, count, 250):
            crowd = [stack.enter_context(served.connect(PATIENCE)) for _ in range(min(250, count - start))]
            for number, client in enumerate(crowd, start):
                client.sendall(b"c%d\n" % number)
            clients += crowd
            eventually(partial(has_members, chat.room, len(clients)))
        speaker = Person(served, "speaker")
        stack.callback(speaker.close)
        speaker.say("hello, everybody")
        for client in clients:
            data = b""
            while not data.endswith(b"<speaker> hello, everybody\r\n"):
                data += client.recv(65536)
        eventually(lambda: served.server.stats().parked == count + 1)
        stats = served.server.stats()
        assert (stats.threads, stats.busy, stats.connections) == (4, 0, count + 1)
        # Only what is in the process counts: two threads for each, say, would be thousands.
        assert threading.active_count() < 20
        assert speaker.ask("/who").startswith(f"{count + 1} here: c")


def test_the_arguments() -> None:
    application = find("chat")
    assert "--max-line" in application.arguments
    assert isinstance(application.launch(Arguments(["reserve chat", "--max-line=5", "--name-timeout", "1"])), Chat)
    assert isinstance(launch(["reserve chat"]), Chat)


@pytest.mark.parametrize(
    "arguments", [["loud"], ["--max-line", "0"], ["--max-line", "65537"], ["--name-timeout", "nan"]]
)
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        launch(["reserve chat", *arguments])
    assert caught.value.code == 2
    assert "usage: reserve chat" in capsys.readouterr().err
