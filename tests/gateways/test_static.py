"""Files as responses: in memory, through the real gateway and server, and with raw bytes on a socket."""

from __future__ import annotations

import email
import email.policy
import io
import os
import re
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper as OtherWrapper
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve import ReserveWSGIServer, listen
from reserve.gateways.conditional import Conditions, parse_ranges
from reserve.gateways.folder import Folder
from reserve.gateways.static import (
    FileBody,
    StaticFiles,
    StaticResponse,
    describe,
    redirect_to_folder,
    respond,
)
from reserve.gateways.streams import FileWrapper
from tests.apps.http.responses import receive, request, take
from tests.clients import connect, until_closed

CONTENT = bytes(range(256)) * 40
MODIFIED = 784111777
LAST_MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"


def later() -> float:
    """A clock that is far enough from the time at which the test wrote its files."""
    return time.time() + 10


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    site = tmp_path / "site"
    (site / "sub" / "empty").mkdir(parents=True)
    (site / "data.bin").write_bytes(CONTENT)
    (site / "empty.txt").write_bytes(b"")
    (site / "index.html").write_text("<p>index")
    (site / "sub" / "index.html").write_text("<p>sub")
    (site / ".env").write_text("secret")
    for path in (site / "data.bin", site / "index.html"):
        os.utime(path, (MODIFIED, MODIFIED))
    return site


