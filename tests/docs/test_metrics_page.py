"""The page about metrics: it has every metric, its labels, and the buckets."""

from __future__ import annotations

import re
from pathlib import Path

from reserve.control.metrics.families import FAMILIES
from reserve.control.totals import Listener, Totals
from reserve.engine.metrics.requests import BOUNDS
from reserve.options.table import OPTIONS

PAGE = (Path(__file__).parent.parent.parent / "reserve/docs/metrics.md").read_text()
ROWS = dict(re.findall(r"^\| `(reserve_\w+)` \| (.*?) \|", PAGE, re.M))


def test_every_metric_has_a_row_with_its_labels() -> None:
    listeners = (Listener(address="a", backlog=1, backlog_limit=1),)
    totals = Totals(responses=(("GET", 200, 1),), listeners=listeners)
    labels = {family.name: [label for label, _ in next(iter(family.values(totals)))[0]] for family in FAMILIES}
    assert {name: re.findall(r"`(\w+)`", cell) for name, cell in ROWS.items()} == labels


def test_every_value_of_a_label_is_there() -> None:
    for family in FAMILIES:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{family.name}` "))
        for labels, _ in family.values(Totals()):
            for label, value in labels:
                assert label in ("version", "python") or f"`{value}`" in row, (family.name, value)


def test_the_buckets_are_those_of_the_code() -> None:
    text = ", ".join(f"{bound:g}" for bound in BOUNDS[:-1]) + f" and {BOUNDS[-1]:g}"
    assert text in " ".join(PAGE.split())


def test_every_option_is_named() -> None:
    for option in OPTIONS:
        if option.name.startswith(("metrics", "statsd")) or option.name in ("live-path", "ready-path", "health-path"):
            assert option.flag in PAGE, option.flag
