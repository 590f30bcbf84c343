"""The control socket and its clients, on one thread that never blocks on a client: that of the control socket of a
process (:mod:`reserve.control.thread`), or the one of the supervisor.

Everything is bounded: the clients of each socket, the bytes of a line, one request at a time for each client, the bytes
that wait for all clients, and the time that one may take for its next line and for reading a response. What costs every
process something is asked once for all clients that want it at nearly the same time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import shlex
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from reserve.control.commands import COMMANDS, Target, check, result_for
from reserve.control.protocol import (
    MAX_LINE,
    Lines,
    Refusal,
    Request,
    encoded,
    failure,
    parse_request,
    success_line,
)
from reserve.engine.polling.highnumber import move_up
from reserve.errors import Correction, StartupError
from reserve.sockets.unix import UNIXListener, bind_path, release

__all__ = ["Client", "ControlListener", "open_control"]

_BACKLOG = 16
_MOST_CLIENTS = 16
"""Of one socket. Those of the other one have places of their own."""
_PIECE = 65536
_MOST_OUTPUT = 64 << 20
"""Bytes that may wait for all clients together; more than the largest result."""
_FRESH = 0.5
"""Seconds for which a result that is shared is used again: half of the shortest interval in which it is watched."""
_MOST_SHARED = 8
"""Results that are kept for that."""
_READ_TIMEOUT = 10.0
"""Seconds that a client may take for reading anything of what waits for it."""
_IDLE_TIMEOUT = 300.0
"""Seconds that a client may take for its next request."""
_LINE_TIMEOUT = 10.0
"""Seconds that a client may take for the rest of a line, while its last request is done and nothing waits for it."""
_PAUSE = 1.0
"""Seconds without accepting, when the system has no free descriptor."""
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def open_control(path: str, mode: int, source: str = "--control") -> UNIXListener:
    """Open a control socket. At no time may a user connect whom its mode keeps out.

    :param path: a file of a server that has ended is replaced.
    :param mode: its permission bits.
    :param source: the option, for messages.
    :raises StartupError: a server listens there, or it cannot be opened.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise StartupError(f"{source} needs UNIX sockets, which this system does not have; leave it out")
    sock = UNIXListener(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.created = None
    try:
        bind_path(sock, path, mode=mode, owner=None)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        release(sock)
        correction = None
        text = str(error) if error.errno is None else (error.strerror or str(error))
        advice = ""
        if error.errno == errno.ENOENT:
            make = f"mkdir -p {shlex.quote(os.path.dirname(path) or '.')}"
            advice, correction = f"; make the directory first: {make}", Correction(before=make)
        raise StartupError(f"{source}: cannot listen on {path}: {text}", advice, correction) from None
    except StartupError as error:
        release(sock)
        raise StartupError(f"{source}: {error}") from None
    return sock


class Client:
    """One client of a control socket; owned by the listener."""

    def __init__(self, sock: socket.socket, now: float, *, readonly: bool) -> None:
        self.sock = sock
        self.readonly = readonly
        self.lines = Lines()
        self.output = bytearray()
        self.is_busy = False
        """A request is being carried out."""
        self.in_next = False
        """Its requests are being begun."""
        self.watched: Request | None = None
        """What is sent again and again; None: nothing."""
        self.interval = 0.0
        self.due = float("inf")
        """When it is sent the next time."""
        self.deadline = now + _IDLE_TIMEOUT
        """When the client is disconnected."""
        self.line_until = float("inf")
        """When it has to have sent the rest of a line; infinite: none is begun, or it may be complete."""
        self.ends = False
        """It is disconnected when it has read the output."""
        self.at_end = False
        """It sends nothing more, and gets the responses to what it has sent."""
        self.closed = False


class _Answer:
    """The result of a request that is shared; owned by the listener."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[bytes | Refusal], object]] = []
        """Take it when it is there."""
        self.result: bytes | None = None
        """None: it is not there yet."""
        self.until = float("inf")
        """How long it is used again, on the clock."""


class ControlListener:
    """The clients of the control sockets of one server.

    :param target: carries the commands out.
    :param selector: waits for the sockets; the data of their keys is this object.
    :param now: seconds of a monotonic clock.
    """

    def __init__(
        self, target: Target, selector: selectors.BaseSelector, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._target = target
        self._selector = selector
        self._now = now
        self._listeners: dict[socket.socket, bool] = {}
        """The listening sockets, and whether each is for looking only."""
        self._clients: dict[socket.socket, Client] = {}
        self._resume_at = float("inf")
        """When clients are accepted again."""
        self._answers: dict[tuple[str, tuple[tuple[str, Any], ...]], _Answer] = {}
        """The results that are shared, by command and arguments, the oldest first."""
        self._encoded: tuple[Any, bytes] = None, b"null"
        """The last status, which a target uses again for a moment, and its JSON."""

    @property
    def clients(self) -> int:
        """How many clients there are."""
        return len(self._clients)

    def listen(self, sock: socket.socket, *, readonly: bool) -> None:
        """Accept clients of a listening socket, which still belongs to the caller."""
        sock.setblocking(False)
        self._listeners[sock] = readonly
        self._selector.register(sock, selectors.EVENT_READ, self)

    def forget(self, sock: socket.socket) -> None:
        """Accept no more clients of a listening socket. Those that are connected stay."""
        if self._listeners.pop(sock, None) is not None:
            self._unregister(sock)

    def close(self) -> None:
        """Disconnect all clients, after what the system takes of their output at once."""
        for client in list(self._clients.values()):
            self._send(client)
            self._close(client)
        for sock in list(self._listeners):
            self.forget(sock)

    def timeout(self) -> float:
        """When :meth:`act` has to be called at the latest, on the clock; infinite: there is nothing to do."""
        times = [self._resume_at]
        times += [answer.until for answer in self._answers.values()]
        for client in self._clients.values():
            times += [client.deadline, client.due]
            if self._is_awaited(client):
                times.append(client.line_until)
        return min(times)

    def act(self) -> None:
        """Do what is due: send to clients that watch, and disconnect those that take too long."""
        now = self._now()
        if self._resume_at <= now:
            self._resume_at = float("inf")
            for sock in self._listeners:
                with contextlib.suppress(KeyError):  # opened meanwhile
                    self._selector.register(sock, selectors.EVENT_READ, self)
        for key, answer in list(self._answers.items()):
            if answer.until <= now:
                del self._answers[key]
        for client in list(self._clients.values()):
            if client.deadline <= now or (client.line_until <= now and self._is_awaited(client)):
                self._close(client)
            elif client.due <= now and client.watched is not None:
                client.due = max(client.due + client.interval, now)
                if not client.output and not client.is_busy:  # else it is slow, and gets the next one
                    self._perform(client, client.watched)

    def handle(self, sock: Any, events: int) -> None:
        """What the selector reports.

        :param sock: the file object of the key.
        """
        if sock in self._listeners:
            self._accept(sock)
            return
        client = self._clients.get(sock)
        if client is None:  # closed since the selector reported it
            return
        if events & selectors.EVENT_WRITE:
            client.line_until = float("inf")  # nothing was received meanwhile: it begins anew
            self._send(client)
        if events & selectors.EVENT_READ and not client.closed:
            self._receive(client)

    # ---- inside ----

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:  # a listener that stays readable would make this a busy loop
                self._resume_at = self._now() + _PAUSE
                for other in self._listeners:
                    self._unregister(other)
            elif error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):  # another part of the program closed it
                self.forget(listener)
            return
        # Under a low number, a connection of the server would get it if the application closed it, and its client could
        # give commands.
        sock = socket.socket(fileno=move_up(sock.detach()))
        sock.setblocking(False)
        client = Client(sock, self._now(), readonly=self._listeners[listener])
        self._clients[sock] = client
        self._selector.register(sock, selectors.EVENT_READ, self)
        others = [other for other in self._clients.values() if other.readonly == client.readonly]
        if len(others) > _MOST_CLIENTS:
            idle = [other for other in others[:-1] if not (other.is_busy or other.watched or other.output)]
            if idle:
                self._close(min(idle, key=lambda other: other.deadline))
            else:
                self._reject(client, Refusal(f"{_MOST_CLIENTS} clients are connected already", "try again later"))

    def _receive(self, client: Client) -> None:
        try:
            data = client.sock.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            if client.is_busy and client.watched is None:  # as "nc -N" and socat do after the end of their input
                client.at_end = True
                self._listen_to(client)
            else:
                self._close(client)
            return
        if client.ends:
            return
        client.lines.add(data)
        if client.is_busy and client.lines.size > MAX_LINE:  # the next requests wait, and not any number of them
            self._close(client)
            return
        self._next(client)

    def _next(self, client: Client) -> None:
        """Begin the next requests of a client, as long as nothing waits for it."""
        if client.in_next:  # a reply calls this method again, and there may be thousands in a row
            return
        client.in_next = True
        while not (client.closed or client.is_busy or client.output or client.ends):
            try:
                line = client.lines.next()
            except Refusal as refusal:
                self._reject(client, refusal)
                break
            if line is None:
                break
            client.watched, client.due = None, float("inf")  # the next request ends what is watched
            client.deadline, client.line_until = self._now() + _IDLE_TIMEOUT, float("inf")
            if line.strip():
                self._begin(client, line)
        client.in_next = False
        if client.lines.size and client.line_until == float("inf") and self._is_awaited(client):
            client.line_until = self._now() + _LINE_TIMEOUT
        if client.at_end and not (client.is_busy or client.output):
            self._close(client)
        self._listen_to(client)

    @staticmethod
    def _is_awaited(client: Client) -> bool:
        """Whether nothing but the client keeps its next request from being begun."""
        return not (client.is_busy or client.output or client.ends)

    def _begin(self, client: Client, line: bytes) -> None:
        request_id = None
        try:
            request = parse_request(line)
            request_id = request.id
            request = check(request, readonly=client.readonly)
        except Refusal as refusal:
            self._write(client, failure(refusal, request_id))
            return
        if request.command == "watch":
            client.interval = request.arguments["interval"]
            client.watched = request = Request(request.arguments["what"], {}, request.id)
            client.due, client.deadline = self._now() + client.interval, float("inf")
        self._perform(client, request)

    def _perform(self, client: Client, request: Request) -> None:
        client.is_busy = True
        if client.watched is None:
            client.deadline = float("inf")  # the target has one

        def reply(result: bytes | Refusal) -> None:
            if client.closed:
                return
            client.is_busy = False
            if client.watched is None:
                client.deadline = self._now() + _IDLE_TIMEOUT
            line = failure(result, request.id) if isinstance(result, Refusal) else success_line(request.id, result)
            self._write(client, line)
            self._next(client)

        if COMMANDS[request.command].is_shared:
            self._share(request, reply)
        else:
            result_for(self._target, request, lambda result: reply(self._encode(request, result)))

    def _share(self, request: Request, reply: Callable[[bytes | Refusal], object]) -> None:
        """Reply with a result that is there, or will be, because another client has asked for the same."""
        key = request.command, tuple(sorted(request.arguments.items()))
        answer = self._answers.get(key)
        if answer is not None and answer.until > self._now():
            if answer.result is None:
                answer.waiting.append(reply)
            else:
                reply(answer.result)
            return
        answer = self._answers[key] = _Answer()
        answer.waiting.append(reply)
        if len(self._answers) > _MOST_SHARED:  # this changes nothing for the clients that wait for it
            del self._answers[next(iter(self._answers))]

        def answered(result: Any) -> None:
            value = self._encode(request, result)
            if isinstance(value, Refusal):
                if self._answers.get(key) is answer:
                    del self._answers[key]
            else:
                answer.result, answer.until = value, self._now() + _FRESH
            waiting, answer.waiting = answer.waiting, []
            for one in waiting:
                one(value)

        result_for(self._target, request, answered)

    def _encode(self, request: Request, result: Any) -> bytes | Refusal:
        if isinstance(result, Refusal):
            return result
        if request.command != "status":
            return encoded(result)
        if result is not self._encoded[0]:
            self._encoded = result, encoded(result)
        return self._encoded[1]

    def _reject(self, client: Client, refusal: Refusal) -> None:
        """Send the reason, and disconnect."""
        client.ends = True
        client.watched, client.due = None, float("inf")
        self._write(client, failure(refusal))

    def _write(self, client: Client, line: bytes) -> None:
        if not self._make_room(client, len(line)):
            self._close(client)
            return
        if not client.output:
            client.deadline = min(client.deadline, self._now() + _READ_TIMEOUT)
        client.output += line
        self._send(client)

    def _make_room(self, client: Client, size: int) -> bool:
        """Disconnect those that have not read for the longest time, if the output for all would be too much; first the
        ones that may only look, which never cost another one its response. False: the client itself has to go.
        """
        left = _MOST_OUTPUT - size - sum(len(one.output) for one in self._clients.values())
        slow = [one for one in self._clients.values() if one.output and one is not client]
        for one in sorted(slow, key=lambda one: (not one.readonly, one.deadline)):
            if left >= 0 or (client.readonly and not one.readonly):
                break
            left += len(one.output)
            self._close(one)
        return left >= 0

    def _send(self, client: Client) -> None:
        if client.closed or not client.output:
            return
        try:
            sent = client.sock.send(client.output)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._close(client)
            return
        del client.output[:sent]
        if client.output:
            if sent:
                client.deadline = self._now() + _READ_TIMEOUT
            self._listen_to(client)
        elif client.ends:
            self._close(client)
        else:
            client.deadline = float("inf") if client.watched is not None else self._now() + _IDLE_TIMEOUT
            if not client.is_busy:
                self._next(client)

    def _listen_to(self, client: Client) -> None:
        """Have the selector report what matters now: room for output, else what the client sends, until its end."""
        if client.closed:
            return
        wanted = selectors.EVENT_WRITE if client.output else 0 if client.at_end else selectors.EVENT_READ
        key = self._selector.get_map().get(client.sock)
        if key is None:
            if wanted:
                self._selector.register(client.sock, wanted, self)
        elif not wanted:  # the end would be reported again and again
            self._unregister(client.sock)
        elif key.events != wanted:
            self._selector.modify(client.sock, wanted, self)

    def _close(self, client: Client) -> None:
        if not client.closed:
            client.closed = True
            del self._clients[client.sock]
            self._unregister(client.sock)
            with contextlib.suppress(OSError):  # another part of the program has closed it
                client.sock.close()

    def _unregister(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError, OSError):
            self._selector.unregister(sock)

    def sockets(self) -> Iterable[socket.socket]:
        """Every socket: listeners and clients."""
        return [*self._listeners, *self._clients]
