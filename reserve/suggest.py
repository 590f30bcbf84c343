"""Did you mean: the known name that a misspelt one resembles. Pure; any thread may call it."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["nearest", "suggestion"]

_SURE = 0.8
"""The similarity above which a name is taken for a misspelling of another; 1.0 means that they are equal."""
_POSSIBLE = 0.6
"""The similarity above which a name is worth suggesting when it is known to be wrong."""


def nearest(name: str, known: Iterable[str], *, similarity: float = _SURE) -> str | None:
    """The known name that ``name`` resembles most, or None.

    :param similarity: the least similarity that counts, from 0.0 to 1.0.
    """
    import difflib  # here, because only a mistake needs it

    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=similarity)
    return matches[0] if matches else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: ``; did you mean 'threads'?``, or an empty text."""
    match = nearest(name, known, similarity=_POSSIBLE)
    return f"; did you mean {match!r}?" if match else ""
