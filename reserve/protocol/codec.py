"""What the machine that serves requests needs from a protocol: heads, bodies and responses, as bytes in and values out.

:mod:`reserve.apps.http` receives a request off the workers, runs a gateway on a worker, and sends the response, with
all limits, deadlines and budgets. Everything in it that depends on a protocol goes through a :class:`Codec`, of which
each application has one, as :mod:`reserve.protocol.http1.codec`. The parts that are the same for all protocols
(:class:`Head`, :class:`ResponseHead`, :class:`Framing`) are here, too. Any thread may use a codec, which keeps no state
of a connection; its readers and decoders belong to one connection.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from reserve.protocol.http1.limits import Limits

__all__ = [
    "CHUNKED",
    "LENGTH",
    "NONE",
    "UNTIL_CLOSE",
    "Aborts",
    "Codec",
    "Decoder",
    "EncodeResponseHead",
    "ErrorsFactory",
    "ErrorsOutput",
    "Framing",
    "Head",
    "ParseHead",
    "Reader",
    "Refusal",
    "RefusedRequest",
    "Reply",
    "ResponseHead",
]


class Framing(IntEnum):
    """How the client learns where a response body ends."""

    NONE = 0
    """Nothing follows the head."""
    LENGTH = 1
    """Exactly ``length`` bytes follow."""
    CHUNKED = 2
    """:attr:`ResponseHead.chunk` for each piece, then :attr:`ResponseHead.last_chunk`."""
    UNTIL_CLOSE = 3
    """The body ends when the connection does."""


# An attribute of an enum class costs a lookup in its metaclass; the hot path takes these.
NONE, LENGTH, CHUNKED, UNTIL_CLOSE = Framing.NONE, Framing.LENGTH, Framing.CHUNKED, Framing.UNTIL_CLOSE


class Head:
    """A request head that passed every check: made by :attr:`Codec.parse_head`, owned by the driver of the connection.

    A protocol that has to know more of a request, such as its number, derives a class.
    """

    __slots__ = (
        "environ",
        "expect_continue",
        "from_proxy",
        "keep_alive",
        "length",
        "method",
        "minor",
        "remote_addr",
        "target",
        "untrusted_fields",
    )

    def __init__(
        self,
        method: str,
        target: str,
        minor: int,
        environ: dict[str, Any],
        keep_alive: bool,
        length: int | None,
        expect_continue: bool,
    ) -> None:
        self.method = method
        self.target = target
        """As it was sent."""
        self.minor = minor
        """0 or 1: the minor version as which the request is served."""
        self.environ = environ
        """A copy of the base environ with the CGI and HTTP_* keys of this request (PEP 3333)."""
        self.keep_alive = keep_alive
        """Whether the client allows another request on the connection."""
        self.length = length
        """Bytes of body; 0: none follows on the connection; None: the decoder finds its end (HTTP/1: chunked)."""
        self.remote_addr = ""
        """The client's address for the logs, where the protocol or a trusted frontend tells it; empty: the client is
        the other end of the connection.
        """
        self.from_proxy = False
        """The request comes from one of ``--trusted-proxies``, so that its other fields about frontends count."""
        self.untrusted_fields = False
        """Fields in which frontends name their clients were removed, because the peer is no trusted proxy."""
        self.expect_continue = expect_continue
        """Whether the client waits for a 100 (Continue) before it sends the body."""

    def without_environ(self, shown: int) -> Head:
        """A copy for log lines and refusals, while the response is sent: without environ and body.

        :param shown: characters of the target that it keeps.
        """
        head = copy.copy(self)
        head.target = self.target[:shown]
        head.environ = {}
        head.length = 0
        head.expect_continue = False
        return head

    @property
    def version(self) -> str:
        """The version that the client speaks, for the access log: ``HTTP/1.1``."""
        return "HTTP/1.1" if self.minor else "HTTP/1.0"


class ResponseHead:
    """A response head, and what has to follow it: made by :attr:`Codec.response_head`, used by its caller."""

    __slots__ = ("abort", "chunk", "data", "dropped", "framing", "keep_alive", "last_chunk", "length")

    def __init__(
        self,
        data: bytes,
        framing: Framing,
        length: int | None,
        keep_alive: bool,
        dropped: tuple[str, ...],
        chunk: Callable[[bytes], tuple[bytes, ...]] | None = None,
        last_chunk: bytes = b"",
        abort: bytes = b"",
    ) -> None:
        self.data = data
        """From the status line to the empty line, as it is sent."""
        self.framing = framing
        self.length = length
        """Bytes of body to send when the framing is LENGTH, otherwise None."""
        self.keep_alive = keep_alive
        """Whether the connection may be used for another request after this response."""
        self.dropped = dropped
        """The application's hop-by-hop fields, which are not sent; names in lower case."""
        self.chunk = chunk
        """Makes of a piece of the body, which is not empty, what is sent for it, with any framing; None: the piece."""
        self.last_chunk = last_chunk
        """What is sent at the end of the response, with any framing, also after a response without a body."""
        self.abort = abort
        """What is sent instead when the application fails within the body, before the connection is closed or reset."""


