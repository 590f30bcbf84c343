"""Bodies that are received before the application runs: in memory, with a clock that stands still."""

from __future__ import annotations

import errno
import io
import os
import random
import tempfile
from pathlib import Path
from typing import Any, cast

import pytest

from reserve.apps.http.bufferedbody import COMPLETE, FULL, MORE, WAITING, BodyStore, BufferedBody
from reserve.apps.http.settings import HTTPSettings
from reserve.errors import RemoteError
from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder
from reserve.protocol.http1.limits import Limits
from reserve.testing import FakeClock, MemoryClient, MemorySocket
from reserve.testing.memoryserver import MemoryConnection, MemoryServer
from tests.apps.http.doubles import Recorder, failing
from tests.apps.http.responses import CONTINUE, only, request, split


@pytest.mark.parametrize("size", [0, 1, 5, 65_536, 65_537, 262_144, 700_000])
@pytest.mark.parametrize("chunks", [0, 3, 8192, 300_000])
@pytest.mark.parametrize("segment", [None, 1, 4096])
def test_the_application_reads_all_of_a_body(size: int, chunks: int, segment: int | None, tmp_path: Path) -> None:
    if size > 5 and (segment == 1 or chunks == 3):
        size = 300
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    app = Recorder()
    client = MemoryClient(app, HTTPSettings(body_memory=100 if segment == 1 else 65536, spool_dir=str(tmp_path)))
    client.socket.segment = segment
    raw = request("POST", "/", body=body, chunks=chunks) + request("GET", "/next")
    first, second = split(client.send(raw))
    assert (app.bodies[0] == body, first.status, second.text) == (True, 200, "/next ")
    environ = app.environs[0]
    assert environ["CONTENT_LENGTH"] == str(size)
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert environ["wsgi.input_terminated"] is True
    assert environ["wsgi.input"].closed == (size > 0 or chunks > 0)  # its file, too
    assert list(tmp_path.iterdir()) == []
    client.close()


@pytest.mark.parametrize("size", [40, 400_000])
def test_every_way_to_read_a_buffered_body(size: int, tmp_path: Path) -> None:
    body = (b"one\ntwo\n\nthree" * (size // 14 + 1))[:size]
    read: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        read.append(stream.read(5))
        read.append(stream.readline())
        read.append(stream.readline(2))
        read.append(b"".join(stream.readlines(10)))
        read.append(next(iter(stream)))
        read.append(stream.read(0))
        read.append(b"".join(stream))
        read.append(stream.read() + stream.read(5) + stream.readline() + b"".join(stream.readlines()))
        start_response("200 OK", [])
        return []

    client = MemoryClient(app, HTTPSettings(spool_dir=str(tmp_path)))
    assert only(client.send(request("POST", body=body))).status == 200
    expected = io.BytesIO(body)
    assert read[:4] == [
        expected.read(5), expected.readline(), expected.readline(2), b"".join(expected.readlines(10)),
    ]  # fmt: skip
    assert b"".join(read) == body
    assert read[-1] == b""
    client.close()


@pytest.mark.parametrize("chunks", [0, 10])
def test_a_body_that_the_application_does_not_read_is_not_taken_for_a_request(chunks: int) -> None:
    inner = request("GET", "/smuggled")
    paths = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        paths.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"unread"]

    client = MemoryClient(app)
    assert len(split(client.send(request("POST", "/a", body=inner, chunks=chunks) + request("GET", "/b")))) == 2
    assert paths == ["/a", "/b"]
    client.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nHost: t",
        b"\r\n",
        request("POST", body=b"0123456789")[:-1],
        request("POST", body=b"0123456789", chunks=4)[:-1],
        request("POST", body=b"0123456789", chunks=4)[:-14],
        request("POST", body=b"x" * 400_000)[:-1],
    ],
)
def test_an_incomplete_request_does_not_reach_the_application(raw: bytes, tmp_path: Path) -> None:
    app = Recorder()
    client = MemoryClient(app, HTTPSettings(spool_dir=str(tmp_path)))
    assert client.send(raw) == b""
    assert client.end() == b""
    assert client.closed
    assert app.environs == []
    assert len(client.log) == (1 if b"POST" in raw else 0)


def test_the_100_is_sent_before_the_application_runs() -> None:
    app = Recorder()
    client = MemoryClient(app)
    raw = request("POST", "/", "Expect: 100-continue", body=b"content")
    assert client.send(raw[:-7]) == CONTINUE
    assert app.environs == []
    assert only(client.send(b"content")).text == "/ content"
    # A client that has sent some of the body, or has no body, waits for no 100.
    assert only(client.send(raw)).text == "/ content"
    assert only(client.send(request("POST", "/", "Expect: 100-continue", body=b""))).text == "/ "
    assert only(client.send(request("GET", "/", "Expect: 100-continue"))).text == "/ "
    client.close()


