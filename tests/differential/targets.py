"""Two more targets for the fuzzer of ``tests/fuzz``, which need the test dependencies."""

from __future__ import annotations

from collections.abc import Callable

from tests.differential.comparing import compare
from tests.differential.driving import check
from tests.differential.explained import unexplained
from tests.differential.oracles import ORACLES


def differential(data: bytes) -> None:
    """Every disagreement with h11 and llhttp is explained."""
    for oracle in ORACLES:
        for disagreement in compare(data[2:], oracle):
            assert not unexplained(disagreement), str(disagreement)


def driver(data: bytes) -> None:
    """The application of a driver gets the requests that the parsers read, and h11, as the client, their responses."""
    check(data)


TARGETS: dict[str, Callable[[bytes], None]] = {"differential": differential, "driver": driver}
