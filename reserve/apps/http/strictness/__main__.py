"""Print the page: ``python -m reserve.apps.http.strictness > reserve/docs/strictness.md``."""

from __future__ import annotations

import sys

from reserve.apps.http.strictness.page import page

if __name__ == "__main__":
    sys.stdout.write(page())
