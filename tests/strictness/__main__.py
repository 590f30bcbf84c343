"""Print a page: ``python -m tests.strictness > reserve/docs/strictness.md``, and with ``responses`` that one."""

from __future__ import annotations

import sys

from tests.strictness import page, responsepage

if __name__ == "__main__":
    sys.stdout.write(responsepage.page() if sys.argv[1:] == ["responses"] else page.page())
