"""Every row of what is refused and what is taken: by the parser in every delivery, by the driver, in the code."""

from __future__ import annotations

import ast
import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.bufferedbody import BodyStore
from reserve.apps.http.settings import HTTPSettings
from reserve.gateways.wsgi import WSGIGateway
from reserve.options.table import FLAGS
from reserve.testing import MemoryClient, running
from tests.apps.http.responses import receive, request, split
from tests.protocol.http1.delivery import deliver, read_messages
from tests.strictness.accepted import ACCEPTED
from tests.strictness.page import REFUSED, page, show
from tests.strictness.rows import Acceptance, Refusal

PACKAGE = Path(reserve.__file__).parent
REFUSALS = [row for group in REFUSED.values() for row in group.rows]
BY_OCTETS = [row for row in REFUSALS if row.octets is not None]
ACCEPTANCES = [row for rows in ACCEPTED.values() for row in rows]
CANARY = b"GET /canary HTTP/1.1\r\nHost: a.test\r\n\r\n"


def sent(row: Refusal | Acceptance) -> bytes:
    assert row.octets is not None
    return row.octets.sent


def named(row: Refusal | Acceptance) -> str:
    return row.name


# ---- the page ----


def test_the_committed_page_is_in_step() -> None:
    written = (PACKAGE / "docs" / "strictness.md").read_text("utf-8")
    assert written == page(), "run: python -m tests.strictness > reserve/docs/strictness.md"


def test_octets_in_a_cell() -> None:
    assert show(b"a\r\n\t\0\xff|b") == r"`a\r\n\t\x00\xff\|b`"
    assert show(b"a`b") == "`` a`b ``"
    assert show(b"x" * 1200) == "`" + "x" * 60 + "` … (1,200 octets)"


@pytest.mark.parametrize("row", REFUSALS, ids=named)
def test_a_reason_names_the_rule_or_the_option(row: Refusal) -> None:
    options = re.findall(r"--[a-z-]+", f"{row.name} {row.reason}")
    assert set(options) <= set(FLAGS)
    assert options or row.octets is None or re.search(r"RFC \d{4} section \d+(\.\d+)*\b", row.reason)


def test_no_two_rows_have_one_name() -> None:
    for rows in (*(group.rows for group in REFUSED.values()), *ACCEPTED.values()):
        assert len({row.name for row in rows}) == len(rows)
    octets = [sent(row) for row in (*BY_OCTETS, *ACCEPTANCES)]
    assert len(set(octets)) == len(octets)


# ---- the parser ----


@pytest.mark.parametrize("row", BY_OCTETS, ids=named)
@pytest.mark.parametrize("behind", [b"", CANARY])
def test_the_parser_refuses(row: Refusal, behind: bytes) -> None:
    strict = row.settings.get("underscores") == "refuse"
    found = deliver(sent(row) + behind, lambda pieces: read_messages(pieces, refuse_underscores=strict))
    assert found == [(row.status, row.reason)]
    if row.settings:
        assert read_messages([sent(row)])[-1][0]["method"] == "POST", "its option makes no difference"


@pytest.mark.parametrize("row", ACCEPTANCES, ids=named)
def test_the_parser_takes(row: Acceptance) -> None:
    found = deliver(sent(row), read_messages)
    assert len(found) == len(row.gets)
    for (head, content, trailers), gets in zip(found, row.gets, strict=True):
        got = {**head["environ"], "body": content.decode("latin-1"), "trailers": [list(field) for field in trailers]}
        assert {name: got.get(name) for name in gets} == gets
    assert [head["keep_alive"] for head, _, _ in found] == [True] * (len(found) - 1) + [not row.closes]
    if not row.closes:
        followed = deliver(sent(row) + CANARY, read_messages)
        assert followed[:-1] == found
        assert followed[-1][0]["target"] == "/canary"


# ---- the driver ----


def reader(environ: Any, start_response: Any) -> list[bytes]:
    assert environ["PATH_INFO"] != "/canary"
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return []


