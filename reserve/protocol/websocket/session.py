"""One WebSocket connection after its handshake: bytes of the client in, messages and bytes for the client out.

It has no socket, no thread and no clock. Its owner makes sure that one thread at a time calls it.
``websockets.server.ServerProtocol`` parses and makes the frames (RFC 6455), with permessage-deflate (RFC 7692).
"""

from __future__ import annotations

import codecs
from sys import getsizeof
from typing import Any, cast

from reserve.errors import StartupError, UsageError, type_name
from reserve.protocol.websocket.frametracker import FrameTracker

try:
    from websockets.datastructures import Headers
    from websockets.exceptions import InvalidHandshake, ProtocolError
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
    from websockets.frames import Frame, Opcode
    from websockets.protocol import State
    from websockets.server import ServerProtocol
except ImportError as error:
    raise StartupError(
        f"WebSocket needs the library websockets, which cannot be imported ({error}): pip install 'reserve[websocket]'"
    ) from None

__all__ = ["Message", "Session"]

Message = str | bytes
"""A message: text, or binary."""

_FRAMES = 128
"""Frames that are handled at a time: as small ones take much longer than their bytes do in large ones."""
_DATA = 262144
"""Bytes of messages, decompressed, after which the other connections have their turn: a few kilobytes may become 128
messages of a megabyte, which are decompressed and discarded after our close frame.
"""
_MAX_REASON = 123  # bytes of a reason in a close frame (RFC 6455 section 5.5)

_DEFLATE = ServerPerMessageDeflateFactory(
    # With context takeover each idle connection would keep about 40 KiB of zlib's state.
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    compress_settings={"memLevel": 5},
)


