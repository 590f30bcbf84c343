"""Which forms a WebSocket handler may have."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from reserve.apps.websocket.handlers import Handler
from reserve.apps.websocket.routes import WebSocketRoutes
from reserve.errors import UsageError


def on_thread(ws: Any) -> None: ...


def at_yield(ws: Any) -> Any:
    yield


async def asynchronous(ws: Any) -> None: ...


async def asynchronous_generator(ws: Any) -> Any:
    yield


class Events:
    def on_message(self, ws: Any, message: Any) -> None: ...


class AsynchronousEvents:
    async def on_message(self, ws: Any, message: Any) -> None: ...


class Callable:
    subprotocols = ("a", "b")

    def __call__(self, ws: Any) -> None: ...


class CallableGenerator:
    def __call__(self, ws: Any) -> Any:
        yield


def module() -> ModuleType:
    found = ModuleType("chat")
    found.on_message = lambda ws, message: None  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("target", "has_thread"),
    [
        (on_thread, True),
        (Callable(), True),
        (Callable().__call__, True),
        (at_yield, False),
        (CallableGenerator(), False),
        (Events, False),
        (Events(), False),
        (module(), False),
    ],
)
def test_each_form(target: Any, has_thread: bool) -> None:
    handler = Handler(target)
    assert handler.has_thread == has_thread
    assert handler.subprotocols == (("a", "b") if isinstance(target, Callable) else ())


@pytest.mark.parametrize("target", [None, "chat", 5, Callable, ModuleType("empty")])
def test_what_is_no_handler(target: Any) -> None:
    with pytest.raises(UsageError, match="is a function handle"):
        Handler(target)


@pytest.mark.parametrize("target", [asynchronous, asynchronous_generator, AsynchronousEvents, AsynchronousEvents()])
def test_what_would_have_to_be_awaited(target: Any) -> None:
    with pytest.raises(UsageError, match="is async"):
        Handler(target)


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ({"/chat": on_thread, "/ws": 1}, r"/ws: a WebSocket handler is .+; got 1"),
        ({"ws": asynchronous}, "begins with a slash, like /chat; got 'ws'"),
        ({1: asynchronous}, "begins with a slash, like /chat; got 1"),
        ([asynchronous], "are given by path, as {'/chat': handle}; got "),
    ],
)
def test_routes_that_are_none(routes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WebSocketRoutes(routes)


def test_one_name_in_place_of_a_list_of_subprotocols() -> None:
    class Chat(Events):
        subprotocols = "chat"

    with pytest.raises(UsageError, match=r"subprotocols is a list, like \['chat'\]; got 'chat'$"):
        Handler(Chat)
