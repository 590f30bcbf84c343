"""``reserve app jsons``: the rules of JSON-RPC 2.0 as a function, and the application on real sockets."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reserve.apps._jsonrpc import MAX_BATCH, RPCError, bind_params, dispatch
from reserve.apps._pubsub import Topics
from reserve.apps.jsons import MAX_LINE, MAX_TOPICS, JSONLines, launch
from reserve.engine.server import Hooks
from reserve.errors import UsageError
from reserve.loader.arguments import Arguments
from reserve.loader.find import find
from reserve.testing import RunningServer, running
from tests.apps.http.doubles import hooks_logging_to
from tests.waiting import eventually


class Client:
    """Speaks lines of JSON to a running server."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def send(self, *messages: object) -> None:
        self.sock.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def receive(self) -> Any:
        line = self._file.readline()
        assert line.endswith(b"\n"), f"the connection ended with {line!r}"
        return json.loads(line)

    def receive_all(self) -> bytes:
        """Receive until the server closes the connection."""
        return self._file.read()

    def call(self, method: str, *params: object) -> Any:
        self.send({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return self.receive()["result"]

    def close(self) -> None:
        self._file.close()
        self.sock.close()


@contextmanager
def serving(threads: int = 1, **arguments: Any) -> Iterator[tuple[RunningServer, JSONLines, ExitStack]]:
    handle = JSONLines()
    with running(handle, wsgi=False, threads=threads, **arguments) as served, ExitStack() as stack:
        yield served, handle, stack


def connect(served: RunningServer, stack: ExitStack) -> Client:
    client = Client(served.connect())
    stack.callback(client.close)
    return client


def call(method: str, params: Any) -> object:
    if method == "echo":
        return params
    if method == "sum":
        return sum(bind_params(params, "a", "b"))
    if method == "unserializable":
        return {1, 2}
    raise RPCError(-32601)


def dispatched(text: str | bytes) -> tuple[Any, list[str]]:
    """The decoded response, and the methods whose failure was reported."""
    reported: list[str] = []
    response = dispatch(
        text.encode() if isinstance(text, str) else text, call, lambda method, error: reported.append(method)
    )
    return None if response is None else json.loads(response), reported


def error_of(text: str | bytes) -> tuple[int, Any]:
    """The code and the id of the error that is the response."""
    response, reported = dispatched(text)
    assert reported == []
    assert response.keys() == {"jsonrpc", "id", "error"}
    assert response["jsonrpc"] == "2.0"
    return response["error"]["code"], response["id"]


# ---- the rules ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', (-32700, None)),
        ("", (-32700, None)),
        (b"\xff", (-32700, None)),
        ('"\ud800"'.encode("utf-8", "surrogatepass"), (-32700, None)),
        ("\ufeff{}", (-32700, None)),
        ("{} {}", (-32700, None)),
        ('{"jsonrpc":"2.0","id":NaN,"method":"echo"}', (-32700, None)),
        ('{"jsonrpc":"2.0","id":1,"method":"echo","params":[1e999]}', (-32700, None)),
        ("9" * 60000, (-32700, None)),
        ("[" * MAX_LINE, (-32700, None)),
        ('{"a":' * 10000, (-32700, None)),
        ("[]", (-32600, None)),
        ("1", (-32600, None)),
        ("null", (-32600, None)),
        ("{}", (-32600, None)),
        ('{"id":5}', (-32600, 5)),
        ('{"jsonrpc":"2.0","method":1,"params":"bar"}', (-32600, None)),
        ('{"jsonrpc":"2.0","method":"","id":1}', (-32600, 1)),
        ('{"jsonrpc":"1.0","method":"echo","id":1}', (-32600, 1)),
        ('{"jsonrpc":2.0,"method":"echo","id":1}', (-32600, 1)),
        ('{"jsonrpc":"2.0","method":"echo","id":true}', (-32600, None)),
        ('{"jsonrpc":"2.0","method":"echo","id":[1]}', (-32600, None)),
        ('{"jsonrpc":"2.0","method":"echo","params":null,"id":1}', (-32600, 1)),
        ('{"jsonrpc":"2.0","method":"echo","params":"x","id":"a"}', (-32600, "a")),
        ("[" + ",".join(["1"] * (MAX_BATCH + 1)) + "]", (-32600, None)),
        ('{"jsonrpc":"2.0","method":"foobar","id":"1"}', (-32601, "1")),
        ('{"jsonrpc":"2.0","method":"rpc.x","id":null}', (-32601, None)),
        ('{"jsonrpc":"2.0","method":"sum","id":1.5}', (-32602, 1.5)),
        ('{"jsonrpc":"2.0","method":"sum","params":[1],"id":1}', (-32602, 1)),
        ('{"jsonrpc":"2.0","method":"sum","params":[1,2,3],"id":1}', (-32602, 1)),
        ('{"jsonrpc":"2.0","method":"sum","params":{"a":1,"c":2},"id":1}', (-32602, 1)),
    ],
)
def test_a_message_that_breaks_a_rule_gets_an_error(text: str | bytes, expected: tuple[int, Any]) -> None:
    assert error_of(text) == expected


