"""pyproject.toml has the build system and the metadata, and says the same about versions as the tools and the pages."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def tools() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini", "utf-8")
    return parser


def test_pip_builds_in_an_isolated_environment_of_a_declared_build_system(metadata: dict[str, Any]) -> None:
    # Without that, pip 23.0 warns of a legacy installation.
    assert metadata["build-system"]["build-backend"] == "setuptools.build_meta"
    # It names the modules in C, and pyproject.toml has all else.
    assert (ROOT / "setup.py").read_text().endswith("\nsetup(ext_modules=extensions)\n")
    assert not (ROOT / "setup.cfg").exists()


def test_the_core_has_no_dependencies(metadata: dict[str, Any]) -> None:
    assert metadata["project"]["dependencies"] == []


def test_the_versions_of_python_are_the_same_everywhere(
    metadata: dict[str, Any], tools: configparser.ConfigParser
) -> None:
    project = metadata["project"]
    lowest = project["requires-python"].removeprefix(">=")
    supported = re.findall(r"Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.M)
    assert supported[0] == lowest
    assert tools["mypy"]["python_version"] == lowest
    assert supported == [f"3.{minor}" for minor in range(int(lowest[2:]), int(lowest[2:]) + len(supported))]
    tested = re.findall(r"py3(\d+t?)", tools["tox"]["envlist"])
    assert [f"3.{minor}" for minor in tested if not minor.endswith("t")] == supported
    (checked,) = re.findall(r"^for version in (3.*); do$", (ROOT / ".ci" / "run").read_text("utf-8"), re.M)
    assert [f"3.{minor}" for minor in tested] == checked.split()
    ruff = tomllib.loads((ROOT / "tests" / "ruff.toml").read_text("utf-8"))
    assert ruff["target-version"] == f"py{lowest.replace('.', '')}"
    assert f"CPython {supported[0]} to {supported[-1]}" in (ROOT / "README.md").read_text("utf-8")
