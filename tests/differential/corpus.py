"""The inputs that the comparisons mutate: all seeds, and twice more those that have a valid request."""

from __future__ import annotations

from tests.differential.oracles import LIMITS
from tests.fuzz.seeds import SEEDS
from tests.fuzz.stream import read_stream

STREAMS = SEEDS["stream"]
VALID = [seed for seed in STREAMS if read_stream([seed], LIMITS).requests]
CORPUS = STREAMS + VALID * 2
