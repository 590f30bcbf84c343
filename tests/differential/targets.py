"""Two more targets for the fuzzer of ``tests/fuzz``; they need what the tests need."""

from __future__ import annotations

from collections.abc import Callable

from tests.differential.comparing import compare
from tests.differential.driving import check
from tests.differential.explained import unexplained
from tests.differential.oracles import ORACLES


def differential(data: bytes) -> None:
    """No disagreement with h11 and llhttp that is not explained."""
    for oracle in ORACLES:
        for found in compare(data[2:], oracle):
            assert not unexplained(found), str(found)


def driver(data: bytes) -> None:
    """The driver, an application and h11 as the client see the requests that the parsers see."""
    check(data)


TARGETS: dict[str, Callable[[bytes], None]] = {"differential": differential, "driver": driver}
