"""Each row of what is refused and accepted: by the parser in every delivery, by the driver, and in the code."""

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
from reserve.apps.http.context import Upgrades
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.clients.places import ClientLimit, ClientLimits
from reserve.engine.settings import EngineSettings
from reserve.gateways.wsgi import WSGIGateway
from reserve.options.table import FLAGS
from reserve.testing import FakeClock, MemoryClient, running
from reserve.testing.memoryserver import MemoryServer
from tests.apps.http.responses import receive, request, split
from tests.protocol.http1.delivery import deliver, read_messages
from tests.strictness.accepted import ACCEPTED
from tests.strictness.page import REFUSED, page, show
from tests.strictness.rows import Acceptance, Refusal
from tests.strictness.sourcecode import patterns

PACKAGE = Path(reserve.__file__).parent
REFUSALS = [row for group in REFUSED.values() for row in group.rows]
WITH_EXAMPLE = [row for row in REFUSALS if row.example is not None]
ACCEPTANCES = [row for rows in ACCEPTED.values() for row in rows]
CANARY = b"GET /canary HTTP/1.1\r\nHost: a.test\r\n\r\n"


def sent(row: Refusal | Acceptance) -> bytes:
    assert row.example is not None
    return row.example.sent


def named(row: Refusal | Acceptance) -> str:
    return row.name


# ---- the page ----


def test_the_committed_page_is_up_to_date() -> None:
    committed = (PACKAGE / "docs" / "strictness.md").read_text("utf-8")
    assert committed == page(), "run: python -m tests.strictness > reserve/docs/strictness.md"


def test_an_example_in_a_cell() -> None:
    assert show(b"a\r\n\t\0\xff|b") == r"`a\r\n\t\x00\xff\|b`"
    assert show(b"a`b") == "`` a`b ``"
    assert show(b"x" * 1200) == "`" + "x" * 60 + "` … (1,200 bytes)"


@pytest.mark.parametrize("row", REFUSALS, ids=named)
def test_a_reason_names_the_rule_or_the_option(row: Refusal) -> None:
    options = re.findall(r"--[a-z-]+", f"{row.name} {row.reason}")
    assert set(options) <= set(FLAGS)
    assert options or row.example is None or re.search(r"RFC \d{4} section \d+(\.\d+)*\b", row.reason)


def test_names_and_examples_of_rows_are_unique() -> None:
    for rows in (*(group.rows for group in REFUSED.values()), *ACCEPTED.values()):
        assert len({row.name for row in rows}) == len(rows)
    examples = [sent(row) for row in (*WITH_EXAMPLE, *ACCEPTANCES)]
    assert len(set(examples)) == len(examples)


# ---- the parser ----


@pytest.mark.parametrize("row", WITH_EXAMPLE, ids=named)
@pytest.mark.parametrize("following", [b"", CANARY])
def test_the_parser_refuses(row: Refusal, following: bytes) -> None:
    strict = row.settings.get("underscores") == "refuse"
    messages = deliver(sent(row) + following, lambda pieces: read_messages(pieces, refuse_underscores=strict))
    assert messages == [(row.status, row.reason)]
    if row.settings:
        assert read_messages([sent(row)])[-1][0]["method"] == "POST", "its option makes no difference"


@pytest.mark.parametrize("row", ACCEPTANCES, ids=named)
def test_the_parser_accepts(row: Acceptance) -> None:
    messages = deliver(sent(row), read_messages)
    assert len(messages) == len(row.gets)
    for (head, content, trailers), gets in zip(messages, row.gets, strict=True):
        values = {**head["environ"], "body": content.decode("latin-1"), "trailers": [list(field) for field in trailers]}
        assert {name: values.get(name) for name in gets} == gets
    assert [head["keep_alive"] for head, _, _ in messages] == [True] * (len(messages) - 1) + [not row.closes]
    if not row.closes:
        followed = deliver(sent(row) + CANARY, read_messages)
        assert followed[:-1] == messages
        assert followed[-1][0]["target"] == "/canary"


