"""The fuzzing of the straight line in C in short: mutated seeds under the sanitizers, and libFuzzer if clang has it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.apps.http import straightbuild
from tests.apps.http.straightbuild import ROOT, SOURCE, UNDER_SANITIZERS, WITHOUT_GIL
from tests.fuzz.straightline import build_fuzzer, build_module, run_fuzzer

TIMEOUT = 300


def run_mutated(folder: Path, count: int, *flags: str) -> subprocess.CompletedProcess[str]:
    libraries = straightbuild.sanitizers()
    if libraries is None:
        pytest.skip("the compiler has no AddressSanitizer, or there is none")
    try:
        build_module(folder, *flags)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"it cannot be built with the sanitizers: {error.stderr}")
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.straightline", "mutated", str(folder), str(count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": libraries, **UNDER_SANITIZERS},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def test_mutated_seeds_are_read_as_python_reads_them(tmp_path: Path) -> None:
    process = run_mutated(tmp_path, 10_000)
    assert (process.returncode, process.stdout) == (0, "passed\n"), process.stderr


@pytest.mark.parametrize(
    ("before", "after", "sign"),
    [
        ("{4, \"date\"}, ", "", "AssertionError"),
        ("!all_are(state, value, value_size, TEXT)", "0", "ApplicationError"),
        ("if (++count > line->most_fields) {", "if (++count > 1000) {", "it has to be refused"),
        ("static const char *const unusual[] = {\n        \"CONTENT_LENGTH\", ",
         "static const char *const unusual[] = {\n        ", "AssertionError"),
        ("char key[RECEIVE_SIZE + 8];", "char key[16];", "out of bounds"),
        ("    if (end - at < 11 || ", "    if (", "heap-buffer-overflow"),
        (" || (size > 1 && value[0] == '0')", "", "AssertionError"),
        ("if (size == 0 || size > LENGTH_DIGITS", "if (size == 0", "AssertionError"),
        ("*head_end = at + 2;", "*head_end = at;", "the end of the head"),
    ],
    ids=[
        "a field of the server", "a value", "too many fields", "a framing field", "a buffer on the stack", "the end",
        "a zero before a length", "a large length", "the end of the head",
    ],
)  # fmt: skip
def test_they_find_a_fault(tmp_path: Path, before: str, after: str, sign: str) -> None:
    if WITHOUT_GIL and sign.startswith("heap-"):
        pytest.skip("on a free-threaded build AddressSanitizer does not see the memory of objects")
    text = SOURCE.read_text("utf-8")
    assert text.count(before) == 1
    copy = tmp_path / SOURCE.name
    copy.write_text(text.replace(before, after), "utf-8")
    process = run_mutated(tmp_path, 10_000, f'-DSTRAIGHT_LINE="{copy}"')
    assert process.returncode != 0
    assert sign in process.stderr


def test_libfuzzer_finds_nothing(tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("there is no clang")
    try:
        program = build_fuzzer(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"clang cannot build it with libFuzzer and this interpreter: {error.stderr}")
    process = run_fuzzer(program, tmp_path, "-runs=20000", "-seed=1", quiet=True)
    assert process.returncode == 0, process.stderr[-3000:]
    assert "number_of_executed_units: 20" in process.stderr
