"""StaticFolder: as a handle that is called, and behind a router on the real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("markupsafe")
pytest.importorskip("python_multipart")

from reserve import ReserveWSGIServer, listen
from reserve.desk.request import Request
from reserve.desk.response import Response
from reserve.desk.router import Router
from reserve.desk.staticfolder import FileResponse, StaticFolder
from tests.apps.http.responses import Response as Received
from tests.apps.http.responses import only, request
from tests.clients import connect, until_closed


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    site = tmp_path / "site"
    (site / "sub" / "_private").mkdir(parents=True)
    (site / "style.css").write_text("p {}")
    (site / "a & b?.txt").write_text("odd")
    (site / "<script>.txt").write_text("odd")
    (site / "x:y.txt").write_text("odd")
    (site / "sub" / "data.bin").write_bytes(bytes(range(256)))
    (site / "sub" / "_private" / "x").write_text("secret")
    (site / ".env").write_text("secret")
    (site / "_notes").write_text("secret")
    (site / "out").symlink_to("..")
    os.mkfifo(site / "fifo")
    return site


def ask(folder: StaticFolder, path: str, method: str = "GET", **headers: str) -> Response:
    """What the folder says when it is mounted at /static/."""
    asked = Request(
        method, f"/static{path}", "HTTP/1.1", {key.replace("_", "-"): headers[key] for key in headers}, None
    )
    asked.mount_depth = 1
    return folder(asked)


def test_a_file(site: Path) -> None:
    response = ask(StaticFolder(site), "/style.css")
    assert (response.code, response.body) == (200, b"p {}")
    assert response.headers["content-type"] == "text/css; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-cache"
    assert response.body == b"p {}"
    assert ask(StaticFolder(str(site)), "/sub/data.bin").body == bytes(range(256))


def test_parts_and_conditions_without_a_server(site: Path) -> None:
    response = ask(StaticFolder(site), "/sub/data.bin", range="bytes=1-3")
    assert (response.code, response.body) == (206, b"\1\2\3")
    response = ask(StaticFolder(site), "/sub/data.bin", if_none_match=response.headers["etag"])
    assert (response.code, response.body) == (304, b"")
    assert "content-type" not in response.headers
    response = ask(StaticFolder(site), "/sub/data.bin", "HEAD")
    assert (response.code, response.body, response.headers["content-length"]) == (200, b"", "256")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/.env", 403),
        ("/_notes", 403),
        ("/sub/_private/x", 403),
        ("/sub/_private/", 403),
        ("/../secret.txt", 403),
        ("/%2e%2e/secret.txt", 403),
        ("/..%2fsecret.txt", 403),
        ("/sub%2fdata.bin", 404),
        ("/sub/..%5c..%5csecret.txt", 403),
        ("/missing", 404),
        ("/missing/", 404),
        ("/style.css/", 404),
        ("/style.css%00", 404),
        ("//etc/passwd", 404),
        ("/%2fetc%2fpasswd", 404),
        ("/out/secret.txt", 404),
        ("/out/", 404),
        ("/fifo", 404),
        ("/%ff", 404),
        ("/%ed%a0%80", 404),
        ("/" + "n" * 5000, 404),
    ],
)
def test_what_is_refused(site: Path, path: str, code: int) -> None:
    response = ask(StaticFolder(site), path)
    assert response.code == code
    assert b"secret<" not in response.body


def test_links_out_of_the_folder_if_told(site: Path) -> None:
    assert ask(StaticFolder(site, outside=True), "/out/secret.txt").body == b"secret"


@pytest.mark.parametrize("path", ["/style.css", "/sub/", "/sub", "/"])
def test_other_methods(site: Path, path: str) -> None:
    for method in ("POST", "DELETE", "OPTIONS"):
        response = ask(StaticFolder(site), path, method)
        assert (response.code, response.headers["allow"]) == (405, "GET, HEAD")
    assert ask(StaticFolder(site), "/missing", "POST").code == 404


def links(response: Response) -> list[tuple[str, str]]:
    return re.findall('<a href="([^"]*)">([^<]*)</a>', response.body.decode())


def test_a_folder_is_a_page_of_links(site: Path) -> None:
    Path(os.fsdecode(os.fsencode(site) + b"/\xff.txt")).write_text("odd")
    response = ask(StaticFolder(site), "/")
    assert response.code == 200
    assert "Showing Folder /static" in response.body.decode()
    assert links(response) == [
        ("..", ".."),
        ("%3Cscript%3E.txt", "&lt;script&gt;.txt"),
        ("a%20%26%20b%3F.txt", "a &amp; b?.txt"),
        ("style.css", "style.css"),
        ("sub/", "sub/"),
        ("x%3Ay.txt", "x:y.txt"),
        ("%FF.txt", "\ufffd.txt"),
    ]
    for href, _ in links(response)[1:-2]:
        assert ask(StaticFolder(site), f"/{href}").code == 200
    assert links(ask(StaticFolder(site), "/sub/")) == [("..", ".."), ("data.bin", "data.bin")]
    root = Request("GET", "/", "HTTP/1.1", {}, None)
    assert ("..", "..") not in links(StaticFolder(site)(root))


def test_a_title_with_markup_is_escaped(site: Path) -> None:
    (site / "<b>").mkdir()
    body = ask(StaticFolder(site), "/%3Cb%3E/").body
    assert b"<b>" not in body
    assert b"&lt;b&gt;" in body


def test_an_index(site: Path) -> None:
    (site / "sub" / "index.html").write_text("<p>sub")
    assert ask(StaticFolder(site, index="index.html"), "/sub/").body == b"<p>sub"
    assert b"Showing Folder" in ask(StaticFolder(site, index="index.html"), "/").body
    assert b"Showing Folder" in ask(StaticFolder(site), "/sub/").body


def test_a_folder_without_a_slash(site: Path) -> None:
    response = ask(StaticFolder(site), "/sub?a=1&a=2")
    assert (response.code, response.headers["location"]) == (302, "/static/sub/?a=1&a=2")
    bare = Request("GET", "/static", "HTTP/1.1", {}, None)
    bare.mount_depth = 1
    assert StaticFolder(site)(bare).headers["location"] == "/static/"


def test_a_response_can_be_changed_before_it_is_sent(site: Path) -> None:
    response = ask(StaticFolder(site), "/style.css")
    response.headers["content-disposition"] = "attachment"
    response.set_cookie("seen", "1")
    heads: list[Any] = []
    assert isinstance(response, FileResponse)
    assert response.wsgi is not None
    result: Any = response.wsgi({"wsgi.url_scheme": "https"}, lambda *head: heads.append(head))
    assert b"".join(result) == b"p {}"
    result.close()
    ((status, headers),) = heads
    assert status == "200 OK"
    assert ("content-disposition", "attachment") in headers
    assert any(name == "set-cookie" and value.endswith("Secure") for name, value in headers)
    with pytest.raises(RuntimeError, match="sent already"):
        response.wsgi({}, lambda *head: None)
    replaced = ask(StaticFolder(site), "/style.css")
    replaced.body = b"other"
    assert replaced.headers["content-length"] == "5"
    assert replaced.wsgi is not None
    assert list(replaced.wsgi({}, lambda *head: None)) == [b"other"]


def test_a_response_that_is_dropped_closes_its_file(site: Path) -> None:
    response = ask(StaticFolder(site), "/style.css")
    assert isinstance(response, FileResponse)
    assert response._static is not None
    body: Any = response._static.body
    del response
    assert body._file.closed


# ---- on the server ----


@pytest.fixture
def address(site: Path) -> Iterator[Any]:
    app = Router()
    app.delegate_folder("/static/", StaticFolder(site))
    with ReserveWSGIServer(listen("127.0.0.1:0"), app, threads=1) as server:
        yield server.addresses[0]


def fetch(address: Any, path: str, *fields: str, method: str = "GET") -> Received:
    with connect(address) as client:
        raw = request(method, path, "Connection: close", *fields)
        client.sendall(raw.replace(b"Host: test", b"Host: localhost"))
        return only(until_closed(client)[0])


def test_the_server_sends_files(address: Any) -> None:
    got = fetch(address, "/static/sub/data.bin")
    assert (got.status, got.body) == (200, bytes(range(256)))
    assert fetch(address, "/static/sub/data.bin", f"If-None-Match: {got.fields['etag']}").status == 304
    part = fetch(address, "/static/sub/data.bin", "Range: bytes=250-")
    assert (part.status, part.body, part.fields["content-range"]) == (206, bytes(range(250, 256)), "bytes 250-255/256")
    assert fetch(address, "/static/sub/data.bin", "Range: bytes=256-").status == 416
    assert fetch(address, "/static").fields["location"] == "/static/"
    assert fetch(address, "/static/sub").fields["location"] == "/static/sub/"
    assert "style.css" in fetch(address, "/static/").text
    assert fetch(address, "/static/style.css", method="POST").status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret.txt", "/static/%2e%2e/secret.txt", "/static/..%2fsecret.txt", "/static/%2e%2e%2fsecret.txt",
        "/static/..%5csecret.txt", "/static/..\\secret.txt", "/static/%2fetc/passwd", "/static//etc/passwd",
        "/static/style.css%00.txt", "/static/.env", "/static/%2eenv", "/static/_notes", "/static/%5fnotes",
        "/static/sub/%2e%2e/.env", "/static/out/secret.txt", "/static/fifo", "/static/sub/_private/x",
        "/static/%252e%252e/secret.txt", "/static/%c0%ae%c0%ae/secret.txt",
    ],
)  # fmt: skip
def test_no_request_leaves_the_folder(address: Any, path: str) -> None:
    with connect(address) as client:
        host = f"127.0.0.1:{address[1]}"
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        data, _ = until_closed(client)
    assert re.match(rb"HTTP/1\.1 (302|400|403|404) ", data), data[:200]
    assert b"\r\n\r\nsecret" not in data
    assert b"root:" not in data


@pytest.mark.peer
def test_curl_continues_a_download_of_a_desk_program(
    site: Path, tmp_path: Path, require_peer: Callable[[str], str]
) -> None:
    """``reserve app http wsgi yourdesk:app``, with the sources of this clone."""
    curl = [require_peer("curl"), "-q", "-sS", "--noproxy", "*"]
    content = os.urandom(300_000)
    (site / "big.bin").write_bytes(content)
    (tmp_path / "yourdesk.py").write_text(
        "from reserve.desk.router import Router\n"
        "from reserve.desk.staticfolder import StaticFolder\n"
        "app = Router()\n"
        f"app.delegate_folder('/static/', StaticFolder({str(site)!r}))\n"
    )
    clone = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "reserve", "-b", "127.0.0.1:0", "app", "http", "wsgi", "yourdesk:app"]
    environ = {**os.environ, "PYTHONPATH": clone}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = None
            for line in process.stderr:
                found = re.search(r"http://127\.0\.0\.1:\d+", line)
                if found:
                    break
            assert found, "the server has printed no address"
            url = f"{found[0]}/static/big.bin"
            partial = tmp_path / "partial"
            partial.write_bytes(content[:100_000])
            subprocess.run([*curl, "-C", "-", "-o", str(partial), url], check=True)
            assert partial.read_bytes() == content
            part = subprocess.run([*curl, "-r", "5-9", url], check=True, capture_output=True)
            assert part.stdout == content[5:10]
            head = subprocess.run([*curl, "-I", url], check=True, capture_output=True, text=True).stdout
            etag = dict(re.findall("(?m)^([a-z-]+): (.*)$", head.lower()))["etag"]
            known = [*curl, "-w", "%{http_code}", "-H", f"If-None-Match: {etag}", url]
            assert subprocess.run(known, check=True, capture_output=True).stdout == b"304"
        finally:
            process.terminate()


def test_a_subclass_may_refuse_more_names(site: Path) -> None:
    class Careful(StaticFolder):
        @staticmethod
        def forbid(component: str) -> bool:
            return component[0] == "s" or component.endswith(".css")

    assert list(map(StaticFolder.forbid, (".a", "_a", "a_.b"))) == [True, True, False]
    folder = Careful(site)
    assert ask(folder, "/style.css").code == 403
    assert b"sub" not in ask(folder, "/").body
    assert ask(folder, "/_notes").code == 404
    assert ask(folder, "/x:y.txt").body == b"odd"
