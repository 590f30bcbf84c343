"""Measures the work of a parser in bytes, and finds patterns whose work could grow with the square of the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Work:
    """Counts the bytes that a parser reads or copies in its buffers.

    ``buffer`` is to be used by the parser in place of ``bytearray``.
    """

    def __init__(self) -> None:
        self.count = 0
        work = self

        class Buffer(bytearray):
            def find(self, *args: Any) -> int:
                at = super().find(*args)
                work.count += (len(self) if at < 0 else at + 1) - (args[1] if len(args) > 1 else 0)
                return at

            def __getitem__(self, key: Any) -> Any:
                item = super().__getitem__(key)
                work.count += len(item) if isinstance(key, slice) else 1
                return item

            def __delitem__(self, key: Any) -> None:
                work.count += len(self)
                super().__delitem__(key)

            def __bytes__(self) -> bytes:
                work.count += len(self)
                return memoryview(self).tobytes()

            def decode(self, *args: Any) -> str:
                work.count += len(self)
                return super().decode(*args)

        self.buffer = Buffer


def adjacent_quantifiers(pattern: str | bytes) -> Iterator[str]:
    """Every place in a pattern where two adjacent quantifiers can match the same byte."""
    try:
        from re import _parser as parser  # type: ignore[attr-defined]
    except ImportError:
        import sre_parse as parser

    def first_bytes(items: Any) -> set[int]:
        """The bytes with which a match of ``items`` may start, or continue when they repeat."""
        matched: set[int] = set()
        for op, arg in items:
            name = str(op)
            if name == "LITERAL":
                matched.add(arg)
            elif name == "IN":
                negated = str(arg[0][0]) == "NEGATE"
                listed: set[int] = set()
                for kind, value in arg:
                    if str(kind) == "LITERAL":
                        listed.add(value)
                    elif str(kind) == "RANGE":
                        listed.update(range(value[0], value[1] + 1))
                matched |= set(range(256)) - listed if negated else listed
            elif name == "NOT_LITERAL":
                matched |= set(range(256)) - {arg}
            elif name == "SUBPATTERN":
                matched |= first_bytes(arg[-1])
            elif name == "MAX_REPEAT":
                matched |= first_bytes(arg[2])
            elif name == "BRANCH":
                for branch in arg[1]:
                    matched |= first_bytes(branch)
        return matched

    def walk(items: Any) -> Iterator[str]:
        before: set[int] = set()
        for op, arg in items:
            name = str(op)
            inner = arg[-1] if name == "SUBPATTERN" else None
            if name == "MAX_REPEAT" and arg[1] != 1:
                matched = first_bytes(arg[2])
                if before & matched:
                    yield f"{arg!r} after another quantifier"
                before = matched
                yield from walk(arg[2])
            elif inner is not None and len(inner) == 1 and str(inner[0][0]) == "MAX_REPEAT" and inner[0][1][1] != 1:
                matched = first_bytes(inner)
                if before & matched:
                    yield f"{inner!r} after another quantifier"
                before = matched
            else:
                before = set()
                if inner is not None:
                    yield from walk(inner)
                elif name == "MAX_REPEAT":
                    yield from walk(arg[2])
                elif name == "BRANCH":
                    for branch in arg[1]:
                        yield from walk(branch)

    yield from walk(parser.parse(pattern))
