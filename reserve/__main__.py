"""``python -m reserve``: the same as the command ``reserve``."""

from __future__ import annotations

import sys

from reserve.cli import main

if __name__ == "__main__":
    sys.exit(main())
