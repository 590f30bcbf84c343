"""Each configuration of the page, followed literally: what the application gets, and what the client gets."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.authority import Authority
from tests.clients import free_port
from tests.real.serving import fetch
from tests.real.test_frameworks import BINARY, multipart, require_framework, sha256
from tests.real.webservers.conftest import KEPT, KINDS, Deploy, Kind, each_kind
from tests.real.webservers.servers import SOCKET, TEXT, WebServer, configuration, replaced

pytestmark = pytest.mark.peer
UTF8 = "\u00fc".encode().decode("latin-1")


def facts_of(web: WebServer, path: str, *arguments: Any) -> dict[str, Any]:
    """What the application says about a request of its own connection."""
    with web.client() as client:
        status, _, body = fetch(client, *(arguments or ("GET",))[:1], path, *arguments[1:])
        assert status == 200, (status, body, web.errors.read_text())
        return dict(json.loads(body))


@each_kind
def test_the_application_gets_the_path_and_the_client(deploy: Deploy, kind: Kind) -> None:
    with deploy(kind, "variables") as site:
        for path in ("/", "/a", "/a/", "/a%20b/%C3%BC/c", "/a.b/c;d", "/app", "/a+b"):
            facts = facts_of(site.web, f"{path}?x=%2F&y")
            decoded = {"/a%20b/%C3%BC/c": f"/a b/{UTF8}/c"}.get(path, path)
            assert (facts["SCRIPT_NAME"], facts["PATH_INFO"]) == ("", decoded)
            assert (facts["QUERY_STRING"], facts["REQUEST_URI"]) == ("x=%2F&y", f"{path}?x=%2F&y")
        expected = {
            "REQUEST_METHOD": "GET",
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_PORT": str(site.web.port),
            "HTTP_HOST": f"127.0.0.1:{site.web.port}",
            "wsgi.url_scheme": "http",
        }
        if site.web.program == "nginx":
            expected["HTTP_HOST"] = "127.0.0.1"
        facts = facts_of(site.web, "/", "GET", None, {"Proxy": "evil", "Cookie": "a=1", "Host": expected["HTTP_HOST"]})
        assert {name: facts[name] for name in expected} == expected
        assert facts["SERVER_NAME"] in ("127.0.0.1", "blog.example")
        assert facts["HTTP_COOKIE"] == "a=1"
        assert not {"HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTPS"} & set(facts)
    lines = [line for line in site.server.stdout if "GET /a%20b/%C3%BC/c?x=%2F&y HTTP/1.1" in line]
    assert lines[0].startswith("127.0.0.1 - - ["), site.server.stdout


@each_kind
def test_an_encoded_slash(deploy: Deploy, kind: Kind) -> None:
    with deploy(kind, "variables") as site:
        if kind is KINDS["apache uwsgi"]:
            with site.web.client() as client:
                assert fetch(client, "GET", "/a%2Fb")[0] == 404
            return
        facts = facts_of(site.web, "/a%2Fb")
        assert facts["PATH_INFO"] == ("/a%2Fb" if site.web.program == "apache2" else "/a/b")
        assert facts["REQUEST_URI"] == "/a%2Fb"


@each_kind
def test_bodies_arrive(deploy: Deploy, kind: Kind) -> None:
    with deploy(kind, "variables", "--body-memory", "64k") as site:
        for body in (b"", b"x", BINARY[:1_000_000]):
            facts = facts_of(site.web, "/", "POST", body)
            assert facts["body"] == [len(body), hashlib.sha256(body).hexdigest()]
            assert facts.get("CONTENT_LENGTH", "0") == str(len(body))
        pieces = [BINARY[:70_000], BINARY[70_000:200_000]]
        if kind.chunked:
            facts = facts_of(site.web, "/", "PUT", iter(pieces), {"Transfer-Encoding": "chunked"})
            assert facts["body"] == [200_000, hashlib.sha256(BINARY[:200_000]).hexdigest()]
            assert facts["CONTENT_LENGTH"] == "200000"
            assert "HTTP_TRANSFER_ENCODING" not in facts
        else:
            with site.web.client() as client:
                with suppress(BrokenPipeError, ConnectionResetError):  # the response may come before the body is sent
                    client.request("PUT", "/", iter(pieces[:1]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
                assert client.getresponse().status == (400 if site.web.program == "haproxy" else 411)


@each_kind
def test_responses_of_every_kind_reach_the_client(deploy: Deploy, kind: Kind) -> None:
    with deploy(kind, "variables", log=None) as site, site.web.client() as client:
        _, headers, body = fetch(client, "GET", "/?want=stream")
        assert (headers["Content-Type"], body) == ("text/plain", b"".join(b"%07d\n" % n for n in range(100_000)))
        status, headers, body = fetch(client, "GET", "/?want=empty")
        assert (status, headers["X-A"], body) == (204, "b", b"")
        status, headers, body = fetch(client, "GET", "/?want=unchanged")
        assert (status, headers["ETag"], body) == (304, '"x"', b"")
        status, headers, _ = fetch(client, "GET", "/?want=moved")
        assert status == 303
        assert re.fullmatch(r"(http://[^/]+)?/elsewhere", headers["Location"])
        assert headers.get_all("Set-Cookie") == ["a=1", "b=2"]
        status, headers, body = fetch(client, "GET", "/?want=status")
        assert (status, headers["X-A"], body) == (200, "b", b"right")
        assert fetch(client, "GET", "/?want=missing")[::2] == (404, b"not here")
        status, headers, body = fetch(client, "HEAD", "/")
        assert (status, body) == (200, b"")
        if kind not in (KINDS["apache scgi"], KINDS["apache fcgi"]):  # mod_proxy_scgi and mod_proxy_fcgi drop it
            assert int(headers["Content-Length"]) > 100
        assert len(headers.get_all("Date") or []) == 1
        assert len(headers.get_all("Server") or []) == (site.web.program != "haproxy")
        assert fetch(client, "GET", "/?want=failure")[0] == 500
        assert fetch(client, "OPTIONS", "/x")[0] == 200
    assert sum("ValueError: this page is meant to fail" in line for line in site.server.log) == 1


@each_kind
def test_a_response_that_fails_half_way_is_not_complete_for_the_client(deploy: Deploy, kind: Kind) -> None:
    """Over TCP, where a connection can be reset."""

    def over_tcp(text: str) -> str:
        text = text.replace(f'"socket" => "{SOCKET}"', '"host" => "127.0.0.1", "port" => PORT')
        text = re.sub(rf"unix:{SOCKET}\|(\w+)://blog/", r"\1://127.0.0.1:PORT/", text)
        text = text.replace(f"unix@{SOCKET}", "127.0.0.1:PORT")
        return replaced(text.replace(f"unix:{SOCKET}", "127.0.0.1:PORT"), "PORT", str(port))

    port = free_port()
    with deploy(kind, "variables", bind=f"127.0.0.1:{port}", edit=over_tcp, log=None) as site:
        # mod_proxy_uwsgi and lighttpd take a reset for the end of a response without a length.
        notices = kind is not KINDS["apache uwsgi"] and site.web.program != "lighttpd"
        for want in ("half", "short") if notices else ("short",):
            with site.web.client() as client:
                try:
                    status, _, _ = fetch(client, "GET", f"/?want={want}")
                except (http.client.HTTPException, ConnectionResetError):
                    status = 0
            assert status != 200, "the response looks complete"
        assert facts_of(site.web, "/x")["PATH_INFO"] == "/x"


@each_kind
def test_an_application_below_a_path(deploy: Deploy, kind: Kind) -> None:
    def below(text: str) -> str:
        text = text.replace("location / {", "location /shop/ {").replace('"/" => ((', '"/shop" => ((')
        return re.sub(r'ProxyPass "/" "(.*)/"', r'ProxyPass "/shop/" "\1/shop/"', text)

    with deploy(kind, "variables", "--root-path", "/shop", edit=below) as site:
        for path in ("/shop/", "/shop/a%20b", "/shop/shop/x"):
            facts = facts_of(site.web, path)
            expected = {"/shop/": "/", "/shop/a%20b": "/a b", "/shop/shop/x": "/shop/x"}[path]
            assert (facts["SCRIPT_NAME"], facts["PATH_INFO"]) == ("/shop", expected)


@each_kind
def test_flask_behind_a_web_server(deploy: Deploy, kind: Kind) -> None:
    require_framework("flask")
    with deploy(kind, "flask_site", "--threads", "4") as site, site.web.client() as client:
        assert fetch(client, "GET", "/")[2].decode() == "<h1>Gr\u00fc\u00dfe &amp; more</h1>"
        body = fetch(client, "GET", "/post/7/a%20b/%C3%BC/c?x=1&x=2")[2]
        assert json.loads(body) == {"number": 7, "rest": "a b/\u00fc/c", "query": {"x": ["1", "2"]}}
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, headers, _ = fetch(client, "POST", "/form", b"name=Ann", form)
        assert (status, headers.get_all("Set-Cookie")) == (303, ["name=Ann; HttpOnly; Path=/", "second=2; Path=/"])
        fields, content = multipart(BINARY)
        expected = {"name": "numbers.bin", "size": len(BINARY), "sha256": sha256(BINARY)}
        assert json.loads(fetch(client, "POST", "/upload", content, fields)[2]) == expected
        assert fetch(client, "GET", "/stream")[2] == b"".join(b"line %d\n" % number for number in range(2000))


@each_kind
def test_django_behind_a_web_server(deploy: Deploy, kind: Kind) -> None:
    require_framework("django")
    with deploy(kind, "django_site:application", "--threads", "4") as site, site.web.client() as client:
        assert fetch(client, "POST", "/echo", b"with a length")[2] == b"with a length"
        fields, content = multipart(BINARY, by="Ann")
        assert json.loads(fetch(client, "POST", "/upload", content, fields)[2])["sha256"] == sha256(BINARY)
        assert len(fetch(client, "GET", "/file")[2]) == 3_200_000
        headers = fetch(client, "GET", "/visits")[1]
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert json.loads(fetch(client, "GET", "/visits", headers={"Cookie": cookie})[2]) == {"visits": 2}


def test_uwsgi_over_tls(deploy: Deploy, authority: Authority) -> None:
    files = authority.issue("blog", "blog.example")
    kind = Kind(KINDS["nginx uwsgi"].server, "nginx", "suwsgi", "uwsgi", True)
    port = free_port()

    def edit(text: str) -> str:
        return replaced(
            replaced(text, "127.0.0.1:8443", f"127.0.0.1:{port}"), "/etc/blog/authority.pem", str(authority.pem)
        )

    options = ("--tls-cert", str(files.both))
    with deploy(kind, "variables", *options, bind=f"127.0.0.1:{port}", edit=edit) as site:
        facts = facts_of(site.web, "/x")
        assert (facts["PATH_INFO"], facts["wsgi.url_scheme"]) == ("/x", "http")
        assert not [name for name in facts if name.startswith("SSL_")]


def test_the_commands_of_the_page_are_those_of_the_tests(tmp_path: Path) -> None:
    commands = re.findall(r"^    reserve app (\w+) wsgi blog --bind (\S+) --unix-mode 660", TEXT, re.MULTILINE)
    assert commands == [(protocol, f"unix:{SOCKET}") for protocol in ("scgi", "uwsgi", "fcgi")]
    assert re.search(rf"^    reserve app fcgi wsgi blog .*\\\n +{' '.join(KEPT)}$", TEXT, re.MULTILINE)
    for kind in KINDS.values():
        assert SOCKET in configuration(kind.language, kind.word)
