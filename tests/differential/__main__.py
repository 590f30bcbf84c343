"""``python -m tests.differential [COUNT [START]]``: a longer comparison than the tests make.

1,000,000 inputs by default. Prints how often each explanation was needed, and the disagreements without one; the exit
code is 1 if there were any.
"""

from __future__ import annotations

import sys
from collections import Counter

from tests.differential.comparing import compare
from tests.differential.corpus import CORPUS
from tests.differential.explained import EXPLANATIONS
from tests.differential.oracles import ORACLES
from tests.fuzz.mutation import mutated


def main(count: int = 1_000_000, start: int = 1000) -> int:
    needed: Counter[tuple[str, str]] = Counter()
    unexplained = 0
    for data in mutated(CORPUS, count, start):
        for oracle in ORACLES:
            for disagreement in compare(data, oracle):
                names = [explanation.name for explanation in EXPLANATIONS if explanation.covers(disagreement)]
                needed.update((oracle, name) for name in names)
                if not names:
                    unexplained += 1
                    print(f"UNEXPLAINED {disagreement}\n  input: {data!r}")
    for (oracle, name), times in sorted(needed.items()):
        print(f"{times:9,} {oracle:7} {name}")
    print(f"{count:,} inputs, {unexplained} unexplained")
    return bool(unexplained)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