# ---- the driver ----


def reader(environ: Any, start_response: Any) -> list[bytes]:
    assert environ["PATH_INFO"] != "/canary"
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return []


@pytest.mark.parametrize("row", WITH_EXAMPLE, ids=named)
@pytest.mark.parametrize("stream_bodies", [False, True])
@pytest.mark.parametrize("segment", [None, 1])
def test_the_client_gets_the_reason_and_no_later_request_is_served(
    row: Refusal, stream_bodies: bool, segment: int | None
) -> None:
    client = MemoryClient(reader, HTTPSettings(stream_bodies=stream_bodies, **row.settings))  # type: ignore[arg-type]
    client.socket.segment = segment
    (response,) = split(client.send(sent(row) + CANARY))
    assert (response.status, response.text) == (row.status, row.reason + "\n")
    assert (response.fields["connection"], response.fields["server"]) == ("close", "reserve")
    assert "date" in response.fields
    assert client.closed
    assert client.log == [f"127.0.0.1:50000: {row.status} {row.reason}"]


@pytest.mark.parametrize("row", [row for row in WITH_EXAMPLE if len(sent(row)) < 2000], ids=named)
def test_the_refusal_is_sent_at_the_first_invalid_byte(row: Refusal) -> None:
    strict = row.settings.get("underscores") == "refuse"
    sizes = range(1, len(sent(row)) + 1)
    enough = next(n for n in sizes if read_messages([sent(row)[:n]], refuse_underscores=strict) not in ([], [None]))
    client = MemoryClient(reader, HTTPSettings(**row.settings))  # type: ignore[arg-type]
    assert client.send(sent(row)[: enough - 1]) == b""
    (response,) = split(client.send(sent(row)[enough - 1 : enough]))
    assert (response.status, response.text) == (row.status, row.reason + "\n")
    assert client.closed


# ---- what depends on time or on the state of the server ----


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
        response = receive(client)
        head = b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n" % (response.status, len(response.body))
        return head + response.body


def budgets_used_up(monkeypatch: pytest.MonkeyPatch) -> bytes:
    client = MemoryClient(reader)
    client.server.budget.change(10**15, 10**15, 0)
    return client.send(request("POST", body=b"x" * 100)[:-1])


def large_head(monkeypatch: pytest.MonkeyPatch) -> bytes:
    client = MemoryClient(reader)
    client.server.budget.change(10**15, 0, 0)
    return client.send(request("GET", "/", "X: " + "a" * 5000)[:-1])


def disk_error(number: int) -> Callable[[pytest.MonkeyPatch], bytes]:
    def fails(monkeypatch: pytest.MonkeyPatch) -> bytes:
        def no_room(store: BodyStore) -> None:
            raise OSError(number, "the disk")

        monkeypatch.setattr(BodyStore, "open", no_room)
        return MemoryClient(reader).send(request("POST", body=b"x"))

    return fails


def refused_by_engine(reason: str) -> Callable[[pytest.MonkeyPatch], bytes]:
    def refuse(monkeypatch: pytest.MonkeyPatch) -> bytes:
        # tests/overload tests when the engine refuses a request.
        client = MemoryClient(reader)
        data = client._driver.refuse(reason)
        client.close()
        assert data is not None
        return data

    return refuse


def limited(application: Any = reader, **settings: Any) -> MemoryClient:
    server = MemoryServer(FakeClock())
    server.settings = EngineSettings(**settings)
    server.clients = ClientLimits(server.settings)
    return MemoryClient(application, server=server)


def hold(limit: ClientLimit | None, count: int, host: str = "127.0.0.1") -> None:
    assert limit is not None
    for _ in range(count):
        place = limit.place(host)
        assert place is not None
        place.enter(limit.most)


def too_many_running(monkeypatch: pytest.MonkeyPatch) -> bytes:
    client = limited(max_running_per_client=3)
    hold(client.server.clients.running, 6)
    return client.send(request())


