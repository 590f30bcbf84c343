"""What is found out about a process before it is forked."""

from __future__ import annotations

import socket
import threading

from reserve.cli.processes.forkable import connections, refusal, shared_connections, thread_names


def test_only_threads_beside_the_main_thread_are_named() -> None:
    before = thread_names()  # a plugin of the tests may have some
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="mailer")
    thread.start()
    try:
        assert sorted([*before, "mailer"]) == sorted(thread_names())
    finally:
        end.set()
        thread.join()


def test_a_message_names_a_few_threads() -> None:
    assert "has started 7 threads when it was imported: a, b, c, d, e and 2 more; " in refusal(list("abcdefg"))


def test_connections_with_an_address_are_named() -> None:
    before = connections()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.connect(server.getsockname())
        pair = socket.socketpair()
        opened = [peer for key, peer in connections().items() if key not in before]
        for end in pair:
            end.close()
        assert opened == [f"127.0.0.1:{server.getsockname()[1]}"]


def test_a_message_names_a_few_connections() -> None:
    assert ": a, b, c, d, e and 1 more; all worker processes share each of them" in shared_connections(list("fedcba"))
