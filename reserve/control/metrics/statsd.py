"""The metrics as StatsD reads them. Pure; any thread.

https://github.com/statsd/statsd/blob/master/docs/metric_types.md

- A counter is sent as what has been added since the last time: ``reserve.requests.GET.200:17|c``; one that did not
  change is not sent.
- A gauge is sent as it is: ``reserve.threads.idle:3|g``.
- A histogram is sent as the count, the mean and three percentiles of what has been added, in milliseconds, which are
  gauges: ``reserve.application.p99:12.5|g``. Without any there are no percentiles.

:func:`name_of` says which name a metric has;
the values of its labels follow, or are tags: ``reserve.requests:17|c|#method:GET,status:200``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from reserve.control.metrics.families import COUNTER, FAMILIES, Family, Labels
from reserve.control.totals import Histogram, Totals

__all__ = ["MOST_BYTES", "datagrams", "name_of", "statsd_lines"]

MOST_BYTES = 1432
"""Of a datagram: with the headers of IPv6 and UDP it has room in an Ethernet frame, and is in one piece."""

_PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_NOT_IN_TAGS = re.compile(r"[\s,|#]+")


def name_of(family: Family) -> str:
    """The name of a metric: that of Prometheus without ``reserve_`` and ``_total``, and for a histogram without
    ``_seconds``, because it is sent in milliseconds.
    """
    name = family.name.removeprefix("reserve_").removesuffix("_total")
    return name.removesuffix("_seconds") if family.kind not in ("counter", "gauge") else name


def statsd_lines(
    before: Totals, now: Totals, prefix: str = "reserve", *, tags: bool = False, families: Iterable[Family] = FAMILIES
) -> Iterator[str]:
    """The lines for one interval.

    :param before: the sums at its beginning.
    :param now: those at its end.
    :param prefix: of every name; empty: none.
    :param tags: send labels as tags.
    """
    start = f"{prefix}." if prefix else ""
    for family in families:
        name = start + name_of(family)
        earlier = dict(family.values(before))
        for labels, value in family.values(now):
            earlier_value = earlier.get(labels)
            if isinstance(value, Histogram):
                added = value.since(earlier_value) if isinstance(earlier_value, Histogram) else value
                for part, number, kind in _histogram(added):
                    yield _line(f"{name}.{part}", labels, number, kind, tags)
            elif family.kind != COUNTER:
                yield _line(name, labels, value, "g", tags)
            else:
                difference = value - (earlier_value if isinstance(earlier_value, (int, float)) else 0)
                if difference > 0:  # less: the server has started again
                    yield _line(name, labels, difference, "c", tags)


def datagrams(lines: Iterable[str], most: int = MOST_BYTES) -> Iterator[bytes]:
    """The lines in datagrams, as many as have room in each. A longer line is left out.

    :param most: bytes of a datagram.
    """
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        data = line.encode()
        if len(data) > most:
            continue
        if waiting and size + 1 + len(data) > most:
            yield b"\n".join(waiting)
            waiting, size = [], 0
        size += len(data) + (1 if waiting else 0)
        waiting.append(data)
    if waiting:
        yield b"\n".join(waiting)


def _histogram(added: Histogram) -> Iterator[tuple[str, float, str]]:
    """The parts of it: name, number and kind."""
    count = added.count
    if not count:
        return
    yield "count", count, "c"
    yield "mean", added.sum / count * 1000, "g"
    longest = max(added.bounds, default=0.0)
    for name, share in _PERCENTILES:
        yield name, min(added.quantile(share) or 0.0, longest) * 1000, "g"  # StatsD has no infinity


def _line(name: str, labels: Labels, value: float, kind: str, tags: bool) -> str:
    number = f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    if tags:
        pairs = ",".join(f"{label}:{_NOT_IN_TAGS.sub('_', text)}" for label, text in labels)
        return f"{name}:{number}|{kind}" + (f"|#{pairs}" if pairs else "")
    parts = [name, *(_NOT_IN_NAMES.sub("_", text) or "_" for _, text in labels)]
    return f"{'.'.join(parts)}:{number}|{kind}"
