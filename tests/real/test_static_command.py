"""``--static`` and ``http static DIR`` of the installed command: curl, raw paths, odd files, a very large one."""

from __future__ import annotations

import gzip
import os
import random
import socket
from pathlib import Path

import pytest

from tests.real.conftest import Curl, Serve
from tests.real.installing import Installed
from tests.real.processes import run
from tests.real.serving import SITES, fetch
from tests.waiting import PATIENCE

pytestmark = pytest.mark.peer

CONTENT = random.Random(1).randbytes(3_000_000)
SCRIPT = b"console.log('hello');\n" * 200
ONE_GB = 1_000_000_000


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (site / "big.bin").write_bytes(CONTENT)
    (site / "app.3f2a9c1b.js").write_bytes(SCRIPT)
    (site / "app.3f2a9c1b.js.gz").write_bytes(gzip.compress(SCRIPT))
    (site / "sub" / "index.html").write_text("<p>sub")
    (site / ".env").write_text("secret")
    (site / ".git").mkdir()
    (site / ".git" / "config").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret.txt").write_text("secret")
    (site / "inside").symlink_to("sub/index.html")
    (site / "outside").symlink_to("../secret.txt")
    (site / "outside-folder").symlink_to(tmp_path / "other")
    os.mkfifo(site / "fifo")
    return site


def test_curl_downloads_a_folder(serve: Serve, curl: Curl, site: Path, tmp_path: Path) -> None:
    with serve("app", "http", "static", str(site)) as server:
        assert f"reserve {server.banner[0].split()[1]} serves static {site}" == server.banner[0]
        url = f"{server.url}/big.bin"
        assert curl(url).stdout == CONTENT
        assert curl("-r", "1000000-", url).stdout == CONTENT[1_000_000:]
        assert CONTENT[2_000_000:] in curl("-r", "10-19,2000000-", url).stdout
        partial = tmp_path / "partial.bin"
        partial.write_bytes(CONTENT[:1_234_567])
        got = curl("-C", "-", "-o", str(partial), "-w", "%{http_code} %{size_download}", url)
        assert (got.stdout, partial.read_bytes()) == (b"206 1765433", CONTENT)
        script = f"{server.url}/app.3f2a9c1b.js"
        assert curl("--compressed", script).stdout == curl(script).stdout == SCRIPT
        head = curl("-I", "--compressed", script).stdout.decode()
        assert "Content-Encoding: gzip\r\n" in head
        assert "Cache-Control: public, max-age=31536000, immutable\r\n" in head
        tag = [line.partition(" ")[2] for line in head.splitlines() if line.startswith("ETag: ")]
        got = curl("-w", "%{http_code}", "--compressed", "-H", f"If-None-Match: {tag[0]}", script)
        assert got.stdout == b"304"
        assert curl("-L", f"{server.url}/sub").stdout == curl(f"{server.url}/inside").stdout == b"<p>sub"
        assert curl("-w", "%{http_code}", "-o", "/dev/null", f"{server.url}/").stdout == b"404"
        allowed = curl("-i", "-X", "OPTIONS", url).stdout.decode()
        assert allowed.startswith("HTTP/1.1 204 ")
        assert "Allow: GET, HEAD, OPTIONS\r\n" in allowed
        assert curl("-i", "-d", "a=b", url).stdout.startswith(b"HTTP/1.1 405 ")
    with serve("app", "http", "static", str(site), "--static-listing", "--no-static-immutable") as server:
        page = curl(f"{server.url}/").stdout.decode()
        assert '<a href="./sub/">sub/</a>' in page
        assert '<a href="./inside">inside</a>' in page
        assert not any(name in page for name in (".env", ".git", "outside", "fifo"))
        assert "Cache-Control" not in curl("-I", f"{server.url}/app.3f2a9c1b.js").stdout.decode()


