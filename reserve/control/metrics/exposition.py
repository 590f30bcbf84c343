"""Metrics as Prometheus reads them: its text format, version 0.0.4. Pure; any thread.

https://prometheus.io/docs/instrumenting/exposition_formats/

There is one line for each value, of which there are as many as labels have values: methods and statuses are bounded by
:mod:`reserve.engine.metrics.requests`, listeners and states by the server.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from reserve.control.metrics.families import FAMILIES, Family, Labels
from reserve.control.totals import Histogram, Totals

__all__ = ["CONTENT_TYPE", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_IN_HELP = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_IN_VALUE = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


def exposition(totals: Totals, families: Iterable[Family] = FAMILIES) -> str:
    """The text.

    :param families: the metrics that it has.
    """
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.help.translate(_IN_HELP)}\n")
        lines.append(f"# TYPE {family.name} {family.kind}\n")
        for labels, value in family.values(totals):
            if isinstance(value, Histogram):
                lines += _histogram(family.name, labels, value)
            else:
                lines.append(_line(family.name, labels, value))
    return "".join(lines)


def _histogram(name: str, labels: Labels, histogram: Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        total += count
        yield _line(f"{name}_bucket", (*labels, ("le", _number(float(bound)))), total)
    yield _line(f"{name}_bucket", (*labels, ("le", "+Inf")), histogram.count)
    yield _line(f"{name}_sum", labels, float(histogram.sum))
    yield _line(f"{name}_count", labels, histogram.count)


def _line(name: str, labels: Labels, value: float) -> str:
    if not labels:
        return f"{name} {_number(value)}\n"
    pairs = ",".join(f'{label}="{text.translate(_IN_VALUE)}"' for label, text in labels)
    return f"{name}{{{pairs}}} {_number(value)}\n"


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"
    return repr(value)
