"""The control socket and its clients, also those that send garbage or read nothing."""

from __future__ import annotations

import os
import pwd
import selectors
import socket
import stat
import threading
from functools import partial
from pathlib import Path

import pytest

from reserve.control.client import ControlClient, ControlError, explain
from reserve.control.commands import Reply
from reserve.control.listener import Client, ControlListener, open_control
from reserve.control.protocol import MAX_LINE, Refusal, Request
from reserve.control.thread import ControlThread
from reserve.errors import StartupError
from reserve.sockets.listeners import release
from reserve.testing import FakeClock
from tests.control.sockets import EchoTarget, Peer, control_socket
from tests.waiting import PATIENCE, eventually


def test_a_request_has_a_response(tmp_path: Path) -> None:
    with control_socket(tmp_path, EchoTarget()) as path, ControlClient(path) as client:
        assert client.call("status")["command"] == "status"
        assert client.call("version")["command"] == "version"


def test_the_socket_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with control_socket(tmp_path, EchoTarget()) as path:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert not os.path.exists(path)
    finally:
        os.umask(before)


def test_at_no_time_may_others_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    chmod = os.chmod

    def noting(path: str, mode: int, **options: object) -> None:
        modes.append(stat.S_IMODE(os.stat(path).st_mode))
        chmod(path, mode)

    monkeypatch.setattr(os, "chmod", noting)
    before = os.umask(0)
    try:
        release(open_control(str(tmp_path / "control"), 0o660))
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_the_socket_of_a_server_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with control_socket(tmp_path, EchoTarget()) as path, ControlClient(path) as client:
        assert client.call("status")


def test_the_socket_of_a_server_that_lives_stays(tmp_path: Path) -> None:
    with control_socket(tmp_path, EchoTarget()) as path:
        with pytest.raises(StartupError, match=r"--control: cannot listen on .*another process listens there"):
            open_control(path, 0o600)
        with ControlClient(path) as client:
            assert client.call("status")


@pytest.mark.parametrize(
    ("name", "text"),
    [("none/control", "mkdir -p"), ("x" * 200, "too long"), ("file", "not a socket")],
)
def test_a_socket_that_cannot_be_opened_says_why(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=text):
        open_control(str(tmp_path / name), 0o600)


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"\x16\x03\x01", b"[]", b'{"command": 3}', b'{"command": "x"}'])
def test_garbage_gets_an_error_and_the_client_stays(tmp_path: Path, line: bytes) -> None:
    with control_socket(tmp_path, EchoTarget()) as path, Peer(path) as peer:
        peer.send(line + b"\r\n")
        assert peer.line()["ok"] is False
        peer.send(b'{"id": "a", "command": "status"}\n')
        assert peer.line() == {"id": "a", "ok": True, "result": {"command": "status", "data": ""}}


def test_what_a_command_raises_is_told(tmp_path: Path) -> None:
    with control_socket(tmp_path, EchoTarget()) as path, ControlClient(path) as client:
        with pytest.raises(ControlError, match="stop failed: ValueError: no"):
            client.call("stop")
        with pytest.raises(ControlError, match="refuses: not now; wait"):
            client.call("log-reopen")
        assert client.call("status")


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    with control_socket(tmp_path, EchoTarget()) as path, Peer(path) as peer:
        with pytest.raises(ConnectionError):
            peer.send(b"x" * (100 * MAX_LINE))
        with ControlClient(path) as client:
            assert client.call("status")


def test_a_client_that_reads_nothing_harms_no_other_one(tmp_path: Path) -> None:
    """It is not read from while something waits for it, and is disconnected after a time."""
    clock, target = FakeClock(), EchoTarget(size=1 << 20)
    with control_socket(tmp_path, target, now=clock.now) as path, Peer(path) as peer:
        peer.send(b'{"command": "status"}\n' * 1000)
        eventually(lambda: target.seen)
        with ControlClient(path) as client:
            assert client.call("version")
            assert target.seen.count("status") == 1
            clock.advance(11)
            assert client.call("version")
            assert client.call("version")
        while peer.sock.recv(1 << 20):
            pass


def test_thousands_of_requests_in_one_piece(tmp_path: Path) -> None:
    with control_socket(tmp_path, EchoTarget()) as path, Peer(path) as peer:
        count = 5000
        sender = threading.Thread(target=peer.send, args=(b'{"command":"status"}\n' * count,))
        sender.start()
        for _ in range(count):
            assert peer.line()["ok"]
        sender.join(PATIENCE)


def test_requests_wait_for_the_one_before(tmp_path: Path) -> None:
    target = EchoTarget()
    with control_socket(tmp_path, target) as path, Peer(path) as peer:
        peer.send(b'{"id":1,"command":"reload"}\n{"id":2,"command":"status"}\n')
        eventually(lambda: target.waiting)
        assert target.seen == ["reload"]


