"""``python -m tests.fuzz TARGET [CORPUS] [libFuzzer options]``: coverage-guided fuzzing with atheris; see README.md.

Without CORPUS the inputs that were found are kept in a temporary directory, which is removed after the run.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["reserve.errors", "reserve.protocol", "reserve.apps.http", "reserve.examples.miniredis"]
):
    from tests.differential.targets import TARGETS as WITH_PEERS
    from tests.fuzz.targets import TARGETS

from tests.fuzz.seeds import SEEDS

HERE = Path(__file__).parent
ALL = {**TARGETS, **WITH_PEERS}


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] not in ALL:
        sys.exit(f"usage: python -m tests.fuzz {'|'.join(ALL)} [CORPUS] [-runs=N] [other options of libFuzzer]")
    name, *options = arguments
    with tempfile.TemporaryDirectory() as scratch:
        if not options or options[0].startswith("-"):
            options = [str(Path(scratch, "corpus")), *options]
        corpus = Path(options[0])
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS.get(name, SEEDS["stream"])):
            # The first two bytes choose limits and delivery; see targets.py.
            Path(corpus, f"seed-{number:03}").write_bytes(bytes((number % 3, number * 37 % 256)) + seed)
        options = [f"-dict={HERE / 'http1.dict'}", "-max_len=1024", "-print_final_stats=1", *options]
        atheris.Setup([f"tests.fuzz {name}", *options], ALL[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
