"""Explanations of what reserve refuses and an oracle accepts, by the message of the refusal."""

from __future__ import annotations

import re

from tests.differential.explanation import BOTH, CHUNKS, GET, HOST, POST, Explanation


def _stricter(name: str, oracles: tuple[str, ...], pattern: str, why: str, example: bytes) -> Explanation:
    compiled = re.compile(pattern, re.DOTALL)
    return Explanation(name, oracles, "accepts", lambda case: compiled.match(case.message) is not None, why, example)


STRICTER: list[Explanation] = [
    _stricter(
        "an invalid request line", ("llhttp",), "request line ",
        "RFC 9112 section 3; llhttp accepts several spaces, and HTTP/0.9, which has no version.", b"GET /\r\n\r\n",
    ),
    _stricter(
        "an LF before the request line", ("llhttp",), "no request starts with byte 0x0[ad]",
        "RFC 9112 section 2.2 lets empty lines be ignored, and those end with CRLF.", b"\n" + GET + b"\r\n",
    ),
    _stricter(
        "many empty lines before the request line", ("llhttp",), "more than 4 empty lines",
        "RFC 9112 section 2.2; reserve accepts four.", b"\r\n" * 5 + GET + b"\r\n",
    ),
    _stricter(
        "CONNECT", BOTH, "CONNECT is not implemented", "For proxies (RFC 9110 section 9.3.6).",
        b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    _stricter(
        "another major version", BOTH, "version HTTP/[02-9]\\.[0-9] is not served", "RFC 9110 section 15.6.6.",
        b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    ),
    _stricter(
        "invalid bytes in a target", BOTH, "target .* has a byte that is not allowed in a target",
        "RFC 9112 section 3.2: among them #, which h11 and llhttp accept.",
        b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    _stricter(
        "a relative target", BOTH, "target .* is neither a path", "RFC 9112 section 3.2.",
        b"GET ftp://b/ HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    _stricter(
        "* of another method", BOTH, "target \\* is for OPTIONS only", "RFC 9112 section 3.2.4.",
        b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    _stricter(
        "user information", BOTH, "user information in the target", "RFC 9110 section 4.2.4.",
        b"GET http://u@b/ HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    _stricter(
        "Host", BOTH, "Host .* (is not host|has no IPv6 address|has a port above)",
        "RFC 9112 section 3.2; h11 and llhttp leave the value to the application.",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    ),
    _stricter(
        "no Host", ("llhttp",), "HTTP/1.1 needs a Host", "RFC 9112 section 3.2; left to the application.",
        b"GET / HTTP/1.1\r\n\r\n",
    ),
    _stricter(
        "no Host in a later minor version", ("h11",), "HTTP/1.1 needs a Host",
        "Served as 1.1 (RFC 9110 section 2.5), and that needs one (RFC 9112 section 3.2).", b"GET / HTTP/1.2\r\n\r\n",
    ),
    _stricter(
        "a repeated singleton", ("llhttp",), "there are [0-9]+ [A-Z][A-Za-z-]+ fields", "RFC 9110 section 5.3.",
        GET + HOST + b"\r\n",
    ),
    _stricter(
        "a repeated singleton other than Host", ("h11",), "there are [0-9]+ (?!Host)[A-Z][A-Za-z-]+ fields",
        "RFC 9110 section 5.3; h11 accepts equal lengths as one.",
        POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    ),
    _stricter(
        "a list of equal lengths", ("h11",), "Content-Length '.*,.*' is not a number",
        "RFC 9110 section 8.6 lets a recipient refuse it; h11 accepts equal lengths as one.",
        POST + b"Content-Length: 3, 3\r\n\r\nabc",
    ),
    _stricter(
        "a length of 20 digits", BOTH, "Content-Length has more than 19 digits", "RFC 9110 section 8.6.",
        POST + b"Content-Length: 00000000000000000003\r\n\r\nabc",
    ),
    _stricter(
        "limits", BOTH, ".* \\(--max-[a-z-]+\\)$",
        "Each has an option, here --max-body; h11 and llhttp have other limits or none.",
        POST + b"Content-Length: 9999999999999\r\n\r\nabc",
    ),
    _stricter(
        "length and coding", ("h11",), "Content-Length together with Transfer-Encoding",
        "RFC 9112 section 6.1; h11 uses the coding.", CHUNKS[:-2] + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    ),
    _stricter(
        "a coding in HTTP/1.0", BOTH, "HTTP/1.0 has no Transfer-Encoding", "RFC 9112 section 6.1.",
        CHUNKS.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
    ),
    _stricter(
        "codings other than one chunked", ("llhttp",),
        "Transfer-Encoding .*(is malformed|chunked must come once|only chunked)",
        "RFC 9112 section 6.1; llhttp accepts others before chunked, and leaves them to the application.",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    _stricter(
        "expectations", BOTH, "Expect .* cannot be met", "RFC 9110 section 10.1.1; left to the application.",
        POST + b"Expect: x\r\n\r\n",
    ),
    _stricter(
        "a bare LF", ("h11",), "a line ends with a bare LF",
        "RFC 9112 section 2.2 lets a recipient accept it; h11 does.", b"GET / HTTP/1.1\n" + HOST + b"\r\n",
    ),
    _stricter(
        "a bare LF in HTTP/0.9", ("llhttp",), "a line ends with a bare LF",
        "llhttp accepts it only there (RFC 9112 2.2).",
        b"GET /\n" + HOST + b"\r\n",
    ),
    _stricter(
        "a folded field", ("h11",), "a field line begins with a space or a tab",
        "RFC 9112 section 5.2: refuse or replace; h11 replaces.", GET + b"X: a\r\n b\r\n\r\n",
    ),
    _stricter(
        "control characters in a value", ("h11",), "byte .* in a field line",
        "RFC 9110 section 5.5; h11 refuses NUL, CR and LF only.", GET + b"X: \x01\r\n\r\n",
    ),
    _stricter(
        "chunk sizes", BOTH, "byte .* a chunk line|a chunk size has more",
        "RFC 9112 section 7.1: reserve accepts at most 16 digits, and no space after them.",
        CHUNKS + b"00000000000000003\r\nabc\r\n0\r\n\r\n",
    ),
    _stricter(
        "chunk extensions", BOTH, "byte .* in a chunk extension", "RFC 9112 section 7.1.1.",
        CHUNKS + b"3;a=\r\nabc\r\n0\r\n\r\n",
    ),
    _stricter(
        "trailer lines", ("h11",), "byte .* a trailer line", "RFC 9112 section 7.1.2; as in a head.",
        CHUNKS + b"0\r\nX: y\n\r\n",
    ),
    _stricter(
        "forbidden trailer fields", BOTH, ".* cannot be a trailer field", "RFC 9110 section 6.5.1.",
        CHUNKS + b"0\r\nHost: b\r\n\r\n",
    ),
]  # fmt: skip