def test_a_client_that_sends_nothing_more_gets_the_responses_that_are_not_ready(tmp_path: Path) -> None:
    """As ``echo '{"command": "status"}' | nc -N -U PATH``, with a supervisor that asks its workers first."""
    target = EchoTarget()
    with control_socket(tmp_path, target) as path, Peer(path) as peer:
        peer.send(b'{"id":1,"command":"reload"}\n{"id":2,"command":"status"}\n')
        eventually(lambda: target.waiting)
        peer.sock.shutdown(socket.SHUT_WR)
        with ControlClient(path) as other:  # now the end has been seen
            assert other.call("version")
        target.waiting[0]({"late": True})
        assert peer.line() == {"id": 1, "ok": True, "result": {"late": True}}
        assert peer.line()["id"] == 2
        assert peer.line() is None


def test_a_client_that_sends_on_and_on_during_a_request_is_disconnected(tmp_path: Path) -> None:
    target = EchoTarget()
    with control_socket(tmp_path, target) as path, Peer(path) as peer:
        peer.send(b'{"id":1,"command":"reload"}\n')
        eventually(lambda: target.waiting)
        with pytest.raises(ConnectionError):
            peer.send(b'{"command":"status"}\n' * 300_000)


def test_a_new_client_takes_the_place_of_an_idle_one(tmp_path: Path) -> None:
    with control_socket(tmp_path, EchoTarget()) as path:
        peers = []
        for _ in range(40):
            peers.append(Peer(path))
            peers[-1].send(b'{"command":"status"}\n')
            assert peers[-1].line()["ok"]
        assert peers[0].line() is None
        for peer in peers:
            peer.close()


def test_when_all_clients_are_busy_a_new_one_is_told(tmp_path: Path) -> None:
    target = EchoTarget()
    with control_socket(tmp_path, target) as path:
        peers = [Peer(path) for _ in range(16)]
        for peer in peers:
            peer.send(b'{"command":"reload"}\n')
        eventually(lambda: len(target.waiting) == 16)
        with Peer(path) as late:
            assert "16 clients are connected already" in late.line()["error"]
            assert late.line() is None
        for peer in peers:
            peer.close()


def test_watching_sends_again_and_again_until_the_next_request(tmp_path: Path) -> None:
    clock = FakeClock()
    with control_socket(tmp_path, EchoTarget(), now=clock.now) as path, Peer(path) as peer, Peer(path) as waker:
        peer.send(b'{"id":1,"command":"watch","interval":5,"what":"stacks"}\n')
        assert peer.line()["result"]["command"] == "stacks"
        for _ in range(3):
            clock.advance(5)
            waker.send(b'{"command":"version"}\n')  # the thread does not know of this clock
            assert waker.line()["ok"]
            assert peer.line() == {"id": 1, "ok": True, "result": {"command": "stacks", "data": ""}}
        peer.send(b'{"id":2,"command":"version"}\n')
        assert peer.line()["id"] == 2
        clock.advance(20)
        peer.send(b'{"id":3,"command":"version"}\n')
        assert peer.line()["id"] == 3


@pytest.mark.parametrize("before", [b"", b'{"id":1,"command":"version"}\n', b'{"command":"watch","interval":60}\n'])
def test_a_line_that_is_begun_has_ten_seconds(tmp_path: Path, before: bytes) -> None:
    """Also after a complete line in the same piece, whose client may be idle for longer."""
    clock = FakeClock()
    with control_socket(tmp_path, EchoTarget(), now=clock.now) as path, Peer(path) as peer, Peer(path) as waker:
        peer.send(before + b'{"id":2,')
        if before:
            assert peer.line()["ok"]

        def wake() -> None:  # the thread does not know of this clock
            for _ in range(2):
                waker.send(b'{"command":"version"}\n')
                assert waker.line()["ok"]

        wake()
        for part in (b'"command"', b":"):  # more of it is not the end of it
            peer.send(part)
            wake()
            clock.advance(5)
        wake()
        assert peer.line() is None


def test_the_time_for_the_rest_of_a_line_begins_when_the_request_before_it_is_done(tmp_path: Path) -> None:
    clock, target = FakeClock(), EchoTarget()
    with control_socket(tmp_path, target, now=clock.now) as path, Peer(path) as peer, Peer(path) as waker:
        peer.send(b'{"id":1,"command":"reload"}\n{"id":2,"comm')
        eventually(lambda: target.waiting)
        clock.advance(20)
        waker.send(b'{"command":"version"}\n')
        assert waker.line()["ok"]
        peer.send(b'and":"version"}')
        target.waiting[0]({})
        assert peer.line()["id"] == 1
        peer.send(b"\n")
        assert peer.line()["id"] == 2


