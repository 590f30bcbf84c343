"""The rows of what is refused in a request line."""

from __future__ import annotations

from tests.strictness.rows import Group, Refusal, line, raw

__all__ = ["REQUEST_LINES"]

REQUEST_LINES = {
    "Request line": Group(
        "Method, target and version, with single spaces; some program reads any other form as another request.",
        (
            Refusal(
                "a line that ends with LF alone",
                raw(b"GET / HTTP/1.1\nHost: a.test\n\n"),
                400,
                "a line ends with a bare LF instead of CRLF (RFC 9112 section 2.2)",
            ),
            Refusal(
                "lines that end with CR alone",
                raw(b"GET / HTTP/1.1\rHost: a.test\r\r"),
                400,
                "a CR is not followed by LF (RFC 9112 section 2.2)",
            ),
            Refusal(
                "CR in the line, without LF after it",
                line(b"GET /a\rb HTTP/1.1"),
                400,
                "request line 'GET /a' is not method, target and version with single spaces (RFC 9112 section 3)",
            ),
            Refusal(
                "CR before the line end",
                line(b"GET / HTTP/1.1\r"),
                400,
                "a CR is not followed by LF (RFC 9112 section 2.2)",
            ),
            Refusal(
                "LF within the line",
                line(b"GET /a\nb HTTP/1.1"),
                400,
                "a line ends with a bare LF instead of CRLF (RFC 9112 section 2.2)",
            ),
            Refusal(
                "a space before the line",
                line(b" GET / HTTP/1.1"),
                400,
                "no request starts with byte 0x20 (RFC 9112 section 3)",
            ),
            Refusal(
                "LF alone before the line",
                line(b"\nGET / HTTP/1.1"),
                400,
                "no request starts with byte 0x0a (RFC 9112 section 3)",
            ),
            Refusal(
                "CR alone before the line",
                line(b"\rGET / HTTP/1.1"),
                400,
                "no request starts with byte 0x0d (RFC 9112 section 3)",
            ),
            Refusal(
                "more than four empty lines before it",
                line(b"\r\n" * 5 + b"GET / HTTP/1.1"),
                400,
                "more than 4 empty lines before a request (RFC 9112 section 2.2)",
            ),
            Refusal(
                "a byte that begins no method",
                line(b"\x80 / HTTP/1.1"),
                400,
                "no request starts with byte 0x80 (RFC 9112 section 3)",
            ),
            Refusal(
                "a TLS handshake",
                raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
                400,
                "a TLS handshake arrived on a port that speaks plain HTTP (RFC 9112 section 3)",
            ),
            Refusal(
                "two spaces between its parts",
                line(b"GET  / HTTP/1.1"),
                400,
                "request line 'GET  ' is not method, target and version with single spaces (RFC 9112 section 3)",
            ),
            Refusal(
                "a tab between its parts",
                line(b"GET\t/\tHTTP/1.1"),
                400,
                "request line 'GET\\t' is not method, target and version with single spaces (RFC 9112 section 3)",
            ),
            Refusal(
                "a space at its end",
                line(b"GET / HTTP/1.1 "),
                400,
                "request line 'GET / HTTP/1.1 ' is not method, target and version with single spaces "
                "(RFC 9112 section 3)",
            ),
            Refusal(
                "a space in the target",
                line(b"GET /a b HTTP/1.1"),
                400,
                "the version in the request line 'GET /a b' is not HTTP/digit.digit (RFC 9112 section 2.3)",
            ),
            Refusal(
                "no version (HTTP/0.9)",
                line(b"GET /"),
                400,
                "request line 'GET /' is not method, target and version with single spaces (RFC 9112 section 3)",
            ),
            Refusal(
                "one word",
                line(b"hello"),
                400,
                "request line 'hello' is not method, target and version with single spaces (RFC 9112 section 3)",
            ),
            Refusal(
                "a method that is not a token",
                line(b'G"ET / HTTP/1.1'),
                400,
                "method 'G\"' is not a token (RFC 9110 section 9.1)",
            ),
            Refusal(
                "NUL in the method",
                line(b"GE\0T / HTTP/1.1"),
                400,
                "method 'GE\\x00' is not a token (RFC 9110 section 9.1)",
            ),
            Refusal(
                "a byte above 127 in the method",
                line(b"G\xc9T / HTTP/1.1"),
                400,
                "method 'GÉ' is not a token (RFC 9110 section 9.1)",
            ),
            Refusal(
                "a method without an end",
                raw(b"A" * 16385),
                501,
                "a method longer than 16384 bytes is not implemented (--max-request-line)",
            ),
            Refusal(
                "a line that is too long",
                line(b"GET /" + b"a" * 16384 + b" HTTP/1.1"),
                414,
                "the request line and its CRLF are longer than 16384 bytes (--max-request-line)",
            ),
            Refusal(
                "CONNECT",
                line(b"CONNECT a.test:80 HTTP/1.1"),
                501,
                "CONNECT is not implemented: this is not a proxy (RFC 9110 section 9.3.6)",
            ),
        ),
    ),
    "Version": Group(
        "Exactly `HTTP/`, a digit, a dot, a digit; another major version may frame its messages differently.",
        (
            Refusal(
                "lower case",
                line(b"GET / http/1.1"),
                400,
                "the version in the request line 'GET / h' is not HTTP/digit.digit (RFC 9112 section 2.3)",
            ),
            Refusal(
                "two digits",
                line(b"GET / HTTP/1.10"),
                400,
                "the version in the request line 'GET / HTTP/1.10' is not HTTP/digit.digit (RFC 9112 section 2.3)",
            ),
            Refusal(
                "a leading zero",
                line(b"GET / HTTP/01.1"),
                400,
                "the version in the request line 'GET / HTTP/01' is not HTTP/digit.digit (RFC 9112 section 2.3)",
            ),
            Refusal(
                "no minor version",
                line(b"GET / HTTP/1"),
                400,
                "the version in the request line 'GET / HTTP/1' is not HTTP/digit.digit (RFC 9112 section 2.3)",
            ),
            Refusal(
                "another protocol",
                line(b"GET / ICE/1.0"),
                400,
                "the version in the request line 'GET / I' is not HTTP/digit.digit (RFC 9112 section 2.3)",
            ),
            Refusal(
                "NUL after it",
                line(b"GET / HTTP/1.1\0"),
                400,
                "the version in the request line 'GET / HTTP/1.1\\x00' is not HTTP/digit.digit (RFC 9112 section 2.3)",
            ),
            Refusal(
                "a later major version",
                line(b"GET / HTTP/3.0"),
                505,
                "version HTTP/3.0 is not served, only HTTP/1.0 and HTTP/1.1 (RFC 9110 section 15.6.6)",
            ),
            Refusal(
                "the preface of HTTP/2",
                raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
                505,
                "version HTTP/2.0 is not served, only HTTP/1.0 and HTTP/1.1 (RFC 9110 section 15.6.6)",
            ),
            Refusal(
                "an earlier major version",
                line(b"GET / HTTP/0.9"),
                505,
                "version HTTP/0.9 is not served, only HTTP/1.0 and HTTP/1.1 (RFC 9110 section 15.6.6)",
            ),
        ),
    ),
    "Target": Group(
        "A path, an http URI, or `*`; a target that two readers understand differently passes the access rules of one.",
        (
            Refusal(
                "NUL",
                line(b"GET /a\0b HTTP/1.1"),
                400,
                "target '/a\\x00' has a byte that is not allowed in a target (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a control",
                line(b"GET /a\x1bb HTTP/1.1"),
                400,
                "target '/a\\x1b' has a byte that is not allowed in a target (RFC 9112 section 3.2)",
            ),
            Refusal(
                "DEL",
                line(b"GET /a\x7f HTTP/1.1"),
                400,
                "target '/a\\x7f' has a byte that is not allowed in a target (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a byte above 127",
                line(b"GET /caf\xe9 HTTP/1.1"),
                400,
                "target '/café' has a byte that is not allowed in a target (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a fragment",
                line(b"GET /a#b HTTP/1.1"),
                400,
                "target '/a#' has a byte that is not allowed in a target (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a path without a slash at its start",
                line(b"GET a/b HTTP/1.1"),
                400,
                "target 'a/b' is neither a path that begins with / nor an http URI (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a query alone",
                line(b"GET ?a=b HTTP/1.1"),
                400,
                "target '?a=b' is neither a path that begins with / nor an http URI (RFC 9112 section 3.2)",
            ),
            Refusal(
                "host and port, without CONNECT",
                line(b"GET a.test:80 HTTP/1.1"),
                400,
                "target 'a.test:80' is neither a path that begins with / nor an http URI (RFC 9112 section 3.2)",
            ),
            Refusal(
                "`*`, without OPTIONS",
                line(b"GET * HTTP/1.1"),
                400,
                "target * is for OPTIONS only, not for GET (RFC 9112 section 3.2.4)",
            ),
            Refusal(
                "the URI of another scheme",
                line(b"GET ftp://a.test/ HTTP/1.1"),
                400,
                "target 'ftp://a.test/' is neither a path that begins with / nor an http URI (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a URI with user information",
                line(b"GET http://u:p@a.test/ HTTP/1.1"),
                400,
                "user information in the target's authority is refused (RFC 9110 section 4.2.4)",
            ),
            Refusal(
                "a URI without a host",
                line(b"GET http:///a HTTP/1.1"),
                400,
                "Host '' is not host[:port] (RFC 9112 section 3.2)",
            ),
            Refusal(
                "a URI with a bad port",
                line(b"GET http://a.test:8x/ HTTP/1.1"),
                400,
                "Host 'a.test:8x' is not host[:port] (RFC 9112 section 3.2)",
            ),
        ),
    ),
}
