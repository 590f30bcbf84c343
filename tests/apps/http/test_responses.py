"""How responses are framed, aborted and stored: in memory."""

# ruff: noqa: SIM115  (the server closes the files that it is given, and the tests check that)

from __future__ import annotations

import errno
import gzip
import io
import os
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.testing import MemoryClient
from tests.apps.http.doubles import generated, returning
from tests.apps.http.responses import request, split, take

CONTENT = bytes(range(256)) * 1000


@pytest.mark.parametrize("kind", [list, tuple, iter, generated])
@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("pieces", [(), (b"",), (b"one",), (b"one", b"", b"two"), (b"x" * 100_000, b"y" * 100_000)])
@pytest.mark.parametrize("room", [None, 1, 5000])
def test_every_kind_of_body_is_framed_for_its_client(
    kind: Any, minor: int, pieces: tuple[bytes, ...], room: int | None
) -> None:
    client = MemoryClient(returning("200 OK", [], *pieces, kind=kind))
    client.read(room)
    raw = client.send(request("GET", "/", "Connection: keep-alive", minor=minor))
    raw += client.read(None)
    (response,) = split(raw)
    assert (response.body, response.whole) == (b"".join(pieces), True)
    assert ("transfer-encoding" in response.fields) <= (minor == 1)
    until_close = minor == 0 and "content-length" not in response.fields
    assert client.closed == until_close
    client.close()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
@pytest.mark.parametrize("headers", [[], [("Content-Length", "4")]])
@pytest.mark.parametrize("kind", [list, generated])
def test_no_body_follows_a_head_that_allows_none(status: str, headers: list[tuple[str, str]], kind: Any) -> None:
    if status.startswith("204"):
        headers = []
    client = MemoryClient(returning(status, headers, b"bo", b"dy", kind=kind))
    method = "HEAD" if status == "200 OK" else "GET"
    raw = client.send(request(method) + request(method))
    responses = split(raw, "HH")
    assert len(responses) == 2
    assert b"bo" not in raw
    client.close()


class Endless:
    """An iterable that yields its pieces and then the last of them again and again; it notes its ``close()``.

    A server that takes a thousand pieces fails its test: it would take them for ever.
    """

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        for _ in range(1000):
            yield self._pieces[-1]
        raise AssertionError("the server does not stop")

    def read(self, size: int) -> bytes:
        """As an endless file that is no regular file."""
        return next(self._blocks)

    @cached_property
    def _blocks(self) -> Iterator[bytes]:
        return iter(self)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("pieces", [(b"event",), (b"",), (b"", b"event")])
@pytest.mark.parametrize("headers", [[], [("Content-Length", "7")]])
@pytest.mark.parametrize("kind", ["iterable", "file"])
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), *(("GET", f"{code} Nothing") for code in (204, 205, 304))]
)
def test_an_endless_body_that_is_not_sent_is_not_iterated(
    method: str, status: str, kind: str, headers: list[tuple[str, str]], pieces: tuple[bytes, ...]
) -> None:
    results = [Endless(*pieces) for _ in range(2)]
    started = iter(results)

    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return environ["wsgi.file_wrapper"](next(started)) if kind == "file" else next(started)

    client = MemoryClient(app)
    responses = split(client.send(request(method) * 2), "HH" if method == "HEAD" else "")
    assert [(response.status, response.whole) for response in responses] == [(int(status[:3]), True)] * 2
    assert [result.closed for result in results] == [1, 1]
    assert client.log == []
    client.close()


@pytest.mark.parametrize(("length", "pieces"), [("5", (b"event", b"")), ("0", (b"",)), ("5", (b"", b"event", b""))])
def test_iteration_ends_when_content_length_is_reached(length: str, pieces: tuple[bytes, ...]) -> None:
    result = Endless(*pieces)
    client = MemoryClient(returning("200 OK", [("Content-Length", length)], kind=lambda _: result))
    (response,) = split(client.send(request()))
    assert (response.body, response.whole, result.closed) == (b"".join(pieces), True, 1)
    assert client.log == []
    client.close()


