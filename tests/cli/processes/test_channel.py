"""The messages between two processes of the command, also with descriptors."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from reserve.cli.processes.channel import Channel, DescriptorChannel


@pytest.fixture
def ends() -> Iterator[tuple[Channel, DescriptorChannel]]:
    first, second = socket.socketpair()
    sender, receiver = Channel(first), DescriptorChannel(second)
    yield sender, receiver
    sender.close()
    receiver.close()


def test_descriptors_arrive_with_their_messages(ends: tuple[Channel, DescriptorChannel]) -> None:
    sender, receiver = ends
    pipes = [os.pipe() for _ in range(20)]
    for number, (_, writer) in enumerate(pipes):
        sender.send("note", number=number)
        sender.send_descriptor(writer, "fork", number=number)
        os.close(writer)
    messages = []
    while len(messages) < 40:
        messages += receiver.receive()
    assert [message["type"] for message in messages] == ["note", "fork"] * 20
    assert len(receiver.descriptors) == 20
    for number, (reader, _) in enumerate(pipes):
        fd = receiver.descriptors.popleft()
        os.write(fd, b"%d" % number)
        os.close(fd)
        assert os.read(reader, 10) == b"%d" % number
        os.close(reader)


def test_descriptors_that_nothing_takes_are_closed(ends: tuple[Channel, DescriptorChannel]) -> None:
    sender, receiver = ends
    reader, writer = os.pipe()
    sender.send_descriptor(writer, "fork")
    os.close(writer)
    assert receiver.receive() == [{"type": "fork"}]
    receiver.close()
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_the_end_of_the_stream_is_noticed(ends: tuple[Channel, DescriptorChannel]) -> None:
    sender, receiver = ends
    sender.close()
    assert receiver.receive() == []
    assert receiver.ended


def test_messages_arrive_in_any_pieces() -> None:
    first, second = Channel.pair()
    data = b'{"type": "a"}\n{"type": "b", "x": 1}\n{"other": 1}\n[]\n'
    for piece in (data[:3], data[3:20], data[20:]):
        first.sock.sendall(piece)
    first.sock.close()
    assert list(second.messages()) == [{"type": "a"}, {"type": "b", "x": 1}]
    assert second.ended
    second.close()


def test_what_is_no_message_ends_the_channel() -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff\n", b"x" * ((4 << 20) + 1)):
        first, second = Channel.pair()
        second.sock.setblocking(False)
        sent = 0
        while sent < len(data) and not second.ended:
            sent += first.sock.send(data[sent : sent + 60000])
            second.receive()
        assert second.ended
        first.close()
        second.close()


def test_what_the_peer_does_not_read_waits_and_arrives_whole() -> None:
    first, second = Channel.pair()
    first.sock.setblocking(False)
    count = 0
    while first.flush():
        first.send("fill", text="x" * 5000)
        count += 1
    first.send("retire")
    received: list[str] = []
    while len(received) < count + 1:
        received += [message["type"] for message in second.receive()]
        first.flush()
    assert received == ["fill"] * count + ["retire"]
    assert first.flush()
    first.close()
    second.close()


def test_a_peer_that_has_gone_is_no_error() -> None:
    first, second = Channel.pair()
    second.close()
    first.send("retire")
    first.send("retire")
    assert first.receive() == []
    assert first.ended
    first.close()


def test_a_descriptor_of_a_channel_is_not_inherited() -> None:
    first, second = Channel.pair()
    fd = os.dup(first.fileno())
    os.set_inheritable(fd, True)
    again = Channel.from_fd(fd)
    assert not os.get_inheritable(fd)
    for channel in (first, second, again):
        channel.close()
