"""A session with frames in any pieces: the same messages, responses and close codes as in one piece."""

from __future__ import annotations

import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.extras import library
from tests.protocol.websocket.autobahn import CASES, MAX_MESSAGE, Case
from tests.protocol.websocket.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, close, codes, frame, parse

library("websockets")

from reserve.errors import UsageError  # noqa: E402
from reserve.protocol.websocket.frametracker import FrameTracker  # noqa: E402
from reserve.protocol.websocket.session import Message, Session  # noqa: E402

SMALL = [case for case in CASES if len(case.sent) < 400]


def play(pieces: list[bytes]) -> tuple[list[Message], list[tuple[int, bytes]], Session]:
    """The messages, and the frames that are sent."""
    session = Session(MAX_MESSAGE)
    sent = b""
    messages: list[Message] = []
    for piece in pieces:
        session.receive(piece)
        while session.message is not None or session.unfinished:
            if session.message is not None:
                messages.append(session.message)
                session.message = None
            session.proceed()
        sent += session.output()
    return messages, parse(sent), session


def expected(case: Case) -> tuple[list[bytes], list[tuple[int, bytes | int | None]]]:
    """The messages as bytes, and the control frames."""
    messages = [data for opcode, data in case.received if opcode in (TEXT, BINARY)]
    return messages, [item for item in case.received if item[0] not in (TEXT, BINARY)]  # type: ignore[return-value]


def check(case: Case, pieces: list[bytes]) -> None:
    messages, frames, session = play(pieces)
    wanted, controls = expected(case)
    assert [message.encode() if isinstance(message, str) else message for message in messages] == wanted
    assert codes(frames) == controls
    assert session.ended
    assert not session.is_open


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_in_one_piece(case: Case) -> None:
    check(case, [case.sent])


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_each_case_at_every_split(case: Case) -> None:
    for position in range(1, len(case.sent)):
        check(case, [case.sent[:position], case.sent[position:]])
    check(case, [case.sent[index : index + 1] for index in range(len(case.sent))])


contents = st.one_of(st.text(max_size=300), st.binary(max_size=300))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Message], list[bytes]]:
    """Messages in any fragments, with pings in between: the bytes, the messages and the payloads of the pings."""
    data, pings = b"", []
    messages = draw(st.lists(contents, max_size=5))
    for message in messages:
        payload = message.encode() if isinstance(message, str) else message
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=6)))
        bounds = [0, *cuts, len(payload)]
        for index, (start, end) in enumerate(pairwise(bounds)):
            opcode = CONT if index else TEXT if isinstance(message, str) else BINARY
            data += frame(
                opcode, payload[start:end], fin=index == len(cuts), mask=draw(st.binary(min_size=4, max_size=4))
            )
            if draw(st.booleans()):
                pings.append(draw(st.binary(max_size=125)))
                data += frame(PING, pings[-1])
    return data, messages, pings


@settings(deadline=None)
@given(conversation=conversations(), data=st.data())
def test_messages_in_any_fragments_and_pieces(
    conversation: tuple[bytes, list[Message], list[bytes]], data: st.DataObject
) -> None:
    sent, messages, pings = conversation
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=20)))
    bounds = [0, *cuts, len(sent)]
    received, frames, session = play([sent[start:end] for start, end in pairwise(bounds)])
    assert received == messages
    assert frames == [(PONG, ping) for ping in pings]
    assert session.is_open
    assert not session.incomplete


@settings(deadline=None)
@given(data=st.binary(max_size=500))
def test_any_bytes_give_messages_or_a_close(data: bytes) -> None:
    _, frames, session = play([data])
    assert all(opcode in (PONG, CLOSE) for opcode, _ in frames)
    assert session.ended or session.is_open


@settings(deadline=None)
@given(conversation=conversations())
def test_the_tracker_knows_where_frames_end(conversation: tuple[bytes, list[Message], list[bytes]]) -> None:
    sent, _, _ = conversation
    sent += b"".join(frame(TEXT, b"*" * size) for size in (0, 125, 126, 65536))
    single, whole = FrameTracker(), FrameTracker()
    ends = []
    for index in range(len(sent)):
        assert single.advance(sent[index : index + 1], 0) == 1
        if not single.incomplete:
            ends.append(index + 1)
    position = 0
    for end in ends:
        position = whole.advance(sent, position)
        assert position == end
        assert not whole.incomplete
    assert position == len(sent)


