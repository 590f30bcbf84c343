"""curl as a client of the installed command."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.conftest import Curl, Serve
from tests.real.processes import clean_environ
from tests.real.serving import ServerProcess
from tests.waiting import PATIENCE

pytestmark = pytest.mark.peer

MEGABYTE = 1_000_000
BLOCK = bytes(range(250)) * 400  # 100 kB
REFUSED = (r".* WARNING: 127\.0\.0\.1:\d+: 413 Content-Length 5000000 is above .* \(--max-body\)",)


def test_two_requests_use_one_connection(everything: ServerProcess, curl: Curl) -> None:
    url = everything.url
    connects = ["-w", "%{num_connects}\n", "-o", "/dev/null"]
    for more in ([], ["-X", "POST", "-d", "a=b"]):
        assert curl(*more, *connects, f"{url}/generated", *connects, f"{url}/written").stdout == b"1\n0\n"
    twice = [*connects, f"{url}/written", *connects, f"{url}/written"]
    assert curl("--http1.0", "-H", "Connection: keep-alive", *twice).stdout == b"1\n0\n"
    assert curl("--http1.0", *twice).stdout == b"1\n1\n"


@pytest.mark.parametrize("options", [(), ("--stream-bodies",)], ids=["before the application", "while it runs"])
def test_a_chunked_upload_of_200_megabytes(
    serve: Serve, require_peer: Callable[[str], str], options: tuple[str, ...]
) -> None:
    digest = hashlib.sha256()
    command = [require_peer("curl"), "-q", "-sS", "--noproxy", "*", "-T", "-", "-H", "Transfer-Encoding: chunked"]
    with serve("app", "http", "wsgi", "everything", *options) as server:
        upload = subprocess.Popen(
            [*command, f"{server.url}/digest"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environ(),
        )
        with upload:
            assert upload.stdin is not None
            for _ in range(200 * MEGABYTE // len(BLOCK)):
                digest.update(BLOCK)
                upload.stdin.write(BLOCK)
            out, err = upload.communicate(timeout=PATIENCE)
        assert (upload.returncode, err) == (0, b"")
        assert json.loads(out) == {"size": 200 * MEGABYTE, "sha256": digest.hexdigest(), "method": "PUT"}
        assert server.peak_memory() < 150 * MEGABYTE


@pytest.mark.parametrize("options", [(), ("--expect", "app"), ("--stream-bodies",)])
def test_curl_sends_an_upload_after_the_100(serve: Serve, curl: Curl, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "upload").write_bytes(BLOCK * 50)
    with serve("app", "http", "wsgi", "everything", *options) as server:
        # The timeout is so long that curl never sends the body without having received the 100.
        waiting = ["--expect100-timeout", "100", "-H", "Expect: 100-continue", "-v"]
        result = curl(*waiting, "-T", str(tmp_path / "upload"), f"{server.url}/digest")
    assert json.loads(result.stdout)["sha256"] == hashlib.sha256(BLOCK * 50).hexdigest()
    assert re.findall(r"< HTTP/1\.1 (\d+)", result.stderr.decode()) == ["100", "200"]


def test_curl_does_not_send_an_upload_that_is_refused(serve: Serve, curl: Curl, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(BLOCK * 50)
    with serve("app", "http", "wsgi", "everything", "--max-body", "1000", log=REFUSED) as server:
        waiting = ["--expect100-timeout", "100", "-H", "Expect: 100-continue", "-v", "-o", "/dev/null"]
        result = curl(*waiting, "-w", "%{http_code} %{size_upload}", "-T", str(tmp_path / "upload"), server.url)
    assert result.stdout == b"413 0"


def test_a_generated_response_for_http_1_0_ends_with_the_connection(everything: ServerProcess, curl: Curl) -> None:
    result = curl("--http1.0", "-i", f"{everything.url}/generated")
    head, _, body = result.stdout.partition(b"\r\n\r\n")
    assert body == b"".join(b"%d\n" % number for number in range(500))
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()


def test_head_gives_the_fields_of_get_and_keeps_the_connection(everything: ServerProcess, curl: Curl) -> None:
    url = f"{everything.url}/file"
    get, _, _ = curl("-i", url).stdout.partition(b"\r\n\r\n")
    connects = ["-w", "%{num_connects}"]
    head, _, rest = curl("-I", *connects, url, *connects, url).stdout.partition(b"\r\n\r\n")

    def fields(text: bytes) -> list[bytes]:
        return [line for line in text.split(b"\r\n") if not line.startswith(b"Date:")]

    assert fields(head) == fields(get)
    assert rest.startswith(b"1HTTP/1.1 200 OK\r\n")
    assert rest.endswith(b"\r\n\r\n0")


def test_a_download_of_128_megabytes(everything: ServerProcess, curl: Curl, tmp_path: Path) -> None:
    digest = hashlib.sha256()
    for _ in range(2048):
        digest.update(bytes(range(256)) * 256)
    curl("-o", str(tmp_path / "large"), f"{everything.url}/large")
    with (tmp_path / "large").open("rb") as file:
        received = hashlib.sha256()
        while piece := file.read(MEGABYTE):
            received.update(piece)
    assert received.hexdigest() == digest.hexdigest()
    assert everything.peak_memory() < 150 * MEGABYTE


def test_a_unix_socket_is_served_and_removed(serve: Serve, curl: Curl, short_path: Path) -> None:
    path = short_path / "web"
    with serve("app", "http", "wsgi", "everything", "--unix-mode", "600", bind=f"unix:{path}") as server:
        assert server.addresses == [f"unix:{path}"]
        facts = json.loads(curl("--unix-socket", str(path), "http://somewhere/facts").stdout)
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()
    assert {name: facts[name] for name in ("HTTP_HOST", "SERVER_NAME", "REMOTE_ADDR")} == {
        "HTTP_HOST": "somewhere",
        "SERVER_NAME": "localhost",
        "REMOTE_ADDR": "",
    }
    assert facts["X_REMOTE_PID"].isdigit()


def test_an_abstract_socket_is_served_and_released(serve: Serve, curl: Curl, tmp_path: Path) -> None:
    name = f"reserve-tests{tmp_path}"[-90:]
    with serve("app", "http", "wsgi", "everything", bind=f"unix:@{name}") as server:
        assert server.addresses == [f"unix:@{name}"]
        facts = json.loads(curl("--abstract-unix-socket", name, "http://somewhere/facts").stdout)
    assert facts["SERVER_NAME"] == "localhost"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0{name}")
