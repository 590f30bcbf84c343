"""The metrics that an application counts itself: when they follow, and what happens when its collectors misbehave."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

import reserve.control.metrics.application as module
from reserve.control.metrics.application import ApplicationMetrics
from tests.extras import library
from tests.waiting import PATIENCE, eventually


@pytest.fixture(autouse=True)
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "prometheus_client", raising=False)
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(REGISTRY="the registry", generate_latest=lambda registry: f"of {registry}\n".encode())
    monkeypatch.setitem(sys.modules, "prometheus_client", found)
    return found


def test_without_the_library_there_are_none() -> None:
    assert ApplicationMetrics().exposition(several=False) == b""


def test_those_of_the_default_registry_are_there(fake: SimpleNamespace) -> None:
    assert ApplicationMetrics().exposition(several=False) == b"of the registry\n"


def test_with_several_processes_they_are_left_out(fake: SimpleNamespace) -> None:
    text = ApplicationMetrics().exposition(several=True)
    assert text.startswith(b"# The metrics of the application are left out: there are several processes")
    assert text.count(b"\n") == 1


def test_a_collector_that_raises_is_a_comment_without_its_text(fake: SimpleNamespace) -> None:
    def fail(registry: Any) -> bytes:
        raise SystemExit("secret")

    fake.generate_latest = fail
    text = ApplicationMetrics().exposition(several=False)
    assert text == b"# The metrics of the application are left out: one of its collectors has raised SystemExit\n"


def test_a_collector_that_hangs_is_called_once(fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, calls = threading.Event(), []

    def hang(registry: Any) -> bytes:
        calls.append(registry)
        assert gate.wait(PATIENCE)
        return b"late\n"

    fake.generate_latest = hang
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    metrics = ApplicationMetrics()
    assert b"longer than 0.01 s" in metrics.exposition(several=False)
    assert b"has not returned since an earlier request" in metrics.exposition(several=False)
    assert len(calls) == 1
    gate.set()
    eventually(lambda: not metrics._is_running)
    monkeypatch.setattr(module, "_PATIENCE", PATIENCE)
    assert metrics.exposition(several=False) == b"late\n"


def test_the_library_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    real = library("prometheus_client")
    registry = real.CollectorRegistry()
    real.Counter("shop_orders", "Orders.", registry=registry).inc(3)
    monkeypatch.setattr(real, "REGISTRY", registry)
    monkeypatch.setitem(sys.modules, "prometheus_client", real)
    text = ApplicationMetrics().exposition(several=False).decode()
    assert "# TYPE shop_orders_total counter\nshop_orders_total 3.0\n" in text
