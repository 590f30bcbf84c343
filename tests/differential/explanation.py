"""The class of explanations of disagreements, and the requests that their examples start with."""

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
    """Says why reserve and some oracles may disagree on one point, with an example that needs it."""

    name: str
    oracles: tuple[str, ...]
    kind: str
    holds: Callable[[Disagreement], bool]
    why: str
    example: bytes

    def covers(self, disagreement: Disagreement) -> bool:
        return disagreement.oracle in self.oracles and disagreement.kind == self.kind and self.holds(disagreement)
