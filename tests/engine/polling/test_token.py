"""A token is taken by one thread, and by no other until it is put back."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.polling.token import new_token, take
from reserve.testing import MemorySocket
from tests.waiting import PATIENCE


@pytest.mark.parametrize("present", [False, True])
def test_a_token_that_was_taken_is_there_only_after_it_was_put_back(present: bool) -> None:
    token = new_token(present=present)
    assert take(token) is present
    assert take(token) is False
    token.append(True)
    assert take(token) is True
    assert take(token) is False


def test_a_token_that_is_put_back_twice_exists_once() -> None:
    token = new_token(present=True)
    token.append(True)
    assert take(token)
    assert not take(token)


def test_a_new_connection_belongs_to_the_thread_that_made_it() -> None:
    connection = Connection(cast(Any, None), cast(Any, MemorySocket()), "")
    assert not take(connection.token)


def test_of_many_threads_one_takes_the_token() -> None:
    token, barrier = new_token(present=False), threading.Barrier(5)
    taken: list[bool] = []

    def compete() -> None:
        for _ in range(200):
            barrier.wait(PATIENCE)
            if take(token):
                taken.append(True)
            barrier.wait(PATIENCE)

    threads = [threading.Thread(target=compete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(200):
        token.append(True)
        barrier.wait(PATIENCE)
        barrier.wait(PATIENCE)
        assert len(taken) == turn + 1
    for thread in threads:
        thread.join(PATIENCE)
