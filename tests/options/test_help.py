"""The help and the reference page, made from the table of options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import reserve
from reserve.options.help import help_text, reference_page
from reserve.options.table import FLAGS
from tests.waiting import PATIENCE

PAGE = Path(reserve.__file__).parent / "docs" / "options.md"


def test_the_committed_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == reference_page(), "run: python -m reserve.options > reserve/docs/options.md"


def test_the_module_prints_the_page() -> None:
    root = str(Path(reserve.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "reserve.options"], cwd=root, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == reference_page()


def test_the_help_has_every_option_and_fits_the_width() -> None:
    text = help_text()
    assert all(flag in text for flag in FLAGS)
    assert max(map(len, text.splitlines())) <= 120
