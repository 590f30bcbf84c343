"""A frontend and reserve count the same requests, whatever a client sends."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.real.frontends.cases import Case, corpus_cases, own_cases
from tests.real.frontends.clients import get, play, response_targets
from tests.real.frontends.conftest import VARIANTS, Deploy
from tests.real.frontends.proxies import FRONTENDS, Entry

CORPUS = "RESERVE_CORPUS"
"""The environment variable that names the folder of a corpus."""
_CLIENTS = 16


@pytest.mark.peer
@pytest.mark.parametrize(("name", "buffering"), VARIANTS)
def test_both_sides_count_the_same_requests(deploy: Deploy, name: str, buffering: bool) -> None:
    cases = own_cases()
    assert len(cases) > 1000
    check(deploy, name, buffering, cases)


@pytest.mark.peer
@pytest.mark.parametrize("name", FRONTENDS)
def test_both_sides_count_the_same_requests_with_streamed_bodies(deploy: Deploy, name: str) -> None:
    check(deploy, name, False, own_cases(), streaming=True)


@pytest.mark.peer
@pytest.mark.parametrize(("name", "buffering"), VARIANTS)
def test_both_sides_count_the_same_requests_of_a_corpus(deploy: Deploy, name: str, buffering: bool) -> None:
    folder = os.environ.get(CORPUS)
    if not folder:
        pytest.skip(f"{CORPUS} names no folder with a corpus (cases.json)")
    check(deploy, name, buffering, corpus_cases(Path(folder)))


def check(deploy: Deploy, name: str, buffering: bool, cases: Sequence[Case], *, streaming: bool = False) -> None:
    """Play all cases, each followed by another client's request, and compare the requests that both sides counted."""
    problems: list[str] = []

    def play_one(numbered: tuple[int, Case]) -> None:
        number, case = numbered
        data = play(deployment.frontend, case)
        if case.requests:
            targets = response_targets(data, [method for method, _ in case.requests])
            if targets != [target for _, target in case.requests]:
                problems.append(f"{case.name}: responses to {targets} for {case.requests}")
        target = f"/other?{number}"
        response = get(deployment.frontend, target)
        if not response.startswith(b"HTTP/1.1 200") or f"x-uri: {target}\r\n".encode() not in response.lower():
            problems.append(f"{case.name}: another client got {response[:300]!r}")

    options = ["--body-timeout", "3s", *(["--stream-bodies"] if streaming else [])]
    with (
        deploy(name, *options, buffering=buffering, impatient=True) as deployment,
        ThreadPoolExecutor(_CLIENTS) as pool,
    ):
        list(pool.map(play_one, enumerate(cases)))
    entries, records = deployment.frontend.entries(), deployment.records()
    lines = deployment.server.stdout
    counted = len(lines) - (connects_without_entry(entries, lines) if name == "haproxy" else 0)
    problems[:0] = disagreements(entries, records, counted, streaming=streaming)
    assert not problems, f"{len(problems)} of {len(cases)} cases:\n" + "\n".join(problems[:50])
    # The frontend did not refuse everything itself.
    assert sum(entry.forwarded for entry in entries) > 1.5 * len(cases)
    assert sum(record["uri"] == "/last" for record in records) > len(cases) / 10


def connects_without_entry(entries: Sequence[Entry], lines: Sequence[str]) -> int:
    """How many CONNECT requests with content HAProxy has sent and not logged: 3.0 closes such a connection silently.

    reserve has refused them: the application received none of them, and none of the requests in their content.
    """
    refused = sum('"CONNECT ' in line and '" 501 ' in line for line in lines)
    count = refused - sum(entry.method == "CONNECT" and entry.forwarded for entry in entries)
    assert count in (0, 1)  # one case has content
    return count