class Session:
    """One connection's protocol. The driver of the connection owns it.

    :param max_message: bytes of a message, after it is decompressed.
    """

    __slots__ = (
        "_decoder",
        "_fragments",
        "_kind",
        "_position",
        "_protocol",
        "_tracker",
        "_unparsed",
        "message",
        "unfinished",
    )

    def __init__(self, max_message: int) -> None:
        self._protocol = ServerProtocol(state=State.OPEN, max_size=max_message)
        self._tracker = FrameTracker()
        self._kind: Opcode | None = None
        """TEXT or BINARY: of the message whose first fragment has come."""
        self._fragments = bytearray()
        """What has come of that message."""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.message: Message | None = None
        """A complete message, until the owner has set it to None."""
        self._unparsed = b""
        self._position = 0
        """Bytes of :attr:`_unparsed` that are handled."""
        self.unfinished = False
        """The last :meth:`proceed` has stopped because there was much to handle; the owner calls it again."""

    def negotiate(self, offered: str) -> str | None:
        """Negotiate permessage-deflate. Returns the value of Sec-WebSocket-Extensions; None: no field.

        :param offered: the client's value of that field; a malformed one is ignored.
        """
        protocol = self._protocol
        protocol.available_extensions = [_DEFLATE]
        try:
            field, protocol.extensions = protocol.process_extensions(Headers({"Sec-WebSocket-Extensions": offered}))
        except InvalidHandshake:
            return None
        return field

    # ---- what it holds ----

    @property
    def incomplete(self) -> bool:
        """A message has begun and not ended, and its client owes the rest."""
        return self._tracker.incomplete or self._kind is not None

    @property
    def held(self) -> int:
        """Bytes of the client in memory: those of messages that wait or are not complete."""
        # The size of a text: one character above U+FFFF makes each take four bytes.
        waiting = len(self._unparsed) + (0 if self.message is None else getsizeof(self.message))
        return waiting + len(self._fragments) + len(self._protocol.reader.buffer)

    @property
    def is_open(self) -> bool:
        """Neither side has begun to close."""
        return self._protocol.state is State.OPEN

    @property
    def ended(self) -> bool:
        """Nothing more is sent: the server closes the connection next."""
        return self._protocol.eof_sent

    @property
    def close(self) -> tuple[int, str]:
        """The code and the reason of the close: the client's, or ours, if the client sent none. 1006: neither."""
        protocol = self._protocol
        close = protocol.close_rcvd or protocol.close_sent
        return (1006, "") if close is None else (int(close.code), close.reason)

    # ---- from the client ----

    def receive(self, data: bytes) -> None:
        """Take bytes of the client, and go on up to the end of a message; see :meth:`proceed`."""
        self._unparsed = self._unparsed[self._position :] + data if self.pending else data
        self._position = 0
        self.proceed()

    def proceed(self) -> None:
        """Go on, unless a message waits in :attr:`message`: what comes after it is handled after it, also a close.

        After our close frame messages are discarded. At most 128 frames are handled, and none after 256 KiB of
        messages; see :attr:`unfinished`.
        """
        protocol = self._protocol
        if not self.is_open:
            self.message = None
        data = self._unparsed
        # Frame by frame: the second frame must not be handled before the text of the first is known to be valid.
        frames = size = 0
        while self.message is None and self.pending and frames < _FRAMES and size < _DATA:
            frames += 1
            start = self._position
            end = self._position = self._tracker.advance(data, start)
            protocol.receive_data(data[start:end] if start or end < len(data) else data)
            for event in protocol.events_received():
                frame = cast("Frame", event)  # requests and responses belong to the handshake
                opcode = frame.opcode
                if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
                    self._kind = opcode
                elif opcode is not Opcode.CONT:
                    continue
                size += len(frame.data)
                self._take(frame.data, frame.fin)
        if protocol.eof_sent:
            self._forget()
        self.unfinished = self.message is None and self.pending
        if not self.pending:
            self._unparsed, self._position = b"", 0

    @property
    def pending(self) -> bool:
        """Bytes of the client are not handled yet, because a message was waiting, or there were many frames."""
        return self._position < len(self._unparsed) and not self._protocol.eof_sent

    def _take(self, data: Any, final: bool) -> None:
        """Take one fragment of a message."""
        is_text = self._kind is Opcode.TEXT
        text = ""
        if is_text:
            try:  # each fragment, so that the client hears of the first invalid byte at once
                text = self._decoder.decode(data, final)
            except UnicodeDecodeError as error:
                self.fail(1007, f"{error.reason} in a text message")
                return
        fragments = self._fragments
        if not final:
            fragments += data
            return
        self._kind = None
        self._decoder.reset()
        if not self.is_open:
            self._fragments = bytearray()
        elif fragments:
            fragments += data
            self.message = fragments.decode() if is_text else bytes(fragments)
            self._fragments = bytearray()
        else:
            self.message = text if is_text else bytes(data)

    # ---- to the client ----

    def send(self, message: Any) -> bool:
        """Make the frame of a message. False: the connection is closing, and nothing is sent.

        :param message: str, or bytes or an object with the bytes of one.
        """
        if isinstance(message, str):
            data, is_text = message.encode(), True
        elif isinstance(message, (bytes, bytearray, memoryview)):
            data, is_text = bytes(message), False
        else:
            raise UsageError(f"a WebSocket message is str or bytes, not {type_name(message)}")
        if not self.is_open:
            return False
        if is_text:
            self._protocol.send_text(data)
        else:
            self._protocol.send_binary(data)
        return True

    def ping(self, data: bytes = b"") -> None:
        """Send a ping, if the connection is open."""
        if self.is_open:
            self._protocol.send_ping(data)

    def begin_close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, unless one was sent: the client then sends its own.

        :raises UsageError: for a code that may not be sent (RFC 6455 section 7.4), or a reason of more than 123 bytes.
        """
        if not self.is_open:
            return
        if len(reason.encode()) > _MAX_REASON:
            raise UsageError(f"the reason of a close has at most {_MAX_REASON} bytes in UTF-8")
        try:
            self._protocol.send_close(code, reason)
        except ProtocolError as error:
            raise UsageError(f"close({code}): {error}") from None

    def fail(self, code: int, reason: str) -> None:
        """Send a close frame, and end the connection without waiting for the client's."""
        if not self._protocol.eof_sent:
            self._protocol.fail(code, reason)
            self._forget()

    def _forget(self) -> None:
        """Keep nothing of the client's after the last byte for it: the connection may linger for a while."""
        self.message = None
        self._fragments = bytearray()
        self._unparsed, self._position = b"", 0
        self._protocol.parser_exc = None  # its traceback has what was decompressed
        self._protocol.extensions = []  # and a decompressor what was not

    def receive_eof(self) -> None:
        """The client has ended its side without a close frame, or the connection is lost."""
        if not self._protocol.eof_sent:
            self._protocol.receive_eof()

    def output(self) -> bytes:
        """Take the bytes that are to be sent."""
        return b"".join(self._protocol.data_to_send())
