"""The phases of a connection: the driver makes every transition of the table, and no other."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reserve.apps.http import phases
from reserve.apps.http.bufferedbody import BodyStore
from reserve.apps.http.driver import HTTPDriver
from reserve.apps.http.phases import BODY, HEAD, QUEUED, RESPONDING, REVOKED, SPILL, STATIC, TRANSITIONS, Phase
from reserve.apps.http.settings import HTTPSettings
from reserve.protocol.http1.limits import Limits
from reserve.testing import MemoryClient
from tests.apps.http.doubles import STREAM, failing
from tests.apps.http.responses import request


class Scenario(NamedTuple):
    sent: bytes
    phases: list[Phase]
    """Those that the connection goes through."""
    settings: HTTPSettings = HTTPSettings()


FILES = HTTPSettings(static=(f"/files={Path(phases.__file__).parent}",), static_missing="app")
LARGE = b"x" * 330_000
"""More of a body than stays in memory before a worker writes it to a file."""
SCENARIOS = {
    "no body": Scenario(request(), [HEAD, QUEUED, RESPONDING, HEAD]),
    "two requests": Scenario(request() * 2, [HEAD, *[QUEUED, RESPONDING, HEAD] * 2]),
    "a connection that is not kept": Scenario(request("GET", "/", "Connection: close"), [HEAD, QUEUED, RESPONDING]),
    "an application that fails": Scenario(request("GET", "/fail"), [HEAD, QUEUED, RESPONDING]),
    "a body in memory": Scenario(request("POST", body=b"x"), [HEAD, BODY, QUEUED, RESPONDING, HEAD]),
    "a body in a file": Scenario(request("POST", body=LARGE), [HEAD, BODY, SPILL, BODY, QUEUED, RESPONDING, HEAD]),
    "a body that is not complete": Scenario(request("POST", body=b"x" * 9)[:-1], [HEAD, BODY]),
    "the middle of a body in a file": Scenario(request("POST", body=LARGE)[:-1], [HEAD, BODY, SPILL, BODY]),
    "a body that is too large": Scenario(
        request("POST", body=b"x" * 9, chunks=3), [HEAD, BODY], HTTPSettings(limits=Limits(max_body=5))
    ),
    "a body that the disk does not take": Scenario(request("POST", "/full-disk", body=LARGE), [HEAD, BODY, SPILL]),
    "a streamed body": Scenario(request("POST", body=b"x"), [HEAD, QUEUED, RESPONDING, HEAD], STREAM),
    "a head that is not complete": Scenario(request()[:-1], [HEAD]),
    "a malformed head": Scenario(b"nonsense\r\n\r\n", [HEAD]),
    "the health path": Scenario(request("GET", "/health") * 2, [HEAD], HTTPSettings(health_path="/health")),
    "a file": Scenario(request("GET", "/files/phases.py"), [HEAD, STATIC, HEAD], FILES),
    "a file that the application has": Scenario(
        request("GET", "/files/other"), [HEAD, STATIC, QUEUED, RESPONDING, HEAD], FILES
    ),
    "a run that is revoked": Scenario(request("GET", "/revoke"), [HEAD, QUEUED, RESPONDING, REVOKED]),
}


class RecordedPhase:
    """Stands in front of the slot ``_phase`` and notes each phase that differs from the one before it."""

    def __init__(self, slot: Any) -> None:
        self._slot = slot
        self.phases: list[Phase] = []

    def __get__(self, driver: HTTPDriver | None, owner: type) -> Any:
        return self._slot.__get__(driver, owner)

    def __set__(self, driver: HTTPDriver, phase: Phase) -> None:
        if self.phases[-1:] != [phase]:
            self.phases.append(phase)
        self._slot.__set__(driver, phase)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_connection_goes_through_these_phases(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = SCENARIOS[name]

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/fail":
            raise ValueError
        if environ["PATH_INFO"] == "/revoke":
            assert client._driver.revoke()  # as the monitor does while an application does not end
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"served"]

    if b"/full-disk" in scenario.sent:
        monkeypatch.setattr(BodyStore, "spill", failing(errno.ENOSPC))
    recorded = RecordedPhase(vars(HTTPDriver)["_phase"])
    monkeypatch.setattr(HTTPDriver, "_phase", recorded)
    client = MemoryClient(app, scenario.settings)
    client.send(scenario.sent)
    client.close()
    assert recorded.phases == scenario.phases


def test_the_scenarios_have_every_transition_of_the_table_and_no_other() -> None:
    made = {(before, after) for _, passed, _ in SCENARIOS.values() for before, after in pairwise(passed)}
    assert made == {(before, after) for before, following in TRANSITIONS.items() for after in following}
    assert set(TRANSITIONS) == set(Phase)
