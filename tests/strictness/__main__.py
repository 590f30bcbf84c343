"""Print the page: ``python -m tests.strictness > reserve/docs/strictness.md``."""

from __future__ import annotations

import sys

from tests.strictness.page import page

if __name__ == "__main__":
    sys.stdout.write(page())