class Got:
    """A response of an application that was called in memory."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = int(status[:3])
        self.headers = {name.lower(): value for name, value in headers}
        assert len(self.headers) == len(headers)
        self.body = body


def validated(app: Any) -> Any:
    return validator(app)


def get(app: Any, path: str = "/", method: str = "GET", **variables: Any) -> Got:
    heads = []
    environ = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "x",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
    } | variables  # fmt: skip
    result = app(environ, lambda status, headers, exc_info=None: heads.append((status, headers)))
    try:
        body = b"".join(result)
    finally:
        if hasattr(result, "close"):
            result.close()
    ((status, headers),) = heads
    return Got(status, headers, body)


def static(site: Path, **options: Any) -> StaticFiles:
    return StaticFiles(Folder(site), clock=later, **options)


# ---- the head ----


def test_a_file(site: Path) -> None:
    got = get(validated(static(site, headers=[("Cache-Control", "max-age=60")])), "/data.bin")
    assert (got.status, got.body) == (200, CONTENT)
    assert re.fullmatch('"[0-9a-f]+-2800"', got.headers.pop("etag"))
    assert got.headers == {
        "content-type": "application/octet-stream",
        "content-length": "10240",
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
        "last-modified": LAST_MODIFIED,
        "cache-control": "max-age=60",
    }


@pytest.mark.parametrize("path", ["/data.bin", "/empty.txt", "/", "/missing", "/sub"])
def test_head_is_get_without_the_body(site: Path, path: str) -> None:
    app = validated(static(site, index="index.html"))
    whole, head = get(app, path), get(app, path, "HEAD")
    assert (head.status, head.headers, head.body) == (whole.status, whole.headers, b"")


def test_an_empty_file(site: Path) -> None:
    for more in ({}, {"HTTP_RANGE": "bytes=0-"}, {"HTTP_RANGE": "bytes=-5"}):
        got = get(static(site), "/empty.txt", **more)
        assert (got.status, got.headers["content-length"], got.body) == (200, "0", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "get"])
def test_other_methods(site: Path, method: str) -> None:
    app = static(site, index="index.html")
    for path in ("/data.bin", "/", "/sub"):
        got = get(app, path, method)
        assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")
    assert get(app, "/missing", method).status == 404


# ---- validators ----


def test_conditions(site: Path) -> None:
    app = static(site)
    etag = get(app, "/data.bin").headers["etag"]
    not_modified = get(app, "/data.bin", HTTP_IF_NONE_MATCH=f'"x", W/{etag}')
    assert (not_modified.status, not_modified.body) == (304, b"")
    assert not_modified.headers == {"etag": etag, "accept-ranges": "bytes", "x-content-type-options": "nosniff"}
    assert get(app, "/data.bin", HTTP_IF_NONE_MATCH='"x"').status == 200
    assert get(app, "/data.bin", "HEAD", HTTP_IF_MODIFIED_SINCE=LAST_MODIFIED).status == 304
    assert get(app, "/data.bin", HTTP_IF_MODIFIED_SINCE=formatdate(MODIFIED - 1, usegmt=True)).status == 200
    assert get(app, "/data.bin", HTTP_IF_MODIFIED_SINCE="yesterday").status == 200
    assert get(app, "/data.bin", HTTP_IF_MATCH='"x"').status == 412
    assert get(app, "/data.bin", HTTP_IF_UNMODIFIED_SINCE=formatdate(MODIFIED - 1, usegmt=True)).status == 412
    for fields in ({"HTTP_IF_RANGE": etag}, {"HTTP_IF_RANGE": LAST_MODIFIED}, {}):
        assert get(app, "/data.bin", HTTP_RANGE="bytes=0-4", **fields).status == 206
    for value in ('"x"', f"W/{etag}", formatdate(MODIFIED + 1, usegmt=True)):
        assert get(app, "/data.bin", HTTP_RANGE="bytes=0-4", HTTP_IF_RANGE=value).status == 200


def opened(path: Path) -> Any:
    found = Folder(path.parent).open([path.name])
    assert found is not None
    return found


def etag_at(path: Path, now: float) -> str:
    representation = describe(opened(path), "text/plain", now=now)
    representation.file.close()
    assert representation.etag is not None
    return representation.etag


def test_a_tag_is_weak_while_a_second_change_could_leave_the_same_time(site: Path) -> None:
    path = site / "data.bin"
    changed = path.stat().st_ctime_ns / 1e9
    assert etag_at(path, changed + 0.01) == "W/" + etag_at(path, changed + 10)
    assert etag_at(path, changed - 100).startswith("W/")
    assert etag_at(path, changed + 10) == etag_at(path, changed + 1000)
    if path.stat().st_ctime_ns % 1_000_000_000:
        assert etag_at(path, changed + 0.05) == etag_at(path, changed + 10)


def test_a_file_system_without_fractions_of_a_second_needs_longer(site: Path) -> None:
    found = opened(site / "data.bin")
    whole = os.stat_result(found.info, {"st_ctime_ns": 1_000 * 10**9, "st_mtime_ns": 1_000 * 10**9})
    for now, weak in ((1_001.9, True), (1_002.1, False)):
        etag = describe(found._replace(info=whole), "text/plain", now=now).etag
        assert (etag or "").startswith("W/") is weak
    found.file.close()


def test_each_change_has_another_tag(site: Path) -> None:
    path = site / "data.bin"
    os.utime(path, ns=(10**18, 10**18))
    first = etag_at(path, later())
    os.utime(path, ns=(10**18, 10**18 + 100))
    second = etag_at(path, later())
    path.write_bytes(CONTENT + b"x")
    os.utime(path, ns=(10**18, 10**18))
    assert len({first, second, etag_at(path, later())}) == 3


def test_times_that_no_date_can_say(site: Path) -> None:
    os.utime(site / "data.bin", (time.time() + 10_000_000,) * 2)
    got = get(StaticFiles(Folder(site), clock=lambda: 1_000_000_000.0), "/data.bin")
    assert got.headers["last-modified"] == formatdate(1_000_000_000, usegmt=True)
    os.utime(site / "data.bin", (-1, -1))
    assert get(static(site), "/data.bin").headers["last-modified"] == "Wed, 31 Dec 1969 23:59:59 GMT"
    found = opened(site / "data.bin")
    ancient = os.stat_result(found.info, {"st_ctime_ns": 0, "st_mtime_ns": -(10**20)})
    with found.file:
        assert describe(found._replace(info=ancient), "text/plain").last_modified is None


# ---- ranges ----


def test_one_range(site: Path) -> None:
    got = get(validated(static(site)), "/data.bin", HTTP_RANGE="bytes=100-299")
    assert (got.status, got.body) == (206, CONTENT[100:300])
    assert got.headers["content-range"] == "bytes 100-299/10240"
    assert (got.headers["content-length"], got.headers["content-type"]) == ("200", "application/octet-stream")


def test_no_range(site: Path) -> None:
    got = get(static(site), "/data.bin", HTTP_RANGE="bytes=10240-")
    assert (got.status, got.headers["content-range"]) == (416, "bytes */10240")
    assert got.headers["content-type"].startswith("text/plain")
    for value in ("bytes=5-4", "lines=1-2", "bytes=0-9,5-12", "bytes=" + ",".join(f"{n}-{n}" for n in range(17))):
        whole = get(static(site), "/data.bin", HTTP_RANGE=value)
        assert (whole.status, whole.body) == (200, CONTENT)


def parts(got: Any, content_type: str) -> list[tuple[str, bytes]]:
    """The parts of a multipart body, as the standard library reads it: Content-Range and content of each."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message: Any = email.message_from_bytes(head + got.body, policy=email.policy.HTTP)
    assert message.get_content_type() == "multipart/byteranges"
    assert not message.defects
    return [(part["Content-Range"], part.get_payload(decode=True)) for part in message.iter_parts()]


