"""The cases of the Autobahn test suite for servers that echo (sections 1 to 7, 9 and 10), written down here, because
its fuzzing client runs on no CPython that reserve supports. Each has what the client sends, and what it receives.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.protocol.websocket.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, close, frame

MAX_MESSAGE = 1048576


class Case(NamedTuple):
    name: str
    sent: bytes
    received: list[tuple[int, bytes | int | None]]
    """What the server sends: (opcode, payload), in place of the payload of a close frame its code."""


def _good(name: str, sent: bytes, *received: tuple[int, bytes]) -> Case:
    """The client closes at last."""
    return Case(name, sent + close(1000, b"bye"), [*received, (CLOSE, 1000)])


def _bad(name: str, sent: bytes, *received: tuple[int, bytes], code: int = 1002) -> Case:
    """The server ends the connection; what the client sends afterwards has no effect."""
    return Case(name, sent + frame(TEXT, b"too late"), [*received, (CLOSE, code)])


def _fragments(opcode: int, data: bytes, size: int) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    return b"".join(
        frame(CONT if index else opcode, piece, fin=index == len(pieces) - 1) for index, piece in enumerate(pieces)
    )


_SIZES = (0, 125, 126, 127, 128, 65535, 65536)
_VALID = (
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "\0",
    "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff",
    "\ud7ff\ue000\ufffd\ufffe",
    "\U0001f600" * 100,
)
_INVALID = (
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",  # a surrogate
    b"\xf4\x90\x80\x80",  # above U+10FFFF
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80",
    b"\xc0\xaf",  # overlong
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xfe",
    b"\xff",
    b"\xc3(",
    b"\xce",  # incomplete at its end
    b"\xe1\xbd",
    b"\xf0\x90\x80",
)
_CLOSE_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999)
_NO_CODES = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


def cases() -> list[Case]:
    """All of them."""
    found = [_good(f"1.1 text of {size}", frame(TEXT, b"*" * size), (TEXT, b"*" * size)) for size in _SIZES]
    found += [
        _good(f"1.2 binary of {size}", frame(BINARY, b"\xfe" * size), (BINARY, b"\xfe" * size)) for size in _SIZES
    ]
    found += [
        _good("2.1 empty ping", frame(PING), (PONG, b"")),
        _good("2.2 ping", frame(PING, b"Hello, world!"), (PONG, b"Hello, world!")),
        _good("2.3 binary ping", frame(PING, bytes(range(0, 256, 25))), (PONG, bytes(range(0, 256, 25)))),
        _good("2.4 long ping", frame(PING, b"\xfe" * 125), (PONG, b"\xfe" * 125)),
        _bad("2.5 ping of 126", frame(PING, b"\xfe" * 126)),
        _good("2.7 unsolicited pong", frame(PONG, b"pong")),
        _good("2.9 pong and ping", frame(PONG, b"pong") + frame(PING, b"ping"), (PONG, b"ping")),
        _good(
            "2.10 ten pings",
            b"".join(frame(PING, b"%d" % n) for n in range(10)),
            *((PONG, b"%d" % n) for n in range(10)),
        ),
    ]
    for rsv in range(1, 8):
        found.append(_bad(f"3.{rsv} reserved bits", frame(TEXT, b"Hello", rsv=rsv)))
    found.append(_bad("3.2 after a message", frame(TEXT, b"small") + frame(TEXT, b"Hello", rsv=2), (TEXT, b"small")))
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        found.append(_bad(f"4 opcode {opcode}", frame(TEXT, b"ok") + frame(opcode, b"data"), (TEXT, b"ok")))
    two = frame(TEXT, b"frag1", fin=False), frame(CONT, b"frag2")
    found += [
        _bad("5.1 fragmented ping", frame(PING, b"frag1", fin=False) + frame(CONT, b"frag2")),
        _bad("5.2 fragmented pong", frame(PONG, b"frag1", fin=False) + frame(CONT, b"frag2")),
        _good("5.3 two fragments", b"".join(two), (TEXT, b"frag1frag2")),
        _good("5.6 ping in between", two[0] + frame(PING, b"x") + two[1], (PONG, b"x"), (TEXT, b"frag1frag2")),
        _bad("5.9 continuation of nothing", frame(CONT, b"non-continuation payload")),
        _bad("5.12 likewise, not final", frame(CONT, b"data", fin=False) + frame(TEXT, b"Hello")),
        _bad("5.15 continuation after the end", b"".join(two) + frame(CONT, b"more"), (TEXT, b"frag1frag2")),
        _bad("5.18 text within a message", two[0] + frame(TEXT, b"frag2")),
        _good(
            "5.19 five fragments with pings",
            frame(TEXT, b"1", fin=False) + frame(CONT, b"2", fin=False) + frame(PING, b"a")
            + frame(CONT, b"3", fin=False) + frame(CONT, b"4", fin=False) + frame(PING, b"b") + frame(CONT, b"5"),
            (PONG, b"a"), (PONG, b"b"), (TEXT, b"12345"),
        ),
        _good("6.1 empty fragments", frame(TEXT, fin=False) + frame(CONT, fin=False) + frame(CONT), (TEXT, b"")),
        _good(
            "6.1 empty around a payload",
            frame(TEXT, fin=False) + frame(CONT, b"middle", fin=False) + frame(CONT),
            (TEXT, b"middle"),
        ),
    ]  # fmt: skip
    for text in _VALID:
        data = text.encode()
        found.append(_good(f"6.2 valid {text[:6]!a}", frame(TEXT, data), (TEXT, data)))
        found.append(_good(f"6.2 byte by byte {text[:6]!a}", _fragments(TEXT, data, 1), (TEXT, data)))
    for data in _INVALID:
        found.append(_bad(f"6.3 invalid {data[:8]!r}", frame(TEXT, data), code=1007))
        found.append(_bad(f"6.3 in fragments {data[:8]!r}", _fragments(TEXT, data, 1), code=1007))
    found += [
        _bad("6.4 fails at the first fragment", frame(TEXT, b"ok\xf4\x90", fin=False), code=1007),
        Case("7.1.1 message and close", frame(TEXT, b"Hello") + close(1000), [(TEXT, b"Hello"), (CLOSE, 1000)]),
        Case("7.1.2 two closes", close(1000) + close(1000), [(CLOSE, 1000)]),
        Case("7.1.3 ping after the close", close(1000) + frame(PING), [(CLOSE, 1000)]),
        Case("7.1.4 message after the close", close(1000) + frame(TEXT, b"Hello"), [(CLOSE, 1000)]),
        _bad("7.1.5 close within a message", frame(TEXT, b"frag1", fin=False) + close(1000)),
        Case("7.3.1 empty close", close(), [(CLOSE, None)]),
        _bad("7.3.2 close of one byte", frame(CLOSE, b"a")),
        Case("7.3.3 close with a code", close(1000), [(CLOSE, 1000)]),
        Case("7.3.4 close with a reason", close(1000, b"Hello World!"), [(CLOSE, 1000)]),
        Case("7.3.5 longest reason", close(1000, b"*" * 123), [(CLOSE, 1000)]),
        _bad("7.3.6 longer reason", close(1000, b"*" * 124)),
        _bad("7.5.1 reason that is no UTF-8", close(1000, b"\xce\xba\xed\xa0\x80"), code=1007),
        _bad("not masked", frame(TEXT, b"Hello", mask=None)),
        _bad("close in fragments", frame(CLOSE, b"\x03\xe8", fin=False)),
        _bad("length with its first bit set", b"\x81\xff" + b"\xff" * 8, code=1009),
    ]
    found += [Case(f"7.7 close code {code}", close(code), [(CLOSE, code)]) for code in _CLOSE_CODES]
    found += [_bad(f"7.9 close code {code}", close(code)) for code in _NO_CODES]
    largest = b"*" * MAX_MESSAGE
    found += [
        _good("9.1 largest text", frame(TEXT, largest), (TEXT, largest)),
        _good("9.3 largest in fragments of 64 KiB", _fragments(TEXT, largest, 65536), (TEXT, largest)),
        _good(
            "9.4 binary in fragments of 1 KiB", _fragments(BINARY, largest[:262144], 1024), (BINARY, largest[:262144])
        ),
        _bad("9 too large", frame(BINARY, largest + b"*"), code=1009),
        _bad("9 too large in fragments", _fragments(TEXT, largest + b"*", 65536), code=1009),
        _good("10.1 65,536 in fragments of 1,300", _fragments(TEXT, b"*" * 65536, 1300), (TEXT, b"*" * 65536)),
    ]
    return found


CASES = cases()
