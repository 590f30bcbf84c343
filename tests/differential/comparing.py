"""Where two readers of the same octets disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.differential.oracles import ORACLES, Message, Understood, reserve


@dataclass
class Disagreement:
    """One point on which reserve and an oracle differ."""

    oracle: str
    kind: str
    """``refuses``: the oracle does, and we do not. ``accepts``: the other way round. Otherwise what differs;
    a field by its CGI key."""
    octets: bytes
    """The stream from the start of the request."""
    mine: Message | None
    theirs: Message | None
    words: str = ""
    """Of the side that refuses."""

    def __str__(self) -> str:
        return f"{self.oracle} {self.kind} {self.words!r}\n  {self.octets!r}\n  {self.mine}\n  {self.theirs}"


def compare(data: bytes, oracle: str) -> Iterator[Disagreement]:
    """Request by request, up to the first difference behind which the two no longer read the same octets."""
    mine, theirs = reserve(data), ORACLES[oracle](data)
    start = 0
    for number in range(max(len(mine.messages), len(theirs.messages)) + 1):
        a, b = _nth(mine, number), _nth(theirs, number)
        octets = data[start:]
        if a is None or b is None:
            if a is not None and theirs.refused is not None:
                yield Disagreement(oracle, "refuses", octets, a, None, theirs.refused)
            elif b is not None and mine.refused is not None:
                yield Disagreement(oracle, "accepts", octets, None, b, mine.refused)
            elif a is not None or b is not None:
                yield Disagreement(oracle, "boundary", octets, a, b)
            return
        yield from _heads(oracle, octets, a, b)
        if a.end is None and b.end is None:
            return
        if a.end is None and mine.refused is not None:
            yield Disagreement(oracle, "accepts", octets, a, b, mine.refused)
            return
        if b.end is None and theirs.refused is not None:
            yield Disagreement(oracle, "refuses", octets, a, b, theirs.refused)
            return
        if a.end != b.end:
            yield Disagreement(oracle, "end", octets, a, b)
            return
        assert a.end is not None
        start = a.end
        for kind in ("body", "trailers", "keep_alive"):
            if getattr(a, kind) != getattr(b, kind):
                yield Disagreement(oracle, kind, octets, a, b)
        if a.keep_alive != b.keep_alive:
            return


def _nth(understood: Understood, number: int) -> Message | None:
    return understood.messages[number] if number < len(understood.messages) else None


def _heads(oracle: str, octets: bytes, a: Message, b: Message) -> Iterator[Disagreement]:
    for kind in ("method", "target", "minor"):
        if getattr(a, kind) != getattr(b, kind):
            yield Disagreement(oracle, kind, octets, a, b)
    for key in sorted(a.environ.keys() | b.environ.keys()):
        if a.environ.get(key) != b.environ.get(key):
            yield Disagreement(oracle, key, octets, a, b)