@pytest.mark.parametrize("params", ["[1,2]", '{"b":1,"a":2}'])
def test_params_by_position_and_by_name(params: str) -> None:
    response, _ = dispatched(f'{{"jsonrpc":"2.0","method":"sum","params":{params},"id":0,"more":"is ignored"}}\r')
    assert response == {"jsonrpc": "2.0", "id": 0, "result": 3}


@pytest.mark.parametrize(("params", "result"), [("", None), (',"params":[]', []), (',"params":{}', {})])
def test_a_response_has_a_result_also_when_it_is_empty(params: str, result: object) -> None:
    response, _ = dispatched(f'{{"jsonrpc":"2.0","method":"echo","id":null{params}}}')
    assert response == {"jsonrpc": "2.0", "id": None, "result": result}


@pytest.mark.parametrize("method", ["echo", "nowhere", "sum"])
def test_a_notification_has_no_response(method: str) -> None:
    assert dispatched(json.dumps({"jsonrpc": "2.0", "method": method})) == (None, [])
    assert dispatched(json.dumps([{"jsonrpc": "2.0", "method": method}] * 2)) == (None, [])


@pytest.mark.parametrize(("method", "params"), [("unserializable", []), ("sum", ["a", 1])])
def test_a_method_that_fails_is_reported_and_gets_an_internal_error(method: str, params: list[object]) -> None:
    request: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
    response, reported = dispatched(json.dumps({**request, "id": 9}))
    assert response == {"jsonrpc": "2.0", "id": 9, "error": {"code": -32603, "message": "Internal error"}}
    assert reported == [method]
    if method == "sum":
        assert dispatched(json.dumps(request)) == (None, ["sum"])


def test_a_batch_gets_the_responses_of_its_requests() -> None:
    responses, reported = dispatched(
        '[{"jsonrpc":"2.0","method":"sum","params":[1,2],"id":"1"}, {"jsonrpc":"2.0","method":"echo"}, 1, [],'
        ' {"foo":"boo"}, {"jsonrpc":"2.0","method":"no","id":"5"}, {"jsonrpc":"2.0","method":"unserializable","id":6}]'
    )
    summaries = [(item["id"], item.get("result"), item.get("error", {}).get("code")) for item in responses]
    assert summaries == [
        ("1", 3, None),
        (None, None, -32600),
        (None, None, -32600),
        (None, None, -32600),
        ("5", None, -32601),
        (6, None, -32603),
    ]
    assert reported == ["unserializable"]