def test_what_the_server_sends() -> None:
    session = Session(MAX_MESSAGE)
    assert session.send("gr\u00fcn")
    assert session.send(b"\x00")
    assert session.send(bytearray(b"a"))
    assert session.send(memoryview(b"b"))
    session.ping(b"p")
    assert parse(session.output()) == [
        (TEXT, "gr\u00fcn".encode()),
        (BINARY, b"\x00"),
        (BINARY, b"a"),
        (BINARY, b"b"),
        (PING, b"p"),
    ]
    with pytest.raises(UsageError, match="str or bytes, not int"):
        session.send(5)
    for code, reason in ((1005, ""), (999, ""), (1000, "x" * 124)):
        with pytest.raises(UsageError):
            session.begin_close(code, reason)
    session.begin_close(3000, "enough")
    assert not session.send("late")
    session.begin_close()
    assert parse(session.output()) == [(CLOSE, b"\x0b\xb8enough")]
    assert not session.ended
    session.receive(close(3000))
    assert session.ended
    assert session.close == (3000, "")


def test_an_end_without_a_close_frame() -> None:
    session = Session(MAX_MESSAGE)
    session.receive_eof()
    assert session.ended
    assert session.close == (1006, "")


@pytest.mark.parametrize(
    ("offered", "accepted"),
    [
        ("permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate", True),
        ("permessage-bzip2", False),
        ("permessage-deflate; nonsense", False),
        ("; ; ,", False),
        ("", False),
    ],
)
def test_compression_keeps_nothing_between_messages(offered: str, accepted: bool) -> None:
    field = Session(MAX_MESSAGE).negotiate(offered)
    assert (field is not None) == accepted
    if field is not None:
        assert "server_no_context_takeover" in field
        assert "client_no_context_takeover" in field


def test_a_compressed_message_is_limited_after_it_is_decompressed() -> None:
    session = Session(1000)
    messages: list[Message] = []
    assert session.negotiate("permessage-deflate")
    for size, code in ((1000, None), (10000000, 1009)):
        deflate = zlib.compressobj(wbits=-15)
        data = deflate.compress(b"*" * size) + deflate.flush(zlib.Z_SYNC_FLUSH)
        session.receive(frame(TEXT, data[:-4], rsv=4))
        messages += [session.message] if session.message is not None else []
        session.message = None
        assert (session.close[0] if session.ended else None) == code
    assert messages == ["*" * 1000]


@pytest.mark.parametrize("final", [True, False])
def test_many_bytes_are_handled_some_at_a_time(final: bool) -> None:
    """After the server's close frame messages are discarded, and they may be much larger than what was received."""
    session = Session(MAX_MESSAGE)
    assert session.negotiate("permessage-deflate")
    session.begin_close()
    deflate = zlib.compressobj(wbits=-15)
    data = deflate.compress(bytes(100000)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    fragments = frame(BINARY, data, fin=False, rsv=4) + frame(CONT, b"\0") + frame(PING)
    session.receive((frame(BINARY, data[:-4], rsv=4) if final else fragments) * 40 + frame(CLOSE))
    calls = 1
    while session.unfinished:
        session.proceed()
        calls += 1
    assert session.ended
    assert calls > 10


def test_what_a_text_takes_in_memory_counts() -> None:
    session = Session(MAX_MESSAGE)
    text = "*" * 100000 + "\U0001f600"
    session.receive(frame(TEXT, text.encode()))
    assert session.message == text
    assert session.held > 400000


def test_nothing_of_the_client_is_kept_after_the_end() -> None:
    """The connection lingers for a while, and its memory does not count any more."""
    deflate = zlib.compressobj(wbits=-15)
    bomb = deflate.compress(bytes(10000000)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    fragments = frame(BINARY, bomb[:900], fin=False, rsv=4) + frame(CONT, bomb[900:])
    too_large = frame(BINARY, bytes(900000), fin=False) + frame(CONT, bytes(900000))
    closed = frame(BINARY, bytes(900000), fin=False) + close(1000)
    cases = (fragments, 1009), (too_large, 1009), (closed, 1000), (frame(BINARY, bytes(900000)), 1013)
    sessions = []
    tracemalloc.start()
    try:
        for sent, code in cases:
            session = Session(1000000)
            assert session.negotiate("permessage-deflate")
            session.receive(sent)
            while session.unfinished:
                session.proceed()
            if code == 1013:
                session.fail(1013, "the server is overloaded")
            assert (session.ended, session.close[0], session.held) == (True, code, 0)
            sessions.append(session)
        assert tracemalloc.get_traced_memory()[0] < 100000
    finally:
        tracemalloc.stop()


def test_many_frames_are_handled_some_at_a_time() -> None:
    """One call handles a part, whatever it has got: the other connections wait meanwhile."""
    session = Session(MAX_MESSAGE)
    session.receive(frame(PING) * 10000 + frame(TEXT, b"last"))
    calls, pongs = 1, len(parse(session.output()))
    assert 0 < pongs < 1000
    while session.unfinished:
        assert session.message is None
        session.proceed()
        calls, pongs = calls + 1, pongs + len(parse(session.output()))
    assert (session.message, pongs, session.pending) == ("last", 10000, False)
    assert calls > 10