def test_several_ranges(site: Path) -> None:
    (site / "a.txt").write_text("The quick brown fox")
    got = get(validated(static(site)), "/a.txt", HTTP_RANGE="bytes=-3, 4-8")
    assert got.status == 206
    assert "content-range" not in got.headers
    assert int(got.headers["content-length"]) == len(got.body)
    assert parts(got, got.headers["content-type"]) == [("bytes 16-18/19", b"fox"), ("bytes 4-8/19", b"quick")]
    assert got.body.count(b"Content-Type: text/plain; charset=utf-8\r\n") == 2
    other = get(static(site), "/a.txt", HTTP_RANGE="bytes=-3, 4-8")
    assert other.headers["content-type"] != got.headers["content-type"]  # the boundary


POSITION = st.integers(0, 12_000)
SPEC = st.one_of(
    st.tuples(POSITION, POSITION).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    POSITION.map("{}-".format),
    POSITION.map("-{}".format),
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """The address of a server that serves a folder; its neighbour has a secret."""
    (tmp_path / "secret.txt").write_text("the-secret")
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (site / "data.bin").write_bytes(CONTENT)
    (site / "sub" / "index.html").write_text("<p>sub")
    (site / ".env").write_text("the-secret")
    (site / "out").symlink_to("..")
    os.mkfifo(site / "fifo")
    with ReserveWSGIServer(listen("127.0.0.1:0"), static(site, index="index.html"), threads=2) as server:
        yield server.addresses[0]


def test_the_bytes_of_ranges_are_slices_of_the_file(served: Any) -> None:
    @given(st.lists(SPEC, min_size=1, max_size=5))
    def check(specs: list[str]) -> None:
        value = "bytes=" + ",".join(specs)
        with connect(served) as client:
            client.sendall(request("GET", "/data.bin", f"Range: {value}"))
            got = receive(client)
        ranges = parse_ranges(value, len(CONTENT))
        if ranges is None:
            assert (got.status, got.body) == (200, CONTENT)
        elif not ranges:
            assert (got.status, got.fields["content-range"]) == (416, "bytes */10240")
        elif len(ranges) == 1:
            ((start, stop),) = ranges
            assert (got.status, got.body) == (206, CONTENT[start:stop])
            assert got.fields["content-range"] == f"bytes {start}-{stop - 1}/10240"
        else:
            assert got.status == 206
            assert parts(got, got.fields["content-type"]) == [
                (f"bytes {start}-{stop - 1}/10240", CONTENT[start:stop]) for start, stop in ranges
            ]

    check()


# ---- the body ----


def test_the_server_gets_the_file_itself(site: Path) -> None:
    """With reserve's file wrapper a whole file and one range are sent without reading."""
    for ranges, position in ((None, 0), ("bytes=100-299", 100)):
        response = respond(describe(opened(site / "data.bin"), "x/y"), "GET", Conditions(range=ranges))
        body = response.to_wsgi({"wsgi.file_wrapper": FileWrapper}, lambda *head: lambda data: None)
        assert type(body) is FileWrapper
        assert (body.filelike.tell(), body.filelike.fileno() > 0) == (position, True)  # type: ignore[attr-defined]
        body.close()
    for ranges, wrapper in (("bytes=1-2,5-6", FileWrapper), ("bytes=100-299", OtherWrapper)):
        response = respond(describe(opened(site / "data.bin"), "x/y"), "GET", Conditions(range=ranges))
        body = response.to_wsgi({"wsgi.file_wrapper": wrapper}, lambda *head: lambda data: None)
        assert type(body) is FileBody
        body.close()
        body.close()


def test_a_file_that_grows_is_sent_as_it_was(site: Path) -> None:
    response = respond(describe(opened(site / "data.bin"), "x/y"), "GET", Conditions())
    with (site / "data.bin").open("ab") as file:
        file.write(b"more")
    body = response.to_wsgi({}, lambda *head: lambda data: None)
    assert b"".join(body) == CONTENT
    response.close()


def test_a_file_that_shrinks_is_no_complete_response(site: Path) -> None:
    response = respond(describe(opened(site / "data.bin"), "x/y"), "GET", Conditions())
    os.truncate(site / "data.bin", 100)
    body = response.to_wsgi({}, lambda *head: lambda data: None)
    with pytest.raises(EOFError, match="100 bytes, the response needs 10240"):
        list(body)
    response.close()


@pytest.mark.parametrize("ranges", [None, "bytes=50-5000", "bytes=0-1,50-5000"])
def test_a_client_notices_that_a_file_shrinks(site: Path, ranges: str | None) -> None:
    def shrink(environ: Any, start_response: Any) -> Any:
        response = static(site).respond(environ)
        os.truncate(site / "data.bin", 100)
        return response.to_wsgi(environ, start_response)

    with (
        ReserveWSGIServer(listen("127.0.0.1:0"), shrink) as server,
        connect(server.addresses[0]) as client,
    ):
        client.sendall(request("GET", "/data.bin", *([f"Range: {ranges}"] if ranges else [])))
        data, _ = until_closed(client)
    if data:
        got, _ = take(data)
        assert got.status == 500 or not got.whole


def test_a_response_that_cannot_be_started_closes_its_file(site: Path) -> None:
    response = respond(describe(opened(site / "data.bin"), "x/y"), "GET", Conditions())

    def fail(*head: Any) -> Any:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        response.to_wsgi({}, fail)
    assert isinstance(response.body, FileBody)
    assert response.body._file.closed
    assert isinstance(response, StaticResponse)


# ---- paths ----


def test_index_and_redirects(site: Path) -> None:
    app = validated(static(site, index="index.html"))
    assert get(app, "/").body == b"<p>index"
    assert get(app, "/sub/").body == b"<p>sub"
    assert get(app, "/sub/index.html").body == b"<p>sub"
    got = get(app, "/sub", QUERY_STRING="a=b%20c")
    assert (got.status, got.headers["location"]) == (302, "/sub/?a=b%20c")
    assert get(app, "/sub", SCRIPT_NAME="/x y").headers["location"] == "/x%20y/sub/"
    assert get(app, "", SCRIPT_NAME="/static").headers["location"] == "/static/"
    for path in ("/sub/empty", "/sub/empty/", "/data.bin/", "/index.html/", "//", "//sub/", "/sub//"):
        assert get(app, path).status == 404
    assert get(static(site, index="index.html"), "").body == b"<p>index"
    for path in ("/", "/sub/", "/sub"):
        assert get(static(site), path).status == 404


def test_a_redirect_stays_on_its_host() -> None:
    for path in ("//evil.example/", "///evil.example", "/"):
        (location,) = (value for name, value in redirect_to_folder(path, "", "GET").headers if name == "Location")
        assert re.match("/([a-z]|$)", location)
    (location,) = (
        value for name, value in redirect_to_folder("/a\r\nb\xc3\xa9\\", "", "GET").headers if name == "Location"
    )
    assert location == "/a%0D%0Ab%C3%A9%5C/"


def test_names_that_are_not_ascii_and_not_text(site: Path) -> None:
    (site / "gr\xfc\xdfe.txt").write_text("hello")
    Path(os.fsdecode(os.fsencode(site) + b"/\xff.txt")).write_text("bytes")
    assert get(static(site), "/gr\xc3\xbc\xc3\x9fe.txt").body == b"hello"
    assert get(static(site), "/\xff.txt").body == b"bytes"


ATTEMPTS = [
    "/../secret.txt", "/sub/../../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/%2e%2e%2fsecret.txt",
    "/..%5csecret.txt", "/..\\secret.txt", "/sub/..%2f..%2fsecret.txt", "/%2fetc/passwd", "//etc/passwd",
    "/%2Fetc%2Fpasswd", "/data.bin%00", "/data.bin%00.html", "/.env", "/%2eenv", "/sub/%2e%2e/.env", "/./data.bin",
    "/sub/./index.html", "/out/secret.txt", "/out", "/out/", "/fifo", "/fifo/", "/data.bin/", "/data.bin/x",
    "/..;/secret.txt", "/%252e%252e/secret.txt", "/..%c0%afsecret.txt", "/%c0%ae%c0%ae/secret.txt",
    "/sub%2findex.html", "/" + "../" * 50 + "etc/passwd", "/" + "a" * 5000, "/" + "a/" * 3000, "/%ff", "/C:/x", "/...",
]  # fmt: skip


@pytest.mark.parametrize("path", ATTEMPTS)
def test_no_request_leaves_the_folder(served: Any, path: str) -> None:
    with connect(served) as client:
        client.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data, _ = until_closed(client)
    assert re.match(rb"HTTP/1\.1 (404|400) ", data), data[:200]
    assert b"the-secret" not in data
    assert b"root:" not in data


def test_absolute_targets_and_a_query(served: Any) -> None:
    with socket.create_connection(served, 10) as client:
        client.sendall(request("GET", "http://x/data.bin?/../%2f"))
        assert receive(client).body == CONTENT