def test_nesting_at_every_depth_has_a_complete_response() -> None:
    """Reading and writing fail at different depths, which differ between versions of Python."""
    kinds = set()
    for depth in [*range(1, 100, 7), *range(100, sys.getrecursionlimit() + 200, 23), 5000, 20000, 100_000]:
        text = f'{{"jsonrpc":"2.0","id":1,"method":"echo","params":{"[" * depth}{"]" * depth}}}'
        response, reported = dispatched(text)
        kind = "result" if "result" in response else response["error"]["code"]
        assert (kind == -32603) == bool(reported)
        kinds.add(kind)
    assert kinds >= {"result", -32700}


def test_topics_forget_what_has_no_subscriber() -> None:
    topics: Topics[str] = Topics()
    assert all([topics.subscribe("a", "one", 2), topics.subscribe("b", "one", 2), topics.subscribe("a", "one", 2)])
    assert not topics.subscribe("c", "one", 2)
    assert topics.subscribe("a", "two", 2)
    assert topics.subscribers("a") == ["one", "two"]
    assert topics.subscribers("c") == []
    topics.unsubscribe_all("one")
    topics.unsubscribe_all("one")
    assert (topics.subscribers("a"), len(topics)) == (["two"], 1)
    topics.unsubscribe_all("two")
    assert len(topics) == 0


# ---- on sockets ----

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
_request = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | _json,
        "method": st.sampled_from(["echo", "time", "peer", "stats", "subscribe", "publish", "no"]) | _json,
        "params": st.just(["a"]) | st.just({"topic": "a", "message": "\ud800"}) | _json,
        "id": _json,
    },
)
_line = (
    st.binary(max_size=200)
    | _request.map(lambda value: json.dumps(value).encode())
    | st.lists(_request, max_size=4).map(lambda value: json.dumps(value).encode())
    | _json.map(lambda value: json.dumps(value).encode())
    | st.builds(lambda text, depth: text * depth, st.sampled_from([b"[", b'{"a":', b"[[]"]), st.integers(1, 3000))
)


@given(st.lists(_line.map(lambda line: line.replace(b"\n", b" ")), max_size=8), st.integers(1, 5000))
@settings(max_examples=60)
def test_any_input_gets_valid_responses(lines: list[bytes], size: int) -> None:
    warnings: list[str] = []
    hooks = Hooks(error_log=lambda level, text: warnings.append(text) if level > logging.INFO else None)
    with serving(hooks=hooks) as (served, _, stack):
        client = connect(served, stack)
        data = b"".join(line + b"\n" for line in [*lines, b'{"jsonrpc":"2.0","id":"end","method":"peer"}'])
        for start in range(0, len(data), size):
            client.sock.sendall(data[start : start + size])
        client.sock.shutdown(socket.SHUT_WR)
        responses = [json.loads(line) for line in client.receive_all().splitlines()]
    assert responses[-1]["id"] == "end"
    for response in responses[:-1]:
        for item in response if isinstance(response, list) else [response]:
            assert item["jsonrpc"] == "2.0"
            members = item.keys() - {"jsonrpc"}
            assert members in ({"id", "result"}, {"id", "error"}, {"method", "params"})
            if "error" in members:
                assert item["error"]["code"] in (-32700, -32600, -32601, -32602)
    expected = [line for line in lines if line.strip(b" \t\r")]
    assert len([response for response in responses if "method" not in response]) - 1 <= len(expected)
    unreadable = [line for line in expected if not _is_json(line)]
    parse_errors = [
        one for one in responses if not isinstance(one, list) and one.get("error", {}).get("code") == -32700
    ]
    assert len(parse_errors) == len(unreadable)
    assert warnings == []


