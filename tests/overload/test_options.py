"""The options about overload: the help and the reference page have them, and a bad value gets a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reserve.options.help import help_text, reference_page
from tests.waiting import PATIENCE

PAGE = Path(__file__).parents[2] / "reserve" / "docs" / "options.md"
GUIDE = PAGE.with_name("adversity.md")
BAD_VALUES = {
    "threads": ("4:2", "MIN:MAX"),
    "request-timeout": ("-1", "a time from 0"),
    "file-threads": ("0", "a whole number from 1"),
    "max-stuck": ("x", "a whole number from 0"),
    "write-timeout": ("0", "a time from 1ms"),
    "write-rate": ("1k", "a whole number from 0"),
    "buffer-memory": ("1023k", "bytes from 1m"),
    "spool-disk": ("1.5g", "bytes from 0"),
    "max-connections": ("0", "a whole number from 1"),
    "max-connections-per-client": ("-1", "a whole number from 0"),
    "max-running-per-client": ("x", "a whole number from 0"),
    "unlimited-clients": ("10.0.0.1/8", "networks (192.0.2.0/24)"),
    "max-queued": ("-1", "a whole number from 0"),
    "queue-timeout": ("0", "a time from 1ms"),
    "health-path": ("health", "/"),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_the_option_is_in_the_help_and_on_both_pages(name: str) -> None:
    assert f"--{name} " in help_text("http", (), "")
    assert f"`--{name} " in PAGE.read_text("utf-8")
    assert f"`--{name}" in GUIDE.read_text("utf-8")


def test_the_reference_page_is_made_from_the_table() -> None:
    assert PAGE.read_text("utf-8") == reference_page()


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_bad_value_gets_a_sentence(name: str) -> None:
    value, allowed = BAD_VALUES[name]
    command = [sys.executable, "-m", "reserve", f"--{name}={value}", "app", "http", "wsgi", "x:y"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=PAGE.parents[2], check=False)
    assert result.returncode == 2, result.stderr
    assert f"--{name}" in result.stderr
    assert value in result.stderr
    assert allowed in result.stderr
    assert "Traceback" not in result.stderr
