"""Print the reference page of the options: ``python -m reserve.options > reserve/docs/options.md``."""

from __future__ import annotations

import sys

from reserve.options.help import reference_page

__all__ = ["main"]


def main() -> int:
    """Write the page to standard output."""
    sys.stdout.write(reference_page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