def _is_json(line: bytes) -> bool:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(line.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


def test_the_simple_methods() -> None:
    with serving() as (served, _, stack):
        client = connect(served, stack)
        assert client.call("echo", "ü", {"a": [None, 1.5]}) == ["ü", {"a": [None, 1.5]}]
        assert datetime.fromisoformat(client.call("time")).utcoffset() == timedelta(0)
        assert client.call("peer") == list(client.sock.getsockname())
        stats = client.call("stats")
        assert (stats["threads"], stats["connections"], stats["busy"]) == (1, 1, 1)
        client.send({"jsonrpc": "2.0", "id": 2, "method": "time", "params": {"zone": "x"}})
        assert client.receive()["error"]["code"] == -32602


def test_lines_may_arrive_byte_by_byte_and_the_last_one_needs_no_end() -> None:
    with serving() as (served, _, stack):
        client = connect(served, stack)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b'\r\n \n{"jsonrpc":"2.0","id":1,"method":"echo"}\n\n{"jsonrpc":"2.0","id":2,"method":"echo"}':
            client.sock.sendall(bytes([byte]))
        client.sock.shutdown(socket.SHUT_WR)
        assert [json.loads(line)["id"] for line in client.receive_all().splitlines()] == [1, 2]


def test_publish_reaches_parked_connections() -> None:
    with serving(threads=2) as (served, handle, stack):
        listeners = [connect(served, stack) for _ in range(20)]
        for client in listeners:
            assert client.call("subscribe", "news") is True
            assert client.call("subscribe", "news") is True
        other = connect(served, stack)
        assert other.call("subscribe", "weather") is True
        publisher = connect(served, stack)
        assert publisher.call("publish", "news", {"text": "\ud800"}) == 20
        assert publisher.call("publish", "unknown", 1) == 0
        for client in listeners:
            message = client.receive()
            assert message == {
                "jsonrpc": "2.0",
                "method": "message",
                "params": {"topic": "news", "message": {"text": "\ud800"}},
            }
        assert other.call("echo", "nothing came") == ["nothing came"]
        listeners[0].close()
        listeners[1].sock.shutdown(socket.SHUT_WR)
        eventually(lambda: len(handle.topics.subscribers("news")) == 18)
        assert publisher.call("publish", "news", 1) == 18
    assert len(handle.topics) == 0  # the stop of the server closes connections, too


def test_a_publisher_that_subscribes_receives_the_message_before_the_response() -> None:
    with serving() as (served, _, stack):
        client = connect(served, stack)
        assert client.call("subscribe", "t") is True
        client.send({"jsonrpc": "2.0", "id": 7, "method": "publish", "params": {"topic": "t", "message": 1}})
        assert client.receive()["params"] == {"topic": "t", "message": 1}
        assert client.receive() == {"jsonrpc": "2.0", "id": 7, "result": 1}


def test_messages_of_many_publishers_never_mix() -> None:
    rounds, publishers = 30, 4
    with serving(threads=2) as (served, _, stack):
        listener = connect(served, stack)
        assert listener.call("subscribe", "t") is True
        clients = [connect(served, stack) for _ in range(publishers)]

        def publish(number: int) -> None:
            for round_ in range(rounds):
                assert clients[number].call("publish", "t", [number, round_, "x" * 2000]) == 1

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(publishers)]
        for thread in threads:
            thread.start()
        received = [listener.receive()["params"]["message"][:2] for _ in range(rounds * publishers)]
        for thread in threads:
            thread.join()
    for number in range(publishers):
        assert [round_ for sender, round_ in received if sender == number] == list(range(rounds))


def test_a_subscriber_that_does_not_read_is_disconnected() -> None:
    lines: list[str] = []
    hooks = hooks_logging_to(lines)
    with serving(threads=1, max_output=100_000, hooks=hooks) as (served, handle, stack):
        slow, publisher = connect(served, stack), connect(served, stack)
        assert slow.call("subscribe", "t") is True
        message = "x" * 60_000
        while publisher.call("publish", "t", message):
            pass
        assert handle.topics.subscribers("t") == []
        eventually(lambda: served.server.stats().connections == 1)
        assert publisher.call("echo", 1) == [1]
    assert [line for line in lines if "dropped" in line and "--max-output 100000" in line]


