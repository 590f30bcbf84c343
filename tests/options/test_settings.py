"""The settings of an embedded server have the bounds of the options; a value out of bounds gets one sentence."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

import pytest

from reserve import ReserveWSGIServer, Server, listen
from reserve.errors import UsageError
from reserve.options.table import OPTIONS
from reserve.paramtypes import check_settings
from reserve.ssl.settings import TLSSettings


def app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b""]


BAD: list[tuple[str, Any, str]] = [
    ("threads", 0, "a whole number from 1 to 4096, or two as MIN:MAX, MIN not above MAX"),
    ("threads", -1, "from 1"),
    ("threads", (3, 1), "MIN not above MAX"),
    ("threads", (1, 2, 3), "MIN:MAX"),
    ("threads", "4", "a whole number"),
    ("threads", 2.5, "a whole number"),
    ("threads", True, "a whole number"),
    ("threads", (1, None), "MIN:MAX"),
    ("max_connections", 0, "from 1"),
    ("max_queued", -1, "from 0"),
    ("buffer_memory", 0, "from 1m"),
    ("stop_timeout", -5, "from 0"),
    ("stop_timeout", float("nan"), "from 0"),
    ("queue_timeout", float("inf"), "to 7d"),
    ("request_timeout", "1s", "a time"),
    ("head_timeout", -1, "from 1ms"),
    ("keep_alive", None, "a time"),
    ("access_log", 1, "true or false"),
    ("expect", "both", "server or app"),
    ("health_path", "health", "begins with /"),
    ("root_path", "shop", "begins with /"),
    ("spool_dir", "", "a directory"),
    ("server_header", "a\r\nb: c", "printable"),
    ("max_head", 10, "from 128"),
    ("max_fields", 0, "from 1"),
    ("max_body", -1, "from 0"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_value_out_of_bounds_is_refused_with_its_field_and_its_bounds(name: str, value: Any, allowed: str) -> None:
    (listener,) = listen("127.0.0.1:0")
    with listener, pytest.raises(UsageError) as caught:
        ReserveWSGIServer(listener, app, **{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}={value!r} (--{name.replace('_', '-')}) is out of bounds; allowed is ")
    assert allowed in message


def test_the_generic_server_has_the_same_bounds() -> None:
    (listener,) = listen("127.0.0.1:0")
    with listener, pytest.raises(UsageError, match="max_output=0 "):
        Server(listener, lambda *arguments: None, max_output=0)


@pytest.mark.parametrize(
    ("name", "value"), [("min_version", "1.1"), ("client_cert", True), ("client_ca", None), ("ciphers", "")]
)
def test_a_tls_setting_out_of_bounds_is_refused_with_its_option(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"--tls-{name.replace('_', '-')}"):
        TLSSettings(**{name: value})


@pytest.mark.parametrize(
    "good", [{"threads": (2, 8)}, {"keep_alive": 0}, {"head_timeout": 3}, {"spool_dir": None}, {"root_path": "/shop/"}]
)
def test_a_value_within_bounds_is_accepted(good: dict[str, Any]) -> None:
    server = ReserveWSGIServer(listen("127.0.0.1:0"), app, **good)
    server.stop()


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.home], ids=lambda option: option.name)
def test_the_option_of_each_field_has_its_bounds(option: Any) -> None:
    """The default is within bounds, and the field is checked."""
    assert option.home is not None
    settings = option.home()
    check_settings(settings, {option.setting: option.kind})
    object.__setattr__(settings, option.setting, object())
    with pytest.raises(UsageError, match=f"{option.setting}="):
        check_settings(settings, {option.setting: option.kind})


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_server_that_is_dropped_or_refused_leaves_no_descriptor_open() -> None:
    def drop() -> None:
        Server(listener, lambda *arguments: None, own=False)

    def fail() -> None:
        with pytest.raises(UsageError):
            Server(listener, lambda *arguments: None, threads="4", own=False)
        with pytest.raises(UsageError):
            ReserveWSGIServer(listener, app, ssl_adapter=object(), own=False)

    (listener,) = listen("127.0.0.1:0")
    with listener:
        for make in (drop, fail):
            make()
            gc.collect()
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(20):
                make()
            gc.collect()
            assert len(os.listdir("/proc/self/fd")) == before
