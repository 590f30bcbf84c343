"""The closed list of explanations: a disagreement that none of them covers fails the tests."""

from __future__ import annotations

from tests.differential.comparing import Disagreement
from tests.differential.stricter import STRICTER
from tests.differential.wider import WIDER

EXPLANATIONS = [*WIDER, *STRICTER]


def unexplained(disagreement: Disagreement) -> bool:
    return not any(explanation.covers(disagreement) for explanation in EXPLANATIONS)
