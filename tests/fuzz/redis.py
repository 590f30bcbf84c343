"""The fuzz target of the parser of miniredis, and its seeds.

For any payload: the parser raises nothing; commands and error are the same at once and in pieces; every command is
within the limits; nothing is kept after an error; commands that are written again are read the same.
"""

from __future__ import annotations

from collections.abc import Callable

from reserve.examples.miniredis.resp import Limits, Parser

USUAL = Limits()
TIGHT = Limits(value=20, arguments=3, command=30)


def read(pieces: list[bytes], limits: Limits) -> tuple[list[list[bytes]], str]:
    """The commands, and the error."""
    parser = Parser(limits)
    commands = [command for piece in pieces for command in parser.feed(piece)]
    if parser.error:
        assert parser.buffered == 0, "bytes are kept after an error"
        assert parser.feed(b"PING\r\n") == [], "a command is read after an error"
    return commands, parser.error


def write(command: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in command)


def resp(data: bytes) -> None:
    from tests.fuzz.targets import unpack

    _, payload, pieces = unpack(data)
    limits = TIGHT if data[:1] > b"\0" else USUAL
    at_once = read([payload], limits)
    other = read(pieces, limits)
    assert other == at_once, f"at once: {at_once!r}, in pieces: {other!r}"
    for command in at_once[0]:
        assert command
        assert max(map(len, command)) <= limits.value
    assert read([b"".join(map(write, at_once[0]))], USUAL) == (at_once[0], "")


GET = write([b"GET", b"a"])
TARGETS: dict[str, Callable[[bytes], None]] = {"resp": resp}
SEEDS: dict[str, list[bytes]] = {
    "resp": [
        GET, GET * 3, b"PING\r\n", b"PING\n" + GET, b"SET a b\r\n" + GET, b"\r\n" + GET, b" \r\n", b"*0\r\n" + GET,
        b"*-1\r\n" + GET, write([b"SET", b"a\r\nb", b""]) + GET, write([b"x" * 21]), write([b"x"] * 4),
        write([b"x" * 16] * 2), write([b"x" * 900, b"y" * 100]), write([b"x"] * 33), b"*1\r\n$-1\r\n",
        b"*1\r\n$1000000000\r\n", b"*1\r\n*1\r\n", b"*1000000000\r\n", b"*1\r\n$1\r\nxyz",
        b"*2\n$3\nGET\n$1\na\n", b"*1\r\n$01\r\nx\r\n", b"*+1\r\n", b"*", b"*1\r\n$", b"$1\r\na\r\n",
        b"GET \xff\x00\r\n", b"x" * 100,
    ],
}  # fmt: skip
