"""Messages of processes that send something else than any version does."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reserve.cli.processes.channel import Channel
from reserve.control.document import add_counters, counters_of
from reserve.control.messages import Answer, Last, MalformedMessage, parse_message
from reserve.control.protocol import success
from reserve.supervisor.policy import Phase
from reserve.supervisor.supervisor import _MOST_REPORTED
from tests.supervisor.conftest import World

_KINDS = ("ready", "recycle", "report", "answer", "last", "collect", "preloaded", "forked", "ended", "setup", "x")
_KEYS = (
    "type", "banner", "retires_within", "reason", "about", "text", "id", "result", "error", "stats", "serial", "pid",
    "code", "workers", "requests", "responses", "duration", "bounds", "counts", "sum", "handled", "bytes_sent",
)  # fmt: skip
_NUMBERS = st.sampled_from([0, -1, 1, 2.5, 1e400, -1e400, float("nan"), 1 << 63, 10**4000, 1 << 2000])
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _NUMBERS | st.text() | st.sampled_from(_KINDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS) | st.text(), inner, max_size=6),
    max_leaves=20,
)
_MESSAGES = _JSON | st.builds(
    lambda kind, values: {**values, "type": kind},
    st.sampled_from(_KINDS),
    st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=6),
)


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@given(value=_MESSAGES)
@example(value={"type": "ready", "retires_within": "soon"})
@example(value={"type": "ready", "retires_within": None})
@example(value={"type": "ready", "retires_within": 10**4000})
@example(value={"type": "answer", "id": 1, "result": {"stats": {"handled": float("inf")}}})
@example(value={"type": "answer", "id": 1, "result": {"frames": _deep(300)}})
@example(value={"type": "last", "stats": {"requests": {"responses": [[1, 2, 3], ["GET", 200, 1]]}}})
@example(value={"type": "last", "stats": {"requests": {"duration": {"bounds": [1], "counts": [1], "sum": 1}}}})
@example(value={"type": "forked", "serial": 1})
def test_any_json_is_a_message_or_malformed(value: Any) -> None:
    """What is taken can be added to other counters, and sent on as JSON."""
    value = json.loads(json.dumps(value))
    if not isinstance(value, dict):
        return
    try:
        message = parse_message(value)
    except MalformedMessage as error:
        message = error.instead
    if isinstance(message, (Answer, Last)) and message.stats is not None:
        counters = counters_of(message.stats)
        other = {"requests": {"responses": [["GET", 200, 1]], "duration": {"bounds": [1], "counts": [1, 1], "sum": 1}}}
        for _ in range(2):
            counters = add_counters(add_counters(counters, other), counters_of(message.stats))
    if isinstance(message, Answer):
        json.loads(success(1, message.values), parse_constant=pytest.fail)


@pytest.fixture
def serving(world: World) -> World:
    world.supervise()
    world.make_ready()
    return world


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(values=st.lists(_MESSAGES, min_size=1, max_size=3))
@example(values=[3])
@example(values=[{}])
@example(values=[{"type": "answer"}])
def test_no_message_ends_the_supervisor(serving: World, values: list[Any]) -> None:
    """Also not one that is used later: when the document is made, or when the worker ends."""
    (sender, other) = serving.alive[:2]
    asked = serving.supervisor._relay
    results: list[Any] = []
    asked.collect(results.append)
    for value in values:
        sender.channel.sock.send(json.dumps(value).encode() + b"\n")
    serving.act()
    for message in other.channel.receive():
        other.send("answer", id=message["id"], result={"stats": {"handled": 1, "workers": []}})
    serving.pass_time(1.0)
    serving.pass_time(31.0)
    assert results
    assert len([line for line in serving.lines if f"process {sender.pid} has sent" in line]) <= 1
    sender.end(-9)
    serving.act()
    while len(serving.pids(Phase.SERVING)) < 2 or serving.workers(Phase.STARTING):
        serving.pass_time(31.0)
        serving.make_ready()
    assert serving.act()


@pytest.mark.parametrize(
    "line",
    [b"3", b"[]", b"{}", b'{"type": 7}', b"[" * 100_000, b"\xff", b'{"type": "ready", "retires_within": "x"}'],
    ids=["number", "list", "no type", "type", "deep", "no text", "ready"],
)
def test_a_process_that_starts_with_a_malformed_message_is_a_failed_start(world: World, line: bytes) -> None:
    world.supervise(wanted=1)
    world.make_ready()
    world.signal(signal.SIGHUP)
    starting = world.alive[-1]
    starting.channel.sock.setblocking(True)
    for _ in range(3):
        starting.channel.sock.sendall(line + b"\n")
        world.act()
    assert starting.signals == [signal.SIGKILL]
    starting.end(-9)
    world.act()
    complaints = [text for text in world.lines if "cannot be read" in text]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"reserve: worker process {starting.pid} has sent a message that cannot be read: ")
    assert world.pids(Phase.SERVING) == [100]


def test_a_process_that_serves_goes_on_after_a_malformed_message(serving: World) -> None:
    first = serving.alive[0]
    for _ in range(3):
        first.send("last", stats=7)
        serving.act()
    assert [text for text in serving.lines if "cannot be read" in text] == [
        "reserve: worker process 100 has sent a message that cannot be read: stats are no object"
    ]
    assert first.signals == []
    first.send("recycle", reason="it is old")
    serving.act()
    assert serving.lines[-1] == "reserve: worker process 100 is replaced: it is old"


def test_what_was_reported_needs_no_memory_without_end(serving: World) -> None:
    first, second = serving.alive
    for number in range(3 * _MOST_REPORTED):
        first.send("report", about=f"kind {number}", text=f"text {number}")
        serving.act()
    assert len(serving.supervisor._reported) == _MOST_REPORTED
    second.send("report", about=f"kind {3 * _MOST_REPORTED - 1}", text="once more")
    serving.act()
    assert "once more" not in serving.lines[-1]


def test_a_zygote_is_no_exception(world: World) -> None:
    supervisor = world.supervise(wanted=1)
    world.make_ready()
    worker = world.workers(Phase.SERVING)[0]
    zygotes = supervisor._processes.zygotes

    own, others = Channel.pair()
    own.sock.setblocking(False)
    zygote = zygotes.add(999, own, 1)
    zygote.phase = Phase.SERVING
    for values in ({"type": "forked", "serial": 1}, {"type": "ended", "serial": 1, "code": "x"}):
        others.sock.send(json.dumps(values).encode() + b"\n")
    zygotes.receive(zygote)
    assert [text for text in world.lines if "zygote process 999 has sent" in text]
    assert worker.pid == 100
    zygotes._close(zygote)
    zygotes.processes.remove(zygote)
    others.close()
