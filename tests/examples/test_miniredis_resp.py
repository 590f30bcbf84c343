"""RESP2 as bytes in, commands out: at every split, and what breaks the protocol or a limit."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.examples.miniredis.resp import MAX_LINE, Limits, Parser, array, bulk, error, integer, strings


def encoded(command: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in command)


def parsed(data: bytes, pieces: list[int], limits: Limits | None = None) -> tuple[list[list[bytes]], str]:
    """The commands in the data, and the error; ``pieces`` are the places where it is split."""
    parser = Parser(limits or Limits())
    commands = []
    places = sorted({0, len(data), *(place for place in pieces if place < len(data))})
    for start, end in itertools.pairwise(places):
        commands += parser.feed(data[start:end])
    return commands, parser.error


_text = st.binary(max_size=30) | st.sampled_from([b"", b"\r\n", b"*1\r\n", b"$-1\r\n", b"x" * 1023, b"x" * 1024])
_command = st.lists(_text, min_size=1, max_size=5) | st.lists(_text, min_size=30, max_size=35)
_line = st.sampled_from([b"PING\r\n", b"get  a\n", b" \r\n", b"\n", b"*0\r\n", b"*-1\r\n"])


@given(st.lists(_command | _line, max_size=6), st.lists(st.integers(0, 500), max_size=10))
def test_commands_are_the_same_however_they_arrive(commands: list[list[bytes] | bytes], pieces: list[int]) -> None:
    data = b"".join(one if isinstance(one, bytes) else encoded(one) for one in commands)
    lines = {b"PING\r\n": [b"PING"], b"get  a\n": [b"get", b"a"]}
    expected = [lines.get(one) if isinstance(one, bytes) else one for one in commands]
    expected = [one for one in expected if one is not None]
    assert parsed(data, pieces) == (expected, "")
    assert parsed(data, []) == (expected, "")


@pytest.mark.parametrize("tail", [b"", b"*1\r\n$1\r\nx\r\n", b"INFO\r\n", b"*1\r\n$2\r\n\r\n\r\n", b"$1\r\n"])
def test_every_split_gives_the_same(tail: bytes) -> None:
    data = b"PING\r\n" + encoded([b"SET", b"a\r\nb", b""]) + encoded([b"GET", b"k" * 20]) + tail
    whole = parsed(data, [])
    assert len(whole[0]) == 3 + (tail[:1] in (b"*", b"I")) + (tail == b"$1\r\n")
    assert parsed(data, list(range(len(data)))) == whole
    for place in range(len(data)):
        assert parsed(data, [place]) == whole


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes_give_commands_or_one_error(data: bytes, pieces: list[int]) -> None:
    commands, problem = parsed(data, pieces)
    assert all(commands)
    assert parsed(data, []) == (commands, problem)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"*1000000000\r\n", "invalid multibulk length: 1000000000, and --max-arguments is 4"),
        (b"*5\r\n", "invalid multibulk length: 5, and --max-arguments is 4"),
        (encoded([b"x"] * 5), "invalid multibulk length: 5, and --max-arguments is 4"),
        (b"*99999999999999999999999999\r\n", "invalid multibulk length"),
        (b"*" + b"1" * 100, "invalid multibulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*1\r\n$1000000000\r\n", "invalid bulk length: 1000000000, and --max-value is 9"),
        (b"*1\r\n$10\r\n0123456789\r\n", "invalid bulk length: 10, and --max-value is 9"),
        (b"*1\r\n$-1\r\n", "invalid bulk length: -1, and --max-value is 9"),
        (b"*1\r\n$" + b"0" * 100, "invalid bulk length"),
        (b"*1\r\n$+1\r\nx\r\n", "invalid bulk length"),
        (b"*1\r\n*1\r\n$1\r\nx\r\n", "expected '$', got '*'"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n$1\r\nxyz", "a string does not end where its length says"),
        (encoded([b"123456789", b"12345678", b"123"]), "the command has more than the 19 bytes of --max-command"),
        (b"GET 012345\r\n", "too big inline request"),
        (b"x" * (MAX_LINE + 1), "too big inline request"),
        (b"x" * (MAX_LINE + 1) + b"\r\n", "too big inline request"),
    ],
)
def test_what_breaks_a_limit_or_the_protocol_is_the_end(data: bytes, problem: str) -> None:
    limits = Limits(value=9, arguments=4, command=19)
    for pieces in [], [1], [3], [5]:
        parser = Parser(limits)
        commands = parser.feed(b"PING\r\n")
        places = [0, *pieces, len(data)]
        for start, end in itertools.pairwise(places):
            commands += parser.feed(data[start:end])
        assert (commands, parser.error) == ([[b"PING"]], f"ERR Protocol error: {problem}")
        assert parser.feed(b"PING\r\n") == []
        assert parser.buffered == 0


def test_what_fits_the_limits_is_a_command() -> None:
    command = [b"123456789", b"123456789", b"1", b""]
    assert parsed(encoded(command), [], Limits(value=9, arguments=4, command=19)) == ([command], "")


def test_an_incomplete_command_keeps_no_more_than_its_bytes() -> None:
    parser = Parser(Limits())
    for _ in range(100):
        assert parser.feed(b"*2\r\n$3\r\nGET\r\n$400\r\n"[: 20 if parser.buffered == 0 else 0] + b"x" * 3) == []
        assert parser.buffered <= 400


def test_replies() -> None:
    assert bulk(b"a\r\n") == b"$3\r\na\r\n\r\n"
    assert array([integer(-1), bulk(b"")]) == b"*2\r\n:-1\r\n$0\r\n\r\n"
    assert strings(iter([b"a", b"bc"])) == b"*2\r\n$1\r\na\r\n$2\r\nbc\r\n"
    assert error("ERR caf\u00e9\r\n-OK") == b"-ERR caf????-OK\r\n"
