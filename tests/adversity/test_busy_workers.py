"""Both threads are in an application that waits: which requests are served, which wait, and which are refused."""

from __future__ import annotations

from reserve.apps.http.settings import HTTPSettings
from tests.adversity.holding import THREADS, honest, over_both, watched
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.waiting import eventually

HTTP = HTTPSettings(access_log=False, health_path="/health")


@over_both
def test_the_health_path_is_served_and_other_requests_wait_until_they_are_refused(secure: bool) -> None:
    health = request("GET", "/health", "Connection: close")
    gate = Gate(honest)
    with (
        watched(gate, http=HTTP, secure=secure, queue_timeout=30.0) as site,
        site.crowd(THREADS, request("GET", "/wait")) as busy,
    ):
        gate.wait_entered(len(busy))
        with site.crowd(20, request()) as queued:
            eventually(lambda: site.server.stats().queued == len(queued))
            # They were all stepped before this one: their time begins now.
            assert site.ask(health).text == "ok\n"
            site.clock.advance(29)
            with site.crowd(5, request()) as later:
                eventually(lambda: site.server.stats().queued == len(queued) + len(later))
                for _ in range(3):
                    response = site.ask(health)
                    assert (response.status, response.text) == (200, "ok\n")
                site.clock.advance(2)
                for client in queued:
                    response = receive(client)
                    assert (response.status, response.fields["retry-after"], response.fields["connection"]) == (
                        503,
                        "1",
                        "close",
                    )
                    assert until_closed(client) == (b"", False)
                eventually(lambda: site.server.stats().refused == len(queued))
                assert site.server.stats().queued == len(later)  # their time has not passed
                assert site.ask(health).text == "ok\n"
                gate.release()
                assert [receive(client).body for client in (*busy, *later)] == [b"honest"] * (THREADS + 5)
                site.assert_serves()
        for client in busy:
            client.close()
        site.assert_nothing_left()
    line, count = site.log  # for all 20
    assert line.startswith("GET / from 127.0.0.1:")
    assert line.endswith("refused: no worker was free within --queue-timeout")
    assert count.startswith("and 19 more like it in the last ")
