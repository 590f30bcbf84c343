"""``python -m reserve.examples.datebook`` starts the datebook and opens it in the browser."""

from __future__ import annotations

import sys

from reserve.examples.datebook import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
