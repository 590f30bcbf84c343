"""The channel between two processes of the command, with descriptors."""

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