@pytest.mark.parametrize("what", ["stacks", "connections"])
def test_clients_that_want_the_same_at_nearly_the_same_time_share_it(tmp_path: Path, what: str) -> None:
    clock, target = FakeClock(), EchoTarget()
    with control_socket(tmp_path, target, now=clock.now) as path:
        peers = [Peer(path) for _ in range(10)]
        for _ in range(3):
            for number, peer in enumerate(peers):
                peer.send(b'{"id":%d,"command":"%b"}\n' % (number, what.encode()))
                assert peer.line() == {"id": number, "ok": True, "result": {"command": what, "data": ""}}
        assert target.seen == [what]
        peers[0].send(b'{"command":"%b","pid":7}\n' % what.encode())  # this is something else
        assert peers[0].line()["ok"]
        assert target.seen == [what, what]
        clock.advance(0.6)
        peers[0].send(b'{"command":"%b"}\n' % what.encode())
        assert peers[0].line()["ok"]
        assert target.seen == [what, what, what]
        for peer in peers:
            peer.close()


def test_clients_share_what_is_being_collected(tmp_path: Path) -> None:
    class Slow(EchoTarget):
        def perform(self, request: Request, reply: Reply) -> None:
            self.seen.append(request.command)
            self.waiting.append(reply)

    target = Slow()
    sock = open_control(str(tmp_path / "control"), 0o600)
    with selectors.DefaultSelector() as selector:
        control = ControlListener(target, selector)
        control.listen(sock, readonly=True)
        peers = [Peer(sock.getsockname()) for _ in range(4)]
        for peer in peers:
            peer.send(b'{"command":"stacks"}\n')

        def turn() -> None:
            for key, events in selector.select(PATIENCE):
                control.handle(key.fileobj, events)
            control.act()

        while len(control._answers) < 1 or len(next(iter(control._answers.values())).waiting) < 4:
            turn()
        assert target.seen == ["stacks"]
        target.waiting[0](Refusal("not now"))
        for peer in peers:
            assert peer.line()["error"] == "not now"
            peer.send(b'{"command":"stacks"}\n')
        while len(target.seen) < 2 or len(next(iter(control._answers.values())).waiting) < 4:
            turn()  # a refusal is not kept
        peers[0].close()
        target.waiting[1]({"threads": []})
        assert all(peer.line()["ok"] for peer in peers[1:])
        control.close()
        for peer in peers[1:]:
            peer.close()
    release(sock)


def test_stacks_and_connections_are_not_watched_more_often_than_once_a_second(tmp_path: Path) -> None:
    with control_socket(tmp_path, EchoTarget()) as path, Peer(path) as peer:
        for what in ("stacks", "connections"):
            peer.send(b'{"command":"watch","interval":0.9,"what":"%b"}\n' % what.encode())
            assert peer.line()["error"] == f"interval of watch is seconds from 1 to 3600 for {what}"
        peer.send(b'{"command":"watch","interval":0.2}\n')
        assert peer.line()["ok"]


