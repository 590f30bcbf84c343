"""The inputs that fuzzing starts with: valid and invalid requests of every kind, all of them small."""

from __future__ import annotations

from tests.fuzz import redis, webservers, websocket

HOST = b"Host: a.test\r\n"

REQUEST_LINES = [
    b"GET / HTTP/1.1", b"GET /a%20b?x=%31&y HTTP/1.1", b"HEAD /a HTTP/1.0", b"OPTIONS * HTTP/1.1",
    b"GET http://b.test:8080/p?q HTTP/1.1", b"OPTIONS http://b.test HTTP/1.1", b"M-SEARCH /x HTTP/1.1",
    b"get /x HTTP/1.2", b"GET //b.test/ HTTP/1.1", b"GET /a#b HTTP/1.1", b"GET * HTTP/1.1", b"GET /\xc3\xa9 HTTP/1.1",
    b"CONNECT a.test:443 HTTP/1.1", b"GET / HTTP/2.0", b"GET / HTTP/1.10", b"GET /", b"GET  / HTTP/1.1",
    b"GET\t/ HTTP/1.1", b"GET / HTTP/1.1 ", b"GET /a b HTTP/1.1", b"G\x00T / HTTP/1.1", b"GET http://u:p@a/ HTTP/1.1",
    b"GET / http/1.1", b"DELETE a.test:80 HTTP/1.1", b"GET ftp://a.test/ HTTP/1.1", b"PRI * HTTP/2.0",
]  # fmt: skip

FIELDS = [
    b"", b"User-Agent: t/1 (x; y)\r\nAccept: */*\r\n", b"X-A:\t v \t\r\n", b"X-Empty:\r\n", b"X: \x80\xff\r\n",
    b"X-A: 1\r\nx-a: 2\r\n", b"Cookie: a=1\r\nCookie: b=2\r\n", b"X_A: b\r\nX-A: c\r\n", b"Proxy: p\r\n",
    b"Connection: close\r\n", b"Connection: Keep-Alive, TE\r\n", b"Connection: x, CLOSE\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
    b"Connection: close\t\r\n", b"Connection:,close ,\t\r\n", b"Connection: close\r\nConnection: x\r\n",
    b"Connection: closed\r\n", b"Connection: keep-alive, close\r\n", b"X-A : b\r\n", b" X: y\r\n",
    b"X: y\r\n z\r\n", b"X\r\n", b": y\r\n", b"X: a\x00b\r\n", b"X: a\rb\r\n",
    b"X: y\nZ: w\r\n", b"X: y\n", b"X Y: z\r\n", b"X\xe9: z\r\n", b"X: \x7f\r\n", b"X: \x01\r\n", b"Host: a.test\r\n",
    b"A!#$%&'*+-.^`|~9: z\r\n", b"X(: y\r\n", b"Authorization: a\r\nAuthorization: b\r\n",
]  # fmt: skip

HOSTS = [b"a", b"a.test:8080", b"[::1]:80", b"", b"a b", b"u@a", b"a:x", b"[::g]", b"a/b", b"a, b", b"a:65536", b"a%41"]

