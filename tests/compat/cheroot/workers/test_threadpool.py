"""The numbers of a pool of threads."""

from __future__ import annotations

import math
from typing import Any

import pytest

from reserve.compat.cheroot.workers.threadpool import ThreadPool
from reserve.compat.cheroot.wsgi import Server


def app(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return [b""]


@pytest.mark.parametrize(
    ("options", "threads"),
    [
        ({}, (10, 10)),
        ({"numthreads": 4}, (4, 4)),
        ({"numthreads": 0}, (1, 1)),
        ({"numthreads": 4, "max": 9}, (4, 9)),
        ({"numthreads": 4, "max": -1}, (4, 4)),
        ({"numthreads": 4, "max": math.inf}, (4, 4)),
    ],
)
def test_the_threads_that_the_engine_gets(options: dict[str, Any], threads: tuple[int, int]) -> None:
    server = Server(("127.0.0.1", 0), app, **options)
    assert server.requests.threads == threads
    server.numthreads = 3
    assert (server.requests.min, server.numthreads) == (3, 3)
    server.prepare()
    assert server.engine is not None
    assert server.engine.settings.threads == server.requests.threads
    server.stop()


@pytest.mark.parametrize(
    ("options", "error"), [({"min": 0}, ValueError), ({"min": 5, "max": 4}, ValueError), ({"max": 0}, TypeError),
                           ({"max": "5"}, TypeError)],
)  # fmt: skip
def test_numbers_that_no_pool_can_have(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ThreadPool(None, **options)


def test_a_pool_of_a_server_that_does_not_run_has_no_threads() -> None:
    pool = Server(("127.0.0.1", 0), app).requests
    assert (pool.idle, pool.qsize, pool.count) == (0, 0, 0)
