"""What the supervisor does to its processes and listeners, with fake processes and a fake clock. See ``test_policy.py``
for each decision alone.
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

import reserve.supervisor.supervisor as supervising
from reserve.cli.processes.state import _read_rest
from reserve.supervisor.policy import Phase
from tests.supervisor.conftest import World


def test_the_first_worker_starts_alone_and_the_others_when_it_serves(world: World) -> None:
    world.supervise(wanted=3)
    assert [process.setup["announce"] for process in world.started] == [True]
    world.started[0].send("ready", banner="reserve serves\n")
    world.act()
    assert [process.setup["announce"] for process in world.started] == [True, False, False]
    assert [process.setup["slot"] for process in world.started] == [0, 1, 2]
    world.make_ready()
    assert world.lines == ["reserve serves", "reserve: 3 processes serve"]


@pytest.mark.parametrize(("code", "expected"), [(1, 1), (2, 2), (7, 7), (0, 0), (-11, 1)])
def test_a_first_worker_that_does_not_start_ends_everything_with_its_exit_code(
    world: World, code: int, expected: int
) -> None:
    supervisor = world.supervise()
    world.started[0].end(code)
    assert not world.act()
    assert supervisor.end() == expected
    assert world.lines == (["reserve: worker process 100 was ended by SIGSEGV"] if code < 0 else [])
    assert len(world.started) == 1
    del world.supervisor


def test_when_the_system_starts_no_process_the_start_fails(world: World) -> None:
    world.fork_error = BlockingIOError(11, "Resource temporarily unavailable")
    supervisor = world.supervise()
    assert not world.act()
    assert supervisor.end() == 1
    assert world.lines == ["reserve: a worker process cannot be started: [Errno 11] Resource temporarily unavailable"]
    del world.supervisor


def test_a_worker_that_is_killed_is_replaced_at_once_in_its_slot(world: World) -> None:
    world.supervise()
    world.make_ready()
    world.pass_time(60)
    world.started[0].end(-9)
    world.act()
    assert world.lines[-1] == "reserve: worker process 100 was ended by SIGKILL; another one starts"
    assert [process.pid for process in world.alive] == [101, 102]
    assert world.started[2].setup["slot"] == 0
    assert not world.started[2].setup["announce"]


def test_a_fork_that_fails_later_is_tried_again(world: World) -> None:
    world.supervise()
    world.make_ready()
    world.pass_time(60)
    world.fork_error = BlockingIOError(11, "no")
    world.started[0].end(-9)
    world.act()
    world.fork_error = None
    world.pass_time(0.5)
    assert len(world.alive) == 2


def test_a_fork_that_a_zygote_cannot_be_told_of_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fork(*arguments: object, **setup: object) -> None:
        raise OSError(24, "Too many open files")

    supervisor = world.supervise()
    world.make_ready()
    world.pass_time(60)
    supervisor.policy.preload = True
    monkeypatch.setattr(supervisor._processes.zygotes, "fork", fork)
    world.started[0].end(-9)
    world.act()
    assert world.lines[-1] == "reserve: a worker process cannot be started: [Errno 24] Too many open files"
    assert len(world.alive) == 1
    supervisor.policy.preload = False
    world.pass_time(0.5)
    assert len(world.alive) == 2


def test_a_reload_replaces_one_worker_after_the_other_each_after_its_successor_serves(world: World) -> None:
    world.supervise()
    world.make_ready()
    world.signal(signal.SIGHUP)
    assert world.pids(Phase.SERVING) == [100, 101]
    assert world.pids(Phase.STARTING) == [102]
    assert world.started[2].setup["announce"]
    world.started[2].send("ready")
    world.act()
    assert world.started[0].received() == ["retire"]
    assert world.started[1].received() == []
    assert world.pids(Phase.STARTING) == [103]
    world.started[3].send("ready")
    world.act()
    assert world.started[1].received() == ["retire"]
    assert world.pids(Phase.SERVING) == [102, 103]
    world.started[0].end()
    world.started[1].end()
    world.act()
    assert world.lines[-2:] == ["reserve: reloading", "reserve: 2 processes serve"]


def test_a_generation_that_does_not_start_leaves_the_old_one_serving(world: World) -> None:
    world.supervise()
    world.make_ready()
    for code in (1, -11):
        world.signal(signal.SIGHUP)
        world.alive[-1].end(code)
        world.act()
        assert world.lines[-1] == "reserve: 2 processes serve"
        assert world.lines[-2] == "reserve: the new version could not start, so the previous one serves on"
        assert world.pids(Phase.SERVING) == [100, 101]
        assert world.started[0].received() == []
        world.pass_time(3600)
        assert len(world.alive) == 2


def test_a_reload_during_a_reload_gives_up_the_worker_that_starts(world: World) -> None:
    world.supervise()
    world.make_ready()
    world.signal(signal.SIGHUP)
    world.signal(signal.SIGHUP)
    assert world.started[2].signals == [signal.SIGKILL]
    world.started[2].end(-9)
    world.act()
    world.make_ready()
    assert len(world.pids(Phase.SERVING)) == 2
    assert "could not start" not in "".join(world.lines)


def test_a_start_that_hangs_is_reported_once_and_the_old_generation_serves(world: World) -> None:
    world.supervise()
    world.make_ready()
    world.signal(signal.SIGHUP)
    world.pass_time(30)
    world.pass_time(30)
    assert world.lines.count("reserve: worker process 102 has not started for 30 s") == 1
    assert world.pids(Phase.SERVING) == [100, 101]


def test_a_worker_that_does_not_retire_in_time_is_killed(world: World) -> None:
    world.supervise(wanted=1)
    world.make_ready()
    world.signal(signal.SIGHUP)
    world.make_ready()
    world.pass_time(24)
    assert world.started[0].signals == []
    world.pass_time(2)
    assert world.started[0].signals == [signal.SIGKILL]
    world.started[0].end(-9)
    world.act()


def test_a_worker_that_asks_for_it_is_replaced_before_it_retires(world: World) -> None:
    world.supervise()
    world.make_ready()
    world.pass_time(60)
    world.started[0].send("recycle", reason="it has served 9 requests")
    world.started[0].send("recycle", reason="it has served 10 requests")
    world.started[1].send("recycle", reason="it has lived for 5 s")
    world.act()
    assert world.lines[-2:] == [
        "reserve: worker process 100 is replaced: it has served 9 requests",
        "reserve: worker process 101 is replaced: it has lived for 5 s",
    ]
    assert world.pids(Phase.STARTING) == [102]
    assert world.started[0].received() == []
    world.make_ready()
    assert world.started[0].received() == ["retire"]
    assert world.started[1].received() == ["retire"]
    assert world.pids(Phase.SERVING) == [102, 103]


def test_signals_change_the_number_of_processes_and_never_to_none(world: World) -> None:
    world.supervise()
    world.make_ready()
    world.signal(signal.SIGTTIN)
    world.make_ready()
    assert world.lines[-2:] == ["reserve: SIGTTIN: 3 processes from now on", "reserve: 3 processes serve"]
    for _ in range(4):
        world.signal(signal.SIGTTOU)
    assert world.pids(Phase.SERVING) == [100]
    assert world.lines[-1] == "reserve: SIGTTOU: there is 1 process, and one has to stay"
    assert [process.received() for process in world.started] == [[], ["retire"], ["retire"]]


def test_a_stop_tells_all_workers_and_a_second_signal_aborts_and_a_third_kills(world: World) -> None:
    supervisor = world.supervise(stop_timeout=9.0)
    world.make_ready()
    address = ("127.0.0.1", world.port)
    world.signal(signal.SIGINT)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    world.signal(signal.SIGTERM)
    world.signal(signal.SIGTERM)
    assert [process.signals for process in world.started] == [[signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]] * 2
    world.started[0].end(0)
    assert world.act()
    world.started[1].end(-9)
    assert not world.act()
    assert supervisor.end() == 3
    assert world.lines[-3:] == [
        "reserve: stopping; requests in flight have 9 s, a second signal stops at once",
        "reserve: stopping at once",
        "reserve: the server has stopped",
    ]
    del world.supervisor


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((0, 3), 3)])
def test_the_exit_code_says_whether_a_worker_has_aborted_requests(
    world: World, codes: tuple[int, int], expected: int
) -> None:
    supervisor = world.supervise()
    world.make_ready()
    world.signal(signal.SIGQUIT)
    assert [process.signals for process in world.started] == [[signal.SIGQUIT]] * 2
    for process, code in zip(world.started, codes, strict=True):
        process.end(code)
    assert not world.act()
    assert supervisor.end() == expected
    del world.supervisor


def test_requests_that_a_worker_aborted_long_ago_do_not_count_at_the_stop(world: World) -> None:
    supervisor = world.supervise(wanted=1)
    world.make_ready()
    world.signal(signal.SIGHUP)
    world.make_ready()
    world.started[0].end(3)
    world.act()
    world.signal(signal.SIGTERM)
    world.started[1].end(0)
    assert not world.act()
    assert supervisor.end() == 0
    del world.supervisor


def test_a_worker_that_does_not_stop_is_killed_after_the_timeout(world: World) -> None:
    supervisor = world.supervise(wanted=1, stop_timeout=9.0)
    world.make_ready()
    world.signal(signal.SIGTERM)
    world.pass_time(14)
    assert world.started[0].signals == [signal.SIGTERM, signal.SIGKILL]
    world.started[0].end(-9)
    assert not world.act()
    assert supervisor.end() == 3
    del world.supervisor


def test_a_stop_during_the_start_says_that_it_was_interrupted(world: World) -> None:
    supervisor = world.supervise()
    world.signal(signal.SIGTERM)
    assert world.started[0].signals == [signal.SIGTERM]
    world.started[0].end(1)
    assert not world.act()
    assert supervisor.end() == 1
    assert world.lines == ["reserve: interrupted before the server started"]
    del world.supervisor


def test_signals_that_came_before_the_supervisor_have_their_effect(world: World) -> None:
    supervisor = world.supervise(signals=(signal.SIGTERM,))
    assert world.started == []
    assert not world.act()
    assert supervisor.end() == 1
    del world.supervisor


def test_a_closed_terminal_stops_and_another_sighup_reloads(world: World) -> None:
    supervisor = world.supervise()
    world.make_ready()
    world.signal(signal.SIGHUP)
    assert world.lines[-1] == "reserve: reloading"
    supervisor._terminal_closed = lambda: True
    world.signal(signal.SIGHUP)
    assert world.lines[-1].startswith("reserve: stopping; requests in flight have 30 s")
    world.signal(signal.SIGHUP)
    assert world.started[0].signals == [signal.SIGTERM]


def test_a_paused_supervisor_has_paused_its_workers(world: World) -> None:
    world.supervise()
    world.make_ready()
    world.signal(signal.SIGTSTP)
    assert world.suspended == [[signal.SIGSTOP, signal.SIGSTOP]]
    assert [process.signals[-1] for process in world.started] == [signal.SIGCONT] * 2


def test_log_signals_are_passed_on_and_others_are_reported(world: World) -> None:
    world.supervise()
    world.make_ready()
    world.signal(signal.SIGUSR1)
    assert [process.signals for process in world.started] == [[signal.SIGUSR1]] * 2
    assert world.lines[-1].startswith("reserve: SIGUSR1: ")
    world.signal(signal.SIGALRM)
    assert world.lines[-1] == "reserve: SIGALRM: this signal has no meaning, and changes nothing"


def test_a_worker_without_a_channel_is_stopped_by_a_signal(world: World) -> None:
    world.supervise(wanted=1)
    world.make_ready()
    world.started[0].channel.close()
    world.act()
    assert world.pids(Phase.SERVING) == [100]
    world.signal(signal.SIGHUP)
    world.make_ready()
    assert world.started[0].signals == [signal.SIGTERM]


# ---- configuration ----


def test_a_bad_configuration_changes_nothing_and_is_explained(world: World, tmp_path: Path) -> None:
    world.supervise()
    world.make_ready()
    (tmp_path / "reserve.toml").write_text('[server]\nbind = "127.0.0.1:0"\nprocesses = 0\n')
    world.signal(signal.SIGHUP)
    assert world.lines[-1].startswith(
        f"reserve: the new configuration cannot be used, so the previous one stays: processes in {tmp_path}"
        "/reserve.toml:3 [server] is 0; allowed is"
    )
    assert len(world.started) == 2


def test_a_reload_changes_the_number_of_processes(world: World, tmp_path: Path) -> None:
    world.supervise()
    world.make_ready()
    (tmp_path / "reserve.toml").write_text('[server]\nbind = "127.0.0.1:0"\nprocesses = 3\n')
    world.signal(signal.SIGHUP)
    world.make_ready()
    assert len(world.pids(Phase.SERVING)) == 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_a_changed_address_is_open_before_the_roll_and_the_old_one_until_its_end(world: World, tmp_path: Path) -> None:
    world.supervise()
    world.make_ready()
    old, new = world.port, free_port()
    (tmp_path / "reserve.toml").write_text(f'[server]\nbind = "127.0.0.1:{new}"\nprocesses = 2\n')
    world.signal(signal.SIGHUP)
    for port in (old, new):
        socket.create_connection(("127.0.0.1", port)).close()
    assert len(world.started[2].listeners) == 1
    assert world.started[2].listeners[0].fd != world.started[0].listeners[0].fd
    world.make_ready()
    socket.create_connection(("127.0.0.1", new)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", old))


def test_an_unchanged_address_keeps_its_listener(world: World, tmp_path: Path) -> None:
    world.supervise()
    world.make_ready()
    new = free_port()
    (tmp_path / "reserve.toml").write_text(f'[server]\nbind = ["127.0.0.1:0", "127.0.0.1:{new}"]\n')
    world.signal(signal.SIGHUP)
    assert world.started[2].listeners[0].fd == world.started[0].listeners[0].fd
    assert len(world.started[2].listeners) == 2


def test_an_address_that_cannot_be_opened_changes_nothing(world: World, tmp_path: Path) -> None:
    world.supervise()
    world.make_ready()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "reserve.toml").write_text(f'[server]\nbind = "127.0.0.1:{port}"\n')
        world.signal(signal.SIGHUP)
    assert "the new configuration cannot be used, so the previous one stays: " in world.lines[-1]
    assert f"127.0.0.1:{port}" in world.lines[-1]
    assert len(world.started) == 2
    socket.create_connection(("127.0.0.1", world.port)).close()


def test_the_new_address_of_a_generation_that_does_not_start_is_closed_again(world: World, tmp_path: Path) -> None:
    world.supervise()
    world.make_ready()
    new = free_port()
    (tmp_path / "reserve.toml").write_text(f'[server]\nbind = "127.0.0.1:{new}"\nprocesses = 9\n')
    world.signal(signal.SIGHUP)
    world.alive[-1].end(1)
    world.act()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", new))
    socket.create_connection(("127.0.0.1", world.port)).close()
    assert len(world.alive) == 2
    world.signal(signal.SIGHUP)
    world.make_ready()
    socket.create_connection(("127.0.0.1", new)).close()
    assert len(world.pids(Phase.SERVING)) == 9


def test_a_reload_without_a_free_descriptor_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed_directory(values: object) -> None:
        raise OSError(24, "Too many open files", ".")

    world.supervise()
    world.make_ready()
    monkeypatch.setattr(supervising, "changed_directory", changed_directory)
    world.signal(signal.SIGHUP)
    assert world.lines[-1] == (
        "reserve: the new configuration cannot be used, so the previous one stays: [Errno 24] Too many open files: '.'"
    )
    assert world.pids(Phase.SERVING) == [100, 101]


# ---- a new program ----


def test_the_new_program_gets_the_signals_that_have_come_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = world.supervise()
    world.make_ready()
    reader, writer = os.pipe()

    def act() -> bool:
        os.write(writer, bytes([signal.SIGTERM]))
        supervisor._become_new_program()
        return False

    monkeypatch.setattr(supervisor, "act", act)
    supervisor.run(reader)
    (state,) = world.became
    os.close(writer)
    assert _read_rest(state.signal_pipe) == bytes([signal.SIGTERM])
    for worker in supervisor.workers.values():
        worker.channel.close()
    for process in world.alive:
        process.end()
    del world.supervisor


def test_the_new_program_gets_everything_and_reloads(world: World) -> None:
    supervisor = world.supervise(stop_timeout=7.0, had_terminal=True, nohup=True)
    world.make_ready()
    supervisor._become_new_program()
    (state,) = world.became
    assert [(process.pid, process.phase) for process in state.processes] == [(100, "serving"), (101, "serving")]
    assert state.signals == (signal.SIGHUP,)
    assert (state.wanted, state.stop_timeout, state.had_terminal, state.nohup) == (2, 7.0, True, True)
    assert [item.address for item in state.listeners] == ["127.0.0.1:0"]


def test_a_worker_that_is_ready_when_a_signal_comes_is_not_killed_as_one_that_starts(world: World) -> None:
    supervisor = world.supervise(wanted=1)
    world.started[0].send("ready", banner="reserve serves\n", retires_within=20.0)
    supervisor._signals.append(signal.SIGHUP)
    supervisor.act()
    assert world.started[0].signals == []
    assert [process.pid for process in world.started] == [100, 101]


def test_a_stop_is_told_in_a_message_too_because_an_application_may_block_the_signal(world: World) -> None:
    world.supervise(wanted=1)
    world.make_ready()
    world.signal(signal.SIGTERM)
    assert world.started[0].received() == ["stop"]
    world.signal(signal.SIGTERM)
    assert world.started[0].received() == []


@pytest.mark.parametrize("error", [BlockingIOError(11, "no process"), FileNotFoundError(2, "no interpreter")])
def test_a_reload_for_which_no_process_can_be_started_ends_and_the_old_generation_serves(
    world: World, error: OSError
) -> None:
    supervisor = world.supervise()
    world.make_ready()
    world.pass_time(60)
    world.fork_error = error
    world.signal(signal.SIGHUP)
    world.fork_error = None
    assert world.lines[-4:] == [
        "reserve: reloading",
        f"reserve: a worker process cannot be started: {error}",
        "reserve: the new version could not start, so the previous one serves on",
        "reserve: 2 processes serve",
    ]
    assert supervisor.policy.generation == 1
    world.pass_time(3600)
    assert world.pids(Phase.SERVING) == [100, 101]
    assert len(world.started) == 2


def test_after_a_hand_over_without_a_worker_a_start_that_fails_is_tried_again(world: World) -> None:
    """All workers have crashed when SIGUSR2 comes: the server goes on trying, as it did before."""
    world.supervise(wanted=1, served=True, signals=(signal.SIGHUP,))
    world.started[0].end(1)
    world.act()
    assert world.lines == [
        "reserve: reloading",
        "reserve: the new version could not start, and no process of the previous one is left; the next attempt is in "
        "0.5 s",
    ]
    assert not world.alive
    world.pass_time(0.5)
    world.started[1].end(1)
    assert world.act()
    assert world.lines[-1] == "reserve: worker process 101 could not start; the next attempt is in 1 s"
    world.pass_time(1)
    world.make_ready()
    assert world.lines[-1] == "reserve: 1 process serves"


def test_a_hand_over_says_whether_the_server_has_served(world: World) -> None:
    supervisor = world.supervise(wanted=1)
    supervisor._become_new_program()
    world.make_ready()
    world.started[0].end(-9)
    world.act()
    supervisor._become_new_program()
    assert [(state.has_served, len(state.processes)) for state in world.became] == [(False, 1), (True, 0)]


def test_a_line_of_several_workers_is_written_once(world: World) -> None:
    supervisor = world.supervise()
    world.make_ready()

    def report(seconds: int) -> None:
        for process in world.alive:
            process.send("report", text=f"the process exits in {seconds} s", about="exits")

    before = len(world.lines)
    report(3)
    world.act()
    report(2)
    world.act()
    assert world.lines[before:] == ["reserve: worker process 100: the process exits in 3 s"]
    world.signal(signal.SIGHUP)
    world.make_ready()
    world.signal(signal.SIGTERM)
    assert {worker.generation for worker in supervisor.workers.values()} == {1, 2}
    lines = list(world.lines)
    report(1)
    world.act()
    assert world.lines == [*lines, "reserve: worker process 100: the process exits in 1 s"]
