"""A frontend and reserve see the same requests, whatever a client sends: none is counted on one side only."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.real.behind.cases import Case, corpus_cases, own_cases
from tests.real.behind.clients import answered, ask, play
from tests.real.behind.conftest import VARIANTS, Stand
from tests.real.behind.fronts import FRONTS, Entry

CORPUS = "RESERVE_CORPUS"
_CLIENTS = 16


@pytest.mark.peer
@pytest.mark.parametrize(("name", "buffering"), VARIANTS)
def test_no_request_is_counted_by_one_side_only(stand: Stand, name: str, buffering: bool) -> None:
    cases = own_cases()
    assert len(cases) > 1000
    check(stand, name, buffering, cases)


@pytest.mark.peer
@pytest.mark.parametrize("name", FRONTS)
def test_the_same_with_bodies_that_the_application_reads_as_they_come(stand: Stand, name: str) -> None:
    check(stand, name, False, own_cases(), streaming=True)


@pytest.mark.peer
@pytest.mark.parametrize(("name", "buffering"), VARIANTS)
def test_the_same_with_a_corpus_from_elsewhere(stand: Stand, name: str, buffering: bool) -> None:
    folder = os.environ.get(CORPUS)
    if not folder:
        pytest.skip(f"{CORPUS} names no folder with a corpus (cases.json)")
    check(stand, name, buffering, corpus_cases(Path(folder)))


def check(stand: Stand, name: str, buffering: bool, cases: Sequence[Case], *, streaming: bool = False) -> None:
    """Play all cases, each followed by a bystander's request, and compare what both sides have counted."""
    wrong: list[str] = []

    def one(numbered: tuple[int, Case]) -> None:
        number, case = numbered
        octets = play(behind.front, case)
        if case.requests:
            found = answered(octets, [method for method, _ in case.requests])
            if found != [target for _, target in case.requests]:
                wrong.append(f"{case.name}: answers to {found} for {case.requests}")
        target = f"/bystander?{number}"
        answer = ask(behind.front, target)
        if not answer.startswith(b"HTTP/1.1 200") or f"x-uri: {target}\r\n".encode() not in answer.lower():
            wrong.append(f"{case.name}: the bystander got {answer[:300]!r}")

    options = ["--body-timeout", "3s", *(["--stream-bodies"] if streaming else [])]
    with stand(name, *options, buffering=buffering, impatient=True) as behind, ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(one, enumerate(cases)))
    entries = behind.front.entries()
    wrong[:0] = disagreements(entries, behind.records(), len(behind.server.printed), streaming=streaming)
    assert not wrong, f"{len(wrong)} of {len(cases)} cases:\n" + "\n".join(wrong[:50])
    # It was not all refused at the door.
    assert sum(entry.forwarded for entry in entries) > 1.5 * len(cases)
    assert sum(record["uri"] == "/last" for record in behind.records()) > len(cases) / 10


def disagreements(
    entries: Sequence[Entry], records: Sequence[dict[str, Any]], counted: int, *, streaming: bool = False
) -> list[str]:
    """What the two sides do not agree about.

    :param counted: how many requests reserve itself has logged, the refused ones included.
    :param streaming: a request whose body is cut off on its way is one to reserve, too: its application has begun.
    """
    found = []
    forwarded = [entry for entry in entries if entry.forwarded]
    by_id = {entry.id: entry for entry in forwarded}
    if len(by_id) != len(forwarded):
        found.append("the frontend gave an id twice")
    arrived = Counter(record["id"] for record in records)
    found += [f"{number} arrivals of {by_id.get(key, key)}" for key, number in arrived.items() if number != 1]
    for record in records:
        entry = by_id.get(record["id"])
        what = f"{record['method']} {record['uri'][:80]} (id {record['id']})"
        if entry is None:
            found.append(f"the frontend never sent {what}")
        elif record["method"] != entry.method or ("canary" in record["uri"]) != ("canary" in entry.line):
            found.append(f"{what} is another request at the frontend: {entry}")
    refused, cut = 0, 0
    for entry in forwarded:
        if entry.seen and entry.seen != entry.id:
            found.append(f"the answer to {entry.seen} went to {entry}")
        elif entry.seen and entry.id not in arrived:
            found.append(f"an answer to what never arrived: {entry}")
        elif entry.answered and entry.id not in arrived:
            refused += 1
        elif entry.id not in arrived:
            cut += 1
        if entry.tries > 1:
            found.append(f"sent {entry.tries} times: {entry}")
        if entry.failed:
            found.append(f"reserve gave no answer: {entry}")
    if not refused <= counted - len(records) <= refused + (cut if streaming else 0):
        found.append(f"reserve refused {counted - len(records)} requests, and the frontend got {refused} refusals")
    return found


GOOD = [
    Entry("a", True, True, "a", "200", 1, False, "GET /x HTTP/1.1"),
    Entry("b", True, True, "", "400", 1, False, "GET /y HTTP/1.1"),
    Entry("-", False, False, "", "400", 0, False, "<BADREQ>"),
    Entry("-", False, False, "", "400", 0, False, "<BADREQ>"),
]
ARRIVED = {"id": "a", "method": "GET", "uri": "/x"}


def test_agreement_is_seen() -> None:
    assert disagreements(GOOD, [ARRIVED], 2) == []
    cut = Entry("c", True, False, "", "499", 1, False, "POST /z HTTP/1.1")
    assert disagreements([*GOOD, cut], [ARRIVED], 2) == []
    assert disagreements([*GOOD, cut], [ARRIVED], 3) != []
    assert disagreements([*GOOD, cut], [ARRIVED], 3, streaming=True) == []
    assert disagreements([*GOOD, cut], [ARRIVED], 4, streaming=True) != []


@pytest.mark.parametrize(
    ("entries", "records", "counted"),
    [
        pytest.param(GOOD, [ARRIVED, ARRIVED], 3, id="one arrived twice"),
        pytest.param(GOOD, [ARRIVED, {"id": None, "method": "GET", "uri": "/canary"}], 3, id="a hidden one arrived"),
        pytest.param(GOOD, [ARRIVED, {"id": "-", "method": "GET", "uri": "/"}], 3, id="a refused one arrived"),
        pytest.param(GOOD, [ARRIVED], 3, id="reserve refused what nobody sent"),
        pytest.param(GOOD, [ARRIVED], 1, id="reserve never counted one"),
        pytest.param(GOOD, [], 1, id="an answer without a request"),
        pytest.param(GOOD, [{**ARRIVED, "method": "POST"}], 2, id="another method"),
        pytest.param(GOOD, [{**ARRIVED, "uri": "/canary"}], 2, id="another request"),
        pytest.param([replace(GOOD[0], seen="b"), GOOD[1]], [ARRIVED], 2, id="the answer to another one"),
        pytest.param([replace(GOOD[0], tries=2), GOOD[1]], [ARRIVED], 2, id="sent twice"),
        pytest.param([replace(GOOD[0], failed=True), GOOD[1]], [ARRIVED], 2, id="no answer"),
        pytest.param([*GOOD, GOOD[1]], [ARRIVED], 2, id="an id twice"),
    ],
)
def test_a_disagreement_is_seen(entries: list[Entry], records: list[dict[str, Any]], counted: int) -> None:
    assert len(disagreements(entries, records, counted)) >= 1
