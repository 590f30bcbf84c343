"""What the comparisons change at random: all seeds, those that bring a request more often than the others."""

from __future__ import annotations

from tests.differential.oracles import LIMITS
from tests.fuzz.seeds import SEEDS
from tests.fuzz.stream import read_stream

STREAMS = SEEDS["stream"]
LEGAL = [seed for seed in STREAMS if read_stream([seed], LIMITS).requests]
CORPUS = STREAMS + LEGAL * 2