def test_a_head_that_is_refused_gets_no_100() -> None:
    client = MemoryClient(Recorder(), HTTPSettings(limits=Limits(max_body=5)))
    response = only(client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 6")))
    assert (response.status, client.closed) == (413, True)


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EACCES, 500)])
def test_a_request_whose_body_the_disk_does_not_take_is_refused(
    number: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BodyStore, "spill", failing(number))
    app = Recorder()
    client = MemoryClient(app)
    response = only(client.send(request("POST", body=b"x" * 500_000)))
    assert (response.status, response.fields["connection"], client.closed) == (status, "close", True)
    assert app.environs == []
    (line,) = client.log
    assert "--spool-dir" in line
    assert os.strerror(number) in line
    assert os.strerror(number) not in response.text


def test_a_request_whose_body_cannot_be_opened_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BodyStore, "open", failing(errno.ENOSPC))
    app = Recorder()
    client = MemoryClient(app)
    assert only(client.send(request("POST", body=b"x"))).status == 507
    assert (app.environs, client.closed) == ([], True)


def test_a_spool_directory_that_does_not_exist_is_a_500(tmp_path: Path) -> None:
    client = MemoryClient(Recorder(), HTTPSettings(spool_dir=str(tmp_path / "gone")))
    assert only(client.send(request("POST", body=b"x" * 500_000))).status == 500
    assert str(tmp_path / "gone") in client.log[0]


