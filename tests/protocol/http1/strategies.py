"""Hypothesis strategies for the input of parsers."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def fragments(parts: list[bytes], *, count: int, noise: int, binary: int) -> st.SearchStrategy[bytes]:
    """Random bytes, or meaningful parts mixed with random bytes.

    :param count: the most parts.
    :param noise: the most random bytes between parts.
    :param binary: the most bytes of an input that is only random.
    """
    mixed = st.one_of(st.sampled_from(parts), st.binary(max_size=noise))
    return st.one_of(st.binary(max_size=binary), st.lists(mixed, max_size=count).map(b"".join))


@st.composite
def pieces_of(draw: Any, data: bytes) -> list[bytes]:
    """The data, cut at any number of places up to eight."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]


_PARTS = [
    b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\nHost: a\r\n", b"Host: a\r\n", b"\r\n", b"\n", b"\r", b"X: y\r\n",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n1\r\na\r\n", b"0\r\n\r\n", b"abc", b";a=b",
    b" ", b'"',
    b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"X_Y: z\r\n", b"\0", b"\xff", b"Trailer: x\r\n",
]  # fmt: skip
STREAMS = fragments(_PARTS, count=14, noise=2, binary=60)
"""Valid and invalid parts of requests, in any order."""
