"""Content codings of files: what a client accepts (RFC 9110 section 12.5.3), and which of a file's variants it gets.

Pure functions over the value of the field Accept-Encoding. A coding is named as in the registry: ``br``, ``zstd``,
``gzip``; ``identity`` is none at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["IDENTITY", "SUFFIXES", "Weights", "choose_coding", "parse_accept_encoding"]

IDENTITY = "identity"
SUFFIXES = (("br", ".br"), ("zstd", ".zst"), ("gzip", ".gz"))
"""The codings of files that are compressed beforehand, with the suffix of such a file; the first is preferred."""

_MOST = 64
"""Elements of a field that are read; no client has so many."""
_ELEMENT = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*(?:;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?", re.IGNORECASE
)
_ALIASES = {"x-gzip": "gzip"}
"""RFC 9110 section 8.4.1.3."""
_UNLISTED = 0.0005
"""The weight of sending no coding where the field does not mention that: acceptable, and less wanted than any other."""

Weights = dict[str, float]
"""From a coding, or ``*``, to its weight, 0 to 1; 0: not acceptable."""


def parse_accept_encoding(value: str | None) -> Weights:
    """The weights in a field.

    :param value: of the field; None: the request has none, and gets no coding.
    :return: without the elements that are malformed. Of a coding that is repeated the first counts.
    """
    weights: Weights = {}
    for element in (value or "").split(",", _MOST)[:_MOST]:
        match = _ELEMENT.fullmatch(element)
        if match is not None:
            name = match[1].lower()
            weights.setdefault(_ALIASES.get(name, name), 1.0 if match[2] is None else float(match[2]))
    return weights


def choose_coding(weights: Weights, available: Iterable[str]) -> str | None:
    """The coding that a response gets.

    :param weights: from :func:`parse_accept_encoding`.
    :param available: which codings there are beside ``identity``, the preferred one first.
    :return: None: the client accepts none of them, and not ``identity`` either, which is a 406.
    """
    rest = weights.get("*")
    plain = weights.get(IDENTITY, _UNLISTED if rest != 0 else 0.0)
    chosen, best = (IDENTITY, plain) if plain else (None, 0.0)
    for coding in available:
        weight = weights.get(coding, rest or 0.0)
        # With equal weights the compressed one is sent; of two compressed ones, the first.
        if weight > best or (weight == best and weight and chosen == IDENTITY):
            chosen, best = coding, weight
    return chosen
