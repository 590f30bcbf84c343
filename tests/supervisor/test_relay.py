"""What the supervisor asks its workers, and what it tells the control socket of all."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from reserve.cli.processes.channel import Channel
from reserve.control.commands import check
from reserve.control.document import COUNTERS, RESTARTS
from reserve.control.protocol import Refusal, Request
from reserve.control.relay import Relay
from reserve.control.totals import totals
from reserve.engine.logs.logfile import close_log_file, open_log_file
from reserve.supervisor.policy import REASONS, Phase
from tests.supervisor.conftest import FakeProcess, World


def stats(count: int) -> dict[str, Any]:
    return {**dict.fromkeys(COUNTERS, count), "threads": 2, "workers": [], "unhealthy": []}


class Asking:
    """Asks the relay of a supervisor, whose workers answer when the test says so."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.relay: Relay = world.supervisor._relay

    def perform(self, command: str, **arguments: Any) -> list[Any]:
        """The results, as they come."""
        results: list[Any] = []
        self.relay.perform(check(Request(command, arguments), readonly=False), results.append)
        return results

    def answer(self, process: FakeProcess, result: Any = None, **values: Any) -> list[str]:
        """Let a worker answer what it was asked, with the stats for that question; the commands that it was asked."""
        asked = [message for message in process.channel.receive() if message["type"] == "ask"]
        for message in asked:
            value = {"stats": stats(process.pid)} if message["command"] == "stats" else result
            process.send("answer", id=message["id"], **(values or {"result": value}))
        self.world.act()
        return [str(message["command"]) for message in asked]


@pytest.fixture
def asking(world: World) -> Asking:
    world.supervise()
    world.make_ready()
    for process in world.started:
        process.received()
    return Asking(world)


def test_the_document_has_every_process(asking: Asking) -> None:
    results = asking.perform("status")
    for process in asking.world.started:
        assert results == []
        assert asking.answer(process) == ["stats"]
    (document,) = results
    assert document["supervisor"]["wanted"] == 2
    assert [one["pid"] for one in document["processes"]] == [100, 101]
    assert all(one["responding"] for one in document["processes"])
    assert totals(document).handled == 201
    assert totals(document).healthy


def test_a_silent_process_is_told_within_a_second(asking: Asking) -> None:
    first, second = asking.world.started
    results = asking.perform("status")
    asking.answer(first)
    asking.answer(second)
    asking.world.pass_time(1.0)
    results = asking.perform("status")
    asking.answer(first)
    assert results == []
    asking.world.pass_time(1.0)
    (document,) = results
    silent = document["processes"][1]
    assert (silent["pid"], silent["responding"], silent["age"]) == (101, False, 2.0)
    assert silent["stats"]["handled"] == 101
    assert totals(document).unhealthy == ("process 101 does not respond",)


def test_a_silent_process_gets_no_more_questions_until_it_responds(asking: Asking) -> None:
    first, second = asking.world.started
    asking.perform("status")
    asking.answer(first)
    asking.world.pass_time(1.0)
    for _ in range(50):
        asking.world.pass_time(1.0)
        results = asking.perform("status")
        asking.answer(first)
        assert len(results) == 1  # at once: nothing is waited for
    assert asking.answer(second) == ["stats"]
    asking.world.pass_time(1.0)
    results = asking.perform("status")
    asking.answer(first)
    assert asking.answer(second) == ["stats"]
    assert results[0]["processes"][1]["responding"]


def test_several_clients_share_one_question(asking: Asking) -> None:
    first, second = asking.perform("status"), asking.perform("status")
    for process in asking.world.started:
        assert asking.answer(process) == ["stats"]
    assert len(first) == len(second) == 1
    assert asking.perform("status") == first
    assert all(asking.answer(process) == [] for process in asking.world.started)
    asking.world.pass_time(0.3)
    assert asking.perform("status") == []


def test_a_worker_gets_the_document_that_it_asks_for(asking: Asking) -> None:
    first, second = asking.world.started
    first.send("collect", id=1)
    asking.world.act()
    asking.answer(second)
    asking.answer(first)
    messages = [message for message in first.channel.receive() if message["type"] == "document"]
    assert [one["pid"] for one in messages[0]["document"]["processes"]] == [100, 101]


def test_counters_never_decrease_when_processes_end(asking: Asking) -> None:
    """The first one tells its last counts when it ends; of the second, which is killed, the last known ones count."""
    first, second = asking.world.started
    results = asking.perform("status")
    asking.answer(first)
    asking.answer(second)
    before = totals(results[0])
    first.send("last", stats=stats(150))
    first.end()
    second.end(-9)
    asking.world.act()
    for process in asking.world.alive:
        process.received()
    results = asking.perform("status")
    asking.world.pass_time(1.0)
    after = totals(results[0])
    assert (before.handled, after.handled) == (201, 251)
    assert results[0]["former"]["handled"] == 251
    assert after.restarts["crash"] == 2


