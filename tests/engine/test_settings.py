"""What the constructor of a server makes of its keyword arguments."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from reserve.engine.server import Server
from reserve.errors import UsageError
from reserve.sockets.listeners import listen
from tests.engine.conftest import echo


@pytest.mark.parametrize("arguments", [{"thread": 3}, {"handler_timeouts": 3}])
def test_an_unknown_setting_is_refused(arguments: dict[str, Any]) -> None:
    with contextlib.closing(listen("127.0.0.1:0")[0]) as listener, pytest.raises(UsageError, match="did you mean"):
        Server(listener, echo, **arguments)
