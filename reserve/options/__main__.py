"""Print what is made from the table of options.

``python -m reserve.options > reserve/docs/options.md`` prints the reference page, and
``python -m reserve.options keywords > reserve/keywords.py`` the types of the options in programs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from reserve.options.help import reference_page
from reserve.options.keywords import keywords_module

__all__ = ["main"]


def main(arguments: Sequence[str] = ()) -> int:
    """Write the page to standard output, or with the argument ``keywords`` the module ``reserve.keywords``."""
    if list(arguments) not in ([], ["keywords"]):
        sys.stderr.write("usage: python -m reserve.options [keywords]\n")
        return 2
    sys.stdout.write(keywords_module() if arguments else reference_page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