def test_an_answer_that_comes_after_the_last_counts_was_made_before_them(asking: Asking) -> None:
    """Two threads of a worker send: the one that answers questions may be the later one."""
    first, second = asking.world.started
    results = asking.perform("status")
    asking.answer(second)
    first.send("last", stats=stats(150))
    asking.answer(first)  # with 100
    assert totals(results[0]).handled == 150 + 101
    first.end()
    asking.world.act()
    assert asking.relay.passed()["former"]["handled"] == 150


def test_the_last_counts_are_read_however_much_was_sent_before_them(asking: Asking) -> None:
    first, second = asking.world.started
    asking.perform("stacks")
    (question,) = first.channel.receive()
    second.channel.receive()
    first.send("answer", id=question["id"], result={"threads": ["x" * 100] * 1500})
    first.send("last", stats=stats(150))
    worker = asking.world.supervisor.workers[first.pid]
    first.exit_code = 0  # a process that it has forked may keep the channel open
    asking.world.supervisor._reap()
    assert asking.relay.passed()["former"]["handled"] == 150
    assert not worker.channel.ended
    first.channel.close()


def test_the_program_that_the_supervisor_becomes_reads_on_in_the_middle_of_a_message(asking: Asking) -> None:
    first, _ = asking.world.started
    first.channel.sock.send(b'{"type": "last", "sta')
    asking.world.act()
    (passed, _) = asking.world.supervisor._processes.passed()
    channel = Channel.from_fd(os.dup(passed.channel))
    channel.adopt(passed.unread, passed.unsent)
    first.channel.sock.send(b'ts": {}}\n')
    assert channel.receive() == [{"type": "last", "stats": {}}]
    channel.close()


def test_a_process_that_ends_keeps_no_client_waiting(asking: Asking) -> None:
    first, second = asking.world.started
    results = asking.perform("stacks")
    asking.answer(first, {"pid": 100, "responding": True, "threads": []})
    second.end(-9)
    asking.world.act()
    assert [one["responding"] for one in results[0]["processes"]] == [True, False]


def test_stacks_of_all_and_of_one(asking: Asking) -> None:
    first, second = asking.world.started
    results = asking.perform("stacks", pid=101)
    assert asking.answer(first) == []
    asking.answer(second, {"pid": 101, "responding": True, "threads": ["x"]})
    assert results[0]["processes"] == [{"pid": 101, "responding": True, "threads": ["x"]}]
    results = asking.perform("stacks")
    asking.answer(second, error="it has no memory")
    asking.world.pass_time(1.0)
    silent, failed = results[0]["processes"]
    assert (silent["pid"], silent["responding"], silent["threads"]) == (100, False, [])
    assert (failed["responding"], failed["error"]) == (True, "it has no memory")
    with pytest.raises(Refusal, match=r"no worker process 7 .*"):
        asking.perform("stacks", pid=7)


def test_what_is_set_is_set_in_processes_that_start_later(asking: Asking) -> None:
    world = asking.world
    results = asking.perform("threads", min=2, max=9)
    for process in world.started:
        asking.answer(process, {"pid": process.pid})
    assert results[0]["processes"] == [100, 101]
    world.started[0].end(1)
    world.act()
    world.pass_time(60)
    new = world.started[-1]
    new.send("ready", banner="", retires_within=1.0)
    world.act()
    asked = [message for message in new.channel.receive() if message["type"] == "ask"]
    assert [(message["command"], message["arguments"]) for message in asked] == [("threads", {"min": 2, "max": 9})]


def test_after_a_reload_the_options_hold_again(asking: Asking) -> None:
    world = asking.world
    asking.perform("log-level", level="debug")
    for process in world.started:
        asking.answer(process, {"pid": process.pid})
    assert asking.perform("reload") == [{"reloading": True}]
    world.act()
    world.make_ready()
    assert all("ask" not in process.received() for process in world.started[2:])


def test_every_process_opens_its_log_files_again(asking: Asking) -> None:
    """One that does not respond, or does not know the command, gets the signal."""
    path = asking.world.directory / "log"
    file = open_log_file(str(path))
    try:
        path.rename(path.with_name("log.1"))
        results = asking.perform("log-reopen")
        assert path.exists()
        first, second = asking.world.started
        asking.answer(first, {"pid": 100, "files": [{"path": "/a", "error": "full"}]})
        assert results == []
        asking.answer(second, error="a process of reserve 0 does not know 'log-reopen'")
    finally:
        close_log_file(file)
    own = {"pid": os.getpid(), "files": [{"path": str(path), "error": ""}]}
    assert results == [{"processes": [own, {"pid": 100, "files": [{"path": "/a", "error": "full"}]}]}]
    assert (first.signals, second.signals) == ([], [signal.SIGUSR1])
    assert f"reserve: log-reopen: {path} is opened again" in asking.world.lines


