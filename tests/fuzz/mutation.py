"""Changes seeds at random: the same changes for the same random generator, on every machine."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

TOKENS = [
    re.sub(rb"\\x(..)|\\(.)", lambda found: bytes.fromhex(found[1].decode()) if found[1] else found[2], line[1:-1])
    for line in Path(__file__).with_name("http1.dict").read_bytes().splitlines()
    if line.startswith(b'"')
]
"""The dictionary of the fuzzer."""

LONGEST = 2048


def mutate(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """One to four changes."""
    octets = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        place = rng.randrange(len(octets) + 1)
        length = rng.choice((1, 1, 1, 2, 4, 8, 20))
        kind = rng.randrange(9)
        if kind == 0:
            octets[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            octets[place:place] = bytes([rng.randrange(256)])
        elif kind == 2:
            del octets[place : place + length]
        elif kind == 3:
            octets[place:place] = rng.choice(TOKENS)
        elif kind == 4:
            octets[place : place + length] = rng.choice(TOKENS)
        elif kind == 5:
            octets[place:place] = octets[place : place + length] * rng.choice((1, 1, 2, 9))
        elif kind == 6:
            lines = bytes(octets).split(b"\r\n")
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
            octets[:] = b"\r\n".join(lines)
        elif kind == 7:
            other = rng.choice(seeds)
            octets[place:] = other[rng.randrange(len(other) + 1) :]
        else:
            octets[place : place + length] = bytes(octets[place : place + length]).swapcase()
    return bytes(octets[:LONGEST])


def mutated(seeds: Sequence[bytes], count: int, start: int) -> Iterator[bytes]:
    """``count`` inputs; another ``start`` gives others."""
    rng = random.Random(start)
    for _ in range(count):
        yield mutate(rng.choice(seeds), seeds, rng)