def test_the_file_of_a_body_that_was_refused_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[Any] = []
    make = tempfile.TemporaryFile

    def keep(**options: Any) -> Any:
        files.append(make(**options))
        return files[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", keep)
    client = MemoryClient(Recorder(), HTTPSettings(spool_dir=str(tmp_path)))
    raw = request("POST", body=b"x" * 400_000, chunks=100_000)
    assert only(client.send(raw[:-5] + b"nonsense\r\n")).status == 400
    assert [file.closed for file in files] == [True]


@pytest.mark.parametrize("memory", [0, 65_536, 262_144, 1_000_000, 4_000_000])
@pytest.mark.parametrize("more", [0, 1_000_000])
@pytest.mark.parametrize("chunks", [0, 50_000])
def test_a_body_of_up_to_body_memory_needs_no_file(memory: int, more: int, chunks: int, blocks: list[int]) -> None:
    """A client that is quick may have up to 256 KiB in memory, whatever the limit."""
    size = max(memory, 262_143) + more
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    app = Recorder()
    client = MemoryClient(app, HTTPSettings(body_memory=memory))
    assert only(client.send(request("POST", body=body, chunks=chunks))).status == 200
    assert app.bodies == [body]
    assert (sum(blocks) > 0) is (more > 0)
    if blocks:
        assert blocks[0] <= max(memory, 262_144) + 65_536
        assert all(count <= 262_144 + 65_536 for count in blocks[1:])


def test_a_client_that_pauses_has_up_to_body_memory_in_memory(tmp_path: Path) -> None:
    app = Recorder()
    client = MemoryClient(app, HTTPSettings(body_memory=600_000, spool_dir=str(tmp_path / "gone")))
    raw = request("POST", body=b"x" * 600_000)
    for start in range(0, len(raw), 100_000):
        assert app.bodies == []
        received = client.send(raw[start : start + 100_000])
    assert only(received).status == 200
    assert app.bodies == [b"x" * 600_000]


def test_a_body_in_tiny_pieces_is_kept_in_few_objects() -> None:
    store = BodyStore(1_000_000, None)
    for _ in range(20_000):
        store.add(b"abc")
    assert (store.size, store.in_memory, store.too_large) == (60_000, 60_000, False)
    assert len(store._pieces) <= 60_000 // 2048
    assert store.open().read() == b"abc" * 20_000


def receiving(body: bytes, length: int | None = None) -> tuple[BufferedBody, MemorySocket, MemoryServer]:
    """A body that has arrived and is received with a clock that stands still; chunked, if it has no length."""
    server, sock = MemoryServer(FakeClock()), MemorySocket()
    sock.incoming += body
    connection = MemoryConnection(server, cast(Any, sock), sock.peer)
    decoder = ChunkedDecoder(Limits()) if length is None else LengthDecoder(length)
    return BufferedBody(connection, decoder, b"", HTTPSettings(), 0.0), sock, server


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the blocks that are written to files of bodies."""
    written: list[int] = []
    spill = BodyStore.spill

    def counting(store: BodyStore) -> None:
        written.append(store.in_memory)
        spill(store)

    monkeypatch.setattr(BodyStore, "spill", counting)
    return written


def test_a_file_thread_goes_on_with_a_body_while_more_arrives(blocks: list[int]) -> None:
    content = random.Random(1).randbytes(1_500_000)
    body, sock, server = receiving(content[:1_400_000], len(content))
    assert body.receive() is FULL
    assert (blocks, server.budget.memory) == ([], 262_144)
    body.store()
    assert blocks == [262_144] * 5 + [1_400_000 - 5 * 262_144]  # without memory for what the client has yet to send
    assert (server.budget.memory, server.budget.disk) == (0, 1_400_000)
    assert body.receive() is WAITING
    sock.incoming += content[1_400_000:] + b"GET /next"
    assert body.receive() is FULL
    body.store()
    assert body.receive() is COMPLETE
    with body.open() as file:
        assert file.read() == content
    assert body.unparsed == b"GET /next"
    body.close()


@pytest.mark.parametrize("chunks", [0, 100, 1_000_000])
def test_a_file_thread_takes_the_next_connection_after_4_mib(chunks: int, blocks: list[int]) -> None:
    content = bytes(range(250)) * 40_000
    raw = content
    if chunks:
        content = content[:chunks] * (len(content) // chunks)
        raw = b"%x\r\n%b\r\n" % (chunks, content[:chunks]) * (len(content) // chunks) + b"0\r\n\r\n"
    body, _, server = receiving(raw, None if chunks else len(content))
    turns = []
    while (progress := body.receive()) is not COMPLETE:
        assert progress in (FULL, MORE)
        assert server.budget.memory <= 262_144 + 65_536 * 2  # also of what is received and not decoded yet
        if progress is FULL:
            before = server.budget.disk
            body.store()
            turns.append(server.budget.disk - before)
    assert len(turns) == 3
    assert all(abs(turn - 4_194_304) <= 262_144 + 65_536 for turn in turns[:-1])
    assert all(size <= 262_144 + 65_536 for size in blocks)
    with body.open() as file:
        assert file.read() == content
    body.close()


def test_a_file_thread_takes_the_next_connection_when_the_disk_is_slow(blocks: list[int]) -> None:
    body, _, server = receiving(bytes(2_000_000), 2_000_000)
    assert body.receive() is FULL
    clock = cast(FakeClock, server.clock)
    now = clock.now

    def slow() -> float:
        return now() + 0.004 * len(blocks)  # what the blocks so far have taken

    clock.now = slow  # type: ignore[method-assign]
    body.store()
    assert blocks == [262_144] * 3
    assert body.receive() is FULL
    body.close()


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), RemoteError(413, "too large")])
def test_what_a_file_thread_meets_while_it_receives_is_for_the_thread_that_steps(error: Exception) -> None:
    body, sock, server = receiving(bytes(300_000), 1_000_000)
    assert body.receive() is FULL

    def fail(size: int) -> bytes:
        raise error

    sock.recv = fail
    body.store()
    assert server.budget.disk == 262_144
    with pytest.raises(type(error)):
        body.receive()
    body.close()


def test_a_turn_is_bounded_in_bytes_on_the_wire_whatever_their_content() -> None:
    body, sock, server = receiving(b"1\r\nX\r\n" * 200_000)
    assert body.receive() is MORE
    assert 0 < body.size <= 262_144 // 6 + 1
    received = 1_200_000 - len(sock.incoming)
    assert 262_144 <= received <= 262_144 + 65_536
    assert server.budget.memory >= body.size  # what waits undecoded is counted, too
    while body.receive() is MORE:
        pass
    assert body.size == 200_000


def test_a_turn_is_bounded_in_time() -> None:
    body, _, server = receiving(b"1\r\nX\r\n" * 200_000)
    clock = cast(FakeClock, server.clock)
    readings = iter([0.0, 0.001, 0.0021])  # the start of the turn, before the first piece, before the second
    clock.now = lambda: next(readings)  # type: ignore[method-assign]
    assert body.receive() is MORE
    assert 0 < body.size <= 8192 // 6 + 1
    assert next(readings, None) is None


def test_the_pieces_of_a_body_in_several_turns_are_one_body() -> None:
    content = bytes(range(256)) * 1000
    raw = b"".join(b"1\r\n%c\r\n" % byte for byte in content) + b"0\r\n\r\n"
    app = Recorder()
    client = MemoryClient(app)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    first, second = split(client.send(head + raw + request("GET", "/next")))
    assert (app.bodies[0] == content, first.status, second.text) == (True, 200, "/next ")
    client.close()
