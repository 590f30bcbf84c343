"""Mutates seeds at random: the same mutations for the same random generator, on every machine."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

TOKENS = [
    re.sub(rb"\\x(..)|\\(.)", lambda match: bytes.fromhex(match[1].decode()) if match[1] else match[2], line[1:-1])
    for line in Path(__file__).with_name("http1.dict").read_bytes().splitlines()
    if line.startswith(b'"')
]
"""The dictionary of the fuzzer."""

LONGEST = 2048


def mutate(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Make one to four changes."""
    mutant = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        place = rng.randrange(len(mutant) + 1)
        length = rng.choice((1, 1, 1, 2, 4, 8, 20))
        kind = rng.randrange(9)
        if kind == 0:
            mutant[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            mutant[place:place] = bytes([rng.randrange(256)])
        elif kind == 2:
            del mutant[place : place + length]
        elif kind == 3:
            mutant[place:place] = rng.choice(TOKENS)
        elif kind == 4:
            mutant[place : place + length] = rng.choice(TOKENS)
        elif kind == 5:
            mutant[place:place] = mutant[place : place + length] * rng.choice((1, 1, 2, 9))
        elif kind == 6:
            lines = bytes(mutant).split(b"\r\n")
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
            mutant[:] = b"\r\n".join(lines)
        elif kind == 7:
            other = rng.choice(seeds)
            mutant[place:] = other[rng.randrange(len(other) + 1) :]
        else:
            mutant[place : place + length] = bytes(mutant[place : place + length]).swapcase()
    return bytes(mutant[:LONGEST])


def mutated(seeds: Sequence[bytes], count: int, start: int) -> Iterator[bytes]:
    """Yield ``count`` inputs; another ``start`` gives others."""
    rng = random.Random(start)
    for _ in range(count):
        yield mutate(rng.choice(seeds), seeds, rng)
