"""The closed list: every way in which reserve and an oracle may disagree. What is not in here fails the tests."""

from __future__ import annotations

from tests.differential.comparing import Disagreement
from tests.differential.stricter import STRICTER
from tests.differential.wider import WIDER

EXPLANATIONS = [*WIDER, *STRICTER]


def unexplained(found: Disagreement) -> bool:
    return not any(explanation.covers(found) for explanation in EXPLANATIONS)
