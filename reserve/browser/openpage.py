"""``python openpage.py URL``: opens a page in the default browser; the only text on standard output is why it failed.

A program of its own, which needs nothing of reserve: a browser may keep its caller waiting for hours, and may write to
the standard streams of its caller, or read from them. So this process has other ones before it starts a browser.
"""

from __future__ import annotations

import os
import sys
import webbrowser

__all__ = ["main"]


def main(url: str) -> int:
    """Open the page; return the exit code."""
    report = os.dup(1)  # not inherited by the browser
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.environ.pop("TERM", None)  # otherwise webbrowser takes a browser for terminals
    try:
        reason = "" if webbrowser.open(url) else "there is none"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    os.write(report, reason.encode(errors="backslashreplace"))
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