def test_what_a_generator_does_after_the_last_byte_of_content_length_is_done() -> None:
    done = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        yield b"data"
        done.append(True)

    client = MemoryClient(app)
    assert split(client.send(request()))[0].text == "data"
    assert done == [True]
    client.close()


def test_the_response_to_head_has_the_length_of_the_response_to_get(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"](open(tmp_path / "file", "rb"))
        return [b"12345"] if environ["PATH_INFO"] == "/list" else []

    client = MemoryClient(app)
    lengths = [
        split(client.send(request("HEAD", path)), "H")[0].fields.get("content-length")
        for path in ("/file", "/list", "/empty")
    ]
    # An application that makes no body for HEAD does not thereby say that GET has none.
    assert lengths == [str(len(CONTENT)), "5", None]
    client.close()


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([b"1234567"], list),
        ([b"1234567"], generated),
        ([b"1234567"], dict.fromkeys),
        ([b"1234567", b""], generated),
        ([b"123", b"4567"], list),
        ([b"x" * 100_000, b"y"], tuple),
        ([b"123"], list),
        ([b"123"], dict.fromkeys),
        ([b"1", b"2"], list),
        ([], generated),
    ],
)
def test_a_body_that_is_known_not_to_have_its_content_length_becomes_a_500(pieces: list[bytes], kind: Any) -> None:
    client = MemoryClient(returning("200 OK", [("Content-Length", "5")], *pieces, kind=kind))
    (response,) = split(client.send(request() + request()))
    assert (response.status, response.whole, client.closed) == (500, True, True)
    excess = sum(map(len, pieces)) - 5
    assert (
        f"than its Content-Length: {abs(excess)} bytes {'too many' if excess > 0 else 'are missing'}" in client.log[0]
    )


@pytest.mark.parametrize("stated", ["100001", "100003"])
def test_the_length_of_a_long_list_is_checked_before_its_head_is_sent(stated: str) -> None:
    client = MemoryClient(returning("200 OK", [("Content-Length", stated)], b"x" * 100_000, b"yz"))
    (response,) = split(client.send(request()))
    assert (response.status, len(client.log)) == (500, 1)


def test_a_body_longer_than_its_content_length_is_cut_there() -> None:
    client = MemoryClient(returning("200 OK", [("Content-Length", "5")], b"123", b"4567", kind=generated))
    raw = client.send(request() + request())
    response, rest = take(raw)
    assert (response.body, rest, client.closed) == (b"12345", b"", True)
    assert "longer than its Content-Length" in client.log[0]


def test_a_body_shorter_than_its_content_length_is_not_complete() -> None:
    client = MemoryClient(returning("200 OK", [("Content-Length", "5")], b"123", kind=generated))
    (response,) = split(client.send(request() + request()))
    assert (response.body, response.whole, client.closed) == (b"123", False, True)
    client = MemoryClient(returning("200 OK", [("Content-Length", "5")]))
    (response,) = split(client.send(request() + request()))
    assert (response.status, response.whole, client.closed) == (500, True, True)
    assert "shorter than its Content-Length" in client.log[0]


@pytest.mark.parametrize(
    ("minor", "headers"), [(1, []), (1, [("Content-Length", "9")]), (0, [("Content-Length", "9")])]
)
@pytest.mark.parametrize("room", [None, 0])
def test_a_response_that_fails_after_its_head_is_not_complete(
    minor: int, headers: list[tuple[str, str]], room: int | None
) -> None:
    client = MemoryClient(returning("200 OK", headers, b"123", ValueError("half-way"), kind=generated))
    client.read(room)
    client.send(request("GET", "/", "Connection: keep-alive", minor=minor))
    raw = client.read(None)
    if room is None:
        client = MemoryClient(returning("200 OK", headers, b"123", ValueError("half-way"), kind=generated))
        raw = client.send(request("GET", "/", "Connection: keep-alive", minor=minor))
    (response,) = split(raw)
    assert (response.body, response.whole, client.closed) == (b"123", False, True)
    assert "half-way" in client.log[0]


