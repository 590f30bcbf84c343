"""The options of SCGI and uwsgi are those of HTTP, without those that have no meaning behind a web server."""

from __future__ import annotations

import pytest

from reserve.apps._cgi.app import CGIApp
from reserve.apps.http.settings import HTTPSettings
from reserve.errors import UsageError
from reserve.options.sources import collect
from reserve.options.table import FLAGS, OPTIONS
from reserve.protocol.http1.limits import Limits
from tests.apps.cgi.protocols import PROTOCOLS, Protocol, each_protocol
from tests.apps.http.doubles import hello

EACH = [
    pytest.param(protocol, name, id=f"{protocol.name} {name}")
    for protocol in PROTOCOLS
    for name in sorted(protocol.make_app.options_without_use)
]


def test_every_option_without_use_is_an_option_of_http() -> None:
    known = {option.name for option in OPTIONS if option.home in (HTTPSettings, Limits)}
    assert set(CGIApp.options_without_use) <= known


@pytest.mark.parametrize(("protocol", "name"), EACH)
@pytest.mark.parametrize("source", ["--{}", "the environment variable {}", "{} in reserve.toml"])
def test_an_option_without_use_is_refused_with_the_reason(protocol: Protocol, name: str, source: str) -> None:
    written = source.format(f"RESERVE_{name.upper().replace('-', '_')}" if "variable" in source else name)
    app = protocol.app(hello)
    with pytest.raises(UsageError) as caught:
        app.configure({}, ["--max-body", written])
    assert str(caught.value).startswith(f"{written} is for HTTP (reserve app http); with {app.protocol} ")


@each_protocol
def test_all_other_options_are_taken(protocol: Protocol, tmp_path: object) -> None:
    app = protocol.app(hello)
    values = collect([(FLAGS["--max-body"], "5"), (FLAGS["--root-path"], "/app")], {}, str(tmp_path))
    app.configure(values.application(), [value.source for value in values.given_for_application()])
    assert (app.settings.limits.max_body, app.settings.root_path) == (5, "/app")
    others = [f"--{option.name}" for option in OPTIONS if option.name not in protocol.make_app.options_without_use]
    app.configure({}, others)


@each_protocol
def test_there_are_no_redirects(protocol: Protocol) -> None:
    assert protocol.app(hello).redirect_application(443) is None
