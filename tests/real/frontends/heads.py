"""Cases about request lines, hosts and other fields, which two parsers may read differently.

The function yields the name and the bytes of each case.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.real.frontends.messages import CANARY, HOST, chunked, post


def heads() -> Iterator[tuple[str, bytes]]:
    for line in LINES:
        yield f"request line {line!r}", line + b"\r\n" + HOST + b"\r\n"
        yield (
            f"request line {line!r}, content",
            line + b"\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(CANARY) + CANARY,
        )
    for hosts in HOSTS:
        yield f"hosts {hosts!r}", b"GET /first HTTP/1.1\r\n" + hosts + b"\r\n"
        yield f"hosts {hosts!r}, absolute", b"GET http://other.test/first HTTP/1.1\r\n" + hosts + b"\r\n"
        yield f"hosts {hosts!r}, 1.0", b"GET /first HTTP/1.0\r\n" + hosts + b"\r\n"
    for field in FIELDS:
        yield f"field {field!r}", b"GET /first HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n" + CANARY
        yield f"field {field!r} first", b"GET /first HTTP/1.1\r\n" + field + b"\r\n" + HOST + b"\r\n" + CANARY
        yield f"field {field!r}, chunks", post(field, b"Transfer-Encoding: chunked", body=chunked(CANARY))
        yield f"field {field!r}, content", post(field, b"Content-Length: %d" % len(CANARY), body=CANARY)
    for start in (
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\n\n",
        b" ",
        b"\t",
        b"\x00",
        b"\r\n" * 50,
        b"\xef\xbb\xbf",
        b" \r\n",
    ):
        yield f"before the line {start!r}", start + b"GET /first HTTP/1.1\r\n" + HOST + b"\r\n"
        yield f"after content {start!r}", post(b"Content-Length: 5", body=b"hello" + start) + CANARY
        yield f"after chunks {start!r}", post(b"Transfer-Encoding: chunked", body=chunked(b"hello") + start) + CANARY
    yield "bare LF everywhere", b"GET /first HTTP/1.1\nHost: example.test\n\n"
    yield "bare LF at the end", b"GET /first HTTP/1.1\r\nHost: example.test\r\n\n" + CANARY
    yield "bare CR at the end", b"GET /first HTTP/1.1\r\nHost: example.test\r\n\r" + CANARY
    yield "a long field", b"GET /first HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 30_000 + b"\r\n\r\n"
    yield "many fields", b"GET /first HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 300 + b"\r\n"
    yield "a long target", b"GET /" + b"y" * 30_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    yield "a large content", post(b"Content-Length: 500000", body=b"x" * 500_000) + CANARY
    yield (
        "a large unread content",
        b"POST /unread HTTP/1.1\r\n" + HOST + b"Content-Length: 500000\r\n\r\n" + b"x" * 500_000,
    )
    yield "an unread canary", b"POST /unread HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(CANARY) + CANARY
    yield "unread chunks", b"POST /unread HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(CANARY)


LINES = [
    b"GET /first HTTP/1.1", b"get /first HTTP/1.1", b"GET  /first HTTP/1.1", b"GET /first  HTTP/1.1",
    b"GET\t/first\tHTTP/1.1", b"GET /first HTTP/1.1 ", b" GET /first HTTP/1.1", b"GET /first", b"GET /first HTTP/1.0",
    b"GET /first HTTP/1.2", b"GET /first HTTP/1.10", b"GET /first HTTP/01.1", b"GET /first HTTP/2.0",
    b"GET /first HTTP/0.9", b"GET /first HTTP/1", b"GET /first http/1.1", b"GET /first HTTP/1.1x",
    b"GET /first HTTP/1,1", b"GET /first HTTP/\xb9.1", b"GET /first XTTP/1.1", b"GET /first x HTTP/1.1",
    b"GET /first\x00 HTTP/1.1", b"GET /first\x0bx HTTP/1.1", b"GET /first\xe9 HTTP/1.1", b"GET /first\r HTTP/1.1",
    b"GET /first#x HTTP/1.1", b"GET first HTTP/1.1", b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1",
    b"GET //first HTTP/1.1", b"GET /./a/../first HTTP/1.1", b"GET /%2e%2e/first HTTP/1.1", b"GET /%00 HTTP/1.1",
    b"GET /%0d%0aX:y HTTP/1.1", b"GET /%zz HTTP/1.1", b"GET /a%2Fb HTTP/1.1", b"GET /a?b#c HTTP/1.1",
    b"GET /a?b?c HTTP/1.1", b"GET /{}|\\^`<>\" HTTP/1.1", b"GET http://example.test/first HTTP/1.1",
    b"GET http://other.test/first HTTP/1.1", b"GET http://u:p@example.test/first HTTP/1.1",
    b"GET http:///first HTTP/1.1", b"GET http://example.test HTTP/1.1", b"GET http://example.test?q HTTP/1.1",
    b"GET https://example.test/first HTTP/1.1", b"GET ftp://example.test/first HTTP/1.1",
    b"CONNECT example.test:80 HTTP/1.1", b"CONNECT /first HTTP/1.1", b"GET example.test:80 HTTP/1.1",
    b"G(T /first HTTP/1.1", b"G\x00T /first HTTP/1.1", b"GET", b"", b"/first", b"PRI * HTTP/2.0",
    b"TRACE /first HTTP/1.1", b"HEAD /first HTTP/1.1", b"M-SEARCH * HTTP/1.1", b"GET /status/204 HTTP/1.1",
    b"GET /status/304 HTTP/1.1", b"HEAD /status/204 HTTP/1.1", b"HEAD /generated HTTP/1.1",
    b"GET /generated HTTP/1.0", b"GET /generated HTTP/1.1", b"GET /status/205 HTTP/1.1", b"HEAD /download HTTP/1.1",
]  # fmt: skip

HOSTS = [
    b"", b"Host: example.test\r\n", b"Host:\r\n", b"Host: \r\n", b"Host: a\r\nHost: b\r\n", b"Host: a\r\nHost: a\r\n",
    b"Host : a\r\n", b"Host: a b\r\n", b"Host: a,b\r\n", b"Host: a/b\r\n", b"Host: a?b\r\n", b"Host: u@a\r\n",
    b"Host: a:b\r\n", b"Host: a:80\r\n", b"Host: a:\r\n", b"Host: a:99999\r\n", b"Host: [::1]\r\n",
    b"Host: [::1]:80\r\n", b"Host: [::1\r\n", b"Host: ::1\r\n", b"Host: \xe9\r\n", b"Host: a\x00\r\n",
    b"Host: a\r\n b\r\n", b"Host: a%41\r\n", b"Host: a_b\r\n", b"host: a\r\n", b"Host: http://a\r\n",
    b"HOST: a\r\nHost: b\r\n", b"X-Host: a\r\n", b"Host: a#b\r\n", b"Host: 127.0.0.1.\r\n", b"Host: a\\b\r\n",
]  # fmt: skip

FIELDS = [
    b"X: y", b"X:y", b"X:", b"X: y ", b"X:\t\ty\t", b"X : y", b" X: y", b"X", b": y", b"X\x00: y", b"X: \x00",
    b"X: \x01", b"X: \x7f", b"X: \xe9\xff", b"X: y\n", b"X: y\r", b"X: a\nY: b", b"X: a\rY: b", b"X: a\r\n b",
    b"X: a\r\n\tb", b"X: a\r\n \r\n b", b"X_Y: z", b"X-Y: a\r\nX_Y: b", b"X@Y: z", b"X\xe9: y", b'"X": y', b"X;: y",
    b"X/Y: z", b"X-Request-Id: forged", b"X_Request_Id: forged", b"x-request-id: forged",
    b"X-Request-Id: a\r\nX-Request-Id: b", b"Content_Length: 1", b"Transfer_Encoding: chunked", b"Connection: close",
    b"Connection: keep-alive", b"Connection: X-Request-Id", b"Connection: Content-Length",
    b"Connection: Transfer-Encoding", b"Connection: Host", b"Connection: close, keep-alive", b"Connection: ,",
    b"Connection: upgrade\r\nUpgrade: websocket",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", b"Keep-Alive: timeout=5",
    b"Proxy-Connection: close", b"TE: trailers", b"Trailer: X", b"Expect: 100-continue", b"Expect: 100-Continue",
    b"Expect: something", b"Expect:", b"Upgrade: h2c", b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Host: evil.test",
    b"Forwarded: for=1.2.3.4", b"X-HTTP-Method-Override: DELETE", b"Range: bytes=0-0", b"Cookie: a=b\r\nCookie: c=d",
]  # fmt: skip
