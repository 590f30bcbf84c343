"""What is sent through the frontends: everything that has made two HTTP parsers disagree about where a request ends.

A case is a name and the octets of one connection. Nothing here says what is right: the frontend may refuse or pass on
what it likes. What counts is that reserve sees the same requests as the frontend does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.real.behind.bodies import chunks, codings, lengths
from tests.real.behind.heads import heads
from tests.real.behind.messages import CANARY, HOST, LAST, chunked, post
from tests.strictness.accepted import ACCEPTED
from tests.strictness.page import REFUSED


@dataclass(frozen=True)
class Case:
    name: str
    octets: bytes
    ending: str = "last"
    """``last``: LAST follows; ``half``: the client closes its side; ``abort``: it is gone."""
    requests: tuple[tuple[str, str], ...] = ()
    """For a legal pipeline: method and target of each, in the order in which they must be answered."""


def endings() -> Iterator[Case]:
    whole = post(b"Content-Length: %d" % len(CANARY), body=CANARY)
    parts = post(b"Transfer-Encoding: chunked", body=chunked(b"hello", CANARY))
    for name, octets in [("content", whole), ("chunks", parts), ("no content", CANARY)]:
        for cut in sorted(
            {1, 20, octets.index(b"\r\n\r\n"), octets.index(b"\r\n\r\n") + 4, len(octets) - 7, len(octets) - 1}
        ):
            for ending in ("half", "abort"):
                yield Case(f"{name} cut at {cut}, {ending}", octets[:cut], ending)
                yield Case(f"{name} and {name} cut at {cut}, {ending}", octets + octets[:cut], ending)
        yield Case(f"{name}, half", octets, "half")


def pipelines() -> Iterator[Case]:
    """Legal ones; every request has an answer, in this order."""
    for seed in range(60):
        chance = random.Random(seed)
        octets, requests = b"", []
        for index in range(chance.randrange(2, 25)):
            method, path = chance.choice(STEPS)
            target = f"/{path}?{seed}.{index}"
            requests.append((method, target))
            octets += b"\r\n" * chance.choice([0, 0, 0, 1])
            octets += f"{method} {target} HTTP/1.1\r\n".encode() + HOST
            content = chance.choice(
                [b"", b"hello", CANARY, LAST, b"0\r\n\r\n" + CANARY, chance.randbytes(chance.randrange(9000))]
            )
            if method in ("POST", "PUT", "DELETE"):
                if chance.random() < 0.5:
                    octets += b"Content-Length: %d\r\n\r\n" % len(content) + content
                else:
                    cuts = sorted(
                        chance.randrange(1, len(content)) for _ in range(chance.randrange(5)) if len(content) > 1
                    )
                    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
                    trailer = chance.choice([b"", b"", b"X-Sum: 1\r\n"])
                    octets += b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*filter(None, pieces), trailer=trailer)
            else:
                octets += b"\r\n"
        yield Case(f"pipeline {seed}", octets, requests=(*requests, ("GET", "/last")))


STEPS = [
    ("GET", "page"), ("GET", "generated"), ("HEAD", "page"), ("HEAD", "generated"), ("POST", "form"),
    ("POST", "generated"), ("POST", "unread"), ("PUT", "thing"), ("DELETE", "thing"), ("GET", "status/204"),
    ("GET", "status/304"), ("POST", "status/204"), ("OPTIONS", "page"), ("POST", "status/500"),
]  # fmt: skip


def strictness() -> Iterator[tuple[str, bytes]]:
    """The rows of the page ``strictness.md``, each alone and with a canary behind it."""
    refused = [row for group in REFUSED.values() for row in group.rows if row.example is not None]
    for row in [*refused, *(row for rows in ACCEPTED.values() for row in rows)]:
        assert row.example is not None
        yield f"row {row.name}", row.example.sent
        yield f"row {row.name}, canary", row.example.sent + CANARY


def own_cases() -> list[Case]:
    """All of the above. The names are unique."""
    found = [Case(name, octets) for part in (lengths, codings, chunks, heads, strictness) for name, octets in part()]
    found += [*endings(), *pipelines()]
    return list({case.name: case for case in found}.values())


def corpus_cases(folder: Path) -> list[Case]:
    """The octets of a black-box corpus: ``cases.json`` with the steps of each case."""
    found = []
    for case in json.loads((folder / "cases.json").read_text("utf-8"))["cases"]:
        steps = case.get("steps") or [{"send": case.get("prefix", "")}]
        ending = "half" if any("half_close" in step for step in steps) else "last"
        ending = "abort" if any("abort" in step for step in steps) else ending
        octets = b"".join(_octets(step["send"]) for step in steps if "send" in step)
        found.append(Case(case["id"], octets, ending))
    return found


def _octets(parts: str | list[str | dict[str, list[str | int]]]) -> bytes:
    if isinstance(parts, str):
        return parts.encode("latin-1")
    return b"".join(
        part.encode("latin-1") if isinstance(part, str) else str(part["rep"][0]).encode("latin-1") * int(part["rep"][1])
        for part in parts
    )
