"""Fixtures that run a frontend in front of the installed command."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real.conftest import Serve
from tests.real.frontends.proxies import FRONTENDS, Frontend, reserve_options
from tests.real.serving import ServerProcess

VARIANTS = [
    pytest.param("nginx", False, id="nginx"),
    pytest.param("nginx", True, id="nginx-buffering"),
    pytest.param("haproxy", False, id="haproxy"),
]
"""``name`` and ``buffering``."""


@dataclass
class Deployment:
    """A frontend, and reserve behind it, which serves the site ``recorder``."""

    frontend: Frontend
    server: ServerProcess
    record: Path
    """The file into which the site writes."""

    def records(self) -> list[dict[str, Any]]:
        """What the application recorded: every request, and every ``/endless`` response that was closed."""
        return [json.loads(line) for line in self.record.read_text("utf-8").splitlines()]


Deploy = Callable[..., contextlib.AbstractContextManager[Deployment]]


@pytest.fixture
def deploy(serve: Serve, require_peer: Callable[[str], str], short_path: Path) -> Deploy:
    """``deploy("nginx", *options)``: a context manager that runs both; logs and record are complete after the block.

    ``tcp=True`` binds reserve to a TCP port, so that the application knows the frontend's connections by their ports.
    """

    @contextlib.contextmanager
    def run(name: str, *options: str, tcp: bool = False, **settings: bool) -> Iterator[Deployment]:
        program = require_peer(name)
        record = short_path / "record"
        record.touch()
        bind = "127.0.0.1:0" if tcp else f"unix:{short_path}/reserve"
        arguments = ["app", "http", "wsgi", "recorder", *reserve_options(), *options, "--", str(record)]
        with serve(*arguments, bind=bind, log=None) as server:
            upstream = "{}:{}".format(*server.address) if tcp else bind
            frontend = FRONTENDS[name](program, short_path, upstream, **settings)
            with frontend.running():
                yield Deployment(frontend, server, record)

    return run