@pytest.mark.parametrize("row", BY_OCTETS, ids=named)
@pytest.mark.parametrize("stream_bodies", [False, True])
@pytest.mark.parametrize("segment", [None, 1])
def test_the_client_reads_why_and_nothing_behind_it_is_served(
    row: Refusal, stream_bodies: bool, segment: int | None
) -> None:
    client = MemoryClient(reader, HTTPSettings(stream_bodies=stream_bodies, **row.settings))  # type: ignore[arg-type]
    client.socket.segment = segment
    (answer,) = split(client.send(sent(row) + CANARY))
    assert (answer.status, answer.text) == (row.status, row.reason + "\n")
    assert (answer.fields["connection"], answer.fields["server"]) == ("close", "reserve")
    assert "date" in answer.fields
    assert client.closed
    assert client.log == [f"127.0.0.1:50000: {row.status} {row.reason}"]


@pytest.mark.parametrize("row", [row for row in BY_OCTETS if len(sent(row)) < 2000], ids=named)
def test_the_client_need_not_go_on(row: Refusal) -> None:
    strict = row.settings.get("underscores") == "refuse"
    lengths = range(1, len(sent(row)) + 1)
    enough = next(n for n in lengths if read_messages([sent(row)[:n]], refuse_underscores=strict) not in ([], [None]))
    client = MemoryClient(reader, HTTPSettings(**row.settings))  # type: ignore[arg-type]
    assert client.send(sent(row)[: enough - 1]) == b""
    (answer,) = split(client.send(sent(row)[enough - 1 : enough]))
    assert (answer.status, answer.text) == (row.status, row.reason + "\n")
    assert client.closed


# ---- what no octets make happen ----


def head_too_slow(monkeypatch: pytest.MonkeyPatch) -> bytes:
    client = MemoryClient(reader)
    client.send(request()[:-1])
    return client.advance(10)


def body_too_slow(monkeypatch: pytest.MonkeyPatch) -> bytes:
    client = MemoryClient(reader)
    client.send(request("POST", body=b"x")[:-1])
    return client.advance(20)


def streamed_body_too_slow(monkeypatch: pytest.MonkeyPatch) -> bytes:
    settings = HTTPSettings(stream_bodies=True, body_timeout=0.05, body_rate=0, access_log=False)
    with running(reader, http=settings, threads=1) as served, served.connect() as client:
        client.sendall(request("POST", body=b"x" * 100)[:-90])
        answer = receive(client)
        return b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n%b" % (answer.status, len(answer.body), answer.body)


def budgets_used_up(monkeypatch: pytest.MonkeyPatch) -> bytes:
    client = MemoryClient(reader)
    client.server.budget.change(10**15, 10**15)
    return client.send(request("POST", body=b"x" * 100)[:-1])


def large_head(monkeypatch: pytest.MonkeyPatch) -> bytes:
    client = MemoryClient(reader)
    client.server.budget.change(10**15, 0)
    return client.send(request("GET", "/", "X: " + "a" * 5000)[:-1])


def disk(number: int) -> Callable[[pytest.MonkeyPatch], bytes]:
    def fails(monkeypatch: pytest.MonkeyPatch) -> bytes:
        def no_room(store: BodyStore) -> None:
            raise OSError(number, "the disk")

        monkeypatch.setattr(BodyStore, "open", no_room)
        return MemoryClient(reader).send(request("POST", body=b"x"))

    return fails


def refused(reason: str) -> Callable[[pytest.MonkeyPatch], bytes]:
    def by_the_engine(monkeypatch: pytest.MonkeyPatch) -> bytes:
        # When the engine does, is what tests/overload is about.
        client = MemoryClient(reader)
        data = client._driver.refuse(reason)
        client.close()
        assert data is not None
        return data

    return by_the_engine


def plain_on_tls(monkeypatch: pytest.MonkeyPatch) -> bytes:
    return HTTPApp(WSGIGateway(reader)).refuse_plain(b"GET /")  # when it is called, is what tests/ssl is about


