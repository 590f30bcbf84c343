"""The settings of an embedded server have the bounds of the options; a value out of bounds gets one sentence."""

from __future__ import annotations

import ast
import gc
import inspect
import os
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve import ReserveWSGIServer, Server, listen
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.settings import EngineSettings
from reserve.errors import UsageError
from reserve.options.table import OPTIONS
from reserve.paramtypes import check_settings
from reserve.protocol.http1.limits import Limits
from reserve.ssl.settings import TLSSettings


def app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b""]


BAD: list[tuple[str, Any, str]] = [
    ("threads", 0, "a whole number from 1 to 4096, or two as MIN:MAX, MIN not above MAX"),
    ("threads", -1, "from 1"),
    ("threads", (3, 1), "MIN not above MAX"),
    ("threads", (1, 2, 3), "MIN:MAX"),
    ("threads", (1, None), "MIN:MAX"),
    ("max_connections", 0, "from 1"),
    ("max_queued", -1, "from 0"),
    ("buffer_memory", 0, "from 1m"),
    ("stop_timeout", -5, "from 0"),
    ("stop_timeout", float("nan"), "from 0"),
    ("queue_timeout", float("inf"), "to 7d"),
    ("head_timeout", -1, "from 1ms"),
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


@pytest.mark.parametrize(
    ("name", "value", "types", "right"),
    [
        ("threads", "10s", "int | tuple[int, int]", 16),
        ("threads", "4", "int | tuple[int, int]", 4),
        ("threads", "2:8", "int | tuple[int, int]", (2, 8)),
        ("threads", 2.5, "int | tuple[int, int]", 16),
        ("threads", True, "int | tuple[int, int]", 16),
        ("request_timeout", "1s", "float", 1.0),
        ("keep_alive", None, "float", 15.0),
        ("max_body", "10m", "int", 10 * 1024**2),
        ("access_log", 1, "bool", True),
        ("access_log", "off", "bool", False),
        ("root_path", 5, "str", ""),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_type_and_one_that_works(
    name: str, value: Any, types: str, right: object
) -> None:
    (listener,) = listen("127.0.0.1:0")
    with listener, pytest.raises(UsageError) as caught:
        ReserveWSGIServer(listener, app, **{name: value})
    message = str(caught.value)
    assert message.startswith(
        f"{name}={value!r} (--{name.replace('_', '-')}) is of type {type(value).__name__}; it has to be {types}; "
    )
    assert message.endswith(f"; write {name}={right!r}")
    (listener,) = listen("127.0.0.1:0")
    with listener:
        ReserveWSGIServer(listener, app, **{name: right})


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


ROOT = Path(reserve.__file__).parents[1]
READ_BY = re.compile(r" Read by :(?:class|func):`~(reserve\.[\w.]+)`(?: and :(?:class|func):`~(reserve\.[\w.]+)`)?[.,]")


def field_docstrings(cls: type) -> dict[str, str]:
    """The docstring of each field of a settings class, on one line."""
    (definition,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(definition, ast.ClassDef)
    docstrings = {}
    for field, following in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(following, ast.Expr), field.target.id
            assert isinstance(following.value, ast.Constant), field.target.id
            docstrings[field.target.id] = " ".join(str(following.value.value).split())
    return docstrings


@pytest.mark.parametrize("cls", [EngineSettings, HTTPSettings, Limits, TLSSettings])
def test_each_field_names_the_classes_that_read_it(cls: type) -> None:
    docstrings = field_docstrings(cls)
    assert list(docstrings) == [field.name for field in fields(cls)]
    for name, docstring in docstrings.items():
        match = READ_BY.search(docstring)
        assert match, f"{cls.__name__}.{name}: {docstring}"
        for reader in filter(None, match.groups()):
            module, _, attribute = reader.rpartition(".")
            # Not imported: the module may need a package that is not installed.
            tree = ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8"))
            names = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
            assert attribute in names, f"{cls.__name__}.{name}: {reader} does not exist"
