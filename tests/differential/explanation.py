"""What an explanation of a disagreement is, and the requests that the examples begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.differential.comparing import Disagreement

BOTH = ("h11", "llhttp")

HOST = b"Host: a\r\n"
CHUNKS = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST


@dataclass(frozen=True)
class Explanation:
    name: str
    oracles: tuple[str, ...]
    kind: str
    holds: Callable[[Disagreement], bool]
    why: str
    example: bytes

    def covers(self, disagreement: Disagreement) -> bool:
        return disagreement.oracle in self.oracles and disagreement.kind == self.kind and self.holds(disagreement)
