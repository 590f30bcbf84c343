"""Options that do nothing while another one is off: a server that starts says so, and only then."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTP_NEEDS, HTTPSettings
from reserve.cli.control.monitoring import Monitoring
from reserve.engine.hooks import Hooks
from reserve.engine.settings import ENGINE_NEEDS, EngineSettings
from reserve.gateways.wsgi import WSGIGateway
from reserve.options.table import COMMAND_NEEDS, FLAGS, OPTIONS
from reserve.paramtypes import without_effect
from reserve.testing import running

HTTP: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # what has no effect, and what has to be on for it
    ({"access_log_format": "json"}, {"access_log": True}),
    ({"access_log_file": "/tmp/reserve.log"}, {"access_log": True}),
    ({"access_log_skip": ("/health",)}, {"access_log": True}),
    ({"forwarded_fields": "forwarded"}, {"trusted_proxies": "192.0.2.1"}),
    ({"metrics_allow": "any"}, {"metrics_path": "/metrics"}),
    ({"status_allow": "any"}, {"status_path": "/status"}),
    ({"static_missing": "app"}, {"static": ("/assets=.",)}),
    ({"static_listing": True}, {"static": ("/assets=.",)}),
    ({"static_immutable": False}, {"static": ("/assets=.",)}),
    ({"ws_pong_timeout": 3.0}, {"ws_ping": 5.0}),
]
ENGINE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_stuck": 9}, {"request_timeout": 5.0}),
    ({"unlimited_clients": "192.0.2.1"}, {"max_connections_per_client": 5}),
    ({"unlimited_clients": "192.0.2.1"}, {"max_running_per_client": 5}),
]
COMMAND: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_requests_jitter": 5}, {"max_requests": 100}),
    ({"reload_include": ("*.html",)}, {"reload": True}),
    ({"statsd_interval": 5.0}, {"statsd": "127.0.0.1:8125"}),
    ({"statsd_tags": True}, {"statsd": "127.0.0.1:8125"}),
]
ALL = [*HTTP, *ENGINE, *COMMAND]
NEEDS = (*HTTP_NEEDS, *ENGINE_NEEDS, *COMMAND_NEEDS)
DEFAULTS = {option.field: option.default for option in OPTIONS}
OFF = {**DEFAULTS, "access_log": False, "ws_ping": 0.0}


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def messages(values: dict[str, Any]) -> list[str]:
    return list(without_effect(NEEDS, values, DEFAULTS))


def flag(name: str) -> str:
    return f"--{name}".replace("_", "-")


@pytest.mark.parametrize(("given", "needed"), ALL, ids=str)
def test_an_option_without_effect_is_said(given: dict[str, Any], needed: dict[str, Any]) -> None:
    (name,), (other,) = given, needed
    (message,) = messages({**OFF, **given})
    assert message.startswith(f"{flag(name)} has no effect without ")
    assert flag(other) in message
    assert messages({**OFF, **needed, **given}) == []
    assert messages({**OFF, **given, name: DEFAULTS[name]}) == []


def test_the_table_has_every_row_and_only_names_of_options() -> None:
    tested = {(name, other) for given, needed in ALL for name in given for other in needed}
    assert {(name, other) for need in NEEDS for name in need.fields for other in need.needs} == tested
    assert {flag(name) for pair in tested for name in pair} <= set(FLAGS)
    assert messages(DEFAULTS) == []


@pytest.mark.parametrize(("given", "needed"), HTTP, ids=str)
def test_an_http_server_says_it(
    given: dict[str, Any], needed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    http = HTTPSettings(access_log=False, **({"ws_ping": 0.0} if "ws_ping" in needed else {}), **given)
    with caplog.at_level(logging.WARNING, "reserve"), running(hello, http=http):
        pass
    assert [record.getMessage() for record in caplog.records] == messages({**DEFAULTS, **dataclasses.asdict(http)})
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("given", "needed"), ENGINE, ids=str)
def test_every_server_says_what_is_about_the_engine(
    given: dict[str, Any], needed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "reserve"), running(hello, settings=EngineSettings(**given)):
        pass
    assert [record.getMessage() for record in caplog.records] == messages({**DEFAULTS, **given})
    caplog.clear()
    with caplog.at_level(logging.WARNING, "reserve"), running(hello, settings=EngineSettings(**given, **needed)):
        pass
    assert caplog.records == []


@pytest.mark.parametrize(("given", "needed"), COMMAND, ids=str)
def test_the_command_says_what_is_about_it(given: dict[str, Any], needed: dict[str, Any]) -> None:
    lines: list[str] = []
    server: Any = SimpleNamespace(log=SimpleNamespace(warning=lines.append))
    values: Any = {**DEFAULTS, **given}
    monitoring = Monitoring([], values, Hooks())
    assert monitoring.is_wanted
    monitoring.start(server)
    monitoring.stop()
    assert lines == messages(values)
    assert len(lines) == 1


def test_a_page_or_a_folder_of_the_application_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``reserve app http status`` has a page without --status-path, ``reserve app http static`` a folder."""
    http = HTTPSettings(access_log=False, static_listing=True, status_allow="any")
    app = HTTPApp(WSGIGateway(hello), http)
    app.serves_application = False
    app.serve_folder(str(tmp_path))
    app.serve_status("/status", "")
    with caplog.at_level(logging.WARNING, "reserve"), running(app):
        pass
    assert caplog.records == []
