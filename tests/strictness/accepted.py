"""The rows of what is legal, often forgotten, and accepted."""

from __future__ import annotations

from tests.strictness.rows import BARE, Acceptance, chunks, fields, line, raw

__all__ = ["ACCEPTED"]

OLD = b"GET /x HTTP/1.0\r\n"
A_TEST = b"Host: a.test\r\n"
TCHARS = b"!#$%&'*+-.^`|~0123456789"
FIVE = b"Content-Length: 5"

ACCEPTED: dict[str, tuple[Acceptance, ...]] = {
    "Request line and target": (
        Acceptance(
            "up to four empty lines before it",
            line(b"\r\n" * 4 + b"GET /x HTTP/1.1"),
            "RFC 9112 section 2.2",
            ({"PATH_INFO": "/x"},),
        ),
        Acceptance(
            "an empty line after a body",
            raw(
                b"POST /x HTTP/1.1\r\n"
                + A_TEST
                + b"Content-Length: 1\r\n\r\na\r\nGET /y HTTP/1.1\r\n"
                + A_TEST
                + b"\r\n"
            ),
            "RFC 9112 section 2.2",
            ({"PATH_INFO": "/x", "body": "a"}, {"PATH_INFO": "/y", "body": ""}),
        ),
        Acceptance(
            "an unknown method",
            line(b"M-SEARCH!#$%&'*+.^_`|~9 /x HTTP/1.1"),
            "RFC 9110 section 9.1",
            ({"REQUEST_METHOD": "M-SEARCH!#$%&'*+.^_`|~9"},),
        ),
        Acceptance(
            "lower case: another method than GET",
            line(b"get /x HTTP/1.1"),
            "RFC 9110 section 9.1",
            ({"REQUEST_METHOD": "get"},),
        ),
        Acceptance(
            "a later minor version",
            line(b"GET /x HTTP/1.7"),
            "RFC 9110 section 2.5",
            ({"SERVER_PROTOCOL": "HTTP/1.1"},),
        ),
        Acceptance(
            "a long target",
            line(b"GET /" + b"a" * 15000 + b" HTTP/1.1"),
            "RFC 9112 section 3",
            ({"PATH_INFO": "/" + "a" * 15000},),
        ),
        Acceptance(
            "any percent-encoding, decoded once",
            line(b"GET /%2541%20%2f%00%0d%0A%e9%3F%23?%41 HTTP/1.1"),
            "RFC 3986 section 2.4",
            ({"PATH_INFO": "/%41 /\0\r\n\xe9?#", "QUERY_STRING": "%41"},),
        ),
        Acceptance(
            "two slashes, and a name after them",
            line(b"GET //u@b.test//x HTTP/1.1"),
            "RFC 9112 section 3.2.1",
            ({"PATH_INFO": "//u@b.test//x", "HTTP_HOST": "a.test"},),
        ),
        Acceptance(
            "more than one question mark",
            line(b"GET /x?a?b=/c HTTP/1.1"),
            "RFC 3986 section 3.4",
            ({"PATH_INFO": "/x", "QUERY_STRING": "a?b=/c"},),
        ),
        Acceptance(
            "a URI, whose authority overrides Host",
            line(b"GET http://b.test:81/x?y HTTP/1.1"),
            "RFC 9112 section 3.2.2",
            ({"PATH_INFO": "/x", "QUERY_STRING": "y", "HTTP_HOST": "b.test:81"},),
        ),
        Acceptance(
            "a URI with a scheme in upper case and without a path",
            line(b"GET HTTP://b.test?y HTTP/1.1"),
            "RFC 3986 section 3.1",
            ({"PATH_INFO": "/", "QUERY_STRING": "y", "HTTP_HOST": "b.test"},),
        ),
        Acceptance(
            "`*` for the server as a whole",
            line(b"OPTIONS * HTTP/1.1"),
            "RFC 9112 section 3.2.4",
            ({"PATH_INFO": "*"},),
        ),
        Acceptance(
            "the same as a URI, as a proxy sends it",
            line(b"OPTIONS http://b.test HTTP/1.1"),
            "RFC 9112 section 3.2.4",
            ({"PATH_INFO": "*", "HTTP_HOST": "b.test"},),
        ),
    ),
    "Host and Connection": (
        Acceptance(
            "no Host field in HTTP/1.0", fields(b"X-A: b", OLD), "RFC 9112 section 3.2", ({"HTTP_HOST": None},), True
        ),
        Acceptance("an empty Host", fields(b"Host:", BARE), "RFC 9112 section 3.2", ({"HTTP_HOST": ""},)),
        Acceptance(
            "an IPv6 address and a port",
            fields(b"Host: [2001:db8::1]:8080", BARE),
            "RFC 3986 section 3.2.2",
            ({"HTTP_HOST": "[2001:db8::1]:8080"},),
        ),
        Acceptance(
            "the shortest IPv6 address, and one that ends in an IPv4 address",
            raw(b"GET /x HTTP/1.1\r\nHost: [::]:\r\n\r\nGET /x HTTP/1.1\r\nHost: [1::2:1.2.3.4]\r\n\r\n"),
            "RFC 3986 section 3.2.2",
            ({"HTTP_HOST": "[::]:"}, {"HTTP_HOST": "[1::2:1.2.3.4]"}),
        ),
        Acceptance(
            "an address of a later version than IPv6",
            fields(b"Host: [v1.fe80::a+en1]:80", BARE),
            "RFC 3986 section 3.2.2",
            ({"HTTP_HOST": "[v1.fe80::a+en1]:80"},),
        ),
        Acceptance(
            "the same in a URI",
            line(b"GET http://[VF.a,b]/x HTTP/1.1"),
            "RFC 3986 section 3.2.2",
            ({"PATH_INFO": "/x", "HTTP_HOST": "[VF.a,b]"},),
        ),
        Acceptance(
            "leading zeros in a port",
            fields(b"Host: a.test:000000080", BARE),
            "RFC 3986 section 3.2.3",
            ({"HTTP_HOST": "a.test:000000080"},),
        ),
        Acceptance(
            "an empty Host with a URI",
            raw(b"GET http://b.test/x HTTP/1.1\r\nHost:\r\n\r\n"),
            "RFC 9112 section 3.2.2",
            ({"HTTP_HOST": "b.test"},),
        ),
        Acceptance(
            "an empty port, an underscore, a percent-encoding",
            fields(b"Host: a_b%20.test:", BARE),
            "RFC 3986 section 3.2",
            ({"HTTP_HOST": "a_b%20.test:"},),
        ),
        Acceptance(
            "close in upper case, in a list",
            fields(b"Connection: x, CLOSE ,\ty"),
            "RFC 9112 section 9.6",
            ({"HTTP_CONNECTION": "x, CLOSE ,\ty"},),
            True,
        ),
        Acceptance(
            "close in a second field; it overrides keep-alive",
            fields(b"Connection: keep-alive\r\nConnection: close"),
            "RFC 9112 section 9.3",
            ({"HTTP_CONNECTION": "keep-alive, close"},),
            True,
        ),
        Acceptance(
            "a list with empty members",
            fields(b"Connection: , ,keep-alive,"),
            "RFC 9110 section 5.6.1",
            ({"HTTP_CONNECTION": ", ,keep-alive,"},),
        ),
        Acceptance(
            "keep-alive in HTTP/1.0",
            raw((OLD + b"Connection: Keep-Alive\r\n\r\n") * 2 + OLD + b"\r\n"),
            "RFC 9112 section 9.3",
            ({"SERVER_PROTOCOL": "HTTP/1.0"}, {"SERVER_PROTOCOL": "HTTP/1.0"}, {"SERVER_PROTOCOL": "HTTP/1.0"}),
            True,
        ),
    ),
    "Fields": (
        Acceptance(
            "an empty value; spaces and tabs around a value; tabs and colons in it",
            fields(b"X-A:\r\nX-C:\t b\t:c \t"),
            "RFC 9110 section 5.5",
            ({"HTTP_X_A": "", "HTTP_X_C": "b\t:c"},),
        ),
        Acceptance(
            "bytes above 127 in a value, as latin-1 (PEP 3333)",
            fields(b"X-A: \xa0caf\xc3\xa9\x85\xff"),
            "RFC 9110 section 5.5",
            ({"HTTP_X_A": "\xa0caf\xc3\xa9\x85\xff"},),
        ),
        Acceptance(
            "every token character in a name",
            fields(TCHARS + b": b"),
            "RFC 9110 section 5.6.2",
            ({"HTTP_" + TCHARS.decode().replace("-", "_"): "b"},),
        ),
        Acceptance(
            "fields with the same name, in any case: one list",
            fields(b"X-A: 1\r\nx-a: 2\r\nX-A:"),
            "RFC 9110 section 5.3",
            ({"HTTP_X_A": "1, 2, "},),
        ),
        Acceptance(
            "several Cookie fields",
            fields(b"Cookie: a=1\r\nCookie: b=2"),
            "RFC 9113 section 8.2.3",
            ({"HTTP_COOKIE": "a=1; b=2"},),
        ),
        Acceptance(
            "a hundred fields",
            fields(b"\r\n".join(b"X-%d: y" % n for n in range(100))),
            "RFC 9110 section 5.4",
            ({"HTTP_X_0": "y", "HTTP_X_99": "y"},),
        ),
        Acceptance(
            "a long value", fields(b"X-A: " + b"b" * 16000), "RFC 9110 section 5.4", ({"HTTP_X_A": "b" * 16000},)
        ),
        Acceptance(
            "a name with an underscore; it never replaces the one with a hyphen",
            fields(b"X_Real_IP: evil\r\nX-Real-IP: good\r\nX-Real_IP: evil\r\nContent_Length: 5"),
            "[decision 6](decisions/0006-underscores.md)",
            ({"HTTP_X_REAL_IP": "good", "CONTENT_LENGTH": None},),
        ),
        Acceptance(
            "Proxy, which never becomes HTTP_PROXY",
            fields(b"Proxy: http://evil.test"),
            "[decision 6](decisions/0006-underscores.md)",
            ({"HTTP_PROXY": None},),
        ),
        Acceptance(
            "fields of requests that an application may ignore",
            fields(b"Upgrade: h2c\r\nTE: trailers\r\nRange: bytes=0-1\r\nMax-Forwards: 0"),
            "RFC 9110 section 7.8",
            ({"HTTP_UPGRADE": "h2c", "HTTP_TE": "trailers", "HTTP_RANGE": "bytes=0-1", "HTTP_MAX_FORWARDS": "0"},),
        ),
    ),
    "Bodies": (
        Acceptance(
            "a length with leading zeros, and spaces and tabs around it",
            fields(b"Content-Length: \t0005 ", body=b"hello"),
            "RFC 9110 section 8.6",
            ({"CONTENT_LENGTH": "5", "body": "hello"},),
        ),
        Acceptance(
            "a body with GET",
            fields(FIVE, b"GET /x HTTP/1.1\r\n" + A_TEST, b"hello"),
            "RFC 9110 section 9.3.1",
            ({"body": "hello"},),
        ),
        Acceptance(
            "a body in HTTP/1.0",
            fields(FIVE, b"POST /x HTTP/1.0\r\n", b"hello"),
            "RFC 9112 section 6.2",
            ({"body": "hello"},),
            True,
        ),
        Acceptance(
            "chunked in any case, with spaces and tabs around it",
            fields(b"Transfer-Encoding: \tChUnKeD\t", body=b"5\r\nhello\r\n0\r\n\r\n"),
            "RFC 9112 section 7",
            ({"body": "hello", "trailers": []},),
        ),
        Acceptance(
            "sizes in upper case and with leading zeros, also the last one",
            chunks(b"000A\r\nhello hell\r\n1\r\no\r\n000\r\n\r\n"),
            "RFC 9112 section 7.1",
            ({"body": "hello hello"},),
        ),
        Acceptance(
            "extensions, also with spaces, tabs and quoted values",
            chunks(b'5;a;b=c\r\nhello\r\n2 ; \td\t=\t"; \\"\xe9\x80"\r\n!!\r\n0;e\r\n\r\n'),
            "RFC 9112 section 7.1.1",
            ({"body": "hello!!"},),
        ),
        Acceptance(
            "trailer fields",
            chunks(b"5\r\nhello\r\n0\r\nX-Sum: \t1 \r\nx-sum:2\r\nX_Y: \xe9\r\n\r\n"),
            "RFC 9112 section 7.1.2",
            ({"body": "hello", "trailers": [["X-Sum", "1"], ["x-sum", "2"], ["X_Y", "\xe9"]], "HTTP_X_SUM": None},),
        ),
        Acceptance(
            "an expectation in any case, with its body directly after it",
            fields(b"Expect: 100-CONTINUE\r\n" + FIVE, body=b"hello"),
            "RFC 9110 section 10.1.1",
            ({"body": "hello"},),
        ),
        Acceptance(
            "an expectation without a body, which no client waits for",
            fields(b"Expect: 100-continue"),
            "RFC 9110 section 10.1.1",
            ({"body": ""},),
        ),
        Acceptance(
            "any expectation in HTTP/1.0, where it has no meaning",
            fields(b"Expect: x\r\n" + FIVE, b"POST /x HTTP/1.0\r\n", b"hello"),
            "RFC 9110 section 10.1.1",
            ({"body": "hello"},),
            True,
        ),
        Acceptance(
            "several requests of different kinds at once",
            raw(
                b"GET /1 HTTP/1.1\r\n" + A_TEST + b"\r\n"
                b"POST /2 HTTP/1.1\r\n" + A_TEST + FIVE + b"\r\n\r\nhello"
                b"PUT /3 HTTP/1.1\r\n" + A_TEST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n"
                b"DELETE /4 HTTP/1.1\r\n" + A_TEST + b"Content-Length: 0\r\n\r\n"
                b"GET /5 HTTP/1.1\r\n" + A_TEST + b"Connection: close\r\n\r\n"
            ),
            "RFC 9112 section 9.3.2",
            (
                {"PATH_INFO": "/1", "body": ""},
                {"PATH_INFO": "/2", "body": "hello"},
                {"PATH_INFO": "/3", "body": "a", "trailers": [["X", "y"]]},
                {"PATH_INFO": "/4", "body": ""},
                {"PATH_INFO": "/5", "body": ""},
            ),
            True,
        ),
    ),
}