def disagreements(
    entries: Sequence[Entry], records: Sequence[dict[str, Any]], counted: int, *, streaming: bool = False
) -> list[str]:
    """The differences between the requests of the frontend and those of reserve, as text.

    :param entries: the log of the frontend.
    :param records: the requests that the application received.
    :param counted: the number of requests in reserve's access log, refused ones included.
    :param streaming: whether the application reads bodies from the connection. Then reserve also counts a request whose
        body did not arrive completely, because its application has begun.
    """
    problems = []
    forwarded = [entry for entry in entries if entry.forwarded]
    by_id = {entry.id: entry for entry in forwarded}
    if len(by_id) != len(forwarded):
        problems.append("the frontend used an id twice")
    arrived = Counter(record["id"] for record in records)
    problems += [f"{number} arrivals of {by_id.get(key, key)}" for key, number in arrived.items() if number != 1]
    for record in records:
        entry = by_id.get(record["id"])
        what = f"{record['method']} {record['uri'][:80]} (id {record['id']})"
        if entry is None:
            problems.append(f"the frontend never sent {what}")
        elif record["method"] != entry.method or ("canary" in record["uri"]) != ("canary" in entry.line):
            problems.append(f"{what} is another request at the frontend: {entry}")
    refused, incomplete = 0, 0
    for entry in forwarded:
        if entry.seen and entry.seen != entry.id:
            problems.append(f"the response to {entry.seen} went to {entry}")
        elif entry.seen and entry.id not in arrived:
            problems.append(f"a response to a request that never arrived: {entry}")
        elif entry.responded and entry.id not in arrived:
            refused += 1
        elif entry.id not in arrived:
            incomplete += 1
        if entry.tries > 1:
            problems.append(f"sent {entry.tries} times: {entry}")
        if entry.failed:
            problems.append(f"no response from reserve: {entry}")
    if not refused <= counted - len(records) <= refused + (incomplete if streaming else 0):
        problems.append(f"reserve refused {counted - len(records)} requests, and the frontend got {refused} refusals")
    return problems


GOOD = [
    Entry("a", True, True, "a", "200", 1, False, "GET /x HTTP/1.1"),
    Entry("b", True, True, "", "400", 1, False, "GET /y HTTP/1.1"),
    Entry("-", False, False, "", "400", 0, False, "<BADREQ>"),
    Entry("-", False, False, "", "400", 0, False, "<BADREQ>"),
]
ARRIVED = {"id": "a", "method": "GET", "uri": "/x"}


def test_disagreements_is_empty_when_both_sides_agree() -> None:
    assert disagreements(GOOD, [ARRIVED], 2) == []
    incomplete = Entry("c", True, False, "", "499", 1, False, "POST /z HTTP/1.1")
    assert disagreements([*GOOD, incomplete], [ARRIVED], 2) == []
    assert disagreements([*GOOD, incomplete], [ARRIVED], 3) != []
    assert disagreements([*GOOD, incomplete], [ARRIVED], 3, streaming=True) == []
    assert disagreements([*GOOD, incomplete], [ARRIVED], 4, streaming=True) != []


@pytest.mark.parametrize(
    ("entries", "records", "counted"),
    [
        pytest.param(GOOD, [ARRIVED, ARRIVED], 3, id="a request arrived twice"),
        pytest.param(
            GOOD, [ARRIVED, {"id": None, "method": "GET", "uri": "/canary"}], 3, id="a hidden request arrived"
        ),
        pytest.param(GOOD, [ARRIVED, {"id": "-", "method": "GET", "uri": "/"}], 3, id="a refused request arrived"),
        pytest.param(GOOD, [ARRIVED], 3, id="reserve refused a request that was not sent"),
        pytest.param(GOOD, [ARRIVED], 1, id="reserve did not count a request"),
        pytest.param(GOOD, [], 1, id="a response without a request"),
        pytest.param(GOOD, [{**ARRIVED, "method": "POST"}], 2, id="another method"),
        pytest.param(GOOD, [{**ARRIVED, "uri": "/canary"}], 2, id="another request"),
        pytest.param([replace(GOOD[0], seen="b"), GOOD[1]], [ARRIVED], 2, id="the response to another request"),
        pytest.param([replace(GOOD[0], tries=2), GOOD[1]], [ARRIVED], 2, id="sent twice"),
        pytest.param([replace(GOOD[0], failed=True), GOOD[1]], [ARRIVED], 2, id="no response"),
        pytest.param([*GOOD, GOOD[1]], [ARRIVED], 2, id="an id twice"),
    ],
)
def test_disagreements_names_every_kind(entries: list[Entry], records: list[dict[str, Any]], counted: int) -> None:
    assert len(disagreements(entries, records, counted)) >= 1
