"""curl against the installed command."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.conftest import Curl, Serve
from tests.real.serving import PATIENCE, Served, clean_environ

pytestmark = pytest.mark.peer

MEGABYTE = 1_000_000
BLOCK = bytes(range(250)) * 400  # 100 kB


REFUSED = (r".* WARNING: 127\.0\.0\.1:\d+: 413 Content-Length 5000000 is above .* \(--max-body\)",)


@pytest.fixture
def everything(serve: Serve) -> Iterator[Served]:
    with serve("app", "http", "wsgi", "everything", "--threads", "4") as server:
        yield server


def test_two_requests_use_one_connection(everything: Served, curl: Curl) -> None:
    url = everything.url
    made = ["-w", "%{num_connects}\n", "-o", "/dev/null"]
    for more in ([], ["-X", "POST", "-d", "a=b"]):
        assert curl(*more, *made, f"{url}/generated", *made, f"{url}/written").stdout == b"1\n0\n"
    again = [*made, f"{url}/written", *made, f"{url}/written"]
    assert curl("--http1.0", "-H", "Connection: keep-alive", *again).stdout == b"1\n0\n"
    assert curl("--http1.0", *again).stdout == b"1\n1\n"


@pytest.mark.parametrize("options", [(), ("--stream-bodies",)], ids=["before the application", "while it runs"])
def test_200_megabytes_in_chunks_of_unknown_number(
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
def test_a_file_that_waits_for_the_permission(
    serve: Serve, curl: Curl, tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "upload").write_bytes(BLOCK * 50)
    with serve("app", "http", "wsgi", "everything", *options) as server:
        # Long enough that curl never sends the body for want of an answer.
        waiting = ["--expect100-timeout", "100", "-H", "Expect: 100-continue", "-v"]
        done = curl(*waiting, "-T", str(tmp_path / "upload"), f"{server.url}/digest")
    assert json.loads(done.stdout)["sha256"] == hashlib.sha256(BLOCK * 50).hexdigest()
    assert re.findall(r"< HTTP/1\.1 (\d+)", done.stderr.decode()) == ["100", "200"]


def test_a_body_that_is_not_wanted_is_never_sent(serve: Serve, curl: Curl, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(BLOCK * 50)
    with serve("app", "http", "wsgi", "everything", "--max-body", "1000", says=REFUSED) as server:
        waiting = ["--expect100-timeout", "100", "-H", "Expect: 100-continue", "-v", "-o", "/dev/null"]
        done = curl(*waiting, "-w", "%{http_code} %{size_upload}", "-T", str(tmp_path / "upload"), server.url)
    assert done.stdout == b"413 0"


def test_http_1_0(everything: Served, curl: Curl) -> None:
    done = curl("--http1.0", "-i", f"{everything.url}/generated")
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert body == b"".join(b"%d\n" % number for number in range(500))
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()


def test_head(everything: Served, curl: Curl) -> None:
    get, _, _ = curl("-i", f"{everything.url}/file").stdout.partition(b"\r\n\r\n")
    made = ["-w", "%{num_connects}"]
    head, _, rest = curl("-I", *made, f"{everything.url}/file", *made, f"{everything.url}/file").stdout.partition(
        b"\r\n\r\n"
    )

    def fields(text: bytes) -> list[bytes]:
        return [line for line in text.split(b"\r\n") if not line.startswith(b"Date:")]

    assert fields(head) == fields(get)
    assert rest.startswith(b"1HTTP/1.1 200 OK\r\n")
    assert rest.endswith(b"\r\n\r\n0")


def test_a_large_answer(everything: Served, curl: Curl, tmp_path: Path) -> None:
    digest = hashlib.sha256()
    for _ in range(2048):
        digest.update(bytes(range(256)) * 256)
    curl("-o", str(tmp_path / "large"), f"{everything.url}/large")
    with (tmp_path / "large").open("rb") as file:
        found = hashlib.sha256()
        while piece := file.read(MEGABYTE):
            found.update(piece)
    assert found.hexdigest() == digest.hexdigest()
    assert everything.peak_memory() < 150 * MEGABYTE


def test_a_unix_socket(serve: Serve, curl: Curl, short_path: Path) -> None:
    path = short_path / "web"
    with serve("app", "http", "wsgi", "everything", "--unix-mode", "600", bind=f"unix:{path}") as server:
        assert server.places == [f"unix:{path}"]
        facts = json.loads(curl("--unix-socket", str(path), "http://somewhere/facts").stdout)
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()
    assert {name: facts[name] for name in ("HTTP_HOST", "SERVER_NAME", "REMOTE_ADDR")} == {
        "HTTP_HOST": "somewhere",
        "SERVER_NAME": "localhost",
        "REMOTE_ADDR": "",
    }
    assert facts["X_REMOTE_PID"].isdigit()


def test_an_abstract_socket(serve: Serve, curl: Curl, tmp_path: Path) -> None:
    name = f"reserve-tests{tmp_path}"[-90:]
    with serve("app", "http", "wsgi", "everything", bind=f"unix:@{name}") as server:
        assert server.places == [f"unix:@{name}"]
        facts = json.loads(curl("--abstract-unix-socket", name, "http://somewhere/facts").stdout)
    assert facts["SERVER_NAME"] == "localhost"
    with socket.socket(socket.AF_UNIX) as again:
        again.bind(f"\0{name}")
