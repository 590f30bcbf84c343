"""Finds where two parsers of the same input disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.differential.oracles import ORACLES, Message, Reading, read_with_reserve


@dataclass
class Disagreement:
    """One difference between reserve and an oracle."""

    oracle: str
    kind: str
    """``refuses``: the oracle refuses what reserve accepts. ``accepts``: the oracle accepts what reserve refuses.
    Otherwise the name of what differs; a field by its CGI key."""
    data: bytes
    """The input from the start of the request."""
    mine: Message | None
    theirs: Message | None
    message: str = ""
    """The error message of the side that refuses."""

    def __str__(self) -> str:
        return f"{self.oracle} {self.kind} {self.message!r}\n  {self.data!r}\n  {self.mine}\n  {self.theirs}"


def compare(data: bytes, oracle: str) -> Iterator[Disagreement]:
    """Compare request by request, up to the first difference after which the two no longer read the same request."""
    mine, theirs = read_with_reserve(data), ORACLES[oracle](data)
    start = 0
    for number in range(max(len(mine.messages), len(theirs.messages)) + 1):
        a, b = _nth(mine, number), _nth(theirs, number)
        remaining = data[start:]
        if a is None or b is None:
            if a is not None and theirs.refused is not None:
                yield Disagreement(oracle, "refuses", remaining, a, None, theirs.refused)
            elif b is not None and mine.refused is not None:
                yield Disagreement(oracle, "accepts", remaining, None, b, mine.refused)
            elif a is not None or b is not None:
                yield Disagreement(oracle, "boundary", remaining, a, b)
            return
        yield from _heads(oracle, remaining, a, b)
        if a.end is None and b.end is None:
            return
        if a.end is None and mine.refused is not None:
            yield Disagreement(oracle, "accepts", remaining, a, b, mine.refused)
            return
        if b.end is None and theirs.refused is not None:
            yield Disagreement(oracle, "refuses", remaining, a, b, theirs.refused)
            return
        if a.end != b.end:
            yield Disagreement(oracle, "end", remaining, a, b)
            return
        assert a.end is not None
        start = a.end
        for kind in ("body", "trailers", "keep_alive"):
            if getattr(a, kind) != getattr(b, kind):
                yield Disagreement(oracle, kind, remaining, a, b)
        if a.keep_alive != b.keep_alive:
            return


def _nth(reading: Reading, number: int) -> Message | None:
    return reading.messages[number] if number < len(reading.messages) else None


def _heads(oracle: str, data: bytes, a: Message, b: Message) -> Iterator[Disagreement]:
    for kind in ("method", "target", "minor"):
        if getattr(a, kind) != getattr(b, kind):
            yield Disagreement(oracle, kind, data, a, b)
    for key in sorted(a.environ.keys() | b.environ.keys()):
        if a.environ.get(key) != b.environ.get(key):
            yield Disagreement(oracle, key, data, a, b)
