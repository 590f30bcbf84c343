"""The rows of what is refused in a chunked body and in the trailer after it."""

from __future__ import annotations

from tests.strictness.rows import Group, Refusal, chunks

__all__ = ["CHUNKED_BODIES"]

CHUNKED_BODIES = {
    "Chunks": Group(
        "Hexadecimal digits, CRLF, as many bytes, CRLF.",
        (
            Refusal(
                "no size",
                chunks(b"\r\nhello\r\n"),
                400,
                "byte 0x0d cannot begin a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "a size that is not hexadecimal",
                chunks(b"xyz\r\n"),
                400,
                "byte 0x78 cannot begin a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "0x before the size",
                chunks(b"0x5\r\nhello\r\n"),
                400,
                "byte 0x78 cannot follow '0' in a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "a sign",
                chunks(b"+5\r\nhello\r\n"),
                400,
                "byte 0x2b cannot begin a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "an underscore",
                chunks(b"0_5\r\nhello\r\n"),
                400,
                "byte 0x5f cannot follow '0' in a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "a space before the size",
                chunks(b" 5\r\nhello\r\n"),
                400,
                "byte 0x20 cannot begin a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "a space after the size",
                chunks(b"5 \r\nhello\r\n"),
                400,
                "byte 0x0d cannot follow '5 ' in a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "another number after the size",
                chunks(b"5 5\r\nhello\r\n"),
                400,
                "byte 0x35 cannot follow '5 ' in a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "more than 16 digits",
                chunks(b"0" * 16 + b"5\r\nhello\r\n"),
                400,
                "a chunk size has more than 16 digits (RFC 9112 section 7.1)",
            ),
            Refusal(
                "LF alone after the size",
                chunks(b"5\nhello\r\n"),
                400,
                "byte 0x0a cannot follow '5' in a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "CR alone after the size",
                chunks(b"5\rhello\r\n"),
                400,
                "byte 0x68 cannot follow '5\\r' in a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "other bytes after the data",
                chunks(b"5\r\nhelloXX0\r\n\r\n"),
                400,
                "chunk data is not followed by CRLF (RFC 9112 section 7.1)",
            ),
            Refusal(
                "LF alone after the data",
                chunks(b"5\r\nhello\n0\r\n\r\n"),
                400,
                "chunk data is not followed by CRLF (RFC 9112 section 7.1)",
            ),
            Refusal(
                "a chunk line that is too long",
                chunks(b"5;a=" + b"b" * 4096),
                400,
                "a chunk line and its CRLF are longer than 4096 bytes (--max-chunk-line)",
            ),
            Refusal(
                "too many extensions in one body",
                chunks((b"1;" + b"e" * 4000 + b"\r\nx\r\n") * 17),
                400,
                "the chunk extensions are longer than 65536 bytes (--max-chunk-extensions)",
            ),
            Refusal(
                "far more framing than content",
                chunks(b"0000000000000001\r\nX\r\n" * 3500),
                400,
                "the chunks of the body have more than 16 bytes of framing for each byte (--max-chunk-overhead)",
            ),
            Refusal(
                "an extension without a name",
                chunks(b"5;=b\r\nhello\r\n"),
                400,
                "byte 0x3d cannot follow '5;' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "a semicolon alone",
                chunks(b"5;\r\nhello\r\n"),
                400,
                "byte 0x0d cannot follow '5;' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "an extension with = and no value",
                chunks(b"5;a=\r\nhello\r\n"),
                400,
                "byte 0x0d cannot follow '5;a=' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "a space after an extension",
                chunks(b"5;a \r\nhello\r\n"),
                400,
                "byte 0x0d cannot follow '5;a ' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "a quote that is not closed",
                chunks(b'5;a="b\r\nhello\r\n'),
                400,
                "byte 0x0d cannot follow '5;a=\"b' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "CR in an extension",
                chunks(b"5;a\rb\r\nhello\r\n"),
                400,
                "byte 0x62 cannot follow '5;a\\r' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "LF in an extension",
                chunks(b"5;a\nb\r\nhello\r\n"),
                400,
                "byte 0x0a cannot follow '5;a' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "LF in a quoted value",
                chunks(b'5;a="b\nc"\r\nhello\r\n'),
                400,
                "byte 0x0a cannot follow '5;a=\"b' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "NUL in a quoted value",
                chunks(b'5;a="\0"\r\nhello\r\n'),
                400,
                "byte 0x00 cannot follow '5;a=\"' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "NUL after a backslash",
                chunks(b'5;a="\\\0"\r\nhello\r\n'),
                400,
                "byte 0x00 cannot follow '5;a=\"\\\\' in a chunk extension (RFC 9112 section 7.1.1)",
            ),
            Refusal(
                "a body that is too large",
                chunks(b"40000001\r\n"),
                413,
                "the body is above the limit of 1073741824 bytes (--max-body)",
            ),
        ),
    ),
    "Trailer": Group(
        "The rules of header fields, and no field that decides routing, framing or authorisation.",
        (
            Refusal(
                "LF alone after the last chunk",
                chunks(b"0\n\r\n"),
                400,
                "byte 0x0a cannot follow '0' in a chunk line (RFC 9112 section 7.1)",
            ),
            Refusal(
                "LF alone instead of the empty line",
                chunks(b"0\r\n\n"),
                400,
                "byte 0x0a cannot begin a trailer line (RFC 9112 section 7.1.2)",
            ),
            Refusal(
                "other bytes instead of the empty line",
                chunks(b"0\r\nXX\r\n"),
                400,
                "byte 0x0d cannot follow 'XX' in a trailer line (RFC 9112 section 7.1.2)",
            ),
            Refusal(
                "LF alone after a field",
                chunks(b"0\r\nX-A: b\n\r\n"),
                400,
                "byte 0x0a cannot follow 'X-A: b' in a trailer line (RFC 9112 section 7.1.2)",
            ),
            Refusal(
                "CR in a value",
                chunks(b"0\r\nX-A: b\rc\r\n\r\n"),
                400,
                "byte 0x63 cannot follow 'X-A: b\\r' in a trailer line (RFC 9112 section 7.1.2)",
            ),
            Refusal(
                "NUL in a value",
                chunks(b"0\r\nX-A: \0\r\n\r\n"),
                400,
                "byte 0x00 cannot follow 'X-A: ' in a trailer line (RFC 9112 section 7.1.2)",
            ),
            Refusal(
                "a space before the colon",
                chunks(b"0\r\nX-A : b\r\n\r\n"),
                400,
                "byte 0x20 cannot follow 'X-A' in a trailer line (RFC 9112 section 7.1.2)",
            ),
            Refusal(
                "a folded field",
                chunks(b"0\r\nX-A: b\r\n c\r\n\r\n"),
                400,
                "byte 0x20 cannot begin a trailer line (RFC 9112 section 7.1.2)",
            ),
            Refusal(
                "the next request in its place",
                chunks(b"0\r\nGET /x?: HTTP/1.1\r\n\r\n"),
                400,
                "byte 0x20 cannot follow 'GET' in a trailer line (RFC 9112 section 7.1.2)",
            ),
            Refusal(
                "a field of framing",
                chunks(b"0\r\nContent-Length: 5\r\n\r\n"),
                400,
                "Content-Length cannot be a trailer field (RFC 9110 section 6.5.1)",
            ),
            Refusal(
                "the same with an underscore",
                chunks(b"0\r\nTransfer_Encoding: chunked\r\n\r\n"),
                400,
                "Transfer_Encoding cannot be a trailer field (RFC 9110 section 6.5.1)",
            ),
            Refusal(
                "a field of routing",
                chunks(b"0\r\nHost: b.test\r\n\r\n"),
                400,
                "Host cannot be a trailer field (RFC 9110 section 6.5.1)",
            ),
            Refusal(
                "a field of authorisation",
                chunks(b"0\r\nCookie: a=b\r\n\r\n"),
                400,
                "Cookie cannot be a trailer field (RFC 9110 section 6.5.1)",
            ),
            Refusal(
                "a field of content",
                chunks(b"0\r\nContent-Type: a/b\r\n\r\n"),
                400,
                "Content-Type cannot be a trailer field (RFC 9110 section 6.5.1)",
            ),
            Refusal(
                "a trailer that is too long",
                chunks(b"0\r\nX-A: " + b"b" * 16384),
                431,
                "the trailer is longer than 16384 bytes (--max-trailer)",
            ),
            Refusal(
                "too many fields",
                chunks(b"0\r\n" + b"X-A: b\r\n" * 65 + b"\r\n"),
                431,
                "more than 64 trailer fields (--max-trailer-fields)",
            ),
        ),
    ),
}