SCENES: dict[tuple[int, str], Callable[[pytest.MonkeyPatch], bytes]] = {
    (400, "plain HTTP on a port that speaks TLS"): plain_on_tls,
    (408, "a head that comes too slowly"): head_too_slow,
    (408, "a body that comes too slowly"): body_too_slow,
    (408, "a streamed body that comes too slowly"): streamed_body_too_slow,
    (507, "a body when the budgets are used up"): budgets_used_up,
    (507, "a body when the disk is full"): disk(errno.ENOSPC),
    (500, "a body when the disk fails"): disk(errno.EACCES),
    (503, "a body when no file can be opened"): disk(errno.EMFILE),
    (503, "a head of more than 4 KiB that has to wait for its end, or for its body, when the memory is used up"): (
        large_head
    ),
    (503, "a request that has waited too long for a worker, or behind too many others"): refused("overload"),
    (503, "a request whose answer does not begin in time"): refused("timeout"),
}


@pytest.mark.parametrize("row", [row for row in REFUSALS if row.octets is None], ids=named)
def test_circumstances(row: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = SCENES[row.status, row.name.partition(" (`")[0]]
    (answer,) = split(scene(monkeypatch))
    assert (answer.status, answer.text) == (row.status, row.reason + "\n")


# ---- the code ----

NOT_FOR_CLIENTS = {
    (400, "this body was refused before; nothing behind it can be read"),  # a driver never asks again
    (400, "the head does not end with an empty line"),  # a caller that did not use the reader
}


def pattern(node: ast.expr) -> Iterator[str]:
    """A regular expression for each text that a message expression can be."""
    if isinstance(node, ast.Constant):
        yield re.escape(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(re.escape(part.value) if isinstance(part, ast.Constant) else "(?s:.*)" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from pattern(node.body)
        yield from pattern(node.orelse)


def statuses(node: ast.expr) -> Iterator[int]:
    if isinstance(node, ast.Constant):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from statuses(node.body)
        yield from statuses(node.orelse)


def refusals_in(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("RemoteError", "refusal"):
            for status in statuses(node.args[0]):
                for message in pattern(node.args[1]):
                    yield status, message


def test_every_refusal_in_the_code_has_a_row() -> None:
    found = [
        (path.name, status, message)
        for folder in ("protocol/http1", "apps/http", "gateways")
        for path in (PACKAGE / folder).rglob("*.py")
        for status, message in refusals_in(path.read_text("utf-8"))
    ]
    rows = {(row.status, row.reason) for row in REFUSALS} | NOT_FOR_CLIENTS
    missing = [
        where
        for where in found
        if not any(where[1] == status and re.fullmatch(where[2], reason) for status, reason in rows)
    ]
    assert missing == []
    assert len(found) > 40
    for status, reason in rows:
        assert any(one == status and re.fullmatch(message, reason) for _, one, message in found), reason


def test_where_a_body_ends_is_decided_in_one_place() -> None:
    keys = {"HTTP_TRANSFER_ENCODING", "CONTENT_LENGTH"}
    read = set()
    for folder in ("protocol", "apps/http", "gateways", "engine"):
        for path in (PACKAGE / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                loads = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and node.slice
                gets = isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("get", "pop") and node.args[:1]
                for key in (loads,) if loads else gets or ():
                    if isinstance(key, ast.Constant) and key.value in keys:
                        read.add((path.name, key.value))
    assert read == {("framing.py", key) for key in keys}


def test_the_search_finds_refusals() -> None:
    source = 'raise RemoteError(400 if a else 413, f"x {b} y" if c else "z")\nrefusal(503, "w", date=d)\n'
    assert set(refusals_in(source)) == {
        (400, "x\\ (?s:.*)\\ y"), (400, "z"), (413, "x\\ (?s:.*)\\ y"), (413, "z"), (503, "w"),
    }  # fmt: skip
