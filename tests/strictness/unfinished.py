"""The rows of what is refused before its line has ended."""

from __future__ import annotations

from tests.strictness.rows import Group, Refusal, chunks, raw

__all__ = ["UNFINISHED"]

HEAD = b"GET / HTTP/1.1\r\nHost: a.test\r\n"

UNFINISHED = {
    "Unfinished lines": Group(
        "A client that breaks the rules may wait for the response and send nothing more, so the refusal is sent at the "
        "first byte that is not allowed.",
        (
            Refusal(
                "a second space after the method",
                raw(b"GET  "),
                400,
                "request line 'GET  ' is not method, target and version with single spaces (RFC 9112 section 3)",
            ),
            Refusal(
                "a control in a target",
                raw(b"GET /a\x01"),
                400,
                "target '/a\\x01' has a byte that is not allowed in a target (RFC 9112 section 3.2)",
            ),
            Refusal(
                "another word instead of the version",
                raw(b"GET / X"),
                400,
                "the version in the request line 'GET / X' is not HTTP/digit.digit (RFC 9112 section 2.3)",
            ),
            Refusal(
                "a third digit in the version",
                raw(b"GET / HTTP/1.11"),
                400,
                "the version in the request line 'GET / HTTP/1.11' is not HTTP/digit.digit (RFC 9112 section 2.3)",
            ),
            Refusal(
                "a later major version, without a line end",
                raw(b"GET / HTTP/2.0"),
                505,
                "version HTTP/2.0 is not served, only HTTP/1.0 and HTTP/1.1 (RFC 9110 section 15.6.6)",
            ),
            Refusal(
                "a space after a field name",
                raw(HEAD + b"X-A "),
                400,
                "byte 0x20 cannot follow 'X-A' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "NUL in an unfinished value",
                raw(HEAD + b"X-A: b\0"),
                400,
                "byte 0x00 cannot follow 'X-A: b' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "CR in an unfinished value",
                raw(HEAD + b"X-A: b\rc"),
                400,
                "a CR is not followed by LF (RFC 9112 section 2.2)",
            ),
            Refusal(
                "a space where a field begins",
                raw(HEAD + b" "),
                400,
                "a field line begins with a space or a tab: line folding (obs-fold) is refused (RFC 9112 section 5.2)",
            ),
            Refusal(
                "CR in a chunk size",
                chunks(b"5\r5"),
                400,
                "byte 0x35 cannot follow '5\\r' in a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "no digit where a chunk size begins",
                chunks(b"g"),
                400,
                "byte 0x67 cannot begin a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "a seventeenth digit of a chunk size",
                chunks(b"00000000000000000"),
                400,
                "a chunk size has more than 16 digits (RFC 9112 section 7.1)",
            ),
            Refusal(
                "CR in an unfinished extension",
                chunks(b"5;a=b\rc"),
                400,
                "byte 0x63 cannot follow '5;a=b\\r' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "LF in an unfinished quoted value",
                chunks(b'5;a="\n'),
                400,
                "byte 0x0a cannot follow '5;a=\"' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "CR and no LF after the data of a chunk",
                chunks(b"5\r\nhello\r\r"),
                400,
                "chunk data is not followed by CRLF (RFC 9112 section 7.1)",
            ),
            Refusal(
                "CR in an unfinished trailer",
                chunks(b"0\r\nX-A: b\rc"),
                400,
                "byte 0x63 cannot follow 'X-A: b\\r' in a trailer line (RFC 9112 section 7.1.2)",
            ),
            Refusal(
                "CR and no LF instead of the empty line after the last chunk",
                chunks(b"0\r\n\rX"),
                400,
                "byte 0x58 cannot follow '\\r' in a trailer line (RFC 9112 section 7.1.2)",
            ),
            Refusal(
                "a long trailer with a control in it",
                chunks(b"0\r\nX-A: " + b"b" * 90 + b"\x1b"),
                400,
                "byte 0x1b cannot follow 'X-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb...bbbbbbbbbbbbbbbbb' in a trailer "
                "line (RFC 9112 section 7.1.2)",
            ),
        ),
    ),
}
