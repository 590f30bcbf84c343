"""12 MB of a line, a field, fields, a chunk size, extensions or a trailer: refused near the limit, not at the end."""

from __future__ import annotations

import pytest

from reserve.testing import MemoryClient
from tests.adversity.holding import honest
from tests.apps.http.responses import split

PIECE = 65536
TOTAL = 12 * 1024 * 1024
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "unit", "limit", "status"),
    [
        pytest.param(b"GET /", b"a", 16384, 414, id="request line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\nX: ", b"a", 16384, 431, id="field"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\n", b"X: a\r\n", 65536, 431, id="fields"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\nX: a\r\n ", b" ", 0, 400, id="folded line"),
        pytest.param(CHUNKED, b"0", 4096, 400, id="chunk size"),
        pytest.param(CHUNKED + b"1;", b"a", 4096, 400, id="chunk extension"),
        pytest.param(CHUNKED, b"1;a=bcdefgh\r\nx\r\n", 65536 * 2, 400, id="chunk extensions"),
        pytest.param(CHUNKED + b"0\r\nX: ", b"a", 16384, 431, id="trailer field"),
        pytest.param(CHUNKED + b"0\r\n", b"X: a\r\n", 16384, 431, id="trailer"),
    ],
)
def test_endless_input_is_refused_near_its_limit(begin: bytes, unit: bytes, limit: int, status: int) -> None:
    client = MemoryClient(honest)
    received = client.send(begin)
    more = unit * (PIECE // len(unit))
    sent = len(begin)
    while not client.closed and sent < TOTAL:
        received += client.send(more)
        sent += len(more)
    assert client.closed
    assert sent <= limit + 2 * PIECE
    (response,) = split(received)
    assert (response.status, response.whole, response.fields["connection"]) == (status, True, "close")
    assert len(client.log) == 1