def test_an_application_that_fails_before_its_head_gets_a_500() -> None:
    client = MemoryClient(returning("200 OK", [], ValueError("early"), kind=generated))
    (response,) = split(client.send(request() + request()))
    assert (response.status, response.fields["connection"], client.closed) == (500, "close", True)
    assert "early" not in response.text
    assert "ValueError: early" in client.log[0]
    client = MemoryClient(returning("200 OK", [], ValueError("early"), kind=generated))
    raw = client.send(request("HEAD"))
    assert raw.startswith(b"HTTP/1.1 500 ")
    assert raw.endswith(b"\r\n\r\n")


def test_a_head_that_replaces_another_decides_about_the_connection() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Connection", "close"), ("Content-Length", "99")])
        try:
            raise ValueError
        except ValueError as error:
            start_response("404 Not Found", [], (ValueError, error, None))
        return [b"other"]

    client = MemoryClient(app)
    responses = split(client.send(request() + request()))
    assert [(response.status, response.text) for response in responses] == [(404, "other")] * 2
    client.close()


# ---- applications that wait ----


@pytest.mark.parametrize("before", [(), (b"event",)])
@pytest.mark.parametrize(
    ("method", "kind", "piece"),
    [("GET", "generator", b""), ("GET", "write", b""), ("HEAD", "write", b""), ("HEAD", "write", b"dropped")],
)
def test_an_application_that_produces_nothing_ends_when_its_client_has_disconnected(
    before: tuple[bytes, ...], method: str, kind: str, piece: bytes
) -> None:
    ended = []

    def wait() -> Iterator[bytes]:
        try:
            yield from before
            client.socket.ended = True
            for _ in range(1000):
                client.clock.advance(0.5)
                yield piece
            raise AssertionError("the server does not notice it")
        finally:
            ended.append(True)

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        if kind == "generator":
            return wait()
        for piece in wait():
            write(piece)
        return []

    client = MemoryClient(app)
    client.send(request(method))
    assert (ended, client.closed, client.log) == ([True], True, [])


def test_a_client_that_has_shut_down_its_side_gets_a_response_that_begins_with_empty_pieces() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        client.socket.ended = True
        for piece in (b"one", b"two"):
            yield b""
            client.clock.advance(0.9)
            yield b""
            yield piece

    client = MemoryClient(app)
    (response,) = split(client.send(request()))
    assert (response.text, response.whole) == ("onetwo", True)


# ---- files ----


def file_app(file: Any, *headers: tuple[str, str]) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](file)

    return app


