"""A frontend in front of the installed command."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real.behind.fronts import FRONTS, Front, reserve_options
from tests.real.conftest import Serve
from tests.real.serving import Served

VARIANTS = [
    pytest.param("nginx", False, id="nginx"),
    pytest.param("nginx", True, id="nginx-buffering"),
    pytest.param("haproxy", False, id="haproxy"),
]
"""``name`` and ``buffering``."""


@dataclass
class Behind:
    """reserve and what stands in front of it."""

    front: Front
    server: Served
    record: Path

    def records(self) -> list[dict[str, Any]]:
        """Every request that arrived at the application."""
        return [json.loads(line) for line in self.record.read_text("utf-8").splitlines()]


Stand = Callable[..., contextlib.AbstractContextManager[Behind]]


@pytest.fixture
def stand(serve: Serve, require_peer: Callable[[str], str], short_path: Path) -> Stand:
    """``stand("nginx", *options)``: both run while the block does, and have written everything down after it.

    ``tcp=True`` puts reserve on a TCP port, so that the application sees the frontend's connections apart.
    """

    @contextlib.contextmanager
    def make(name: str, *options: str, tcp: bool = False, **settings: bool) -> Iterator[Behind]:
        program = require_peer(name)
        record = short_path / "record"
        record.touch()
        bind = "127.0.0.1:0" if tcp else f"unix:{short_path}/reserve"
        words = ["app", "http", "wsgi", "recorder", *reserve_options(), *options, "--", str(record)]
        with serve(*words, bind=bind, says=None) as server:
            upstream = "{}:{}".format(*server.address) if tcp else bind
            front = FRONTS[name](program, short_path, upstream, **settings)
            with front.running():
                yield Behind(front, server, record)

    return make
