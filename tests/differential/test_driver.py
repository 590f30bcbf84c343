"""The driver serves the requests that the parsers read, and h11, as the client, reads as many responses."""

from __future__ import annotations

import pytest

from tests.differential.corpus import CORPUS, STREAMS
from tests.differential.driving import check
from tests.fuzz.mutation import mutated


@pytest.mark.parametrize("delivery", [0, 50, 191, 192, 200])
def test_all_seeds(delivery: int) -> None:
    requests = sum(check(bytes((0, delivery)) + seed) for seed in STREAMS)
    assert requests > 100


@pytest.mark.parametrize(
    "payload",
    [b"HEAD\r\n\r\n", b"\r\nHEAD\r\n\r\n", b"HEAD\rX", b"HEAD\0 /", b"HEADER\r\n", b"HEAD /a b HTTP/1.1\r\n"],
)
def test_a_head_that_is_refused_in_its_request_line(payload: bytes) -> None:
    assert sum(check(bytes((0, delivery)) + payload) for delivery in range(256)) == 0


@pytest.mark.parametrize("batch", range(4))
def test_mutated_seeds(batch: int) -> None:
    requests = sum(
        check(bytes((0, number % 256)) + data) for number, data in enumerate(mutated(CORPUS, 1500, 500 + batch))
    )
    assert requests > 300
