"""The installed command serves Flask, Django, CherryPy and a plain WSGI application."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import json
import os
import random
from collections.abc import Iterator

import pytest

from tests.real.conftest import Curl, Serve
from tests.real.serving import ServerProcess, fetch

BINARY = random.Random(7).randbytes(3_000_000)
"""More bytes than Django and reserve keep in memory."""
PIECES = [BINARY[start : start + 70_000] for start in range(0, len(BINARY), 70_000)]
BOUNDARY = "----boundary-of-the-tests"


def require_framework(name: str) -> None:
    """Skip the test when the framework is not installed, or fail when RESERVE_CI=1: the extra ``test`` has it."""
    if importlib.util.find_spec(name) is None:
        if os.environ.get("RESERVE_CI") == "1":
            pytest.fail(f"{name} is not installed, and RESERVE_CI=1 makes that an error", pytrace=False)
        pytest.skip(f"{name} is not installed")


def multipart(content: bytes, **fields: str) -> tuple[dict[str, str], bytes]:
    """The header fields and the body of a form with a file."""
    lines = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="numbers.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = b"".join([*lines, head.encode(), content, f"\r\n--{BOUNDARY}--\r\n".encode()])
    return {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, body


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ---- Flask ----


@pytest.fixture
def flask(serve: Serve) -> Iterator[ServerProcess]:
    require_framework("flask")
    with serve("app", "http", "wsgi", "flask_site", "--threads", "4") as server:
        yield server


def test_flask_serves_routes_forms_and_cookies(flask: ServerProcess) -> None:
    with flask.client() as client:
        status, headers, body = fetch(client, "GET", "/")
        assert (status, body.decode()) == (200, "<h1>Grüße &amp; more</h1>")
        assert headers["Content-Length"] == str(len(body))
        _, _, body = fetch(client, "GET", "/post/7/a%20b/%C3%BC%2Fc?x=1&x=2")
        assert json.loads(body) == {"number": 7, "rest": "a b/ü/c", "query": {"x": ["1", "2"]}}
        assert fetch(client, "GET", "/nowhere")[0] == 404
        assert fetch(client, "DELETE", "/")[0] == 405
        status, headers, _ = fetch(
            client, "POST", "/form", b"name=Ann", {"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert (status, headers["Location"]) == (303, flask.url + "/")
        assert headers.get_all("Set-Cookie") == ["name=Ann; HttpOnly; Path=/", "second=2; Path=/"]
        _, _, body = fetch(client, "GET", "/cookies", headers={"Cookie": "name=Ann; second=2"})
        assert json.loads(body) == {"name": "Ann", "second": "2"}
        status, headers, body = fetch(client, "HEAD", "/")
        assert (status, headers["Content-Type"], body) == (200, "text/html; charset=utf-8", b"")


def test_flask_receives_uploads_with_a_length_and_in_chunks(flask: ServerProcess) -> None:
    headers, form = multipart(BINARY)
    expected = {"name": "numbers.bin", "size": len(BINARY), "sha256": sha256(BINARY)}
    with flask.client() as client:
        assert json.loads(fetch(client, "POST", "/upload", form, headers)[2]) == expected
        pieces = (form[start : start + 50_001] for start in range(0, len(form), 50_001))
        chunked = {**headers, "Transfer-Encoding": "chunked"}
        assert json.loads(fetch(client, "POST", "/upload", pieces, chunked)[2]) == expected
        body = json.loads(fetch(client, "PUT", "/raw", iter(PIECES), {"Transfer-Encoding": "chunked"})[2])
        assert (body["size"], body["sha256"]) == (len(BINARY), sha256(BINARY))
        assert (body["length"], body["coding"], body["terminated"]) == (str(len(BINARY)), None, True)


def test_flask_reads_chunks_while_they_arrive(serve: Serve) -> None:
    require_framework("flask")
    with serve("app", "http", "wsgi", "flask_site:app", "--stream-bodies") as server, server.client() as client:
        body = json.loads(fetch(client, "PUT", "/raw", iter(PIECES), {"Transfer-Encoding": "chunked"})[2])
        assert (body["size"], body["sha256"]) == (len(BINARY), sha256(BINARY))
        assert (body["length"], body["coding"], body["terminated"]) == (None, "chunked", True)
        assert fetch(client, "GET", "/")[0] == 200


def test_flask_streams_a_response(flask: ServerProcess) -> None:
    expected = b"".join(b"line %d\n" % number for number in range(2000))
    with flask.client() as client:
        _, headers, body = fetch(client, "GET", "/stream")
        assert (headers["Transfer-Encoding"], body) == ("chunked", expected)
        vars(client).update(_http_vsn=10, _http_vsn_str="HTTP/1.0")
        _, headers, body = fetch(client, "GET", "/stream")
        assert (headers["Transfer-Encoding"], headers["Content-Length"], body) == (None, None, expected)


def test_flask_logs_its_errors_and_responds_with_500(serve: Serve) -> None:
    require_framework("flask")
    with serve("app", "http", "wsgi", "flask_site", log=None) as server, server.client() as client:
        assert fetch(client, "GET", "/broken")[0] == 500
        assert fetch(client, "GET", "/")[0] == 200
    assert "ERROR in app: Exception on /broken [GET]" in server.log[0]
    assert server.log[-1] == "LookupError: this page is meant to fail"


@pytest.mark.peer
def test_flask_serves_curl(flask: ServerProcess, curl: Curl) -> None:
    result = curl("-b", "", "-L", "-d", "name=Ann", "-w", "%{num_connects} %{http_code}", flask.url + "/form")
    assert result.stdout.decode() == "<h1>Grüße &amp; more</h1>1 200"
    result = curl("-F", "file=@-;filename=numbers.bin", flask.url + "/upload", input=BINARY)
    assert json.loads(result.stdout) == {"name": "numbers.bin", "size": len(BINARY), "sha256": sha256(BINARY)}


# ---- Django ----


@pytest.fixture
def django(serve: Serve) -> Iterator[ServerProcess]:
    require_framework("django")
    with serve("app", "http", "wsgi", "django_site:application", "--threads", "4") as server:
        yield server


def test_django_reads_the_whole_body_of_a_chunked_upload(django: ServerProcess) -> None:
    small = [b"first, ", b"second, ", b"third"]
    with django.client() as client:
        for pieces in (small, PIECES[:30]):
            status, headers, body = fetch(client, "PUT", "/echo", iter(pieces), {"Transfer-Encoding": "chunked"})
            assert (status, headers["X-Method"], body) == (200, "PUT", b"".join(pieces))
        assert fetch(client, "POST", "/echo", b"with a length")[2] == b"with a length"
        assert fetch(client, "POST", "/echo", b"")[2] == b""


def test_django_receives_a_large_file(django: ServerProcess) -> None:
    headers, form = multipart(BINARY, by="Ann")
    expected = {
        "name": "numbers.bin",
        "size": len(BINARY),
        "sha256": sha256(BINARY),
        "kind": "TemporaryUploadedFile",
        "by": "Ann",
    }
    with django.client() as client:
        assert json.loads(fetch(client, "POST", "/upload", form, headers)[2]) == expected
        pieces = iter([form[:100_000], form[100_000:]])
        assert json.loads(fetch(client, "POST", "/upload", pieces, {**headers, "Transfer-Encoding": "chunked"})[2]) == (
            expected
        )


def test_django_streams_and_sends_files(django: ServerProcess) -> None:
    numbers = b"".join(b"%07d\n" % number for number in range(400_000))
    with django.client() as client:
        _, headers, body = fetch(client, "GET", "/stream")
        assert (headers["Transfer-Encoding"], body) == ("chunked", b"".join(b"%d " % n for n in range(50_000)))
        _, headers, body = fetch(client, "GET", "/file")
        assert (headers["Content-Length"], headers["Content-Disposition"]) == (
            str(len(numbers)),
            'attachment; filename="numbers.txt"',
        )
        assert body == numbers
        status, headers, body = fetch(client, "HEAD", "/file")
        assert (status, headers["Content-Length"], body) == (200, str(len(numbers)), b"")
        _, headers, body = fetch(client, "GET", "/visits")
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert json.loads(fetch(client, "GET", "/visits", headers={"Cookie": cookie})[2]) == {"visits": 2}


@pytest.mark.peer
def test_django_serves_curl(django: ServerProcess, curl: Curl) -> None:
    result = curl("-T", "-", "-H", "Transfer-Encoding: chunked", django.url + "/echo", input=BINARY[:2_000_000])
    assert result.stdout == BINARY[:2_000_000]
    result = curl("--compressed", "-F", "by=Ann", "-F", "file=@-;filename=n", django.url + "/upload", input=BINARY)
    assert json.loads(result.stdout)["sha256"] == sha256(BINARY)


# ---- both, preloaded ----


@pytest.mark.parametrize(("name", "application"), [("flask", "flask_site"), ("django", "django_site:application")])
def test_frameworks_are_preloaded(serve: Serve, name: str, application: str) -> None:
    require_framework(name)
    arguments = ("--processes", "2", "--preload", "app", "http", "wsgi", application)
    with serve(*arguments, log=["reserve: 2 processes serve"]) as server:
        server.wait_for_line("2 processes serve")
        with server.client() as client:
            if name == "flask":
                assert fetch(client, "GET", "/")[2].decode() == "<h1>Gr\u00fc\u00dfe &amp; more</h1>"
            else:
                assert fetch(client, "POST", "/echo", b"with a length")[2] == b"with a length"


# ---- CherryPy ----


def test_cherrypy_serves_pages_uploads_and_sessions(serve: Serve) -> None:
    require_framework("cherrypy")
    with serve("app", "http", "wsgi", "cherrypy_site") as server, server.client() as client:
        assert fetch(client, "GET", "/?name=Ann")[2] == b"hello, Ann"
        kind, form = multipart(BINARY)
        assert fetch(client, "POST", "/upload", form, kind)[2] == str(len(BINARY)).encode()
        assert fetch(client, "GET", "/stream")[2] == b"".join(b"%d\n" % number for number in range(1000))
        _, headers, _ = fetch(client, "GET", "/count")
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert fetch(client, "GET", "/count", headers={"Cookie": cookie})[2] == b"2"
        assert fetch(client, "GET", "/nowhere")[0] == 404


@pytest.mark.peer
def test_cherrypy_serves_curl(serve: Serve, curl: Curl) -> None:
    require_framework("cherrypy")
    with serve("app", "http", "wsgi", "cherrypy_site:application") as server:
        assert curl("-d", "name=Ann", server.url).stdout == b"hello, Ann"
        upload = ["-H", "Transfer-Encoding: chunked", "-F", "file=@-;filename=n", f"{server.url}/upload"]
        assert curl(*upload, input=BINARY).stdout == str(len(BINARY)).encode()


# ---- every feature of PEP 3333 ----
def test_the_environ_has_the_request_and_both_addresses(everything: ServerProcess) -> None:
    host, port = everything.address
    with everything.client() as client:
        _, _, body = fetch(client, "GET", "/facts/a%20%C3%BC;p?q=%41", headers={"X-Given": "one", "X_Hidden": "two"})
        facts = json.loads(body)
        assert client.sock is not None
        own_address = client.sock.getsockname()
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/facts/a ü;p".encode().decode("latin-1"),
        "QUERY_STRING": "q=%41",
        "REQUEST_URI": "/facts/a%20%C3%BC;p?q=%41",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": str(own_address[1]),
        "HTTP_HOST": f"{host}:{port}",
        "HTTP_X_GIVEN": "one",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    assert {name: facts.get(name) for name in expected} == expected
    assert "HTTP_X_HIDDEN" not in facts


def test_every_way_to_respond_keeps_the_connection(everything: ServerProcess) -> None:
    with everything.client() as client:
        client.connect()
        sock = client.sock
        status, headers, body = fetch(client, "GET", "/written")
        assert (status, body) == (201, b"first and last")
        assert fetch(client, "GET", "/generated")[2] == b"".join(b"%d\n" % number for number in range(500))
        status, headers, body = fetch(client, "GET", "/replaced")
        assert (status, headers["X-First"], headers["X-Second"], body) == (503, None, "2", b"replaced")
        status, headers, body = fetch(client, "GET", "/empty")
        assert (status, headers["Content-Length"], headers["Transfer-Encoding"], body) == (204, None, None, b"")
        status, headers, body = fetch(client, "GET", "/fields", headers={"X-Given": "caf\xe9"})
        assert (headers.get_all("X-Twice"), headers["X-Empty"]) == (["a", "b"], "")
        assert headers["X-Latin"].encode("latin-1", "surrogateescape") == b"caf\xe9"
        assert body == b"caf\xe9"
        for page in ("/file", "/sendfile"):
            _, headers, body = fetch(client, "GET", page)
            assert (headers["Content-Length"], sha256(body)) == (
                "2400000",
                sha256(b"".join(b"%07d\n" % n for n in range(300_000))),
            )
        for page in ("/file", "/sendfile", "/written", "/generated"):
            assert fetch(client, "HEAD", page)[2] == b""
        assert json.loads(fetch(client, "GET", "/ended")[2]).count("written") == 2
        assert client.sock is sock, "the connection was not kept open"


def test_every_way_to_read_a_body(everything: ServerProcess) -> None:
    text = b"one two\nthree\nfour\n\nfive\nsix"
    expected = ["one t", "wo\n", ["three\n"], ["four\n", "\n", "five\n", "six"]]
    with everything.client() as client:
        assert json.loads(fetch(client, "POST", "/lines", text)[2]) == expected
        pieces = iter([text[:3], text[3:20], text[20:]])
        assert json.loads(fetch(client, "POST", "/lines", pieces, {"Transfer-Encoding": "chunked"})[2]) == expected
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            facts = {"size": len(BINARY), "sha256": sha256(BINARY), "method": method}
            assert json.loads(fetch(client, method, "/digest", BINARY)[2]) == facts


def test_standard_error_has_the_log_lines_and_the_failures_of_the_application(serve: Serve) -> None:
    with serve("app", "http", "wsgi", "everything", log=None) as server:
        with server.client() as client:
            assert fetch(client, "GET", "/logged")[2] == str(server.process.pid).encode()
            assert fetch(client, "GET", "/broken")[0] == 500
            client.request("GET", "/aborted")
            response = client.getresponse()
            with pytest.raises(http.client.IncompleteRead):
                response.read()
        with server.client() as client:
            assert fetch(client, "GET", "/facts")[0] == 200
    text = "\n".join(server.log)
    assert [text.count(part) for part in ("a line for the error log", "LookupError:", "RuntimeError: too late")] == [
        1
    ] * 3
    assert text.count("Traceback") == 2
