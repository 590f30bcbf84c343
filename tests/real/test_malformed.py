"""Send every row of the strictness tables to the installed command.

A malformed request gets the right refusal, a closed connection and one log line; a legal one reaches the application.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.apps.http.responses import Response, split
from tests.real.conftest import Serve
from tests.real.serving import ServerProcess, fetch
from tests.strictness.accepted import ACCEPTED
from tests.strictness.page import REFUSED
from tests.strictness.rows import Acceptance, Refusal

CANARY = b"GET /canary HTTP/1.1\r\nHost: a.test\r\n\r\n"
"""A request after a refused one, which the server must not serve."""
LAST = b"GET /last HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
MIRROR = ("app", "http", "wsgi", "mirror", "--threads", "1", "--no-access-log")
"""The command line; the site responds with what it received."""
MODES = {"received": (), "streamed": ("--stream-bodies",)}

FAR_TOO_LARGE = {
    "a target": (b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", 431),
    "fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 5000 + b"\r\n", 431),
    "a length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 60_000, 413),
}


def exchange(server: ServerProcess, data: bytes) -> list[Response]:
    """Send bytes on a new connection; return all responses until the server closes it. A reset fails the test."""
    with server.connect() as sock, sock.makefile("rb") as responses:
        sock.sendall(data)
        return split(responses.read())


def refusals() -> list[tuple[str, str, list[Refusal]]]:
    """The tests: a mode, an option of the server, and the rows that are sent to that server."""
    rows = [row for group in REFUSED.values() for row in group.rows if row.example is not None]
    plain = [row for row in rows if not row.settings]
    return [(mode, "", plain) for mode in MODES] + [
        ("received", f"--{name}={value}", [row]) for row in rows for name, value in row.settings.items()
    ]


@pytest.mark.parametrize(("mode", "option", "rows"), refusals())
def test_a_malformed_request_is_refused(serve: Serve, mode: str, option: str, rows: list[Refusal]) -> None:
    with serve(*MIRROR, *MODES[mode], *option.split(), log=None) as server:
        for row in rows:
            assert row.example is not None
            expected = [(row.status, f"{row.reason}\n", "close")]
            for sent in (row.example.sent, row.example.sent + CANARY):
                responses = exchange(server, sent)
                result = [(response.status, response.text, response.fields["connection"]) for response in responses]
                assert result == expected, f"{row.name}, sent as {sent[-80:]!r}"
        # The only worker of the server still works.
        with server.client() as client:
            assert fetch(client, "GET", "/")[0] == 200
    assert logged_refusals(server.log, {f"{row.status} {row.reason}" for row in rows}) == 2 * len(rows)


_COUNT = re.compile(
    r" WARNING: and (\d+) more like it in the last \S+ s: requests refused with \d+"
    r"( \(\d+ of them for other reasons\))?$"
)


def logged_refusals(lines: list[str], reasons: set[str]) -> int:
    """The number of refusals in the log, which has one line of each reason a second and the count of the others."""
    plain = {reason.encode("ascii", "backslashreplace").decode() for reason in reasons}  # as in any locale
    count = 0
    for line in lines:
        more = _COUNT.search(line)
        if more is None:
            reason = line.partition(" WARNING: 127.0.0.1:")[2].partition(": ")[2]
            assert reason.encode("ascii", "backslashreplace").decode() in plain
        count += int(more[1]) if more is not None else 1
    return count


@pytest.mark.parametrize("name", FAR_TOO_LARGE)
def test_the_refusal_of_a_far_too_large_request_reaches_the_client(serve: Serve, name: str) -> None:
    data, status = FAR_TOO_LARGE[name]
    with serve(*MIRROR, log=[rf".* WARNING: 127\.0\.0\.1:\d+: {status} .+"]) as server:
        (response,) = exchange(server, data)
        assert (response.status, response.fields["connection"]) == (status, "close")


@pytest.mark.parametrize("mode", MODES)
def test_a_legal_request_reaches_the_application(serve: Serve, mode: str) -> None:
    with serve(*MIRROR, *MODES[mode]) as server:
        for row in (row for rows in ACCEPTED.values() for row in rows):
            check(row, exchange(server, row.example.sent + (CANARY if row.closes else LAST)), mode)


def check(row: Acceptance, responses: list[Response], mode: str) -> None:
    """Compare the responses to an accepted row with what the application has to receive."""
    assert [response.status for response in responses] == [200] * (len(row.gets) + (not row.closes)), row.name
    received = [json.loads(response.body) for response in responses]
    for request, gets in zip(received, row.gets, strict=False):
        expected = dict(gets)
        assert {name: request.get(name) for name in expected} == expected, row.name
        # A received body has its trailers from the start; a streamed one has none before its end.
        assert request["early"] == ([] if mode == "streamed" else request["trailers"]), row.name
    if not row.closes:
        assert received[-1]["PATH_INFO"] == "/last", row.name