def running_too_long(monkeypatch: pytest.MonkeyPatch) -> bytes:
    client = limited(max_running_per_client=3)
    hold(client.server.clients.running, 5)
    assert client.send(request()) == b""
    return client.advance(30)


def too_many_websockets(monkeypatch: pytest.MonkeyPatch) -> bytes:
    application = HTTPApp(WSGIGateway(reader))
    application.upgrades = Upgrades()
    client = limited(application, max_connections_per_client=1, trusted_proxies="127.0.0.1")
    hold(client.server.clients.connections, 1, "192.0.2.7")
    return client.send(request("GET", "/", "X-Forwarded-For: 192.0.2.7", "Connection: Upgrade", "Upgrade: websocket"))


def plain_on_tls(monkeypatch: pytest.MonkeyPatch) -> bytes:
    return HTTPApp(WSGIGateway(reader)).refuse_plain(b"GET /")  # tests/ssl tests when it is called


CAUSES: dict[tuple[int, str], Callable[[pytest.MonkeyPatch], bytes]] = {
    (400, "plain HTTP on a port that serves TLS"): plain_on_tls,
    (408, "a head that comes too slowly"): head_too_slow,
    (408, "a body that comes too slowly"): body_too_slow,
    (408, "a streamed body that comes too slowly"): streamed_body_too_slow,
    (507, "a body when the budgets are used up"): budgets_used_up,
    (507, "a body when the disk is full"): disk_error(errno.ENOSPC),
    (500, "a body when the disk fails"): disk_error(errno.EACCES),
    (503, "a body when no file can be opened"): disk_error(errno.EMFILE),
    (503, "a head of more than 4 KiB that has to wait for its end, or for its body, when the memory is used up"): (
        large_head
    ),
    (503, "a request that has waited too long for a worker, or after too many others"): refused_by_engine("overload"),
    (429, "a request of a client that has too many already"): too_many_running,
    (429, "a request that has waited too long for those of the same client"): running_too_long,
    (429, "a WebSocket behind a frontend, of a client that has too many"): too_many_websockets,
    (503, "a request whose response does not begin in time"): refused_by_engine("timeout"),
}


@pytest.mark.parametrize("row", [row for row in REFUSALS if row.example is None], ids=named)
def test_the_client_gets_the_reason_of_a_circumstance(row: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    cause = CAUSES[row.status, row.name.partition(" (`")[0]]
    (response,) = split(cause(monkeypatch))
    assert (response.status, response.text) == (row.status, row.reason + "\n")


# ---- the code ----

NOT_FOR_CLIENTS = {
    (400, "this body was refused before; nothing after it can be read"),  # a driver never feeds the decoder again
    (400, "the head does not end with an empty line"),  # only for a caller that does not use the reader
}


def statuses(node: ast.expr) -> Iterator[int]:
    if isinstance(node, ast.Constant):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from statuses(node.body)
        yield from statuses(node.orelse)


def called(node: ast.Call) -> str:
    """The name of the function or the method."""
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


def refusals_in(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and called(node) in ("RemoteError", "refusal"):
            for status in statuses(node.args[0]):
                for message in patterns(node.args[1]):
                    yield status, message


def test_every_refusal_in_the_code_has_a_row() -> None:
    refusals = [
        (path.name, status, message)
        for folder in ("protocol/http1", "apps/http", "gateways")
        for path in (PACKAGE / folder).rglob("*.py")
        for status, message in refusals_in(path.read_text("utf-8"))
    ]
    rows = {(row.status, row.reason) for row in REFUSALS} | NOT_FOR_CLIENTS
    missing = [
        (module, code, message)
        for module, code, message in refusals
        if not any(code == status and re.fullmatch(message, reason) for status, reason in rows)
    ]
    assert missing == []
    assert len(refusals) > 40
    for status, reason in rows:
        assert any(code == status and re.fullmatch(message, reason) for _, code, message in refusals), reason


def test_the_end_of_a_body_is_decided_in_one_module() -> None:
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
