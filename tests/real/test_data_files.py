"""The installed package has the files that are no modules: documentation, py.typed, and what the examples serve."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.real.installing import CLONE, Installed
from tests.real.processes import run

PATTERNS = tomllib.loads((CLONE / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]


@pytest.mark.parametrize("package", PATTERNS)
def test_data_files_are_installed(installed: Installed, tmp_path: Path, package: str) -> None:
    program = f"import os, {package} as package; print(os.path.dirname(package.__file__))"
    done = run([installed.python, "-c", program], cwd=tmp_path)
    folder = Path(done.stdout.decode().strip())
    source = CLONE.joinpath(*package.split("."))
    assert folder != source
    expected = {path.relative_to(source) for pattern in PATTERNS[package] for path in source.glob(pattern)}
    assert {path for path in expected if not (folder / path).is_file()} == set()


def test_the_types_and_the_documentation_are_among_them() -> None:
    names = {path.name for pattern in PATTERNS["reserve"] for path in (CLONE / "reserve").glob(pattern)}
    assert {"py.typed", "options.md", "architecture.md", "desk-today.png"} <= names
    assert {"reserve-alerts.yml", "reserve-dashboard.json"} <= names


def test_the_templates_and_the_style_of_the_datebook_are_among_them() -> None:
    package = "reserve.examples"
    folder = CLONE.joinpath(*package.split("."), "datebook")
    names = {path for pattern in PATTERNS[package] for path in (CLONE / "reserve" / "examples").glob(pattern)}
    assert {path for kind in ("templates", "static") for path in (folder / kind).iterdir()} <= names
