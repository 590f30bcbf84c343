"""curl downloads files of a folder from the installed command: in parts, again, and after it was cut off."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.conftest import Curl, Serve
from tests.real.serving import ServerProcess

pytestmark = pytest.mark.peer

CONTENT = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> Iterator[ServerProcess]:
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (site / "big.bin").write_bytes(CONTENT)
    (site / "sub" / "index.html").write_text("<p>sub")
    with serve("app", "http", "wsgi", "files", environ={"FILES": str(site)}) as server:
        yield server


def test_parts(server: ServerProcess, curl: Curl) -> None:
    url = f"{server.url}/big.bin"
    assert curl(url).stdout == CONTENT
    assert curl("-r", "0-99", url).stdout == CONTENT[:100]
    assert curl("-r", "1000000-2999999", url).stdout == CONTENT[1_000_000:]
    assert curl("-r", "-5", url).stdout == CONTENT[-5:]
    assert curl("-r", "2999990-", url).stdout == CONTENT[-10:]
    parts = curl("-r", "10-19,2000000-2999999", url).stdout
    assert CONTENT[10:20] in parts
    assert CONTENT[2_000_000:] in parts
    assert len(parts) < 1_001_000
    refused = curl("-i", "-r", "3000000-", url).stdout.decode()
    assert refused.startswith("HTTP/1.1 416 ")
    assert "Content-Range: bytes */3000000\r\n" in refused


def test_a_download_goes_on_where_it_was_cut_off(server: ServerProcess, curl: Curl, tmp_path: Path) -> None:
    partial = tmp_path / "partial.bin"
    partial.write_bytes(CONTENT[:1_234_567])
    got = curl("-C", "-", "-o", str(partial), "-w", "%{http_code} %{size_download}", f"{server.url}/big.bin")
    assert got.stdout == b"206 1765433"
    assert partial.read_bytes() == CONTENT


def test_nothing_is_downloaded_twice(server: ServerProcess, curl: Curl) -> None:
    url = f"{server.url}/big.bin"
    head = curl("-I", url).stdout.decode()
    assert "Content-Length: 3000000\r\n" in head
    fields = dict(re.findall("(?m)^([A-Za-z-]+): (.*)\r$", head))
    for field in (f"If-None-Match: {fields['ETag']}", f"If-Modified-Since: {fields['Last-Modified']}"):
        got = curl("-w", "%{http_code} %{size_download}", "-H", field, url, url)
        assert got.stdout == b"304 0304 0"
    assert curl("-w", "%{http_code}", "-o", "/dev/null", "-H", 'If-None-Match: "x"', url).stdout == b"200"


def test_the_url_as_it_is_typed(server: ServerProcess, curl: Curl) -> None:
    assert curl("-L", f"{server.url}/sub").stdout == b"<p>sub"
    for path in ("../secret.txt", "sub/../../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt"):
        got = curl("--path-as-is", "-w", "%{http_code}", f"{server.url}/{path}").stdout
        assert b"secret" not in got
        assert got.endswith((b"404", b"400"))
    got = curl("-i", "-d", "a=b", f"{server.url}/big.bin").stdout.decode()
    assert got.startswith("HTTP/1.1 405 ")
    assert "Allow: GET, HEAD\r\n" in got
