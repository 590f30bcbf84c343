"""The cases that the tests send through the frontends: messages about whose end two HTTP parsers may disagree.

A case is a name and the bytes of one connection. The frontend may refuse a message or pass it on. The tests check only
that reserve gets the same requests as the frontend counts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.real.frontends.bodies import chunks, codings, lengths
from tests.real.frontends.heads import heads
from tests.real.frontends.messages import CANARY, HOST, LAST, chunked, post
from tests.strictness.accepted import ACCEPTED
from tests.strictness.page import REFUSED


@dataclass(frozen=True)
class Case:
    """What one client sends on one connection."""

    name: str
    data: bytes
    ending: str = "last"
    """What the client does then. ``last``: send LAST; ``half``: shut down its side; ``abort``: close."""
    requests: tuple[tuple[str, str], ...] = ()
    """For a valid pipeline: method and target of each request, in the order of the responses."""


def endings() -> Iterator[Case]:
    """Clients that stop in the middle of a message."""
    with_length = post(b"Content-Length: %d" % len(CANARY), body=CANARY)
    in_chunks = post(b"Transfer-Encoding: chunked", body=chunked(b"hello", CANARY))
    for name, data in [("content", with_length), ("chunks", in_chunks), ("no content", CANARY)]:
        for cut in sorted({1, 20, data.index(b"\r\n\r\n"), data.index(b"\r\n\r\n") + 4, len(data) - 7, len(data) - 1}):
            for ending in ("half", "abort"):
                yield Case(f"{name} cut at {cut}, {ending}", data[:cut], ending)
                yield Case(f"{name} and {name} cut at {cut}, {ending}", data + data[:cut], ending)
        yield Case(f"{name}, half", data, "half")


def pipelines() -> Iterator[Case]:
    """Valid pipelines of random requests, each of which has a response."""
    for seed in range(60):
        source = random.Random(seed)
        data, requests = b"", []
        for index in range(source.randrange(2, 25)):
            method, path = source.choice(STEPS)
            target = f"/{path}?{seed}.{index}"
            requests.append((method, target))
            data += b"\r\n" * source.choice([0, 0, 0, 1])
            data += f"{method} {target} HTTP/1.1\r\n".encode() + HOST
            content = source.choice(
                [b"", b"hello", CANARY, LAST, b"0\r\n\r\n" + CANARY, source.randbytes(source.randrange(9000))]
            )
            if method in ("POST", "PUT", "DELETE"):
                if source.random() < 0.5:
                    data += b"Content-Length: %d\r\n\r\n" % len(content) + content
                else:
                    cuts = sorted(
                        source.randrange(1, len(content)) for _ in range(source.randrange(5)) if len(content) > 1
                    )
                    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
                    trailer = source.choice([b"", b"", b"X-Sum: 1\r\n"])
                    data += b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*filter(None, pieces), trailer=trailer)
            else:
                data += b"\r\n"
        yield Case(f"pipeline {seed}", data, requests=(*requests, ("GET", "/last")))


STEPS = [
    ("GET", "page"), ("GET", "generated"), ("HEAD", "page"), ("HEAD", "generated"), ("POST", "form"),
    ("POST", "generated"), ("POST", "unread"), ("PUT", "thing"), ("DELETE", "thing"), ("GET", "status/204"),
    ("GET", "status/304"), ("POST", "status/204"), ("OPTIONS", "page"), ("POST", "status/500"),
]  # fmt: skip


def strictness() -> Iterator[tuple[str, bytes]]:
    """The rows of the page ``strictness.md``, each alone and with CANARY after it."""
    refused = [row for group in REFUSED.values() for row in group.rows if row.example is not None]
    for row in [*refused, *(row for rows in ACCEPTED.values() for row in rows)]:
        assert row.example is not None
        yield f"row {row.name}", row.example.sent
        yield f"row {row.name}, canary", row.example.sent + CANARY


def own_cases() -> list[Case]:
    """All cases above, each name once."""
    cases = [Case(name, data) for part in (lengths, codings, chunks, heads, strictness) for name, data in part()]
    cases += [*endings(), *pipelines()]
    return list({case.name: case for case in cases}.values())


def corpus_cases(folder: Path) -> list[Case]:
    """The cases of a black-box corpus: ``cases.json`` has the steps of each case."""
    cases = []
    for case in json.loads((folder / "cases.json").read_text("utf-8"))["cases"]:
        steps = case.get("steps") or [{"send": case.get("prefix", "")}]
        ending = "half" if any("half_close" in step for step in steps) else "last"
        ending = "abort" if any("abort" in step for step in steps) else ending
        data = b"".join(_data(step["send"]) for step in steps if "send" in step)
        cases.append(Case(case["id"], data, ending))
    return cases


def _data(parts: str | list[str | dict[str, list[str | int]]]) -> bytes:
    if isinstance(parts, str):
        return parts.encode("latin-1")
    return b"".join(
        part.encode("latin-1") if isinstance(part, str) else str(part["rep"][0]).encode("latin-1") * int(part["rep"][1])
        for part in parts
    )
