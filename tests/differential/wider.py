"""Explanations of what reserve accepts and an oracle refuses or reads differently: the dangerous direction."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.differential.comparing import Disagreement
from tests.differential.explanation import BOTH, CHUNKS, HOST, Explanation
from tests.differential.oracles import Message

LLHTTP_METHODS = frozenset({
    "ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "M-SEARCH", "MERGE",
    "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "OPTIONS", "PATCH", "POST", "PROPFIND", "PROPPATCH", "PURGE",
    "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK",
    "UNSUBSCRIBE",
})  # fmt: skip

SPACE_BEFORE_SEMICOLON = re.compile(rb"\r\n[0-9A-Fa-f]+[ \t]+;").search
SPACE_IN_EXTENSION = re.compile(rb"\r\n[0-9A-Fa-f]+[^\r\n]*(?:;[ \t]|[ \t][;=]|=[ \t])").search
TAB_AFTER_CHUNKED = re.compile(rb"(?i).*\r\ntransfer-encoding:[ \t]*chunked *\t[ \t]*\r\n", re.DOTALL).match
LATER_MINOR = re.compile(rb"(?:\r\n)*[^ \r\n]+ [^ \r\n]+ HTTP/1\.[2-9]\r\n").match


def _another_method(message: str) -> Callable[[Disagreement], bool]:
    return lambda case: case.message == message and case.mine is not None and case.mine.method not in LLHTTP_METHODS


def _authority_has_precedence(mine: Message, theirs: Message) -> bool:
    authority = re.match(r"(?i)https?://([^/?]*)", mine.target)
    return authority is not None and mine.environ["HTTP_HOST"] == authority[1]


def _plain_number(mine: Message, theirs: Message) -> bool:
    stated = theirs.environ.get("CONTENT_LENGTH", "")
    return stated.isascii() and stated.isdigit() and mine.environ["CONTENT_LENGTH"] == str(int(stated))


def _lower_case(mine: Message, theirs: Message) -> bool:
    return theirs.environ["HTTP_TRANSFER_ENCODING"] == mine.environ["HTTP_TRANSFER_ENCODING"].lower() == "chunked"


def _options(message: Message) -> list[str]:
    return [option.strip(" \t") for option in message.environ.get("HTTP_CONNECTION", "").lower().split(",")]


def _keep_alive_of_1_0(mine: Message, theirs: Message) -> bool:
    return mine.minor == 0 and mine.keep_alive and not theirs.keep_alive and "keep-alive" in _options(mine)


def _close_has_precedence(mine: Message, theirs: Message) -> bool:
    return mine.minor == 0 and not mine.keep_alive and {"close", "keep-alive"} <= set(_options(mine))


def _upgrade_with_body(mine: Message, theirs: Message) -> bool:
    asks = "HTTP_UPGRADE" in mine.environ and "upgrade" in _options(mine)
    return asks and theirs.body == b"" and theirs.end is not None


def _both(holds: Callable[[Message, Message], bool]) -> Callable[[Disagreement], bool]:
    return lambda case: case.mine is not None and case.theirs is not None and holds(case.mine, case.theirs)


WIDER: list[Explanation] = [
    Explanation(
        "a method that llhttp does not know", ("llhttp",), "refuses",
        _another_method("Invalid method encountered"),
        "Any token is a method, and applications define their own (RFC 9110 section 9.1); llhttp has a fixed list.",
        b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    Explanation(
        "a longer name that begins like a known method", ("llhttp",), "refuses",
        _another_method("Expected space after method"),
        "As above: GETS is a token that begins like a method of llhttp's list (RFC 9110 section 9.1).",
        b"GETS / HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    Explanation(
        "the method of the HTTP/2 preface", ("llhttp",), "refuses",
        lambda case: case.message == "Expected HTTP/2 Connection Preface" and b"PRI " in case.data[:16],
        "In HTTP/1.1 a method like others, which no client sends (RFC 9113 section 11.6); the preface itself is a 505.",
        b"PRI / HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    Explanation(
        "a later minor version", ("llhttp",), "refuses",
        lambda case: case.message == "Invalid HTTP version" and LATER_MINOR(case.data) is not None,
        "A request of a higher minor version is served as 1.1, the highest that reserve knows (RFC 9110 section 2.5).",
        b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    ),
    Explanation(
        "empty lines before a request line", ("h11",), "refuses",
        lambda case: case.message == "no request line received" and case.data.startswith(b"\r\n"),
        "At least one empty line should be ignored, since old clients send it after a body (RFC 9112 section 2.2).",
        b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    Explanation(
        "spaces before a chunk extension", BOTH, "refuses",
        lambda case: case.message.startswith(("illegal chunk header", "Invalid character in chunk size"))
        and SPACE_BEFORE_SEMICOLON(case.data) is not None,
        "The grammar has bad white space there, and a recipient must read it (RFC 9112 section 7.1.1).",
        CHUNKS + b"3 ;a\r\nabc\r\n0\r\n\r\n",
    ),
    Explanation(
        "spaces within a chunk extension", ("llhttp",), "refuses",
        lambda case: case.message.startswith("Invalid character in chunk extensions")
        and SPACE_IN_EXTENSION(case.data) is not None,
        "As above (RFC 9112 section 7.1.1).",
        CHUNKS + b"3; a = b\r\nabc\r\n0\r\n\r\n",
    ),
    Explanation(
        "a tab after chunked", ("llhttp",), "refuses",
        lambda case: case.message == "Request has invalid `Transfer-Encoding`"
        and TAB_AFTER_CHUNKED(case.data) is not None,
        "Tabs after a value are not part of it, like spaces (RFC 9110 section 5.5); llhttp strips spaces only.",
        CHUNKS[:-4] + b"\t\r\n\r\n0\r\n\r\n",
    ),
    Explanation(
        "the authority of the target overrides Host", BOTH, "HTTP_HOST", _both(_authority_has_precedence),
        "An origin server must ignore the Host field when the target has an authority (RFC 9112 section 3.2.2).",
        b"GET http://b/ HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    Explanation(
        "leading zeros of a length", BOTH, "CONTENT_LENGTH", _both(_plain_number),
        "The same number; the application gets CONTENT_LENGTH without leading zeros (RFC 9110 section 8.6).",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 003\r\n\r\nabc",
    ),
    Explanation(
        "chunked in upper case", ("h11",), "HTTP_TRANSFER_ENCODING", _both(_lower_case),
        "Names of codings ignore case (RFC 9112 section 7); h11 converts them to lower case, reserve does not.",
        CHUNKS.replace(b"chunked", b"Chunked") + b"0\r\n\r\n",
    ),
    Explanation(
        "keep-alive of HTTP/1.0", ("h11",), "keep_alive", _both(_keep_alive_of_1_0),
        "A server may honour it (RFC 9112 section 9.3 and appendix C.2.2); h11 always closes.",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ),
    Explanation(
        "keep-alive and close of HTTP/1.0", ("llhttp",), "keep_alive", _both(_close_has_precedence),
        "Close overrides everything (RFC 9112 section 9.3); in HTTP/1.0 llhttp looks for keep-alive only.",
        b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
    ),
    Explanation(
        "a body of a request that asks for an upgrade", ("llhttp",), "end", _both(_upgrade_with_body),
        "httptools takes what follows the head for the other protocol. A server that declines the upgrade reads the "
        "body by its framing (RFC 9110 section 7.8, RFC 9112 section 6.3).",
        b"POST / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    ),
    Explanation(
        "a malformed body of a request that asks for an upgrade", ("llhttp",), "accepts", _both(_upgrade_with_body),
        "As above: httptools does not read it at all (RFC 9110 section 7.8).",
        CHUNKS[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n0\r\n X: y\r\n\r\n",
    ),
]  # fmt: skip
