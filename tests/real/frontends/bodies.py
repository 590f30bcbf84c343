"""Cases about the end of a body, which two parsers may read differently: lengths, codings, chunks.

Each function yields the name and the bytes of each case.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.real.frontends.messages import CANARY, HOST, chunked, post


def lengths() -> Iterator[tuple[str, bytes]]:
    size = len(CANARY)
    for number in (0, 3, size):
        digits = b"%d" % number
        for pattern in LENGTHS:
            value = pattern.replace(b"N", digits)
            yield f"length {value!r}", post(b"Content-Length:" + value, body=CANARY)
    n = b"%d" % size
    for first, second in [(n, b"0"), (b"0", n), (n, n), (n, b"0" + n), (n, b""), (b"", n), (n, b"x"), (b"+" + n, n)]:
        yield (
            f"lengths {first!r} {second!r}",
            post(b"Content-Length: " + first, b"Content-Length: " + second, body=CANARY),
        )
    for name in NAMES:
        line = name.replace(b"NAME", b"Content-Length") + b" " + n
        yield f"length name {name!r}", post(line, body=CANARY)
        yield f"length name {name!r} with zero", post(line, b"Content-Length: 0", body=CANARY)
        yield f"length name {name!r} after zero", post(b"Content-Length: 0", line, body=CANARY)
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"FOO", b"post"):
        for value in (n, b"0"):
            head = method + b" /first HTTP/1.1\r\n" + HOST + b"Content-Length: " + value + b"\r\n\r\n"
            yield f"{method!r} with length {value!r}", head + CANARY


LENGTHS = [
    b" N", b"N", b"\tN\t", b" +N", b" -N", b" 0N", b" 0000000000000000000000N", b" N,N", b" N, N", b" N,0", b" 0,N",
    b" N,", b" ,N", b" N;", b" N.0", b" Ne0", b" 0xN", b" N_0", b" N 0", b" N\x00", b" \x00N", b" \x0bN", b" N\x0c",
    b" N\x85", b' "N"', b" 'N'", b"", b" ", b" 4294967296N", b" 18446744073709551616", b" 18446744073709551662",
    b" " + b"9" * 41, b" \xd9\xa3", b" \xc2\xb2", b" N\r", b" N\rX: y", b" N\nX: y", b" N\r\n ", b" \r\n N",
    b" 0\r\n N", b" N\r\n\t0",
]  # fmt: skip

NAMES = [
    b"NAME:", b"NAME :", b"NAME\t:", b" NAME:", b"\tNAME:", b"NAME\x00:", b"\x00NAME:", b"NAME\x0b:", b"\xa0NAME:",
    b"NAME\xa0:", b"X: y\nNAME:", b"X: y\rNAME:", b"X: y\r\r\nNAME:", b"X: y\r\n NAME:", b"X:\r\n\tNAME:",
    b"NAME\r\n :", b"NAME:\r\n ", b"NAME:\x0b", b"NAME;", b"NAME", b":NAME:", b"NAME::", b'"NAME":', b"NAME\r\n:",
    b"\nNAME:", b"\r\nNAME:", b"(NAME):", b"NAME,:", b"X-NAME:",
]  # fmt: skip


def codings() -> Iterator[tuple[str, bytes]]:
    body = chunked(b"hello")
    for value in CODINGS:
        line = b"Transfer-Encoding:" + value
        smuggle = b"0\r\n\r\n" + CANARY
        length = b"Content-Length: %d" % len(smuggle)
        yield f"coding {value!r}", post(line, body=body)
        yield f"coding {value!r}, canary", post(line, body=smuggle)
        yield f"coding {value!r} after a length", post(length, line, body=smuggle)
        yield f"coding {value!r} before a short length", post(line, b"Content-Length: 4", body=chunked(CANARY))
        yield f"coding {value!r} in 1.0", post(line, b"Connection: keep-alive", body=smuggle, version=b"HTTP/1.0")
    for name in [
        *NAMES,
        b"Transfer_Encoding:",
        b"Transfer-encoding:",
        b"TRANSFER-ENCODING:",
        b"Transfer Encoding:",
        b"TE:",
    ]:
        line = name.replace(b"NAME", b"Transfer-Encoding") + b" chunked"
        smuggle = b"0\r\n\r\n" + CANARY
        yield f"coding name {name!r}", post(line, body=smuggle)
        yield f"coding name {name!r} after a length", post(b"Content-Length: %d" % len(smuggle), line, body=smuggle)
        yield f"coding name {name!r} before a length", post(line, b"Content-Length: %d" % len(smuggle), body=smuggle)
    for first, second in [
        (b"chunked", b"chunked"),
        (b"chunked", b"identity"),
        (b"identity", b"chunked"),
        (b"x", b"chunked"),
    ]:
        lines = (b"Transfer-Encoding: " + first, b"Transfer-Encoding: " + second)
        yield f"codings {first!r} {second!r}", post(*lines, body=b"0\r\n\r\n" + CANARY)
        yield f"codings {first!r} {second!r}, length", post(*lines, b"Content-Length: 5", body=b"0\r\n\r\n" + CANARY)


CODINGS = [
    b" chunked", b"chunked", b" Chunked", b" CHUNKED", b" chunked ", b"\tchunked\t", b" chunked, chunked",
    b" chunked,", b" ,chunked", b" , chunked ,", b" identity", b" identity, chunked", b" chunked, identity",
    b" gzip, chunked", b" gzip", b" chunked, gzip", b" chunked;q=1", b" chunked ;a=b", b' "chunked"', b" 'chunked'",
    b" xchunked", b" chunkedx", b" chunk", b" chunked\x00", b" \x00chunked", b" \x0bchunked", b" chunked\x0b",
    b" chunked\x0c", b" chunked\xa0", b" \xffchunked", b"", b" ", b" \r\n chunked", b" chunked\r\n\tx",
    b" x\r\n chunked", b" chunked\r", b" chunked\rX: y", b" chunked\nX: y", b" cow\nTransfer-Encoding: chunked",
    b" c\xe8unked", b" chun\xe2\x84\xaaed",
]  # fmt: skip


def chunks() -> Iterator[tuple[str, bytes]]:
    def of(body: bytes) -> bytes:
        return post(b"Transfer-Encoding: chunked", body=body)

    for line in SIZES:
        yield f"chunk size {line!r}", of(line.replace(b"N", b"5") + b"\r\nhello\r\n0\r\n\r\n")
        size = b"%x" % len(CANARY)
        yield f"chunk size {line!r}, canary", of(line.replace(b"N", size) + b"\r\n" + CANARY + b"\r\n0\r\n\r\n")
        yield f"last chunk {line!r}", of(b"5\r\nhello\r\n" + line.replace(b"N", b"0") + b"\r\n\r\n" + CANARY)
    for end in (
        b"\n",
        b"\r",
        b"",
        b"X",
        b"XX",
        b"\r\r\n",
        b"\n\r",
        b"\r\n\r\n",
        b" \r\n",
        b"\r\nX",
        b"\x00\x00",
        CANARY,
    ):
        yield f"chunk end {end!r}", of(b"5\r\nhello" + end + b"0\r\n\r\n")
        yield f"chunk end {end!r}, canary", of(b"%x\r\n" % len(CANARY) + CANARY + end + b"0\r\n\r\n")
    for end in (b"\n", b"\r", b"\r\r\n", b"\x00\r\n", b" \r\n"):
        yield f"size line end {end!r}", of(b"5" + end + b"hello\r\n0\r\n\r\n")
        yield f"last size line end {end!r}", of(b"5\r\nhello\r\n0" + end + b"\r\n" + CANARY)
        yield f"end of trailer {end!r}", of(b"5\r\nhello\r\n0\r\n" + end + CANARY)
        yield f"extension end {end!r}", of(b"5;a=b" + end + b"hello\r\n0\r\n\r\n" + CANARY)
    for trailer in TRAILERS:
        yield f"trailer {trailer!r}", of(b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n" + CANARY)
        yield f"trailer {trailer!r}, cut", of(b"5\r\nhello\r\n0\r\n" + trailer)
    inside = b"0\r\n\r\n" + CANARY
    yield "whole end in a chunk", of(chunked(inside, b"x", inside))
    yield "one byte a chunk", of(chunked(*(bytes([byte]) for byte in CANARY)))
    yield "a large chunk", of(chunked(b"x" * 300_000, CANARY))
    yield "a long extension", of(b"5;" + b"a" * 20_000 + b"\r\nhello\r\n0\r\n\r\n")
    yield "many extensions", of(b"".join(b"1;%d=x\r\ny\r\n" % number for number in range(3000)) + b"0\r\n\r\n")
    yield "a long trailer", of(b"0\r\nX: " + b"a" * 70_000 + b"\r\n\r\n")
    yield "many trailers", of(b"0\r\n" + b"X: y\r\n" * 500 + b"\r\n")
    yield "no last chunk", of(b"5\r\nhello\r\n")
    yield "cut in a chunk", of(b"ffff\r\nhello")


SIZES = [
    b"N", b"0N", b"00000000N", b"0" * 16 + b"N", b"0" * 40 + b"N", b"0xN", b"+N", b"-N", b" N", b"N ", b"\tN", b"N\t",
    b"N;", b"N;x", b"N ;x", b"N; x", b"N;x=y", b'N;x="y"', b'N;x="y;z"', b'N;x="\\""', b'N;x="', b"N;x=y;z", b"N;;",
    b"N;=", b"N;x\x00y", b"N;x\ny", b"N;x\ry", b'N;x="\r\ny"', b"N x", b"N,N", b"N\x00", b"N\x0b", b"N_0", b"N.0",
    b"x", b"", b"g", b"10000000000000000N", b"FFFFFFFFFFFFFFFFN", b"ffffffffffffffff", b"8000000000000000",
    b"100000000N", b"N\r", b"N\nX", b"\r\nN", b"\nN", b"\xd9\xa3", b"N;\xff", b'N"x"',
]  # fmt: skip

TRAILERS = [
    b"X: y\r\n", b"X: y\r\nZ: \xe9\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Host: other\r\n", b"X-Request-Id: forged\r\n", b"X : y\r\n", b" X: y\r\n", b"X: y\r\n z\r\n", b"X\r\n",
    b": y\r\n", b"X: y\n", b"X: y\r", b"X: \x00\r\n", b"X_Y: z\r\n", b"X:\r\n", b"\n", b"\r\r\n",
    b"GET /canary HTTP/1.1\r\nHost: example.test\r\n", b"X: y\r\nX: z\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
]  # fmt: skip