FRAMINGS = [
    (b"Content-Length: 5\r\n", b"hello"),
    (b"content-length:5\r\n", b"hello"),
    (b"Content-Length: 005\r\n", b"hello"),
    (b"Content-Length: 0\r\n", b""),
    (b"Content-Length: \t5 \t\r\n", b"hello"),
    (b"Transfer-Encoding:\t chunked \t\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    (b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello"),
    (b"Content-Length: 5\r\nContent-Type: text/plain\r\n", b"hello"),
    (b"Content-Length: +5\r\n", b"hello"),
    (b"Content-Length: -5\r\n", b"hello"),
    (b"Content-Length: 0x5\r\n", b"hello"),
    (b"Content-Length: 5, 5\r\n", b"hello"),
    (b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"),
    (b"Content-Length: 5 5\r\n", b"hello"),
    (b"Content-Length:\r\n", b""),
    (b"Content-Length: 99999999999999999999\r\n", b"hello"),
    (b"Content-Length : 5\r\n", b"hello"),
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: CHUNKED\r\n", b"5\r\nhello\r\n0\r\nX-T: v\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\nTrailer: X\r\n", b"0\r\nX: y\r\n\r\n"),
    (b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: identity\r\n", b""),
    (b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\nConnection: close\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    (b"Transfer_Encoding: chunked\r\n", b""),
    (b"Transfer-Encoding:\r\n", b""),
    (b"Transfer-Encoding: ,chunked\r\n", b"0\r\n\r\n"),
]

CHUNKED = [
    b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    b"1\r\na\r\n1\r\nb\r\n000\r\n\r\n",
    b"A\r\n0123456789\r\n0\r\n\r\n", b"a\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n", b"3;a\r\nabc\r\n0;b=c\r\n\r\n",
    b'3;a=b;c="d\\"e"\r\nabc\r\n0\r\n\r\n', b"3 ;a\r\nabc\r\n0\r\n\r\n", b"3; a = b\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0\r\nX: y\r\nZ:\t w \r\n\r\n", b"0\r\nX-A: \x80\r\n\r\n", b"2\r\nabc\r\n0\r\n\r\n",
    b"3\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\n", b"3\r\nabc\r\n0\n\r\n", b"3 \r\nabc\r\n0\r\n\r\n",
    b" 3\r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"-1\r\n", b"3_0\r\nabc",
    b"\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\na", b"10000000000000003\r\nabc\r\n0\r\n\r\n", b"00000000000000003\r\nabc\r\n0\r\n\r\n",
    b"g\r\n",
    b"3;\r\nabc\r\n0\r\n\r\n", b"3;a\nb\r\nabc\r\n0\r\n\r\n", b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    b'3;a="\x00"\r\nabc\r\n0\r\n\r\n',
    b"3;a=\r\nabc\r\n0\r\n\r\n", b";a\r\n", b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\nHost: b\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nX: y\r\n z\r\n\r\n",
    b"0\r\nX\r\n\r\n",
    b"0\r\nX: a\x00\r\n\r\n", b"0\r\nX: y\nZ: w\r\n\r\n", b"3\r\nabcX0\r\n\r\n", b"3\r\nabc\rX", b"\xb2\r\n",
    b"\xef\xbc\x93\r\n",
]  # fmt: skip


def _heads() -> list[bytes]:
    heads = [line + b"\r\n" + HOST + b"\r\n" for line in REQUEST_LINES]
    heads += [b"GET / HTTP/1.1\r\n" + HOST + fields + b"\r\n" for fields in FIELDS]
    heads += [b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n" for host in HOSTS]
    heads += [b"POST / HTTP/1.1\r\n" + HOST + fields + b"\r\n" for fields, _ in FRAMINGS]
    heads += [
        b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", b"\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\n" + HOST + b"\n", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 6 + b"\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]  # fmt: skip
    return heads


HEADS = _heads()


def _streams() -> list[bytes]:
    get = b"GET /2 HTTP/1.1\r\nHost: b\r\n\r\n"
    streams = [b"POST /1 HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body + get for fields, body in FRAMINGS]
    streams += [b"PUT /1 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + body + get for body in CHUNKED]
    streams += [b"GET /1 HTTP/1.1\r\n" + HOST + fields + b"\r\n" + get for fields in FIELDS]
    streams += [b"GET /1 HTTP/1.0\r\n" + fields + b"\r\n" + get for fields in FIELDS if b"onnection" in fields]
    streams += [
        get * 3, b"\r\n" + get + b"\r\n\r\n" + get, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get,
        b"GET / HTTP/1.0\r\n\r\n" + get, b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + get,
        b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", b"POST / HTTP/1.0\r\n\r\nabc",
        b"GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get,
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nrubbish" + get,
    ]  # fmt: skip
    return streams


STREAMS = _streams()

V2 = b"\r\n\r\n\0\r\nQUIT\n"
IPV4 = bytes.fromhex("cb007109c6336401c3cb01bb")
PROXY_HEADERS = [
    b"PROXY TCP4 203.0.113.9 198.51.100.1 50123 443\r\nx", b"PROXY TCP6 2001:db8::9 ::1 1 65535\r\n",
    b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n", b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
    b"GET / HTTP/1.1\r\n", V2 + b"\x21\x11\0\x0c" + IPV4 + b"x", V2 + b"\x20\0\0\0PROXY ",
    V2 + b"\x21\x21\0\x24" + bytes(36), V2 + b"\x21\x31\0\xd8" + b"/run/a".ljust(216, b"\0"),
    V2 + b"\x21\x11\0\x1d" + IPV4 + b"\x01\0\x02h2\x20\0\x09\x07\0\0\0\0\x21\0\x01T",
    V2 + b"\x21\x11\0\x13" + IPV4 + b"\x03\0\x04abcd", V2 + b"\x21\x11\0\x0f" + IPV4 + b"\x02\0\x09", V2 + b"\x31",
    V2 + b"\x21\x11\xff\xff",
]  # fmt: skip

FORWARDED = [
    b"for=203.0.113.9;proto=https;host=a.test, for=10.0.0.2", b'for="[2001:db8::9]:4711";by=_me', b'for=1.1.1.1;by="',
    b'for="a\\"b, c"', b"unknown", b"1.1.1.1, 10.0.0.2, 10.0.0.3:80", b"[::1]:5, 10.1.1.1", b"https, http",
    b"a.test:8080", b"443", b"/shop/", b"//evil.test", b"/%2Fa", b"\xb2.1.1.1", b",,,", b"",
]  # fmt: skip

SEEDS: dict[str, list[bytes]] = {
    "head": HEADS,
    "chunked": CHUNKED,
    "stream": STREAMS + HEADS,
    "proxy": PROXY_HEADERS,
    "forwarded": FORWARDED,
    **webservers.SEEDS,
    **redis.SEEDS,
    **websocket.SEEDS,
}
