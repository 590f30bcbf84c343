"""A worker process and the process that has started it."""

from __future__ import annotations

import os
from itertools import islice

import pytest

from reserve.cli.processes.channel import Channel
from reserve.cli.processes.worker import SupervisedWorker
from reserve.errors import StartupError


def test_a_worker_does_not_start_when_its_supervisor_has_ended_since() -> None:
    """The setup waits in the socket, whoever is the parent now: else the worker would serve on, and keep the port."""
    supervisor, own = Channel.pair()
    supervisor.send("setup", parent=os.getppid() + 1, listeners=[])
    supervisor.close()
    with pytest.raises(StartupError, match="the supervisor of this worker process has ended"):
        SupervisedWorker(own)
    own.close()


def test_a_worker_starts_while_its_supervisor_lives() -> None:
    supervisor, own = Channel.pair()
    supervisor.send("setup", parent=os.getppid(), listeners=[], announce=True)
    assert SupervisedWorker(own).announces
    supervisor.close()
    own.close()


def test_a_worker_reports_to_its_supervisor_as_long_as_there_is_one() -> None:
    supervisor, own = Channel.pair()
    supervisor.send("setup", parent=os.getppid(), listeners=[])
    worker = SupervisedWorker(own)
    assert worker.report("the process exits now", "exits")
    assert supervisor.receive() == [{"type": "report", "text": "the process exits now", "about": "exits"}]
    supervisor.close()
    assert own.receive() == []
    assert not worker.report("the process exits now", "exits")
    own.close()


def test_what_comes_together_with_the_setup_is_answered() -> None:
    """The supervisor may ask before this process runs: a question that was lost would never be answered."""
    supervisor, own = Channel.pair()
    supervisor.send("setup", parent=os.getppid(), listeners=[])
    supervisor.send("ask", id=1, command="stats", arguments={})
    supervisor.send("ask", id=2, command="no such command", arguments={})
    worker = SupervisedWorker(own)
    worker.begin()
    answers = {message["id"]: message for message in islice(supervisor.messages(), 2)}
    assert answers[1]["result"] == {"phase": "starting", "stats": None}
    assert "does not know 'no such command'" in answers[2]["error"]
    worker.close()
    supervisor.close()
    own.close()
