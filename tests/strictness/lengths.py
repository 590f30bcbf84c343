"""The rows of what is refused because readers could disagree about the end of the body."""

from __future__ import annotations

from tests.strictness.rows import Group, Refusal, fields

__all__ = ["LENGTHS"]

LENGTHS = {
    "Where the body ends": Group(
        "Content-Length or Transfer-Encoding, once, and in one form only.",
        (
            Refusal(
                "both",
                fields(b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
                400,
                "Content-Length together with Transfer-Encoding is refused (RFC 9112 section 6.1)",
            ),
            Refusal(
                "both, the other way round",
                fields(b"Transfer-Encoding: chunked\r\nContent-Length: 0"),
                400,
                "Content-Length together with Transfer-Encoding is refused (RFC 9112 section 6.1)",
            ),
            Refusal(
                "two different lengths",
                fields(b"Content-Length: 5\r\nContent-Length: 6"),
                400,
                "there are 2 Content-Length fields, only one is allowed (RFC 9110 section 5.3)",
            ),
            Refusal(
                "the same length twice",
                fields(b"Content-Length: 5\r\ncontent-length: 5"),
                400,
                "there are 2 Content-Length fields, only one is allowed (RFC 9110 section 5.3)",
            ),
            Refusal(
                "a list of lengths",
                fields(b"Content-Length: 5, 5"),
                400,
                "Content-Length '5, 5' is not a number of bytes (RFC 9110 section 8.6)",
            ),
            Refusal(
                "no length",
                fields(b"Content-Length:"),
                400,
                "Content-Length '' is not a number of bytes (RFC 9110 section 8.6)",
            ),
            Refusal(
                "a sign",
                fields(b"Content-Length: +5"),
                400,
                "Content-Length '+5' is not a number of bytes (RFC 9110 section 8.6)",
            ),
            Refusal(
                "a negative length",
                fields(b"Content-Length: -1"),
                400,
                "Content-Length '-1' is not a number of bytes (RFC 9110 section 8.6)",
            ),
            Refusal(
                "an underscore",
                fields(b"Content-Length: 1_0"),
                400,
                "Content-Length '1_0' is not a number of bytes (RFC 9110 section 8.6)",
            ),
            Refusal(
                "hexadecimal digits",
                fields(b"Content-Length: 0x5"),
                400,
                "Content-Length '0x5' is not a number of bytes (RFC 9110 section 8.6)",
            ),
            Refusal(
                "a space between the digits",
                fields(b"Content-Length: 1 0"),
                400,
                "Content-Length '1 0' is not a number of bytes (RFC 9110 section 8.6)",
            ),
            Refusal(
                "a fraction",
                fields(b"Content-Length: 5.0"),
                400,
                "Content-Length '5.0' is not a number of bytes (RFC 9110 section 8.6)",
            ),
            Refusal(
                "digits that are not ASCII",
                fields(b"Content-Length: \xb2"),
                400,
                "Content-Length '²' is not a number of bytes (RFC 9110 section 8.6)",
            ),
            Refusal(
                "a no-break space",
                fields(b"Content-Length: 5\xa0"),
                400,
                "Content-Length '5\\xa0' is not a number of bytes (RFC 9110 section 8.6)",
            ),
            Refusal(
                "too many digits",
                fields(b"Content-Length: " + b"0" * 20),
                400,
                "Content-Length has more than 19 digits (RFC 9110 section 8.6)",
            ),
            Refusal(
                "a length that is too large",
                fields(b"Content-Length: 1073741825"),
                413,
                "Content-Length 1073741825 is above the limit of 1073741824 bytes (--max-body)",
            ),
            Refusal(
                "a transfer coding in HTTP/1.0",
                fields(b"Transfer-Encoding: chunked", b"POST /x HTTP/1.0\r\n"),
                400,
                "HTTP/1.0 has no Transfer-Encoding (RFC 9112 section 6.1)",
            ),
            Refusal(
                "no transfer coding",
                fields(b"Transfer-Encoding:"),
                400,
                "Transfer-Encoding '' is malformed (RFC 9112 section 6.1)",
            ),
            Refusal(
                "an unknown transfer coding",
                fields(b"Transfer-Encoding: xchunked"),
                501,
                "Transfer-Encoding 'xchunked': only chunked is implemented (RFC 9112 section 6.1)",
            ),
            Refusal(
                "another transfer coding",
                fields(b"Transfer-Encoding: gzip"),
                501,
                "Transfer-Encoding 'gzip': only chunked is implemented (RFC 9112 section 6.1)",
            ),
            Refusal(
                "another one before chunked",
                fields(b"Transfer-Encoding: gzip, chunked"),
                501,
                "Transfer-Encoding 'gzip, chunked': only chunked is implemented (RFC 9112 section 6.1)",
            ),
            Refusal(
                "another one after chunked",
                fields(b"Transfer-Encoding: chunked, identity"),
                400,
                "Transfer-Encoding 'chunked, identity': chunked must come once, last, without parameters "
                "(RFC 9112 section 6.1)",
            ),
            Refusal(
                "chunked twice",
                fields(b"Transfer-Encoding: chunked, chunked"),
                400,
                "Transfer-Encoding 'chunked, chunked': chunked must come once, last, without parameters "
                "(RFC 9112 section 6.1)",
            ),
            Refusal(
                "chunked in two fields",
                fields(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
                400,
                "Transfer-Encoding 'chunked, chunked': chunked must come once, last, without parameters "
                "(RFC 9112 section 6.1)",
            ),
            Refusal(
                "chunked with a parameter",
                fields(b"Transfer-Encoding: chunked;a=b"),
                400,
                "Transfer-Encoding 'chunked;a=b': chunked must come once, last, without parameters "
                "(RFC 9112 section 6.1)",
            ),
            Refusal(
                "an empty list member",
                fields(b"Transfer-Encoding: , chunked"),
                400,
                "Transfer-Encoding ', chunked' is malformed (RFC 9112 section 6.1)",
            ),
            Refusal(
                "a control around the coding",
                fields(b"Transfer-Encoding: \x0bchunked"),
                400,
                "byte 0x0b cannot follow 'Transfer-Encoding: ' in a field line (RFC 9112 section 5)",
            ),
            Refusal(
                "a space in the coding",
                fields(b"Transfer-Encoding: chunk ed"),
                400,
                "Transfer-Encoding 'chunk ed' is malformed (RFC 9112 section 6.1)",
            ),
            Refusal(
                "a byte above 127 after it",
                fields(b"Transfer-Encoding: chunked\x85"),
                400,
                "Transfer-Encoding 'chunked\\x85' is malformed (RFC 9112 section 6.1)",
            ),
        ),
    ),
}
