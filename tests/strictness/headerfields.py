"""The rows of what is refused in header fields, and for a missing one."""

from __future__ import annotations

from tests.strictness.rows import BARE, Group, Refusal, fields, raw

__all__ = ["HEADER_FIELDS"]

HEADER_FIELDS = {
    "Host": Group(
        "The server that the request is for: given once, in a form that all readers understand alike.",
        (
            Refusal(
                "none in HTTP/1.1",
                raw(b"GET / HTTP/1.1\r\nX: y\r\n\r\n"),
                400,
                "HTTP/1.1 needs a Host field (RFC 9112 section 3.2)",
            ),
            Refusal(
                "none with a URI",
                raw(b"GET http://a.test/ HTTP/1.1\r\nX: y\r\n\r\n"),
                400,
                "HTTP/1.1 needs a Host field (RFC 9112 section 3.2)",
            ),
            Refusal(
                "two",
                fields(b"Host: b.test"),
                400,
                "there are 2 Host fields, only one is allowed (RFC 9110 section 5.3)",
            ),
            Refusal(
                "the same twice",
                fields(b"host: a.test"),
                400,
                "there are 2 Host fields, only one is allowed (RFC 9110 section 5.3)",
            ),
            Refusal(
                "two in HTTP/1.0",
                raw(b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
                400,
                "there are 2 Host fields, only one is allowed (RFC 9110 section 5.3)",
            ),
            Refusal(
                "a space in it", fields(b"Host: a b", BARE), 400, "Host 'a b' is not host[:port] (RFC 9112 section 3.2)"
            ),
            Refusal(
                "two in one field",
                fields(b"Host: a.test, b.test", BARE),
                400,
                "Host 'a.test, b.test' is not host[:port] (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a path",
                fields(b"Host: a.test/x", BARE),
                400,
                "Host 'a.test/x' is not host[:port] (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a backslash",
                fields(b"Host: a.test\\x", BARE),
                400,
                "Host 'a.test\\\\x' is not host[:port] (RFC 9112 section 3.2)",
            ),
            Refusal(
                "user information",
                fields(b"Host: u@a.test", BARE),
                400,
                "Host 'u@a.test' is not host[:port] (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a byte above 127",
                fields(b"Host: caf\xe9.test", BARE),
                400,
                "Host 'café.test' is not host[:port] (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a bad percent-encoding",
                fields(b"Host: a%2", BARE),
                400,
                "Host 'a%2' is not host[:port] (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a port that is not a number",
                fields(b"Host: a.test:8x", BARE),
                400,
                "Host 'a.test:8x' is not host[:port] (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a port that is too large",
                fields(b"Host: a.test:65536", BARE),
                400,
                "Host 'a.test:65536' has a port above 65535 (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a port alone", fields(b"Host: :80", BARE), 400, "Host ':80' is not host[:port] (RFC 9112 section 3.2)"
            ),
            Refusal(
                "a bracket that is not closed",
                fields(b"Host: [::1", BARE),
                400,
                "Host '[::1' is not host[:port] (RFC 9112 section 3.2)",
            ),
            Refusal(
                "an IPv6 address without brackets",
                fields(b"Host: ::1", BARE),
                400,
                "Host '::1' is not host[:port] (RFC 9112 section 3.2)",
            ),
            Refusal(
                "no IPv6 address in the brackets",
                fields(b"Host: [1:2]", BARE),
                400,
                "Host '[1:2]' has no IPv6 address in brackets (RFC 3986 section 3.2.2)",
            ),
            Refusal(
                "an IPv6 zone",
                fields(b"Host: [fe80::1%25e]", BARE),
                400,
                "Host '[fe80::1%25e]' is not host[:port] (RFC 9112 section 3.2)",
            ),
        ),
    ),
    "Header fields": Group(
        "A name of token characters, a colon, a value without controls, CRLF. A space or a control in the wrong place "
        "hides a field from one of two readers.",
        (
            Refusal(
                "a line that ends with LF alone",
                fields(b"X-A: b\nX-C: d"),
                400,
                "a line ends with a bare LF instead of CRLF (RFC 9112 section 2.2)",
            ),
            Refusal(
                "CR in a value, without LF after it",
                fields(b"X-A: b\rX-C: d"),
                400,
                "a CR is not followed by LF (RFC 9112 section 2.2)",
            ),
            Refusal(
                "CR before the line end",
                fields(b"X-A: b\r"),
                400,
                "a CR is not followed by LF (RFC 9112 section 2.2)",
            ),
            Refusal(
                "an empty line that ends with LF alone",
                raw(b"GET / HTTP/1.1\r\nHost: a.test\r\n\n"),
                400,
                "a line ends with a bare LF instead of CRLF (RFC 9112 section 2.2)",
            ),
            Refusal(
                "NUL in a value",
                fields(b"X-A: b\0c"),
                400,
                "byte 0x00 cannot follow 'X-A: b' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "a control in a value",
                fields(b"X-A: b\x1bc"),
                400,
                "byte 0x1b cannot follow 'X-A: b' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "DEL in a value",
                fields(b"X-A: b\x7f"),
                400,
                "byte 0x7f cannot follow 'X-A: b' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "a vertical tab around a value",
                fields(b"Content-Length:\x0b5"),
                400,
                "byte 0x0b cannot follow 'Content-Length:' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "a space before the colon",
                fields(b"Content-Length : 5"),
                400,
                "byte 0x20 cannot follow 'Content-Length' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "a tab before the colon",
                fields(b"Transfer-Encoding\t: chunked"),
                400,
                "byte 0x09 cannot follow 'Transfer-Encoding' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "a folded field (obs-fold)",
                fields(b"X-A: b\r\n c"),
                400,
                "a field line begins with a space or a tab: line folding (obs-fold) is refused (RFC 9112 section 5.2)",
            ),
            Refusal(
                "the same with a tab",
                fields(b"X-A: b\r\n\tc"),
                400,
                "a field line begins with a space or a tab: line folding (obs-fold) is refused (RFC 9112 section 5.2)",
            ),
            Refusal(
                "a space before the first field",
                fields(b" X-A: b", b"GET / HTTP/1.1\r\n"),
                400,
                "a field line begins with a space or a tab: line folding (obs-fold) is refused (RFC 9112 section 5.2)",
            ),
            Refusal(
                "a line of spaces",
                fields(b"X-A: b\r\n  \r\nX-C: d"),
                400,
                "a field line begins with a space or a tab: line folding (obs-fold) is refused (RFC 9112 section 5.2)",
            ),
            Refusal(
                "no colon", fields(b"X-A b"), 400, "byte 0x20 cannot follow 'X-A' in a field line (RFC 9112 section 5)"
            ),
            Refusal("an empty name", fields(b": b"), 400, "byte 0x3a cannot begin a field line (RFC 9112 section 5)"),
            Refusal(
                "a space in a name",
                fields(b"X A: b"),
                400,
                "byte 0x20 cannot follow 'X' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "a control in a name",
                fields(b"X\x01A: b"),
                400,
                "byte 0x01 cannot follow 'X' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "NUL before a name",
                fields(b"\0X: y"),
                400,
                "byte 0x00 cannot begin a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "a byte above 127 in a name",
                fields(b"X\xe9: b"),
                400,
                "byte 0xe9 cannot follow 'X' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "a slash in a name",
                fields(b"X/A: b"),
                400,
                "byte 0x2f cannot follow 'X' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "a field that is too long",
                fields(b"X-A: " + b"b" * 16384),
                431,
                "a field line and its CRLF are longer than 16384 bytes (--max-field)",
            ),
            Refusal(
                "a name without an end",
                raw(b"GET / HTTP/1.1\r\n" + b"X" * 16385),
                431,
                "a field line and its CRLF are longer than 16384 bytes (--max-field)",
            ),
            Refusal(
                "too many fields", fields(b"X-A: b\r\n" * 127 + b"X-A: b"), 431, "more than 128 fields (--max-fields)"
            ),
            Refusal(
                "a head that is too long",
                fields((b"X-A: " + b"b" * 9000 + b"\r\n") * 7 + b"X-A: " + b"b" * 9000),
                431,
                "the head is longer than 65536 bytes (--max-head)",
            ),
            Refusal(
                "a second field of a kind that is allowed once",
                fields(b"Content-Type: a/b\r\ncontent-type: c/d"),
                400,
                "there are 2 Content-Type fields, only one is allowed (RFC 9110 section 5.3)",
            ),
            Refusal(
                "an underscore in a name",
                fields(b"X_Real_IP: 127.0.0.1"),
                400,
                "field name 'X_Real_IP' has an underscore (--underscores)",
                {"underscores": "refuse"},
            ),
            Refusal(
                "another expectation than 100-continue",
                fields(b"Expect: 200-ok\r\nContent-Length: 0"),
                417,
                "Expect '200-ok' cannot be met, only 100-continue (RFC 9110 section 10.1.1)",
            ),
        ),
    ),
}
