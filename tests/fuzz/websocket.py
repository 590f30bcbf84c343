"""The fuzz target of WebSocket sessions, and its seeds: the cases of Autobahn.

For any payload: no error is raised; messages and responses are the same at once and in pieces; a session that has ended
sends nothing more, and its last frame is a close frame; one that is open holds no more than came.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from tests.protocol.websocket.autobahn import CASES
from tests.protocol.websocket.frames import CLOSE, parse

__all__ = ["SEEDS", "TARGETS"]

_MAX_MESSAGE = 100


def play(pieces: list[bytes]) -> tuple[list[Any], list[tuple[int, bytes]], bool]:
    """The messages, the frames that are sent, and whether the session has ended."""
    from reserve.protocol.websocket.session import Session

    session = Session(_MAX_MESSAGE)
    session.negotiate("permessage-deflate")
    messages: list[Any] = []
    sent = b""
    for piece in pieces:
        had_ended = session.ended
        session.receive(piece)
        while session.message is not None:
            messages.append(session.message)
            session.message = None
            session.proceed()
        output = session.output()
        assert not (had_ended and output), "a session that has ended sends more"
        sent += output
    assert all(len(message) <= _MAX_MESSAGE for message in messages)
    assert session.ended or session.held <= sum(map(len, pieces))
    return messages, parse(sent), session.ended


def check(data: bytes) -> None:
    from tests.fuzz.targets import unpack

    _, payload, pieces = unpack(data)
    at_once = play([payload])
    other = play(pieces)
    assert other == at_once, f"at once: {at_once!r}, in pieces: {other!r}"
    _, frames, ended = at_once
    assert [opcode == CLOSE for opcode, _ in frames] == [False] * (len(frames) - ended) + [True] * ended


_AVAILABLE = find_spec("websockets") is not None

TARGETS: dict[str, Callable[[bytes], None]] = {"websocket": check} if _AVAILABLE else {}
SEEDS: dict[str, list[bytes]] = (
    {"websocket": [case.sent for case in CASES if len(case.sent) < 300]} if _AVAILABLE else {}
)
