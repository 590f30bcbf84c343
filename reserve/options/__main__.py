"""Print what is made from the table of options.

``python -m reserve.options > reserve/docs/options.md`` prints the reference page,
``python -m reserve.options migrating > reserve/docs/migrating.md`` the page about other servers, and
``python -m reserve.options keywords > reserve/keywords.py`` the types of the options in programs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from reserve.options.help import reference_page
from reserve.options.keywords import keywords_module
from reserve.options.migratingpage import migrating_page

__all__ = ["main"]

_MADE = {"": reference_page, "keywords": keywords_module, "migrating": migrating_page}


def main(arguments: Sequence[str] = ()) -> int:
    """Write the reference page to standard output, or with an argument another page or module."""
    name = arguments[0] if arguments else ""
    if len(arguments) > 1 or name not in _MADE:
        sys.stderr.write("usage: python -m reserve.options [keywords|migrating]\n")
        return 2
    sys.stdout.write(_MADE[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