class Refusal(NamedTuple):
    """A complete response of the server itself, after which the connection is closed."""

    data: bytes
    body_size: int
    """Bytes of its body, for the access log."""


class RefusedRequest(NamedTuple):
    """What is known of a request whose head is malformed or incomplete, for its log line; empty where it is not."""

    method: str
    line: str
    """Method, target and version, or their beginning."""
    referer: str
    user_agent: str


Reply: TypeAlias = Callable[[bytes], None]
"""Sends bytes that are no part of a response. By the thread that calls the reader or the decoder, in its call."""


class Reader(Protocol):
    """Finds the heads in the input of one connection, whose driver owns it: see ``HeadReader`` of HTTP/1."""

    rest: bytes
    """What was received after the head that :meth:`feed` returned last. The driver takes it."""

    @property
    def refused(self) -> bytes:
        """The beginning of the head that :meth:`feed` refused last."""
        ...

    @property
    def started(self) -> bool:
        """Whether any byte of a head is buffered."""
        ...

    @property
    def buffered(self) -> int:
        """How many bytes of an incomplete head are buffered."""
        ...

    @property
    def prefix(self) -> bytes:
        """The beginning of the incomplete head that is buffered."""
        ...

    def feed(self, data: bytes) -> bytes | None:
        """Take what was received; return a complete head, for :attr:`Codec.parse_head`, or None before its end.

        :raises RemoteError: as soon as the bytes that break a rule are here.
        """
        ...


class Decoder(Protocol):
    """Finds the end of one body, and takes the content out of what is received. The connection owns it."""

    FEED_SIZE: int
    """Bytes that a caller which must not be kept long passes to one call of :meth:`feed`, at most."""

    received: int
    """Bytes of content so far."""
    complete: bool
    """The end of the body has been received."""
    rest: bytes
    """What was received after the body."""

    @property
    def missing(self) -> int:
        """Bytes that belong to the body for certain and have not arrived. More is received only in small pieces."""
        ...

    @property
    def held(self) -> int:
        """Bytes that the decoder keeps, of its framing."""
        ...

    @property
    def trailers(self) -> list[tuple[str, str]] | None:
        """``wsgi.trailers``: filled at the end of the body; None: the protocol has none."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take what was received and return the content in it. Raises RemoteError for a malformed body."""
        ...


class ParseHead(Protocol):
    """The type of :attr:`Codec.parse_head`."""

    def __call__(
        self,
        block: bytes,
        base: dict[str, Any],
        limits: Limits,
        refuse_underscores: bool = False,
        unix_socket: bool = False,
    ) -> Head:
        """Parse what :meth:`Reader.feed` returned; ``base`` is copied. Raises RemoteError."""
        ...


class EncodeResponseHead(Protocol):
    """The type of :attr:`Codec.response_head`."""

    def __call__(
        self,
        status: str,
        headers: list[tuple[str, str]],
        *,
        request: Head,
        minor: int,
        head_request: bool,
        keep_alive: bool,
        length: int | None,
        date: bytes,
        server: bytes,
    ) -> ResponseHead:
        """Check and encode a response head: see :func:`reserve.protocol.http1.response.response_head`.

        :param request: the head of the request, for a protocol whose responses carry something of it.
        """
        ...