def test_the_output_for_all_clients_together_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that read nothing lose it first to one that asks later, and those that only look first of all."""
    clock, size = FakeClock(), 4 << 20
    monkeypatch.setattr("reserve.control.listener._MOST_OUTPUT", 5 * size)
    socks = [open_control(str(tmp_path / name), 0o600) for name in ("full", "readonly")]
    with selectors.DefaultSelector() as selector:
        control = ControlListener(EchoTarget(size=size), selector, clock.now)
        for sock, readonly in zip(socks, (False, True), strict=True):
            control.listen(sock, readonly=readonly)

        def newest() -> Client | None:
            return next(reversed(control._clients.values()), None)

        def ask(sock: socket.socket) -> Peer:
            peer, before = Peer(sock.getsockname()), newest()
            peer.send(b'{"command":"status"}\n')
            while (client := newest()) is before or client is None or not client.output:
                for key, events in selector.select(PATIENCE):
                    control.handle(key.fileobj, events)
            clock.advance(0.1)
            return peer

        full = [ask(socks[0]) for _ in range(2)]
        looking = [ask(socks[1]) for _ in range(8)]
        waiting = [client.readonly for client in control._clients.values()]
        assert waiting == [False, False, True, True, True]
        full += [ask(socks[0]) for _ in range(4)]
        assert [client.readonly for client in control._clients.values()] == [False] * 5
        looking.append(Peer(socks[1].getsockname()))
        looking[-1].send(b'{"command":"status"}\n')
        for _ in range(2):
            for key, events in selector.select(PATIENCE):
                control.handle(key.fileobj, events)
        assert [client.readonly for client in control._clients.values()] == [False] * 5
        assert sum(len(client.output) for client in control._clients.values()) <= 5 * size
        control.close()
        for peer in (*full, *looking):
            peer.close()
    for sock in socks:
        release(sock)


def test_the_socket_for_looking_refuses_the_rest(tmp_path: Path) -> None:
    target = EchoTarget()
    with control_socket(tmp_path, target, readonly=True) as path, ControlClient(path) as client:
        assert client.call("status")
        with pytest.raises(ControlError, match="--control-readonly"):
            client.call("reload")
    assert target.seen == ["status"]


def test_a_listener_whose_descriptor_was_closed_is_given_up(tmp_path: Path) -> None:
    sock = open_control(str(tmp_path / "control"), 0o600)
    with selectors.SelectSelector() as selector:
        control = ControlListener(EchoTarget(), selector)
        control.listen(sock, readonly=False)
        os.close(sock.fileno())
        control.handle(sock, selectors.EVENT_READ)
        assert list(control.sockets()) == []
    sock.detach()


def test_a_thread_whose_wake_up_was_closed_does_not_spin(tmp_path: Path) -> None:
    """The application has closed its descriptors: poll(2) reports such a one without end."""
    sock = open_control(str(tmp_path / "control"), 0o600)
    thread = ControlThread([(sock, False)], EchoTarget())
    reader = thread._reader
    os.close(reader)
    thread.start()
    eventually(lambda: reader not in thread._selector.get_map())
    with ControlClient(str(tmp_path / "control")) as client:
        assert client.call("status")
        thread._closing = True  # nothing wakes it but a client
    thread._thread.join(PATIENCE)
    os.close(thread._writer)
    thread._reader = thread._writer = -1
    thread.close()
    release(sock)


def test_a_client_has_a_number_that_no_connection_gets(tmp_path: Path) -> None:
    """Else a client of the server could give commands, after the application has closed it by its number."""
    sock = open_control(str(tmp_path / "control"), 0o600)
    with selectors.SelectSelector() as selector, Peer(sock.getsockname()) as peer:
        control = ControlListener(EchoTarget(), selector)
        control.listen(sock, readonly=False)
        control.handle(sock, selectors.EVENT_READ)
        (client,) = [one for one in control.sockets() if one is not sock]
        assert client.fileno() > peer.sock.fileno() + 64
        os.close(client.fileno())
        control.handle(client, selectors.EVENT_READ)
        assert control.clients == 0
        control.close()
    release(sock)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_keeps_no_client(tmp_path: Path) -> None:
    with control_socket(tmp_path, EchoTarget()) as path:
        peer = Peer(path)
        peer.send(b'{"command":"status"}\n')
        assert peer.line()["ok"]
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        os.close(reader)
    assert peer.line() is None
    os.close(writer)
    os.waitpid(child, 0)
    peer.close()


# ---- the client ----


def test_without_a_socket_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    path = str(tmp_path / "none")
    with pytest.raises(ControlError, match=f"there is no control socket {path}; .*reserve --control {path} app"):
        ControlClient(path)


def test_a_socket_without_a_server(tmp_path: Path) -> None:
    path = str(tmp_path / "dead")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with pytest.raises(ControlError, match=r"no server listens on .* any more"):
        ControlClient(path)


@pytest.mark.parametrize("sent", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"[" * 100_000 + b"\n"], ids=["HTTP", "deep"])
def test_what_is_no_control_socket(sent: bytes, tmp_path: Path) -> None:
    path = str(tmp_path / "http")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with ControlClient(path) as client:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(sent)
                with pytest.raises(ControlError, match="is no control socket of reserve"):
                    client.call("status")


def test_a_server_that_does_not_respond_in_time(tmp_path: Path) -> None:
    text = r"has not responded for 0.01 s; .*py-spy"
    with (
        control_socket(tmp_path, EchoTarget()) as path,
        ControlClient(path, timeout=0.01) as client,
        pytest.raises(ControlError, match=text),
    ):
        client.call("reload")


def test_another_user_is_told_whose_socket_it_is(tmp_path: Path) -> None:
    """Root may connect to every socket, so the error of the system is made here."""
    with control_socket(tmp_path, EchoTarget()) as path:
        text = str(explain(path, PermissionError(13, "Permission denied")))
        user = pwd.getpwuid(os.stat(path).st_uid).pw_name
    assert text.endswith(f"sudo -u {user} reserve status --control {path}")


def test_a_reply_that_comes_from_another_thread(tmp_path: Path) -> None:
    """The thread of the sockets makes it when it is told to, although no client sends anything."""

    class Late:
        def perform(self, request: Request, reply: Reply) -> None:
            call = partial(reply, {"by": request.command})
            threading.Thread(target=thread.call_soon, args=(call,)).start()

    path = str(tmp_path / "control")
    sock = open_control(path, 0o600)
    thread = ControlThread([(sock, False)], Late())
    thread.start()
    try:
        with ControlClient(path, timeout=PATIENCE) as client:
            for _ in range(3):
                assert client.call("status") == {"by": "status"}
    finally:
        thread.close()
        release(sock)