def test_nothing_is_received_from_a_client_that_does_not_read_its_responses() -> None:
    with serving(threads=1) as (served, _, stack):
        greedy = connect(served, stack)
        line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "echo", "params": ["x" * 5000]}).encode() + b"\n"
        unsent = b""
        greedy.sock.setblocking(False)

        def is_stuck() -> bool:
            nonlocal unsent
            with contextlib.suppress(BlockingIOError):
                while True:
                    unsent = unsent or line * 10
                    unsent = unsent[greedy.sock.send(unsent) :]
            return served.server.stats().flushing == 1

        eventually(is_stuck)
        assert connect(served, stack).call("echo") == []


def test_a_thousand_lines_at_once_get_their_responses_in_order() -> None:
    with serving(threads=1, max_output=200_000) as (served, _, stack):
        client = connect(served, stack)
        data = b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"stats"}\n' % number for number in range(1000))
        sender = threading.Thread(target=client.sock.sendall, args=(data,))
        sender.start()
        assert [client.receive()["id"] for _ in range(1000)] == list(range(1000))
        sender.join()


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_that_is_too_long_is_refused_and_the_connection_closes(end: bytes) -> None:
    with serving() as (served, handle, stack):
        client = connect(served, stack)
        frame = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":["%s"]}'
        fits = frame % (b"x" * (MAX_LINE - len(frame) + 2))
        assert len(fits) == MAX_LINE
        client.sock.sendall(b'{"jsonrpc":"2.0","id":0,"method":"subscribe","params":["t"]}\n' + fits + b"\n")
        assert client.receive()["result"] is True
        assert len(client.receive()["result"][0]) == MAX_LINE - len(frame) + 2
        client.sock.sendall(b" " + fits + end)
        refusal = client.receive()
        assert (refusal["id"], refusal["error"]["code"]) == (None, -32600)
        assert refusal["error"]["data"] == "a line has at most 65536 bytes"
        client.sock.sendall(b"x" * 1000)  # what the client still sends does not turn the close into a reset
        assert client.receive_all() == b""
        client.close()
        eventually(lambda: served.server.stats().connections == 0)
        assert len(handle.topics) == 0


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("subscribe", []),
        ("subscribe", [1]),
        ("subscribe", [""]),
        ("subscribe", ["x" * 257]),
        ("subscribe", ["a", "b"]),
        ("publish", ["a"]),
        ("publish", [["a"], 1]),
        ("publish", {"topic": "a"}),
        ("peer", {"x": 1}),
    ],
)
def test_wrong_params_get_an_error(method: str, params: object) -> None:
    with serving() as (served, _, stack):
        client = connect(served, stack)
        client.send({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        assert client.receive()["error"]["code"] == -32602


def test_topics_of_one_connection_are_limited() -> None:
    with serving() as (served, handle, stack):
        client = connect(served, stack)
        for number in range(MAX_TOPICS):
            assert client.call("subscribe", str(number)) is True
        client.send({"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": ["more"]})
        assert client.receive()["error"]["code"] == -32602
        assert len(handle.topics) == MAX_TOPICS


def test_a_method_that_fails_is_logged_and_the_connection_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    hooks = hooks_logging_to(lines)
    with serving(hooks=hooks) as (served, _, stack):
        client = connect(served, stack)
        monkeypatch.setattr(served.server, "stats", lambda: 1 / 0)
        client.send({"jsonrpc": "2.0", "id": 1, "method": "stats"})
        assert client.receive()["error"] == {"code": -32603, "message": "Internal error"}
        monkeypatch.undo()
        assert client.call("stats")["connections"] == 1
    assert [line for line in lines if "the method stats failed" in line and "ZeroDivisionError" in line]


def test_the_application_takes_no_arguments() -> None:
    assert find("jsons").module is not None
    assert isinstance(find("jsons").launch(Arguments(["reserve jsons"])), JSONLines)
    assert JSONLines.client_speaks_first
    with pytest.raises(UsageError, match="app jsons takes no arguments, but it was given x"):
        launch(["reserve jsons", "x"])
