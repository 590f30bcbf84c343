"""Every row of the tables sent to the installed command: the right refusal, a closed connection and one log line for
what is no request, the whole of it to the application for what is legal.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.apps.http.responses import Response, split
from tests.real.conftest import Serve
from tests.real.serving import Served, fetch
from tests.strictness.accepted import ACCEPTED
from tests.strictness.page import REFUSED
from tests.strictness.rows import Acceptance, Refusal

CANARY = b"GET /canary HTTP/1.1\r\nHost: a.test\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
MIRROR = ("app", "http", "wsgi", "mirror", "--threads", "1", "--no-access-log")
MODES = {"received": (), "streamed": ("--stream-bodies",)}

FAR_TOO_LARGE = {
    "a target": (b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", 431),
    "fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 5000 + b"\r\n", 431),
    "a length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 60_000, 413),
}


def ask(server: Served, raw: bytes) -> list[Response]:
    """Everything that is answered before the server closes; no answer is lost to a reset."""
    with server.connect() as sock, sock.makefile("rb") as answers:
        sock.sendall(raw)
        return split(answers.read())


def refusals() -> list[tuple[str, str, list[Refusal]]]:
    """Mode, options, and the rows that are sent to one server."""
    rows = [row for group in REFUSED.values() for row in group.rows if row.example is not None]
    plain = [row for row in rows if not row.settings]
    return [(mode, "", plain) for mode in MODES] + [
        ("received", f"--{name}={value}", [row]) for row in rows for name, value in row.settings.items()
    ]


@pytest.mark.parametrize(("mode", "option", "rows"), refusals())
def test_it_is_refused(serve: Serve, mode: str, option: str, rows: list[Refusal]) -> None:
    words = [*MIRROR, *MODES[mode], *option.split()]
    with serve(*words, says=None) as server:
        for row in rows:
            assert row.example is not None
            found = [
                (answer.status, answer.text, answer.fields["connection"]) for answer in ask(server, row.example.sent)
            ]
            assert found == [(row.status, f"{row.reason}\n", "close")], row.name
            found = [(answer.status, answer.text, "") for answer in ask(server, row.example.sent + CANARY)]
            assert found == [(row.status, f"{row.reason}\n", "")], f"{row.name}, and another request behind it"
        # Its one thread is alive.
        with server.client() as client:
            assert fetch(client, "GET", "/")[0] == 200
    assert told(server.said, {f"{row.status} {row.reason}" for row in rows}) == 2 * len(rows)


def told(lines: list[str], reasons: set[str]) -> int:
    """How many refusals the log tells of: one of a kind in a second, and then how many there were."""
    plain = {reason.encode("ascii", "backslashreplace").decode() for reason in reasons}  # in any locale
    count = 0
    for line in lines:
        more = re.search(r" WARNING: and (\d+) more like it in the last \S+ s: requests refused with \d+$", line)
        if more is None:
            reason = line.partition(" WARNING: 127.0.0.1:")[2].partition(": ")[2]
            assert reason.encode("ascii", "backslashreplace").decode() in plain
        count += int(more[1]) if more is not None else 1
    return count


@pytest.mark.parametrize("name", FAR_TOO_LARGE)
def test_what_is_far_too_large_is_refused_and_the_refusal_arrives(serve: Serve, name: str) -> None:
    data, status = FAR_TOO_LARGE[name]
    with serve(*MIRROR, says=[rf".* WARNING: 127\.0\.0\.1:\d+: {status} .+"]) as server:
        (answer,) = ask(server, data)
        assert (answer.status, answer.fields["connection"]) == (status, "close")


@pytest.mark.parametrize("mode", MODES)
def test_it_is_taken(serve: Serve, mode: str) -> None:
    with serve(*MIRROR, *MODES[mode]) as server:
        for row in (row for rows in ACCEPTED.values() for row in rows):
            check(row, ask(server, row.example.sent + (CANARY if row.closes else LAST)), mode)


def check(row: Acceptance, answers: list[Response], mode: str) -> None:
    assert [answer.status for answer in answers] == [200] * (len(row.gets) + (not row.closes)), row.name
    got = [json.loads(answer.body) for answer in answers]
    for one, gets in zip(got, row.gets, strict=False):
        expected = dict(gets)
        assert {name: one.get(name) for name in expected} == expected, row.name
        # What was received before is whole from the beginning; what is streamed has no trailers before its end.
        assert one["early"] == ([] if mode == "streamed" else one["trailers"]), row.name
    if not row.closes:
        assert got[-1]["PATH_INFO"] == "/last", row.name