@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("offset", [0, 1, 100_000, len(CONTENT)])
@pytest.mark.parametrize("stated", [None, 7])
@pytest.mark.parametrize("buffering", [0, -1])
def test_a_file_is_sent_from_its_position(
    minor: int, offset: int, stated: int | None, buffering: int, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    file = open(path, "rb", buffering=buffering)
    file.read(offset)
    if offset == len(CONTENT):
        stated = None
    headers = [] if stated is None else [("Content-Length", str(stated))]
    client = MemoryClient(file_app(file, *headers))
    client.read(2000)
    raw = client.send(request("GET", "/", "Connection: keep-alive", minor=minor))
    assert file.closed  # at once: the connection sends the rest from a descriptor of its own
    raw += client.read(None)
    (response,) = split(raw)
    expected = CONTENT[offset:]
    assert response.body == (expected if stated is None else expected[:stated])
    if expected:
        assert response.fields["content-length"] == str(len(response.body))
        assert not client.closed  # HTTP/1.0, too: the length is known
    client.close()


def test_a_file_shorter_than_its_content_length_becomes_a_500(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    client = MemoryClient(file_app(open(tmp_path / "file", "rb"), ("Content-Length", "9")))
    (response,) = split(client.send(request()))
    assert (response.status, response.whole, client.closed) == (500, True, True)
    assert "5 bytes are missing" in client.log[0]


def test_the_body_is_what_the_file_reads_not_what_its_descriptor_has(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(CONTENT))
    client = MemoryClient(file_app(gzip.open(path)))
    assert split(client.send(request()))[0].body == CONTENT
    client.close()

    class Upper(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
            return (super().read(size) or b"").upper()

    (tmp_path / "lower").write_bytes(b"abc")
    client = MemoryClient(file_app(Upper(tmp_path / "lower")))
    assert split(client.send(request()))[0].body == b"ABC"
    client.close()


@pytest.mark.parametrize("kind", ["memory", "temporary", "named", "pipe"])
def test_files_that_are_not_plain_files_of_the_disk(kind: str) -> None:
    if kind == "memory":
        file: Any = io.BytesIO(CONTENT)
    elif kind == "pipe":
        read, write = os.pipe()
        os.write(write, CONTENT[:1000])
        os.close(write)
        file = open(read, "rb")
    else:
        file = tempfile.TemporaryFile() if kind == "temporary" else tempfile.NamedTemporaryFile()
        file.write(CONTENT)
        file.seek(0)
    client = MemoryClient(file_app(file))
    (response,) = split(client.send(request()))
    assert response.body == (CONTENT[:1000] if kind == "pipe" else CONTENT)
    assert file.closed
    client.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("stated", [0, 7, 4096])
@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("offset", [0, 3])
def test_a_file_whose_size_is_not_its_content_is_iterated(
    method: str, minor: int, stated: int, taken: bool, offset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As files of /proc and /sys are: the size is 0, or a page. 7: a file that grew after its size was read."""
    content = b"0123456789"
    (tmp_path / "file").write_bytes(content)
    fstat = os.fstat

    def lying(fd: int) -> os.stat_result:
        return os.stat_result((*fstat(fd)[:6], stated, *fstat(fd)[7:]))

    monkeypatch.setattr(os, "fstat", lying)
    file = open(tmp_path / "file", "rb")
    file.read(offset)
    headers = [("Content-Length", str(stated - offset))] if taken and stated >= offset else []
    client = MemoryClient(file_app(file, *headers))
    raw = client.send(request(method, "/", minor=minor))
    (response,) = split(raw, "H" if method == "HEAD" else "")
    assert (response.status, response.whole, file.closed) == (200, True, True)
    if stated == 7:
        assert response.fields["content-length"] == str(7 - offset)
        assert response.body == (b"" if method == "HEAD" else content[offset:7])
    else:
        assert "content-length" not in response.fields
        assert response.body == (b"" if method == "HEAD" else content[offset:])
    dropped = [f"GET /: the application's Content-Length, {stated - offset}, is not sent: it is the size that"]
    assert [line.partition(" a file")[0].replace("HEAD", "GET") for line in client.log] == (
        dropped if headers and stated != 7 else []
    )
    client.close()


@pytest.mark.parametrize("stated", [0, 7, 4096])
@pytest.mark.parametrize("length", [5, 10])
def test_a_content_length_that_the_file_can_fulfil_is_obeyed_whatever_its_size_says(
    stated: int, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    fstat = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result((*fstat(fd)[:6], stated, *fstat(fd)[7:])))
    client = MemoryClient(file_app(open(tmp_path / "file", "rb"), ("Content-Length", str(length))))
    (response,) = split(client.send(request()))
    assert (response.fields["content-length"], response.body) == (str(length), b"0123456789"[:length])
    assert client.log == []
    client.close()


@pytest.mark.parametrize("kind", ["kernel", "memory"])
def test_a_file_that_is_iterated_and_shorter_than_its_content_length_becomes_a_500(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    fstat = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result((*fstat(fd)[:6], 4096, *fstat(fd)[7:])))
    file: Any = open(tmp_path / "file", "rb") if kind == "kernel" else io.BytesIO(b"0123456789")
    client = MemoryClient(file_app(file, ("Content-Length", "12")))
    (response,) = split(client.send(request()))
    assert (response.status, response.whole, client.closed, file.closed) == (500, True, True, True)
    assert "2 bytes are missing" in client.log[0]


def test_a_sparse_file_has_its_size(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        file.truncate(100_000)
    client = MemoryClient(file_app(open(tmp_path / "file", "rb")))
    (response,) = split(client.send(request()))
    assert (response.fields["content-length"], response.body) == ("100000", bytes(100_000))
    client.close()


def test_a_content_length_of_zero_sends_nothing_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    client = MemoryClient(file_app(open(tmp_path / "file", "rb"), ("Content-Length", "0")))
    (response,) = split(client.send(request()))
    assert (response.status, response.fields["content-length"], response.body) == (200, "0", b"")
    assert not client.closed
    client.close()


@pytest.mark.parametrize("kind", ["closed", "for writing", "text"])
def test_a_file_that_cannot_be_read_as_bytes_becomes_a_500(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    file: Any = open(path, "rb") if kind == "closed" else open(path) if kind == "text" else io.FileIO(path, "a")
    if kind == "closed":
        file.close()
    client = MemoryClient(file_app(file))
    (response,) = split(client.send(request()))
    assert (response.status, response.whole, file.closed) == (500, True, True)
    expected = {"closed": "closed file", "for writing": "File not open for reading", "text": "read() returned str"}
    assert expected[kind] in client.log[0]


def test_a_device_without_an_end_is_read_up_to_content_length() -> None:
    client = MemoryClient(file_app(open("/dev/zero", "rb"), ("Content-Length", "100000")))
    (response,) = split(client.send(request()))
    assert (response.body, response.whole) == (bytes(100_000), True)
    client.close()


def test_a_file_like_object_whose_fileno_fails_is_read() -> None:
    class WithoutDescriptor:
        def __init__(self) -> None:
            self.pieces = [b"two", b"one"]

        def read(self, size: int) -> bytes:
            return self.pieces.pop() if self.pieces else b""

        def fileno(self) -> int:
            raise LookupError

    client = MemoryClient(file_app(WithoutDescriptor()))
    assert split(client.send(request()))[0].body == b"onetwo"
    client.close()


# ---- responses that wait for their client ----


def test_a_response_that_went_to_a_file_arrives_complete(tmp_path: Path) -> None:
    pieces = [bytes([n % 256]) * (n * 37 % 5000) for n in range(400)]
    settings = HTTPSettings(response_memory=10_000, spool_dir=str(tmp_path))
    for room in (0, 1, 777):
        client = MemoryClient(returning("200 OK", [], *pieces, kind=generated), settings)
        client.read(room)
        raw = client.send(request())
        assert len(raw) == room
        output = client._connection.output
        assert output is not None
        assert output.spooled > 900_000
        assert output.size <= 10_000 + 5010
        while client._connection.output is not None:
            raw += client.read(99_991)
        (response,) = split(raw + client.read(None))
        assert (response.body, response.whole) == (b"".join(pieces), True)
        client.close()
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_client_that_disconnects_is_closed(tmp_path: Path) -> None:
    # (Every test checks that no descriptor stays open.)
    settings = HTTPSettings(response_memory=10, spool_dir=str(tmp_path))
    client = MemoryClient(returning("200 OK", [], *[b"x" * 100] * 100, kind=generated), settings)
    client.read(0)
    client.send(request())
    client.close()
    assert client.closed


def test_beyond_max_response_spool_the_application_waits() -> None:
    settings = HTTPSettings(response_memory=1000, max_response_spool=5000)
    pieces = [b"x" * 100] * 100
    client = MemoryClient(returning("200 OK", [], *pieces, kind=generated), settings)
    client.read(0)
    client.send(request())  # no thread can read meanwhile: the application gets ClientDisconnected
    (response,) = split(client.read(None))
    assert not response.whole
    assert 4000 < len(response.body) < 7000
    assert client.closed


@pytest.mark.parametrize("fails_at", [0, 1, 5])
def test_what_a_full_disk_has_taken_of_a_response_is_sent_once_and_in_order(
    fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.TemporaryFile
    calls = [0]

    class FullDisk:
        def __init__(self, file: Any) -> None:
            self.fileno, self.seek, self.close, self._write = file.fileno, file.seek, file.close, file.write

        def write(self, data: memoryview) -> int:
            calls[0] += 1
            if calls[0] > fails_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self._write(data[:50])  # type: ignore[no-any-return]

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: FullDisk(make(**options)))
    settings = HTTPSettings(response_memory=150)
    pieces = [bytes([65 + n]) * 100 for n in range(5)]
    client = MemoryClient(returning("200 OK", [("Content-Length", "500")], *pieces, kind=generated), settings)
    client.read(0)
    client.send(request())
    (response,) = split(client.read(None))
    # After that the application waits for its client, which does not read.
    assert b"".join(pieces).startswith(response.body)
    assert len(response.body) >= 100
    assert sum("No space left on device" in line for line in client.log) == 1