PATHS = [
    "/../secret.txt",
    "/sub/../../secret.txt",
    "/..",
    "/.",
    "//../secret.txt",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/sub/%2e%2e/%2e%2e/secret.txt",
    "/%252e%252e/secret.txt",
    "/..;/secret.txt",
    "/À®À®/secret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/.env",
    "/%2eenv",
    "/.git/config",
    "/sub/../.env",
    "/outside",
    "/outside-folder/secret.txt",
    "/secret.txt%00.html",
    "/.env%00",
    "/fifo",
    "//etc/passwd",
    "/%2fetc/passwd",
    "/sub/index.html/",
    "/sub/index.html/../../../secret.txt",
    "/~root",
    "/file:///etc/passwd",
    "?../secret.txt",
]


def exchange(address: tuple[str, int], target: str) -> bytes:
    with socket.create_connection(address, PATIENCE) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode("latin-1"))
        received = b""
        while data := client.recv(65536):
            received += data
        return received


@pytest.mark.parametrize("prefix", ["", "/files"])
def test_no_path_leads_out_of_the_folder(serve: Serve, site: Path, prefix: str) -> None:
    at_root = ("static", str(site), "--static-listing")
    arguments = ("wsgi", "flask_site", "--static", f"/files={site}", "--static-listing") if prefix else at_root
    with serve("app", "http", *arguments, log=None) as server:
        for path in PATHS:
            got = exchange(server.address, prefix + path)
            assert b"secret" not in got.partition(b"\r\n\r\n")[2].replace(b"secret.txt", b""), path
            assert b"root:" not in got
            code = int(got.split()[1])
            assert code in ((200, 302, 400, 404) if path.startswith("?") or path == "/." else (400, 404)), (path, got)
        assert b"<p>sub" in exchange(server.address, f"{prefix}/sub/")


def test_flask_beside_folders(serve: Serve, curl: Curl, site: Path) -> None:
    arguments = (
        "--static",
        f"/assets={site}",
        "--static",
        f"/assets/deep={site / 'sub'}",
        "--mount",
        "/assets/app=portal:site",
    )
    with serve("app", "http", "wsgi", "flask_site", *arguments, "--threads", "1") as server, server.client() as client:
        assert fetch(client, "GET", "/assets/big.bin")[2] == CONTENT
        assert fetch(client, "GET", "/assets/deep/")[2] == b"<p>sub"
        assert fetch(client, "GET", "/assets/app/x")[2] == b"site '/assets/app' '/x'"
        assert b'"rest"' in fetch(client, "GET", "/post/1/x")[2]
        status, fields, _ = fetch(client, "GET", "/assets/no")
        assert (status, fields["content-type"]) == (404, "text/plain; charset=utf-8")  # not Flask's page
    with serve("app", "http", "wsgi", "flask_site", "--static", f"/={site}", "--static-missing", "app") as server:
        assert curl(f"{server.url}/inside").stdout == b"<p>sub"
        assert b'"rest"' in curl(f"{server.url}/post/1/x").stdout


def memory(pid: int) -> int:
    """The largest resident size so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def test_a_file_of_1_gb_takes_no_memory(serve: Serve, curl: Curl, site: Path) -> None:
    with open(site / "huge.bin", "wb") as file:
        file.truncate(ONE_GB)
    with serve("app", "http", "static", str(site)) as server:
        curl("-r", "0-99", "-o", "/dev/null", f"{server.url}/huge.bin")
        before = memory(server.process.pid)
        got = curl("-o", "/dev/null", "-w", "%{http_code} %{size_download}", f"{server.url}/huge.bin")
        assert got.stdout == f"200 {ONE_GB}".encode()
        assert memory(server.process.pid) - before < 8_000_000
        got = curl("-r", "-7", f"{server.url}/huge.bin")
        assert got.stdout == bytes(7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("static", "/no/such"), "/no/such is not a directory"),
        (("wsgi", "flask_site", "--static", "assets"), "'assets'"),
        (("wsgi", "flask_site", "--static", "/=."), "--static-missing app"),
        (("wsgi", "flask_site", "--static-missing", "no"), "allowed is 404 or app"),
    ],
)
def test_wrong_values_are_refused_at_the_start(installed: Installed, arguments: tuple[str, ...], message: str) -> None:
    done = run([installed.reserve, "-b", "127.0.0.1:0", "app", "http", *arguments], text=True, cwd=SITES)
    assert done.returncode == 2
    assert message in done.stderr
