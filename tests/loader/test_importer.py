from __future__ import annotations

import functools
import socketserver
from collections.abc import Callable
from typing import Any

import pytest

from reserve.loader.importer import signature_error


def two(environ: Any, start_response: Any) -> None: ...
def three(socket: Any, address: Any, server: Any) -> None: ...


@functools.wraps(two)
def wrapped(*words: Any) -> None: ...


class Called:
    def __call__(self, environ: Any, start_response: Any) -> None: ...


@pytest.mark.parametrize(
    ("called", "count", "can"),
    [
        (two, 2, True),
        (two, 3, False),
        (three, 2, False),
        (three, 3, True),
        (wrapped, 3, True),
        (Called(), 2, True),
        (Called(), 3, False),
        (functools.partial(three, None), 2, True),
        (socketserver.BaseRequestHandler, 3, True),
        (dict, 3, True),  # it hides what it takes
    ],
)
def test_what_can_be_called_with_so_many(called: Callable[..., Any], count: int, can: bool) -> None:
    assert (signature_error(called, count) == "") is can
