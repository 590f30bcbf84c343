"""The straight line in C under AddressSanitizer and UndefinedBehaviorSanitizer, and on a debug build of CPython.

The short forms of ``python -m tests.apps.http.straightload``. Each finds the faults that are put into the C code here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.apps.http import straightbuild
from tests.apps.http.straightbuild import (
    ROOT,
    SANITIZERS,
    SOURCE,
    UNDER_SANITIZERS,
    WITHOUT_GIL,
    build,
    debug_python,
)

REASON = "the compiler has no AddressSanitizer, or there is none"
TIMEOUT = 300


def run(python: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "tests.apps.http.straightload", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def with_fault(folder: Path, before: str, after: str) -> Path:
    """A copy of the C code with a fault."""
    text = SOURCE.read_text("utf-8")
    assert text.count(before) == 1, before
    copy = folder / SOURCE.name
    copy.write_text(text.replace(before, after), "utf-8")
    return copy


def under_sanitizers(folder: Path, rounds: int, source: Path = SOURCE) -> subprocess.CompletedProcess[str]:
    libraries = straightbuild.sanitizers()
    if libraries is None:
        pytest.skip(REASON)
    try:
        module = build(folder, *SANITIZERS, source=source)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the extension cannot be built with the sanitizers: {error.stderr}")
    return run(sys.executable, str(module), str(rounds), LD_PRELOAD=libraries, **UNDER_SANITIZERS)


def counting_references(folder: Path, rounds: int, source: Path = SOURCE) -> subprocess.CompletedProcess[str]:
    python = debug_python()
    if python is None:
        pytest.skip("there is no debug build of CPython with its headers (Debian: python3-dbg)")
    return run(python, str(build(folder, source=source, python=python)), str(rounds), "count")


def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    process = under_sanitizers(tmp_path, 12)
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.startswith("passed ")


def test_no_reference_is_lost(tmp_path: Path) -> None:
    process = counting_references(tmp_path, 36)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "passed " in process.stdout


@pytest.mark.parametrize(
    ("check", "before", "after", "sign"),
    [
        (under_sanitizers, "char decoded[RECEIVE_SIZE];", "char decoded[4];", "out of bounds"),
        (under_sanitizers, "    response_clear(self);\n    type->tp_free(self);\n", "    response_clear(self);\n"
         "    type->tp_free(self);\n    ((Response *)self)->code = 1;\n", "heap-use-after-free"),
        (counting_references, "    Py_DECREF(environ);\n    Py_XDECREF(head);\n", "    Py_XDECREF(head);\n",
         "references more"),
        (counting_references, "    Py_XDECREF(content);\n", "", "references more"),
    ],
    ids=["overflow", "use after free", "an environ is lost", "a body is lost"],
)  # fmt: skip
def test_they_find_a_fault(
    tmp_path: Path,
    check: Callable[[Path, int, Path], subprocess.CompletedProcess[str]],
    before: str,
    after: str,
    sign: str,
) -> None:
    if WITHOUT_GIL and sign.startswith("heap-"):
        pytest.skip("on a free-threaded build AddressSanitizer does not see the memory of objects")
    process = check(tmp_path, 12, with_fault(tmp_path, before, after))
    assert process.returncode != 0
    assert sign in process.stdout + process.stderr
