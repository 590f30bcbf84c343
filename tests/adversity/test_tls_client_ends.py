"""How clients end a TLS connection: an end without close_notify never passes for the end of a request."""

from __future__ import annotations

import select
import socket
import threading
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests import tls
from tests.adversity.holding import ReadsUploads, honest
from tests.adversity.tlssite import HTTP, connected, ends_with_close_notify, tls_site, until_closed
from tests.apps.http.responses import request, split
from tests.clients import close_with_reset
from tests.waiting import PATIENCE, eventually

SETTINGS = {
    "buffered": HTTP,
    "in a file": HTTPSettings(access_log=False, body_memory=10),
    "streamed": HTTPSettings(access_log=False, stream_bodies=True),
}
each_way = pytest.mark.parametrize("how", SETTINGS)
each_framing = pytest.mark.parametrize("chunks", [0, 20], ids=["length", "chunks"])


@tls.each_version
@each_way
@each_framing
@pytest.mark.parametrize("end", ["fin", "rst", "close_notify"])
@pytest.mark.parametrize("missing", [1, 5, 30])
def test_a_short_upload_never_looks_complete(how: str, chunks: int, end: str, missing: int, version: str) -> None:
    app = ReadsUploads()
    raw = request("POST", body=b"x" * 100, chunks=chunks)[:-missing]
    with tls_site(app, http=SETTINGS[how]) as site:
        for number in range(5):
            with connected(site, version) as (client, memory_client):
                client.sendall(memory_client.encrypt(raw))
                if how == "streamed":
                    eventually(lambda wanted=number + 1: app.events.count("called") == wanted)  # type: ignore[misc]
                else:
                    eventually(lambda: site.server.stats().parked == 1)
                if end == "rst":
                    close_with_reset(client)
                elif end == "fin":
                    client.shutdown(socket.SHUT_WR)
                    assert b"200" not in until_closed(client)
                else:
                    client.sendall(memory_client.close_notify())
                    client.shutdown(socket.SHUT_WR)
                    assert b"200" not in until_closed(client)
        site.assert_nothing_left()
        site.assert_serves()
    times = 5 if how == "streamed" else 0  # else the application is never called
    assert sorted(app.events) == ["called"] * times + ["raised"] * times


@tls.each_version
def test_a_request_that_ends_with_a_complete_record_is_still_incomplete(version: str) -> None:
    """An attacker ends a chunked upload between two records: all that came is valid, and the rest is missing."""
    bodies: list[bytes] = []

    def app(environ: Any, start_response: Any) -> Any:
        bodies.append(environ["wsgi.input"].read())
        return honest(environ, start_response)

    raw = request("POST", body=b"first, second", chunks=5)
    records = [raw[:-18], raw[-18:-5], raw[-5:]]
    with tls_site(app) as site:
        for count in (1, 2):
            with connected(site, version) as (client, memory_client):
                for record in records[:count]:
                    client.sendall(memory_client.encrypt(record))
                client.shutdown(socket.SHUT_WR)
                assert not ends_with_close_notify(client, memory_client)
            site.assert_nothing_left()
        assert bodies == []
        with connected(site, version) as (client, memory_client):
            client.sendall(b"".join(map(memory_client.encrypt, records)))
            assert split(memory_client.receive(client))[0].body == b"honest"
        assert bodies == [b"first, second"]


@tls.each_version
@pytest.mark.parametrize("end", ["fin", "rst", "close_notify", "close_notify and rst"])
@pytest.mark.parametrize("served", [False, True], ids=["before the first request", "between two"])
def test_an_end_between_requests_is_not_logged(version: str, end: str, served: bool) -> None:
    with tls_site() as site:
        for _ in range(10):
            with connected(site, version) as (client, memory_client):
                if served:
                    client.sendall(memory_client.encrypt(request()))
                    assert split(memory_client.receive(client))[0].body == b"honest"
                if end.startswith("close_notify"):
                    client.sendall(memory_client.close_notify())
                    if end == "close_notify":
                        assert ends_with_close_notify(client, memory_client)
                if end.endswith("rst"):
                    close_with_reset(client)
                else:
                    client.shutdown(socket.SHUT_WR)
                    until_closed(client)
        site.assert_nothing_left()
        site.assert_serves()
        assert site.server.stats().tls_failed == 0
    assert site.log == []


@tls.each_version
def test_a_request_followed_by_close_notify_gets_its_response(version: str) -> None:
    """A client that sends nothing more still receives (RFC 8446 section 6.1), as after a TCP half-close."""
    with tls_site() as site:
        with connected(site, version) as (client, memory_client):
            client.sendall(memory_client.encrypt(request()) + memory_client.close_notify())
            client.shutdown(socket.SHUT_WR)
            records = until_closed(client)
            assert len(records) > 100  # not decrypted: the client's library reads nothing after its own close_notify
        site.assert_nothing_left()
        eventually(lambda: site.server.stats().handled == 1)
    assert site.log == []


@tls.each_version
@pytest.mark.parametrize("end", ["fin", "rst", "close_notify"])
def test_client_disconnected_sees_each_end(end: str, version: str) -> None:
    """Also the end after a close_notify that was not read yet."""
    if end == "close_notify" and not hasattr(select, "POLLRDHUP"):
        pytest.skip("only Linux reports an end after unread bytes")
    results: list[bool] = []
    entered, gone = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/wait":
            results.append(environ["reserve.client_disconnected"]())
            entered.set()
            assert gone.wait(PATIENCE)
            eventually(environ["reserve.client_disconnected"])
        return honest(environ, start_response)

    with tls_site(app) as site:
        with connected(site, version) as (client, memory_client):
            client.sendall(memory_client.encrypt(request("GET", "/wait")))
            assert entered.wait(PATIENCE)
            if end == "rst":
                close_with_reset(client)
            else:
                if end == "close_notify":
                    client.sendall(memory_client.close_notify())
                client.shutdown(socket.SHUT_WR)
            gone.set()
        site.assert_nothing_left()
    assert results == [False]
    assert site.log == []
