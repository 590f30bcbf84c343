"""The arguments of an application in the tests of this directory."""

from __future__ import annotations

from reserve.loader.arguments import Arguments

FLAGS = ["--threads", "--bind", "--access-log", "--no-access-log", "--keep-alive", "--max-body", "--env"]
"""Some server options, which an argument must not resemble."""


def arguments(*before: str, after: tuple[str, ...] = ()) -> Arguments:
    """The arguments of a program ``reserve x``, before and after ``--``."""
    return Arguments(["reserve x", *before, *after], literal=len(after), reserved=FLAGS)