class ErrorsOutput(Protocol):
    """A ``wsgi.errors`` of one request, whose text is sent between the parts of its response.

    Its methods return what is to be sent, framed. The thread that sends the response calls them.
    """

    def take(self) -> bytes:
        """What was written since the last call."""
        ...

    def finish(self) -> bytes:
        """What was written since the last call, at the end of the response. What follows goes to another log."""
        ...

    def end(self) -> None:
        """The application is done: what was not taken goes to that log, too."""
        ...


ErrorsFactory: TypeAlias = Callable[[Head, Any], ErrorsOutput]
"""Makes ``wsgi.errors`` of one request, on its worker, from its head and the gateway's stream of that name."""

Aborts: TypeAlias = Callable[[Head, Decoder | None, bytes], bool]
"""Whether a message that the client has sent after its request, or within its body, aborts the request.

The arguments are its head, the decoder of its body (None: it has no body), and what has arrived after the input of the
decoder, or after the request. Any thread calls it while the application runs.
"""


class Codec:
    """One protocol, for one application. A subclass sets both functions, as attributes of the instance, and implements
    :meth:`make_reader`, :meth:`make_decoder`, :meth:`refusal` and :meth:`describe_refused`.

    The functions are attributes and no methods, because HTTP calls them for each request without a further call.
    """

    parse_head: ParseHead
    """Parses a complete head into an environ."""
    response_head: EncodeResponseHead
    """Checks and encodes the head of a response, and decides how its body is framed."""
    errors: ErrorsFactory | None = None
    """Makes ``wsgi.errors``, if the protocol carries its own; None: that of the gateway."""
    keeps_after_failure: bool = False
    """The connection may be kept after an application has failed: the response of :meth:`refusal` announces no close,
    and one without notice may meet the next request.
    """
    reset_when_short: bool = False
    """An aborted response is reset even if it has a length, because some clients do not look at that."""
    early_hints: Callable[[Iterable[tuple[str, str]]], bytes] | None = None
    """Checks and encodes the fields of a 103 (Early Hints), which comes before the response; None: there is no such."""
    sends_files: bool = True
    """A file can follow the head of a response with a length as it is, without framing within it."""
    has_upgrades: bool = False
    """A request may ask for another protocol on its connection (``Upgrade``)."""
    has_straight_line: bool = False
    """Its requests may take the straight line of HTTP/1 (:mod:`reserve.apps.http.straightline`)."""
    aborts: Aborts | None = None
    """Finds the message that aborts a request; None: the protocol has no other than the end of the connection."""
    continue_response: bytes = b""
    """The interim response to a client that waits before it sends its body; see :attr:`Head.expect_continue`."""

    def make_reader(self, limits: Limits, reply: Reply) -> Reader:
        """Make the reader of heads of a connection, or of the next heads after an incomplete one was refused.

        :param reply: for messages of the protocol that are no requests, and get a reply at once.
        """
        raise NotImplementedError

    def make_decoder(self, head: Head, limits: Limits, reply: Reply) -> Decoder:
        """Make the decoder of the body of a request, whose :attr:`Head.length` is not 0.

        :param reply: as for :meth:`make_reader`.
        """
        raise NotImplementedError

    def refusal(
        self,
        status: int,
        message: str,
        *,
        request: Head | None,
        block: bytes,
        head_request: bool,
        date: bytes,
        server: bytes,
        extra: Iterable[tuple[str, str]] = (),
    ) -> Refusal:
        """Make a complete response of the server itself, after which the connection is closed.

        :param message: becomes the body, as plain text.
        :param request: the head of the request; None: it is malformed or incomplete.
        :param block: the beginning of such a head, from the reader.
        :param head_request: the method is HEAD.
        :param extra: more header fields, such as ``("Retry-After", "5")``.
        """
        raise NotImplementedError

    def describe_refused(self, block: bytes) -> RefusedRequest:
        """Find out what can be said about a request whose head is malformed or incomplete.

        :param block: the beginning of the head, from the reader.
        """
        raise NotImplementedError
