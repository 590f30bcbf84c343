"""Health checks: what ``--health-path``, ``--ready-path`` and ``--live-path`` respond, to whom, and why."""

from __future__ import annotations

import json

import pytest

from reserve.apps._checks import LIVE, READY, check_paths, check_response
from reserve.apps.http.settings import HTTPSettings
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.overload.site import serving

CHECKS = HTTPSettings(access_log=False, health_path="/health", live_path="/live", ready_path="/ready")


def test_the_paths_are_those_of_the_options() -> None:
    assert check_paths(HTTPSettings()) is None
    assert check_paths(CHECKS) == {"/health": READY, "/live": LIVE, "/ready": READY}
    assert check_paths(HTTPSettings(live_path="/a", health_path="/a")) == {"/a": READY}


@pytest.mark.parametrize(
    ("check", "live", "reasons", "status", "word"),
    [
        (READY, True, (), "200 OK", "ok"),
        (READY, True, ("it stops",), "503 Service Unavailable", "unhealthy"),
        (LIVE, True, ("it stops",), "200 OK", "ok"),
        (LIVE, False, ("no listener is open",), "503 Service Unavailable", "unhealthy"),
    ],
)
def test_text_by_default_and_json_for_who_asks(
    check: str, live: bool, reasons: tuple[str, ...], status: str, word: str
) -> None:
    found, fields, body = check_response(check, {}, live=live, reasons=reasons)
    assert (found, body) == (status, f"{word}\n".encode())
    assert ("Cache-Control", "no-store") in fields
    assert ("Content-Type", "text/plain; charset=utf-8") in fields
    found, fields, body = check_response(check, {"QUERY_STRING": "json"}, live=live, reasons=reasons)
    assert found == status
    assert ("Content-Type", "application/json") in fields
    expected = {"status": word, "ready": not reasons, "live": live, "reasons": list(reasons)}
    assert json.loads(body) == expected


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("application/json", True),
        ("text/html, Application/JSON;q=0.9", True),
        ("*/*", False),
        ("application/json-patch", False),
        ("", False),
    ],
)
def test_accept_asks_for_json(accept: str, is_json: bool) -> None:
    _, fields, _ = check_response(READY, {"HTTP_ACCEPT": accept}, live=True, reasons=())
    assert (("Content-Type", "application/json") in fields) == is_json


def test_a_server_with_stuck_threads_is_not_live_and_says_so_while_every_worker_is_busy() -> None:
    gate = Gate()
    with serving(gate, http=CHECKS, threads=1, request_timeout=5.0, max_stuck=0) as site:
        assert [site.fetch(request("GET", path)).status for path in ("/health", "/ready", "/live")] == [200] * 3
        site.connect(request("GET", "/wait"))
        gate.wait_entered()
        site.clock.advance(6)
        site.wait_for_stats(timed_out=1)
        site.clock.advance(60)
        site.wait_for_stats(stuck=1)
        for path in ("/health", "/ready", "/live"):
            response = site.fetch(request("GET", f"{path}?json"))
            assert response.status == 503
            value = json.loads(response.body)
            assert (value["status"], value["live"], value["ready"]) == ("unhealthy", False, False)
            (reason,) = value["reasons"]
            assert "stuck" in reason
        gate.release()


def test_a_server_that_stops_is_live_and_not_ready() -> None:
    gate = Gate()
    with serving(gate, http=CHECKS) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        first, second = [site.connect(request("GET", path)[:8]) for path in ("/live", "/ready")]
        site.wait_for_stats(parked=2)
        site.server.request_stop(60)
        first.sendall(request("GET", "/live")[8:])
        assert receive(first).text == "ok\n"
        second.sendall(request("GET", "/ready", "Accept: application/json")[8:])
        response = receive(second)
        assert (response.status, json.loads(response.body)["reasons"]) == (503, ["it stops"])
        gate.release()
        assert receive(busy).body == b"served"