def test_what_no_process_can_set_is_refused(asking: Asking) -> None:
    results = asking.perform("threads", max=9)
    for process in asking.world.started:
        asking.answer(process, error="it has one thread only")
    assert isinstance(results[0], Refusal)
    assert str(results[0]) == "it has one thread only"


def test_the_number_of_processes_changes(asking: Asking) -> None:
    assert asking.perform("processes", count=3) == [{"count": 3}]
    asking.world.act()
    asking.world.make_ready()
    assert len(asking.world.pids(Phase.SERVING)) == 3
    asking.perform("processes", count=1)
    asking.world.act()
    assert len(asking.world.pids(Phase.SERVING)) == 1
    assert "reserve: 3 processes from now on" in asking.world.lines


def test_a_reload_that_is_not_possible_says_why(asking: Asking) -> None:
    (asking.world.directory / "reserve.toml").write_text("nonsense")
    (refusal,) = asking.perform("reload")
    assert isinstance(refusal, Refusal)
    assert "the new configuration cannot be used" in str(refusal)


def test_stopping(asking: Asking) -> None:
    assert asking.perform("stop") == [{"stopping": True}]
    asking.world.act()
    assert all("stop" in process.received() for process in asking.world.started)
    with pytest.raises(Refusal, match="the server is stopping"):
        asking.perform("processes", count=3)
    asking.perform("stop", now=True)
    assert "reserve: stopping at once" in asking.world.lines


def test_counts_survive_a_new_program(asking: Asking) -> None:
    """The state of a supervisor that executes the program again has them."""
    world = asking.world
    asking.perform("status")
    for process in world.started:
        asking.answer(process)
    world.started[0].end(-9)
    world.act()
    world.time += 5
    passed = asking.relay.passed()
    workers = {101: world.supervisor.workers[101]}
    other = Relay(world.supervisor, workers, world.supervisor.policy, lambda: world.time, passed)
    other.worker_ended(workers.pop(101))  # before it is asked again
    results: list[Any] = []
    other.collect(results.append)
    assert results[0]["former"]["handled"] == 201
    assert results[0]["supervisor"]["uptime"] == 5.0
    assert passed["restarts"]["crash"] == 1


def test_reasons_of_restarts(world: World) -> None:
    assert REASONS == RESTARTS
    world.supervise()
    world.make_ready()
    world.started[0].send("recycle", reason="it is old")
    world.act()
    world.pass_time(60)
    world.make_ready()
    world.started[0].end()
    world.act()
    world.supervisor.handle_signal(1)
    world.act()
    world.make_ready()
    for process in world.started[1:3]:
        process.end()
    world.act()
    assert world.supervisor.policy.restarts == {"crash": 0, "recycle": 1, "reload": 2, "kill": 0}


def test_a_retired_process_that_is_killed_counts_as_killed(world: World) -> None:
    world.supervise()
    world.make_ready()
    world.supervisor.handle_signal(1)
    world.act()
    world.make_ready()
    world.pass_time(1000)
    for process in world.started[:2]:
        assert process.signals[-1] == 9
        process.end(-9)
    world.act()
    assert world.supervisor.policy.restarts["kill"] == 2


@pytest.mark.parametrize(
    "wrong", [{"handled": None}, {"handled": "many"}, {"requests": 7}, {"requests": {"responses": [1]}}, {"workers": 3}]
)
def test_stats_of_another_structure_are_not_remembered(asking: Asking, wrong: dict[str, Any]) -> None:
    """A worker may have the rights of another user, who must not be able to end the supervisor."""
    first, second = asking.world.started
    bad = {**stats(7), **wrong}
    results = asking.perform("status")
    for message in first.channel.receive():
        first.send("answer", id=message["id"], result={"stats": bad})
    asking.answer(second)
    (document,) = results
    assert [one["stats"] is None for one in document["processes"]] == [True, False]
    first.send("last", stats=bad)
    first.send("collect", id=1)
    asking.world.act()
    first.end()
    asking.world.act()
    assert "former" in asking.relay.passed()


def test_a_worker_that_asks_and_reads_nothing_needs_no_memory(asking: Asking) -> None:
    first, second = asking.world.started
    (worker,) = (one for one in asking.world.supervisor.workers.values() if one.pid == first.pid)
    results = asking.perform("status")
    for process in (first, second):
        for message in process.channel.receive():
            process.send("answer", id=message["id"], result={"stats": {**stats(7), "workers": ["x" * 100] * 400}})
    asking.world.act()
    assert results
    for number in range(20):
        first.send("collect", id=number)
        asking.world.act()
    assert worker.channel.is_behind
    assert len(worker.channel._unsent) < 200_000
